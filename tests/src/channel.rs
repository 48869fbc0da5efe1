//! Named channels through the local API, as an agent uses them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    agent::{Agent, Message},
    http::Answer,
};

/// A channel as the local API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channel {
    /// Local id of its group.
    pub id: String,
    /// Slug.
    pub slug: String,
    /// Name, once it is known.
    pub name: Option<String>,
    /// `open` or `invite`.
    pub join: String,
    /// Whether the agent that asked is a member.
    pub joined: bool,
    /// How many members there are.
    pub member_count: u64,
    /// `log` or `relay`.
    pub source: String,
}

/// A page of channels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChannelPage {
    /// The channels.
    pub channels: Vec<Channel>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Agent {
    /// Founds a channel, whatever comes of it. Its name must not show up anywhere in clear.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_create_channel(&self, slug: &str, name: &str, join: &str) -> anyhow::Result<Answer> {
        self.canaries().forbid(name);
        let body = json!({ "slug": slug, "name": name, "join": join });
        self.post_json("/v1/channels", &body).await
    }

    /// Founds a channel.
    ///
    /// # Errors
    /// Not answered by 201 and a channel.
    pub async fn create_channel(&self, slug: &str, name: &str, join: &str) -> anyhow::Result<Channel> {
        let answer = self.try_create_channel(slug, name, join).await?;
        answer.expect_status(201)?;
        answer.parse()
    }

    /// Joins a channel, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_join_channel(&self, slug: &str) -> anyhow::Result<Answer> {
        self.post(&format!("/v1/channels/{slug}/join")).await
    }

    /// Joins a channel.
    ///
    /// # Errors
    /// Not answered by 200 and a channel.
    pub async fn join_channel(&self, slug: &str) -> anyhow::Result<Channel> {
        self.try_join_channel(slug).await?.ok()
    }

    /// Joins the channel of a slug if it is this group, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_join_exactly(&self, slug: &str, id: &str) -> anyhow::Result<Answer> {
        let body = json!({ "id": id });
        self.post_json(&format!("/v1/channels/{slug}/join"), &body).await
    }

    /// A page of channels.
    ///
    /// # Errors
    /// Not answered by 200 and a page.
    pub async fn channels(&self, query: &str) -> anyhow::Result<ChannelPage> {
        self.get(&format!("/v1/channels?{query}")).await?.ok()
    }

    /// Sends a body to a channel, whatever comes of it.
    ///
    /// # Errors
    /// See [`crate::Http::ask`].
    pub async fn try_send_to_channel(&self, slug: &str, body: &Value) -> anyhow::Result<Answer> {
        self.post_json(&format!("/v1/channels/{slug}/messages"), body)
            .await
    }

    /// Sends a text to a channel.
    ///
    /// # Errors
    /// Anything else than 201.
    pub async fn send_to_channel(&self, slug: &str, id: &str, text: &str) -> anyhow::Result<Message> {
        self.canaries().forbid(text);
        let body = json!({ "client_msg_id": id, "content": { "text": text } });
        let answer = self.try_send_to_channel(slug, &body).await?;
        answer.expect_status(201)?;
        answer.parse()
    }
}
