//! Nodes that die, are replaced one after the other, or are all there is.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};
use waxwire_tests::{
    Traffic,
    lane::{Dice, number},
    patience,
    postgres::Server,
    scenario_within,
};

use super::spread;

/// Senders at the same time, half in each direction.
const LANES: usize = 8;
/// How long kills go on in the short variant.
const SHORT: Duration = Duration::from_secs(10);

/// A node that is killed costs its sockets a reconnect and nothing else: every 201 arrives once, in order.
#[test]
fn killed_node_costs_a_reconnect_and_nothing_else() {
    let length = number("SOAK_SECONDS").map_or(SHORT, Duration::from_secs);
    scenario_within(length + patience(Duration::from_secs(180)), async |world| {
        let seed = Dice::seed()?;
        let mut dice = Dice::new(seed);
        let mut circle = spread(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let traffic = Traffic::start([&alice, &bob], LANES, Duration::ZERO, &mut dice);
        let until = Instant::now() + length;
        let mut kills = 0;
        while Instant::now() < until {
            sleep(Duration::from_millis(50 + dice.roll(900))).await;
            let node = dice.roll(2) as usize;
            circle.relay.kill_node(node)?;
            sleep(Duration::from_millis(dice.roll(500))).await;
            circle.relay.start_node(node).await?;
            kills += 1;
        }
        let accepted = traffic
            .end()
            .await
            .with_context(|| format!("SEED={seed}, {kills} kills"))?;
        ensure!(
            accepted > LANES && kills > 0,
            "{accepted} accepted, {kills} kills"
        );
        Ok(())
    });
}

/// docs/operations/nodes.md, Upgrades: one node after the other ends in good order and begins again, and no agent's send
/// fails.
#[test]
fn rolling_restart_fails_no_send() {
    scenario_within(patience(Duration::from_secs(180)), async |world| {
        let mut circle = spread(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let traffic = Traffic::start(
            [&alice, &bob],
            LANES,
            Duration::from_millis(20),
            &mut Dice::new(1),
        );
        for node in [0, 1, 0, 1] {
            let before = traffic.accepted();
            ensure!(circle.relay.terminate_node(node).await?.success());
            circle.relay.start_node(node).await?;
            sleep(Duration::from_millis(500)).await;
            ensure!(traffic.accepted() > before, "nothing was sent meanwhile");
        }
        let failures = traffic.failures();
        traffic.end().await?;
        ensure!(failures == 0, "{failures} sends failed");
        Ok(())
    });
}

/// F5 with two nodes: the database is killed and comes back under load.
#[test]
fn database_that_is_killed_under_two_nodes_loses_nothing() {
    scenario_within(patience(Duration::from_secs(180)), async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_nodes(2, Some(&server))?;
        relay.start().await?;
        let circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let traffic = Traffic::start([&alice, &bob], LANES, Duration::ZERO, &mut Dice::new(2));
        for _ in 0..3 {
            sleep(Duration::from_millis(700)).await;
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || server.kill().and_then(|()| server.revive())).await??;
        }
        sleep(Duration::from_secs(1)).await;
        traffic.end().await.map(drop)
    });
}
