//! Whatever is thrown at the local API: a typed refusal, and the proxy works on as if nothing was.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use waxwire_tests::{Agent, Answer, Pair, patience, scenario, text_to, unique};

/// After the noise: nothing was sent by it, and a message gets through.
async fn still_works(pair: &Pair) -> anyhow::Result<()> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    let id = unique("after")?;
    alice.send_text("bob", &id, "after the noise").await?;
    let got = bob.receive().await?;
    assert_eq!(
        (got.client_msg_id.as_str(), got.seq, got.security.gap),
        (id.as_str(), 1, None)
    );
    for agent in [&alice, &bob] {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{alerts:?}");
        agent.get("/readyz").await?.expect(200)?;
    }
    Ok(())
}

async fn post_raw(agent: &Agent, path: &str, body: impl Into<bytes::Bytes>) -> anyhow::Result<Answer> {
    let ask = agent
        .request("POST", path)
        .header("content-type", "application/json");
    agent.ask(ask.body(body)).await
}

/// A refusal says which field is wrong.
fn names(details: &Value, field: &str) -> bool {
    let issues = details["issues"].as_array().cloned().unwrap_or_default();
    issues.iter().any(|issue| {
        let path = issue["path"].as_array().cloned().unwrap_or_default();
        path.iter().any(|part| part == field)
    })
}

#[test]
fn malformed_json_is_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let good = text_to("bob", "never", "never sent").to_string();
        let bodies: Vec<Vec<u8>> = [
            "",
            " ",
            "{",
            "}",
            "null",
            "true",
            "17",
            "\"text\"",
            "[]",
            "{}",
            "[{}]",
            "{\"to\"}",
            "{\"to\":}",
            "{'to':'bob'}",
            "{\"to\":\"bob\",}",
            "{\"content\":{\"text\":NaN}}",
            "{\"content\":{\"data\":{\"n\":Infinity}}}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\u{1}\"}",
            "// comment\n{}",
            &deep,
            &good[..good.len() - 1],
            &format!("{good}{good}"),
            &format!("\u{feff}{good}"),
        ]
        .into_iter()
        .map(|text| text.as_bytes().to_vec())
        .chain([
            vec![0xff, 0xfe, 0x00],
            b"{\"to\":\"\xc3\x28\"}".to_vec(),
            vec![0; 1_000],
        ])
        .collect();
        for path in ["/v1/messages", "/v1/messages/sync/ack"] {
            for body in &bodies {
                let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
                let answer = post_raw(&alice, path, body.clone()).await?;
                answer
                    .refused(400, "VALIDATION_ERROR")
                    .with_context(|| format!("{path} {shown}"))?;
            }
        }
        for body in &bodies {
            let ask = alice
                .request("PUT", "/v1/agents/bob/trust")
                .header("content-type", "application/json");
            alice
                .ask(ask.body(body.clone()))
                .await?
                .refused(400, "VALIDATION_ERROR")?;
        }
        still_works(&pair).await
    });
}

