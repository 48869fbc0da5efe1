//! Members that are away, and programs that come and go.

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{
    Message,
    circle::{all_talk, same_history, send_until_known, settled},
    scenario, unique,
};

use crate::no_alerts;

/// docs/protocol.md, 6.5: thirty keys later everything is read, in order, without a gap.
#[test]
fn member_that_was_away_for_thirty_epochs_reads_all_in_order() {
    const EPOCHS: usize = 30;
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("away")?, &[&bob, &carol]).await?.id;
        all_talk(&[&alice, &bob, &carol], &group, "before").await?;
        let before = settled(&[&alice, &bob, &carol], &group).await?.epoch;
        ensure!(circle.proxy("bob")?.terminate().await?.success());
        let mut written = Vec::new();
        for number in 0..EPOCHS {
            let (payer, writer) = if number % 2 == 0 {
                (&alice, &carol)
            } else {
                (&carol, &alice)
            };
            let epoch = payer.rekey(&group).await?;
            writer.until_epoch(&group, epoch).await?;
            for writer in [payer, writer] {
                let text = format!("{} in epoch {epoch}", writer.handle());
                let id = unique("away")?;
                written.push((writer.send_to_group(&group, &id, &text).await?, epoch));
            }
        }
        circle.proxy("bob")?.start().await?;
        let (last, _) = &written[written.len() - 1];
        bob.until_text(&group, last.text()).await?;
        let rows = bob.history(&group, "after_seq=0&limit=200").await?;
        let read: Vec<&Message> = rows.iter().filter(|row| row.kind != "system").collect();
        let read = &read[read.len() - written.len()..];
        ensure!(
            read.iter()
                .all(|it| it.security.verified && it.security.gap.is_none()),
            "{read:?}"
        );
        let texts: Vec<&str> = read.iter().map(|it| it.text()).collect();
        let expected: Vec<&str> = written.iter().map(|(sent, _)| sent.text()).collect();
        assert_eq!(texts, expected);
        let epochs = read.iter().map(|it| it.security.epoch);
        ensure!(
            epochs.eq(written.iter().map(|(_, epoch)| Some(*epoch))),
            "{read:?}"
        );
        assert_eq!(
            settled(&[&alice, &bob, &carol], &group).await?.epoch,
            before + EPOCHS as u64
        );
        all_talk(&[&alice, &bob, &carol], &group, "after").await?;
        same_history(&[&alice, &bob, &carol], &group).await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// docs/protocol.md, 6.6: somebody leaves while nobody else is there. Whoever comes back first and
/// writes pays; who comes later reads it.
#[test]
fn leave_with_nobody_there_is_paid_by_the_first_sender() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("empty")?, &[&bob, &carol]).await?.id;
        let before = settled(&[&alice, &bob, &carol], &group).await?.epoch;
        for handle in ["alice", "bob"] {
            ensure!(circle.proxy(handle)?.terminate().await?.success());
        }
        carol.leave(&group).await?;
        ensure!(circle.proxy("carol")?.terminate().await?.success());
        circle.proxy("bob")?.start().await?;
        bob.until_ready().await?;
        let sent = bob.send_to_group(&group, "first", "anybody there?").await?;
        circle.proxy("alice")?.start().await?;
        let got = alice.until_text(&group, "anybody there?").await?;
        assert_eq!((&got.id, got.security.epoch), (&sent.id, Some(before + 1)));
        circle.proxy("carol")?.start().await?;
        carol.until_ready().await?;
        carol
            .get(&format!("/v1/groups/{group}"))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        all_talk(&[&alice, &bob], &group, "the two of us").await?;
        assert_eq!(settled(&[&alice, &bob], &group).await?.epoch, before + 1);
        assert_eq!(carol.texts_in(&group).await?, [] as [&str; 0]);
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// Members that were away while others were invited, joined and removed.
#[test]
fn member_that_was_away_learns_who_came_and_went() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let group = alice.gather(&unique("changes")?, &[&bob, &carol]).await?.id;
        circle.proxy("bob")?.kill()?;
        alice.invite(&group, "dave").await?;
        dave.join(&group).await?;
        carol.send_to_group(&group, "carol", "carol was here").await?;
        alice.until_text(&group, "carol was here").await?;
        alice.remove(&group, "carol").await?;
        dave.send_to_group(&group, "dave", "dave is here").await?;
        circle.proxy("bob")?.start().await?;
        bob.until_text(&group, "dave is here").await?;
        bob.until_members(&group, &["alice", "bob", "dave"]).await?;
        // What carol wrote before she was removed counts: the admin had read it.
        let carols = bob.until_text(&group, "carol was here").await?;
        ensure!(carols.security.verified, "{carols:?}");
        bob.until_event(&group, "member_joined", "dave").await?;
        bob.until_event(&group, "member_removed", "carol").await?;
        settled(&[&alice, &bob, &dave], &group).await?;
        all_talk(&[&alice, &bob, &dave], &group, "the new circle").await?;
        no_alerts(&[&alice, &bob, &dave]).await
    });
}

