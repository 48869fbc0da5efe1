//! What one transaction of the writer does: acts first, then sends, then acks.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use waxwire_shared::{api::frames::Queue, ids::Hash};

use super::{groups::write_ack, sql};
use crate::store::{
    Appended, NewEnvelope, QueueNo, SendOutcome, Stored, View,
    writer::{
        admission::{Facts as _, Place, admit, count},
        memory::Memory,
        ops::Sends,
    },
};

/// What acts and sends work on.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) memory: &'a mut Memory,
    /// Unix milliseconds.
    pub(super) now_ms: u64,
    /// What acts have appended to logs.
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
    let now_ms = tx.now_ms;
    let mut outcomes = Vec::with_capacity(sends.len());
    let mut placed: Vec<Placed> = Vec::with_capacity(sends.len());
    let mut queues: HashMap<QueueNo, u64> = HashMap::new();
    {
        let mut find = tx.connection.prepare_cached(sql::SENT)?;
        let mut insert = tx.connection.prepare_cached(sql::INSERT_SENT)?;
        for (index, send) in sends.iter().enumerate() {
            let pending = |queue| queues.get(&queue).copied().unwrap_or_default();
            let admitted = match admit(tx, send, now_ms, pending)? {
                Ok(admitted) => admitted,
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
            let notice = count(tx, send, &admitted, now_ms)?;
            let Place { queue_no, queue, .. } = admitted.place;
            let offset = queues.entry(queue_no).or_default();
            *offset += 1;
            outcomes.push(SendOutcome::Stored { envelope_id, notice });
            placed.push(Placed {
                send: index,
                queue_no,
                queue,
                offset: *offset,
                envelope_id,
            });
        }
    }
    advance_heads(tx, &mut queues)?;
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

/// Adds to each queue's head what is to be stored in it; `queues` then has the heads before.
fn advance_heads(tx: &mut Transaction<'_>, queues: &mut HashMap<QueueNo, u64>) -> rusqlite::Result<()> {
    let mut set = tx.connection.prepare_cached(sql::SET_HEAD)?;
    for (queue, count) in queues {
        let head = tx.ends(*queue)?.head;
        let moved = head + *count;
        set.execute([queue.0, moved.cast_signed()])?;
        tx.memory.set_head(*queue, moved);
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
    memory: &mut Memory,
    acks: impl Iterator<Item = (View, u64)>,
) -> rusqlite::Result<()> {
    for (view, position) in acks {
        write_ack(connection, &view, i64::try_from(position).unwrap_or(i64::MAX))?;
        if let View::Whole(queue) = view {
            memory.note_ack(queue, position);
        }
    }
    Ok(())
}
