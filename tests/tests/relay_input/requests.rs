//! Bodies, credentials, heads and paths.

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_shared::api::problem::ProblemType;
use waxwire_tests::{Ask, Stranger, scenario, stranger::base64};

use crate::{post, still_works};

#[test]
fn malformed_bodies_types_and_credentials_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let stranger = Stranger::registered(http, "stranger", world.canaries()).await?;
        let deep = "[".repeat(20_000);
        let bodies = [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "NaN",
            "{\"purpose\":\"register\"}",
            "\"",
            "\u{0}",
            &deep,
        ];
        for path in ["/v1/challenges", "/v1/agents", "/v1/agents/api-key", "/v1/acks"] {
            let ask = || {
                stranger
                    .request("POST", path)
                    .header("content-type", "application/json")
            };
            for body in bodies {
                let answer = stranger.ask(ask().body(body.to_owned())).await?;
                answer
                    .problem(ProblemType::BadRequest)
                    .with_context(|| format!("{path} {body:.40}"))?;
            }
            stranger
                .ask(ask().body(vec![0xff, 0xfe]))
                .await?
                .problem(ProblemType::BadRequest)?;
            stranger
                .ask(ask().body(vec![b' '; 40_000]))
                .await?
                .problem(ProblemType::TooLarge)?;
            stranger
                .ask(stranger.request("POST", path).body("{}"))
                .await?
                .problem(ProblemType::UnsupportedMediaType)?;
            stranger
                .ask(
                    stranger
                        .request("POST", path)
                        .header("content-type", "text/plain")
                        .body("{}"),
                )
                .await?
                .problem(ProblemType::UnsupportedMediaType)?;
        }
        for bad in ["ä", "a===", "a b", "A\n"] {
            let body = json!({ "challenge": bad, "proof": bad, "bundle": bad });
            post(&stranger, "/v1/agents", &body)
                .await?
                .problem(ProblemType::BadRequest)
                .context(bad)?;
        }
        // Base64 of what is no CBOR, of cut CBOR, of endless CBOR.
        let challenge = stranger.challenge("register").await?;
        for bytes in [
            &[] as &[u8],
            &[0x5f],
            &[0x9f; 500],
            &[0xbf, 0xff],
            &challenge[..challenge.len() - 1],
            &[0xa1, 0x01, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            let body = json!({ "challenge": base64(bytes), "proof": base64(bytes), "bundle": base64(bytes) });
            post(&stranger, "/v1/agents", &body)
                .await?
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(bytes))?;
        }
        // Routes that need an API key, and what is none.
        for (method, path) in [
            ("GET", "/v1/agents/me"),
            ("GET", "/v1/agents/alice/bundle"),
            ("PUT", "/v1/agents/me/bundle"),
            ("POST", "/v1/envelopes"),
            ("GET", "/v1/queues"),
            ("GET", "/v1/queues/mail/envelopes"),
            ("POST", "/v1/acks"),
            ("GET", "/v1/link"),
        ] {
            let key = stranger.api_key();
            for credential in [
                None,
                Some(String::new()),
                Some(format!("Bearer {}", &key[..key.len() - 1])),
                Some(format!("Bearer {key}x")),
                Some(format!("Basic {key}")),
                Some(key.to_owned()),
            ] {
                let mut ask = Ask::new(method, path);
                if let Some(value) = &credential {
                    ask = ask.header("authorization", value.as_str());
                }
                http.ask(ask)
                    .await?
                    .problem(ProblemType::Unauthorized)
                    .with_context(|| format!("{method} {path}"))?;
            }
            let both = Ask::new(method, path).bearer(key).bearer(key);
            http.ask(both).await?.problem(ProblemType::Unauthorized)?;
        }
        for path in [
            "/",
            "/v1",
            "/v1/no-such",
            "/v1/queues/other/envelopes",
            "/v1/agents/nobody-here/bundle",
            "/v1/agents/%20/bundle",
            "/v1/queues/%2e%2e/envelopes",
        ] {
            stranger
                .ask(stranger.request("GET", path))
                .await?
                .problem(ProblemType::NotFound)
                .context(path)?;
        }
        stranger
            .ask(stranger.request("DELETE", "/v1/envelopes"))
            .await?
            .problem(ProblemType::MethodNotAllowed)?;
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "after=-1",
            "wait=61",
            "wait=x",
            "unknown=1",
        ] {
            let path = format!("/v1/queues/mail/envelopes?{query}");
            stranger
                .ask(stranger.request("GET", path))
                .await?
                .problem(ProblemType::BadRequest)
                .context(query)?;
        }
        for nonce in ["", "00", &"z".repeat(64), &"A".repeat(64)] {
            http.ask(Ask::new("GET", format!("/v1/relay?nonce={nonce}")))
                .await?
                .problem(ProblemType::BadRequest)?;
        }
        still_works(&pair).await
    });
}

#[test]
fn heads_and_lengths_that_lie_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let head = "POST /v1/challenges HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
        for request in [
            format!("{head}content-length: 18446744073709551616\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ncontent-length: 5\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"),
            format!("{head}transfer-encoding: chunked\r\n\r\nZZ\r\n"),
            format!("{head}content-length: 1000000000\r\n\r\n"),
            format!("{head}x: {}\r\n\r\n", "x".repeat(100_000)),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
            "\0\0\0\0\r\n\r\n".to_owned(),
            format!("GET /{} HTTP/1.1\r\nhost: relay\r\n\r\n", "a".repeat(50_000)),
        ] {
            let answer = http.raw(request.as_bytes()).await?;
            let shown = String::from_utf8_lossy(&answer).into_owned();
            ensure!(
                !shown.starts_with("HTTP/1.1 2") && !shown.starts_with("HTTP/1.1 5"),
                "{request:.80}: {shown}"
            );
        }
        still_works(&pair).await
    });
}
