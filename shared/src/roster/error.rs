//! Why a commit is not valid: one variant per rule of docs/protocol.md, 6.

use crate::{ids::Hash, wire::Role};

/// Why a commit does not continue a log, or a list of changes cannot become one.
///
/// Changes are evaluated from left to right and the first rule that breaks is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The signature was verified under another key than the commit's signer.
    #[error("commit was verified under another key than its signer's")]
    Signer,
    /// The first commit names a group or a predecessor, or stands elsewhere than at position 0.
    #[error("first commit names a predecessor")]
    First,
    /// The first commit does not begin with `create`, or `create` stands elsewhere.
    #[error("create must be the first change of the first commit and nothing else")]
    Create,
    /// The group has ended: disbanded, or left by its last member.
    #[error("group has ended")]
    Ended,
    /// The commit does not stand at the next position.
    #[error("expected position {expected}, got {actual}")]
    Position {
        /// The next position.
        expected: u64,
        /// The commit's.
        actual: u64,
    },
    /// The commit does not follow the head.
    #[error("commit follows another head than {head}")]
    Previous {
        /// The head.
        head: Hash,
    },
    /// The commit belongs to another group.
    #[error("commit belongs to another group")]
    Group,
    /// The suite is unknown, or not that of the group.
    #[error("suite {actual} is not that of the group")]
    Suite {
        /// The commit's or the rekey's.
        actual: u16,
    },
    /// No change and no rekey.
    #[error("commit changes nothing")]
    Empty,
    /// More changes than a commit can have.
    #[error("more than 64 changes")]
    TooManyChanges,

    /// The signer is not a member where the change stands.
    #[error("signer is not a member")]
    NotMember,
    /// The signer's role does not allow the change.
    #[error("change {index} needs the role {needed:?}")]
    Role {
        /// The change, from 0.
        index: usize,
        /// The least role that may make it.
        needed: Role,
    },
    /// The identity that the change names is not a member.
    #[error("change {index} names nobody in the roster")]
    NoSuchMember {
        /// The change, from 0.
        index: usize,
    },
    /// The identity is a member already.
    #[error("change {index} adds a member twice")]
    AlreadyMember {
        /// The change, from 0.
        index: usize,
    },
    /// The identity has a live invite already.
    #[error("change {index} invites somebody twice")]
    AlreadyInvited {
        /// The change, from 0.
        index: usize,
    },
    /// No live invite of this reference: never made, used, withdrawn, dead with its inviter, too old.
    #[error("change {index} names no live invite")]
    NoSuchInvite {
        /// The change, from 0.
        index: usize,
    },
    /// The invite names somebody else than the signer.
    #[error("change {index} accepts the invite of another")]
    NotInvited {
        /// The change, from 0.
        index: usize,
    },
    /// The group cannot be joined without an invite.
    #[error("group is not open")]
    NotOpen,
    /// The group has as many members as it can have.
    #[error("group is full")]
    Full,
    /// One leaves; one does not remove oneself.
    #[error("members leave instead of removing themselves")]
    SelfRemove,
    /// The last admin cannot be demoted.
    #[error("the last admin stays admin")]
    LastAdmin,

    /// `remove` without a rekey in the same commit.
    #[error("remove needs a rekey")]
    RemoveWithoutRekey,
    /// The first commit has no rekey.
    #[error("create needs a rekey")]
    CreateWithoutRekey,
    /// Whoever rekeys is not a member after the changes.
    #[error("rekey by somebody who is not a member")]
    RekeyByOutsider,
    /// The rekey does not open the next epoch.
    #[error("expected epoch {expected}, got {actual}")]
    Epoch {
        /// The next epoch.
        expected: u64,
        /// The rekey's.
        actual: u64,
    },
    /// The commitment was seen before: an epoch key is used again.
    #[error("epoch key was used before")]
    RepeatedCommitment,
    /// Not one leaf for each member.
    #[error("expected {expected} leaves, got {actual}")]
    Leaves {
        /// Members after the changes.
        expected: usize,
        /// Leaves of the rekey.
        actual: u32,
    },
    /// The rekey's roster hash is not that of the roster after the changes.
    #[error("roster hash is another")]
    RosterHash,
}
