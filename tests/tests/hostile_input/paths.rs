//! Ids, queries, routes and methods that lead nowhere.

use anyhow::{Context as _, ensure};
use waxwire_tests::scenario;

use crate::still_works;

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
