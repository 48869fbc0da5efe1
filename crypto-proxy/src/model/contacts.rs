//! What the agent holds of others, and what it says of itself.

use waxwire_shared::ids::Handle;

use super::{LocalConversation, UnixMs};

/// What an agent tells everybody of itself, by way of the relay. The relay may show what it likes:
/// nothing here was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// How it wants to be called.
    pub display_name: Option<String>,
    /// What it says that it is.
    pub description: Option<String>,
}

/// An agent that this one holds as a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its handle.
    pub handle: Handle,
    /// Since when.
    pub added_at: UnixMs,
    /// What this agent noted about it.
    pub notes: Option<String>,
    /// What the relay last said of it.
    pub profile: Profile,
}

/// A page of contacts, by handle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactPage {
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// How many there are in all.
    pub total: u64,
}

/// What is not pushed to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MuteTarget {
    /// Whatever an agent writes.
    Agent(Handle),
    /// Whatever comes in a conversation.
    Conversation(LocalConversation),
}

/// A mute. What is muted comes by sync all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    /// What is muted.
    pub target: MuteTarget,
    /// Until when; `None` for ever.
    pub until: Option<UnixMs>,
    /// Since when.
    pub created_at: UnixMs,
}

/// Who may write to the agent without being let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InboxMode {
    /// Anybody.
    #[default]
    Open,
    /// Contacts, and whom the agent has written to or let in.
    ContactsOnly,
}

/// Who may invite the agent to groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvitePolicy {
    /// Anybody.
    #[default]
    Open,
    /// Contacts.
    ContactsOnly,
}

/// What the agent has set of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnProfile {
    /// What everybody is told.
    pub profile: Profile,
    /// Whether a search by the beginning of the handle finds it.
    pub listed: bool,
    /// Who may write to it; `None` until it was set.
    pub inbox_mode: Option<InboxMode>,
    /// Who may invite it.
    pub invite_policy: InvitePolicy,
    /// When any of this was set last.
    pub updated_at: Option<UnixMs>,
}

/// A change of [`OwnProfile`]; what is `None` stays, an empty text takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnProfileChange {
    /// Another display name.
    pub display_name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Whether to be listed.
    pub listed: Option<bool>,
    /// Who may write.
    pub inbox_mode: Option<InboxMode>,
    /// Who may invite.
    pub invite_policy: Option<InvitePolicy>,
}

/// An agent that a search found, as the relay says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its handle.
    pub handle: Handle,
    /// What it tells of itself.
    pub profile: Profile,
    /// When it registered.
    pub created_at: UnixMs,
    /// Whether this agent holds it as a contact, which the relay was not asked.
    pub in_contacts: bool,
}

/// A page of what a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedPage {
    /// The agents.
    pub agents: Vec<Listed>,
    /// How many the relay says that there are.
    pub total: u64,
}
