//! P12: a relay that holds much, beside one that holds nothing.

use std::path::Path;

use rusqlite::Connection;
use waxwire_tests::postgres;

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
/// envelopes of a kibibyte with their idempotency keys.
#[derive(Clone, Copy)]
struct Past {
    messages: u64,
}

impl Past {
    const SQLITE: [&str; 4] = [
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2 * {agents} + 1)
        INSERT INTO queue (queue_no, kind, head, acked)
        SELECT 1000000 + i, 1 + i % 2, (1 - i % 2) * {messages} / {agents}, (1 - i % 2) * {messages} / {agents}
        FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {agents})
        INSERT INTO agent (agent_no, agent_id, handle, identity, api_key_hash, mail_queue, control_queue, registered_at)
        SELECT 1000000 + i, randomblob(16), 'grown-' || i, randomblob(33), randomblob(32),
            1000000 + 2 * i, 1000001 + 2 * i, 1 FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {messages})
        INSERT INTO envelope (envelope_id, queue_no, position, stored_at, bytes)
        SELECT 1 + i, 1000002 + 2 * (i % {agents}), 1 + i / {agents}, unixepoch() * 1000, randomblob(1160) FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {messages})
        INSERT INTO sent (sender_no, mid, envelope_id, hash)
        SELECT 1000001 + i % {agents}, randomblob(16), 1 + i, randomblob(32) FROM n",
    ];
    const POSTGRES: [&str; 4] = [
        "INSERT INTO queue (queue_no, kind, head, acked)
        SELECT 1000000 + i, 1 + i % 2, (1 - i % 2) * {messages} / {agents}, (1 - i % 2) * {messages} / {agents}
        FROM generate_series(2, 2 * {agents} + 1) AS i",
        "INSERT INTO agent (agent_no, agent_id, handle, identity, api_key_hash, mail_queue, control_queue, registered_at)
        SELECT 1000000 + i, decode(md5(i::TEXT), 'hex'), 'grown-' || i, sha256(i::TEXT::BYTEA), sha256(i::TEXT::BYTEA),
            1000000 + 2 * i, 1000001 + 2 * i, 1 FROM generate_series(1, {agents}) AS i",
        "INSERT INTO envelope (envelope_id, queue_no, position, stored_at, bytes)
        SELECT 1 + i, 1000002 + 2 * (i % {agents}), 1 + i / {agents}, extract(epoch FROM now())::BIGINT * 1000,
            decode(repeat(md5(i::TEXT), 72), 'hex') FROM generate_series(0, {messages} - 1) AS i",
        "INSERT INTO sent (sender_no, mid, envelope_id, hash)
        SELECT 1000001 + i % {agents}, decode(md5(i::TEXT), 'hex'), 1 + i, sha256(i::TEXT::BYTEA)
        FROM generate_series(0, {messages} - 1) AS i",
    ];

    /// The statements of a kind of database.
    fn written(self, statements: [&str; 4]) -> [String; 4] {
        let (agents, messages) = (AGENTS.to_string(), self.messages.to_string());
        statements.map(|text| text.replace("{agents}", &agents).replace("{messages}", &messages))
    }

    /// A relay on a file that holds it.
    fn on_file(self, folder: &Path) -> anyhow::Result<Server> {
        // It makes its schema.
        programs::relay(folder, &programs::sqlite(folder))?.kill()?;
        let database = Connection::open(folder.join("relay.db"))?;
        database.execute_batch("PRAGMA synchronous = OFF; BEGIN")?;
        for statement in self.written(Self::SQLITE) {
            database.execute_batch(&statement)?;
        }
        database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
        drop(database);
        programs::relay(folder, &programs::sqlite(folder))
    }

    /// The same on a server, in a new database.
    fn on_postgres(self, server: &postgres::Server, folder: &Path) -> anyhow::Result<Server> {
        server.create(GROWN)?;
        programs::relay(folder, &server.database_url(GROWN))?.kill()?;
        for statement in self.written(Self::POSTGRES) {
            server.run(GROWN, &statement)?;
        }
        // What a server does by itself in years.
        server.run(GROWN, "VACUUM ANALYZE")?;
        server.run(GROWN, "CHECKPOINT")?;
        programs::relay(folder, &server.database_url(GROWN))
    }
}

/// P1 and the time from a send to its reception, an empty and a grown relay in turn. Only in the first run: it takes a while to grow.
///
/// # Errors
/// The relay refuses a message or loses one, or its schema is another.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    if !bench.is_first() {
        return Ok(Vec::new());
    }
    let past = Past {
        messages: if bench.full { 10_000_000 } else { 1_000_000 },
    };
    let empty: Relay = sends::start(bench).await?;
    let grown = Relay::on(past.on_file(&bench.folder()?)?, MOST).await?;
    let mut figures = compare(bench, "SQLite", past, &empty, &grown).await?;
    drop((empty, grown));
    let server = postgres::Server::start_durable()?;
    server.create(EMPTY)?;
    let empty = programs::relay(&bench.folder()?, &server.database_url(EMPTY))?;
    let empty = Relay::on(empty, MOST).await?;
    let grown = Relay::on(past.on_postgres(&server, &bench.folder()?)?, MOST).await?;
    figures.extend(compare(bench, "PostgreSQL", past, &empty, &grown).await?);
    Ok(figures)
}

async fn compare(
    bench: &Bench,
    database: &str,
    past: Past,
    empty: &Relay,
    grown: &Relay,
) -> anyhow::Result<Vec<Figure>> {
    let contenders = [
        Contender::new(EMPTY, empty, &[MOST]),
        Contender::new(GROWN, grown, &[MOST]),
    ];
    let loads = sends::loads(bench, &[MOST]);
    let loads = Loads {
        slices: 2 * loads.slices,
        open: Some(sends::calm(bench)),
        ..loads
    };
    let results = contest::hold(&loads, &contenders).await?;
    let rate = |key| anyhow::Ok(outcome(&results, key, MOST)?.rate);
    let latency = |key| {
        let latency = results.get(key).and_then(|figures| figures.latency);
        latency.map_or(f64::NAN, |latency| latency.p50)
    };
    let what = format!("{database}, {} messages stored: sends", past.messages);
    let sends = Figure::new(what, rate(GROWN)?, "/s").beside(rate(EMPTY)?);
    let what = format!("{database}, as many: send to receive, p50");
    let received = Figure::new(what, latency(GROWN), "us").beside(latency(EMPTY));
    Ok(vec![sends.wants("P12", RATE), received.wants("P12", LATENCY)])
}
