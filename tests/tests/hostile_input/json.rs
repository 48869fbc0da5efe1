//! Bodies that are no JSON, and JSON that is no request.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{scenario, text_to};

use crate::{post_raw, still_works};

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
            ("reply_to", &[json!(1)]),
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
        // What has not the form of an id names nothing.
        for none in [
            "msg_",
            "msg_zz",
            &format!("msg_{}", "0".repeat(31)),
            &format!("MSG_{}", "0".repeat(32)),
        ] {
            let mut body = text_to("bob", "never", "never sent");
            body["reply_to"] = json!(none);
            alice
                .send(&body)
                .await?
                .refused(404, "MESSAGE_NOT_FOUND")
                .with_context(|| none.to_owned())?;
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
