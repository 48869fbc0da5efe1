use axum::{
    body::Body,
    http::{Request, header::CONTENT_LENGTH},
};

use super::*;
use crate::api::testing::{Api, HOST, TOKEN};

/// Routes of every kind, also those that do not exist.
const ROUTES: [(&str, &str); 7] = [
    ("GET", "/v1/messages/sync"),
    ("POST", "/v1/messages"),
    ("DELETE", "/v1/messages/x"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
    ("PATCH", "/v1/messages"),
];

fn from_host(method: &str, path: &str, host: Option<&str>) -> http::request::Builder {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"));
    match host {
        Some(host) => request.header("host", host),
        None => request,
    }
}

fn empty(request: http::request::Builder) -> Request<Body> {
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn only_names_of_the_bound_port_are_served() {
    let api = Api::new();
    for good in ["127.0.0.1:7700", "localhost:7700", "[::1]:7700"] {
        let answer = api
            .send(empty(from_host("GET", "/v1/messages/sync", Some(good))))
            .await;
        assert_eq!(answer.status, 200, "{good}");
    }
    let bad = [
        None,
        Some(""),
        Some("127.0.0.1"),
        Some("localhost"),
        Some("localhost."),
        Some("localhost.:7700"),
        Some("localhost:7701"),
        Some("localhost:07700"),
        Some("localhost:77000"),
        Some("localhost:7700."),
        Some("localhost:7700 "),
        Some("LOCALHOST:7700"),
        Some("127.0.0.1:7700.evil.example"),
        Some("127.0.0.1.nip.example:7700"),
        Some("127.1:7700"),
        Some("127.0.0.2:7700"),
        Some("0.0.0.0:7700"),
        Some("2130706433:7700"),
        Some("0x7f000001:7700"),
        Some("::1:7700"),
        Some("[::1]"),
        Some("[0:0:0:0:0:0:0:1]:7700"),
        Some("[::ffff:127.0.0.1]:7700"),
        Some("evil.example"),
        Some("evil.example:7700"),
        Some("user@localhost:7700"),
        Some("localhost:7700,evil.example"),
    ];
    for host in bad {
        for (method, path) in ROUTES
            .into_iter()
            .chain([("GET", "/healthz"), ("GET", "/readyz")])
        {
            let answer = api.send(empty(from_host(method, path, host))).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "FORBIDDEN"),
                "{method} {path} {host:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_hosts_are_none() {
    let api = Api::new();
    let twice = from_host("GET", "/v1/messages/sync", Some(HOST)).header("host", HOST);
    assert_eq!(api.send(empty(twice)).await.status, 403);
    let absolute = from_host("GET", "http://evil.example/v1/messages/sync", Some(HOST));
    assert_eq!(api.send(empty(absolute)).await.status, 403);
    let absolute = from_host(
        "GET",
        "http://127.0.0.1:7700/v1/messages/sync",
        Some("evil.example"),
    );
    assert_eq!(api.send(empty(absolute)).await.status, 403);
    let absolute = from_host("GET", "http://127.0.0.1:7700/v1/messages/sync", Some(HOST));
    assert_eq!(api.send(empty(absolute)).await.status, 200);
}

#[test]
fn hosts_follow_the_bound_address() {
    let hosts = Hosts::tcp("127.0.0.5:80".parse().unwrap());
    for name in [
        "127.0.0.5:80",
        "127.0.0.5",
        "localhost",
        "localhost:80",
        "[::1]",
        "127.0.0.1",
    ] {
        assert!(hosts.knows(name.as_bytes()), "{name}");
    }
    assert!(!hosts.knows(b"127.0.0.6"));
    let hosts = Hosts::tcp("[::1]:7700".parse().unwrap());
    assert!(hosts.knows(b"[::1]:7700") && hosts.knows(b"127.0.0.1:7700") && !hosts.knows(b"[::1]"));
}

#[tokio::test]
async fn a_unix_socket_is_localhost_or_nameless() {
    let api = Api::with_hosts(Hosts::unix());
    for (host, status) in [
        (None, 200),
        (Some("localhost"), 200),
        (Some("localhost:80"), 403),
        (Some("localhost."), 403),
        (Some(""), 403),
        (Some("evil.example"), 403),
    ] {
        let answer = api.send(empty(from_host("GET", "/v1/messages/sync", host))).await;
        assert_eq!(answer.status, status, "{host:?}");
    }
    let page = from_host("GET", "/v1/messages/sync", None).header("origin", "http://evil.example");
    assert_eq!(api.send(empty(page)).await.status, 403);
}

#[tokio::test]
async fn only_own_origins_are_served() {
    let api = Api::new();
    for good in [
        "http://127.0.0.1:7700",
        "http://localhost:7700",
        "http://[::1]:7700",
    ] {
        let request = from_host("GET", "/v1/messages/sync", Some(HOST)).header("origin", good);
        assert_eq!(api.send(empty(request)).await.status, 200, "{good}");
    }
    for bad in [
        "",
        "null",
        "http://",
        "http://localhost",
        "http://localhost:7701",
        "http://localhost:7700/",
        "http://localhost:7700.evil.example",
        "https://localhost:7700",
        "HTTP://localhost:7700",
        "ws://localhost:7700",
        "localhost:7700",
        "file://",
        "http://evil.example",
        "chrome-extension://abcdef",
        "http://localhost:7700 http://evil.example",
    ] {
        for (method, path) in ROUTES.into_iter().chain([("GET", "/healthz")]) {
            let request = from_host(method, path, Some(HOST)).header("origin", bad);
            let answer = api.send(empty(request)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "FORBIDDEN"),
                "{method} {path} {bad}"
            );
        }
    }
    let twice = from_host("GET", "/v1/messages/sync", Some(HOST))
        .header("origin", "http://localhost:7700")
        .header("origin", "http://evil.example");
    assert_eq!(api.send(empty(twice)).await.status, 403);
}

#[tokio::test]
async fn every_route_needs_the_token() {
    let api = Api::new();
    let request = |method: &str, path: &str| Request::builder().method(method).uri(path).header("host", HOST);
    let other = TOKEN.replace('0', "1");
    let wrong = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        format!("Bearer {other}"),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]),
        format!("Bearer  {TOKEN}"),
        format!("Bearer\t{TOKEN}"),
    ];
    for (method, path) in ROUTES {
        let answer = api.send(empty(request(method, path))).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "UNAUTHORIZED"),
            "{method} {path}"
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        for wrong in &wrong {
            let answer = api
                .send(empty(request(method, path).header("authorization", wrong)))
                .await;
            assert_eq!(answer.status, 401, "{method} {path} {wrong}");
            assert!(!answer.text.contains(TOKEN));
        }
    }
    for cookie in ["cookie", "x-api-key", "x-forwarded-authorization"] {
        let answer = api
            .send(empty(request("GET", "/v1/inbox").header(cookie, TOKEN)))
            .await;
        assert_eq!(answer.status, 401, "{cookie}");
    }
    let answer = api
        .send(empty(request(
            "GET",
            &format!("/v1/inbox?token={TOKEN}&api_key={TOKEN}"),
        )))
        .await;
    assert_eq!(answer.status, 401);
    let twice = Api::request("GET", "/v1/inbox").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(api.send(empty(twice)).await.status, 401);
    let lower = request("GET", "/v1/inbox").header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(api.send(empty(lower)).await.status, 200);
    for open in ["/healthz", "/readyz"] {
        assert_eq!(api.send(empty(request("GET", open))).await.status, 200);
    }
    for near in ["/healthz/", "/healthz/x", "//healthz", "/HEALTHZ", "/healthz%2f"] {
        assert_eq!(api.send(empty(request("GET", near))).await.status, 401, "{near}");
    }
}

