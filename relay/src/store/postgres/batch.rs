//! What one transaction of the writer does: acts first, then sends, then acks. Whatever its number of sends, it needs
//! a handful of statements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use waxwire_shared::api::frames::Queue;

use super::{
    facts::{self, Known},
    sql,
};
use crate::store::{
    Appended, NewEnvelope, QueueNo, Seat, SendOutcome, Stored, View,
    writer::{
        admission::{Place, admit, count},
        memory::Memory,
        ops::Sends,
    },
};

/// Bytes of envelopes in one statement, more or less.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// What acts and sends work on.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) memory: &'a mut Memory,
    /// Unix milliseconds.
    pub(super) now_ms: u64,
    /// What acts have appended to logs.
    pub(super) appended: Vec<Appended>,
}

/// A new place of a send of this batch.
struct Placed {
    send: usize,
    queue_no: QueueNo,
    queue: Queue,
    position: u64,
    envelope_id: u64,
}

/// Stores what is to be stored of `sends`, and moves acks. A refused send leaves no trace.
pub(super) async fn write(
    mut tx: Transaction<'_>,
    sends: &[&NewEnvelope],
    acks: &[(View, u64)],
) -> sqlx::Result<Sends> {
    let mut done = Sends::default();
    let acked: BTreeSet<QueueNo> = acks.iter().filter_map(whole).map(|(queue, _)| queue).collect();
    if sends.is_empty() {
        facts::lock_queues(tx.connection, &acked).await?;
    } else {
        done = write_sends(&mut tx, sends, acked).await?;
    }
    move_acks(tx.connection, acks).await?;
    done.appended = tx.appended;
    Ok(done)
}

async fn write_sends(
    tx: &mut Transaction<'_>,
    sends: &[&NewEnvelope],
    acked: BTreeSet<QueueNo>,
) -> sqlx::Result<Sends> {
    let mut known = Known::gather(tx.connection, tx.memory, sends, acked, tx.now_ms).await?;
    let (outcomes, placed, counts) = decide(&mut known, sends, tx.now_ms)?;
    advance_heads(tx.connection, &counts).await?;
    insert_sent(tx.connection, sends, &placed).await?;
    insert_envelopes(tx.connection, sends, &placed, tx.now_ms).await?;
    let stored = |new: Placed| Stored {
        queue_no: new.queue_no,
        queue: new.queue,
        position: new.position,
        envelope_id: new.envelope_id,
        stored_at: tx.now_ms,
        bytes: sends[new.send].bytes.clone(),
    };
    Ok(Sends {
        outcomes,
        stored: placed.into_iter().map(stored).collect(),
        appended: Vec::new(),
    })
}

type Decided = (Vec<SendOutcome>, Vec<Placed>, BTreeMap<QueueNo, u64>);

/// What becomes of each send, in order. Nothing is asked any more.
fn decide(known: &mut Known<'_>, sends: &[&NewEnvelope], now_ms: u64) -> sqlx::Result<Decided> {
    let mut outcomes = Vec::with_capacity(sends.len());
    let mut placed = Vec::with_capacity(sends.len());
    let mut counts: BTreeMap<QueueNo, u64> = BTreeMap::new();
    for (index, send) in sends.iter().enumerate() {
        if let Some(held) = known.sent(send) {
            outcomes.push(held);
            continue;
        }
        let pending = |queue| counts.get(&queue).copied().unwrap_or_default();
        let admitted = match admit(known, send, now_ms, pending)? {
            Ok(admitted) => admitted,
            Err(refused) => {
                outcomes.push(refused);
                continue;
            }
        };
        let notice = count(known, send, &admitted, now_ms)?;
        let envelope_id = known.take_id(send, now_ms);
        outcomes.push(SendOutcome::Stored { envelope_id, notice });
        let Place { queue_no, queue, .. } = admitted.place;
        let count = counts.entry(queue_no).or_default();
        *count += 1;
        placed.push(Placed {
            send: index,
            queue_no,
            queue,
            position: known.head(queue_no)? + *count,
            envelope_id,
        });
    }
    Ok((outcomes, placed, counts))
}

/// Of queues that are locked since their heads were read.
async fn advance_heads(connection: &mut PgConnection, counts: &BTreeMap<QueueNo, u64>) -> sqlx::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let queues: Vec<i64> = counts.keys().map(|queue| queue.0).collect();
    let counts: Vec<i64> = counts.values().map(|count| count.cast_signed()).collect();
    sqlx::query(sql::ADVANCE_HEADS)
        .bind(queues)
        .bind(counts)
        .execute(connection)
        .await
        .map(drop)
}

