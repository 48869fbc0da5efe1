//! Backups, and copies that are put back.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use anyhow::ensure;
use tokio::time::sleep;
use waxwire_tests::{Relay, World, eventually, postgres::Server, program::run, scenario, unique};

use super::{Scene, TOOL, back_up, backup_in, hears, put_back, succeeds};

/// A backup made under load, and put back under load: every message that was answered 201 arrives, those of the time
/// that was lost included, each once.
async fn nothing_that_anybody_holds_is_lost(world: &World, mut relay: Relay) -> anyhow::Result<()> {
    let backup = backup_in(world, "backup");
    relay.start().await?;
    let mut scene = Scene::around(world, relay).await?;
    let history = scene
        .under_load(async |circle| {
            sleep(Duration::from_millis(1_500)).await;
            back_up(&circle.relay, &backup).await?;
            sleep(Duration::from_millis(1_500)).await;
            put_back(&mut circle.relay, &backup).await?;
            sleep(Duration::from_millis(1_500)).await;
            Ok(())
        })
        .await?;
    ensure!(history.len() > 50, "hardly anything was sent");
    scene.is_healed().await
}

#[test]
fn backup_that_is_put_back_under_load_loses_nothing_that_anybody_holds() {
    scenario(async |world| {
        let relay = world.new_relay_on_file("relay")?;
        nothing_that_anybody_holds_is_lost(world, relay).await
    });
}

/// The relay sees by itself that it is another database.
#[test]
fn dump_that_is_restored_under_load_loses_nothing_that_anybody_holds() {
    scenario(async |world| {
        let relay = world.new_relay_on(&Arc::new(Server::start()?), "relay")?;
        nothing_that_anybody_holds_is_lost(world, relay).await
    });
}

/// PostgreSQL has tools of its own, which are named.
#[test]
fn backup_of_a_database_on_postgresql_is_refused_with_the_reason() {
    scenario(async |world| {
        let relay = world.new_relay_on(&Arc::new(Server::start()?), "relay")?;
        succeeds(relay.tool(["migrate"])?).await?;
        let mut command = relay.tool(["admin", "backup"])?;
        command.arg(backup_in(world, "backup"));
        let refused = run(command, TOOL).await?.refusal()?;
        ensure!(refused.contains("pg_dump"), "{refused}");
        Ok(())
    });
}

/// What the relay had taken, had not delivered and has lost comes from its author, and what came meanwhile under the
/// same positions is taken as well.
#[test]
fn lost_message_is_sent_again_and_positions_that_are_given_out_again_are_taken() {
    scenario(async |world| {
        let backup = backup_in(world, "backup");
        let relay = world.relay().await?;
        let mut scene = Scene::around(world, relay).await?;
        let [alice, bob, carol] = scene.agents.clone();
        back_up(&scene.circle.relay, &backup).await?;
        // Taken by bob before the relay goes back: his position is beyond its end then.
        for _ in 0..3 {
            let text = unique("seen")?;
            alice.send_text("bob", &unique("id")?, &text).await?;
            hears(&bob, &alice, &text).await?;
        }
        scene.circle.proxy("bob")?.kill()?;
        let lost = unique("lost")?;
        let sent = alice.send_text("bob", &unique("id")?, &lost).await?;
        let lost_in_group = unique("lost, too")?;
        alice
            .send_to_group(&scene.group, &unique("id")?, &lost_in_group)
            .await?;
        put_back(&mut scene.circle.relay, &backup).await?;
        alice.until_alert("relay_rolled_back").await?;
        let after = unique("after")?;
        carol.until_ready().await?;
        carol.send_text("bob", &unique("id")?, &after).await?;
        scene.circle.proxy("bob")?.start().await?;
        hears(&bob, &alice, &lost).await?;
        hears(&bob, &carol, &after).await?;
        hears(&bob, &alice, &lost_in_group).await?;
        let rows = bob.sync().await?;
        let last = rows.last().and_then(|row| row.delivery_id.clone());
        bob.ack(&last.unwrap_or_default()).await?;
        alice.until_status(&sent, "delivered").await?;
        scene.is_healed().await
    });
}

