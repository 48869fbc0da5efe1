//! Hostile input on every endpoint: a typed refusal, nothing stored, and the relay goes on
//! (attacks 73, 81, 83 and 85 of the catalogue).

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use waxwire_shared::{
    api::problem::ProblemType,
    ids::{AgentId, GroupId, Hash, Mid},
    limits,
    suite::Suite,
    wire::{Document as _, Envelope, GroupHeader},
};

use crate::testing::{TestRelay, envelope};

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// Every route with a JSON body, and whether it needs an API key.
const JSON_ROUTES: [(&str, bool); 5] = [
    ("/v1/challenges", false),
    ("/v1/agents", false),
    ("/v1/agents/api-key", false),
    ("/v1/acks", true),
    ("/v1/presence", true),
];

#[tokio::test]
async fn json_bodies_are_read_strictly() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let deep = "[".repeat(20_000);
    for (path, with_key) in JSON_ROUTES {
        let key = with_key.then_some(alice.key.as_str());
        for body in [
            "",
            "{",
            "null",
            "[]",
            "\"text\"",
            "{}",
            "{\"unknown\": 1}",
            "{\"acks\": [], \"unknown\": 1}",
            "{\"acks\": [{\"queue\": \"mail\", \"position\": -1}]}",
            "{\"acks\": [{\"queue\": \"mail\", \"position\": 1.5}]}",
            "{\"acks\": [{\"queue\": \"mail\", \"position\": 1, \"unknown\": 1}]}",
            "{\"acks\": [{\"queue\": \"nothing\", \"position\": 1}]}",
            "{\"challenge\": \"+/==\", \"proof\": \"AA\"}",
            "{\"challenge\": \"AA\", \"proof\": \"AA=\"}",
            "{\"challenge\": 7, \"proof\": 7, \"bundle\": 7}",
            "{\"purpose\": \"register\", \"handle\": \"Alice\", \"identity\": \"AA\", \"nonce\": \"00\"}",
            "\u{feff}{}",
            deep.as_str(),
        ] {
            let answer = relay
                .call(Method::POST, path, key, Some((JSON, body.as_bytes().to_vec())))
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body:.80}");
            answer.assert_problem(ProblemType::BadRequest);
        }
        let latin = relay
            .call(Method::POST, path, key, Some((JSON, vec![0xff, 0xfe])))
            .await;
        latin.assert_problem(ProblemType::BadRequest);
        let large = relay
            .call(Method::POST, path, key, Some((JSON, vec![b' '; 40_000])))
            .await;
        large.assert_problem(ProblemType::TooLarge);
        for content_type in ["text/plain", "application/jsonx", OCTETS, ""] {
            let answer = relay
                .call(Method::POST, path, key, Some((content_type, b"{}".to_vec())))
                .await;
            answer.assert_problem(ProblemType::UnsupportedMediaType);
        }
        let typed = Some(("application/json; charset=utf-8", b"{".to_vec()));
        let answer = relay.call(Method::POST, path, key, typed).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
}

#[tokio::test]
async fn envelopes_are_read_strictly() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let genuine = envelope(bob.id, 1, b"ciphertext");
    let header_length = genuine[3] as usize;
    for cut in 0..4 + header_length + 1 {
        let answer = relay.send(&alice.key, &genuine[..cut]).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
    for index in 0..4 + header_length {
        let mut flipped = genuine.clone();
        flipped[index] ^= 0x80;
        let answer = relay.send(&alice.key, &flipped).await;
        assert!(answer.status.is_client_error() || answer.status == StatusCode::CREATED);
    }
    let mut huge_header = genuine.clone();
    huge_header[0] = 0xff;
    relay
        .send(&alice.key, &huge_header)
        .await
        .assert_problem(ProblemType::BadRequest);
    let too_large = vec![0; limits::ENVELOPE + 1];
    let answer = relay.send(&alice.key, &too_large).await;
    let limit = answer.assert_problem(ProblemType::TooLarge).limit.unwrap();
    assert_eq!(limit.max, limits::ENVELOPE as u64);
    let to_self = relay.send(&alice.key, &envelope(alice.id, 2, b"x")).await;
    to_self.assert_problem(ProblemType::BadRequest);
    let stranger = AgentId::from_bytes([9; 16]);
    let unknown = relay.send(&alice.key, &envelope(stranger, 3, b"x")).await;
    unknown.assert_problem(ProblemType::NotFound);
    let answer = relay
        .call(
            Method::POST,
            "/v1/envelopes",
            Some(&alice.key),
            Some((JSON, genuine)),
        )
        .await;
    answer.assert_problem(ProblemType::UnsupportedMediaType);
}

