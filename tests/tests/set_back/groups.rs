//! Groups that have changed since the backup: nobody goes back, and those who made the changes make them again.

use anyhow::ensure;
use waxwire_tests::{
    Agent,
    circle::{all_talk, settled},
    scenario, unique,
};

use super::{Scene, back_up, backup_in, put_back};

/// docs/protocol.md, 8.6: rekeys of two members, a member who left and a group that was founded are lost by the relay, and
/// come back to it from their authors.
#[test]
fn commits_that_the_relay_has_lost_are_appended_again_by_their_authors() {
    scenario(async |world| {
        let backup = backup_in(world, "backup");
        let relay = world.relay().await?;
        let mut scene = Scene::around(world, relay).await?;
        let [alice, bob, carol] = scene.agents.clone();
        back_up(&scene.circle.relay, &backup).await?;
        alice.rekey(&scene.group).await?;
        all_talk(&[&alice, &bob, &carol], &scene.group, "rekeyed once").await?;
        bob.rekey(&scene.group).await?;
        all_talk(&[&alice, &bob, &carol], &scene.group, "rekeyed twice").await?;
        let younger = alice.gather(&unique("younger")?, &[&bob]).await?.id;
        all_talk(&[&alice, &bob], &younger, "founded").await?;
        let members: [(&str, Vec<&Agent>); 2] = [
            (&scene.group, vec![&alice, &bob, &carol]),
            (&younger, vec![&alice, &bob]),
        ];
        let mut before = Vec::new();
        for (group, members) in &members {
            before.push(settled(members, group).await?);
        }
        put_back(&mut scene.circle.relay, &backup).await?;
        for agent in [&alice, &bob, &carol] {
            agent.until_alert("relay_rolled_back").await?;
        }
        alice.until_alert("roster_lost").await?;
        for ((group, members), before) in members.iter().zip(before) {
            all_talk(members, group, "healed").await?;
            let after = settled(members, group).await?;
            ensure!(
                after.roster_length >= before.roster_length,
                "{after:?}, before {before:?}"
            );
        }
        Ok(())
    });
}
