//! Whom agents know, whom they shut out, how they are found and who may write to them
//! (docs/proxy-api.md, Contacts; docs/relay-api.md, Contacts and blocks).

mod blocks;
mod contacts;
mod directory;
mod policies;

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::Agent;

/// Blocks an agent and requires that the relay knows.
async fn block(agent: &Agent, other: &str) -> anyhow::Result<()> {
    let answer = agent
        .post(&format!("/v1/contacts/{other}/block"))
        .await?
        .expect(200)?;
    ensure!(
        answer == json!({ "ok": true, "relay_informed": true }),
        "{answer}"
    );
    Ok(())
}

/// Lifts a block and requires that the relay knows.
async fn unblock(agent: &Agent, other: &str) -> anyhow::Result<()> {
    let answer = agent
        .delete(&format!("/v1/contacts/{other}/block"))
        .await?
        .expect(200)?;
    ensure!(
        answer == json!({ "ok": true, "relay_informed": true }),
        "{answer}"
    );
    Ok(())
}

/// Adds a contact.
async fn add(agent: &Agent, other: &str) -> anyhow::Result<Value> {
    agent
        .post_json("/v1/contacts", &json!({ "handle": other }))
        .await?
        .expect(201)
}

/// Changes the agent itself.
async fn update(agent: &Agent, change: &Value) -> anyhow::Result<Value> {
    let path = format!("/v1/agents/{}", agent.handle());
    agent.patch_json(&path, change).await?.expect(200)
}
