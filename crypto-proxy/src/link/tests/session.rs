//! One socket: sends, acks, deliveries, signs of life.

use tokio::time::{Duration, Instant, sleep};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Delivery, Queue, RelayFrame, Seen},
        problem::{Problem, ProblemType},
    },
    ids::Hash,
    limits,
};

use super::{World, at, fake::FakeRelay};
use crate::{
    engine::{LinkEvent, SendOutcome},
    link::LinkCommand,
};

fn stored(request: u32, repeated: bool) -> RelayFrame<'static> {
    RelayFrame::Stored {
        request,
        repeated,
        envelope_id: 1,
        hash: Hash::from_bytes([9; 32]),
    }
}

fn deliver(position: u64, object: &[u8]) -> RelayFrame<'_> {
    RelayFrame::Deliver(Delivery {
        cursor: at(Queue::Mail, position),
        envelope_id: 3,
        stored_at: 4,
        object,
    })
}

#[tokio::test(start_paused = true)]
async fn sends_are_pipelined_and_outcomes_find_their_token() {
    let (mut world, mut peer) = World::up().await;
    (10..13).for_each(|token| world.send(token));
    let mut requests = Vec::new();
    for token in 10..13 {
        let (request, envelope) = peer.receive_send().await;
        assert_eq!(envelope, format!("envelope {token}").into_bytes());
        requests.push(request);
    }
    let problem = Problem::new(ProblemType::Backlogged);
    let document = serde_json::to_vec(&problem).unwrap();
    peer.send(stored(requests[1], true)).await;
    peer.send(RelayFrame::Refused {
        request: requests[0],
        status: 429,
        problem: &document,
    })
    .await;
    peer.send(stored(requests[2], false)).await;
    let hash = Hash::from_bytes([9; 32]);
    assert!(matches!(
        world.event().await,
        LinkEvent::Outcome(11, SendOutcome::Stored { repeated: true, hash: held, .. }) if held == hash
    ));
    assert!(matches!(
        world.event().await,
        LinkEvent::Outcome(10, SendOutcome::Refused(shown)) if *shown == problem
    ));
    assert!(matches!(
        world.event().await,
        LinkEvent::Outcome(12, SendOutcome::Stored { repeated: false, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn more_sends_than_the_wire_takes_all_get_through_in_order() {
    let (mut world, mut peer) = World::up().await;
    (0..3_000).for_each(|token| world.send(token));
    for token in 0..3_000 {
        let (request, envelope) = peer.receive_send().await;
        assert_eq!(envelope, format!("envelope {token}").into_bytes());
        peer.send(stored(request, false)).await;
        assert!(
            matches!(world.event().await, LinkEvent::Outcome(done, SendOutcome::Stored { .. }) if done == token)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_and_heads_reach_the_engine_in_order() {
    let (mut world, mut peer) = World::up().await;
    peer.send(deliver(1, b"one")).await;
    peer.send(deliver(2, b"two")).await;
    peer.send(RelayFrame::Head(at(Queue::Mail, 2))).await;
    for (position, object) in [(1, b"one"), (2, b"two")] {
        let LinkEvent::Delivered { cursor, object: got } = world.event().await else {
            panic!()
        };
        assert_eq!(
            (cursor, got.as_slice()),
            (at(Queue::Mail, position), object.as_slice())
        );
    }
    assert!(matches!(world.event().await, LinkEvent::Head(cursor) if cursor == at(Queue::Mail, 2)));
}

#[tokio::test(start_paused = true)]
async fn acks_are_coalesced() {
    let (world, mut peer) = World::up().await;
    for position in 1..=50 {
        world.command(LinkCommand::Ack(vec![
            at(Queue::Mail, position),
            at(Queue::Control, 1),
        ]));
    }
    assert_eq!(
        peer.receive_ack().await,
        [at(Queue::Mail, 50), at(Queue::Control, 1)]
    );
    world.command(LinkCommand::Ack(vec![at(Queue::Mail, 51)]));
    assert_eq!(peer.receive_ack().await, [at(Queue::Mail, 51)]);
}

#[tokio::test(start_paused = true)]
async fn frames_with_acks_keep_their_distance() {
    let (world, mut peer) = World::up().await;
    let acking = async {
        for position in 1..=200 {
            world.command(LinkCommand::Ack(vec![at(Queue::Mail, position)]));
            sleep(Duration::from_millis(1)).await;
        }
    };
    let counting = async {
        let mut frames = 0;
        while peer.receive_ack().await != [at(Queue::Mail, 200)] {
            frames += 1;
        }
        frames
    };
    let ((), frames) = tokio::join!(acking, counting);
    assert!((20..=60).contains(&frames), "{frames}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_socket_leaves_outcomes_unknown_in_order_before_down() {
    let (mut world, mut peer) = World::up().await;
    (1..=4).for_each(|token| world.send(token));
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(peer.receive_send().await.0);
    }
    peer.send(stored(requests[1], false)).await;
    assert!(matches!(
        world.event().await,
        LinkEvent::Outcome(2, SendOutcome::Stored { .. })
    ));
    world
        .relay
        .knobs
        .away
        .store(true, std::sync::atomic::Ordering::Relaxed);
    drop(peer);
    world.expect_unknown(&[1, 3, 4]).await;
    world.expect_down().await;
    let before = Instant::now();
    world.send(5);
    world.send(6);
    world.expect_unknown(&[5, 6]).await;
    assert_eq!(
        before.elapsed(),
        Duration::ZERO,
        "without a socket the outcome is known at once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_drops_the_socket() {
    let (mut world, mut peer) = World::up().await;
    world.send(1);
    world.send(2);
    let (_first, (second, _)) = (peer.receive_send().await, peer.receive_send().await);
    let before = Instant::now();
    // The relay talks all the time and answers everything but the first send.
    let talk = async {
        peer.send(stored(second, false)).await;
        for position in 1.. {
            sleep(Duration::from_millis(100)).await;
            if peer
                .0
                .send(axum::extract::ws::Message::Binary(
                    deliver(position, b"x").encode().into(),
                ))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let listen = async {
        loop {
            match world.event().await {
                LinkEvent::Outcome(2, SendOutcome::Stored { .. }) | LinkEvent::Delivered { .. } => {}
                LinkEvent::Outcome(1, SendOutcome::Unknown) => break,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(talk, listen);
    let waited = before.elapsed();
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(12)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_gives_no_sign_of_life_is_dropped() {
    let (mut world, peer) = World::up().await;
    let before = Instant::now();
    world.expect_down().await;
    let waited = before.elapsed();
    assert!(
        (Duration::from_secs(45)..Duration::from_secs(47)).contains(&waited),
        "{waited:?}"
    );
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn pongs_keep_an_idle_socket_up() {
    let (mut world, mut peer) = World::up().await;
    let alive = tokio::spawn(async move { peer.closed().await });
    sleep(Duration::from_secs(3_600)).await;
    assert!(world.events.try_recv().is_err());
    assert!(world.status.borrow().connected);
    alive.abort();
}

#[tokio::test(start_paused = true)]
async fn a_busy_engine_holds_the_socket_up_and_blames_nobody() {
    let mut world = World::with(FakeRelay::start(), Vec::new(), 1);
    let mut peer = world.next_up().await;
    world.send(1);
    let (request, _) = peer.receive_send().await;
    for position in 1..=3 {
        peer.send(deliver(position, b"object")).await;
    }
    peer.send(stored(request, false)).await;
    // While the engine does not read, writing goes on.
    sleep(Duration::from_secs(120)).await;
    world.send(2);
    let (request, envelope) = peer.receive_send().await;
    assert_eq!(envelope, b"envelope 2");
    peer.send(stored(request, false)).await;
    sleep(Duration::from_secs(120)).await;
    for wanted in 1..=3 {
        let event = world.event().await;
        assert!(
            matches!(&event, LinkEvent::Delivered { cursor, .. } if cursor.position == wanted),
            "{event:?}"
        );
    }
    for wanted in 1..=2 {
        let event = world.event().await;
        assert!(
            matches!(&event, LinkEvent::Outcome(token, SendOutcome::Stored { .. }) if *token == wanted),
            "{event:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_listened_does_not_count_as_silence() {
    let mut world = World::with(FakeRelay::start(), Vec::new(), 1);
    let mut peer = world.next_up().await;
    peer.send(deliver(1, b"object")).await;
    peer.send(deliver(2, b"object")).await;
    world.send(1);
    let (request, _) = peer.receive_send().await;
    sleep(Duration::from_secs(60)).await;
    for _ in 0..2 {
        assert!(matches!(world.event().await, LinkEvent::Delivered { .. }));
    }
    sleep(Duration::from_secs(5)).await;
    peer.send(stored(request, false)).await;
    let event = world.event().await;
    assert!(
        matches!(event, LinkEvent::Outcome(1, SendOutcome::Stored { .. })),
        "{event:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_engine_did_not_take_is_not_lost() {
    let mut world = World::with(FakeRelay::start(), Vec::new(), 1);
    let mut peer = world.next_up().await;
    world.send(1);
    let (request, _) = peer.receive_send().await;
    peer.send(deliver(1, b"object")).await;
    peer.send(stored(request, false)).await;
    sleep(Duration::from_secs(1)).await;
    world.cancel.cancel();
    sleep(Duration::from_secs(3)).await;
    assert!(matches!(world.event().await, LinkEvent::Delivered { .. }));
    world.expect_unknown(&[1]).await;
    world.expect_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_read_is_dropped() {
    let (mut world, peer) = World::up().await;
    let envelope = vec![0; 70_000];
    for token in 0..100 {
        world.command(LinkCommand::Send {
            token,
            envelope: envelope.clone(),
        });
    }
    let before = Instant::now();
    world.expect_unknown(&(0..100).collect::<Vec<_>>()).await;
    world.expect_down().await;
    assert!(before.elapsed() < Duration::from_secs(15));
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn the_link_takes_its_leave_with_the_last_acks() {
    let (mut world, mut peer) = World::up().await;
    world.send(1);
    peer.receive_send().await;
    world.command(LinkCommand::Ack(vec![at(Queue::Mail, 3)]));
    tokio::task::yield_now().await;
    world.cancel.cancel();
    assert_eq!(peer.receive_ack().await, [at(Queue::Mail, 3)]);
    assert_eq!(peer.closed().await, Some(1001));
    world.expect_unknown(&[1]).await;
    world.expect_down().await;
    world.link.await.unwrap();
    assert!(!world.status.borrow().connected);
}

#[tokio::test(start_paused = true)]
async fn the_link_ends_with_the_engine() {
    let (world, mut peer) = World::up().await;
    drop(world.commands);
    assert_eq!(peer.closed().await, Some(1001));
    world.link.await.unwrap();
}

/// docs/protocol.md, 7.4: what nobody stores goes out once, is answered by nobody, and does not survive
/// the socket.
#[tokio::test(start_paused = true)]
async fn transients_go_out_without_an_answer_and_are_lost_without_a_socket() {
    let (mut world, mut peer) = World::up().await;
    world.command(LinkCommand::Show(true));
    world.command(LinkCommand::Transient(b"one".to_vec()));
    world.command(LinkCommand::Transient(b"two".to_vec()));
    assert_eq!(
        peer.receive().await,
        ClientFrame::Presence { shown: true }.encode()
    );
    for envelope in [b"one", b"two"] {
        assert_eq!(peer.receive().await, ClientFrame::Transient(envelope).encode());
    }
    drop(peer);
    world.expect_down().await;
    world.command(LinkCommand::Transient(b"lost".to_vec()));
    world.command(LinkCommand::Show(true));
    let mut peer = world.next_up().await;
    world.send(7);
    let (_, envelope) = peer.receive_send().await;
    assert_eq!(envelope, b"envelope 7");
}

/// A relay that does not read costs a bounded amount of memory; sends go before what nobody stores.
#[tokio::test(start_paused = true)]
async fn transients_that_wait_are_bounded() {
    let (world, mut peer) = World::up().await;
    (0..2_000).for_each(|_| world.command(LinkCommand::Transient(vec![7; 4_000])));
    world.send(1);
    let mut transients = 0;
    loop {
        let frame = peer.receive().await;
        match ClientFrame::decode(&frame).unwrap() {
            ClientFrame::Transient(_) => transients += 1,
            ClientFrame::Send { .. } => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(transients < 2_000, "all of them waited");
}

#[tokio::test(start_paused = true)]
async fn transients_and_presence_reach_the_engine() {
    let (mut world, mut peer) = World::up().await;
    let seen = Seen {
        handle: "bob".parse().unwrap(),
        online: true,
        last_seen: None,
    };
    peer.send(RelayFrame::Transient(b"envelope")).await;
    peer.send(RelayFrame::Presence(seen.clone())).await;
    assert!(matches!(world.event().await, LinkEvent::Transient(bytes) if bytes == b"envelope"));
    assert!(matches!(world.event().await, LinkEvent::Seen(shown) if shown == seen));
    // Larger than any that a relay may pass on.
    let large = vec![7; limits::TRANSIENT + 1];
    peer.send(RelayFrame::Transient(&large)).await;
    world.expect_down().await;
}
