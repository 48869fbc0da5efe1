//! Groups as the agent sees them: everything here comes from the verified roster, the sealed profile
//! or this proxy itself.

use std::{fmt, str::FromStr};

use waxwire_shared::{
    fingerprint::Address,
    identity::IdentityKey,
    ids::{GroupId, Handle, Hash},
    wire::{InviteRef, Role},
};

use super::{Confirmation, LocalConversation, LocalIdError, Trust, UnixMs, parse_hex, short};

/// Local id of a received or made invite: `inv_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteId(pub [u8; 16]);

impl InviteId {
    /// The id of an invite that commits name so, as its inviter tells of it: the same at inviter and invitee. What
    /// somebody else tells of the same invite has another.
    #[must_use]
    pub fn of(invite: &InviteRef, inviter: &IdentityKey) -> Self {
        let name = [
            invite.commit.as_bytes().as_slice(),
            &invite.index.to_be_bytes(),
            &inviter.to_prefixed(),
        ]
        .concat();
        Self(short(waxwire_shared::hash::sha256(&name).as_bytes()))
    }
}

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inv_{}", hex::encode(self.0))
    }
}

impl FromStr for InviteId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        parse_hex(text, "inv_").map(Self)
    }
}

/// How this agent stands to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its founding or accepting commit is not in the log yet.
    Entering,
    /// A member.
    Member,
    /// It left.
    Left,
    /// It was removed.
    Removed,
    /// The group has ended while it was a member.
    Ended,
}

/// Name, topic and avatar of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupProfile {
    /// Name; empty until the profile has come.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// Where its picture is; never fetched by the proxy.
    pub avatar: Option<String>,
}

/// What an agent changes of a profile; `None` leaves it, `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// A new avatar.
    pub avatar: Option<Option<String>>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Handle, a label that the roster gives.
    pub handle: Handle,
    /// Role.
    pub role: Role,
    /// When its signer says that it became a member.
    pub joined_at: UnixMs,
    /// How its key is trusted here.
    pub trust: Trust,
    /// The newest epoch under which it has said something.
    pub confirmed_epoch: Option<u64>,
}

/// A group that this agent is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Local id, `grp_`.
    pub id: LocalConversation,
    /// Name, description, avatar.
    pub profile: GroupProfile,
    /// Handle of the founder.
    pub created_by: Handle,
    /// When it was made, by the founder's clock.
    pub created_at: UnixMs,
    /// When a message last became visible in it.
    pub last_message_at: Option<UnixMs>,
    /// This agent's role.
    pub your_role: Role,
    /// The members in roster order, this agent among them.
    pub members: Vec<GroupMember>,
}

/// What became of a group that cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEnd {
    /// Local id.
    pub id: LocalConversation,
    /// Who ended it.
    pub by: Handle,
    /// When, by their clock.
    pub at: UnixMs,
}

/// What a group id names for this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupLookup {
    /// A group that it is a member of.
    Member(Box<Group>),
    /// A group that it was a member of when it ended.
    Ended(GroupEnd),
    /// Nothing that it may see.
    Unknown,
}

/// An invite that waits for the agent's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Local id.
    pub id: InviteId,
    /// Local id that the group will have.
    pub group: LocalConversation,
    /// The group as commits name it.
    pub group_id: GroupId,
    /// Name, as the inviter says.
    pub name: String,
    /// Who invites.
    pub inviter: Handle,
    /// When it came.
    pub received_at: UnixMs,
}

/// Which past a new member is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryShare {
    /// Everything that this agent has of the current epoch.
    Current,
    /// Everything above this local number.
    AfterSeq(u64),
}

/// What became of an addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddOutcome {
    /// Invited now or before.
    Invited(InviteId),
    /// A member already.
    AlreadyMember,
}

/// One addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Whom.
    pub handle: Handle,
    /// What became of it.
    pub outcome: AddOutcome,
}

/// `POST /v1/groups` after parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// Name, description, avatar.
    pub profile: GroupProfile,
    /// Whom to invite, without this agent and without repeats.
    pub members: Vec<Address>,
    /// It is a named channel.
    pub channel: Option<NewChannel>,
}

/// What makes a group a named channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChannel {
    /// Its slug, which the relay sees.
    pub slug: Handle,
    /// Whether everybody may join it.
    pub open: bool,
}

/// A channel that the agent wants to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Its slug.
    pub slug: Handle,
    /// The group that the agent knows to be meant, whatever the slug named before.
    pub expected: Option<LocalConversation>,
}

/// A channel that this agent is or was in: everything here comes from its verified log and sealed profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Local id of its group.
    pub id: LocalConversation,
    /// Its slug.
    pub slug: Handle,
    /// Its name; empty until the profile has come.
    pub name: String,
    /// Whether everybody may join it.
    pub open: bool,
    /// Whether this agent is a member now.
    pub joined: bool,
    /// How many members it has.
    pub members: u64,
}

/// An open channel as the relay lists it: nothing here was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedChannel {
    /// Local id of the group that the relay names.
    pub id: LocalConversation,
    /// The slug.
    pub slug: Handle,
    /// How many members the relay says that it has.
    pub members: u64,
}

/// What is open in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebtKind {
    /// Somebody left: nothing is sealed before a rekey.
    Hard,
    /// Somebody joined who cannot read yet.
    Soft,
}

/// `GET /v1/groups/{id}/security`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSecurity {
    /// Epoch of the roster's head.
    pub epoch: u64,
    /// Hash of the head commit.
    pub roster_head: Hash,
    /// Number of commits.
    pub roster_length: u64,
    /// The members in roster order.
    pub members: Vec<GroupMember>,
    /// What is open, since when (by the clock of the commit that opened it).
    pub debt: Option<(DebtKind, UnixMs)>,
    /// Whether the relay cannot make itself a reader: false for open channels.
    pub confidential_from_relay: bool,
    /// Whether the relay was caught showing two logs: nothing is sent any more.
    pub forked: bool,
    /// What the agent has set about confirmations.
    pub confirmation: Confirmation,
    /// Whose confirmation of this epoch is required and has not come.
    pub unconfirmed: Vec<Handle>,
}
