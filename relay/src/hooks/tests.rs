//! Wake-ups through the real router (docs/relay-api.md, Wake-ups).

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use waxwire_shared::{
    api::{
        frames::{Cursor, Queue},
        problem::ProblemType,
    },
    hook,
    ids::AgentId,
};

use super::post;
use crate::store::{Wakeup, test_agent};
use crate::testing::{Answer, MASTER_KEY, Setup, TestAgent, TestRelay, TestSocket, envelope};

const SECRET: &str = "a secret of a hook";

fn setup() -> Setup {
    Setup {
        hook_allow: vec!["127.0.0.1".parse().unwrap()],
        ..Setup::default()
    }
}

/// A hook that answers with this status; gives its URL and the bodies of calls.
async fn hook(status: u16) -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (calls, called) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("x-waxwire-signature: t="), "{head}");
            calls.send(serde_json::from_str(body).unwrap()).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, called)
}

async fn put(relay: &TestRelay, agent: &TestAgent, body: &Value) -> Answer {
    let body = Some(("application/json", body.to_string().into_bytes()));
    relay
        .call(Method::PUT, "/v1/agents/me/hook", Some(&agent.key), body)
        .await
}

async fn register(relay: &TestRelay, agent: &TestAgent, url: &str) {
    let answer = put(relay, agent, &json!({ "url": url, "secret": SECRET })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{:?}", answer.body);
}

async fn send(relay: &TestRelay, from: &TestAgent, to: &TestAgent, mid: u8) {
    let answer = relay.send(&from.key, &envelope(to.id, mid, &[0; 600])).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
}

async fn next(called: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    let call = tokio::time::timeout(Duration::from_secs(20), called.recv()).await;
    call.expect("a call in time").unwrap()
}

async fn quiet(called: &mut mpsc::UnboundedReceiver<Value>) {
    let call = tokio::time::timeout(Duration::from_millis(1_500), called.recv()).await;
    assert!(call.is_err(), "{call:?}");
}

async fn dead(relay: &TestRelay) -> Value {
    relay.get("/v1/admin/dead-letters", Some(MASTER_KEY)).await.json()
}

#[test]
fn call_is_signed_and_says_which_queue_has_grown() {
    let wakeup = Wakeup {
        agent: test_agent(1),
        id: AgentId::from_bytes([1; 16]),
        url: "https://hooks.example/".to_owned(),
        secret: SECRET.to_owned().into(),
        cursor: Cursor {
            queue: Queue::Mail,
            position: 7,
        },
        serial: 1,
        attempts: 0,
    };
    let post = post(&wakeup, 1_700_000_000);
    let body = format!(r#"{{"agent":"{}","queue":"mail","head":7}}"#, "01".repeat(16));
    assert_eq!(post.body, body);
    let [(name, signature)] = post.headers.as_slice() else {
        panic!("one header");
    };
    assert_eq!(name, "x-waxwire-signature");
    hook::verify(SECRET.as_bytes(), signature, body.as_bytes(), 1_700_000_000).unwrap();
}

#[tokio::test]
async fn agent_without_a_socket_is_woken_once_for_what_grows_together() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let (url, mut called) = hook(204).await;
    register(&relay, &bob, &url).await;
    send(&relay, &alice, &bob, 1).await;
    let call = next(&mut called).await;
    assert_eq!((&call["agent"], &call["queue"]), (&json!(bob.id), &json!("mail")));
    // Within a second of the last one, by the relay's clock.
    send(&relay, &alice, &bob, 2).await;
    send(&relay, &alice, &bob, 3).await;
    quiet(&mut called).await;
    relay.advance(1_000);
    assert_eq!(next(&mut called).await["head"], 3);
    relay.advance(5_000);
    quiet(&mut called).await;

    let answer = relay
        .call(Method::DELETE, "/v1/agents/me/hook", Some(&bob.key), None)
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    send(&relay, &alice, &bob, 4).await;
    quiet(&mut called).await;
}

#[tokio::test]
async fn agent_with_a_socket_is_not_called() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let (url, mut called) = hook(204).await;
    register(&relay, &bob, &url).await;
    let socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    send(&relay, &alice, &bob, 1).await;
    quiet(&mut called).await;
    drop(socket);
}

