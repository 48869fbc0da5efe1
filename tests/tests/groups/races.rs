//! Two members want different things at the same time: the log decides, and both go on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_shared::{
    api::{
        append::Append,
        frames::{Cursor, Delivery, Queue, RelayFrame},
    },
    sign::Verified,
    wire::Commit,
};
use waxwire_tests::{
    Agent, Circle,
    circle::{all_talk, same_history, settled},
    eventually, scenario,
    tap::{Outcome, Side, Way},
    unique,
};

use crate::no_alerts;

/// So slow that what two members begin at once is under way at once.
const SLOW: Way = Way::Slow(Duration::from_millis(150));

fn slow(circle: &mut Circle, way: Way) {
    for proxy in circle.proxies() {
        proxy.tap().set(way);
    }
}

/// docs/protocol.md, 6.9: of two rekeys at once one wins, the other is dropped, nobody notices.
#[test]
fn attack_08_two_rekeys_at_once_make_one_epoch() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("race")?, &[&bob, &carol]).await?.id;
        let before = settled(&[&alice, &bob, &carol], &group).await?;
        slow(&mut circle, SLOW);
        let (one, other) = tokio::join!(alice.rekey(&group), bob.rekey(&group));
        // Both are told the epoch that stands: the loser needed none of its own.
        assert_eq!((one?, other?), (before.epoch + 1, before.epoch + 1));
        slow(&mut circle, Way::Open);
        let after = settled(&[&alice, &bob, &carol], &group).await?;
        assert_eq!(after.roster_length, before.roster_length + 1);
        all_talk(&[&alice, &bob, &carol], &group, "after the race").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// docs/protocol.md, 6.9: the relay shows one member the commit that lost, too. That proves a fork: the
/// member stops for good, also after a restart, and keeps its evidence.
#[test]
fn attack_06_second_commit_on_one_head_stops_whoever_is_shown_it() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("fork")?, &[&bob, &carol]).await?.id;
        let appended = Arc::new(Mutex::new(Vec::new()));
        for proxy in circle.proxies() {
            let appended = Arc::clone(&appended);
            proxy.tap().on_request(move |asked| {
                if let Ok(append) = Append::split(&asked.body)
                    && asked.path.ends_with("/commits")
                {
                    let mut appended = appended.lock().unwrap_or_else(PoisonError::into_inner);
                    appended.push(append.commit.to_vec());
                }
                Outcome::Pass
            });
        }
        // On a busy machine one may be done before the other begins.
        let mut lost = None;
        for _ in 0..5 {
            slow(&mut circle, SLOW);
            let (one, other) = tokio::join!(alice.rekey(&group), bob.rekey(&group));
            one.and(other)?;
            slow(&mut circle, Way::Open);
            let after = settled(&[&alice, &bob, &carol], &group).await?;
            let appended = std::mem::take(&mut *appended.lock().unwrap_or_else(PoisonError::into_inner));
            let commits = appended
                .iter()
                .map(|bytes| Ok(Verified::<Commit>::from_bytes(bytes, |commit| &commit.signer)?))
                .collect::<anyhow::Result<Vec<_>>>()?;
            lost = commits.into_iter().find(|commit| {
                let (body, hash) = (commit.body(), commit.hash().to_string());
                body.position + 1 == after.roster_length && hash != after.roster_head
            });
            if lost.is_some() {
                break;
            }
        }
        let lost = lost.context("nobody lost")?;
        let position = lost.body().position + 1;
        let id = lost.body().group.context("a group")?;
        let frame = RelayFrame::Deliver(Delivery {
            cursor: Cursor {
                queue: Queue::Log(id),
                position,
            },
            envelope_id: 1,
            stored_at: 0,
            object: lost.bytes(),
        });
        circle.proxy("carol")?.tap().inject(Side::Relay, frame.encode());
        eventually("carol knows of the fork", Duration::from_secs(20), async || {
            Ok(carol.group_security(&group).await?.forked.then_some(()))
        })
        .await?;
        circle.proxy("carol")?.crash().await?;
        // Not ready is what it says of itself from now on; it answers all the same.
        assert_eq!(carol.get("/readyz").await?.status, 503);
        let refused = carol.try_group_text(&group, &unique("id")?, "no more").await?;
        refused.refused(409, "ROSTER_FORK")?;
        let alerts = carol.alerts().await?;
        ensure!(
            alerts.iter().any(|alert| alert["type"] == "roster_fork"),
            "{alerts:?}"
        );
        // Whoever was not lied to goes on.
        all_talk(&[&alice, &bob], &group, "without carol's voice").await?;
        no_alerts(&[&alice, &bob]).await
    });
}

