//! The socket, from its first frame to its end (docs/relay-api.md, The socket).

use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, Message};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, Queue},
        problem::ProblemType,
    },
    hash::sha256,
    ids::AgentId,
    limits,
    wire::Lane,
};

use super::{
    Timing,
    queue_state::{WINDOW, WINDOW_BYTES},
};
use crate::{
    config::Limits,
    testing::{Got, NOW, Setup, TestAgent, TestRelay, TestSocket, envelope, envelope_in},
};

async fn pair(relay: &TestRelay) -> (TestAgent, TestAgent) {
    (relay.register("alice").await, relay.register("bob").await)
}

/// An envelope whose `mid` is a number.
fn numbered(to: AgentId, number: u32, length: usize) -> Vec<u8> {
    let mut bytes = envelope(to, 0, &vec![7; length]);
    // The `mid` ends the header: 16 bytes before the ciphertext.
    let end = bytes.len() - length;
    bytes[end - 4..end].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn mail(position: u64) -> Cursor {
    Cursor {
        queue: Queue::Mail,
        position,
    }
}

fn control(position: u64) -> Cursor {
    Cursor {
        queue: Queue::Control,
        position,
    }
}

/// Sends over one socket and waits for all answers.
async fn send_all(relay: &TestRelay, from: &TestAgent, envelopes: impl IntoIterator<Item = Vec<u8>>) {
    let mut socket = TestSocket::open(relay, &from.key).await;
    for (request, bytes) in (0..).zip(envelopes) {
        socket.send(request, &bytes).await;
        assert!(matches!(socket.next().await, Got::Stored { .. }));
    }
}

#[tokio::test]
async fn backlog_comes_in_order_then_head_then_live() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    send_all(&relay, &alice, (0..100).map(|n| numbered(bob.id, n, 10))).await;
    let mut socket = TestSocket::connect(&relay, &bob.key).await;
    socket.write(&ClientFrame::Resume(Vec::new())).await;
    assert_eq!(socket.next().await, Got::Welcome { time: NOW });
    let mut position = 0;
    let mut heads = Vec::new();
    while heads.len() < 2 {
        match socket.next().await {
            Got::Deliver { cursor, object } => {
                assert_eq!(object, numbered(bob.id, u32::try_from(position).unwrap(), 10));
                position += 1;
                assert_eq!(cursor, mail(position));
            }
            Got::Head(cursor) => heads.push(cursor),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(position, 100);
    assert!(heads.contains(&mail(100)) && heads.contains(&control(0)));
    relay.send(&alice.key, &numbered(bob.id, 100, 10)).await;
    relay
        .send(&alice.key, &envelope_in(bob.id, Lane::Control, 200, b"control"))
        .await;
    assert_eq!(
        socket.next_delivery().await,
        (mail(101), numbered(bob.id, 100, 10))
    );
    assert_eq!(socket.next_delivery().await.0, control(1));
    assert!(socket.is_silent().await);
}

#[tokio::test]
async fn resume_starts_after_the_named_position_or_the_last_ack() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    send_all(&relay, &alice, (0..5).map(|n| numbered(bob.id, n, 10))).await;
    let mut socket = TestSocket::resume(&relay, &bob.key, vec![mail(3)]).await;
    let mut got = Vec::new();
    while got.len() < 4 {
        got.push(socket.next().await);
    }
    let delivered: Vec<_> = got
        .iter()
        .filter_map(|got| match got {
            Got::Deliver { cursor, .. } => Some(cursor.position),
            _ => None,
        })
        .collect();
    assert_eq!(delivered, [4, 5]);
    socket.ack(Queue::Mail, 4).await;
    // A cursor of a group that the agent is not in is passed over.
    let stranger = Queue::Group(waxwire_shared::ids::GroupId::from_bytes([1; 32]));
    socket.ack(stranger, 4).await;
    wait_for_ack(&relay, &bob, 4).await;
    let mut again = TestSocket::resume(
        &relay,
        &bob.key,
        vec![Cursor {
            queue: stranger,
            position: 1,
        }],
    )
    .await;
    let mut positions = Vec::new();
    for _ in 0..3 {
        if let Got::Deliver { cursor, .. } = again.next().await {
            positions.push(cursor.position);
        }
    }
    assert_eq!(positions, [5]);
}

async fn wait_for_ack(relay: &TestRelay, agent: &TestAgent, position: u64) {
    let written = async {
        loop {
            let queues: serde_json::Value = relay.get("/v1/queues", Some(&agent.key)).await.json();
            if queues["queues"][0]["acked"] == position {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written)
        .await
        .unwrap();
}

/// A relay that lost its end (a restored backup) tells it by its heads and delivers what is new.
#[tokio::test]
async fn resume_beyond_the_head_counts_as_the_head() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut socket = TestSocket::resume(&relay, &bob.key, vec![mail(1_000), control(u64::MAX)]).await;
    assert_eq!(socket.next().await, Got::Head(mail(0)));
    assert_eq!(socket.next().await, Got::Head(control(0)));
    relay.send(&alice.key, &numbered(bob.id, 1, 10)).await;
    assert_eq!(socket.next_delivery().await.0, mail(1));
}

#[tokio::test]
async fn window_closes_at_256_deliveries_and_opens_with_acks() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let total = u64::try_from(WINDOW).unwrap() + 50;
    send_all(
        &relay,
        &alice,
        (0..total).map(|n| numbered(bob.id, u32::try_from(n).unwrap(), 10)),
    )
    .await;
    let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    assert_eq!(socket.next().await, Got::Head(control(0)));
    for position in 1..=u64::try_from(WINDOW).unwrap() {
        assert_eq!(socket.next_delivery().await.0, mail(position));
    }
    assert!(socket.is_silent().await);
    // What is sent now is read from the table when its turn comes, not pushed out of order.
    relay.send(&alice.key, &numbered(bob.id, 9_999, 10)).await;
    assert!(socket.is_silent().await);
    // The other queue is not held up.
    relay
        .send(&alice.key, &envelope_in(bob.id, Lane::Control, 200, b"control"))
        .await;
    assert_eq!(socket.next_delivery().await.0, control(1));
    socket.ack(Queue::Mail, 10).await;
    for position in total - 49..total - 39 {
        assert_eq!(socket.next_delivery().await.0, mail(position));
    }
    assert!(socket.is_silent().await);
    socket.ack(Queue::Mail, u64::MAX).await;
    for position in total - 39..=total + 1 {
        assert_eq!(socket.next_delivery().await.0, mail(position));
    }
    assert_eq!(socket.next().await, Got::Head(mail(total + 1)));
}

#[tokio::test]
async fn long_mail_backlog_does_not_keep_control_waiting() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    send_all(&relay, &alice, (0..200).map(|n| numbered(bob.id, n, 10))).await;
    relay
        .send(&alice.key, &envelope_in(bob.id, Lane::Control, 200, b"control"))
        .await;
    let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    let mut mails = 0;
    loop {
        match socket.next().await {
            Got::Deliver { cursor, .. } if cursor.queue == Queue::Control => break,
            Got::Deliver { .. } => mails += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(mails < 200, "control came after all mail");
}

#[tokio::test]
async fn window_closes_at_four_mebibytes() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let length = 79 * 1024;
    let fits = WINDOW_BYTES.div_ceil(length);
    let total = u32::try_from(fits).unwrap() + 5;
    send_all(&relay, &alice, (0..total).map(|n| numbered(bob.id, n, length))).await;
    let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    assert_eq!(socket.next().await, Got::Head(control(0)));
    let mut delivered = 0;
    while let Ok(got) = tokio::time::timeout(Duration::from_millis(500), socket.next()).await {
        assert!(matches!(got, Got::Deliver { .. }), "{got:?}");
        delivered += 1;
    }
    assert!((fits - 1..=fits).contains(&delivered), "{delivered} of {fits}");
    socket.ack(Queue::Mail, 1_000).await;
    for position in delivered as u64 + 1..=total.into() {
        assert_eq!(socket.next_delivery().await.0, mail(position));
    }
}

#[tokio::test]
async fn sends_are_pipelined_and_stored_in_order() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    for request in 0..600 {
        socket.send(request, &numbered(bob.id, request, 10)).await;
    }
    for request in 0..600 {
        let hash = sha256(&numbered(bob.id, request, 10));
        let expected = Got::Stored {
            request,
            repeated: false,
            hash,
        };
        assert_eq!(socket.next().await, expected);
    }
    let fetched = relay
        .get("/v1/queues/mail/envelopes?limit=1000", Some(&bob.key))
        .await;
    let first = numbered(bob.id, 0, 10);
    let frame = 4 + 26 + first.len();
    assert_eq!(fetched.body.len(), 600 * frame);
    for (number, frame) in (0..).zip(fetched.body.chunks(frame)) {
        assert!(frame.ends_with(&numbered(bob.id, number, 10)), "{number}");
    }
}

