//! Recorded while something breaks: what is down, refuses or is cut off is told by the rule that is for it.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::sleep;
use waxwire_tests::{Agent, Circle, postgres::Server, scenario, unique};

use crate::{fires, recording::Recording};

/// Between scrapes; they are played as if they were further apart.
const PAUSE: Duration = Duration::from_millis(250);
/// Scrapes before something breaks, and after.
const BEFORE: usize = 4;
const AFTER: usize = 10;

/// Scrapes everybody, and has alice send meanwhile.
async fn record(recording: &mut Recording, circle: &mut Circle, scrapes: usize) -> anyhow::Result<()> {
    for _ in 0..scrapes {
        recording.scrape();
        let page = circle.relay.metrics_of(0).await.ok();
        recording.take("waxwire-relay", "relay", page.as_deref());
        for proxy in circle.proxies() {
            let handle = proxy.handle().to_owned();
            let page = match proxy.agent() {
                Ok(agent) => scraped(&agent).await,
                Err(_) => None,
            };
            recording.take("waxwire-proxy", &handle, page.as_deref());
        }
        if let Ok(alice) = circle.proxy("alice")?.agent() {
            let id = unique("id")?;
            // Its outcome is nothing that is looked at here.
            let sending = alice.try_text("bob", &id, &id);
            let _sent = tokio::time::timeout(PAUSE, sending).await;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn scraped(agent: &Agent) -> Option<String> {
    let answer = agent.get("/metrics").await.ok()?;
    (answer.status == 200).then(|| answer.text())
}

#[test]
fn nothing_fires_while_all_is_well() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let mut recording = Recording::new("good order");
        record(&mut recording, &mut circle, BEFORE + AFTER).await?;
        fires(&recording, &[])
    });
}

#[test]
fn relay_that_was_killed_fires() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let mut recording = Recording::new("relay killed");
        record(&mut recording, &mut circle, BEFORE).await?;
        circle.relay.kill()?;
        record(&mut recording, &mut circle, AFTER).await?;
        circle.relay.start().await?;
        fires(&recording, &["WaxwireRelayDown", "WaxwireProxyUnlinked"])
    });
}

#[test]
fn proxy_that_was_killed_fires() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let mut recording = Recording::new("proxy killed");
        record(&mut recording, &mut circle, BEFORE).await?;
        circle.proxy("bob")?.kill()?;
        record(&mut recording, &mut circle, AFTER).await?;
        circle.proxy("bob")?.start().await?;
        fires(&recording, &["WaxwireProxyDown"])
    });
}

#[test]
fn database_server_that_was_killed_fires() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        relay.start().await?;
        let mut circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let mut recording = Recording::new("PostgreSQL killed");
        record(&mut recording, &mut circle, BEFORE).await?;
        server.kill()?;
        // A read waits for a while for a connection.
        record(&mut recording, &mut circle, 3 * AFTER).await?;
        server.revive()?;
        fires(
            &recording,
            &["WaxwireRelayDatabaseRefusesWrites", "WaxwireRelayDatabaseAway"],
        )
    });
}

/// Another program holds the database of the relay, as a backup by hand would.
#[test]
fn database_that_is_held_by_another_fires() {
    scenario(async |world| {
        let mut relay = world.new_relay_on_file("relay")?;
        relay.start().await?;
        let mut circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let mut recording = Recording::new("database held");
        record(&mut recording, &mut circle, BEFORE).await?;
        let file = circle.relay.store().file().context("a file")?.to_owned();
        let other = rusqlite::Connection::open(file)?;
        other.execute_batch("BEGIN IMMEDIATE")?;
        record(&mut recording, &mut circle, 4 * AFTER).await?;
        other.execute_batch("ROLLBACK")?;
        fires(&recording, &["WaxwireRelayDatabaseRefusesWrites"])
    });
}

/// The same of a crypto proxy.
#[test]
fn state_that_is_held_by_another_fires() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let mut recording = Recording::new("state held");
        record(&mut recording, &mut circle, BEFORE).await?;
        let file = circle.proxy("alice")?.state().join("state.db");
        let other = rusqlite::Connection::open(file)?;
        other.execute_batch("BEGIN IMMEDIATE")?;
        record(&mut recording, &mut circle, 4 * AFTER).await?;
        other.execute_batch("ROLLBACK")?;
        fires(&recording, &["WaxwireProxyStateRefusesWrites"])
    });
}

#[test]
fn redis_that_was_killed_fires() {
    scenario(async |world| {
        let mut relay = world.new_nodes(2, None)?;
        relay.start().await?;
        let mut circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let mut recording = Recording::new("Redis killed");
        record(&mut recording, &mut circle, BEFORE).await?;
        circle.relay.redis()?.kill()?;
        record(&mut recording, &mut circle, AFTER).await?;
        circle.relay.redis()?.revive()?;
        fires(&recording, &["WaxwireRelayRedisAway"])
    });
}
