//! What a store keeps of groups: logs, memberships, leaves. It takes what a commit means from its
//! caller, who has verified it, and decides only whether the commit continues the log.

use bytes::Bytes;
use waxwire_shared::ids::{AgentId, GroupId, Handle, Hash};

use super::{AgentNo, QueueNo, Stored};

/// The store's number of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNo(pub(in crate::store) i64);

impl GroupNo {
    /// As other nodes are told it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// How many memberships an agent has had, and how many of them are over: whoever joins or leaves has another mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MembershipMark {
    /// All of them.
    pub all: i64,
    /// Those that are over.
    pub over: i64,
}

impl MembershipMark {
    /// Those that go on.
    #[must_use]
    pub const fn current(self) -> u64 {
        self.all.saturating_sub(self.over).unsigned_abs()
    }
}

/// What never changes about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its number.
    pub no: GroupNo,
    /// Queue of its messages.
    pub messages: QueueNo,
    /// Queue of its commits: number `p` stands at position `p + 1`.
    pub log: QueueNo,
}

impl GroupRecord {
    /// Its messages as an agent may see them.
    #[must_use]
    pub const fn messages_for(&self, agent: AgentNo) -> View {
        View::Messages(Seat {
            group: self.no,
            agent,
            queue: self.messages,
        })
    }

    /// Its log as an agent may see it.
    #[must_use]
    pub const fn log_for(&self, agent: AgentNo) -> View {
        View::Log(Seat {
            group: self.no,
            agent,
            queue: self.log,
        })
    }
}

/// An agent at a queue of a group. What it may see is decided when it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    pub(in crate::store) group: GroupNo,
    pub(in crate::store) agent: AgentNo,
    pub(in crate::store) queue: QueueNo,
}

/// A queue as far as somebody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// All of it: an agent's own queue, or any for the relay itself.
    Whole(QueueNo),
    /// Messages of a group that were stored while the agent was a member.
    Messages(Seat),
    /// The log of a group: for members and the invited all of it, for those who departed up to the
    /// commit that ended their membership. For everybody all of it while the group is open.
    Log(Seat),
}

impl View {
    /// The queue.
    #[must_use]
    pub const fn queue_no(&self) -> QueueNo {
        match self {
            Self::Whole(queue) => *queue,
            Self::Messages(seat) | Self::Log(seat) => seat.queue,
        }
    }

    /// Whose view it is, where that matters.
    #[must_use]
    pub const fn seat(&self) -> Option<&Seat> {
        match self {
            Self::Whole(_) => None,
            Self::Messages(seat) | Self::Log(seat) => Some(seat),
        }
    }
}

/// What an agent is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A member now.
    Member,
    /// Holds an open invite.
    Invited,
    /// Was a member; the last membership ended with the commit at this position.
    Former {
        /// Position of the commit.
        departed: u64,
    },
    /// Nothing.
    Stranger,
}

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTip {
    /// Position of the last commit, from 0.
    pub position: u64,
    /// Its hash.
    pub hash: Hash,
}

/// The latest membership of an agent in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The group's id.
    pub id: GroupId,
    /// The group.
    pub group: GroupRecord,
    /// Whether it goes on.
    pub current: bool,
    /// Last position of the messages that the agent may see, and what it has acknowledged.
    pub messages: super::QueueHead,
    /// The same of the log.
    pub log: super::QueueHead,
}

impl Membership {
    /// Whether the agent may still have something to fetch.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.current || self.messages.acked < self.messages.head || self.log.acked < self.log.head
    }
}

/// A group that has a slug and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecord {
    /// The slug.
    pub slug: Handle,
    /// The group's id.
    pub id: GroupId,
    /// The group.
    pub group: GroupRecord,
    /// Whether everybody may join it.
    pub open: bool,
    /// Its members that are registered here.
    pub members: u64,
}

/// A commit that was verified against the log up to the one before it.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// The group.
    pub group: GroupId,
    /// Who appends it.
    pub by: AgentNo,
    /// Place in the log, from 0; the first creates the group.
    pub position: u64,
    /// Hash of the commit before it.
    pub previous: Option<Hash>,
    /// Its own hash.
    pub hash: Hash,
    /// The signed commit, verbatim.
    pub bytes: Bytes,
    /// The epoch that it opens, and the encoded leaves.
    pub rekey: Option<(u64, Bytes)>,
    /// What it changes.
    pub effect: Effect,
}

/// What a commit makes of memberships and invites, in net.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// Members before it whose membership ends.
    pub departed: Vec<AgentId>,
    /// Members after it whose membership begins.
    pub joined: Vec<AgentId>,
    /// Who holds an open invite by it.
    pub invited: Vec<AgentId>,
    /// Who holds no open invite any more.
    pub uninvited: Vec<AgentId>,
    /// Whether the epoch is closed after it.
    pub closed: bool,
    /// Whether the group has ended with it: then nobody may join, and its slug is free.
    pub ended: bool,
    /// Slug and join policy after it, if it says anything about them.
    pub naming: Option<Naming>,
}

/// What the policy of a group says about how strangers find it and come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Its slug; no other group that goes on has it.
    pub slug: Option<Handle>,
    /// Whether everybody may read its log and join.
    pub open: bool,
}

/// What became of an append that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The log's head from now on.
    Appended(GroupRecord),
    /// The very commit is in the log at this position.
    Repeated {
        /// Its position.
        position: u64,
    },
    /// The log has another head.
    Conflict,
    /// It invites somebody who has blocked its signer, or whom its signer has blocked.
    Blocked,
    /// It gives the group a slug that another group has.
    SlugTaken,
}

/// A commit that has just become durable.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The commit in the log's queue.
    pub commit: Stored,
    /// The group's id.
    pub id: GroupId,
    /// The group.
    pub group: GroupRecord,
    /// Bytes of leaves that were stored with it.
    pub leaves_length: usize,
    /// Position of the group's last message before it.
    pub message_head: u64,
    /// Whose memberships it ends or begins, in this order.
    pub changes: Vec<(AgentNo, MembershipChange)>,
}

/// The end or the beginning of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipChange {
    /// It ended.
    Departed,
    /// It began.
    Joined,
}
