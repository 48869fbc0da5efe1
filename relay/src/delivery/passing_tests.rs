//! Envelopes that are stored nowhere, from socket to socket (docs/relay-api.md, The socket).

use waxwire_shared::{
    api::frames::{ClientFrame, Cursor, Queue},
    limits,
    wire::{GroupHeader, Lane},
};

use crate::{
    config::Limits,
    metrics::Passed,
    testing::{Got, TestAgent, TestRelay, TestSocket, envelope, envelope_in},
};

async fn pair(relay: &TestRelay) -> (TestAgent, TestAgent) {
    (relay.register("alice").await, relay.register("bob").await)
}

fn transient(to: &TestAgent, mid: u8) -> Vec<u8> {
    envelope_in(to.id, Lane::Control, mid, b"typing")
}

/// The sender is told nothing: an answer to what it sends next is the first thing that comes.
async fn assert_untold(relay: &TestRelay, from: &mut TestSocket, to: &TestAgent) {
    from.send(9, &envelope(to.id, 200, b"mail")).await;
    assert!(matches!(from.next().await, Got::Stored { request: 9, .. }));
    assert_eq!(relay.relay.delivery.metrics.stored.get(), 1);
}

/// docs/protocol.md, 7.4: every open socket of the recipient gets it, and no queue.
#[tokio::test]
async fn transient_envelope_reaches_open_sockets_and_no_queue() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut from = TestSocket::open(&relay, &alice.key).await;
    let mut first = TestSocket::open(&relay, &bob.key).await;
    let mut second = TestSocket::open(&relay, &bob.key).await;
    let sent = transient(&bob, 1);
    from.write(&ClientFrame::Transient(&sent)).await;
    // The same bytes again are passed on again: the relay remembers none.
    from.write(&ClientFrame::Transient(&sent)).await;
    for socket in [&mut first, &mut second] {
        for _ in 0..2 {
            assert_eq!(socket.next().await, Got::Transient(sent.clone()));
        }
    }
    assert_untold(&relay, &mut from, &bob).await;
    let queues: serde_json::Value = relay.get("/v1/queues", Some(&bob.key)).await.json();
    let heads = queues["queues"].as_array().unwrap().iter();
    let heads: Vec<_> = heads.map(|queue| queue["head"].as_u64().unwrap()).collect();
    assert_eq!(heads, [1, 0], "mail has the probe, control has nothing");
    // Its `mid` was not used up either.
    from.send(10, &sent).await;
    assert!(matches!(from.next().await, Got::Stored { repeated: false, .. }));
}

/// Nothing of it is on the disk, neither in the tables nor in the log beside them.
#[tokio::test]
async fn transient_envelope_leaves_no_trace_in_the_database() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut from = TestSocket::open(&relay, &alice.key).await;
    let mut to = TestSocket::open(&relay, &bob.key).await;
    let needle = b"a ciphertext that is looked for";
    let sent = envelope_in(bob.id, Lane::Control, 1, needle);
    from.write(&ClientFrame::Transient(&sent)).await;
    assert_eq!(to.next().await, Got::Transient(sent));
    assert_untold(&relay, &mut from, &bob).await;
    drop((from, to));
    let folder = relay.stop().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            assert_eq!(path.read_dir().unwrap().count(), 0, "attachments");
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
}

