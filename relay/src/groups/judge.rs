//! Whether a commit may be appended. No I/O: the log before it is at hand as a roster.

use waxwire_shared::{
    ids::RelayId,
    roster::{Applied, CommitError, LeafError, Roster, check_leaves},
    sign::Verified,
    wire::{Commit, DecodeError, Document as _, Leaves},
};

use super::effect;
use crate::store::Effect;

/// What a commit makes of its group.
#[derive(Debug)]
pub(super) struct Judged {
    /// The roster with it.
    pub(super) roster: Roster,
    /// What it changes.
    pub(super) effect: Effect,
    /// The leaves of its rekey.
    pub(super) leaves: Option<Leaves>,
}

/// Why a commit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// It breaks a rule of the log.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Leaves without a rekey.
    #[error("leaves without a rekey")]
    NoRekey,
    /// The leaves are malformed.
    #[error("malformed leaves")]
    Decode(#[from] DecodeError),
    /// The leaves are not those of the rekey.
    #[error(transparent)]
    Leaves(#[from] LeafError),
    /// More members than this relay allows; the log's rules know no such limit.
    #[error("the group would have {actual} members of {max}")]
    Members {
        /// The limit.
        max: u64,
        /// With the commit.
        actual: u64,
    },
}

/// The rules of a relay: whose agent ids they are, and the quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Which relay.
    pub(super) relay: RelayId,
    /// Members that a group may have, 0 is unlimited.
    pub(super) members: u64,
}

/// Judges the first commit of a group.
pub(super) fn first(rules: Rules, commit: &Verified<Commit>, leaves: &[u8]) -> Result<Judged, JudgeError> {
    let roster = Roster::create(commit)?;
    let invites = roster.invites().count();
    rules.check_quota(&roster, true, invites > 0)?;
    let leaves = read_leaves(commit, &roster, leaves)?;
    Ok(Judged {
        effect: effect::of_first(&rules.relay, &roster),
        roster,
        leaves,
    })
}

/// Judges a commit against the log before it.
pub(super) fn next(
    rules: Rules,
    before: &Roster,
    commit: &Verified<Commit>,
    leaves: &[u8],
) -> Result<Judged, JudgeError> {
    let mut roster = before.clone();
    let applied: Applied = roster.apply(commit)?;
    rules.check_quota(&roster, !applied.joined.is_empty(), !applied.invited.is_empty())?;
    let leaves = read_leaves(commit, &roster, leaves)?;
    Ok(Judged {
        effect: effect::of_next(&rules.relay, before, &roster, &applied),
        roster,
        leaves,
    })
}

impl Rules {
    /// Open invites count for further invites, not for those who accept one.
    fn check_quota(&self, roster: &Roster, joins: bool, invites: bool) -> Result<(), JudgeError> {
        let members = roster.members().len() as u64;
        let invited = members + roster.invites().count() as u64;
        let actual = match (joins, invites) {
            (_, true) => invited,
            (true, false) => members,
            (false, false) => 0,
        };
        if self.members != 0 && actual > self.members {
            return Err(JudgeError::Members {
                max: self.members,
                actual,
            });
        }
        Ok(())
    }
}

fn read_leaves(
    commit: &Verified<Commit>,
    roster: &Roster,
    bytes: &[u8],
) -> Result<Option<Leaves>, JudgeError> {
    match &commit.body().rekey {
        None if bytes.is_empty() => Ok(None),
        None => Err(JudgeError::NoRekey),
        Some(rekey) => {
            let leaves = Leaves::decode(bytes)?;
            check_leaves(rekey, roster.members(), &leaves)?;
            Ok(Some(leaves))
        }
    }
}
