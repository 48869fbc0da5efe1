//! What the engine is told and what it wants done: plain values, so that tests and the simulation
//! are other shells around the same engine.

use waxwire_shared::{
    api::{
        frames::{Allowance, Cursor, Notice as SendNotice, Seen},
        problem::Problem,
        profile::{DirectoryAnswer, ProfileAnswer, ProfileRequest},
        rest::{BlockRequest, BundleAnswer, ChannelAnswer, ChannelsAnswer},
    },
    fingerprint::{Address, Fingerprint},
    ids::{GroupId, Handle, Hash, RelayId},
    wire::Role,
};

use super::{Anew, AttachmentCommand, AuditCommand, Conflict, EncryptionKey, LogCall};
use crate::model::{
    Added, Audit, Confirmation, Contact, DeliveryId, Group, GroupEnd, HistoryShare, HookDeliveryId,
    Invitation, InviteId, Joining, ListedChannel, ListedPage, LocalConversation, MessageId, Mute, MuteTarget,
    NewGroup, NewWebhook, OwnProfileChange, Peer, PeerPresence, PinEntry, PresenceStatus, Profile,
    ProfileChange, Refusal, SendRequest, SendToken, Sent, TrustDecision, UnixMs, Upload, Webhook, WebhookId,
};

/// Names a request of the agent until it is answered.
pub type RequestId = u64;

/// Now, by the machine's clock; the engine asks nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix milliseconds.
    pub unix: UnixMs,
    /// How long this proxy has run in all, in milliseconds: own schedules follow it, because nobody
    /// else can set it.
    pub running: u64,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The agent asks.
    Command(RequestId, Command),
    /// The link reports.
    Link(LinkEvent),
    /// A new incarnation is durable in the key store.
    BegunAnew(Anew),
    /// The tag of a handle in the transparency log; `None` if this host lacks the memory for it.
    HandleTag(Handle, Option<Hash>),
    /// A deadline may have passed, see [`super::Engine::next_deadline`].
    Tick,
}

/// What an agent can ask of the engine. Reads of what is visible go to `state::Reader` instead.
#[derive(Debug, Clone)]
pub enum Command {
    /// Send a message.
    Send(Box<SendRequest>),
    /// Settle every delivery up to this one.
    Ack(DeliveryId),
    /// Settle exactly these deliveries.
    Settle(Vec<DeliveryId>),
    /// Settle exactly these messages; what names no inbound message settles nothing.
    SettleMessages(Vec<MessageId>),
    /// Mark an inbound message read.
    MarkRead(MessageId),
    /// Mark every inbound message of a conversation read up to a local number.
    MarkReadUpTo(LocalConversation, u64),
    /// Hide a message.
    Delete(MessageId),
    /// Hide a conversation until something new becomes visible in it.
    HideConversation(LocalConversation),
    /// Look a peer up, at the relay if need be.
    LookUp(Address),
    /// Decide on a peer, and whether what a former identity of it has not confirmed is sealed again to this one.
    SetTrust(Handle, TrustDecision, Fingerprint, bool),
    /// Take pins that were brought along, all or none; answered by [`Reply::Pinned`].
    ImportPins(Vec<PinEntry>),
    /// Publish a new encryption key now, and replace the keys of all groups; answered by [`Reply::Rotated`].
    RotateKey,
    /// Let a stranger in: what waits becomes visible.
    AcceptRequest(Handle),
    /// Drop what a stranger sent.
    RejectRequest(Handle),
    /// Anything about groups.
    Group(GroupCommand),
    /// Tell the readers of a conversation that the agent types, or has stopped.
    Typing(LocalConversation, bool),
    /// Show oneself so, with at most 200 characters about oneself; answered by
    /// [`Reply::Presences`] with the own presence.
    SetPresence(PresenceStatus, Option<String>),
    /// Whether these are there; answered by [`Reply::Presences`] without those who are not known.
    Presences(Vec<Handle>),
    /// Anything about contacts, blocks, mutes and profiles.
    Contact(ContactCommand),
    /// Anything about own attachments.
    Attachment(AttachmentCommand),
    /// Anything about webhooks.
    Webhook(WebhookCommand),
    /// Anything about the relay's transparency log.
    Audit(AuditCommand),
}

