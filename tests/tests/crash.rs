//! `kill -9` of every program at every step: nothing that was accepted is lost, nothing that was
//! settled comes again, and each kill resumes as docs say (flow 1).
//!
//! The short variant runs with every test; `SOAK_SECONDS=600 cargo test --test crash` goes on for
//! ten minutes. `SEED=n` repeats the order of kills (not the timing within the programs).

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use waxwire_shared::api::frames::RelayFrame;
use waxwire_tests::{
    Message, Pair, Relay, Stranger, World,
    canary::random,
    lane::{Dice, number},
    patience,
    postgres::Server,
    scenario, scenario_within,
    traffic::{Traffic, compare_ends},
    unique, within,
};

/// Senders at the same time, half in each direction.
const LANES: usize = 16;
/// How long kills go on in the short variant.
const SHORT: Duration = Duration::from_secs(12);

/// Kills and restarts until the time is over, then leaves everything running.
async fn chaos(
    pair: &mut Pair,
    server: Option<&Arc<Server>>,
    length: Duration,
    dice: &mut Dice,
) -> anyhow::Result<usize> {
    let until = Instant::now() + length;
    let mut kills = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(50 + dice.roll(900))).await;
        match (dice.roll(8), server) {
            (0 | 1, Some(server)) => {
                server.crash(Duration::from_millis(dice.roll(600))).await?;
            }
            (0..=2, _) => pair.relay.crash().await?,
            (3 | 4, _) => pair.alice.crash().await?,
            (5 | 6, _) => pair.bob.crash().await?,
            _ => {
                pair.alice.tap().cut();
                pair.bob.tap().cut();
            }
        }
        kills += 1;
    }
    Ok(kills)
}

/// B4, F5: a 201 survives, under sixteen senders.
#[test]
fn attack_100_accepted_messages_survive_kills_of_every_program() {
    accepted_messages_survive_kills(None);
}

/// B4, F5 with the relay on PostgreSQL, which is killed as well.
#[test]
fn accepted_messages_survive_kills_of_every_program_and_of_postgresql() {
    let server = Server::start().unwrap();
    accepted_messages_survive_kills(Some(&Arc::new(server)));
}

fn accepted_messages_survive_kills(server: Option<&Arc<Server>>) {
    let length = number("SOAK_SECONDS").map_or(SHORT, Duration::from_secs);
    scenario_within(length + patience(Duration::from_secs(180)), async |world| {
        let seed = Dice::seed()?;
        let mut relay = match server {
            Some(server) => world.new_relay_on(server, "relay")?,
            None => world.new_relay("relay")?,
        };
        relay.start().await?;
        let mut pair = world.pair_on(relay).await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut dice = Dice::new(seed);
        let traffic = Traffic::start([&alice, &bob], LANES, Duration::ZERO, &mut dice);
        let kills = chaos(&mut pair, server, length, &mut dice)
            .await
            .with_context(|| format!("SEED={seed}"))?;
        let accepted = traffic
            .end()
            .await
            .with_context(|| format!("SEED={seed}, {kills} kills"))?;
        ensure!(
            accepted > LANES && kills > 0,
            "hardly anything happened: SEED={seed}, {accepted} accepted, {kills} kills"
        );
        Ok(())
    });
}

/// The sender's proxy dies at a fault point; the agent repeats its send and is answered `status`.
fn sender_dies_at(fault: &'static str, status: u16) {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", "before the fault").await?;
        let before = bob.receive().await?;
        alice.until_status(&before, "delivered").await?;
        pair.alice.terminate().await?;
        pair.alice.start_with_fault(fault).await?;
        alice.until_ready().await?;
        let (id, text) = (unique("fault")?, unique("text")?);
        let answer = alice.try_text("bob", &id, &text).await;
        ensure!(answer.is_err(), "the proxy answered: {answer:?}");
        pair.alice.aborted().await?;
        pair.alice.start().await?;
        let answer = alice.try_text("bob", &id, &text).await?;
        ensure!(answer.status == status, "{} {}", answer.status, answer.text());
        let message: Message = answer.parse()?;
        let got = bob.receive().await?;
        ensure!(
            got.id == message.id && got.client_msg_id == id && got.seq == 2,
            "{got:?}"
        );
        ensure!(got.security.gap.is_none(), "{got:?}");
        alice.send_text("bob", "after", "after the fault").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "after");
        assert!(bob.sync_after(None, 1).await?.is_empty());
        compare_ends(&[alice, bob], 3).await
    });
}