/// Also those answers for which the store is not asked.
#[tokio::test]
async fn answers_come_in_the_order_of_the_sends() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    for request in 0..300 {
        let bytes = match request % 3 {
            0 => numbered(bob.id, request, 10),
            _ => vec![0xff; 40],
        };
        socket.send(request, &bytes).await;
    }
    for request in 0..300 {
        let answer = socket.next().await;
        let (named, is_stored) = match &answer {
            Got::Stored { request, .. } => (*request, true),
            Got::Refused { request, .. } => (*request, false),
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!((named, is_stored), (request, request % 3 == 0));
    }
}

#[tokio::test]
async fn refusal_names_its_request_and_the_socket_goes_on() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    let too_large = vec![0; limits::ENVELOPE + 1];
    let mut bad_header = envelope(bob.id, 1, b"x");
    bad_header[5] ^= 0xff;
    let refused: [(u32, Vec<u8>, ProblemType); 6] = [
        (11, vec![], ProblemType::BadRequest),
        (12, vec![0xff; 40], ProblemType::BadRequest),
        (13, bad_header, ProblemType::BadRequest),
        (14, too_large, ProblemType::TooLarge),
        (15, envelope(alice.id, 1, b"x"), ProblemType::BadRequest),
        (
            16,
            envelope(AgentId::from_bytes([9; 16]), 1, b"x"),
            ProblemType::NotFound,
        ),
    ];
    for (request, bytes, kind) in refused {
        socket.send(request, &bytes).await;
        let Got::Refused {
            request: named,
            problem,
        } = socket.next().await
        else {
            panic!("not refused");
        };
        assert_eq!((named, problem.problem_type()), (request, Some(kind)));
        assert!(problem.instance.is_some());
    }
    socket.send(17, &envelope(bob.id, 1, b"x")).await;
    let hash = sha256(&envelope(bob.id, 1, b"x"));
    let stored = |request, repeated| Got::Stored {
        request,
        repeated,
        hash,
    };
    assert_eq!(socket.next().await, stored(17, false));
    // The same `mid` again: the first hash, whatever it is now.
    socket.send(18, &envelope(bob.id, 1, b"other")).await;
    assert_eq!(socket.next().await, stored(18, true));
}