#[tokio::test]
async fn hook_that_fails_for_the_whole_ladder_is_a_dead_letter_and_can_be_called_again() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let (url, mut called) = hook(503).await;
    register(&relay, &bob, &url).await;
    send(&relay, &alice, &bob, 1).await;
    next(&mut called).await;
    for seconds in [1, 2, 4, 8, 16] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(dead(&relay).await, json!({ "dead_letters": [] }));
        relay.advance(seconds * 1_000);
        next(&mut called).await;
    }
    let letters = loop {
        let letters = dead(&relay).await["dead_letters"].take();
        if letters != json!([]) {
            break letters;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(letters[0]["handle"], "bob");
    assert_eq!(
        (&letters[0]["attempts"], &letters[0]["reason"]),
        (&json!(6), &json!("status 503"))
    );
    relay.advance(60_000);
    quiet(&mut called).await;

    let path = "/v1/admin/dead-letters/bob/redeliver";
    let again = relay.call(Method::POST, path, Some(MASTER_KEY), None).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    next(&mut called).await;
    let again = relay.call(Method::POST, path, Some(MASTER_KEY), None).await;
    again.assert_problem(ProblemType::NotFound);
    let stranger = relay.get("/v1/admin/dead-letters", Some(&bob.key)).await;
    stranger.assert_problem(ProblemType::Unauthorized);
}

/// What is owed because of a call in a time that has not come yet is owed now.
#[tokio::test]
async fn clock_that_was_ahead_and_is_set_right_holds_no_wake_up_back() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let (url, mut called) = hook(204).await;
    register(&relay, &bob, &url).await;
    relay.advance(3_600_000);
    send(&relay, &alice, &bob, 1).await;
    assert_eq!(next(&mut called).await["head"], 1);
    // Until the call is settled.
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.set_back(3_600_000);
    send(&relay, &alice, &bob, 2).await;
    assert_eq!(next(&mut called).await["head"], 2);
}

/// The ladder is in the database, and who is owed a wake-up follows from the backlog.
#[tokio::test]
async fn wake_ups_survive_a_restart() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let (url, mut called) = hook(500).await;
    register(&relay, &bob, &url).await;
    send(&relay, &alice, &bob, 1).await;
    next(&mut called).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let folder = relay.stop().await;
    let relay = TestRelay::start_with(Setup {
        folder: Arc::clone(&folder),
        ..setup()
    })
    .await;
    quiet(&mut called).await;
    relay.advance(1_000);
    next(&mut called).await;
    relay.stop().await;

    // As if the relay had been killed between the envelope and the wake-up.
    let database = rusqlite::Connection::open(folder.path().join("relay.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM wakeup", []).unwrap(), 1);
    drop(database);
    let _relay = TestRelay::start_with(Setup { folder, ..setup() }).await;
    next(&mut called).await;
}

#[tokio::test]
async fn slow_hook_delays_nobody() {
    let relay = TestRelay::start_with(setup()).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let carol = relay.register("carol").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    register(&relay, &bob, &url).await;
    let (url, mut called) = hook(204).await;
    register(&relay, &carol, &url).await;
    send(&relay, &alice, &bob, 1).await;
    let (_stream, _) = silent.accept().await.unwrap();
    send(&relay, &alice, &carol, 2).await;
    let soon = tokio::time::timeout(Duration::from_secs(5), called.recv()).await;
    assert_eq!(soon.unwrap().unwrap()["agent"], json!(carol.id));
}

#[tokio::test]
async fn hooks_that_lead_inside_are_refused() {
    let relay = TestRelay::start().await;
    let bob = relay.register("bob").await;
    for url in [
        "http://hooks.example/",
        "http://8.8.8.8/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://0.0.0.0/",
        "https://user@hooks.example/",
        "ftp://hooks.example/",
        "",
    ] {
        let answer = put(&relay, &bob, &json!({ "url": url, "secret": SECRET })).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
    for secret in ["short", "0123456789abcdef\n"] {
        let body = json!({ "url": "https://hooks.example/", "secret": secret });
        put(&relay, &bob, &body)
            .await
            .assert_problem(ProblemType::BadRequest);
    }
    register(&relay, &bob, "https://hooks.example/waxwire?agent=bob").await;
    let stranger = put(&relay, &TestAgent::new(&relay, "nobody"), &json!({})).await;
    stranger.assert_problem(ProblemType::Unauthorized);
}