/// docs/protocol.md, 5.6, step 4: nothing is there before the transaction.
/// Flow 1 before step 4: nothing was queued, the repeat starts afresh.
#[test]
fn sender_dies_before_the_message_is_queued() {
    sender_dies_at("send.before_commit", 201);
}

/// docs/protocol.md, 5.6, steps 4 and 5: retries repeat the stored bytes.
/// Flow 1 after steps 4 and 5: the message goes out by itself.
#[test]
fn sender_dies_after_the_message_is_queued() {
    sender_dies_at("send.committed", 200);
}

/// docs/protocol.md, 5.6, step 6: the outcome is recorded before the agent is told.
/// Flow 1 before the transaction of step 6: the same bytes are offered again.
#[test]
fn sender_dies_before_the_outcome_is_recorded() {
    sender_dies_at("send.answered", 200);
}

/// Flow 1 after the transaction of step 6.
#[test]
fn sender_dies_before_the_agent_is_answered() {
    sender_dies_at("send.stored", 200);
}

/// Nobody repeats anything: what was queued before the death is delivered all the same.
#[test]
fn queued_message_goes_out_after_the_senders_death_by_itself() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        pair.alice.terminate().await?;
        pair.alice.start_with_fault("send.committed").await?;
        alice.until_ready().await?;
        let (id, text) = (unique("fault")?, unique("text")?);
        alice
            .try_text("bob", &id, &text)
            .await
            .err()
            .context("the proxy answered")?;
        pair.alice.aborted().await?;
        pair.alice.start().await?;
        let got = bob.receive().await?;
        assert_eq!(
            (got.client_msg_id.as_str(), got.text()),
            (id.as_str(), text.as_str())
        );
        compare_ends(&[alice, bob], 1).await
    });
}

/// The recipient's proxy dies at a fault point while a message comes in.
fn recipient_dies_at(fault: &'static str) {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", "before the fault").await?;
        bob.receive().await?;
        pair.bob.terminate().await?;
        pair.bob.start_with_fault(fault).await?;
        let sent = alice.send_text("bob", "at-the-fault", &unique("text")?).await?;
        pair.bob.aborted().await?;
        pair.bob.start().await?;
        let got = bob.receive().await?;
        ensure!(
            got.id == sent.id && got.seq == 2 && got.security.gap.is_none(),
            "{got:?}"
        );
        assert!(bob.sync_after(None, 1).await?.is_empty());
        compare_ends(&[alice, bob], 2).await
    });
}

/// docs/protocol.md, 5.7, step 9: stored first, acknowledged then.
/// Flow 1 before the transaction of step 7: the relay delivers again.
#[test]
fn recipient_dies_before_the_message_is_stored() {
    recipient_dies_at("receive.before_commit");
}

/// docs/protocol.md, 5.7, step 9, and 5.4: what comes again is shown once.
/// Flow 1 after the transaction of step 7, before the relay is acked: delivered again, shown once.
#[test]
fn recipient_dies_before_the_relay_is_acked() {
    recipient_dies_at("receive.committed");
}

