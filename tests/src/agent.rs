//! An agent's view of its crypto proxy: the local API as calls.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    canary::Canaries,
    clock::{eventually, within},
    http::{Answer, Ask, Http},
};

/// An agent; clones share their connections.
#[derive(Debug, Clone)]
pub struct Agent {
    handle: Arc<str>,
    token: Arc<str>,
    http: Http,
    canaries: Canaries,
}

/// A message as the local API shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Message {
    /// End-to-end id.
    pub id: String,
    /// Local id of the conversation.
    pub conversation_id: String,
    /// Handle of the author.
    pub sender: String,
    /// The author's idempotency key.
    pub client_msg_id: String,
    /// Local number in the conversation.
    pub seq: u64,
    /// Type on this wire.
    #[serde(rename = "type")]
    pub kind: String,
    /// The real type.
    #[serde(default)]
    pub message_type: Option<String>,
    /// Content.
    pub content: Value,
    /// Metadata.
    #[serde(default)]
    pub metadata: Value,
    /// `stored`, `delivered` or `read`.
    pub status: String,
    /// When it was sent.
    pub created_at: String,
    /// When it was settled.
    pub delivered_at: Option<String>,
    /// When it was read.
    pub read_at: Option<String>,
    /// Names the delivery, in sync rows.
    #[serde(default)]
    pub delivery_id: Option<String>,
    /// What was verified.
    pub security: Security,
    /// Everything else.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

/// What was verified of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Security {
    /// Signature, context and pin hold.
    pub verified: bool,
    /// The signer.
    pub sender_fingerprint: String,
    /// How the signer is trusted.
    pub trust: String,
    /// Numbers of the sender that are missing.
    pub gap: Option<Gap>,
    /// The epoch of the group under which it was sealed.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// Who has shown it to this agent.
    #[serde(default)]
    pub granted_by: Option<String>,
    /// Its author had left when it came.
    #[serde(default)]
    pub late: bool,
    /// How often its content had come before.
    #[serde(default)]
    pub repeats: u64,
}

/// A hole in a sender's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Gap {
    /// The last number before it.
    pub after: u64,
    /// How many are missing.
    pub missing: u64,
}

impl Message {
    /// The text of its content; empty if there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.content["text"].as_str().unwrap_or_default()
    }
}

impl Agent {
    /// An agent with the bearer token of its proxy.
    #[must_use]
    pub fn new(handle: &str, token: &str, http: Http, canaries: Canaries) -> Self {
        canaries.forbid(token);
        Self {
            handle: handle.into(),
            token: token.into(),
            http,
            canaries,
        }
    }

    /// Its handle.
    #[must_use]
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// Its bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its client, for requests without a token.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// What must not be found in clear.
    pub(crate) const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// A request with the token.
    #[must_use]
    pub fn request(&self, method: &str, path: impl Into<String>) -> Ask {
        Ask::new(method, path).bearer(&self.token)
    }

