//! Webhooks: whom the agent has told to call, and what they are called for.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use super::{LocalIdError, Message, UnixMs, parse_hex};

/// Names a webhook: `whk_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WebhookId(pub [u8; 16]);

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whk_{}", hex::encode(self.0))
    }
}

impl FromStr for WebhookId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        parse_hex(text, "whk_").map(Self)
    }
}

/// Names one event for one webhook, the same at every attempt: `whd_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookDeliveryId(pub [u8; 16]);

impl fmt::Display for HookDeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whd_{}", hex::encode(self.0))
    }
}

impl FromStr for HookDeliveryId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        parse_hex(text, "whd_").map(Self)
    }
}

/// What a webhook can be called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEvent {
    /// A message of somebody else became visible.
    MessageNew,
    /// An own message was read.
    MessageRead,
    /// What is shown of somebody's presence is another now.
    PresenceUpdate,
    /// Of the contract, and never told: no event tells of a block.
    ContactBlocked,
    /// An invite to a group came.
    GroupInvite,
    /// A group was ended.
    GroupDeleted,
}

impl HookEvent {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MessageNew,
        Self::MessageRead,
        Self::PresenceUpdate,
        Self::ContactBlocked,
        Self::GroupInvite,
        Self::GroupDeleted,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageNew => "message.new",
            Self::MessageRead => "message.read",
            Self::PresenceUpdate => "presence.update",
            Self::ContactBlocked => "contact.blocked",
            Self::GroupInvite => "group.invite.received",
            Self::GroupDeleted => "group.deleted",
        }
    }

    /// Reads what [`Self::name`] gives.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Whatever signs the calls of a webhook; shown once.
#[derive(Clone)]
pub struct HookSecret(Zeroizing<String>);

impl HookSecret {
    /// Takes a secret as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret")
    }
}

/// A webhook as the agent wants it.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where to call.
    pub url: String,
    /// What for, each once.
    pub events: Vec<HookEvent>,
    /// The agent's own secret; made by the proxy if absent.
    pub secret: Option<HookSecret>,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name.
    pub id: WebhookId,
    /// Where it is called.
    pub url: String,
    /// What for.
    pub events: Vec<HookEvent>,
    /// What signs the calls.
    pub secret: HookSecret,
    /// When it was registered.
    pub created_at: UnixMs,
}

/// What a call is about.
#[derive(Debug, Clone)]
pub enum HookData {
    /// A message.
    Message(Box<Message>),
    /// Anything else, as compact JSON.
    Json(Zeroizing<String>),
    /// Nothing any more: the agent has deleted the message.
    Gone,
}

/// What a webhook is to be told next.
#[derive(Debug, Clone)]
pub struct HookCall {
    /// Names it.
    pub delivery: HookDeliveryId,
    /// What kind.
    pub event: HookEvent,
    /// When it happened.
    pub created_at: UnixMs,
    /// Not before.
    pub due_at: UnixMs,
    /// What it is about.
    pub data: HookData,
}

/// What a webhook could not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it.
    pub delivery: HookDeliveryId,
    /// What kind.
    pub event: HookEvent,
    /// The message that it is about.
    pub message: Option<super::MessageId>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// When it happened.
    pub created_at: UnixMs,
    /// When it was given up.
    pub dead_at: UnixMs,
}

/// A part of the dead letters of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The oldest first.
    pub letters: Vec<DeadLetter>,
    /// How many there are.
    pub total: u64,
}

/// What waits for webhooks, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HookDepths {
    /// To be told.
    pub waiting: u64,
    /// Given up.
    pub dead: u64,
}
