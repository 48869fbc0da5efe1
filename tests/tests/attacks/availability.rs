//! Availability (70 to 77).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::{
        frames::{Queue, RelayFrame},
        problem::ProblemType,
    },
    ids::Hash,
};
use waxwire_tests::{
    Scene, eventually, scenario,
    tap::{Fate, Outcome},
    unique,
};

use super::{REFUSED, acquaint, insider, member, refused, take_text};

const SOON: Duration = Duration::from_secs(20);

/// Attack 70: what cannot be read lies at the head of the queue and between messages.
#[test]
fn attack_70_poison_does_not_block_a_queue() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        for n in 0..10 {
            alice
                .send_text("bob", &format!("good-{n}"), &unique("good")?)
                .await?;
        }
        scene.evil("bob")?.until_held(Queue::Mail, 10).await?;
        let poison = [
            Vec::new(),
            vec![0xff; 64],
            vec![0; 70_000],
            envelope[..20].to_vec(),
            envelope[..envelope.len() - 1].to_vec(),
            [&[0, 0, 2, 0], vec![0xa1; 512].as_slice(), &[0; 60]].concat(),
        ];
        let bad = poison.len() as u64;
        scene.evil("bob")?.release(Queue::Mail, |held| {
            let good = std::mem::take(held);
            held.extend(poison.iter().cloned());
            for message in good {
                held.push(message);
                held.extend(poison.iter().cloned());
            }
        });
        let got = bob.take_all(10, SOON).await?;
        let ids: Vec<&str> = got.iter().map(|message| message.client_msg_id.as_str()).collect();
        ensure!(
            ids == (0..10).map(|n| format!("good-{n}")).collect::<Vec<_>>(),
            "{ids:?}"
        );
        bob.until_metric(REFUSED, 11 * bad).await?;
        bob.until_alert("envelope_malformed").await?;
        scene.aftermath().await
    });
}

/// Memory that a program has in use, in bytes.
fn memory(scene: &mut Scene<'_>, handle: &str) -> anyhow::Result<u64> {
    let id = scene.proxy(handle)?.program()?.id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("VmRSS")?.parse::<u64>()? * 1024)
}

/// Attack 72: numbers jump as far as they can. What was skipped is shown as a hole; nothing grows with it.
#[test]
fn attack_72_huge_jumps_are_bounded() {
    const ROOM: u64 = 64 << 20;
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("jumps").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, epoch) = member(world, &scene, &alice, &group).await?;
        bob.until_epoch(&group, epoch.number).await?;
        let before = memory(&mut scene, "bob")?;
        let text = unique("far ahead")?;
        let mut letter = mallory.letter("bob", &text).await?;
        (letter.core.n, letter.core.previous) = (1 << 62, Some(Hash::from_bytes([1; 32])));
        mallory.post(&mallory.seal(&letter)?).await?;
        let got = take_text(&bob, &text).await?;
        let gap = got.security.gap.context("no hole is shown")?;
        ensure!((gap.after, gap.missing) == (0, (1 << 62) - 1), "{gap:?}");
        for n in [(1 << 62) + 1, u64::MAX] {
            let mut letter = mallory.letter("bob", &unique("too far")?).await?;
            (letter.core.n, letter.core.previous) = (n, Some(Hash::from_bytes([1; 32])));
            mallory.post(&mallory.seal(&letter)?).await?;
        }
        bob.until_metric(&refused("message_malformed"), 2).await?;
        let text = unique("at the end of the chain")?;
        let mut letter = mallory.group_letter(&log, &epoch, &text)?;
        letter.header.i = 65_535;
        mallory.post(&mallory.seal_group(&letter, &epoch)?).await?;
        bob.until_text(&group, &text).await?;
        let after = memory(&mut scene, "bob")?;
        ensure!(after < before + ROOM, "from {before} to {after} bytes");
        scene.aftermath().await
    });
}