/// What an agent can ask about webhooks, and what became of calls.
#[derive(Debug, Clone)]
pub enum WebhookCommand {
    /// Register one; answered by [`Reply::Webhook`].
    Add(Box<NewWebhook>),
    /// Remove one with everything that waits for it.
    Remove(WebhookId),
    /// Try a dead letter again, behind everything that waits.
    Redeliver(WebhookId, HookDeliveryId),
    /// A call was answered with success, or its message is not there any more.
    Told {
        /// Which.
        delivery: HookDeliveryId,
        /// Whether the message that it was about is settled with it.
        settles: bool,
    },
    /// A call was not answered with success.
    Failed {
        /// Which.
        delivery: HookDeliveryId,
        /// Why; nothing of what the receiver said.
        reason: String,
    },
}

/// What an agent can ask about others, and about what others may know of it. What is so already is no
/// reason to refuse.
#[derive(Debug, Clone)]
pub enum ContactCommand {
    /// Hold an agent as a contact; answered by [`Reply::Contact`].
    Add(Address),
    /// Note something about a contact, or nothing.
    Note(Handle, Option<String>),
    /// Hold an agent as a contact no longer.
    Remove(Handle),
    /// Block an agent; answered by [`Reply::Declared`].
    Block(Address),
    /// Lift a block; answered by [`Reply::Declared`].
    Unblock(Handle),
    /// Mute something until a time or for ever; answered by [`Reply::Muted`].
    Mute(MuteTarget, Option<UnixMs>),
    /// Mute it no longer.
    Unmute(MuteTarget),
    /// Change what others are told of this agent and who may write to it; answered by
    /// [`Reply::Declared`].
    SetProfile(Box<OwnProfileChange>),
    /// What the relay says of a peer; answered by [`Reply::Profile`].
    Profile(Handle),
    /// Search agents by the beginning of their handle; answered by [`Reply::Directory`].
    Search {
        /// The beginning.
        prefix: String,
        /// Most agents.
        limit: u64,
        /// Agents to skip.
        offset: u64,
    },
}

/// What an agent can ask about groups. A command names the state that it wants; what is so already is
/// answered at once.
#[derive(Debug, Clone)]
pub enum GroupCommand {
    /// Found a group; answered by [`Reply::GroupCreated`].
    Create(Box<NewGroup>),
    /// Change name, description, avatar; answered by [`Reply::Group`].
    Update(LocalConversation, ProfileChange),
    /// End a group; answered by [`Reply::Ended`].
    Disband(LocalConversation),
    /// Invite somebody; answered by [`Reply::Added`].
    Add(LocalConversation, Address, Option<HistoryShare>),
    /// Take a member or an open invite out.
    Remove(LocalConversation, Handle),
    /// Make a member admin, or an admin member.
    SetRole(LocalConversation, Handle, Role),
    /// Leave; answered by [`Reply::Left`].
    Leave(LocalConversation),
    /// Accept an invite; answered by [`Reply::Group`].
    Accept(InviteId),
    /// Be a member of a named channel; answered by [`Reply::Group`].
    Join(Joining),
    /// Open channels as the relay lists them, by slug; answered by [`Reply::Channels`].
    Channels {
        /// They come after this one.
        after: Option<Handle>,
        /// Most channels.
        limit: u64,
    },
    /// Decline an invite.
    Reject(InviteId),
    /// Replace the group's key now; answered by [`Reply::Epoch`].
    Rekey(LocalConversation),
    /// Whose confirmation of epochs is required in a group, and whether this agent confirms by itself.
    SetConfirmation(LocalConversation, Confirmation),
}