/// Two accept at once; each commit replaces the key, so one has to be built again.
#[test]
fn two_accepts_at_once_make_two_members() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.create_group(&unique("doors")?, &["bob", "carol"]).await?.id;
        bob.until_invited(&group).await?;
        carol.until_invited(&group).await?;
        slow(&mut circle, SLOW);
        let (one, other) = tokio::join!(bob.join(&group), carol.join(&group));
        one?;
        other?;
        slow(&mut circle, Way::Open);
        let security = settled(&[&alice, &bob, &carol], &group).await?;
        assert_eq!(security.members.len(), 3);
        all_talk(&[&alice, &bob, &carol], &group, "after the doors").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// The admin removes who is leaving just now.
#[test]
fn removal_and_leave_at_once_agree() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("gone")?, &[&bob, &carol]).await?.id;
        slow(&mut circle, SLOW);
        let (removed, left) = tokio::join!(alice.remove(&group, "carol"), carol.leave(&group));
        removed?;
        left?;
        slow(&mut circle, Way::Open);
        bob.until_members(&group, &["alice", "bob"]).await?;
        carol
            .get(&format!("/v1/groups/{group}"))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        all_talk(&[&alice, &bob], &group, "after both").await?;
        settled(&[&alice, &bob], &group).await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// docs/protocol.md, 6.3: what a leaver has written is out before it leaves, and is read.
#[test]
fn leave_waits_for_own_messages() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("last words")?, &[&bob]).await?.id;
        slow(&mut circle, SLOW);
        let words = |number: usize| {
            let (bob, group) = (bob.clone(), group.clone());
            async move {
                bob.send_to_group(&group, &format!("w{number}"), &format!("word {number}"))
                    .await
            }
        };
        let leave = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bob.leave(&group).await
        };
        let (one, two, three, left) = tokio::join!(words(1), words(2), words(3), leave);
        for sent in [one, two, three] {
            sent?;
        }
        left?;
        slow(&mut circle, Way::Open);
        alice.until_members(&group, &["alice"]).await?;
        for number in 1..=3 {
            let read = alice.until_text(&group, &format!("word {number}")).await?;
            ensure!(read.security.gap.is_none(), "{read:?}");
        }
        no_alerts(&[&alice, &bob]).await
    });
}

/// Everybody writes at once right after a leave: one pays, all are read.
#[test]
fn many_senders_after_a_leave_pay_once() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let group = alice.gather(&unique("rush")?, &[&bob, &carol, &dave]).await?.id;
        let before = settled(&[&alice, &bob, &carol, &dave], &group).await?;
        slow(&mut circle, SLOW);
        dave.leave(&group).await?;
        let send = |agent: &Agent| {
            let (agent, group) = (agent.clone(), group.clone());
            async move { agent.send_to_group(&group, agent.handle(), agent.handle()).await }
        };
        let (one, two, three) = tokio::join!(send(&alice), send(&bob), send(&carol));
        one?;
        two?;
        three?;
        slow(&mut circle, Way::Open);
        let members = [&alice, &bob, &carol];
        let after = settled(&members, &group).await?;
        assert_eq!(after.epoch, before.epoch + 1, "more than one has paid");
        assert_eq!(same_history(&members, &group).await?, 3);
        all_talk(&members, &group, "after the rush").await?;
        no_alerts(&members).await
    });
}

/// Admins act on each other's people at once; whatever the order, all see the same roster.
#[test]
fn admins_at_once_end_in_one_roster() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let group = alice.gather(&unique("admins")?, &[&bob, &carol]).await?.id;
        let promote = format!("/v1/groups/{group}/members/bob/promote");
        alice.post(&promote).await?.expect(200)?;
        bob.until_event(&group, "admin_promoted", "bob").await?;
        slow(&mut circle, SLOW);
        let invite = json!({"handle": "dave"});
        let (removed, invited, patched) = tokio::join!(
            alice.remove(&group, "carol"),
            bob.try_invite(&group, &invite),
            bob.rekey(&group),
        );
        removed?;
        invited?.expect(201)?;
        patched?;
        slow(&mut circle, Way::Open);
        dave.join(&group).await?;
        let members = [&alice, &bob, &dave];
        settled(&members, &group).await?;
        for member in members {
            let seen = member.group(&group).await?;
            ensure!(seen.handles() == ["alice", "bob", "dave"], "{seen:?}");
        }
        all_talk(&members, &group, "after the admins").await?;
        no_alerts(&[&alice, &bob, &carol, &dave]).await
    });
}