#[tokio::test]
async fn largest_envelope_is_stored() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let header = envelope(bob.id, 1, b"").len();
    let largest = envelope(bob.id, 1, &vec![7; limits::ENVELOPE - header]);
    assert_eq!(largest.len(), limits::ENVELOPE);
    assert_eq!(relay.send(&alice.key, &largest).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn group_envelopes_find_no_group() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let header = GroupHeader {
        suite: Suite::CLASSIC,
        mid: Mid::from_bytes([1; 16]),
        group: GroupId::from_bytes([2; 32]),
        epoch: 1,
        roster_head: Hash::from_bytes([3; 32]),
        sender: alice.id,
        i: 0,
    }
    .encode();
    let sent = Envelope {
        header: &header,
        ciphertext: b"ciphertext",
    };
    let answer = relay.send(&alice.key, &sent.to_bytes()).await;
    answer.assert_problem(ProblemType::NotFound);
}

#[tokio::test]
async fn every_private_route_needs_a_key_in_its_header() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let group = "ab".repeat(32);
    let commits = format!("/v1/groups/{group}/commits");
    let leaf = format!("/v1/groups/{group}/epochs/1/leaves/0");
    let routes = [
        (Method::GET, "/v1/agents/me"),
        (Method::PUT, "/v1/agents/me/bundle"),
        (Method::GET, "/v1/agents/alice/bundle"),
        (Method::PUT, "/v1/agents/me/profile"),
        (Method::GET, "/v1/agents/alice"),
        (Method::GET, "/v1/directory"),
        (Method::PUT, "/v1/contacts/alice"),
        (Method::DELETE, "/v1/contacts/alice"),
        (Method::PUT, "/v1/blocks/alice"),
        (Method::DELETE, "/v1/blocks/alice"),
        (Method::POST, "/v1/presence"),
        (Method::POST, "/v1/envelopes"),
        (Method::GET, "/v1/queues"),
        (Method::GET, "/v1/queues/mail/envelopes"),
        (Method::POST, "/v1/acks"),
        (Method::POST, "/v1/groups"),
        (Method::POST, &commits),
        (Method::GET, &leaf),
        (Method::GET, "/v1/link"),
    ];
    let mut wrong = alice.key.clone();
    wrong.replace_range(46.., if wrong.ends_with('A') { "E" } else { "A" });
    for (method, path) in routes {
        for key in [
            None,
            Some(""),
            Some("wxa_"),
            Some(wrong.as_str()),
            Some(&alice.key[..46]),
        ] {
            let answer = relay
                .call(method.clone(), path, key, Some((OCTETS, vec![])))
                .await;
            answer.assert_problem(ProblemType::Unauthorized);
        }
        let in_query = format!("{path}?api_key={0}&authorization={0}", alice.key);
        let answer = relay.call(method.clone(), &in_query, None, None).await;
        answer.assert_problem(ProblemType::Unauthorized);
        for value in [
            alice.key.clone(),
            format!("Basic {}", alice.key),
            format!("Bearer  {}", alice.key),
            format!("Bearer {} ", alice.key),
        ] {
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header("host", "relay")
                .header("authorization", &value)
                .header("x-forwarded-for", "127.0.0.1")
                .header("x-agent-id", alice.id.to_string())
                .body(Full::<Bytes>::default())
                .unwrap();
            let trimmed = value.ends_with(' ');
            let answer = relay.request(request).await;
            // HTTP does not count white space at the end of a header.
            assert!(
                trimmed || answer.status == StatusCode::UNAUTHORIZED,
                "{path} {value}"
            );
        }
    }
}