/// The answer to a [`Command`] that was not refused.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Command::Send`].
    Sent(Box<Sent>),
    /// To [`Command::Ack`], [`Command::Settle`] and [`Command::SettleMessages`]: how many were settled now.
    Settled(u64),
    /// To [`Command::LookUp`] and [`Command::SetTrust`].
    Peer(Box<Peer>),
    /// To [`GroupCommand::Create`]: the group, and what became of each member that was named and could
    /// be invited.
    GroupCreated(Box<Group>, Vec<Added>),
    /// To [`GroupCommand::Update`], [`GroupCommand::Accept`] and [`GroupCommand::Join`].
    Group(Box<Group>),
    /// To [`GroupCommand::Channels`]: the relay's word, nothing of it was verified.
    Channels(Vec<ListedChannel>),
    /// To [`GroupCommand::Add`].
    Added(Added),
    /// To [`GroupCommand::Leave`]: who became admin because the last one left.
    Left(Option<Handle>),
    /// To [`GroupCommand::Disband`]: when.
    Ended(UnixMs),
    /// To [`GroupCommand::Rekey`]: the new epoch.
    Epoch(u64),
    /// To [`Command::ImportPins`].
    Pinned {
        /// Of agents whose key was known and is the same.
        known: u64,
        /// Of agents that were never met.
        expected: u64,
    },
    /// To [`Command::RotateKey`]: the number of the new key, which the relay has. Keys of groups follow.
    Rotated(u64),
    /// To [`Command::SetPresence`] and [`Command::Presences`].
    Presences(Vec<PeerPresence>),
    /// To [`ContactCommand::Add`].
    Contact(Box<Contact>),
    /// To [`ContactCommand::Mute`].
    Muted(Mute),
    /// To what the relay holds, too: it is so here, and whether the relay has taken it. If not, it is
    /// told as soon as it can be.
    Declared(bool),
    /// To [`ContactCommand::Profile`].
    Profile(Profile),
    /// To [`AttachmentCommand`].
    Upload(Box<Upload>),
    /// To [`ContactCommand::Search`].
    Directory(ListedPage),
    /// To [`WebhookCommand::Add`].
    Webhook(Box<Webhook>),
    /// To [`AuditCommand`].
    Audit(Box<Audit>),
    /// To the others.
    Done,
}

/// A report of the link.
#[derive(Debug, Clone)]
pub enum LinkEvent {
    /// The socket is up and resumed.
    Up {
        /// Unix milliseconds by the relay's clock.
        relay_time: u64,
    },
    /// The relay holds another course of events than before, or is heard of for the first time. In the first case
    /// there is no socket until [`Effect::Lineage`].
    Lineage {
        /// Which.
        lineage: u64,
        /// Up to when it is that of the one before, Unix milliseconds.
        reaches: u64,
    },
    /// The socket is gone; the outcome of whatever was in flight is unknown.
    Down,
    /// An object of one of our queues.
    Delivered {
        /// Where it stands.
        cursor: Cursor,
        /// Envelope or commit, verbatim.
        object: Vec<u8>,
    },
    /// Everything up to this position was delivered.
    Head(Cursor),
    /// What became of a send.
    Outcome(SendToken, SendOutcome),
    /// A signed lease that the relay shows, unverified: another's that stands in the way of ours, or one
    /// that was offered elsewhere. Also the answer to [`RelayCall::Lease`], with that lease itself if
    /// nothing stands in its way.
    Lease(Vec<u8>),
    /// The relay does not accept our API key; the link tries again after minutes only. Told once
    /// until the socket was up again.
    Unauthorized {
        /// Because the relay's operator has suspended the agent.
        suspended: bool,
    },
    /// The relay did not accept our API key and gave another one on proof of our identity.
    KeyReplaced,
    /// Whoever answers at the relay's address has no certificate that this machine trusts; nothing is
    /// sent to it. Told once until the socket was up again.
    Untrusted,
    /// Another relay answers at the relay's address; nothing is sent to it. Told once until the
    /// socket was up again.
    RelayChanged {
        /// Which one.
        shown: RelayId,
    },
    /// Answer to [`RelayCall::Bundle`].
    Bundle(Handle, Result<BundleAnswer, LookupError>),
    /// Answer to [`RelayCall::Publish`].
    Published(Result<(), LookupError>),
    /// Answer to [`RelayCall::Declare`].
    Declared(Declaration, Result<(), LookupError>),
    /// Answer to [`RelayCall::Profile`].
    Profile(RequestId, Handle, Result<ProfileAnswer, LookupError>),
    /// Answer to [`RelayCall::Directory`].
    Directory(RequestId, Result<DirectoryAnswer, LookupError>),
    /// Answer to [`RelayCall::Channel`].
    Channel(RequestId, Joining, Result<ChannelAnswer, LookupError>),
    /// Answer to [`RelayCall::Channels`].
    Channels(RequestId, Result<ChannelsAnswer, LookupError>),
    /// Answer to [`RelayCall::Append`].
    Appended(GroupId, Hash, AppendOutcome),
    /// Answer to [`RelayCall::Log`].
    Log(GroupId, Result<LogPage, LookupError>),
    /// An envelope that is in no queue.
    Transient(Vec<u8>),
    /// Somebody came or went, as the relay says.
    Seen(Seen),
    /// Answer to [`RelayCall::Presences`].
    Presences(RequestId, Result<Vec<Seen>, LookupError>),
    /// Answer to [`RelayCall::Leaf`]: an encoded leaf with its path.
    Leaf(GroupId, u64, Result<Vec<u8>, LookupError>),
    /// Answer to [`RelayCall::Transparency`]: encoded documents, not verified.
    Transparency(LogCall, Result<Vec<Vec<u8>>, LookupError>),
}