async fn insert_sent(
    connection: &mut PgConnection,
    sends: &[&NewEnvelope],
    placed: &[Placed],
) -> sqlx::Result<()> {
    if placed.is_empty() {
        return Ok(());
    }
    let of = |new: &Placed| sends[new.send];
    let senders: Vec<i64> = placed.iter().map(|new| of(new).sender.0).collect();
    let mids: Vec<&[u8]> = placed
        .iter()
        .map(|new| of(new).mid.as_bytes().as_slice())
        .collect();
    let ids: Vec<i64> = placed.iter().map(|new| new.envelope_id.cast_signed()).collect();
    let hashes: Vec<&[u8]> = placed
        .iter()
        .map(|new| of(new).hash.as_bytes().as_slice())
        .collect();
    sqlx::query(sql::INSERT_SENT)
        .bind(senders)
        .bind(mids)
        .bind(ids)
        .bind(hashes)
        .execute(connection)
        .await
        .map(drop)
}

async fn insert_envelopes(
    connection: &mut PgConnection,
    sends: &[&NewEnvelope],
    mut placed: &[Placed],
    now_ms: u64,
) -> sqlx::Result<()> {
    while !placed.is_empty() {
        let mut size = 0;
        let fits = |new: &&Placed| {
            let fits = size < STATEMENT_BYTES;
            size += sends[new.send].bytes.len();
            fits
        };
        let (chunk, rest) = placed.split_at(placed.iter().take_while(fits).count());
        let bytes: Vec<&[u8]> = chunk.iter().map(|new| sends[new.send].bytes.as_ref()).collect();
        sqlx::query(sql::INSERT_ENVELOPES)
            .bind(chunk.iter().map(|new| new.queue_no.0).collect::<Vec<_>>())
            .bind(
                chunk
                    .iter()
                    .map(|new| new.position.cast_signed())
                    .collect::<Vec<_>>(),
            )
            .bind(
                chunk
                    .iter()
                    .map(|new| new.envelope_id.cast_signed())
                    .collect::<Vec<_>>(),
            )
            .bind(now_ms.cast_signed())
            .bind(bytes)
            .execute(&mut *connection)
            .await?;
        placed = rest;
    }
    Ok(())
}

fn position(ack: u64) -> i64 {
    i64::try_from(ack).unwrap_or(i64::MAX)
}

fn whole((view, ack): &(View, u64)) -> Option<(QueueNo, i64)> {
    match view {
        View::Whole(queue) => Some((*queue, position(*ack))),
        View::Messages(_) | View::Log(_) => None,
    }
}

/// Moves acks forward, never back and never beyond what may be seen.
pub(super) async fn write_acks(connection: &mut PgConnection, acks: &[(View, u64)]) -> sqlx::Result<()> {
    let queues = acks.iter().filter_map(whole).map(|(queue, _)| queue).collect();
    facts::lock_queues(connection, &queues).await?;
    move_acks(connection, acks).await
}

/// The same once their queues are locked.
async fn move_acks(connection: &mut PgConnection, acks: &[(View, u64)]) -> sqlx::Result<()> {
    let mut queues: BTreeMap<QueueNo, i64> = BTreeMap::new();
    let mut seats: HashMap<&str, BTreeMap<Seat, i64>> = HashMap::new();
    for (view, ack) in acks {
        let (highest, ack) = match view {
            View::Whole(queue) => (queues.entry(*queue).or_default(), position(*ack)),
            View::Messages(seat) => (
                seats
                    .entry(sql::ACK_MESSAGES)
                    .or_default()
                    .entry(*seat)
                    .or_default(),
                position(*ack),
            ),
            View::Log(seat) => (
                seats.entry(sql::ACK_LOG).or_default().entry(*seat).or_default(),
                position(*ack),
            ),
        };
        *highest = ack.max(*highest);
    }
    if !queues.is_empty() {
        sqlx::query(sql::ACK_QUEUES)
            .bind(queues.keys().map(|queue| queue.0).collect::<Vec<_>>())
            .bind(queues.into_values().collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    for statement in [sql::ACK_MESSAGES, sql::ACK_LOG] {
        let Some(seats) = seats.remove(statement) else {
            continue;
        };
        sqlx::query(statement)
            .bind(seats.keys().map(|seat| seat.group.0).collect::<Vec<_>>())
            .bind(seats.keys().map(|seat| seat.agent.0).collect::<Vec<_>>())
            .bind(seats.keys().map(|seat| seat.queue.0).collect::<Vec<_>>())
            .bind(seats.into_values().collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
