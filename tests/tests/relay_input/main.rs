//! Whatever is thrown at the relay: a typed refusal, and every agent is served on.

mod queues;
mod registration;
mod requests;
mod socket;

use serde_json::Value;
use waxwire_tests::{Answer, Ask, Pair, Stranger, unique};

async fn still_works(pair: &Pair) -> anyhow::Result<()> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    pair.relay
        .http()
        .ask(Ask::new("GET", "/readyz"))
        .await?
        .expect_status(200)?;
    let id = unique("after")?;
    alice.send_text("bob", &id, "after the noise").await?;
    assert_eq!(bob.receive().await?.client_msg_id, id);
    Ok(())
}

async fn post(stranger: &Stranger, path: &str, body: &Value) -> anyhow::Result<Answer> {
    stranger.ask(stranger.request("POST", path).json(body)).await
}
