//! Contacts, notes and mutes.

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::{scenario, unique};

use super::add;

#[test]
fn contacts_are_added_paged_noted_and_removed() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice] = circle.agents(["alice"])?;
        for other in ["dave", "@Bob", "carol", "bob"] {
            let contact = add(&alice, other).await?;
            ensure!(
                contact["status"] == "active" && contact["notes"].is_null(),
                "{contact}"
            );
        }
        let notes = unique("owes us a crate")?;
        world.canaries().forbid(&notes);
        let patch = alice
            .patch_json("/v1/contacts/bob", &json!({ "notes": notes }))
            .await?;
        ensure!(patch.expect(200)? == json!({ "ok": true }));

        circle.proxy("alice")?.crash().await?;
        let [alice] = circle.agents(["alice"])?;
        let mut handles: Vec<String> = Vec::new();
        loop {
            let path = format!("/v1/contacts?limit=1&offset={}", handles.len());
            let page = alice.get(&path).await?.expect(200)?;
            ensure!(page["total"] == 3 && page["limit"] == 1, "{page}");
            match page["contacts"][0]["handle"].as_str() {
                Some(handle) => handles.push(handle.to_owned()),
                None => break,
            }
        }
        ensure!(handles == ["bob", "carol", "dave"], "{handles:?}");
        let check = alice.get("/v1/contacts/%40bob").await?.expect(200)?;
        ensure!(
            check["is_contact"] == true && check["notes"] == notes.as_str(),
            "{check}"
        );

        for _ in 0..2 {
            alice.delete("/v1/contacts/bob").await?.expect(200)?;
        }
        let none = json!({ "is_contact": false, "added_at": null, "notes": null });
        ensure!(alice.get("/v1/contacts/bob").await?.expect(200)? == none);
        alice
            .patch_json("/v1/contacts/bob", &json!({ "notes": "gone" }))
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        // Notes do not come back with the contact.
        ensure!(add(&alice, "bob").await?["notes"].is_null());
        for bad in [
            json!({}),
            json!({ "handle": "alice" }),
            json!({ "handle": [] }),
            json!({ "handle": "a b" }),
        ] {
            let answer = alice.post_json("/v1/contacts", &bad).await?;
            answer.refused(400, "VALIDATION_ERROR")?;
        }
        alice
            .post_json("/v1/contacts", &json!({ "handle": "nobody" }))
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        Ok(())
    });
}

/// What the other side notes about a correspondent stands in the context of the conversation.
#[test]
fn mutes_are_kept_shown_and_hold_nothing_back() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "m1", &unique("first")?).await?;
        let first = bob.receive().await?;
        let id = first.conversation_id.as_str();
        let muted = async |bob: &waxwire_tests::Agent| -> anyhow::Result<Value> {
            let list = bob.get("/v1/conversations").await?.expect(200)?;
            Ok(list[0]["is_muted"].clone())
        };
        ensure!(muted(&bob).await? == false);
        let agent = json!({ "target_kind": "agent", "target_handle": "@alice", "muted_until": null });
        let talk = json!({ "target_kind": "conversation", "target_id": id });
        for (mute, path, target) in [
            (&agent, "/v1/mutes/agent/alice".to_owned(), "alice"),
            (&talk, format!("/v1/mutes/conversation/{id}"), id),
        ] {
            bob.get(&path).await?.refused(404, "NOT_MUTED")?;
            let entry = bob.post_json("/v1/mutes", mute).await?.expect(201)?;
            ensure!(
                entry["target_id"] == target && entry["muted_until"].is_null(),
                "{entry}"
            );
            pair.bob.crash().await?;
            let bob = pair.bob.agent()?;
            ensure!(bob.get(&path).await?.expect(200)? == entry);
            ensure!(bob.get("/v1/mutes").await?.expect(200)? == json!({ "mutes": [entry] }));
            ensure!(muted(&bob).await? == true);
            bob.delete(&path).await?.expect(200)?;
            bob.delete(&path).await?.refused(404, "NOT_MUTED")?;
            ensure!(muted(&bob).await? == false);
        }
        let bob = pair.bob.agent()?;
        bob.post_json("/v1/mutes", &agent).await?.expect(201)?;
        alice.send_text("bob", "m2", &unique("second")?).await?;
        ensure!(bob.receive().await?.client_msg_id == "m2", "sync knows no mutes");

        add(&bob, "alice").await?;
        let notes = json!({ "notes": "a careful writer" });
        bob.patch_json("/v1/contacts/alice", &notes).await?.expect(200)?;
        let context = bob
            .get(&format!("/v1/conversations/{id}/context"))
            .await?
            .expect(200)?;
        ensure!(context["relationship"]["is_contact"] == true, "{context}");
        ensure!(context["relationship"]["note"] == "a careful writer", "{context}");
        Ok(())
    });
}
