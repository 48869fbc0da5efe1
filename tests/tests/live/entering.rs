//! Who is let in, and how a socket ends.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;
use waxwire_tests::{Closed, patience, scenario};

#[test]
fn hello_lets_in_with_either_name_of_the_token() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        for (path, name) in [("/v1/ws", "api_key"), ("/v1/ws", "token"), ("//v1/ws", "api_key")] {
            let mut socket = bob.upgrade(path, &[]).await?.map_err(anyhow::Error::msg)?;
            let hello = json!({"type": "hello", name: bob.token(), "capabilities": ["ack"], "client": "test",
                "client_version": "1"});
            socket.say(&hello).await?;
            socket.expect_hello(true).await?;
            socket.close().await?;
        }
        // The header needs no hello, and no word about capabilities.
        bob.socket(false).await?.close().await?;
        Ok(())
    });
}

#[test]
fn whoever_shows_no_token_is_told_so_and_closed() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let expired = Closed {
            code: Some(1008),
            types: vec!["session.expired".to_owned()],
        };
        let mut socket = bob.upgrade("/v1/ws", &[]).await?.map_err(anyhow::Error::msg)?;
        socket
            .say(&json!({"type": "hello", "api_key": "wx_wrong"}))
            .await?;
        ensure!(socket.closed(Duration::from_secs(5)).await? == expired);

        let begin = Instant::now();
        let mut socket = bob.upgrade("/v1/ws", &[]).await?.map_err(anyhow::Error::msg)?;
        socket
            .say(&json!({"type": "message.read_ack", "payload": {}}))
            .await?;
        ensure!(socket.closed(Duration::from_secs(10)).await? == expired);
        ensure!(
            begin.elapsed() >= Duration::from_secs(5) && begin.elapsed() < patience(Duration::from_secs(7))
        );

        for headers in [
            [("authorization", "Bearer wx_wrong")],
            [("authorization", "Basic abc")],
        ] {
            ensure!(bob.upgrade("/v1/ws", &headers).await?.err() == Some(401));
        }
        Ok(())
    });
}

/// docs/proxy-api.md: a page of another origin reaches localhost, too.
#[test]
fn attack_90_foreign_pages_get_no_socket() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let bearer = format!("Bearer {}", bob.token());
        for origin in ["http://evil.example", "null", "https://127.0.0.1", ""] {
            let headers = [("origin", origin), ("authorization", bearer.as_str())];
            for path in ["/v1/ws", "//v1/ws"] {
                ensure!(bob.upgrade(path, &headers).await?.err() == Some(403), "{origin}");
            }
        }
        let own = format!("http://{}", waxwire_tests::http::host(&bob.http().address()?));
        let headers = [("origin", own.as_str()), ("authorization", bearer.as_str())];
        ensure!(bob.upgrade("/v1/ws", &headers).await?.is_ok());
        // A name that points at this machine is another host.
        let foreign = bob.get("/v1/ws").await?;
        foreign.refused(400, "VALIDATION_ERROR")?;
        Ok(())
    });
}

#[test]
fn a_ticket_opens_one_socket() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let ticket: Value = bob.post("/v1/ws/ticket").await?.expect(200)?;
        ensure!(ticket["expires_in"] == 300);
        let path = format!("/v1/ws?ticket={}", ticket["ticket"].as_str().unwrap_or_default());
        let mut socket = bob.upgrade(&path, &[]).await?.map_err(anyhow::Error::msg)?;
        socket.expect_hello(false).await?;
        ensure!(bob.upgrade(&path, &[]).await?.err() == Some(401));
        let without = bob
            .http()
            .ask(waxwire_tests::Ask::new("POST", "/v1/ws/ticket"))
            .await?;
        without.refused(401, "UNAUTHORIZED")?;
        Ok(())
    });
}

#[test]
fn sockets_are_limited_and_closed_when_the_proxy_stops() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.bob.terminate().await?;
        pair.bob.arguments(["--max-sockets", "2"]);
        pair.bob.start().await?;
        let bob = pair.bob.agent()?;
        let (mut first, mut second) = (bob.socket(true).await?, bob.socket(false).await?);
        let bearer = format!("Bearer {}", bob.token());
        ensure!(
            bob.upgrade("/v1/ws", &[("authorization", bearer.as_str())])
                .await?
                .err()
                == Some(429)
        );
        let mut third = bob.upgrade("/v1/ws", &[]).await?.map_err(anyhow::Error::msg)?;
        third.say(&json!({"type": "hello", "token": bob.token()})).await?;
        ensure!(third.closed(Duration::from_secs(5)).await?.code == Some(1013));

        pair.bob.program()?.signal_terminate()?;
        for socket in [&mut first, &mut second] {
            let closed = socket.closed(Duration::from_secs(5)).await?;
            ensure!(closed.code == Some(1001), "{closed:?}");
        }
        let status = pair.bob.program()?.ended(Duration::from_secs(10)).await?;
        ensure!(status.success(), "{status}");
        Ok(())
    });
}