/// Attack 74: a stranger has an agent verify a thousand bad signatures. What honest peers write arrives.
#[test]
fn attack_74_bad_signatures_keep_nobody_from_writing() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let mut letter = mallory.letter("bob", "").await?;
        letter.core.identity = mallory.bundle_of("alice").await?.identity;
        let envelope = mallory.seal(&letter)?;
        scene.evil("bob")?.show(Queue::Mail, &vec![envelope; 1_000]);
        let id = unique("honest")?;
        alice.send_text("bob", &id, &unique("honest")?).await?;
        let mut got = bob.take_all(1, Duration::from_secs(60)).await?;
        ensure!(got.remove(0).client_msg_id == id, "another one");
        bob.until_metric(&refused("bad_signature"), 1_000).await?;
        scene.aftermath().await
    });
}

/// Attack 75: the relay lies about the time. That is told, and changes nothing.
#[test]
fn attack_75_relays_clock_is_told_and_not_believed() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let identity = bob.identity("alice").await?;
        for (hours, handle) in [(-6, "alice"), (6, "bob")] {
            scene.evil(handle)?.also(move |frame| match frame.relay() {
                Some(RelayFrame::Welcome {
                    time,
                    lineage,
                    reaches,
                }) => {
                    let welcome = RelayFrame::Welcome {
                        time: time.saturating_add_signed(hours * 3_600_000),
                        lineage,
                        reaches,
                    };
                    Some(Fate::Replace(vec![welcome.encode()]))
                }
                _ => None,
            });
            scene.proxy(handle)?.tap().cut();
        }
        for agent in [&alice, &bob] {
            agent.until_alert("clock_skew").await?;
            agent.until_ready().await?;
        }
        let id = unique("id")?;
        let sent = alice.send_text("bob", &id, &unique("what time?")?).await?;
        let got = bob.receive().await?;
        ensure!(got.created_at == sent.created_at, "{got:?} is not {sent:?}");
        ensure!(
            bob.identity("alice").await?["expires_at"] == identity["expires_at"],
            "another expiry"
        );
        scene.aftermath().await
    });
}

/// Attack 77: the relay says that there is no such account, that it was suspended or deleted. Nothing that
/// the agent has is lost.
#[test]
fn attack_77_no_word_of_the_relay_deletes_anything() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("kept").await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let text = unique("kept")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        bob.until_text(&group, &text).await?;
        let conversations = bob.get("/v1/conversations").await?.expect(200)?;
        let identity = bob.get("/v1/agents/me").await?.expect(200)?["fingerprint"].clone();
        for kind in [
            ProblemType::Internal,
            ProblemType::NotFound,
            ProblemType::Gone,
            ProblemType::Stale,
            ProblemType::Suspended,
            ProblemType::Unauthorized,
        ] {
            let answered = answer_all(&mut scene, "bob", kind)?;
            scene.proxy("bob")?.crash().await?;
            eventually("the relay was asked", SOON, async || {
                Ok((answered.load(Ordering::SeqCst) > 0).then_some(()))
            })
            .await?;
            ensure!(bob.get("/readyz").await?.status == 503, "ready without a relay");
            ensure!(
                bob.get("/v1/conversations").await?.expect(200)? == conversations,
                "{kind:?}"
            );
            ensure!(bob.texts_in(&group).await?.contains(&text), "{kind:?}");
            let now = bob.get("/v1/agents/me").await?.expect(200)?;
            ensure!(now["fingerprint"] == identity, "{kind:?}: {now}");
        }
        scene.proxy("bob")?.tap().forget_requests();
        scene.proxy("bob")?.crash().await?;
        bob.until_ready().await?;
        scene.aftermath().await
    });
}

/// Answers every request with one problem; counts them.
fn answer_all(scene: &mut Scene<'_>, handle: &str, kind: ProblemType) -> anyhow::Result<Arc<AtomicU64>> {
    let answered = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&answered);
    let body = serde_json::to_vec(&waxwire_shared::api::problem::Problem::new(kind))?;
    scene.proxy(handle)?.tap().on_request(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Outcome::Answer {
            status: kind.status(),
            media_type: "application/problem+json",
            body: body.clone(),
        }
    });
    Ok(answered)
}
