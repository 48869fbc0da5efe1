//! The canary: what an agent wrote, and every credential, is looked for byte by byte wherever it
//! must not be. (After every other test the same is looked for in part, see the harness.)

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::json;
use waxwire_tests::{
    canary::{Canaries, Found},
    program::run,
    scenario,
    stranger::Stranger,
    unique,
    world::World,
};

/// A secret in the encodings in which it could leak.
fn forbid(canaries: &Canaries, secret: &str) {
    canaries.forbid(secret);
    canaries.forbid(&hex::encode(secret));
    canaries.forbid(&hex::encode_upper(secret));
    // Base64 depends on where in its three-byte groups the secret begins.
    for skip in 0..3 {
        let text = &secret.as_bytes()[skip.min(secret.len())..];
        let whole = &text[..text.len() - text.len() % 3];
        canaries.forbid(&STANDARD.encode(whole));
        canaries.forbid(&URL_SAFE_NO_PAD.encode(whole));
    }
}

fn search(world: &World) -> anyhow::Result<Vec<Found>> {
    let is_token = |file: &Path| file.file_name().is_some_and(|name| name == "token");
    world.canaries().search(world.folder(), is_token)
}

/// Content of every kind between two agents, while both programs log everything that they can.
#[test]
fn attack_96_nothing_that_an_agent_wrote_lies_anywhere_in_clear() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.log_level("trace");
        relay.start().await?;
        let mut proxies = Vec::new();
        for handle in ["alice", "bob"] {
            let mut proxy = world.new_proxy(&relay, handle).await?;
            proxy.init().await?;
            proxy.log_level("trace");
            proxy.tap().record();
            proxy.start().await?;
            proxy.agent()?.until_ready().await?;
            forbid(world.canaries(), &proxy.token()?);
            proxies.push(proxy);
        }
        let [alice, bob] = [proxies[0].agent()?, proxies[1].agent()?];
        let secrets: [String; 5] = [
            unique("text")?,
            unique("metadata")?,
            unique("id")?,
            unique("data")?,
            unique("reply")?,
        ];
        for secret in &secrets {
            forbid(world.canaries(), secret);
        }
        let [text, metadata, id, data, reply] = &secrets;
        let body = json!({
            "to": "bob", "client_msg_id": id, "type": "trade.secret-offer",
            "content": { "text": text, "data": { "deep": [data] } },
            "metadata": { "note": metadata },
        });
        alice.send(&body).await?.expect(201)?;
        let got = bob.receive().await?;
        assert_eq!(got.text(), text);
        bob.send(&json!({ "to": "alice", "client_msg_id": "r", "content": reply, "reply_to": got.id }))
            .await?
            .expect(201)?;
        bob.post(&format!("/v1/messages/{}/read", got.id))
            .await?
            .expect(200)?;
        alice.receive().await?;
        // Refusals are the usual place for a leak.
        let mut bad = body.clone();
        bad["to"] = json!(format!("nobody-{}", &text[5..20]));
        alice.send(&bad).await?;
        bad["to"] = json!("bob");
        bad["client_msg_id"] = json!(unique("too-large")?);
        bad["content"] = json!({ "text": text.repeat(400) });
        alice.send(&bad).await?.refused(400, "VALIDATION_ERROR")?;
        alice
            .ask(
                alice
                    .request("POST", "/v1/messages")
                    .header("content-type", "application/json")
                    .body(format!("{{\"content\": \"{text}\"")),
            )
            .await?;
        alice.get(&format!("/v1/inbox?from={text}")).await?;
        alice.get(&format!("/v1/{text}")).await?;
        relay
            .http()
            .raw(format!("GET /{text} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await?;
        // The same while everything runs, after a crash and after an orderly end.
        assert_eq!(search(world)?, []);
        proxies[0].crash().await?;
        relay.crash().await?;
        alice.until_ready().await?;
        assert_eq!(search(world)?, []);
        for proxy in &mut proxies {
            let recorded = proxy.tap().recorded();
            ensure!(recorded.len() > 1_000, "the tap recorded nothing");
            assert_eq!(
                world.canaries().find(&recorded),
                None,
                "on the wire of {}",
                proxy.handle()
            );
            assert!(proxy.terminate().await?.success());
        }
        assert!(relay.terminate().await?.success());
        assert_eq!(search(world)?, []);
        // The search itself works: what is written in clear is found.
        std::fs::write(relay.folder().join("planted"), format!("..{text}.."))?;
        assert_eq!(search(world)?.len(), 1);
        std::fs::remove_file(relay.folder().join("planted"))?;
        Ok(())
    });
}