/// An ack that was not answered settled nothing; the row is the same afterwards.
#[test]
fn recipient_dies_before_the_ack_is_recorded() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        pair.bob.terminate().await?;
        pair.bob.start_with_fault("settle.before_commit").await?;
        let sent = alice.send_text("bob", "settled-late", &unique("text")?).await?;
        let rows = bob.sync_after(None, 10).await?;
        let delivery = rows[0].delivery_id.clone().context("a delivery id")?;
        bob.ack(&delivery).await.err().context("the ack was answered")?;
        pair.bob.aborted().await?;
        pair.bob.start().await?;
        assert_eq!(bob.sync().await?, rows);
        assert_eq!(bob.ack(&delivery).await?, 1);
        alice.until_status(&sent, "delivered").await?;
        assert!(bob.sync().await?.is_empty());
        Ok(())
    });
}

/// B4 for every agent of a relay: what the relay answered 201 it holds after `kill -9`, once, in
/// the order of its answers, without gaps in its positions.
#[test]
fn relay_keeps_what_it_answered_under_kills() {
    scenario(async |world| {
        let relay = world.relay().await?;
        keeps_what_it_answered(world, relay, async |relay, _| relay.crash().await).await
    });
}

/// B4 on PostgreSQL: neither its death nor that of the relay takes back a 201.
#[test]
fn relay_keeps_what_it_answered_under_kills_of_postgresql() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        relay.start().await?;
        let kill = async |relay: &mut Relay, round: usize| match round % 3 {
            0 => relay.crash().await,
            1 => server.crash(Duration::ZERO).await,
            _ => {
                // One after the other, without a moment in between.
                relay.kill()?;
                server.crash(Duration::ZERO).await?;
                relay.start().await
            }
        };
        keeps_what_it_answered(world, relay, kill).await
    });
}

async fn keeps_what_it_answered(
    world: &World,
    mut relay: Relay,
    mut kill: impl AsyncFnMut(&mut Relay, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let reader = Stranger::registered(relay.http(), "reader", world.canaries()).await?;
    let mut senders = JoinSet::new();
    let (end, ended) = watch::channel(false);
    for number in 0..LANES {
        let sender =
            Stranger::registered(relay.http(), &format!("sender-{number}"), world.canaries()).await?;
        let (to, ended) = (reader.id(), ended.clone());
        senders.spawn(async move {
            let mut accepted = Vec::new();
            while !*ended.borrow() {
                let envelope = sender.envelope(to, &random::<560>()?)?;
                // Not answered: repeated until it is.
                while sender.store(&envelope).await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
                accepted.push(envelope);
            }
            anyhow::Ok(accepted)
        });
    }
    for round in 0..6 {
        sleep(Duration::from_millis(500)).await;
        kill(&mut relay, round).await?;
    }
    end.send_replace(true);
    let mut lanes = Vec::new();
    while let Some(accepted) = within("senders end", Duration::from_secs(30), senders.join_next()).await? {
        lanes.push(accepted??);
    }
    let held = fetch_all(&reader).await?;
    ensure!(
        lanes.iter().map(Vec::len).sum::<usize>() > 100,
        "hardly anything was sent"
    );
    ensure!(
        held.len() == lanes.iter().map(Vec::len).sum::<usize>(),
        "lost or held twice"
    );
    for lane in &lanes {
        let mut rest = held.iter();
        ensure!(
            lane.iter().all(|sent| rest.any(|kept| kept == sent)),
            "lost or out of order"
        );
    }
    Ok(())
}

/// Every envelope of the reader's mail, checked for gaps in its positions.
async fn fetch_all(reader: &Stranger) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    loop {
        let path = format!("/v1/queues/mail/envelopes?limit=1000&after={}", all.len());
        let answer = reader.ask(reader.request("GET", path)).await?;
        answer.expect_status(200)?;
        let mut rest = &answer.body[..];
        if rest.is_empty() {
            return Ok(all);
        }
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            let Ok(RelayFrame::Deliver(delivery)) = RelayFrame::decode(frame) else {
                bail!("not a delivery");
            };
            all.push(delivery.object.to_vec());
            ensure!(
                delivery.cursor.position == all.len() as u64,
                "a gap before {:?}",
                delivery.cursor
            );
            rest = tail;
        }
    }
}