/// What became of an append.
#[derive(Debug, Clone)]
pub enum AppendOutcome {
    /// The relay says that the commit stands in the log.
    Stored,
    /// The log has moved on.
    Conflict,
    /// Refused for good.
    Refused(Box<Problem>),
    /// Nobody knows.
    Unknown,
}

/// A part of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// How many commits stand before the first one of these.
    pub after: u64,
    /// Signed commits, verbatim, in order.
    pub commits: Vec<Vec<u8>>,
    /// How many commits the relay says that the log has.
    pub length: u64,
}

/// What became of a send.
#[derive(Debug, Clone)]
pub enum SendOutcome {
    /// Durable at the relay.
    Stored {
        /// Whether the relay held this `mid` before.
        repeated: bool,
        /// SHA-256 of the envelope that it holds.
        hash: Hash,
        /// What it says besides.
        notice: Option<Box<SendNotice>>,
    },
    /// Refused; whether for good says the status.
    Refused(Box<Problem>),
    /// Nobody knows.
    Unknown,
}

/// Why a bundle could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupError {
    /// The relay says that there is no such agent for us.
    NotFound,
    /// The relay refuses.
    Refused(Box<Problem>),
    /// No answer, or none that makes sense.
    Unreachable,
}

/// Something to be done after the transaction has committed.
#[derive(Debug)]
pub enum Effect {
    /// Answer the agent.
    Reply(RequestId, Result<Reply, Refusal>),
    /// Send an envelope; order matters.
    Send(SendToken, Vec<u8>),
    /// Have an envelope passed on that nobody stores; if that cannot be done now, it is lost.
    Transient(Vec<u8>),
    /// Count as online at the relay or not; holds until the link goes down.
    Show(bool),
    /// Everything up to these positions is durable here.
    Ack(Vec<Cursor>),
    /// Ask the relay; every call is answered by one [`LinkEvent`], in any order.
    Call(RelayCall),
    /// Make this durable in the key store, then offer the bundle to the relay by
    /// [`RelayCall::Publish`]; if it cannot be made durable, nothing is offered and
    /// [`LinkEvent::Published`] says that the relay was not reached.
    OfferBundle(Box<Offer>),
    /// Make this durable in the key store.
    Keys(KeyChange),
    /// Compute the tag of a handle, which takes memory and time, and report [`Event::HandleTag`]; if it is not
    /// reported, nothing waits for it.
    HandleTag(Handle),
    /// Forget all positions, for they are of another course of events than this one, drop the socket and resume from
    /// what the relay knows to be acknowledged.
    Lineage(u64),
    /// Drop the socket and resume from what was acknowledged.
    ResetLink,
    /// Make a new incarnation durable in the key store, then report [`Event::BegunAnew`]. What is not
    /// reported is asked for again.
    BeginAnew(Anew),
    /// Keep sockets under this signed lease from now on.
    Lease(Vec<u8>),
    /// Keep no socket any more: another instance of the agent is live.
    StandDown(Conflict),
    /// Tell those who wait at the local API.
    Notify(Notice),
}