#[test]
fn wrong_types_and_values_are_refused_by_field() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let wrong: &[(&str, &[Value])] = &[
            (
                "to",
                &[
                    json!(1),
                    json!(["bob"]),
                    json!({}),
                    json!(""),
                    json!("@"),
                    json!("B o b"),
                    json!("bob\0"),
                    json!("ab"),
                    json!("bob#"),
                    json!("bob#xyz"),
                    json!("a".repeat(31)),
                    json!("bob_1"),
                    json!("bób"),
                ],
            ),
            (
                "client_msg_id",
                &[
                    json!(1),
                    json!(null),
                    json!([]),
                    json!(""),
                    json!("x".repeat(129)),
                    json!("é".repeat(129)),
                ],
            ),
            (
                "content",
                &[
                    json!(1),
                    json!(null),
                    json!([]),
                    json!({}),
                    json!({ "text": 1 }),
                    json!({ "text": null }),
                    json!({ "text": ["a"] }),
                    json!({ "data": "text" }),
                    json!({ "data": [] }),
                    json!({ "attachment_id": 5 }),
                    json!({ "other": "x" }),
                    json!({ "text": "x".repeat(10_001) }),
                ],
            ),
            (
                "metadata",
                &[
                    json!(1),
                    json!("text"),
                    json!([]),
                    json!({ "k": "m".repeat(4_096) }),
                ],
            ),
            (
                "type",
                &[
                    json!(1),
                    json!(""),
                    json!("system"),
                    json!("Text"),
                    json!("1text"),
                    json!("a b"),
                    json!("a".repeat(33)),
                    json!("text\n"),
                ],
            ),
            (
                "reply_to",
                &[
                    json!(1),
                    json!("msg_"),
                    json!("msg_zz"),
                    json!(format!("msg_{}", "0".repeat(31))),
                    json!(format!("MSG_{}", "0".repeat(32))),
                ],
            ),
            (
                "expires_at",
                &[
                    json!(1),
                    json!("tomorrow"),
                    json!("2026-13-01T00:00:00Z"),
                    json!(""),
                ],
            ),
        ];
        for (field, values) in wrong {
            for value in *values {
                let mut body = text_to("bob", "never", "never sent");
                body[*field] = value.clone();
                let shown = format!(
                    "{field}: {}",
                    value.to_string().chars().take(60).collect::<String>()
                );
                let details = alice
                    .send(&body)
                    .await?
                    .refused(400, "VALIDATION_ERROR")
                    .with_context(|| shown.clone())?;
                ensure!(names(&details, field), "{shown}: {details}");
            }
        }
        for missing in ["to", "client_msg_id", "content"] {
            let mut body = text_to("bob", "never", "never sent");
            body.as_object_mut().context("an object")?.remove(missing);
            alice
                .send(&body)
                .await?
                .refused(400, "VALIDATION_ERROR")
                .context(missing)?;
        }
        let twice =
            "{\"to\":\"bob\",\"client_msg_id\":\"a\",\"client_msg_id\":\"b\",\"content\":{\"text\":\"x\"}}";
        let details = post_raw(&alice, "/v1/messages", twice)
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        ensure!(names(&details, "client_msg_id"), "{details}");
        for body in [
            json!({}),
            json!({ "last_delivery_id": 5 }),
            json!({ "last_delivery_id": null }),
        ] {
            alice
                .post_json("/v1/messages/sync/ack", &body)
                .await?
                .refused(400, "VALIDATION_ERROR")?;
        }
        still_works(&pair).await
    });
}

