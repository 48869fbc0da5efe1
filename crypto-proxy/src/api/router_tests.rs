use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    api::{
        Checks,
        testing::{Api, HOST, TOKEN, fingerprint, message},
    },
    model::Refusal,
    state::Stuck,
};

#[tokio::test]
async fn what_is_not_there_is_404() {
    let api = Api::new();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/ws/",
        "/mcp",
        "/v1/groups/",
        "/v1/messages/",
        "/v1/messages/sync/",
        "//v1/inbox",
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "NOT_FOUND"),
            "{path}"
        );
    }
}

/// Accounts are made by the command line: what their calls are on the platform answers in the same form.
/// Where only the handle counts, a fingerprint that nobody compares must not look compared.
#[tokio::test]
async fn fingerprint_is_compared_or_refused() {
    let api = Api::new();
    let name = format!("bob%23{}", fingerprint(2));
    for (method, path) in [
        ("GET", format!("/v1/contacts/{name}")),
        ("PATCH", format!("/v1/contacts/{name}")),
        ("DELETE", format!("/v1/contacts/{name}")),
        ("DELETE", format!("/v1/contacts/{name}/block")),
        ("GET", format!("/v1/presence/{name}")),
        ("GET", format!("/v1/mutes/agent/{name}")),
        ("DELETE", format!("/v1/mutes/agent/{name}")),
        ("POST", format!("/v1/requests/{name}/accept")),
        ("DELETE", format!("/v1/requests/{name}")),
        ("PATCH", format!("/v1/agents/{name}")),
        ("GET", format!("/v1/inbox?from={name}")),
    ] {
        let answer = match method {
            "PATCH" => api.json(method, &path, "{}").await,
            _ => api.bare(method, &path).await,
        };
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
    }
    let mute = json!({ "target_kind": "agent", "target_handle": format!("bob#{}", fingerprint(2)) });
    let answer = api.post("/v1/mutes", mute.to_string()).await;
    answer.assert_invalid(&["target_handle"]);
    let own = api.get(&format!("/v1/agents/alice%23{}", fingerprint(2))).await;
    assert_eq!(own.code(), "FINGERPRINT_MISMATCH");
}

