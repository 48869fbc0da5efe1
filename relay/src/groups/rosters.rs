//! Rosters of groups that were asked for lately. The log is the truth: a roster is used only up to
//! the log's head, and what is missing is read and applied. Nothing here decides between two commits.
//!
//! Signatures are not verified again. Each commit was verified before it was stored, and the hash of
//! the head was stored in the same transaction. Commits name each other by hashes that cover the
//! signatures, and a roster is given out only where the chain ends at that hash: then these are the very
//! bytes that were verified.

use std::sync::{Arc, Mutex, PoisonError};

use waxwire_shared::{
    roster::{CommitError, Roster},
    sign::Verified,
    wire::{Commit, DecodeError},
};

use super::recent::Recent;
use crate::store::{GroupNo, GroupRecord, Range, ReadError, Store, View};

/// Weight of all rosters: about as many members, epochs and commits that they remember.
const WEIGHT: usize = 200_000;
/// Weight of a roster beside those.
const BASE: usize = 50;
/// Most commits and bytes that are read at once.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Why a log gives no roster.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// A commit is malformed.
    #[error("commit {position} of the log is malformed")]
    Decode {
        /// Its position.
        position: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A commit is not valid where it stands.
    #[error("commit {position} of the log is not valid")]
    Invalid {
        /// Its position.
        position: u64,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// It ends before its head.
    #[error("the log ends before its head")]
    Short,
    /// The relay stops.
    #[error("the replay was interrupted")]
    Interrupted,
}

/// The place of one group's roster. Whoever has locked it is the only one to judge a commit of the
/// group in this process.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Roster>>>;

/// Rosters by group.
#[derive(Debug)]
pub(super) struct Rosters(Mutex<Recent<GroupNo, Slot>>);

impl Default for Rosters {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(WEIGHT)))
    }
}

impl Rosters {
    /// The place of a group's roster.
    pub(super) fn slot(&self, group: GroupNo) -> Slot {
        self.with(|recent| recent.get(group, BASE, Slot::default))
    }

    /// Notes how much a roster has grown.
    pub(super) fn weigh(&self, group: GroupNo, roster: &Roster) {
        let commits = usize::try_from(roster.position()).unwrap_or(usize::MAX);
        let weight = BASE
            .saturating_add(roster.members().len())
            .saturating_add(commits);
        self.with(|recent| recent.weigh(&group, weight));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recent<GroupNo, Slot>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The roster at the head of a group's log, beginning with `held` if that is a part of it.
pub(super) async fn up_to_date(
    store: &Store,
    group: &GroupRecord,
    held: Option<Roster>,
) -> Result<Roster, ReplayError> {
    let tip = store.log_tip(group).await?;
    let mut roster = held.filter(|roster| roster.position() < tip.position || roster.head() == tip.hash);
    loop {
        if let Some(roster) = roster.take_if(|roster| roster.head() == tip.hash) {
            return Ok(roster);
        }
        let range = Range {
            after: roster.as_ref().map_or(0, |roster| roster.position() + 1),
            before: Some(tip.position + 2),
            limit: PAGE,
            max_bytes: PAGE_BYTES,
        };
        let page = store.read(View::Whole(group.log), range).await?;
        let commits = page.map(|page| page.envelopes).unwrap_or_default();
        if commits.is_empty() {
            return Err(ReplayError::Short);
        }
        let bytes: Vec<Vec<u8>> = commits.into_iter().map(|commit| commit.bytes).collect();
        let replay = tokio::task::spawn_blocking(move || replay(roster, &bytes));
        roster = Some(replay.await.map_err(|_| ReplayError::Interrupted)??);
    }
}

/// Applies commits. The rules are checked again, for a roster is made by applying; the signatures are
/// not. Whether these are the commits that were stored shows at the head.
fn replay(mut roster: Option<Roster>, commits: &[Vec<u8>]) -> Result<Roster, ReplayError> {
    for bytes in commits {
        let position = roster.as_ref().map_or(0, |roster| roster.position() + 1);
        let commit = Verified::kept(bytes, |commit: &Commit| &commit.signer)
            .map_err(|source| ReplayError::Decode { position, source })?;
        let invalid = |source| ReplayError::Invalid { position, source };
        match &mut roster {
            Some(roster) => drop(roster.apply(&commit).map_err(invalid)?),
            None => roster = Some(Roster::create(&commit).map_err(invalid)?),
        }
    }
    roster.ok_or(ReplayError::Short)
}
