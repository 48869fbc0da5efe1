//! P12: a relay that holds much, beside one that holds nothing.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    figure::Figure,
    load::contest::{self, Contender, Loads},
    process::Server,
    programs,
    report::Goal,
    run::Bench,
    sends::{self, MOST, outcome},
    target::relay::Relay,
};

const EMPTY: &str = "empty";
const GROWN: &str = "grown";
/// P12.
const RATE: Goal = Goal::RatioAtLeast(0.9);
const LATENCY: Goal = Goal::RatioAtMost(1.15);
/// Agents that it has; messages are in the queues of all of them.
const AGENTS: u64 = 100_000;

/// What years of service would leave behind, written past the relay: agents with their queues, and acknowledged
/// envelopes of a kibibyte with their idempotency keys. `?1` is the number of agents, `?2` of messages.
const AGENTS_SQL: &str = "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
    INSERT INTO agent (agent_no, agent_id, handle, identity, api_key_hash, mail_queue, control_queue, registered_at)
    SELECT 1000000 + i, randomblob(16), 'grown-' || i, randomblob(33), randomblob(32), 1000000 + 2 * i, 1000001 + 2 * i, 1
    FROM n";
const QUEUES_SQL: &str = "
    WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2 * ?1 + 1)
    INSERT INTO queue (queue_no, kind, head, acked)
    SELECT 1000000 + i, 1 + i % 2, (1 - i % 2) * ?2 / ?1, (1 - i % 2) * ?2 / ?1
    FROM n";
const ENVELOPES_SQL: &str = "
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
    INSERT INTO envelope (envelope_id, queue_no, position, stored_at, bytes)
    SELECT 1 + i, 1000002 + 2 * (i % ?1), 1 + i / ?1, unixepoch() * 1000, randomblob(1160)
    FROM n";
const SENT_SQL: &str = "
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
    INSERT INTO sent (sender_no, mid, envelope_id, hash)
    SELECT 1000001 + i % ?1, randomblob(16), 1 + i, randomblob(32)
    FROM n";

/// P1 and the time from a send to its reception, both relays in turn. Only in the first run: it takes a while to grow.
///
/// # Errors
/// The relay refuses a message or loses one, or its schema is another.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    if !bench.is_first() {
        return Ok(Vec::new());
    }
    let messages = if bench.full { 10_000_000 } else { 1_000_000 };
    let empty: Relay = sends::start(bench).await?;
    let grown = Relay::on(grow(&bench.folder()?, messages)?, MOST).await?;
    let contenders = [
        Contender::new(EMPTY, &empty, &[MOST]),
        Contender::new(GROWN, &grown, &[MOST]),
    ];
    let (slices, slice) = sends::slices(bench);
    let loads = Loads {
        levels: &[MOST],
        slices: 2 * slices,
        slice,
        open: Some(sends::calm(bench)),
    };
    let results = contest::hold(&loads, &contenders).await?;
    let rate = |key| anyhow::Ok(outcome(&results, key, MOST)?.rate);
    let latency = |key| {
        let latency = results.get(key).and_then(|figures| figures.latency);
        latency.map_or(f64::NAN, |latency| latency.p50)
    };
    let what = format!("relay with {messages} messages: sends, {MOST} by POST");
    let sends = Figure::new(what, rate(GROWN)?, "/s").beside(rate(EMPTY)?);
    let received = Figure::new("the same: send to receive, p50", latency(GROWN), "us");
    Ok(vec![
        sends.wants("P12", RATE),
        received.beside(latency(EMPTY)).wants("P12", LATENCY),
    ])
}

/// A relay on a database with so many messages.
fn grow(folder: &Path, messages: u64) -> anyhow::Result<Server> {
    // It makes its schema.
    programs::relay(folder, &programs::sqlite(folder))?.kill()?;
    let database = Connection::open(folder.join("relay.db"))?;
    database.execute_batch("PRAGMA synchronous = OFF; BEGIN")?;
    for (statement, parameters) in [
        (QUEUES_SQL, 2),
        (AGENTS_SQL, 1),
        (ENVELOPES_SQL, 2),
        (SENT_SQL, 2),
    ] {
        let parameters = &[AGENTS.cast_signed(), messages.cast_signed()][..parameters];
        database.execute(statement, rusqlite::params_from_iter(parameters))?;
    }
    database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop(database);
    programs::relay(folder, &programs::sqlite(folder))
}