#[tokio::test]
async fn account_calls_are_not_served() {
    let api = Api::new();
    for (method, path) in [
        ("POST", "/v1/register"),
        ("POST", "/v1/register/verify"),
        ("POST", "/v1/agents/recover/verify"),
        ("POST", "/v1/agents/alice/rotate-key"),
        ("POST", "/v1/agents/alice/rotate-key/verify"),
        ("PUT", "/v1/agents/alice/avatar"),
        ("DELETE", "/v1/agents/alice/avatar"),
        ("PUT", "/v1/reply/active"),
        ("POST", "/v1/reply/claim"),
    ] {
        let answer = api.bare(method, path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "NOT_FOUND"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn other_methods_are_405() {
    let api = Api::new();
    for (method, path) in [
        ("GET", "/v1/messages"),
        ("PATCH", "/v1/messages"),
        ("POST", "/v1/messages/x"),
        ("PUT", "/v1/messages/sync"),
        ("GET", "/v1/groups"),
        ("POST", "/v1/groups/invites"),
        ("DELETE", "/v1/agents/me"),
        ("POST", "/healthz"),
        ("OPTIONS", "/v1/inbox"),
        ("BREW", "/v1/inbox"),
    ] {
        let answer = api.bare(method, path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "METHOD_NOT_ALLOWED"),
            "{method} {path}"
        );
        assert!(!answer.header("allow").is_empty());
    }
}

#[tokio::test]
async fn static_routes_win_over_parameters() {
    let api = Api::new();
    assert_eq!(api.get("/v1/messages/sync").await.text, "[]");
    assert_eq!(api.get("/v1/agents/me").await.json()["handle"], "alice");
    assert_eq!(
        api.post("/v1/messages/sync/ack", r#"{"last_delivery_id":"x"}"#)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_panic_is_500_and_kills_nobody() {
    let api = Api::new();
    api.backend.panics();
    let body = r#"{"to":"bob","client_msg_id":"c","content":"a"}"#;
    let answer = api.post("/v1/messages", body).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "INTERNAL_ERROR"));
    assert_eq!(
        answer.json()["details"]["request_id"],
        answer.header("x-request-id")
    );
    assert!(!answer.text.contains("canary"));
    assert_eq!(api.get("/v1/agents/me").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let api = Api::new();
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let begin = Instant::now();
    let answer = api.post("/v1/messages", stalled).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "REQUEST_TIMEOUT"));
    assert_eq!(begin.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_503() {
    let api = Api::new();
    api.backend.hangs();
    let begin = Instant::now();
    let answer = api
        .post(
            "/v1/messages",
            r#"{"to":"bob","client_msg_id":"c","content":"a"}"#,
        )
        .await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "TIMEOUT"));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(begin.elapsed().as_secs() < 30, "the SDKs give up then");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let api = Api::new();
    let broken = Body::from_stream(futures_util::stream::iter([
        Ok(Bytes::from_static(b"{\"to\":")),
        Err(std::io::Error::other("gone")),
    ]));
    api.post("/v1/messages", broken).await.assert_invalid(&[]);
}

/// Whatever is asked of whichever route: the fault is the caller's, and the answer has its form.
#[tokio::test]
async fn hostile_input_is_never_a_fault() {
    let api = Api::new();
    let long = "a".repeat(5_000);
    let names = [
        "%00",
        "%0a",
        "%20",
        "%2e%2e%2f",
        "..",
        "%F0%9F%98%80",
        "%e2%80%ae",
        "'%20OR%201=1--",
        "%22%7D",
        "{id}",
        "-1",
        "NaN",
        "@",
        "%40",
        "bob%23",
        "bob%23zz",
        "conv_zz",
        "msg_",
        "del_00",
        long.as_str(),
    ];
    let queries = [
        "limit=-1",
        "limit=1e3",
        "limit=%00",
        "limit",
        "=",
        "&&&",
        "after=%F0%9F%98%80",
        "after_seq=99999999999999999999",
        "before_seq=0x1",
        "since=%00",
        "since=-0",
        "from=%00",
        "type=%27",
        "unread=maybe",
        "wait=-1",
        "around_message_id=%00",
        "offset=-1",
        "%zz=%zz",
        "limit[]=1",
        "limit=1;offset=2",
    ];
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "0",
        "\"",
        "{\"to\":{\"to\":{}}}",
        "{\"__proto__\":{\"to\":\"bob\"}}",
        "{\"state\":[],\"fingerprint\":{},\"last_delivery_id\":[],\"content\":[],\"client_msg_id\":{}}",
        "\u{feff}{}",
        "{\"\u{0}\":1}",
    ];
    let document: Value = serde_json::from_slice(api.state.openapi()).unwrap();
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let paths = names.map(|name| pattern.replace("{id}", name).replace("{handle}", name));
            for path in paths
                .iter()
                .take(if pattern.contains('{') { names.len() } else { 1 })
            {
                let mut answers = vec![api.bare(&method, path).await];
                for query in queries {
                    answers.push(api.bare(&method, &format!("{path}?{query}")).await);
                }
                if method != "GET" {
                    for body in bodies {
                        answers.push(api.json(&method, path, body).await);
                    }
                }
                for answer in answers {
                    assert!(answer.status < 500, "{method} {path}: {answer:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn answers_are_for_nobodys_cache_and_have_their_own_id() {
    let api = Api::new();
    let (first, second) = (api.get("/v1/inbox").await, api.get("/nowhere").await);
    for answer in [&first, &second] {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn health_needs_no_token_and_readiness_tells_each_check() {
    let api = Api::new();
    let open = |path: &str| {
        http::Request::builder()
            .uri(path)
            .header("host", HOST)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(api.send(open("/healthz")).await.json(), json!({ "status": "ok" }));
    let answer = api.send(open("/readyz")).await;
    let all = json!({ "ready": true, "checks": {
        "relay": true, "store": true, "self_seal": true, "bundle": true, "rotation": true, "readable": true
    } });
    assert_eq!((answer.status, answer.json()), (200, all));
    for (checks, name) in [
        (Checks::new(false, true, true), "relay"),
        (Checks::new(true, false, true), "self_seal"),
        (Checks::new(true, true, false), "bundle"),
    ] {
        *api.ready.lock().unwrap() = checks;
        let answer = api.send(open("/readyz")).await;
        assert_eq!(
            (answer.status, answer.json()["ready"].as_bool()),
            (503, Some(false))
        );
        assert_eq!(answer.json()["checks"][name], false);
        assert_eq!(answer.header("retry-after"), "1");
    }
    *api.ready.lock().unwrap() = Checks::new(true, true, true);
    for (rotation, messages, name) in [(true, false, "rotation"), (false, true, "readable")] {
        *api.backend.stuck.lock().unwrap() = Stuck { rotation, messages };
        let answer = api.send(open("/readyz")).await;
        assert_eq!(
            (answer.status, &answer.json()["checks"][name]),
            (503, &json!(false))
        );
    }
    *api.backend.stuck.lock().unwrap() = Stuck::default();
    api.backend.breaks();
    let answer = api.send(open("/readyz")).await;
    assert_eq!(
        (answer.status, &answer.json()["checks"]["store"]),
        (503, &json!(false))
    );
    assert_eq!(api.send(open("/healthz")).await.status, 200);
}

#[tokio::test]
async fn metrics_count_routes_and_codes_without_names() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().push(message(1));
    api.backend.refuses(Refusal::AgentNotFound);
    api.get("/v1/agents/carol").await;
    api.get("/v1/agents/dave").await;
    api.get("/nowhere/carol").await;
    api.bare("BREW", "/v1/inbox").await;
    let answer = api.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        r#"waxwire_proxy_http_requests_total{method="GET",route="/v1/agents/{handle}",status="404"} 2"#,
        r#"waxwire_proxy_http_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"waxwire_proxy_http_requests_total{method="other",route="/v1/inbox",status="405"} 1"#,
        r#"waxwire_proxy_refusals_total{code="AGENT_NOT_FOUND"} 2"#,
        r#"waxwire_proxy_ready{check="store"} 1"#,
        "waxwire_proxy_extra 1",
    ] {
        assert!(
            answer.text.lines().any(|found| found == line),
            "{line}\n{}",
            answer.text
        );
    }
    for name in ["carol", "dave", "alice", "bob"] {
        assert!(!answer.text.contains(name));
    }
}

#[tokio::test]
async fn openapi_tells_every_route_and_status() {
    let api = Api::new();
    let document = api.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let routes = [
        ("post", "/v1/messages"),
        ("post", "/v1/uploads"),
        ("put", "/v1/uploads/{ticket}"),
        ("get", "/v1/attachments/{id}"),
        ("get", "/v1/downloads/{ticket}"),
        ("get", "/v1/messages/{id}"),
        ("delete", "/v1/messages/{id}"),
        ("post", "/v1/messages/{id}/read"),
        ("get", "/v1/messages/sync"),
        ("post", "/v1/messages/sync/ack"),
        ("get", "/v1/ws"),
        ("post", "/v1/ws/ticket"),
        ("get", "/v1/events"),
        ("get", "/v1/conversations"),
        ("delete", "/v1/conversations/{id}"),
        ("get", "/v1/conversations/{id}/participants"),
        ("get", "/v1/conversations/{id}/context"),
        ("post", "/v1/groups"),
        ("get", "/v1/groups/{id}"),
        ("patch", "/v1/groups/{id}"),
        ("delete", "/v1/groups/{id}"),
        ("post", "/v1/groups/{id}/members"),
        ("delete", "/v1/groups/{id}/members/{handle}"),
        ("post", "/v1/groups/{id}/members/{handle}/promote"),
        ("post", "/v1/groups/{id}/members/{handle}/demote"),
        ("post", "/v1/groups/{id}/leave"),
        ("get", "/v1/groups/{id}/security"),
        ("post", "/v1/groups/{id}/rekey"),
        ("get", "/v1/groups/invites"),
        ("delete", "/v1/groups/invites/{id}"),
        ("post", "/v1/groups/invites/{id}/accept"),
        ("post", "/v1/channels"),
        ("get", "/v1/channels"),
        ("post", "/v1/channels/{slug}/join"),
        ("post", "/v1/channels/{slug}/messages"),
        ("get", "/v1/agents/me"),
        ("get", "/v1/agents/{handle}"),
        ("get", "/v1/agents/{handle}/identity"),
        ("put", "/v1/agents/{handle}/trust"),
        ("post", "/v1/keys/rotate"),
        ("get", "/v1/pins"),
        ("post", "/v1/pins"),
        ("post", "/v1/agents/{handle}/identity/verify"),
        ("put", "/v1/groups/{id}/confirmation"),
        ("get", "/v1/presence/{handle}"),
        ("put", "/v1/presence"),
        ("post", "/v1/presence/batch"),
        ("patch", "/v1/agents/{handle}"),
        ("post", "/v1/contacts"),
        ("get", "/v1/contacts"),
        ("get", "/v1/contacts/{handle}"),
        ("patch", "/v1/contacts/{handle}"),
        ("delete", "/v1/contacts/{handle}"),
        ("post", "/v1/contacts/{handle}/block"),
        ("delete", "/v1/contacts/{handle}/block"),
        ("post", "/v1/contacts/{handle}/report"),
        ("post", "/v1/mutes"),
        ("get", "/v1/mutes"),
        ("get", "/v1/mutes/agent/{handle}"),
        ("delete", "/v1/mutes/agent/{handle}"),
        ("get", "/v1/mutes/conversation/{id}"),
        ("delete", "/v1/mutes/conversation/{id}"),
        ("get", "/v1/directory"),
        ("get", "/v1/requests"),
        ("post", "/v1/requests/{handle}/accept"),
        ("delete", "/v1/requests/{handle}"),
        ("get", "/v1/inbox"),
        ("get", "/v1/inbox/unread-count"),
        ("post", "/v1/broadcasts"),
        ("post", "/v1/webhooks"),
        ("get", "/v1/webhooks"),
        ("get", "/v1/webhooks/{id}"),
        ("delete", "/v1/webhooks/{id}"),
        ("get", "/v1/webhooks/{id}/dead-letters"),
        ("post", "/v1/webhooks/{id}/dead-letters/{delivery}/redeliver"),
        ("get", "/v1/alerts"),
        ("get", "/v1/audit"),
        ("post", "/v1/audit"),
        ("post", "/v1/audit/accept"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/openapi.json"),
    ];
    for (method, path) in routes {
        let operation = &document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path}");
        // An address with a ticket in it stands for the token.
        let open = ["/healthz", "/readyz"].contains(&path) || path.ends_with("/{ticket}");
        // The token may come in the first frame.
        let later = path == "/v1/ws";
        let responses = operation["responses"].as_object().unwrap();
        for status in ["200", "400", "403", "405", "500", "503"] {
            let status = match status {
                "200" if later => "101",
                "200" if path == "/v1/attachments/{id}" => "302",
                "200" if !responses.contains_key("200") => "201",
                status => status,
            };
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        assert_eq!(responses.contains_key("401"), !open, "{method} {path}");
        assert_eq!(
            operation.get("security").is_some(),
            open || later,
            "{method} {path}"
        );
        assert_eq!(
            path.contains('{'),
            operation["parameters"]
                .as_array()
                .is_some_and(|p| p[0]["in"] == "path"),
            "{path}"
        );
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{method} {path}"
        );
    }
    let told: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|item| item.as_object().unwrap().len())
        .sum();
    assert_eq!(told, routes.len());
    assert_eq!(references_without_target(&document), Vec::<String>::new());
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    assert_eq!(document["security"], json!([{ "token": [] }]));
    assert_eq!(
        document["components"]["schemas"]["Error"]["required"],
        json!(["code", "message"])
    );
}

#[test]
fn the_manual_tells_every_route() {
    let manual = include_str!("../../../docs/proxy-api.md").replace("{conversation_id}", "{id}");
    let document = describe(OpenApi::default());
    for (path, item) in &document.paths.paths {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, _) in methods.into_iter().filter(|(_, operation)| operation.is_some()) {
            let told = |end: &str| manual.contains(&format!("{method} {path}{end}"));
            assert!(["\n", "`", "?"].into_iter().any(told), "{method} {path}");
        }
    }
}

/// Every `$ref` of the document that leads nowhere.
fn references_without_target(document: &Value) -> Vec<String> {
    let mut lost = Vec::new();
    let mut waiting = vec![document];
    while let Some(value) = waiting.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str)
            && document.pointer(target.trim_start_matches('#')).is_none()
        {
            lost.push(target.to_owned());
        }
        match value {
            Value::Object(members) => waiting.extend(members.values()),
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    lost
}

/// A peer's message that no reader could read does not take the list with it.
#[tokio::test]
async fn a_damaged_message_does_not_spoil_the_list() {
    let api = Api::new();
    let mut bad: Vec<_> = (1..=4).map(message).collect();
    bad[0].content = "{".to_owned();
    bad[1].content = r#""text""#.to_owned();
    bad[2].content = format!(r#"{{"data":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    bad[3].metadata = Some("nonsense".to_owned());
    bad[3].content = r#"{"text":"hi @carol, not me@dave.example or @x; @carol and (@eve-2)"}"#.to_owned();
    api.backend.messages.lock().unwrap().extend(bad);
    let rows = api.get("/v1/messages/sync").await.json();
    for row in 0..3 {
        assert_eq!(rows[row]["content"], json!({}), "{row}");
    }
    assert_eq!(rows[3]["metadata"], json!({}));
    assert_eq!(rows[3]["context"]["mentions"], json!(["carol", "eve-2"]));
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let api = Api::new();
    for text in [
        format!("{:?}", api.state),
        format!("{:?}", Arc::new(api.state.clone())),
    ] {
        assert!(!text.contains(TOKEN) && !text.contains("wx_"), "{text}");
    }
}