#[tokio::test]
async fn what_is_no_frame_ends_the_socket_with_1008() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let frames: [Message; 7] = [
        Message::Text("text".into()),
        Message::Binary(vec![].into()),
        Message::Binary(vec![0].into()),
        Message::Binary(vec![0x83, 1, 2, 3].into()),
        Message::Binary(vec![0x02, 1, 0, 0].into()),
        Message::Binary(vec![0x02, 9, 0, 0, 0, 0, 0, 0, 0, 0].into()),
        Message::Binary(ClientFrame::Resume(Vec::new()).encode().into()),
    ];
    for message in frames {
        let mut socket = TestSocket::open(&relay, &alice.key).await;
        socket.write_message(message.clone()).await;
        let got = socket.next().await;
        assert!(
            matches!(got, Got::Closed { code: 1008, .. }),
            "{message:?}: {got:?}"
        );
    }
    for first in [
        ClientFrame::Ack(Vec::new()),
        ClientFrame::Send {
            request: 1,
            envelope: b"x",
        },
    ] {
        let mut socket = TestSocket::connect(&relay, &alice.key).await;
        socket.write(&first).await;
        assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
    }
}

#[tokio::test]
async fn message_beyond_any_frame_ends_the_socket() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    let mut other = TestSocket::open(&relay, &bob.key).await;
    socket
        .write_message(Message::Binary(vec![1; 1 << 20].into()))
        .await;
    assert!(socket.ended().await);
    relay.send(&alice.key, &envelope(bob.id, 1, b"x")).await;
    assert_eq!(other.next_delivery().await.0, mail(1));
}

#[tokio::test]
async fn first_frame_must_come_in_time() {
    let relay = TestRelay::start_with(Setup {
        timing: Timing {
            first_frame: Duration::from_millis(50),
            ..Timing::default()
        },
        ..Setup::default()
    })
    .await;
    let alice = relay.register("alice").await;
    let mut socket = TestSocket::connect(&relay, &alice.key).await;
    assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
}

#[tokio::test]
async fn silent_peer_is_pinged_and_left() {
    let relay = TestRelay::start_with(Setup {
        timing: Timing {
            ping: Duration::from_millis(50),
            pong: Duration::from_millis(50),
            ..Timing::default()
        },
        ..Setup::default()
    })
    .await;
    let alice = relay.register("alice").await;
    // This client answers a ping when it reads the next message: it lives on.
    let mut lively = TestSocket::open(&relay, &alice.key).await;
    for _ in 0..3 {
        assert_eq!(lively.next().await, Got::Ping);
    }
    let mut mute = crate::testing::MuteSocket::open(&relay, &alice.key).await;
    assert!(mute.ended().await);
}

