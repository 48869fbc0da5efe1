//! P3: the relay on PostgreSQL, beside the inserts of single rows of as many clients by the server's own benchmark.

use std::{fs, process::Command};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    Database,
    postgres::{self, Server},
};

use crate::{
    figure::Figure,
    load::contest::{self, Contender},
    programs,
    report::Goal,
    run::Bench,
    sends::{self, MOST, outcome},
    target::relay::Relay,
};

/// The benchmark's database.
const YARDSTICK: &str = "yardstick";
/// P3.
const RATE: Goal = Goal::RatioAtLeast(0.8);
/// A row like one of `envelope`, and its table.
const TABLE: &str = "CREATE TABLE m (id BIGSERIAL PRIMARY KEY, rcpt BIGINT, ts BIGINT, body BYTEA)";
const INSERT: &str = "INSERT INTO m (rcpt, ts, body) VALUES (1, 1, decode(repeat('5a', 500), 'hex'));\n";
/// Seconds that it runs, before the relay and after it.
const SECONDS: &str = "4";

/// Durable sends of 64 senders.
///
/// # Errors
/// There is no server, or the relay refuses a message or loses one.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let server = std::sync::Arc::new(Server::start_durable()?);
    server.create(YARDSTICK)?;
    server.run(YARDSTICK, TABLE)?;
    let before = inserts(bench, &server)?;
    let database = Database::on(&server);
    database.create()?;
    let relay = programs::relay(&bench.folder()?, &database.url()?)?;
    let relay = Relay::on(relay, MOST).await?;
    let loads = sends::loads(bench, &[MOST]);
    let contender = Contender::new("relay", &relay, &[MOST]);
    let results = contest::hold(&loads, &[contender]).await?;
    let yardstick = f64::midpoint(before, inserts(bench, &server)?);
    let relay = outcome(&results, "relay", MOST)?;
    let sends = Figure::new(
        format!("PostgreSQL: durable sends, {MOST} by POST"),
        relay.rate,
        "/s",
    );
    Ok(vec![
        sends.beside(yardstick).wants("P3", RATE),
        Figure::new("PostgreSQL: CPU of the relay a send", relay.server_cpu, "us"),
    ])
}

/// Rows a second that 64 clients of the server's own benchmark insert.
fn inserts(bench: &Bench, server: &Server) -> anyhow::Result<f64> {
    let script = bench.folder()?.join("insert.sql");
    fs::write(&script, INSERT)?;
    let clients = MOST.to_string();
    let output = Command::new(postgres::program("pgbench")?)
        .args([
            "-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", SECONDS, "-f",
        ])
        .arg(&script)
        .arg(server.database_url(YARDSTICK))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rate| rate.split_ascii_whitespace().next());
    rate.context("no rate")?.parse().context("a rate")
}