#[test]
fn unknown_ids_and_queries_are_refused_by_code() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let nasty = [
            "x",
            "conv_",
            "grp_",
            "msg_",
            "%00",
            "%2e%2e%2f",
            "%2e%2e",
            "conv_%27",
            "a%20b",
            "%F0%9F%A7%91",
            &"9".repeat(3_000),
        ];
        for id in nasty {
            for (method, path, code) in [
                ("GET", format!("/v1/messages/{id}"), "CONVERSATION_NOT_FOUND"),
                ("DELETE", format!("/v1/messages/{id}"), "MESSAGE_NOT_FOUND"),
                ("POST", format!("/v1/messages/{id}/read"), "MESSAGE_NOT_FOUND"),
                (
                    "DELETE",
                    format!("/v1/conversations/{id}"),
                    "CONVERSATION_NOT_FOUND",
                ),
                (
                    "GET",
                    format!("/v1/conversations/{id}/participants"),
                    "CONVERSATION_NOT_FOUND",
                ),
                (
                    "GET",
                    format!("/v1/conversations/{id}/context"),
                    "CONVERSATION_NOT_FOUND",
                ),
            ] {
                let answer = alice.ask(alice.request(method, path.as_str())).await?;
                answer
                    .refused(404, code)
                    .with_context(|| format!("{method} {path}"))?;
            }
        }
        for path in [
            "/v1/messages/%ff",
            "/v1/agents/%c3%28",
            "/v1/messages/%zz",
            "/v1/messages/%4",
        ] {
            alice
                .get(path)
                .await?
                .refused(400, "VALIDATION_ERROR")
                .context(path)?;
        }
        for name in [
            "x",
            "Not%20A%20Handle",
            "%00",
            "no--such",
            "-",
            "nobody-here",
            "me%20",
        ] {
            for path in [
                format!("/v1/agents/{name}"),
                format!("/v1/agents/{name}/identity"),
            ] {
                alice
                    .get(&path)
                    .await?
                    .refused(404, "AGENT_NOT_FOUND")
                    .with_context(|| path.clone())?;
            }
        }
        let conversation = format!("conv_{}", "0".repeat(32));
        for query in [
            "/v1/messages/sync?limit=0".to_owned(),
            "/v1/messages/sync?limit=-1".to_owned(),
            "/v1/messages/sync?limit=x".to_owned(),
            "/v1/messages/sync?limit=99999999999999999999".to_owned(),
            "/v1/messages/sync?after=del_x".to_owned(),
            "/v1/messages/sync?wait=-1".to_owned(),
            "/v1/inbox?limit=0".to_owned(),
            "/v1/inbox?offset=-1".to_owned(),
            "/v1/inbox?unread=perhaps".to_owned(),
            "/v1/inbox?since=tomorrow".to_owned(),
            "/v1/inbox?type=A%20B".to_owned(),
            "/v1/inbox?from=%20".to_owned(),
            "/v1/inbox?clear=2".to_owned(),
            "/v1/alerts?after=x".to_owned(),
            format!("/v1/messages/{conversation}?limit=0"),
            format!("/v1/messages/{conversation}?after_seq=-1"),
            format!("/v1/messages/{conversation}?before_seq=1.5"),
        ] {
            alice
                .get(&query)
                .await?
                .refused(400, "VALIDATION_ERROR")
                .with_context(|| query.clone())?;
        }
        // More than anybody has is a page like any other.
        for query in [
            "/v1/inbox?offset=18446744073709551615&limit=18446744073709551615",
            "/v1/messages/sync?limit=18446744073709551615",
            "/v1/inbox?since=99999999999999999999999",
        ] {
            alice.get(query).await?.expect(200).context(query)?;
        }
        still_works(&pair).await
    });
}

#[test]
fn unknown_routes_and_methods_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v2/messages",
            "/v1/messages/sync/",
            "/v1/register",
            "/v1/agents/recover",
            "/v1/reply/claim",
            "/admin",
            "/..%2f",
            "/.git/config",
        ] {
            let answer = alice.get(path).await?;
            ensure!(matches!(answer.status, 404 | 405), "{path}: {}", answer.status);
            ensure!(
                answer.media_type() == "application/json",
                "{path}: {}",
                answer.media_type()
            );
        }
        for (method, path) in [
            ("PATCH", "/v1/messages"),
            ("PUT", "/v1/messages/sync"),
            ("DELETE", "/v1/agents/me"),
            ("POST", "/healthz"),
            ("BREW", "/v1/messages"),
        ] {
            alice
                .ask(alice.request(method, path))
                .await?
                .refused(405, "METHOD_NOT_ALLOWED")
                .context(path)?;
        }
        still_works(&pair).await
    });
}

/// The contract, 2: POST without a body and without a content type is normal.
#[test]
fn body_less_post_without_content_type_is_accepted() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "to-read", "to be read").await?;
        let got = bob.receive().await?;
        let path = format!("/v1/messages/{}/read", got.id);
        bob.post(&path).await?.expect(200)?;
        let (address, token) = (waxwire_tests::http::host(&pair.bob.address()?), bob.token());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answer = bob.http().raw(head.as_bytes()).await?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        let encoded = path.replace("msg_", "msg%5F");
        bob.post(&encoded).await?.expect(200)?;
        Ok(())
    });
}

