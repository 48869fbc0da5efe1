//! Profiles, and how agents are found.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::scenario;

use super::{add, block, unblock, update};

#[test]
fn agents_are_found_as_far_as_they_want_to_be() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "bobby"]).await?;
        let [alice, bob, bobby] = circle.agents(["alice", "bob", "bobby"])?;
        let found = async |q: &str| {
            let page = alice.get(&format!("/v1/directory?q={q}")).await?.expect(200)?;
            let agents = page["agents"].as_array().cloned().unwrap_or_default();
            let handles: Vec<String> = agents
                .iter()
                .map(|agent| agent["handle"].as_str().unwrap_or_default().to_owned())
                .collect();
            ensure!(page["total"] == handles.len(), "{page}");
            anyhow::Ok(handles)
        };
        ensure!(found("bo").await?.is_empty(), "nobody is listed at first");
        ensure!(found("%40Bob").await? == ["bob"], "but by the whole handle");
        let listed = json!({ "settings": { "listed": true } });
        update(&bobby, &listed).await?;
        ensure!(found("bo").await? == ["bobby"]);
        let me = update(
            &bob,
            &json!({ "display_name": "Bob 🤖", "description": "hauls\ncrates", "settings": { "listed": true } }),
        )
        .await?;
        ensure!(
            me["display_name"] == "Bob 🤖" && me["settings"]["listed"] == true,
            "{me}"
        );
        ensure!(found("bob").await? == ["bob", "bobby"]);
        ensure!(found("bobb").await? == ["bobby"]);
        add(&alice, "bob").await?;
        let page = alice.get("/v1/directory?q=bob&limit=1").await?.expect(200)?;
        ensure!(page["total"] == 2 && page["limit"] == 1, "{page}");
        let entry = &page["agents"][0];
        ensure!(
            entry["in_contacts"] == true && entry["display_name"] == "Bob 🤖",
            "{entry}"
        );
        let profile = alice.get("/v1/agents/bob").await?.expect(200)?;
        ensure!(profile["description"] == "hauls\ncrates", "{profile}");
        let contact = alice.get("/v1/contacts").await?.expect(200)?;
        ensure!(contact["contacts"][0]["display_name"] == "Bob 🤖", "{contact}");

        // A block hides each from the other, and the same search finds nobody else less.
        block(&bob, "alice").await?;
        ensure!(found("bob").await? == ["bobby"]);
        let own = bob.get("/v1/directory?q=alice").await?.expect(200)?;
        ensure!(own["total"] == 0, "{own}");
        unblock(&bob, "alice").await?;
        ensure!(found("bob").await? == ["bob", "bobby"]);
        update(
            &bob,
            &json!({ "display_name": "", "settings": { "listed": false } }),
        )
        .await?;
        ensure!(found("bo").await? == ["bobby"]);
        let profile = alice.get("/v1/agents/bob").await?.expect(200)?;
        ensure!(profile["display_name"].is_null(), "{profile}");
        ensure!(
            profile["description"] == "hauls\ncrates",
            "what is not named stays"
        );
        Ok(())
    });
}

#[test]
fn searches_are_limited() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.limit("directory_per_minute", 3);
        relay.start().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let alice = alice.agent()?;
        let mut refused = None;
        // A minute may begin in between.
        for _ in 0..7 {
            let answer = alice.get("/v1/directory?q=al").await?;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.ok_or_else(|| anyhow::anyhow!("never refused"))?;
        refused.refused(429, "RATE_LIMITED")?;
        ensure!(refused.header("retry-after").is_some());
        for bad in ["", "q=", "q=a", "q=alice&limit=0", "q=al&offset=-1"] {
            let answer = alice.get(&format!("/v1/directory?{bad}")).await?;
            answer.refused(400, "VALIDATION_ERROR")?;
        }
        Ok(())
    });
}
