//! Tickets, foreign pages, and limits that name themselves.

use anyhow::ensure;
use waxwire_tests::{Ask, scenario};

use crate::{SMALL, content, refusal, same, shared};

#[test]
fn addresses_are_good_once_and_at_one_proxy_only() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let bytes = content(world, SMALL)?;
        let begun = alice.begin_upload("a.csv", &bytes).await?;
        // Another's ticket, no ticket, a ticket for something else.
        let answer = bob.put_bytes(&begun.path, None, "bytes").await?;
        refusal(&answer, 404, "ATTACHMENT_NOT_FOUND")?;
        for host in ["evil.example", "127.0.0.1:1"] {
            let ask = Ask::new("PUT", &begun.path).header("host", host).body("bytes");
            refusal(&alice.http().ask(ask).await?, 403, "FORBIDDEN")?;
        }
        let ask = Ask::new("PUT", &begun.path)
            .header("origin", "http://evil.example")
            .body("bytes");
        refusal(&alice.http().ask(ask).await?, 403, "FORBIDDEN")?;
        // Other bytes than were announced.
        let mut other = bytes.clone();
        other[70_000] ^= 1;
        let answer = alice.put_bytes(&begun.path, None, other).await?;
        refusal(&answer, 400, "VALIDATION_ERROR")?;
        let answer = alice.put_bytes(&begun.path, None, "short").await?;
        refusal(&answer, 400, "VALIDATION_ERROR")?;
        alice
            .put_bytes(&begun.path, None, bytes.clone())
            .await?
            .expect(200)?;
        let answer = alice.put_bytes(&begun.path, None, bytes.clone()).await?;
        refusal(&answer, 404, "ATTACHMENT_NOT_FOUND")?;

        alice.send_file("bob", "a", &begun.id).await?;
        let message = bob.receive().await?;
        let path = bob.locate(message.attachment()).await?;
        refusal(&alice.take_bytes(&path).await?, 404, "ATTACHMENT_NOT_FOUND")?;
        let ask = Ask::new("GET", &path).header("host", "evil.example");
        refusal(&bob.http().ask(ask).await?, 403, "FORBIDDEN")?;
        same(&bob.take_bytes(&path).await?, &bytes)?;
        refusal(&bob.take_bytes(&path).await?, 404, "ATTACHMENT_NOT_FOUND")?;
        // Nobody sends what is not an upload of his own.
        for id in [message.attachment(), "att_0", &begun.id.replace("att_", "att_0")] {
            let body = serde_json::json!({
                "to": "alice", "client_msg_id": "x", "content": { "attachment_id": id }
            });
            refusal(&bob.send(&body).await?, 404, "ATTACHMENT_NOT_FOUND")?;
        }
        Ok(())
    });
}

#[test]
fn limits_of_the_relay_are_named() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        for (name, value) in [
            ("attachment", 300_000),
            ("blob_bytes", 400_000),
            ("unfinished_blobs", 2),
        ] {
            relay.limit(name, value);
        }
        relay.start().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let agent = alice.agent()?;
        let large = content(world, 400_000)?;
        let begun = agent.begin_upload("large.csv", &large).await?;
        let answer = agent.put_bytes(&begun.path, None, large).await?;
        let body = refusal(&answer, 413, "ATTACHMENT_TOO_LARGE")?;
        ensure!(body["details"]["limit"] == "attachment", "{body}");
        let small = content(world, SMALL)?;
        agent.upload("first.csv", &small).await?;
        let begun = agent.begin_upload("second.csv", &small).await?;
        let answer = agent.put_bytes(&begun.path, None, small).await?;
        let body = refusal(&answer, 403, "ATTACHMENT_QUOTA")?;
        ensure!(
            body["details"]["limit"] == "blob_bytes" && body["details"]["max"] == 400_000,
            "{body}"
        );
        Ok(())
    });
}

/// Attack 61: what a peer declares is bounded before anything is fetched, and so is the disk.
#[test]
fn limits_of_the_proxy_are_named() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let bytes = content(world, SMALL)?;
        let message = shared(&pair, "a.csv", &bytes).await?;
        for (flag, value, status, code, limit) in [
            (
                "--attachment-max",
                "100000",
                413,
                "ATTACHMENT_TOO_LARGE",
                "attachment",
            ),
            (
                "--attachment-space",
                "100000",
                503,
                "ATTACHMENT_SPACE",
                "attachment_space",
            ),
        ] {
            pair.bob.terminate().await?;
            pair.bob.arguments([flag, value]);
            pair.bob.start().await?;
            let bob = pair.bob.agent()?;
            bob.until_ready().await?;
            let body = refusal(&bob.download(message.attachment()).await?, status, code)?;
            ensure!(body["details"]["limit"] == limit, "{body}");
            let asked = serde_json::json!({ "content_type": "text/csv", "size": SMALL });
            let answer = bob.post_json("/v1/uploads", &asked).await?;
            if flag == "--attachment-max" {
                let body = refusal(&answer, 400, "VALIDATION_ERROR")?;
                ensure!(body["details"]["limit"] == "attachment", "{body}");
            } else {
                let begun = bob.begin_upload("b.csv", &bytes).await?;
                let answer = bob.put_bytes(&begun.path, None, bytes.clone()).await?;
                let body = refusal(&answer, 503, "ATTACHMENT_SPACE")?;
                ensure!(body["details"]["max"] == 100_000, "{body}");
            }
        }
        Ok(())
    });
}
