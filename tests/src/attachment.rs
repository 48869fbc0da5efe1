//! Attachments as an agent handles them: the calls of the local API, and the bytes by its own client.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    agent::{Agent, Message},
    clock::eventually,
    http::{Answer, Ask},
};

/// How long a transfer may take.
const TRANSFER: Duration = Duration::from_secs(100);

/// An upload that may begin.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its id.
    pub id: String,
    /// Path of its address, with the ticket.
    pub path: String,
}

/// The path of an address at this proxy.
fn path(url: &str) -> anyhow::Result<String> {
    let at = url.find("/v1/").context("no address of the local API")?;
    Ok(url[at..].to_owned())
}

impl Agent {
    /// `POST /v1/uploads` for these bytes.
    ///
    /// # Errors
    /// Not answered by 201.
    pub async fn begin_upload(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Begun> {
        let hash = waxwire_shared::hash::sha256(bytes).to_string();
        let body =
            json!({ "filename": name, "content_type": "text/csv", "size": bytes.len(), "sha256": hash });
        let answer = self.post_json("/v1/uploads", &body).await?.expect(201)?;
        let text = |field: &str| answer[field].as_str().context("no text");
        Ok(Begun {
            id: text("attachment_id")?.to_owned(),
            path: path(text("upload_url")?)?,
        })
    }

    /// `PUT` of bytes to an upload's address, without the token.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn put_bytes(
        &self,
        path: &str,
        range: Option<String>,
        bytes: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let mut ask = Ask::new("PUT", path).limit(TRANSFER).body(bytes);
        if let Some(range) = range {
            ask = ask.header("content-range", range);
        }
        self.http().ask(ask).await
    }

    /// Uploads bytes; gives the id.
    ///
    /// # Errors
    /// The relay does not have all of it afterwards.
    pub async fn upload(&self, name: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let begun = self.begin_upload(name, bytes).await?;
        let answer = self.put_bytes(&begun.path, None, bytes.to_vec()).await?;
        let answer = answer.expect(200)?;
        ensure!(answer["complete"] == true, "not complete: {answer}");
        Ok(begun.id)
    }

    /// Sends a message that cites an attachment to somebody, or to a conversation.
    ///
    /// # Errors
    /// Not answered by 201.
    pub async fn send_file(&self, to: &str, id: &str, attachment: &str) -> anyhow::Result<Message> {
        let place = if to.starts_with("grp_") {
            "conversation_id"
        } else {
            "to"
        };
        let mut body = json!({
            "client_msg_id": id, "type": "file", "content": { "attachment_id": attachment }
        });
        body[place] = Value::from(to);
        let answer = self.send(&body).await?;
        answer.expect_status(201)?;
        answer.parse()
    }

    /// Waits for a message in a group that cites an attachment.
    ///
    /// # Errors
    /// None comes within ten seconds.
    pub async fn until_file(&self, group: &str) -> anyhow::Result<Message> {
        let what = format!("{} gets a file", self.handle());
        eventually(&what, Duration::from_secs(10), async || {
            let history = self.history(group, "limit=50").await?;
            Ok(history.into_iter().find(|message| message.kind == "file"))
        })
        .await
    }

    /// The path of an address where an attachment can be had once.
    ///
    /// # Errors
    /// Not answered by 302.
    pub async fn locate(&self, attachment: &str) -> anyhow::Result<String> {
        let answer = self.get(&format!("/v1/attachments/{attachment}")).await?;
        answer.expect_status(302)?;
        path(answer.header("location").context("no location")?)
    }

    /// What is behind such an address, asked for without the token.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn take_bytes(&self, path: &str) -> anyhow::Result<Answer> {
        self.http().ask(Ask::new("GET", path).limit(TRANSFER)).await
    }

    /// Both.
    ///
    /// # Errors
    /// See [`Self::locate`] and [`Self::take_bytes`].
    pub async fn download(&self, attachment: &str) -> anyhow::Result<Answer> {
        self.take_bytes(&self.locate(attachment).await?).await
    }
}

impl Message {
    /// The id of the attachment that it shows.
    #[must_use]
    pub fn attachment(&self) -> &str {
        self.content["attachment_id"].as_str().unwrap_or_default()
    }
}
