//! Whatever is thrown at the local API: a typed refusal, and the proxy works on as if nothing was.

mod connections;
mod json;
mod paths;

use anyhow::ensure;
use waxwire_tests::{Agent, Answer, Pair, unique};

/// After the noise: nothing was sent by it, and a message gets through.
async fn still_works(pair: &Pair) -> anyhow::Result<()> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    let id = unique("after")?;
    alice.send_text("bob", &id, "after the noise").await?;
    let got = bob.receive().await?;
    assert_eq!(
        (got.client_msg_id.as_str(), got.seq, got.security.gap),
        (id.as_str(), 1, None)
    );
    for agent in [&alice, &bob] {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{alerts:?}");
        agent.get("/readyz").await?.expect(200)?;
    }
    Ok(())
}

async fn post_raw(agent: &Agent, path: &str, body: impl Into<bytes::Bytes>) -> anyhow::Result<Answer> {
    let ask = agent
        .request("POST", path)
        .header("content-type", "application/json");
    agent.ask(ask.body(body)).await
}