/// What a page can send to another origin without asking first never arrives.
#[tokio::test]
async fn simple_requests_of_pages_change_nothing() {
    let api = Api::new();
    let body = r#"{"to":"bob","client_msg_id":"c","content":"a"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/messages")
            .header("host", HOST)
            .header("origin", "http://evil.example")
            .header("content-type", kind)
            .header("content-length", body.len());
        assert_eq!(api.send(request.body(body.into()).unwrap()).await.status, 403);
    }
    let preflight = Request::builder()
        .method("OPTIONS")
        .uri("/v1/messages")
        .header("host", HOST)
        .header("origin", "http://localhost:7700")
        .header("access-control-request-method", "POST");
    assert_eq!(api.send(empty(preflight)).await.status, 401);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_are_json_and_said_to_be() {
    let api = Api::new();
    let body = r#"{"to":"bob","client_msg_id":"c","content":"a"}"#;
    let post = |kinds: &[&str]| {
        let mut request = Api::request("POST", "/v1/messages").header("content-length", body.len());
        for kind in kinds {
            request = request.header("content-type", *kind);
        }
        request.body(Body::from(body)).unwrap()
    };
    for good in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json;",
    ] {
        assert_eq!(api.send(post(&[good])).await.status, 201, "{good}");
    }
    for bad in [
        &[] as &[&str],
        &[""],
        &["text/plain"],
        &["application/x-www-form-urlencoded"],
        &["application/jsonp"],
        &["application/json-seq"],
        &["text/json"],
        &["application/json; charset=latin-1"],
        &["application/json; boundary=x"],
        &["application/json, text/plain"],
        &["text/plain; application/json"],
        &["application/json", "application/json"],
        &["application/json", "text/plain"],
    ] {
        api.send(post(bad)).await.assert_invalid(&["content-type"]);
    }
    let chunked = Api::request("PUT", "/v1/agents/bob/trust").header("transfer-encoding", "chunked");
    api.send(chunked.body(Body::from("{}")).unwrap())
        .await
        .assert_invalid(&["content-type"]);
    let nothing = Api::request("POST", "/v1/requests/bob/accept").header(CONTENT_LENGTH, "0");
    assert_eq!(api.send(empty(nothing)).await.status, 200);
}

#[tokio::test]
async fn paths_are_percent_encoded_utf8() {
    let api = Api::new();
    for bad in [
        "/v1/agents/%",
        "/v1/agents/%4",
        "/v1/agents/%zz",
        "/v1/agents/%+1",
        "/v1/agents/%ff",
        "/%c3%28",
    ] {
        api.get(bad).await.assert_invalid(&["path"]);
    }
    assert_eq!(api.get("/v1/agents/%62ob").await.status, 200);
}
