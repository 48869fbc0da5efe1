//! Webhooks (docs/proxy-api.md, Webhooks): real proxies call a real receiver in this process.

mod calls;
mod commands;
mod ladder;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use waxwire_tests::{Agent, eventually};

/// How long a call may take that has to come.
const LIMIT: Duration = Duration::from_secs(15);

/// Registers a webhook; gives its id and secret.
async fn register(agent: &Agent, url: &str, events: &[&str]) -> anyhow::Result<(String, String)> {
    let body = json!({ "url": url, "events": events });
    let made = agent.post_json("/v1/webhooks", &body).await?.expect(201)?;
    let text = |name: &str| made[name].as_str().map(str::to_owned).context("a text");
    Ok((text("id")?, text("secret")?))
}

async fn dead_letters(agent: &Agent, webhook: &str) -> anyhow::Result<Vec<Value>> {
    let path = format!("/v1/webhooks/{webhook}/dead-letters");
    let page = agent.get(&path).await?.expect(200)?;
    page["dead_letters"].as_array().cloned().context("a list")
}

/// Waits until a webhook has so many dead letters.
async fn until_dead(agent: &Agent, webhook: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    eventually("dead letters", Duration::from_secs(90), async || {
        let letters = dead_letters(agent, webhook).await?;
        Ok((letters.len() == count).then_some(letters))
    })
    .await
}
