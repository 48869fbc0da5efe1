//! The live face of the local API: sockets and streams of events (docs/proxy-api.md, Live).

mod delivery;
mod entering;
mod events;
mod hostile;
mod leases;
mod load;

use waxwire_tests::{Agent, Message};

/// Sends texts one after the other; gives the messages.
async fn send(from: &Agent, to: &str, texts: &[&str]) -> anyhow::Result<Vec<Message>> {
    let mut sent = Vec::new();
    for text in texts {
        let id = format!("{}-{text}", from.handle());
        sent.push(from.send_text(to, &id, &format!("text of {text}")).await?);
    }
    Ok(sent)
}

/// What messages are called by their authors.
fn names(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.client_msg_id.as_str())
        .collect()
}
