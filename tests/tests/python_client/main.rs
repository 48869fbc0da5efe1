//! An independent client, written in Python from docs/protocol.md and docs/relay-api.md alone
//! (`tests/python/client`), against the real relay and real proxies.

mod direct;
mod groups;
mod hostile;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{
    World,
    canary::Canaries,
    script::{Dialogue, repository, tool},
};

/// How long something may take to reach the client.
const SPREAD: Duration = Duration::from_secs(20);
/// How long one request of the client waits at the relay, in seconds.
const WAIT: u64 = 5;

/// The client as a process.
#[derive(Debug)]
struct Client {
    dialogue: Dialogue,
    canaries: Canaries,
}

impl Client {
    /// A client of the relay at `relay`, registered. Gives its fingerprint.
    async fn registered(world: &World, relay: &str, handle: &str) -> anyhow::Result<(Self, String)> {
        let mut command = tool("target/venv/bin/python", world.folder())?;
        command.current_dir(repository("tests/python"));
        command.args(["-B", "-m", "client", relay, handle]);
        let log = world.folder().join("logs").join(format!("{handle}.log"));
        let mut client = Self {
            dialogue: Dialogue::start(command, &log)?,
            canaries: world.canaries().clone(),
        };
        let registered = client.ask(json!({"do": "register"})).await?;
        let fingerprint = text(&registered, "fingerprint")?.to_owned();
        Ok((client, fingerprint))
    }

    /// Its answer, which is no refusal.
    async fn ask(&mut self, request: Value) -> anyhow::Result<Value> {
        let answer = self.dialogue.ask(&request).await?;
        let refused = answer.get("refused").or_else(|| answer.get("problem"));
        ensure!(refused.is_none_or(Value::is_array), "{request}: {answer}");
        Ok(answer)
    }

    /// Why it does not do what it is asked for.
    async fn refusal(&mut self, request: Value) -> anyhow::Result<String> {
        let answer = self.dialogue.ask(&request).await?;
        Ok(text(&answer, "refused")?.to_owned())
    }

    /// Sends a text, directly or, without a recipient, to its group; gives the message's id.
    async fn say(&mut self, to: Option<&str>, id: &str, words: &str) -> anyhow::Result<String> {
        self.canaries.forbid(words);
        let content = json!({ "text": words }).to_string();
        let request = match to {
            Some(to) => json!({"do": "send", "to": to, "id": id, "content": content}),
            None => json!({"do": "send_to_group", "id": id, "content": content}),
        };
        Ok(text(&self.ask(request).await?, "message_id")?.to_owned())
    }

    /// What one answer of the relay has of its mail or control.
    async fn receive(&mut self, queue: &str) -> anyhow::Result<Value> {
        self.ask(json!({"do": "receive", "queue": queue, "wait": WAIT}))
            .await
    }

    /// The same of its group.
    async fn receive_from_group(&mut self) -> anyhow::Result<Value> {
        self.ask(json!({"do": "receive_from_group", "wait": WAIT})).await
    }
}

/// An answer, if it has something in this field.
fn having(answer: Value, field: &str) -> Option<Value> {
    let there = answer[field].as_array().is_some_and(|rows| !rows.is_empty());
    there.then_some(answer)
}

/// A text in what the client answers.
fn text<'a>(answer: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    let text = answer[field].as_str();
    text.with_context(|| format!("no {field}: {answer}"))
}

/// The content of a message as the client shows it.
fn content(words: &str) -> String {
    json!({ "text": words }).to_string()
}