/// An own bundle on its way to the relay.
#[derive(Debug)]
pub struct Offer {
    /// The key in it, which the key store may not hold yet.
    pub key: EncryptionKey,
    /// The bundle's number.
    pub number: u64,
    /// The signed bundle.
    pub bundle: Vec<u8>,
}

/// What happened to own encryption keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// The relay has a bundle: every key older than the one in it has a successor.
    Published {
        /// The bundle's number.
        number: u64,
        /// Its hash.
        hash: Hash,
        /// Number of the key in it.
        key_number: u64,
        /// When, Unix milliseconds.
        at: UnixMs,
    },
    /// The queues were emptied for the first time since the successor of a key was published.
    Emptied {
        /// The key.
        key_number: u64,
        /// Running time of the proxy.
        running: u64,
    },
    /// A key is not needed any more.
    Erased {
        /// The key.
        key_number: u64,
    },
}

/// Something of this agent that the relay is told as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// Whether an agent is a contact.
    Contact(Handle, bool),
    /// Whether an agent is blocked, and how.
    Block(Handle, Option<BlockRequest>),
    /// The own profile.
    Profile(ProfileRequest),
}

/// A question to the relay, outside the stream of envelopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayCall {
    /// Look an agent's bundle up.
    Bundle(Handle),
    /// Publish an own signed bundle.
    Publish(Vec<u8>),
    /// Tell what the relay has to hold.
    Declare(Declaration),
    /// What an agent tells of itself, for a request.
    Profile(RequestId, Handle),
    /// Search agents, for a request.
    Directory {
        /// The request.
        request: RequestId,
        /// How their handles begin.
        prefix: String,
        /// Most agents.
        limit: u64,
        /// Agents to skip.
        offset: u64,
    },
    /// Which group a slug names, for a request.
    Channel(RequestId, Joining),
    /// List open channels by slug, for a request.
    Channels {
        /// The request.
        request: RequestId,
        /// They come after this one.
        after: Option<Handle>,
        /// Most channels.
        limit: u64,
    },
    /// Offer a signed lease, once.
    Lease(Vec<u8>),
    /// Append a commit to a group's log; `body` is an [`Append`](waxwire_shared::api::append::Append).
    Append {
        /// The group; for a first commit its own hash.
        group: GroupId,
        /// Hash of the signed commit.
        commit: Hash,
        /// Whether it is the group's first.
        first: bool,
        /// What travels.
        body: Vec<u8>,
    },
    /// Read a group's log after so many commits.
    Log {
        /// The group.
        group: GroupId,
        /// How many commits are known.
        after: u64,
    },
    /// Read a leaf of an epoch.
    Leaf {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: u64,
        /// Place in roster order.
        index: u32,
    },
    /// Ask who of these is there.
    Presences(RequestId, Vec<Handle>),
    /// Read the relay's transparency log.
    Transparency(LogCall),
}

/// An own message was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadNotice {
    /// Its conversation.
    pub conversation: LocalConversation,
    /// Who read it.
    pub reader: Handle,
    /// The newest own message that was read now.
    pub message: MessageId,
    /// Its local number: everything own up to it that the reader has was read.
    pub through_seq: u64,
    /// When the receipt came.
    pub at: UnixMs,
}

/// Something became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A message became visible: inbound, or an own one that was stored.
    Message(Box<crate::model::Message>),
    /// An alert was raised.
    Alert(Box<crate::model::Alert>),
    /// An invite came.
    Invited(Box<Invitation>),
    /// Somebody types, or has stopped.
    Typing {
        /// In which conversation.
        conversation: LocalConversation,
        /// Who.
        sender: Handle,
        /// Whether it types.
        active: bool,
    },
    /// The agent has sent almost as much as it may.
    RateLimit(Allowance),
    /// What is shown of somebody's presence is another now.
    Presence(Box<PeerPresence>),
    /// A peer has read own messages.
    Read(Box<ReadNotice>),
    /// A group that this agent was a member of was ended by another; its last message was told before.
    GroupEnded(Box<GroupEnd>),
}
