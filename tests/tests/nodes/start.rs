//! Which relays go together on a database.

use std::sync::Arc;

use anyhow::ensure;
use waxwire_tests::{Relay, Stranger, eventually, postgres::Server, program::run, scenario};

use super::{SHORT, readiness};

/// The first start of a database: one migrates, one makes the identity, and all of them have it.
#[test]
fn nodes_that_begin_together_are_one_relay() {
    scenario(async |world| {
        let mut relay = world.new_nodes(3, None)?;
        relay.transparency(1);
        relay.start().await?;
        let first = Stranger::new(relay.http_of(0), "first").await?;
        for node in 1..3 {
            let same = Stranger::new(relay.http_of(node), "same").await?;
            ensure!(same.id_of(&first.identity()) == first.id(), "another relay");
        }
        Ok(())
    });
}

/// docs/operations/nodes.md: relays without Redis are alone, and nobody joins those that are not.
#[test]
fn relay_without_redis_goes_with_no_other() {
    scenario(async |world| {
        let mut relay = world.new_nodes(2, None)?;
        let alone = |node| -> anyhow::Result<_> {
            let mut command = relay.command_of(node, "127.0.0.1:0")?;
            command.env_remove("WAXWIRE_REDIS_URL");
            Ok(command)
        };
        let (one, two, beside) = (alone(0)?, alone(1)?, relay.command_of(1, "127.0.0.1:0")?);
        relay.start_node_by(0, one).await?;
        let refused = run(two, SHORT).await?.refusal()?;
        ensure!(refused.contains("in use by another relay"), "{refused}");
        let refused = run(beside, SHORT).await?.refusal()?;
        ensure!(refused.contains("without --redis"), "{refused}");
        relay.kill_node(0)?;
        // Whoever is killed is followed at once.
        relay.start().await?;
        let mut third = relay.command_of(0, "127.0.0.1:0")?;
        third.env_remove("WAXWIRE_REDIS_URL");
        let refused = run(third, SHORT).await?.refusal()?;
        ensure!(refused.contains("in use by another relay"), "{refused}");
        Ok(())
    });
}

#[test]
fn number_in_ids_that_another_node_has_is_refused() {
    scenario(async |world| {
        let mut relay = world.new_nodes(3, None)?;
        let numbered = |relay: &Relay, node, number| -> anyhow::Result<_> {
            let mut command = relay.command_of(node, "127.0.0.1:0")?;
            command.args(["--worker-id", number]);
            Ok(command)
        };
        relay.start_node_by(0, numbered(&relay, 0, "7")?).await?;
        relay.start_node(1).await?;
        for taken in ["0", "7"] {
            let refused = run(numbered(&relay, 2, taken)?, SHORT).await?.refusal()?;
            ensure!(refused.contains(&format!("has the number {taken}")), "{refused}");
        }
        relay.start_node_by(2, numbered(&relay, 2, "1023")?).await
    });
}

/// Attachments of several nodes need a place that all of them know.
#[test]
fn nodes_that_do_not_say_where_attachments_are_do_not_start() {
    scenario(async |world| {
        let relay = world.new_nodes(2, None)?;
        let mut command = relay.command("127.0.0.1:0")?;
        command.env_remove("WAXWIRE_RELAY_BLOBS");
        let refused = run(command, SHORT).await?.refusal()?;
        ensure!(refused.contains("--blobs"), "{refused}");
        Ok(())
    });
}

/// docs/operations/nodes.md, What happens when something is away.
#[test]
fn database_that_is_away_comes_back_for_all_nodes() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_nodes(2, Some(&server))?;
        relay.start().await?;
        for _ in 0..2 {
            server.kill()?;
            for node in 0..2 {
                ensure!(readiness(&relay, node).await?.status == 503);
            }
            server.revive()?;
            for node in 0..2 {
                eventually("the node is ready", SHORT, async || {
                    Ok((readiness(&relay, node).await?.status == 200).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    });
}
