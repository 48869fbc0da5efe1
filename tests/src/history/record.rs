//! What clients recorded, as plain values.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waxwire_shared::ids::Hash;

use crate::agent::Message;

/// A moment of the test; later ones are larger.
pub type Moment = u64;

/// One sender: it begins a message only after the one before was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Handle of the author.
    pub from: String,
    /// Handle of the recipient, or the group.
    pub to: String,
    /// Tells senders of one author apart.
    pub number: usize,
}

impl Lane {
    /// The idempotency key of a message of this lane.
    #[must_use]
    pub fn id(&self, index: usize) -> String {
        format!(
            "{}-to-{}-lane-{}-message-{index}",
            self.from, self.to, self.number
        )
    }

    /// The text of a message of this lane.
    #[must_use]
    pub fn text(&self, index: usize) -> String {
        format!("text of {}", self.id(index))
    }
}

/// What the author knows of a message that it tried to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No answer: it may have happened or not.
    Unknown,
    /// 200 or 201, with the message's id.
    Accepted(String),
    /// Refused for good.
    Refused,
}

/// A message that its author tried to send, however often.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Who sends it to whom.
    pub lane: Lane,
    /// Its place in the lane.
    pub index: usize,
    /// What its author knows.
    pub outcome: Outcome,
}

/// A delivered row as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// End-to-end id.
    pub message: String,
    /// The author's idempotency key.
    pub client_msg_id: String,
    /// The author.
    pub sender: String,
    /// Where it was shown.
    pub conversation: String,
    /// Names the delivery.
    pub delivery: String,
    /// Number in the conversation.
    pub seq: u64,
    /// What it says.
    pub text: String,
    /// Not verified, or behind a gap.
    pub flawed: bool,
}

impl Row {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            message: message.id.clone(),
            client_msg_id: message.client_msg_id.clone(),
            sender: message.sender.clone(),
            conversation: message.conversation_id.clone(),
            delivery: message.delivery_id.clone().unwrap_or_default(),
            seq: message.seq,
            text: message.text().to_owned(),
            flawed: !message.security.verified || message.security.gap.is_some(),
        }
    }
}

/// An answer of sync.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Who was answered.
    pub agent: String,
    /// When it was asked for.
    pub asked: Moment,
    /// What it held.
    pub rows: Vec<Row>,
}

/// An ack that was answered.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whose it was.
    pub agent: String,
    /// When the answer was there.
    pub answered: Moment,
    /// The messages that it settled.
    pub messages: Vec<String>,
}

/// An envelope that the relay holds in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Number of its queue.
    pub queue: i64,
    /// Its position there.
    pub position: u64,
    /// SHA-256 of its bytes.
    pub hash: Hash,
}

/// Everything that was recorded.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Members of groups that lanes lead to.
    pub groups: HashMap<String, Vec<String>>,
    /// What was tried, by the author's idempotency key.
    pub attempts: BTreeMap<String, Attempt>,
    /// What was delivered.
    pub delivered: Vec<Delivered>,
    /// What was settled.
    pub settled: Vec<Settled>,
    /// Envelopes that the relay had said to hold before somebody looked.
    pub promised: BTreeSet<Hash>,
    /// Those that it holds in the end, once somebody has looked.
    pub kept: Option<Vec<Kept>>,
}

impl Record {
    /// Who reads what a lane carries.
    pub fn readers<'a>(&'a self, lane: &'a Lane) -> impl Iterator<Item = &'a str> {
        let members = self.groups.get(&lane.to);
        let alone = members.is_none().then_some(lane.to.as_str());
        let members = members.into_iter().flatten().map(String::as_str);
        members.filter(|member| *member != lane.from).chain(alone)
    }

    /// What was accepted: attempt and message.
    pub fn accepted(&self) -> impl Iterator<Item = (&Attempt, &str)> {
        self.attempts
            .values()
            .filter_map(|attempt| match &attempt.outcome {
                Outcome::Accepted(message) => Some((attempt, message.as_str())),
                _ => None,
            })
    }
}
