//! Why the proxy does not do what the agent asks.

use waxwire_shared::{fingerprint::Fingerprint, ids::Handle};

use super::{GroupEnd, LocalConversation};

/// Why the proxy does not do what the agent asks. Each variant has one code and status in `api`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request breaks a rule that only the state knows, such as writing to oneself.
    #[error("{0}")]
    Invalid(&'static str),
    /// No such agent, or none that this agent may write to.
    #[error("no such agent")]
    AgentNotFound,
    /// No such conversation.
    #[error("no such conversation")]
    ConversationNotFound,
    /// No such message.
    #[error("no such message")]
    MessageNotFound,
    /// No such attachment, or it is too old to be cited.
    #[error("no such attachment")]
    AttachmentNotFound,
    /// The relay does not have all of the attachment yet.
    #[error("the attachment is not uploaded")]
    AttachmentIncomplete,
    /// What is named is not muted.
    #[error("not muted")]
    NotMuted,
    /// No such webhook.
    #[error("no such webhook")]
    WebhookNotFound,
    /// Nothing of this name is among the dead letters of the webhook.
    #[error("no such dead letter")]
    DeadLetterNotFound,
    /// The agent has as many webhooks as it may have.
    #[error("an agent may have at most {0} webhooks")]
    TooManyWebhooks(usize),
    /// In as many groups as the relay allows.
    #[error("the agent is in as many groups as the relay allows, {0}: leave one first")]
    TooManyGroups(u64),
    /// No such group, or none that this agent is a member of.
    #[error("no such group")]
    GroupNotFound,
    /// The group has ended.
    #[error("the group has ended")]
    GroupDeleted(Box<GroupEnd>),
    /// No such invite, or it is used up.
    #[error("no such invite")]
    InviteNotFound,
    /// No such channel, or none that this agent may know of.
    #[error("no such channel")]
    ChannelNotFound,
    /// Nobody joins the channel without an invite, and none waits here.
    #[error("the channel is for the invited, and no invite to it waits")]
    InviteRequired,
    /// Another group that goes on has the slug.
    #[error("the slug is taken")]
    SlugTaken,
    /// A slug names another group than before.
    #[error("the slug {slug} names another group than before")]
    ChannelChanged {
        /// The slug.
        slug: Handle,
        /// The group that it named.
        known: LocalConversation,
        /// The group that the relay shows.
        shown: LocalConversation,
    },
    /// What the relay says about a channel does not verify.
    #[error("the relay's statement about the channel {0} does not verify")]
    ChannelFalse(Handle),
    /// Who is named is no member of the group.
    #[error("not a member of the group")]
    NotMember,
    /// Only an admin of the group may do this.
    #[error("only an admin of the group may do this")]
    NotAdmin,
    /// The group would be without an admin.
    #[error("a group needs an admin")]
    LastAdmin,
    /// The group has as many members as the relay allows.
    #[error("the group is full")]
    GroupFull,
    /// There is no epoch to seal under yet; the proxy has tried and goes on.
    #[error("the group's key is being replaced")]
    EpochPending {
        /// Seconds.
        retry_after: u64,
    },
    /// Members whose confirmation of the epoch the agent requires have said nothing under it yet.
    #[error("members whose confirmation is required have not confirmed the group's key")]
    Unconfirmed {
        /// The group.
        group: LocalConversation,
        /// The epoch.
        epoch: u64,
        /// Who has not, as they joined.
        handles: Vec<Handle>,
    },
    /// The relay was caught showing two logs of the group: nothing is sent any more.
    #[error("the relay has forked the group's log")]
    RosterFork {
        /// The group.
        group: LocalConversation,
    },
    /// A later instance of this agent is the live one: this one sends nothing any more.
    #[error("a later instance of this agent is live")]
    Superseded,
    /// Another instance of this agent runs on a copy of its state: neither sends.
    #[error("another instance of this agent is live")]
    Clone,
    /// Blocked, by either side.
    #[error("blocked")]
    Blocked,
    /// This agent is suspended at the relay.
    #[error("this agent is suspended by the relay's operator")]
    Suspended,
    /// The relay refuses for another reason of authority.
    #[error("the relay does not allow this")]
    Forbidden,
    /// The operator has not verified the peer, and nothing goes to others.
    #[error("the operator has not verified this peer")]
    NotVerified {
        /// The peer.
        handle: Handle,
    },
    /// The peer's identity is not the pinned one.
    #[error("the identity of {handle} has changed")]
    IdentityChanged {
        /// The peer.
        handle: Handle,
        /// What was pinned.
        pinned: Fingerprint,
        /// What the relay shows.
        shown: Fingerprint,
        /// Whether the pinned identity, or its recovery key, signed that the other one follows it.
        proven: bool,
    },
    /// A given fingerprint is not that of the peer.
    #[error("the fingerprint of {handle} is another")]
    FingerprintMismatch {
        /// The peer.
        handle: Handle,
        /// What it is.
        actual: Fingerprint,
    },
    /// The policy wants a fingerprint at first contact.
    #[error("first contact needs handle#fingerprint")]
    FingerprintRequired,
    /// The newest known bundle of the recipient has expired.
    #[error("the encryption key of {handle} has expired")]
    RecipientKeyExpired {
        /// The peer.
        handle: Handle,
    },
    /// The peer no longer offers a suite that it has shown.
    #[error("{handle} no longer offers a suite that it has shown")]
    SuiteDowngrade {
        /// The peer.
        handle: Handle,
    },
    /// The peer takes only suites that this version does not know.
    #[error("{handle} takes only suites that this version does not know")]
    Suite {
        /// The peer.
        handle: Handle,
    },
    /// The relay served something about the peer that does not verify.
    #[error("the relay's statement about {handle} does not verify")]
    RelayLied {
        /// The peer.
        handle: Handle,
    },
    /// The relay cannot be reached or its answer is not known.
    #[error("the relay cannot be reached")]
    RelayUnreachable {
        /// Whether the message waits here and is sent again by itself.
        queued: bool,
    },
    /// The recipient's backlog is full.
    #[error("the recipient's backlog is full")]
    RecipientBacklogged {
        /// The recipient.
        handle: Handle,
        /// How many messages wait for it, by the relay's word.
        waiting: u64,
        /// Seconds.
        retry_after: u64,
    },
    /// Too many requests.
    #[error("too many requests")]
    RateLimited {
        /// Seconds.
        retry_after: u64,
    },
    /// The state cannot be written now.
    #[error("the local store cannot be written")]
    Storage,
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Stopping,
}