/// The relay keeps API keys and invite codes only as hashes, and logs none.
#[test]
fn attack_81_relay_stores_and_logs_no_credential() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.log_level("trace");
        relay.start().await?;
        let stranger = Stranger::registered(relay.http(), "stranger", world.canaries()).await?;
        forbid(world.canaries(), stranger.api_key());
        let invite = run(relay.tool(["admin", "invite"])?, Duration::from_secs(20))
            .await?
            .success()?;
        forbid(world.canaries(), invite.stdout.trim());
        stranger
            .ask(stranger.request("GET", "/v1/agents/me"))
            .await?
            .expect(200)?;
        let key = stranger.api_key();
        // In places where it does not belong.
        for path in [
            format!("/v1/agents/{key}/bundle"),
            format!("/v1/queues?key={key}"),
            format!("/{key}"),
        ] {
            stranger.ask(stranger.request("GET", path)).await?;
        }
        let wrong = format!("{key}x");
        stranger
            .ask(waxwire_tests::Ask::new("GET", "/v1/agents/me").bearer(&wrong))
            .await?;
        assert_eq!(search(world)?, []);
        relay.terminate().await?;
        assert_eq!(search(world)?, []);
        Ok(())
    });
}

/// D8: the key store of a proxy holds the API key sealed; the state holds neither it nor the token.
#[test]
fn api_key_of_a_proxy_is_seen_on_the_wire_only() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.new_proxy(&relay, "alice").await?;
        alice.tap().record();
        alice.init().await?;
        alice.log_level("trace");
        alice.start().await?;
        alice.agent()?.until_ready().await?;
        let recorded = alice.tap().recorded();
        let wire = String::from_utf8_lossy(&recorded);
        let key = wire
            .split("\"api_key\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        forbid(
            world.canaries(),
            key.context("no API key in the registration's answer")?,
        );
        ensure!(
            world.canaries().find(&recorded).is_some(),
            "the search would not find it"
        );
        assert_eq!(search(world)?, []);
        alice.terminate().await?;
        assert_eq!(search(world)?, []);
        Ok(())
    });
}

/// Sizes on the wire are those of the buckets, whatever the length of the text.
#[test]
fn attack_63_sizes_on_the_wire_are_bucketed() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (sizes, seen) = std::sync::mpsc::channel();
        pair.alice.tap().on_frame(move |frame| {
            if let Some(waxwire_shared::api::frames::ClientFrame::Send { envelope, .. }) = frame.client()
                && let Ok(envelope) = waxwire_shared::wire::Envelope::split(envelope)
            {
                // Nobody listens any more when the test has failed.
                let _ended = sizes.send(envelope.ciphertext.len());
            }
            waxwire_tests::tap::Fate::Pass
        });
        for length in [1, 10, 100, 200, 300] {
            alice
                .send_text("bob", &format!("l{length}"), &"x".repeat(length))
                .await?;
        }
        bob.take_all(5, Duration::from_secs(20)).await?;
        // 32 bytes of the ephemeral key and 16 of the tag around 512, 1024, 2048 ...
        let sizes: Vec<usize> = seen.try_iter().collect();
        ensure!(sizes.len() >= 5, "{sizes:?}");
        for size in &sizes {
            let padded = size - 48;
            ensure!(padded.is_power_of_two() && padded >= 512, "{sizes:?}");
        }
        Ok(())
    });
}

/// Nothing of the environment or the command line of a running proxy is a secret.
#[test]
fn command_lines_and_environments_hold_no_secret() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        for id in [pair.alice.program()?.id(), pair.relay.program()?.id()] {
            for file in ["cmdline", "environ"] {
                // The proxy is not dumpable: whoever is not root cannot even look.
                let Ok(bytes) = std::fs::read(format!("/proc/{id}/{file}")) else {
                    continue;
                };
                assert_eq!(world.canaries().find(&bytes), None);
            }
        }
        Ok(())
    });
}
