//! Between sockets: resume, waits, refusals, lookups.

use std::sync::atomic::Ordering;

use axum::extract::ws::{CloseFrame, Message};
use tokio::time::{Duration, Instant, sleep};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Queue, RelayFrame},
        problem::ProblemType,
    },
    ids::GroupId,
};

use super::{
    World, at,
    fake::{FakeRelay, LINEAGE, bundle_of, greeting, relay_id},
};
use crate::{
    engine::{LinkEvent, LookupError, RelayCall},
    link::{LinkCommand, LinkFault},
};

#[tokio::test(start_paused = true)]
async fn resume_names_what_is_durable_here() {
    let group = Queue::Group(GroupId::from_bytes([4; 32]));
    let mut world = World::with(FakeRelay::start(), vec![at(Queue::Mail, 5)], 1_000);
    let (mut peer, cursors) = world.relay.welcome().await;
    assert_eq!(cursors, [at(Queue::Mail, 5)]);
    assert_eq!(
        peer.receive_ack().await,
        cursors,
        "what the relay may have missed"
    );
    for (queue, position) in [(Queue::Mail, 9), (Queue::Mail, 7), (group, 3)] {
        world.command(LinkCommand::Ack(vec![at(queue, position)]));
    }
    peer.receive_ack().await;
    drop(peer);
    assert!(matches!(world.event().await, LinkEvent::Up { .. }));
    world.expect_down().await;
    world.command(LinkCommand::Ack(vec![at(Queue::Control, 2)]));
    let (_peer, cursors) = world.relay.welcome().await;
    assert_eq!(cursors, [at(Queue::Mail, 9), at(Queue::Control, 2), at(group, 3)]);
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn waits_grow_while_the_relay_is_away_and_start_again_after_it_was_there() {
    let mut world = World::start();
    let mut peer = world.next_up().await;
    peer.send(RelayFrame::Head(at(Queue::Mail, 0))).await;
    world.event().await;
    world.relay.knobs.away.store(true, Ordering::Relaxed);
    drop(peer);
    let lost = Instant::now();
    world.expect_down().await;
    let waits = world.relay.waits(7).await;
    let first = world.relay.knobs.dials.lock().unwrap()[0] - lost;
    assert!(first < Duration::from_secs(1), "{first:?}");
    for (wait, step) in waits.iter().zip([1, 2, 5, 10, 30, 30, 30]) {
        let step = Duration::from_secs(step);
        assert!(
            (step * 3 / 4..=step * 5 / 4).contains(wait),
            "{step:?}: {waits:?}"
        );
    }
    assert!(
        waits[4] != waits[5] || waits[5] != waits[6],
        "no jitter: {waits:?}"
    );
    world.relay.knobs.away.store(false, Ordering::Relaxed);
    let peer = world.next_up().await;
    // It said nothing and did not last: not healthy, but the wait starts small again all the same.
    drop(peer);
    world.expect_down().await;
    assert_eq!(world.status.borrow().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn attack_76_a_relay_that_welcomes_and_drops_is_not_hammered() {
    let mut world = World::start();
    let start = Instant::now();
    for _ in 0..6 {
        drop(world.next_up().await);
        world.expect_down().await;
    }
    assert!(start.elapsed() > Duration::from_secs(13), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_talks_and_breaks_the_protocol_is_not_hammered() {
    let mut world = World::start();
    let start = Instant::now();
    for _ in 0..6 {
        let mut peer = world.next_up().await;
        peer.send(RelayFrame::Head(at(Queue::Mail, 0))).await;
        peer.send(greeting(1)).await;
        world.event().await;
        world.expect_down().await;
    }
    assert!(start.elapsed() > Duration::from_secs(13), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reset_reconnects_at_once() {
    let (mut world, peer) = World::up().await;
    sleep(Duration::from_secs(2)).await;
    let before = Instant::now();
    world.send(1);
    world.command(LinkCommand::Reset);
    world.expect_unknown(&[1]).await;
    world.expect_down().await;
    let _again = world.next_up().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn resets_in_a_row_do_not_spin() {
    let (mut world, mut peer) = World::up().await;
    let before = Instant::now();
    for _ in 0..10 {
        world.command(LinkCommand::Reset);
        world.expect_down().await;
        peer = world.next_up().await;
    }
    assert!(before.elapsed() > Duration::from_secs(1));
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_reset_breaks_a_wait_off_but_not_after_a_refusal() {
    let relay = FakeRelay::start();
    relay.knobs.refuse.store(503, Ordering::Relaxed);
    let world = World::with(relay, Vec::new(), 1_000);
    sleep(Duration::from_secs(60)).await;
    let dials = || world.relay.knobs.dials.lock().unwrap().len();
    let before = dials();
    world.command(LinkCommand::Reset);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(dials(), before + 1);

    world.relay.knobs.refuse.store(401, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let before = dials();
    world.command(LinkCommand::Reset);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(dials(), before);
}

/// docs/protocol.md, 4.2: another identity gets nothing.
#[tokio::test(start_paused = true)]
async fn another_relay_gets_nothing_and_the_engine_is_told_once() {
    let (mut world, peer) = World::up().await;
    *world.relay.knobs.identity.lock().unwrap() = 2;
    drop(peer);
    world.expect_down().await;
    let event = world.event().await;
    assert!(
        matches!(event, LinkEvent::RelayChanged { shown } if shown == relay_id(2)),
        "{event:?}"
    );
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::RelayChanged));
    let authorized = world.relay.knobs.authorized.load(Ordering::Relaxed);
    world.command(LinkCommand::Call(RelayCall::Bundle("alice".parse().unwrap())));
    let event = world.event().await;
    assert!(
        matches!(event, LinkEvent::Bundle(_, Err(LookupError::Unreachable))),
        "{event:?}"
    );
    sleep(Duration::from_secs(600)).await;
    assert!(world.events.try_recv().is_err());
    assert_eq!(world.relay.knobs.authorized.load(Ordering::Relaxed), authorized);
    *world.relay.knobs.identity.lock().unwrap() = 1;
    let _peer = world.next_up().await;
    world.command(LinkCommand::Call(RelayCall::Bundle("alice".parse().unwrap())));
    assert!(matches!(world.event().await, LinkEvent::Bundle(_, Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn a_refused_api_key_is_tried_again_after_minutes() {
    for (status, suspended) in [(401, false), (403, true)] {
        let relay = FakeRelay::start();
        relay.knobs.refuse.store(status, Ordering::Relaxed);
        let mut world = World::with(relay, Vec::new(), 1_000);
        let event = world.event().await;
        assert!(
            matches!(event, LinkEvent::Unauthorized { suspended: is } if is == suspended),
            "{event:?}"
        );
        for wait in world.relay.waits(4).await {
            assert!(
                (Duration::from_secs(225)..=Duration::from_secs(375)).contains(&wait),
                "{wait:?}"
            );
        }
        assert!(world.events.try_recv().is_err(), "told once");
        world.relay.knobs.refuse.store(0, Ordering::Relaxed);
        let _peer = world.next_up().await;
    }
}

fn expel() -> Message {
    Message::Close(Some(CloseFrame {
        code: 1008,
        reason: "".into(),
    }))
}

#[tokio::test(start_paused = true)]
async fn a_close_with_1008_is_checked_once_and_then_counts_as_a_refused_key() {
    let (mut world, mut peer) = World::up().await;
    peer.message(expel()).await;
    drop(peer);
    world.expect_down().await;
    let closed = Instant::now();
    let mut peer = world.next_up().await;
    assert!(closed.elapsed() < Duration::from_secs(2));
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Expelled));
    peer.message(expel()).await;
    drop(peer);
    world.expect_down().await;
    assert!(matches!(
        world.event().await,
        LinkEvent::Unauthorized { suspended: false }
    ));
    let closed = Instant::now();
    let _peer = world.next_up().await;
    assert!(closed.elapsed() >= Duration::from_secs(225));
}

#[tokio::test(start_paused = true)]
async fn a_suspension_closes_with_1008_and_is_learned_at_the_next_upgrade() {
    let (mut world, mut peer) = World::up().await;
    world.relay.knobs.refuse.store(403, Ordering::Relaxed);
    peer.message(expel()).await;
    drop(peer);
    let closed = Instant::now();
    world.expect_down().await;
    assert!(matches!(
        world.event().await,
        LinkEvent::Unauthorized { suspended: true }
    ));
    assert!(closed.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_the_relay_is_followed_at_once() {
    let (mut world, mut peer) = World::up().await;
    peer.send(RelayFrame::Head(at(Queue::Mail, 0))).await;
    world.event().await;
    peer.message(Message::Close(Some(CloseFrame {
        code: 1001,
        reason: "".into(),
    })))
    .await;
    drop(peer);
    world.expect_down().await;
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Closed));
    let closed = Instant::now();
    let _peer = world.next_up().await;
    assert!(closed.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn lookups_need_no_socket_and_tell_their_failures_apart() {
    let relay = FakeRelay::start();
    relay.knobs.refuse.store(503, Ordering::Relaxed);
    let mut world = World::with(relay, Vec::new(), 1_000);
    // The first one comes before the relay's identity has been checked.
    for handle in [
        "alice", "nobody", "limited", "broken", "teapot", "garbage", "flood",
    ] {
        world.command(LinkCommand::Call(RelayCall::Bundle(handle.parse().unwrap())));
        let LinkEvent::Bundle(shown, answer) = world.event().await else {
            panic!("{handle}")
        };
        assert_eq!(shown.as_str(), handle);
        match (handle, answer) {
            ("alice", Ok(answer)) => assert_eq!(answer, bundle_of("alice")),
            ("nobody", Err(LookupError::NotFound)) => {}
            ("limited", Err(LookupError::Refused(problem))) => {
                assert_eq!(problem.problem_type(), Some(ProblemType::RateLimited));
            }
            ("broken" | "teapot" | "garbage" | "flood", Err(LookupError::Unreachable)) => {}
            (_, answer) => panic!("{handle}: {answer:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_lookups_end_and_do_not_hold_the_socket_up() {
    let (mut world, mut peer) = World::up().await;
    world.relay.knobs.hang.store(true, Ordering::Relaxed);
    let before = Instant::now();
    for _ in 0..3 {
        world.command(LinkCommand::Call(RelayCall::Bundle("alice".parse().unwrap())));
    }
    world.send(1);
    peer.receive_send().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    peer.send(RelayFrame::Head(at(Queue::Mail, 0))).await;
    assert!(matches!(world.event().await, LinkEvent::Head(_)));
    for _ in 0..3 {
        loop {
            match world.event().await {
                LinkEvent::Bundle(_, Err(LookupError::Unreachable)) => break,
                LinkEvent::Bundle(..) => panic!(),
                _ => {}
            }
        }
    }
    assert!(before.elapsed() < Duration::from_secs(12));
}

/// docs/relay-api.md, Wake-ups.
#[tokio::test(start_paused = true)]
async fn wake_up_ends_a_wait_between_attempts() {
    let mut world = World::start();
    let peer = world.next_up().await;
    world.relay.knobs.away.store(true, Ordering::Relaxed);
    drop(peer);
    world.expect_down().await;
    world.relay.waits(5).await;
    world.relay.knobs.away.store(false, Ordering::Relaxed);
    let begin = Instant::now();
    world.command(LinkCommand::Wake);
    let mut peer = world.next_up().await;
    assert!(
        begin.elapsed() < Duration::from_millis(100),
        "{:?}",
        begin.elapsed()
    );
    // A link that is up stays as it is.
    world.command(LinkCommand::Wake);
    peer.send(RelayFrame::Head(at(Queue::Mail, 0))).await;
    assert!(matches!(world.event().await, LinkEvent::Head(_)));
}

/// docs/protocol.md, 8.6: positions are those of one course of events. With another one nothing is taken before the
/// engine has decided, and then what the relay knows to be acknowledged counts.
#[tokio::test(start_paused = true)]
async fn relay_that_was_set_back_gets_no_socket_before_the_engine_has_decided() {
    let mut world = World::with(FakeRelay::start(), vec![at(Queue::Mail, 9)], 1_000);
    for _ in 0..2 {
        let mut peer = world.relay.accept().await;
        let resume = ClientFrame::Resume(vec![at(Queue::Mail, 9)]).encode();
        assert_eq!(peer.receive().await, resume);
        peer.send(RelayFrame::Welcome {
            time: 2_000,
            lineage: 7,
            reaches: 5,
        })
        .await;
        let event = world.event().await;
        assert!(
            matches!(
                event,
                LinkEvent::Lineage {
                    lineage: 7,
                    reaches: 5
                }
            ),
            "{event:?}"
        );
    }
    world.command(LinkCommand::Lineage(7));
    let mut peer = world.relay.accept().await;
    assert_eq!(peer.receive().await, ClientFrame::Resume(Vec::new()).encode());
    peer.send(RelayFrame::Welcome {
        time: 2_000,
        lineage: 7,
        reaches: 5,
    })
    .await;
    assert!(matches!(world.event().await, LinkEvent::Up { .. }));
    assert_ne!(LINEAGE, 7);
}
