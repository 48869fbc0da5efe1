//! Two instances of one agent: exactly one sends, or none, and both say so (docs/protocol.md, 8.4, 8.5).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use waxwire_tests::{scenario, tap::Outcome};

use super::*;

/// A copy of a folder with everything in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// docs/protocol.md, 8.5: the old host, switched on again, is reported by both and sends nothing.
#[test]
fn old_host_that_is_switched_on_again_sends_nothing_and_both_say_so() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "hello").await?;
        bob.receive().await?;
        let backup = back_up(world, &pair.alice, "backup").await?;
        pair.alice.kill()?;
        let mut new_host = restore(world, &pair.relay, "alice", "new", &backup).await?;
        new_host.start().await?;
        let restored = new_host.agent()?;
        restored.until_ready().await?;

        pair.alice.start().await?;
        until_red(&alice, "superseded").await?;
        until_alert(&alice, "superseded").await?;
        until_alert(&restored, "clone").await?;
        alice
            .try_text("bob", "from-the-old", "must not go out")
            .await?
            .refused(409, "SUPERSEDED")?;
        // What comes for alice is the new host's.
        bob.send_text("alice", "for-the-new", "which of you?").await?;
        ensure!(restored.receive().await?.text() == "which of you?");
        ensure!(alice.sync().await?.is_empty(), "the old host took mail");
        restored.send_text("bob", "still-here", "I am the one").await?;
        ensure!(bob.receive().await?.text() == "I am the one");
        pair.alice.crash().await?;
        until_red(&alice, "superseded").await?;
        no_forks(&[&bob]).await
    });
}

#[test]
fn old_host_that_is_running_is_told_and_can_take_over_again() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "hello").await?;
        bob.receive().await?;
        let backup = back_up(world, &pair.alice, "backup").await?;
        let mut new_host = restore(world, &pair.relay, "alice", "new", &backup).await?;
        until_red(&alice, "superseded").await?;
        alice
            .try_text("bob", "two", "must not go out")
            .await?
            .refused(409, "SUPERSEDED")?;
        new_host.start().await?;
        let restored = new_host.agent()?;
        restored.until_ready().await?;

        // The operator decides for the old one.
        ensure!(pair.alice.terminate().await?.success());
        run(pair.alice.tool("take-over", &[])?, LIMIT).await?.success()?;
        pair.alice.start().await?;
        until_red(&restored, "superseded").await?;
        alice.until_ready().await?;
        alice.send_text("bob", "three", "back again").await?;
        ensure!(bob.receive().await?.text() == "back again");
        bob.send_text("alice", "four", "welcome").await?;
        ensure!(alice.receive().await?.text() == "welcome");
        no_forks(&[&bob]).await
    });
}

/// A folder that was copied, both of which run: the same session, the same numbers, the same API key.
#[test]
fn copy_of_a_running_folder_stops_both_until_one_is_ended() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "hello").await?;
        bob.receive().await?;
        ensure!(pair.alice.terminate().await?.success());
        let mut twin = world.other_host(&pair.relay, "alice", "twin").await?;
        copy(&pair.alice.state(), &twin.state())?;
        pair.alice.start().await?;
        alice.until_ready().await?;
        twin.start().await?;
        let other = twin.agent()?;
        for one in [&alice, &other] {
            until_red(one, "clone").await?;
            until_alert(one, "clone").await?;
            one.try_text("bob", "two", "must not go out")
                .await?
                .refused(409, "CLONE")?;
        }
        twin.kill()?;
        pair.alice.crash().await?;
        alice.until_ready().await?;
        alice.send_text("bob", "three", "one of us").await?;
        ensure!(bob.receive().await?.text() == "one of us");
        no_forks(&[&bob]).await
    });
}

/// docs/protocol.md, 8.4: a snapshot that was put back finds a bundle of its own that it does not know.
#[test]
fn attack_58_snapshot_that_was_put_back_begins_anew() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "hello").await?;
        bob.receive().await?;
        ensure!(pair.alice.terminate().await?.success());
        let snapshot = world.folder().join("snapshot");
        copy(&pair.alice.state(), &snapshot)?;

        pair.alice.arguments(["--key-rotation", "1"]);
        pair.alice.start().await?;
        alice.until_ready().await?;
        let published = Arc::new(AtomicU64::new(0));
        let count_it = Arc::clone(&published);
        pair.alice.tap().on_request(move |asked| {
            let is_bundle = asked.method == "PUT" && asked.path.ends_with("/bundle");
            count_it.fetch_add(u64::from(is_bundle), Ordering::Relaxed);
            Outcome::Pass
        });
        alice.send_text("bob", "two", "of a lost future").await?;
        bob.receive().await?;
        eventually("alice's key is replaced", SOON, async || {
            Ok((published.load(Ordering::Relaxed) > 1).then_some(()))
        })
        .await?;
        pair.alice.tap().calm();
        ensure!(pair.alice.terminate().await?.success());

        fs::remove_dir_all(pair.alice.state())?;
        copy(&snapshot, &pair.alice.state())?;
        pair.alice.arguments([]);
        pair.alice.start().await?;
        until_alert(&alice, "rolled_back").await?;
        alice.until_ready().await?;
        alice.send_text("bob", "three", "in a new session").await?;
        ensure!(bob.receive().await?.text() == "in a new session");
        ensure!(count(&bob, "session_reset").await? == 1);
        // The key of the lost future is gone; the one that is published now opens.
        eventually("bob's mail arrives", SOON, async || {
            let id = waxwire_tests::unique("again")?;
            bob.try_text("alice", &id, "to the new key").await?;
            Ok((!alice.take(1).await?.is_empty()).then_some(()))
        })
        .await?;
        no_forks(&[&bob]).await
    });
}
