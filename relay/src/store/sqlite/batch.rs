//! What one transaction of the writer does: acts first, then sends, then acks.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use waxwire_shared::{
    api::frames::Queue,
    ids::{AgentId, GroupId, Hash},
    wire::Lane,
};

use super::{groups::write_ack, relations::Blocks, sql};
use crate::{
    snowflake::Snowflakes,
    store::{AgentNo, Appended, NewEnvelope, QueueNo, SendOutcome, Stored, Target, View},
};

/// Recipients that are kept in memory; agents never lose their queues.
const RECIPIENTS: usize = 131_072;
/// Heads of queues that are kept in memory: nobody but the writer moves them.
const HEADS: usize = 131_072;

/// What acts and sends work on.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) memory: &'a mut Memory,
    /// Unix milliseconds.
    pub(super) now_ms: u64,
    /// What acts have appended to logs.
    pub(super) appended: Vec<Appended>,
}

/// What the writer keeps between transactions. Forgotten when one fails.
pub(super) struct Memory {
    pub(super) ids: Snowflakes,
    recipients: HashMap<AgentId, Recipient>,
    /// All there are, once they were needed.
    pub(super) blocks: Option<Blocks>,
    /// Of queues that sends go to; those of logs are moved by appends.
    heads: HashMap<QueueNo, u64>,
}

/// Where direct envelopes for an agent go.
#[derive(Clone, Copy)]
struct Recipient {
    agent: AgentNo,
    mail: QueueNo,
    control: QueueNo,
}

impl Memory {
    pub(super) fn new(ids: Snowflakes) -> Self {
        Self {
            ids,
            recipients: HashMap::new(),
            blocks: None,
            heads: HashMap::new(),
        }
    }

    pub(super) fn forget(&mut self) {
        self.recipients.clear();
        self.blocks = None;
        self.heads.clear();
    }

