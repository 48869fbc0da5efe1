//! The relay on PostgreSQL: what only this database does. Everything else of the suite runs on it with
//! `WAXWIRE_TEST_DATABASE=postgres`.

use std::{process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    Answer, Ask, Database, Relay, Stranger,
    binaries::Binary,
    canary::random,
    certificate::{self, trusting},
    eventually,
    postgres::Server,
    program::run,
    scenario,
};

const SHORT: Duration = Duration::from_secs(30);

async fn readiness(relay: &Relay) -> anyhow::Result<Answer> {
    relay.http().ask(Ask::new("GET", "/readyz")).await
}

/// An answer that says when to try again.
fn is_unavailable(answer: &Answer) -> anyhow::Result<()> {
    let after = answer.header("retry-after").context("no Retry-After")?;
    ensure!(
        answer.status == 503 && after.parse::<u64>()? > 0,
        "{} after {after}",
        answer.status
    );
    Ok(())
}

/// F5: while the database is away every request is refused with a time to try again, readiness is red, and what
/// was refused can be sent again afterwards, without anybody's help.
#[test]
fn database_that_is_lost_is_told_and_heals_by_itself() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        relay.start().await?;
        let alice = Stranger::registered(relay.http(), "alice", world.canaries()).await?;
        let bob = Stranger::registered(relay.http(), "bob", world.canaries()).await?;
        let envelope = alice.envelope(bob.id(), &random::<560>()?)?;
        ensure!(readiness(&relay).await?.status == 200);

        server.kill()?;
        is_unavailable(&alice.post_envelope(&envelope).await?)?;
        is_unavailable(&readiness(&relay).await?)?;
        is_unavailable(&bob.ask(bob.request("GET", "/v1/queues/mail/envelopes")).await?)?;

        server.revive()?;
        eventually("the relay is ready", SHORT, async || {
            Ok((readiness(&relay).await?.status == 200).then_some(()))
        })
        .await?;
        alice.store(&envelope).await?;
        let got = bob.ask(bob.request("GET", "/v1/queues/mail/envelopes")).await?;
        got.expect_status(200)?;
        ensure!(got.body.windows(envelope.len()).any(|window| window == envelope));
        Ok(())
    });
}

/// docs/operations/postgres.md: one relay serves a database.
#[test]
fn second_relay_on_the_database_does_not_start_and_says_why() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        relay.start().await?;
        let refused = run(relay.command("127.0.0.1:0")?, SHORT).await?.refusal()?;
        ensure!(refused.contains("in use by another relay"), "{refused}");
        // Who is killed is followed at once.
        relay.crash().await?;
        relay.terminate().await?;
        relay.start().await
    });
}

/// docs/operations/postgres.md: migrating needs no relay, and a database that is not there is named as the reason.
#[test]
fn migrate_works_on_an_empty_database_and_needs_one() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        for _ in 0..2 {
            run(relay.tool(["migrate"])?, SHORT).await?.success()?;
        }
        relay.start().await?;
        run(relay.tool(["admin", "agents"])?, SHORT).await?.success()?;
        relay.terminate().await?;
        let Database::Postgres { name, .. } = relay.store() else {
            anyhow::bail!("another database");
        };
        server.drop_database(name)?;
        let refused = run(relay.command("127.0.0.1:0")?, SHORT).await?.refusal()?;
        ensure!(refused.contains("cannot be reached"), "{refused}");
        Ok(())
    });
}

/// docs/operations/postgres.md: with `sslmode=verify-full` nothing is said to a server whose certificate nobody vouches
/// for; the machine's trust store does, or the authority that the URL names.
#[test]
fn server_over_tls_has_to_be_trusted() {
    scenario(async |world| {
        let server = Arc::new(Server::start_with_tls()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        let url = format!("{}?sslmode=verify-full", relay.store().url()?);
        let command = |arguments: &[&str], url: &str| -> anyhow::Result<Command> {
            let mut command = Binary::Relay.command(relay.folder())?;
            command.args(arguments).args(["--database", url]);
            Ok(command)
        };
        let refused = run(command(&["migrate"], &url)?, SHORT).await?.refusal()?;
        ensure!(refused.contains("certificate"), "{refused}");
        run(trusting(command(&["migrate"], &url)?), SHORT)
            .await?
            .success()?;

        let url = format!("{url}&sslrootcert={}", certificate::file("cert.pem").display());
        let start = command(&["serve", "--listen", "127.0.0.1:0"], &url)?;
        relay.start_by(start).await?;
        let pair = world.pair_on(relay).await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "good morning").await?;
        ensure!(bob.receive().await?.text() == "good morning");
        Ok(())
    });
}
