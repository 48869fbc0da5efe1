//! Whether a send may be stored, and where: its recipient or group, blocks and limits as they are in this
//! transaction. The limits come last, and what was stored before is answered whatever they say.

use rusqlite::{Connection, OptionalExtension as _, params};
use waxwire_shared::{
    api::frames::{Allowance, Notice, Queue},
    ids::{AgentId, GroupId},
    wire::Lane,
};

use super::{
    batch::Transaction,
    memory::{Laggards, Memory, Sender},
    sql,
};
use crate::store::{AgentNo, NewEnvelope, QueueNo, SendOutcome, Target};

/// Acks of a group's members are looked at once for so many messages, if one may be far behind, and more
/// often where little may wait.
const LOOK_EVERY: u64 = 64;
/// Most members that are named in an answer.
const NAMED: usize = 256;

/// Where a send goes.
pub(super) struct Place {
    pub(super) queue_no: QueueNo,
    pub(super) queue: Queue,
    lane: Lane,
    /// How many may wait there; 0: as many as come, and of a group in any case.
    cap: u64,
}

/// A send that may be stored.
pub(super) struct Admitted {
    pub(super) place: Place,
    sender: Sender,
    /// How many wait there with it.
    waiting: u64,
}

/// Finds the place of a send; `pending` tells how many of this batch go to a queue before it.
pub(super) fn admit(
    tx: &mut Transaction<'_>,
    send: &NewEnvelope,
    pending: impl Fn(QueueNo) -> u64,
) -> rusqlite::Result<Result<Admitted, SendOutcome>> {
    let (connection, memory) = (tx.connection, &mut *tx.memory);
    let place = match &send.target {
        Target::Direct { to, lane } => reach(connection, memory, send.sender, to, *lane)?,
        Target::Group { group, epoch } => pass_gate(connection, send.sender, group, *epoch)?,
    };
    let place = match place {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let sender = memory.sender(connection, send.sender)?;
    let checked = memory
        .meter
        .check(send.sender, sender.org, place.lane, &sender.limits, tx.now_ms);
    if let Err(due) = checked {
        return Ok(Err(SendOutcome::TooOften(due)));
    }
    let ends = memory.ends(connection, place.queue_no)?;
    let waiting = ends.head + pending(place.queue_no) - ends.acked;
    if place.cap > 0 && waiting >= place.cap {
        let cap = place.cap;
        return Ok(Err(SendOutcome::Backlogged { waiting, cap }));
    }
    Ok(Ok(Admitted {
        place,
        sender,
        waiting: waiting + 1,
    }))
}

/// Counts a send that is stored. What its sender should know besides: a limit that is near, a member of the
/// group that does not keep up.
pub(super) fn count(
    tx: &mut Transaction<'_>,
    send: &NewEnvelope,
    admitted: &Admitted,
) -> rusqlite::Result<Option<Box<Notice>>> {
    let Admitted {
        place,
        sender,
        waiting,
    } = admitted;
    let limits = &sender.limits;
    let left = tx
        .memory
        .meter
        .count(send.sender, sender.org, place.lane, limits, tx.now_ms);
    let is_much = place.lane == Lane::Mail && place.cap > 0 && *waiting >= place.cap.div_ceil(2);
    let notice = Notice {
        backlog: if is_much { *waiting } else { 0 },
        allowance: left.map(|remaining| Allowance {
            limit: limits.sends_per_minute,
            remaining,
        }),
        skipped: match send.target {
            Target::Group { .. } => behind(tx, place.queue_no)?,
            Target::Direct { .. } => Vec::new(),
        },
    };
    Ok((!notice.is_empty()).then(|| Box::new(notice)))
}

/// Membership, end and epoch.
fn pass_gate(
    connection: &Connection,
    sender: AgentNo,
    group: &GroupId,
    epoch: u64,
) -> rusqlite::Result<Result<Place, SendOutcome>> {
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
        Some((queue_no, current, false, _)) if current == epoch => Ok(Place {
            queue_no,
            queue: Queue::Group(*group),
            lane: Lane::Mail,
            cap: 0,
        }),
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
) -> rusqlite::Result<Result<Place, SendOutcome>> {
    let Some(recipient) = memory.recipient(connection, to)? else {
        return Ok(Err(SendOutcome::NotFound));
    };
    Ok(
        match memory.blocks(connection)?.refusal(sender, recipient.agent) {
            Some(refused) => Err(refused),
            None if recipient.succeeded => Err(SendOutcome::Succeeded),
            None => Ok(Place {
                queue_no: recipient.queue(lane),
                queue: lane.into(),
                lane,
                cap: recipient.cap(lane),
            }),
        },
    )
}

/// Members of a group for whom more waits in it than may wait for an agent. They lose nothing: every
/// member reads the group's one queue from where it has acknowledged.
fn behind(tx: &mut Transaction<'_>, queue: QueueNo) -> rusqlite::Result<Vec<AgentId>> {
    let cap = tx.memory.tiers.default.backlog;
    let head = tx.memory.ends(tx.connection, queue)?.head;
    let known = tx.memory.laggards.get(&queue);
    let floor = known.map_or(0, |known| known.floor);
    if cap == 0 || head.saturating_sub(floor) < cap {
        return Ok(Vec::new());
    }
    if let Some(known) = known
        && head < known.looked_at + LOOK_EVERY.min(cap.div_ceil(16))
    {
        return Ok(known.members.to_vec());
    }
    let found = look(tx.connection, queue, head, cap)?;
    let members = found.members.to_vec();
    tx.memory.laggards.insert(queue, found);
    Ok(members)
}

fn look(connection: &Connection, queue: QueueNo, head: u64, cap: u64) -> rusqlite::Result<Laggards> {
    let mut statement = connection.prepare_cached(sql::MEMBERS_ACKS)?;
    let mut rows = statement.query([queue.0])?;
    let (mut floor, mut members) = (head, Vec::new());
    while let Some(row) = rows.next()? {
        let acked = row.get::<_, i64>(1)?.cast_unsigned();
        floor = floor.min(acked);
        if head.saturating_sub(acked) >= cap && members.len() < NAMED {
            members.push(AgentId::from_bytes(row.get(0)?));
        }
    }
    Ok(Laggards {
        floor,
        looked_at: head,
        members: members.into(),
    })
}
