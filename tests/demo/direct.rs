//! Direct messages: a question, its answer, a recipient who was away, safety numbers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_tests::{Agent, Message, http::host, unique};

use crate::{stage::Stage, transcript::Transcript};

/// Shows them.
pub(crate) async fn show(stage: &mut Stage, transcript: &Transcript) -> anyhow::Result<()> {
    let (alice, bob, carol) = (stage.agent("alice")?, stage.agent("bob")?, stage.agent("carol")?);

    transcript.step("alice writes to bob, and bob answers")?;
    let question = unique("Shall we sell at 42? Reference")?;
    let body = json!({
        "to": "bob",
        "client_msg_id": unique("question")?,
        "type": "proposal",
        "content": { "text": question },
        "metadata": { "desk": unique("desk")? },
    });
    let sent: Message = alice.send(&body).await?.ok().context("alice writes to bob")?;
    let got = receive(&bob, &question, transcript).await?;
    ensure!(
        got.id == sent.id && got.metadata == body["metadata"],
        "bob got another message"
    );
    let answer = unique("Sell. Countersigned")?;
    let reply = json!({
        "to": "alice", "client_msg_id": unique("answer")?, "content": { "text": answer }, "reply_to": got.id,
    });
    bob.send(&reply).await?.ok::<Message>().context("bob answers")?;
    let got = receive(&alice, &answer, transcript).await?;
    ensure!(
        got.rest["reply_to"] == sent.id.as_str(),
        "the answer names another question"
    );
    alice.until_status(&sent, "delivered").await?;
    transcript.holds("alice has bob's signed receipt for the question")?;

    transcript.step("They compare safety numbers; a relay between them could not make them equal")?;
    let numbers = [
        safety_number(&alice, "bob").await?,
        safety_number(&bob, "alice").await?,
    ];
    transcript.fact("alice's", &numbers[0])?;
    transcript.fact("bob's", &numbers[1])?;
    ensure!(numbers[0] == numbers[1], "the safety numbers differ");
    transcript.holds("equal")?;

    transcript.step("bob is away, alice writes three times, bob comes back")?;
    let place = host(&stage.proxy("bob")?.address()?);
    let status = stage.proxy("bob")?.terminate().await?;
    ensure!(status.success(), "bob's proxy ended with {status}");
    let mut texts = Vec::new();
    for number in 1..=3 {
        let text = unique(&format!("While you were away, number {number}"))?;
        alice.send_text("bob", &unique("away")?, &text).await?;
        texts.push(text);
    }
    transcript.holds("three messages are durable at the relay: 201")?;
    let again = stage.proxy("bob")?.run_command(&place)?;
    stage.proxy("bob")?.start_by(again).await?;
    let caught_up = bob.take_all(3, Duration::from_secs(30)).await?;
    let in_order = caught_up
        .iter()
        .zip(&texts)
        .all(|(message, text)| message.text() == text);
    ensure!(in_order, "bob caught up out of order: {caught_up:?}");
    for message in &caught_up {
        told(&bob, message, transcript)?;
    }

    transcript.step("carol, whom nobody knows yet, writes to alice")?;
    let text = unique("Hello alice, carol here")?;
    carol.send_text("alice", &unique("hello")?, &text).await?;
    receive(&alice, &text, transcript).await?;
    Ok(())
}

/// The next message of an agent, which has to be verified and to say this.
async fn receive(agent: &Agent, text: &str, transcript: &Transcript) -> anyhow::Result<Message> {
    let message = agent.receive().await?;
    ensure!(
        message.text() == text,
        "{} got another text: {}",
        agent.handle(),
        message.text()
    );
    told(agent, &message, transcript)?;
    Ok(message)
}

fn told(agent: &Agent, message: &Message, transcript: &Transcript) -> anyhow::Result<()> {
    let security = &message.security;
    ensure!(
        security.verified && security.gap.is_none(),
        "not verified: {message:?}"
    );
    transcript.fact(
        &format!("{} -> {}", message.sender, agent.handle()),
        &format!(
            "\"{}\"  (signature verified, key {})",
            message.text(),
            security.trust
        ),
    )
}

async fn safety_number(agent: &Agent, peer: &str) -> anyhow::Result<String> {
    let identity = agent.identity(peer).await?;
    let number = identity["safety_number"].as_str().context("no safety number")?;
    Ok(number.to_owned())
}