#[tokio::test]
async fn sockets_beyond_the_limit_are_refused_until_one_ends() {
    let relay = TestRelay::limited(Limits {
        sockets: 2,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = pair(&relay).await;
    let first = TestSocket::open(&relay, &alice.key).await;
    let _second = TestSocket::open(&relay, &alice.key).await;
    let Err(tungstenite::Error::Http(answer)) = TestSocket::try_connect(&relay, &alice.key).await else {
        panic!("a third socket");
    };
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    let _other = TestSocket::open(&relay, &bob.key).await;
    drop(first);
    let freed = async {
        while TestSocket::try_connect(&relay, &alice.key).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .unwrap();
}

/// docs/relay-api.md, Limits: a node that is full refuses, and has room again when a socket ends.
#[tokio::test]
async fn sockets_beyond_those_of_a_node_are_refused_until_one_ends() {
    let relay = TestRelay::limited(Limits {
        node_sockets: 2,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = pair(&relay).await;
    let first = TestSocket::open(&relay, &alice.key).await;
    let _second = TestSocket::open(&relay, &bob.key).await;
    let Err(tungstenite::Error::Http(answer)) = TestSocket::try_connect(&relay, &bob.key).await else {
        panic!("a third socket");
    };
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "10");
    assert_eq!(relay.relay.delivery.metrics.sockets_refused.get(), 1);
    drop(first);
    let freed = async {
        while TestSocket::try_connect(&relay, &bob.key).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .unwrap();
}

#[tokio::test]
async fn wrong_key_gets_no_socket() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    for key in ["", "wxa_", &alice.key[1..]] {
        let Err(tungstenite::Error::Http(answer)) = TestSocket::try_connect(&relay, key).await else {
            panic!("a socket for {key:?}");
        };
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn every_socket_of_an_agent_gets_everything() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(TestSocket::open(&relay, &bob.key).await);
    }
    for mid in 1..=5 {
        relay.send(&alice.key, &envelope(bob.id, mid, b"x")).await;
    }
    for socket in &mut sockets {
        for position in 1..=5 {
            assert_eq!(socket.next_delivery().await.0, mail(position));
        }
    }
}

/// Answers to what was taken are written, nothing new is taken, then 1001.
#[tokio::test]
async fn stopping_relay_answers_what_is_in_flight_and_closes_with_1001() {
    let relay = TestRelay::start().await;
    let (alice, bob) = pair(&relay).await;
    let mut idle = TestSocket::open(&relay, &bob.key).await;
    let mut busy = TestSocket::open(&relay, &alice.key).await;
    for request in 0..100 {
        busy.send(request, &numbered(bob.id, request, 10)).await;
    }
    assert!(matches!(busy.next().await, Got::Stored { request: 0, .. }));
    relay.begin_stop();
    let mut answered = 1;
    loop {
        match busy.next().await {
            Got::Stored { request, .. } => {
                assert_eq!(request, answered);
                answered += 1;
            }
            Got::Closed { code, .. } => {
                assert_eq!(code, 1001);
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    loop {
        match idle.next().await {
            Got::Deliver { .. } => {}
            Got::Closed { code, .. } => {
                assert_eq!(code, 1001);
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    let folder = relay.stop().await;
    let relay = TestRelay::start_with(Setup {
        folder,
        ..Setup::default()
    })
    .await;
    let queues: serde_json::Value = relay.get("/v1/queues", Some(&bob.key)).await.json();
    assert!(queues["queues"][0]["head"].as_u64().unwrap() >= u64::from(answered));
}

/// Many senders, a reader that comes and goes: everything arrives once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_sockets_come_and_go() {
    const EACH: u32 = 200;
    let relay = TestRelay::start().await;
    let bob = relay.register("bob").await;
    let mut tasks = Vec::new();
    for name in ["alice", "carol", "dave"] {
        let agent = relay.register(name).await;
        let mut socket = TestSocket::open(&relay, &agent.key).await;
        let to = bob.id;
        tasks.push(tokio::spawn(async move {
            for request in 0..EACH {
                socket.send(request, &numbered(to, request, 100)).await;
                assert!(matches!(socket.next().await, Got::Stored { .. }));
            }
        }));
    }
    let mut last = 0;
    while last < u64::from(3 * EACH) {
        let mut socket = TestSocket::resume(&relay, &bob.key, vec![mail(last)]).await;
        for _ in 0..70 {
            if last == u64::from(3 * EACH) {
                break;
            }
            if let Got::Deliver { cursor, .. } = socket.next().await {
                assert_eq!(cursor, mail(last + 1));
                last += 1;
                socket.ack(Queue::Mail, last).await;
            }
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}