    pub(super) fn blocks(&mut self, connection: &Connection) -> rusqlite::Result<&Blocks> {
        match &mut self.blocks {
            Some(blocks) => Ok(blocks),
            missing => Ok(missing.insert(Blocks::load(connection)?)),
        }
    }
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Sends {
    /// One for each send, in order.
    pub(super) outcomes: Vec<SendOutcome>,
    /// What was stored, in order.
    pub(super) stored: Vec<Stored>,
    /// What was appended to logs before, in order.
    pub(super) appended: Vec<Appended>,
}

/// A new place of a send of this batch, before positions are known.
struct Placed {
    send: usize,
    queue_no: QueueNo,
    queue: Queue,
    /// Counts from 1 in this batch and queue.
    offset: u64,
    envelope_id: u64,
}

/// Stores what is to be stored of `sends`. A refused one leaves no trace.
pub(super) fn write_sends(tx: &mut Transaction<'_>, sends: &[&NewEnvelope]) -> rusqlite::Result<Sends> {
    let mut outcomes = Vec::with_capacity(sends.len());
    let mut placed: Vec<Placed> = Vec::with_capacity(sends.len());
    let mut queues: HashMap<QueueNo, u64> = HashMap::new();
    {
        let mut find = tx.connection.prepare_cached(sql::SENT)?;
        let mut insert = tx.connection.prepare_cached(sql::INSERT_SENT)?;
        for (index, send) in sends.iter().enumerate() {
            let (queue_no, queue) = match find_queue(tx.connection, tx.memory, send)? {
                Ok(found) => found,
                Err(refused) => {
                    // What was stored before is answered whatever has changed since.
                    outcomes.push(find_sent(&mut find, send)?.unwrap_or(refused));
                    continue;
                }
            };
            // Looks the idempotency key up and takes it in one: it is the dearest step of a send.
            let envelope_id = tx.memory.ids.next(tx.now_ms);
            let id = envelope_id.cast_signed();
            let taken = insert.execute(params![
                send.sender.0,
                send.mid.as_bytes(),
                id,
                send.hash.as_bytes()
            ])?;
            if taken == 0
                && let Some(held) = find_sent(&mut find, send)?
            {
                outcomes.push(held);
                continue;
            }
            let offset = queues.entry(queue_no).or_default();
            *offset += 1;
            outcomes.push(SendOutcome::Stored { envelope_id });
            placed.push(Placed {
                send: index,
                queue_no,
                queue,
                offset: *offset,
                envelope_id,
            });
        }
    }
    advance_heads(tx.connection, &mut tx.memory.heads, &mut queues)?;
    let stored = insert(tx, sends, &placed, &queues)?;
    Ok(Sends {
        outcomes,
        stored,
        appended: Vec::new(),
    })
}

fn find_sent(
    statement: &mut CachedStatement<'_>,
    send: &NewEnvelope,
) -> rusqlite::Result<Option<SendOutcome>> {
    statement
        .query_row(params![send.sender.0, send.mid.as_bytes()], |row| {
            Ok(SendOutcome::Repeated {
                envelope_id: row.get::<_, i64>(0)?.cast_unsigned(),
                hash: Hash::from_bytes(row.get(1)?),
            })
        })
        .optional()
}

/// The queue that a send goes to, or what it is refused by.
fn find_queue(
    connection: &Connection,
    memory: &mut Memory,
    send: &NewEnvelope,
) -> rusqlite::Result<Result<(QueueNo, Queue), SendOutcome>> {
    match &send.target {
        Target::Direct { to, lane } => reach(connection, memory, send.sender, to, *lane),
        Target::Group { group, epoch } => pass_gate(connection, send.sender, group, *epoch),
    }
}

/// Membership, end and epoch as they are in this transaction.
fn pass_gate(
    connection: &Connection,
    sender: AgentNo,
    group: &GroupId,
    epoch: u64,
) -> rusqlite::Result<Result<(QueueNo, Queue), SendOutcome>> {
    let gate = connection
        .prepare_cached(sql::GROUP_GATE)?
        .query_row(params![group.as_bytes(), sender.0], |row| {
            let current: i64 = row.get(1)?;
            let (closed, ended): (bool, bool) = (row.get(2)?, row.get(3)?);
            Ok((QueueNo(row.get(0)?), current.cast_unsigned(), closed, ended))
        })
        .optional()?;
    Ok(match gate {
        None => Err(SendOutcome::NotFound),
        Some((_, _, _, true)) => Err(SendOutcome::Gone),
        Some((queue, current, false, _)) if current == epoch => Ok((queue, Queue::Group(*group))),
        Some((_, current, ..)) => Err(SendOutcome::EpochClosed { current }),
    })
}

/// The recipient exists, and no block is between the two.
fn reach(
    connection: &Connection,
    memory: &mut Memory,
    sender: AgentNo,
    to: &AgentId,
    lane: Lane,
) -> rusqlite::Result<Result<(QueueNo, Queue), SendOutcome>> {
    let Some(recipient) = find_recipient(connection, memory, to)? else {
        return Ok(Err(SendOutcome::NotFound));
    };
    let refused = memory.blocks(connection)?.refusal(sender, recipient.agent);
    Ok(match (refused, lane) {
        (Some(refused), _) => Err(refused),
        (None, Lane::Mail) => Ok((recipient.mail, Queue::Mail)),
        (None, Lane::Control) => Ok((recipient.control, Queue::Control)),
    })
}

fn find_recipient(
    connection: &Connection,
    memory: &mut Memory,
    to: &AgentId,
) -> rusqlite::Result<Option<Recipient>> {
    if let Some(known) = memory.recipients.get(to) {
        return Ok(Some(*known));
    }
    let found = connection
        .prepare_cached(sql::RECIPIENT)?
        .query_row([to.as_bytes()], |row| {
            Ok(Recipient {
                agent: AgentNo(row.get(0)?),
                mail: QueueNo(row.get(1)?),
                control: QueueNo(row.get(2)?),
            })
        })
        .optional()?;
    if let Some(recipient) = found {
        if memory.recipients.len() >= RECIPIENTS {
            memory.recipients.clear();
        }
        memory.recipients.insert(*to, recipient);
    }
    Ok(found)
}

/// Adds to each queue's head what is to be stored in it; `queues` then has the heads before.
fn advance_heads(
    connection: &Connection,
    known: &mut HashMap<QueueNo, u64>,
    queues: &mut HashMap<QueueNo, u64>,
) -> rusqlite::Result<()> {
    if known.len() >= HEADS {
        known.clear();
    }
    let mut get = connection.prepare_cached(sql::QUEUE_HEAD)?;
    let mut set = connection.prepare_cached(sql::SET_HEAD)?;
    for (queue, count) in queues {
        let head = match known.get(queue) {
            Some(head) => *head,
            None => get
                .query_row([queue.0], |row| row.get(0))
                .map(i64::cast_unsigned)?,
        };
        let moved = head + *count;
        set.execute([queue.0, moved.cast_signed()])?;
        known.insert(*queue, moved);
        *count = head;
    }
    Ok(())
}

fn insert(
    tx: &Transaction<'_>,
    sends: &[&NewEnvelope],
    placed: &[Placed],
    heads: &HashMap<QueueNo, u64>,
) -> rusqlite::Result<Vec<Stored>> {
    let now = tx.now_ms.cast_signed();
    let mut envelopes = tx.connection.prepare_cached(sql::INSERT_ENVELOPE)?;
    let mut stored = Vec::with_capacity(placed.len());
    for new in placed {
        let send = sends[new.send];
        let position = heads.get(&new.queue_no).copied().unwrap_or_default() + new.offset;
        let id = new.envelope_id.cast_signed();
        envelopes.execute(params![
            id,
            new.queue_no.0,
            position.cast_signed(),
            now,
            send.bytes.as_ref()
        ])?;
        stored.push(Stored {
            queue_no: new.queue_no,
            queue: new.queue,
            position,
            envelope_id: new.envelope_id,
            stored_at: tx.now_ms,
            bytes: send.bytes.clone(),
        });
    }
    Ok(stored)
}

/// Moves acks forward, never back and never beyond the head.
pub(super) fn write_acks(
    connection: &Connection,
    acks: impl Iterator<Item = (View, u64)>,
) -> rusqlite::Result<()> {
    for (view, position) in acks {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        write_ack(connection, &view, position)?;
    }
    Ok(())
}
