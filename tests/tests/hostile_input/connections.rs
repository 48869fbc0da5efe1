//! Bodies without end, heads that lie, clients that say nothing.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;
use serde_json::json;
use waxwire_tests::{patience, scenario};

use crate::{post_raw, still_works};

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
fn attack_73_slow_and_silent_clients_hold_up_nobody() {
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