#[test]
fn oversize_bodies_are_refused_by_limit() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        for length in [512 * 1024 + 1, 2 * 1024 * 1024, 20 * 1024 * 1024] {
            let body = format!("{{\"content\":\"{}\"}}", "x".repeat(length));
            match post_raw(&alice, "/v1/messages", body).await {
                Ok(answer) => {
                    let details = answer.refused(400, "VALIDATION_ERROR")?;
                    assert_eq!(
                        (&details["limit"], &details["max"]),
                        (&json!("body"), &json!(512 * 1024))
                    );
                }
                // Beyond eight megabytes the connection may end while the rest is written.
                Err(error) => ensure!(length > 8 * 1024 * 1024, "{length}: {error:#}"),
            }
        }
        let token = alice.token();
        let host = waxwire_tests::http::host(&pair.alice.address()?);
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        );
        // Lies about length, and heads without end.
        for request in [
            format!("{head}content-length: 18446744073709551616\r\n\r\n{{}}"),
            format!("{head}content-length: -1\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ncontent-length: 5\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"),
            format!("{head}transfer-encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n0\r\n\r\n"),
            format!("{head}transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n"),
            format!("{head}content-length: 1000\r\n\r\nshort"),
            format!("{head}x: {}\r\n\r\n", "x".repeat(200_000)),
            format!("{head}{}\r\n", "x: y\r\n".repeat(2_000)),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
            "\0\0\0\0\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}".to_owned(),
            format!("GET /{} HTTP/1.1\r\nhost: {host}\r\n\r\n", "a".repeat(100_000)),
        ] {
            let answer = alice.http().raw(request.as_bytes()).await?;
            let shown = String::from_utf8_lossy(&answer).into_owned();
            ensure!(
                !shown.starts_with("HTTP/1.1 2") && !shown.starts_with("HTTP/1.1 5"),
                "{request:.80}: {shown}"
            );
        }
        still_works(&pair).await
    });
}

/// Clients that open connections and say little hold up nobody else.
#[test]
fn slow_and_silent_clients_hold_up_nobody() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let address = pair.alice.address()?;
        let mut silent = Vec::new();
        for n in 0..200 {
            let mut stream = waxwire_tests::http::connect(&address).await?;
            if n % 2 == 0 {
                use tokio::io::AsyncWriteExt as _;
                stream.write_all(b"POST /v1/messages HTTP/1.1\r\nhost: ").await?;
            }
            silent.push(stream);
        }
        let begin = tokio::time::Instant::now();
        let gets = try_join_all((0..20).map(|_| alice.get("/v1/agents/me"))).await?;
        assert!(gets.iter().all(|answer| answer.status == 200));
        assert!(begin.elapsed() < patience(Duration::from_secs(5)));
        drop(silent);
        still_works(&pair).await
    });
}

/// What peers may write is carried as it is, however odd.
#[test]
fn odd_but_valid_content_arrives_as_it_was() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let nested = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
        let odd = [
            r#"{"data":{"n":123456789012345678901234567890.000000000000000000001,"e":-1.5e+300,"z":-0}}"#
                .to_owned(),
            r#"{"data":{"":"","\u0000":"\u0000","__proto__":{"x":1},"constructor":null}}"#.to_owned(),
            r#"{"text":"","data":{}}"#.to_owned(),
            format!(r#"{{"data":{nested}}}"#),
            r#"{"text":"\u202e\u0000</script><img src=x onerror=alert(1)>\r\n\r\nHTTP/1.1 200 OK"}"#
                .to_owned(),
            r#"{"text":"x","type":"system","data":{"event":"member_removed"},"sender":"root"}"#.to_owned(),
        ];
        for (n, content) in odd.iter().enumerate() {
            let body = format!(r#"{{"to":"bob","client_msg_id":"odd-{n}","content":{content}}}"#);
            post_raw(&alice, "/v1/messages", body)
                .await?
                .expect_status(201)
                .with_context(|| content.clone())?;
            // Compared as text: a parser would round the numbers.
            let rows = waxwire_tests::eventually("it arrives", Duration::from_secs(10), async || {
                let answer = bob.get("/v1/messages/sync").await?;
                Ok(Some(answer.text()).filter(|text| text != "[]"))
            })
            .await?;
            let number = content
                .split("\"n\":")
                .nth(1)
                .and_then(|rest| rest.split(',').next());
            if let Some(number) = number {
                ensure!(rows.contains(number), "{number} was changed: {rows}");
            } else {
                let got: Value = serde_json::from_str(&rows)?;
                assert_eq!(
                    got[0]["content"],
                    serde_json::from_str::<Value>(content)?,
                    "{content}"
                );
                assert_eq!(
                    (&got[0]["type"], &got[0]["sender"]),
                    (&json!("text"), &json!("alice"))
                );
            }
            bob.take(0).await?;
        }
        Ok(())
    });
}
