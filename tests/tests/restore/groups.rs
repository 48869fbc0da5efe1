//! An old backup on a new host: groups heal (flow 10, step 6).

use waxwire_tests::scenario;

use super::*;

/// docs/protocol.md, 8.4: a new incarnation replaces the group's key before it seals; no key is used twice
/// (the tap remembers every one, see `Ledger`).
#[test]
fn group_heals_after_its_admin_was_restored() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather("vault", &[&bob, &carol]).await?;
        for (agent, text) in [(&alice, "one"), (&bob, "two"), (&carol, "three")] {
            agent.send_to_group(&group.id, text, text).await?;
            for reader in [&alice, &bob, &carol] {
                reader.until_text(&group.id, text).await?;
            }
        }
        let backup = back_up(world, circle.proxy("alice")?, "backup").await?;
        // The group goes on: keys that the backup does not know, numbers that it would use again.
        alice.send_to_group(&group.id, "four", "of a lost future").await?;
        bob.rekey(&group.id).await?;
        alice
            .send_to_group(&group.id, "five", "of a lost future, too")
            .await?;
        carol.until_text(&group.id, "of a lost future, too").await?;
        let epoch = bob.group_security(&group.id).await?.epoch;
        circle.proxy("alice")?.kill()?;
        carol
            .send_to_group(&group.id, "six", "while alice is away")
            .await?;
        bob.until_text(&group.id, "while alice is away").await?;

        let mut new_host = restore(world, &circle.relay, "alice", "new", &backup).await?;
        new_host.start().await?;
        let restored = new_host.agent()?;
        restored.until_ready().await?;
        restored
            .send_to_group(&group.id, "seven", "after the restore")
            .await?;
        for reader in [&bob, &carol] {
            reader.until_text(&group.id, "after the restore").await?;
            ensure!(count(reader, "session_reset").await? == 1);
        }
        let security = restored.group_security(&group.id).await?;
        ensure!(security.epoch > epoch, "the key was not replaced");
        bob.send_to_group(&group.id, "eight", "welcome back").await?;
        restored.until_text(&group.id, "welcome back").await?;
        // What it held, and what it could not read when it came back.
        let texts = restored.texts_in(&group.id).await?;
        for text in ["one", "two", "three"] {
            ensure!(
                texts.iter().any(|found| found == text),
                "{text} is lost: {texts:?}"
            );
        }
        restored.until_text(&group.id, "while alice is away").await?;
        no_forks(&[&restored, &bob, &carol]).await
    });
}