/// Everything is restarted in the middle, in order and by `kill -9`: what was read stays, and it
/// goes on.
#[test]
fn everything_outlives_restarts_of_every_program() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let members = [&alice, &bob, &carol];
        let name = unique("restarts")?;
        let group = alice.gather(&name, &[&bob, &carol]).await?.id;
        all_talk(&members, &group, "the first run").await?;
        let before = settled(&members, &group).await?;
        for kill in [true, false] {
            circle.relay.kill()?;
            for proxy in circle.proxies() {
                if kill {
                    proxy.kill()?;
                } else {
                    ensure!(proxy.terminate().await?.success());
                }
            }
            circle.relay.start().await?;
            for proxy in circle.proxies() {
                proxy.start().await?;
            }
            for member in members {
                member.until_ready().await?;
                let shown = member.group(&group).await?;
                assert_eq!((shown.name.as_str(), shown.member_count), (name.as_str(), 3));
            }
            assert_eq!(settled(&members, &group).await?.roster_head, before.roster_head);
            all_talk(&members, &group, "another run").await?;
        }
        assert_eq!(same_history(&members, &group).await?, 9);
        no_alerts(&members).await
    });
}

/// The relay is gone while a message is sent: it waits in the proxy and goes out by itself, once.
#[test]
fn message_waits_for_a_relay_that_is_gone() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("gone")?, &[&bob]).await?.id;
        // Who has written and read has the key: agreeing on the roster does not say that.
        settled(&[&alice, &bob], &group).await?;
        all_talk(&[&alice, &bob], &group, "while it was there").await?;
        circle.relay.kill()?;
        let (id, text) = (unique("id")?, unique("kept")?);
        let refused = alice.try_group_text(&group, &id, &text).await?;
        assert_eq!(refused.refused(503, "RELAY_UNREACHABLE")?["queued"], true);
        circle.relay.start().await?;
        bob.until_text(&group, &text).await?;
        assert_eq!(send_until_known(&alice, &group, &id, &text).await?.text(), text);
        let shown = bob.texts_in(&group).await?;
        assert_eq!(
            shown.iter().filter(|shown| **shown == text).count(),
            1,
            "{shown:?}"
        );
        Ok(())
    });
}

/// Killed between two messages, a proxy goes on where it was: nothing is lost or shown twice.
#[test]
fn crashes_between_messages_lose_and_repeat_nothing() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let members = [&alice, &bob, &carol];
        let group = alice.gather(&unique("crashes")?, &[&bob, &carol]).await?.id;
        for turn in 0..6 {
            let writer = members[turn % 2];
            let id = unique("id")?;
            send_until_known(writer, &group, &id, &unique("said")?).await?;
            circle.proxies()[turn % 3].crash().await?;
        }
        assert_eq!(same_history(&members, &group).await?, 6);
        all_talk(&members, &group, "after the crashes").await?;
        no_alerts(&members).await
    });
}

/// The relay dies again and again while three write and keys change.
#[test]
fn nothing_is_lost_while_the_relay_dies() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let members = [&alice, &bob, &carol];
        let group = alice.gather(&unique("dying relay")?, &[&bob, &carol]).await?.id;
        let mut tasks = tokio::task::JoinSet::new();
        for member in members {
            let (member, group) = (member.clone(), group.clone());
            tasks.spawn(async move {
                for number in 0..15 {
                    let id = format!("{}-{number}", member.handle());
                    send_until_known(&member, &group, &id, &id).await?;
                    if number % 5 == 4 {
                        // Whether it is answered or not: what counts is that it does no harm.
                        member.post(&format!("/v1/groups/{group}/rekey")).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            circle.relay.crash().await?;
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        assert_eq!(same_history(&members, &group).await?, 45);
        settled(&members, &group).await?;
        all_talk(&members, &group, "the quiet after").await?;
        no_alerts(&members).await
    });
}
