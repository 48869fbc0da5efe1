//! Who may write and who may invite.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{scenario, unique};

use super::{add, update};

/// The flag says how it begins; what the agent sets stays over restarts, whatever the flag says.
#[test]
fn inbox_mode_is_set_while_running_and_stays() {
    scenario(async |world| {
        let circle = world.circle(["alice", "carol"]).await?;
        let [alice, carol] = circle.agents(["alice", "carol"])?;
        let mut proxy = world.new_proxy(&circle.relay, "bob").await?;
        proxy.arguments(["--inbox-mode", "contacts_only"]);
        proxy.init().await?;
        proxy.start().await?;
        let bob = proxy.agent()?;
        bob.until_ready().await?;
        alice.send_text("bob", "a1", &unique("waits")?).await?;
        let requests = waiting(&bob).await?;
        ensure!(
            requests[0]["handle"] == "alice" && requests[0]["count"] == 1,
            "{requests}"
        );
        ensure!(bob.sync().await?.is_empty());
        bob.post("/v1/requests/alice/accept").await?.expect(200)?;
        ensure!(bob.receive().await?.client_msg_id == "a1");

        let me = update(&bob, &json!({ "settings": { "inbox_mode": "open" } })).await?;
        ensure!(me["settings"]["inbox_mode"] == "open", "{me}");
        proxy.crash().await?;
        let bob = proxy.agent()?;
        bob.until_ready().await?;
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        ensure!(me["settings"]["inbox_mode"] == "open", "{me}");
        carol.send_text("bob", "c1", &unique("straight")?).await?;
        ensure!(bob.receive().await?.client_msg_id == "c1");

        update(&bob, &json!({ "settings": { "inbox_mode": "contacts_only" } })).await?;
        carol.send_text("bob", "c2", &unique("waits")?).await?;
        ensure!(waiting(&bob).await?[0]["handle"] == "carol");
        // A rejected request is gone; as a contact carol is heard.
        bob.delete("/v1/requests/carol").await?.expect(200)?;
        ensure!(bob.get("/v1/requests").await?.expect(200)?["requests"] == json!([]));
        add(&bob, "carol").await?;
        carol.send_text("bob", "c3", &unique("heard")?).await?;
        ensure!(bob.receive().await?.client_msg_id == "c3");
        Ok(())
    });
}

async fn waiting(agent: &waxwire_tests::Agent) -> anyhow::Result<serde_json::Value> {
    let limit = std::time::Duration::from_secs(10);
    waxwire_tests::eventually("somebody waits", limit, async || {
        let requests = agent.get("/v1/requests").await?.expect(200)?["requests"].clone();
        Ok((requests != json!([])).then_some(requests))
    })
    .await
}

#[test]
fn only_contacts_invite_where_the_agent_says_so() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        update(
            &bob,
            &json!({ "settings": { "group_invite_policy": "contacts_only" } }),
        )
        .await?;
        add(&bob, "alice").await?;
        let refused = carol.create_group(&unique("of carol")?, &["bob"]).await?;
        let invited = alice.create_group(&unique("of alice")?, &["bob"]).await?;
        bob.until_invited(&invited.id).await?;
        let invitations = bob.invitations().await?;
        ensure!(invitations.len() == 1, "{invitations:?}");
        // Carol's came before alice's was asked for, and may be asked for again.
        add(&bob, "carol").await?;
        let again = carol.try_invite(&refused.id, &json!({ "handle": "bob" })).await?;
        again.expect(201)?;
        bob.until_invited(&refused.id).await?;
        for bad in ["token", "closed", ""] {
            let body = json!({ "settings": { "inbox_mode": bad } });
            let answer = bob.patch_json("/v1/agents/bob", &body).await?;
            answer.refused(400, "VALIDATION_ERROR")?;
        }
        let answer = bob.patch_json("/v1/agents/alice", &json!({})).await?;
        answer.refused(403, "FORBIDDEN")?;
        Ok(())
    });
}