    /// Makes a request.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        self.http.ask(ask).await
    }

    /// `GET`.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(self.request("GET", path)).await
    }

    /// `POST` without a body and without a content type.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn post(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(self.request("POST", path)).await
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(self.request("POST", path).json(body)).await
    }

    /// `PUT` of JSON.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn put_json(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(self.request("PUT", path).json(body)).await
    }

    /// `PATCH` of JSON.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn patch_json(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(self.request("PATCH", path).json(body)).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(self.request("DELETE", path)).await
    }

    /// `POST /v1/messages` of a whole body. Its texts must not show up anywhere in clear.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn send(&self, body: &Value) -> anyhow::Result<Answer> {
        self.canaries.forbid_all(body);
        self.post_json("/v1/messages", body).await
    }

    /// Sends a text and requires 201.
    ///
    /// # Errors
    /// Anything else than 201.
    pub async fn send_text(&self, to: &str, id: &str, text: &str) -> anyhow::Result<Message> {
        let answer = self.try_text(to, id, text).await?;
        ensure!(
            answer.status == 201,
            "expected 201, got {}: {}",
            answer.status,
            answer.text()
        );
        answer.parse()
    }

    /// Sends a text, whatever comes of it.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn try_text(&self, to: &str, id: &str, text: &str) -> anyhow::Result<Answer> {
        self.send(&text_to(to, id, text)).await
    }

    /// Everything that is not settled.
    ///
    /// # Errors
    /// Not answered by 200 and an array of messages.
    pub async fn sync(&self) -> anyhow::Result<Vec<Message>> {
        self.get("/v1/messages/sync?limit=500").await?.ok()
    }

    /// What comes after a delivery, waiting up to some seconds for the first.
    ///
    /// # Errors
    /// Not answered by 200 and an array of messages.
    pub async fn sync_after(&self, after: Option<&str>, wait: u64) -> anyhow::Result<Vec<Message>> {
        let after = after.map_or(String::new(), |after| format!("&after={after}"));
        let path = format!("/v1/messages/sync?limit=500&wait={wait}{after}");
        let limit = Duration::from_secs(wait + 30);
        self.ask(self.request("GET", path).limit(limit)).await?.ok()
    }

    /// Settles everything up to a delivery; gives how many moved.
    ///
    /// # Errors
    /// Not answered by 200 and a number.
    pub async fn ack(&self, delivery_id: &str) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Acked {
            acked: u64,
        }
        let body = json!({ "last_delivery_id": delivery_id });
        let answer = self.post_json("/v1/messages/sync/ack", &body).await?;
        Ok(answer.ok::<Acked>()?.acked)
    }

    /// Takes what is not settled, waiting for the first for some seconds, and settles it.
    ///
    /// # Errors
    /// See [`Self::sync`] and [`Self::ack`].
    pub async fn take(&self, wait: u64) -> anyhow::Result<Vec<Message>> {
        let messages = self.sync_after(None, wait).await?;
        let last = messages
            .iter()
            .rev()
            .find_map(|message| message.delivery_id.as_deref());
        if let Some(last) = last {
            self.ack(last).await?;
        }
        Ok(messages)
    }

    /// Takes and settles until there were `count`, within `limit`.
    ///
    /// # Errors
    /// Too few came, or too many.
    pub async fn take_all(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<Message>> {
        let mut taken = Vec::new();
        let what = format!("{} receives {count} messages", self.handle);
        let all = async {
            while taken.len() < count {
                taken.extend(self.take(5).await?);
            }
            anyhow::Ok(())
        };
        within(&what, limit, all).await??;
        ensure!(taken.len() == count, "{what}, but {}", taken.len());
        Ok(taken)
    }

    /// The one message that comes next; it is settled.
    ///
    /// # Errors
    /// None came within ten seconds, or more than one.
    pub async fn receive(&self) -> anyhow::Result<Message> {
        let mut messages = self.take_all(1, Duration::from_secs(10)).await?;
        Ok(messages.remove(0))
    }

    /// `GET /v1/messages/{conversation}` with a query.
    ///
    /// # Errors
    /// Not answered by 200 and an array of messages.
    pub async fn history(&self, conversation: &str, query: &str) -> anyhow::Result<Vec<Message>> {
        self.get(&format!("/v1/messages/{conversation}?{query}"))
            .await?
            .ok()
    }

    /// Waits until an own message has a status.
    ///
    /// # Errors
    /// It does not get there within ten seconds.
    pub async fn until_status(&self, message: &Message, status: &str) -> anyhow::Result<Message> {
        let what = format!("{} sees {} {status}", self.handle, message.id);
        eventually(&what, Duration::from_secs(10), async || {
            let query = format!("after_seq={}&limit=1", message.seq - 1);
            let rows = self.history(&message.conversation_id, &query).await?;
            Ok(rows
                .into_iter()
                .find(|row| row.id == message.id && row.status == status))
        })
        .await
    }

    /// `GET /v1/agents/{handle}/identity`.
    ///
    /// # Errors
    /// Not answered by 200.
    pub async fn identity(&self, handle: &str) -> anyhow::Result<Value> {
        self.get(&format!("/v1/agents/{handle}/identity"))
            .await?
            .expect(200)
    }

    /// `GET /v1/alerts`: type and whole row of each.
    ///
    /// # Errors
    /// Not answered by 200 and a list.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.get("/v1/alerts").await?.expect(200)?;
        let alerts = answer["alerts"].as_array().cloned();
        alerts.ok_or_else(|| anyhow::anyhow!("no list of alerts: {answer}"))
    }

    /// Waits for an alert of a type; gives the whole row.
    ///
    /// # Errors
    /// None is raised within twenty seconds.
    pub async fn until_alert(&self, kind: &str) -> anyhow::Result<Value> {
        let what = format!("{} is told {kind}", self.handle);
        eventually(&what, Duration::from_secs(20), async || {
            let alerts = self.alerts().await?;
            Ok(alerts.into_iter().find(|alert| alert["type"] == kind))
        })
        .await
    }

    /// A number of the proxy's metrics, named as there but for `waxwire_proxy_`; 0 if there is none.
    ///
    /// # Errors
    /// Not answered, or no number.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.get("/metrics").await?.text();
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("waxwire_proxy_"));
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0), str::parse)?)
    }

    /// Waits until a number of the metrics has grown to this.
    ///
    /// # Errors
    /// It does not within a minute.
    pub async fn until_metric(&self, name: &str, least: u64) -> anyhow::Result<()> {
        let what = format!("{} counts {least} of {name}", self.handle);
        eventually(&what, Duration::from_secs(60), async || {
            Ok((self.metric(name).await? >= least).then_some(()))
        })
        .await
    }

    /// Waits until the proxy is linked to the relay and ready.
    ///
    /// # Errors
    /// It is not within a minute.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        let what = format!("the proxy of {} is ready", self.handle);
        eventually(&what, Duration::from_secs(60), async || {
            Ok((self.get("/readyz").await?.status == 200).then_some(()))
        })
        .await
    }
}

/// The body of a text message.
#[must_use]
pub fn text_to(to: &str, id: &str, text: &str) -> Value {
    json!({ "to": to, "client_msg_id": id, "content": { "text": text } })
}