#[tokio::test]
async fn two_authorization_headers_are_none() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let request = Request::builder()
        .uri("/v1/agents/me")
        .header("host", "relay")
        .header("authorization", format!("Bearer {}", alice.key))
        .header("authorization", "Bearer other")
        .body(Full::<Bytes>::default())
        .unwrap();
    relay
        .request(request)
        .await
        .assert_problem(ProblemType::Unauthorized);
}

#[tokio::test]
async fn foreign_queues_do_not_exist() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    relay.send(&bob.key, &envelope(alice.id, 1, b"for alice")).await;
    let group = "ab".repeat(32);
    for queue in [
        &format!("group-{group}"),
        &format!("log-{group}"),
        "1",
        "mail2",
        "group-",
        "%2e%2e",
        "MAIL",
    ] {
        let path = format!("/v1/queues/{queue}/envelopes");
        let answer = relay.get(&path, Some(&bob.key)).await;
        answer.assert_problem(ProblemType::NotFound);
    }
    let acks = serde_json::json!({"acks": [
        {"queue": "mail", "position": 1},
        {"queue": format!("group-{group}"), "position": 1},
    ]});
    let answer = relay.post_json("/v1/acks", Some(&bob.key), &acks).await;
    answer.assert_problem(ProblemType::NotFound);
    // Bob reads and acknowledges his own mail only.
    let answer = relay.get("/v1/queues/mail/envelopes", Some(&bob.key)).await;
    assert!(answer.body.is_empty());
    let acks = serde_json::json!({"acks": [{"queue": "mail", "position": 1}]});
    let answer = relay.post_json("/v1/acks", Some(&bob.key), &acks).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let queues: serde_json::Value = relay.get("/v1/queues", Some(&alice.key)).await.json();
    assert_eq!(queues["queues"][0]["head"], 1);
    assert_eq!(queues["queues"][0]["acked"], 0);
}

#[tokio::test]
async fn paths_methods_and_queries_are_read_strictly() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let key = Some(alice.key.as_str());
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/relay/",
        "/v2/relay",
        "/v1/agents/",
        "//v1/relay",
        "/metrics",
    ] {
        relay.get(path, key).await.assert_problem(ProblemType::NotFound);
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/relay", "GET,HEAD"),
        (Method::GET, "/v1/envelopes", "POST"),
        (Method::PATCH, "/v1/agents/me/bundle", "PUT"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = relay.call(method, path, key, None).await;
        answer.assert_problem(ProblemType::MethodNotAllowed);
        assert_eq!(answer.headers["allow"], allow);
    }
    let nonce = "0".repeat(64);
    for query in [
        "",
        "?nonce=",
        "?nonce=00",
        &format!("?nonce={nonce}&more=1"),
        "?nonce=%ff",
        &format!("?nonce={}", "G".repeat(64)),
    ] {
        let answer = relay.get(&format!("/v1/relay{query}"), None).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "after=-1",
        "after=x",
        "wait=61",
        "wait=1.5",
        "unknown=1",
        "after=1&after=2",
    ] {
        let path = format!("/v1/queues/mail/envelopes?{query}");
        relay
            .get(&path, key)
            .await
            .assert_problem(ProblemType::BadRequest);
    }
    let upgrade = relay.get("/v1/link", key).await;
    upgrade.assert_problem(ProblemType::BadRequest);
}

/// Raw bytes on the connection: no answer or a refusal, and the relay goes on.
#[tokio::test]
async fn broken_http_harms_nobody() {
    let relay = TestRelay::start().await;
    let huge = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    for raw in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/acks HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/challenges HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &huge,
        &many,
    ] {
        let mut stream = TcpStream::connect(&relay.address).await.unwrap();
        // The relay may close before everything is written.
        drop(stream.write_all(raw.as_bytes()).await);
        drop(stream.shutdown().await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{raw:.60}");
    }
    assert_eq!(relay.get("/readyz", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_the_relays_own() {
    let relay = TestRelay::start().await;
    let mut seen = std::collections::HashSet::new();
    for path in ["/healthz", "/readyz", "/nothing", "/v1/agents/me"] {
        let request = Request::builder()
            .uri(path)
            .header("host", "relay")
            .header("x-request-id", "mine")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = relay.request(request).await;
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id.len(), 16);
        assert!(seen.insert(id));
    }
}
