//! The typed calls.

use std::sync::atomic::Ordering;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Duration, Instant},
};
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, RegisterRequest},
    },
    ids::Nonce32,
};

use super::{
    client,
    fake::{API_KEY, FakeRelay, bundle_of, relay_id},
};
use crate::{
    credential::ApiKey,
    link::{CallError, Client, RelayChanged, RelayUrl, verify_relay},
};

fn handle(text: &str) -> waxwire_shared::ids::Handle {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_share_a_connection_and_carry_the_key() {
    let relay = FakeRelay::start();
    let client = client(&relay);
    let nonce = Nonce32::from_bytes([5; 32]);
    let info = client.relay_info(&nonce).await.unwrap();
    assert_eq!(verify_relay(&info, &nonce).unwrap().relay_id, relay_id(1));
    let empty = || Base64Bytes(Vec::new());
    let request = RegisterRequest {
        challenge: empty(),
        proof: empty(),
        bundle: empty(),
        invite: None,
    };
    assert_eq!(client.register(&request).await.unwrap().api_key, API_KEY);
    assert_eq!(
        client.put_bundle(b"bundle".to_vec()).await,
        Ok(bundle_of("bundle"))
    );
    assert_eq!(client.bundle(&handle("alice")).await, Ok(bundle_of("alice")));
    assert_eq!(relay.knobs.dials.lock().unwrap().len(), 1);
    assert_eq!(relay.knobs.authorized.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_apart() {
    let relay = FakeRelay::start();
    let client = client(&relay);
    let kind = |answer: Result<_, CallError>| match answer {
        Err(CallError::Problem(problem)) => problem.problem_type(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        kind(client.bundle(&handle("nobody")).await),
        Some(ProblemType::NotFound)
    );
    assert_eq!(
        kind(client.bundle(&handle("limited")).await),
        Some(ProblemType::RateLimited)
    );
    assert_eq!(
        client.bundle(&handle("broken")).await,
        Err(CallError::Unreachable)
    );
    for malformed in ["teapot", "garbage", "flood"] {
        assert_eq!(
            client.bundle(&handle(malformed)).await,
            Err(CallError::Malformed),
            "{malformed}"
        );
    }
    assert_eq!(client.bundle(&handle("alice")).await, Ok(bundle_of("alice")));
    relay.knobs.hang.store(true, Ordering::Relaxed);
    let before = Instant::now();
    assert_eq!(client.bundle(&handle("alice")).await, Err(CallError::Unreachable));
    assert_eq!(before.elapsed(), Duration::from_secs(10));
}

/// docs/protocol.md, 4.2: every connection that is to see a credential is checked first.
#[tokio::test(start_paused = true)]
async fn every_connection_is_checked_before_it_sees_the_key() {
    let relay = FakeRelay::start();
    let client = client(&relay);
    *relay.knobs.identity.lock().unwrap() = 2;
    let shown = relay_id(2);
    let changed = Err(CallError::RelayChanged(RelayChanged { shown }));
    assert_eq!(client.bundle(&handle("alice")).await, changed);
    assert_eq!(client.put_bundle(b"bundle".to_vec()).await, changed);
    assert_eq!(relay.knobs.authorized.load(Ordering::Relaxed), 0);
    *relay.knobs.identity.lock().unwrap() = 1;
    assert_eq!(client.bundle(&handle("alice")).await, Ok(bundle_of("alice")));
}

/// A relay that answers the first request of a connection with these bytes, and closes it at the
/// second one.
fn answering(bytes: &'static [u8]) -> (Client, tokio::task::JoinHandle<()>) {
    let (dialer, mut arrivals) = mpsc::unbounded_channel::<DuplexStream>();
    let relay = tokio::spawn(async move {
        while let Some(mut stream) = arrivals.recv().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _length = stream.read(&mut request).await.unwrap();
                // The client may have had enough.
                let _closed = stream.write_all(bytes).await;
                if bytes.ends_with(b"}") {
                    let _length = stream.read(&mut request).await;
                }
            });
        }
    });
    (Client::memory(dialer), relay)
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_http_are_malformed() {
    static LONG: [u8; 32 * 1024] = [b'x'; 32 * 1024];
    for bytes in [
        b"garbage\r\n\r\n".as_slice(),
        b"SSH-2.0-x\r\n",
        &LONG,
        b"HTTP/1.1 999999 no\r\n\r\n",
    ] {
        let (client, _relay) = answering(bytes);
        assert_eq!(client.bundle(&handle("alice")).await, Err(CallError::Malformed));
    }
    for bytes in [
        b"".as_slice(),
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
    ] {
        let (client, _relay) = answering(bytes);
        assert_eq!(client.bundle(&handle("alice")).await, Err(CallError::Unreachable));
    }
    let (client, _relay) =
        answering(b"HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(
        client.bundle(&handle("alice")).await,
        Err(CallError::Malformed),
        "no redirects"
    );
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_the_relay_closed_is_replaced() {
    let body = serde_json::to_string(&bundle_of("alice")).unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (client, _relay) = answering(Box::leak(answer.into_boxed_str()).as_bytes());
    for _ in 0..3 {
        assert_eq!(client.bundle(&handle("alice")).await, Ok(bundle_of("alice")));
    }
}

#[tokio::test]
async fn tcp_is_spoken_for_real() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(RelayUrl::parse(&url, false).unwrap()).unwrap();
    let body = serde_json::to_string(&bundle_of("alice")).unwrap();
    let relay = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    };
    let alice = handle("alice");
    let (request, answer) = tokio::join!(relay, client.bundle(&alice));
    assert_eq!(answer, Ok(bundle_of("alice")));
    assert!(
        request.starts_with("GET /v1/agents/alice/bundle HTTP/1.1\r\nhost: 127.0.0.1:"),
        "{request}"
    );
    drop(listener);
    assert_eq!(client.bundle(&alice).await, Err(CallError::Unreachable));
}

#[test]
fn the_api_key_shows_up_nowhere() {
    let key = ApiKey::new("secret-key").unwrap();
    let relay = RelayUrl::parse("http://localhost", false).unwrap();
    let client = Client::new(relay)
        .unwrap()
        .authorized(&key, relay_id(1), ChaCha8Rng::seed_from_u64(1));
    assert_eq!(format!("{key:?} {client:?}"), "ApiKey Client(http://localhost)");
}