#[tokio::test]
async fn transient_envelope_to_somebody_absent_is_dropped_and_does_not_come_later() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut from = TestSocket::open(&relay, &alice.key).await;
    from.write(&ClientFrame::Transient(&transient(&bob, 1))).await;
    assert_untold(&relay, &mut from, &bob).await;
    assert_eq!(relay.relay.delivery.metrics.passed(Passed::Absent), 1);
    let mut to = TestSocket::resume(&relay, &bob.key, vec![]).await;
    let mut heads = 0;
    while heads < 2 {
        match to.next().await {
            Got::Head(_) => heads += 1,
            Got::Deliver { cursor, .. } => assert_eq!(
                cursor,
                Cursor {
                    queue: Queue::Mail,
                    position: 1
                }
            ),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(to.is_silent().await);
}

/// Only small direct envelopes of the lane control, not to oneself; whatever else is dropped without
/// a word, and the socket goes on.
#[tokio::test]
async fn what_may_not_be_passed_on_is_dropped_silently() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut from = TestSocket::open(&relay, &alice.key).await;
    let mut to = TestSocket::open(&relay, &bob.key).await;
    let header = waxwire_shared::wire::Document::encode(&GroupHeader {
        suite: waxwire_shared::suite::Suite::CLASSIC,
        mid: waxwire_shared::ids::Mid::from_bytes([1; 16]),
        group: waxwire_shared::ids::GroupId::from_bytes([1; 32]),
        epoch: 1,
        roster_head: waxwire_shared::ids::Hash::from_bytes([1; 32]),
        sender: alice.id,
        i: 0,
    });
    let group = waxwire_shared::wire::Envelope {
        header: &header,
        ciphertext: b"sealed",
    }
    .to_bytes();
    let overhead = envelope_in(bob.id, Lane::Control, 1, b"").len();
    let fill = |size: usize| envelope_in(bob.id, Lane::Control, 1, &vec![7; size - overhead]);
    let refused = [
        b"no envelope".to_vec(),
        envelope(bob.id, 1, b"mail"),
        transient(&alice, 1),
        group,
        fill(limits::TRANSIENT + 1),
    ];
    for bytes in &refused {
        from.write(&ClientFrame::Transient(bytes)).await;
    }
    let largest = fill(limits::TRANSIENT);
    from.write(&ClientFrame::Transient(&largest)).await;
    assert_eq!(to.next().await, Got::Transient(largest));
    let dropped = relay.relay.delivery.metrics.passed(Passed::Malformed);
    assert_eq!(dropped, refused.len() as u64);
    assert_untold(&relay, &mut from, &bob).await;
}

/// The allowance is the sender's, whatever socket it uses; others have their own.
#[tokio::test]
async fn sender_over_its_allowance_is_dropped_silently() {
    let relay = TestRelay::limited(Limits {
        transients_per_minute: 3,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = pair(&relay).await;
    let carol = relay.register("carol").await;
    let mut to = TestSocket::open(&relay, &bob.key).await;
    for mid in 0..5 {
        let mut from = TestSocket::open(&relay, &alice.key).await;
        from.write(&ClientFrame::Transient(&transient(&bob, mid))).await;
        // Taken before the next socket sends.
        from.write(&ClientFrame::Ack(Vec::new())).await;
        if mid < 3 {
            assert_eq!(to.next().await, Got::Transient(transient(&bob, mid)));
        }
    }
    let mut other = TestSocket::open(&relay, &carol.key).await;
    other.write(&ClientFrame::Transient(&transient(&bob, 77))).await;
    assert_eq!(to.next().await, Got::Transient(transient(&bob, 77)));
    assert!(to.is_silent().await);
}

/// A recipient that reads nothing costs a bounded amount of memory, and its mail is not held up.
#[tokio::test]
async fn flood_is_bounded_and_mail_comes_through() {
    let relay = TestRelay::limited(Limits {
        transients_per_minute: 0,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = pair(&relay).await;
    let mut from = TestSocket::open(&relay, &alice.key).await;
    // Connected and silent: its inbox is not emptied before its first frame.
    let mut to = TestSocket::connect(&relay, &bob.key).await;
    for _ in 0..1_000 {
        from.write(&ClientFrame::Transient(&transient(&bob, 1))).await;
    }
    assert_untold(&relay, &mut from, &bob).await;
    let metrics = &relay.relay.delivery.metrics;
    assert_eq!(metrics.passed(Passed::On) + metrics.passed(Passed::Full), 1_000);
    to.write(&ClientFrame::Resume(Vec::new())).await;
    let (mut passed, mut mail) = (0, 0);
    while let Some(got) = to.next_soon().await {
        match got {
            Got::Transient(_) => passed += 1,
            Got::Deliver { .. } => mail += 1,
            _ => {}
        }
    }
    assert_eq!((passed, mail), (64, 1));
}