/// Without a word of the relay: a queue that ends before what was taken from it says enough.
#[test]
fn copy_that_was_put_back_silently_is_noticed_by_where_queues_end() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut scene = Scene::around(world, relay).await?;
        let [alice, bob, _] = scene.agents.clone();
        scene.circle.relay.terminate().await?;
        let copy = scene.circle.relay.store().copy(world.folder())?;
        scene.circle.relay.start().await?;
        for agent in &scene.agents {
            agent.until_ready().await?;
        }
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            let text = unique("forgotten")?;
            from.send_text(to.handle(), &unique("id")?, &text).await?;
            hears(to, from, &text).await?;
        }
        scene.circle.relay.terminate().await?;
        scene.circle.relay.store().replace(&copy)?;
        scene.circle.relay.start().await?;
        // What the first of them sends again may bring the queue of the other to where it was.
        eventually("one is told", Duration::from_secs(20), async || {
            let told = [alice.alerts().await?, bob.alerts().await?].concat();
            let told = told.iter().any(|alert| alert["type"] == "relay_rolled_back");
            Ok(told.then_some(()))
        })
        .await?;
        // What is new before the other is back would take the place of what it had, unseen until the next message.
        for agent in &scene.agents {
            agent.until_ready().await?;
        }
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            let text = unique("after")?;
            from.send_text(to.handle(), &unique("id")?, &text).await?;
            hears(to, from, &text).await?;
        }
        Ok(())
    });
}

/// `admin restored` tells what the database itself cannot know.
#[test]
fn operator_says_that_the_database_was_set_back() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut scene = Scene::around(world, relay).await?;
        scene.circle.relay.terminate().await?;
        succeeds(scene.circle.relay.tool(["admin", "restored"])?).await?;
        scene.circle.relay.start().await?;
        scene.is_healed().await?;
        // Once: the next start goes on with the same.
        scene.circle.relay.crash().await?;
        let alerts = scene.agents[0].alerts().await?;
        ensure!(alerts.len() == 1, "{alerts:?}");
        Ok(())
    });
}

/// The backup holds the relay's signing key: it is its owner's only, replaces nothing, and leaves nothing behind when
/// it fails.
#[test]
fn backup_is_closed_and_replaces_nothing() {
    scenario(async |world| {
        let mut relay = world.new_relay_on_file("relay")?;
        relay.start().await?;
        fs::create_dir_all(relay.blobs().join("deep"))?;
        fs::write(relay.blobs().join("deep").join("blob"), b"ciphertext")?;
        let backup = backup_in(world, "backup");
        let command = || -> anyhow::Result<_> {
            let mut command = relay.tool(["admin", "backup"])?;
            command.arg(&backup);
            Ok(command)
        };
        let said = succeeds(command()?).await?;
        ensure!(
            said.contains("signing key") && said.contains("1 attachments"),
            "{said}"
        );
        for (file, mode) in [("", 0o700), ("relay.db", 0o600), ("relay.db-blobs", 0o700)] {
            let path = backup.join(file);
            let found = fs::metadata(&path)?.permissions().mode() & 0o777;
            ensure!(found == mode, "{}: {found:o}", path.display());
        }
        let copied = fs::read(backup.join("relay.db-blobs").join("deep").join("blob"))?;
        ensure!(copied == b"ciphertext");
        let refused = run(command()?, TOOL).await?.refusal()?;
        ensure!(refused.contains("is there already"), "{refused}");
        let names: Vec<_> = fs::read_dir(world.folder())?.collect::<Result<_, _>>()?;
        ensure!(
            names
                .iter()
                .all(|entry| !entry.file_name().to_string_lossy().ends_with(".part"))
        );
        Ok(())
    });
}
