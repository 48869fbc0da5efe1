//! What a relay may send that it must not.

use std::sync::atomic::Ordering;

use axum::extract::ws::Message;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Delivery, Queue, RelayFrame},
        rest::{Base64Bytes, LeaseAnswer},
    },
    ids::{Hash, Nonce32},
    wire::VERSION,
};

use super::{
    LEASE, World, at,
    fake::{API_KEY, FakeRelay, describe, greeting, relay_id},
};
use crate::{
    credential::ApiKey,
    engine::LinkEvent,
    link::{
        Client, LinkFault, RelayIdentityError,
        socket::{OpenError, open},
        verify_relay,
    },
};

fn stored(request: u32) -> Vec<u8> {
    RelayFrame::Stored {
        request,
        repeated: false,
        envelope_id: 1,
        hash: Hash::from_bytes([9; 32]),
    }
    .encode()
}

fn refused(request: u32, status: u16, problem: &[u8]) -> Vec<u8> {
    RelayFrame::Refused {
        request,
        status,
        problem,
    }
    .encode()
}

#[tokio::test(start_paused = true)]
async fn malformed_messages_drop_the_socket_and_are_counted() {
    let at_zero = Delivery {
        cursor: at(Queue::Mail, 0),
        envelope_id: 1,
        stored_at: 1,
        object: b"object",
    };
    let other_status = br#"{"type":"x","title":"x","status":400}"#;
    let long = format!(r#"{{"type":"x","title":"{}","status":429}}"#, "x".repeat(9_000));
    let too_long = vec![0; 128 * 1024];
    let bad: Vec<Message> = [
        Vec::new(),
        vec![0xff; 40],
        vec![0x01],
        ClientFrame::Ack(vec![at(Queue::Mail, 1)]).encode(),
        greeting(1).encode(),
        RelayFrame::Deliver(at_zero).encode(),
        stored(77),
        stored(0)[..20].to_vec(),
        refused(0, 429, b""),
        refused(0, 429, other_status),
        refused(0, 429, long.as_bytes()),
        refused(0, 200, br#"{"type":"x","title":"x","status":200}"#),
        RelayFrame::Deliver(Delivery {
            cursor: at(Queue::Mail, 1),
            object: &too_long,
            ..at_zero
        })
        .encode(),
    ]
    .into_iter()
    .map(|bytes| Message::Binary(bytes.into()))
    .chain([Message::Text("{}".into())])
    .collect();
    let mut world = World::start();
    for (count, message) in bad.into_iter().enumerate() {
        let mut peer = world.next_up().await;
        world.send(1);
        peer.receive_send().await;
        // What is too long is cut off in the middle.
        let _cut = peer.0.send(message).await;
        world.expect_unknown(&[1]).await;
        world.expect_down().await;
        let status = world.status.borrow().clone();
        assert_eq!(
            (status.last_fault, status.malformed),
            (Some(LinkFault::Malformed), count as u64 + 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_twice_drops_the_socket() {
    let (mut world, mut peer) = World::up().await;
    world.send(1);
    world.send(2);
    let (request, _) = peer.receive_send().await;
    peer.receive_send().await;
    for _ in 0..2 {
        peer.message(Message::Binary(stored(request).into())).await;
    }
    assert!(matches!(world.event().await, LinkEvent::Outcome(1, _)));
    world.expect_unknown(&[2]).await;
    world.expect_down().await;
}

#[tokio::test(start_paused = true)]
async fn no_welcome_no_link() {
    let mut world = World::start();
    let before = Instant::now();
    let silent = world.relay.accept().await;
    let mut early = world.relay.accept().await;
    assert!(before.elapsed() >= Duration::from_secs(10));
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Silent));
    early.send(RelayFrame::Head(at(Queue::Mail, 1))).await;
    let _up = world.next_up().await;
    assert_eq!(world.status.borrow().malformed, 1);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_tried_again_on_schedule() {
    let relay = FakeRelay::start();
    relay.knobs.refuse.store(404, Ordering::Relaxed);
    let world = World::with(relay, Vec::new(), 1_000);
    let waits = world.relay.waits(3).await;
    assert!(
        waits.iter().all(|wait| *wait < Duration::from_secs(13)),
        "{waits:?}"
    );
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Refused));
}

/// A relay that proves its identity and then answers the upgrade by `answer(key)`.
async fn upgrade(answer: fn(&str) -> String) -> Result<(), OpenError> {
    let (dialer, mut arrivals) = mpsc::unbounded_channel::<DuplexStream>();
    let key = ApiKey::new(API_KEY).unwrap();
    let client = Client::memory(dialer).authorized(&key, relay_id(1), ChaCha8Rng::seed_from_u64(1));
    let relay = async {
        let mut stream = arrivals.recv().await.unwrap();
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        let nonce = request.split(['=', ' ']).nth(2).unwrap().parse().unwrap();
        let body = serde_json::to_string(&describe(1, 1, VERSION, nonce)).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(LEASE) {
            let length = stream.read(&mut buffer).await.unwrap();
            asked.extend_from_slice(&buffer[..length]);
        }
        let lease = Base64Bytes(LEASE.to_vec());
        let body = serde_json::to_string(&LeaseAnswer { lease }).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let length = stream.read(&mut buffer).await.unwrap();
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        let key = request.split_once("sec-websocket-key: ").unwrap().1;
        let answer = answer(&derive_accept_key(key.lines().next().unwrap().as_bytes()));
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (lease, mut held) = (LEASE.into(), None);
    let (opened, _stream) = tokio::join!(open(&client, &lease, &mut held, &mut rng), relay);
    opened.map(drop)
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_was_not_asked_for_like_this_is_malformed() {
    const HEAD: &str = "HTTP/1.1 101 x\r\nconnection: upgrade\r\n";
    let good = |key: &str| format!("{HEAD}upgrade: WebSocket\r\nsec-websocket-accept: {key}\r\n\r\n");
    assert_eq!(upgrade(good).await, Ok(()));
    let bad: [fn(&str) -> String; 4] = [
        |_| format!("{HEAD}upgrade: websocket\r\nsec-websocket-accept: abc\r\n\r\n"),
        |_| format!("{HEAD}upgrade: websocket\r\n\r\n"),
        |key| format!("{HEAD}upgrade: h2c\r\nsec-websocket-accept: {key}\r\n\r\n"),
        |key| {
            let extension = "sec-websocket-extensions: permessage-deflate";
            format!("{HEAD}upgrade: websocket\r\nsec-websocket-accept: {key}\r\n{extension}\r\n\r\n")
        },
    ];
    for answer in bad {
        assert_eq!(upgrade(answer).await, Err(OpenError::Malformed));
    }
}

/// docs/protocol.md, 4.2: nonce, signature and pinned identity of the relay's description.
#[test]
fn a_relay_is_known_by_a_fresh_signature_of_its_identity() {
    let (ours, other) = (Nonce32::from_bytes([1; 32]), Nonce32::from_bytes([2; 32]));
    let relay = verify_relay(&describe(1, 1, VERSION, ours), &ours).unwrap();
    assert_eq!((relay.relay_id, relay.time), (relay_id(1), 1_000));
    assert_eq!(relay.require(&relay_id(1)), Ok(()));
    assert_eq!(relay.require(&relay_id(2)).unwrap_err().shown, relay_id(1));
    assert_eq!(relay.require_fingerprint(&relay.fingerprint()), Ok(()));

    let foreign = verify_relay(&describe(2, 1, VERSION, ours), &ours);
    assert!(matches!(foreign, Err(RelayIdentityError::Signed(_))));
    assert_eq!(
        verify_relay(&describe(1, 1, VERSION, other), &ours),
        Err(RelayIdentityError::Nonce)
    );
    let next = verify_relay(&describe(1, 1, VERSION + 1, ours), &ours);
    assert!(matches!(next, Err(RelayIdentityError::Signed(_))));
    let mut cut = describe(1, 1, VERSION, ours);
    cut.description.0.pop();
    assert!(matches!(
        verify_relay(&cut, &ours),
        Err(RelayIdentityError::Signed(_))
    ));
}
