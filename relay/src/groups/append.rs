//! From a body to a commit in the log.

use bytes::Bytes;
use waxwire_shared::{
    api::append::{Append, AppendError},
    hash::sha256,
    ids::{AgentId, GroupId, Hash},
    limits,
    roster::{CommitError, Roster},
    sign::{SignedError, Verified},
    wire::{Change, Commit, DecodeError},
};

use super::{
    Groups,
    judge::{self, JudgeError, Judged, Rules},
    pace::{Cost, TooOften},
    rosters::{self, ReplayError},
    trees::LeafTree,
};
use crate::metrics::Appending;
use crate::store::{
    Account, AgentNo, AppendOutcome, GroupRecord, NewCommit, ReadError, Standing, WriteError,
};

/// A commit that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The group.
    pub group: GroupId,
    /// Its position, from 0.
    pub position: u64,
    /// Its hash.
    pub hash: Hash,
    /// Whether it was there before.
    pub repeated: bool,
}

/// Why a commit is not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefusal {
    /// The body is not a commit with leaves.
    #[error(transparent)]
    Body(#[from] AppendError),
    /// Longer than it may be.
    #[error("{what} of {actual} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The limit.
        max: usize,
        /// Its length.
        actual: usize,
    },
    /// The commit is malformed or its signature is not its signer's.
    #[error(transparent)]
    Signed(SignedError),
    /// Signed by another agent than the one that sends it.
    #[error("the signer is not the agent of this API key")]
    Foreign,
    /// It names its signer by a handle that is not the signer's here.
    #[error("the commit gives its signer another handle than this relay")]
    Handle,
    /// Its signer is in as many groups as it may be in.
    #[error("the agent is in {actual} groups of {max}")]
    Groups {
        /// The limit.
        max: u64,
        /// With the commit.
        actual: u64,
    },
    /// No such group, or not for this agent.
    #[error("no such group")]
    NotFound,
    /// The log has another head.
    #[error("the log has moved on")]
    Conflict,
    /// The group has ended.
    #[error("the group has ended")]
    Gone,
    /// Signer and invited are kept apart by a block.
    #[error("the signer and an agent that it invites are kept apart by a block")]
    Blocked,
    /// It claims a slug that another group has.
    #[error("another group has the slug")]
    SlugTaken,
    /// The commit is not valid after the log's head, or not within this relay's quota.
    #[error(transparent)]
    Judge(JudgeError),
    /// The agent changes groups too often.
    #[error(transparent)]
    TooOften(#[from] TooOften),
    /// The log gives no roster.
    #[error("the log cannot be replayed")]
    Replay(#[from] ReplayError),
    /// The store did not answer.
    #[error("the group cannot be looked up")]
    Read(#[from] ReadError),
    /// The store did not take it; the outcome is unknown.
    #[error("not stored")]
    Write(#[from] WriteError),
    /// The relay stops.
    #[error("the append was interrupted")]
    Interrupted,
}

impl From<JudgeError> for AppendRefusal {
    fn from(error: JudgeError) -> Self {
        match error {
            JudgeError::Commit(CommitError::Position { .. } | CommitError::Previous { .. }) => Self::Conflict,
            error => Self::Judge(error),
        }
    }
}

/// A body, taken apart, and a commit whose signature holds.
struct Asked {
    commit: Verified<Commit>,
    hash: Hash,
    bytes: Bytes,
    leaves: Bytes,
}

impl Asked {
    fn read(body: &Bytes) -> Result<Self, AppendRefusal> {
        let Append { commit, leaves } = Append::split(body)?;
        if leaves.len() > limits::REKEY {
            return Err(AppendRefusal::TooLarge {
                what: "rekey",
                max: limits::REKEY,
                actual: leaves.len(),
            });
        }
        Ok(Self {
            commit: verify(commit)?,
            hash: sha256(commit),
            bytes: body.slice_ref(commit),
            leaves: body.slice_ref(leaves),
        })
    }
}

fn verify(bytes: &[u8]) -> Result<Verified<Commit>, AppendRefusal> {
    Verified::from_bytes(bytes, |commit: &Commit| &commit.signer).map_err(|error| match error {
        SignedError::Decode(DecodeError::TooLarge { max, actual }) => AppendRefusal::TooLarge {
            what: "commit",
            max,
            actual,
        },
        error => AppendRefusal::Signed(error),
    })
}

impl Groups {
    /// Appends a commit to the log of `group`; without one, it must be the first of a new group.
    ///
    /// # Errors
    /// [`AppendRefusal`].
    pub async fn append(
        &self,
        account: &Account,
        group: Option<&GroupId>,
        body: &Bytes,
    ) -> Result<Accepted, AppendRefusal> {
        let result = self.try_append(account, group, body).await;
        self.metrics.count_append(match &result {
            Ok(accepted) if accepted.repeated => Appending::Repeated,
            Ok(_) => Appending::Appended,
            Err(AppendRefusal::Conflict) => Appending::Conflict,
            Err(
                AppendRefusal::Replay(_)
                | AppendRefusal::Read(_)
                | AppendRefusal::Write(_)
                | AppendRefusal::Interrupted,
            ) => Appending::Failed,
            Err(_) => Appending::Refused,
        });
        result
    }

    async fn try_append(
        &self,
        account: &Account,
        group: Option<&GroupId>,
        body: &Bytes,
    ) -> Result<Accepted, AppendRefusal> {
        let asked = Asked::read(body)?;
        if AgentId::of(&self.relay, asked.commit.signer()) != account.id {
            return Err(AppendRefusal::Foreign);
        }
        self.require_own_handle(account, &asked.commit).await?;
        match group {
            None => self.create(account, asked).await,
            Some(id) => self.go_on(account, id, asked).await,
        }
    }

    /// The log says by which handle a member is known, and members cannot look that up in it: nobody joins as
    /// somebody else.
    async fn require_own_handle(
        &self,
        account: &Account,
        commit: &Verified<Commit>,
    ) -> Result<(), AppendRefusal> {
        let claimed = commit.body().changes.iter().find_map(|change| match change {
            Change::Create { handle, .. } | Change::Join { handle } => Some(handle),
            _ => None,
        });
        let Some(claimed) = claimed else { return Ok(()) };
        let own = self.store.agent(account.agent).await?;
        match own {
            Some(own) if own.handle == *claimed => Ok(()),
            _ => Err(AppendRefusal::Handle),
        }
    }

    async fn create(&self, account: &Account, asked: Asked) -> Result<Accepted, AppendRefusal> {
        // The id is the hash: whatever group has it begins with this very commit.
        let id = GroupId::from_bytes(*asked.hash.as_bytes());
        if self.store.group(&id).await?.is_some() {
            return Ok(accepted(id, 0, asked.hash, true));
        }
        let (agent, cost) = (account.agent, Cost::FOUNDING);
        self.require_room(agent, cost).await?;
        self.pace.check(None, agent, cost, self.clock.now_ms()).await?;
        let rules = self.rules(account);
        let (asked, judged) = blocking(move || {
            let judged = judge::first(rules, &asked.commit, &asked.leaves)?;
            Ok((asked, judged))
        })
        .await?;
        let (accepted, _) = self.store_commit(account, id, asked, judged).await?;
        self.pace.count(None, agent, cost, self.clock.now_ms()).await;
        Ok(accepted)
    }

    /// Each group that an agent is in is work for each of its sockets.
    async fn require_room(&self, agent: AgentNo, cost: Cost) -> Result<(), AppendRefusal> {
        if self.max_groups == 0 || !cost.joins() {
            return Ok(());
        }
        let marks = self.store.membership_marks(&[agent]).await?;
        let actual = 1 + marks.first().map_or(0, |(_, mark)| mark.current());
        if actual > self.max_groups {
            return Err(AppendRefusal::Groups {
                max: self.max_groups,
                actual,
            });
        }
        Ok(())
    }

    async fn go_on(&self, account: &Account, id: &GroupId, asked: Asked) -> Result<Accepted, AppendRefusal> {
        let group = self.store.group(id).await?.ok_or(AppendRefusal::NotFound)?;
        // First of all, also for a signer who has left by this very commit.
        if let Some(position) = self.store.commit_position(group.no, &asked.hash).await? {
            return Ok(accepted(*id, position, asked.hash, true));
        }
        self.check_standing(account, &group, &asked).await?;
        if asked.commit.body().group.as_ref() != Some(id) {
            return Err(JudgeError::Commit(CommitError::Group).into());
        }
        let cost = Cost::of(&asked.commit.body().changes);
        let agent = account.agent;
        self.require_room(agent, cost).await?;
        let slot = self.rosters.slot(group.no);
        let mut held = slot.lock().await;
        let roster = rosters::up_to_date(&self.store, &group, held.take()).await?;
        self.rosters.weigh(group.no, &roster);
        if roster.has_ended() {
            *held = Some(roster);
            return Err(AppendRefusal::Gone);
        }
        let now = self.clock.now_ms();
        if let Err(refusal) = self.pace.check(Some(group.no), agent, cost, now).await {
            *held = Some(roster);
            return Err(refusal.into());
        }
        let rules = self.rules(account);
        let (asked, before, judged) = blocking(move || {
            let judged = judge::next(rules, &roster, &asked.commit, &asked.leaves);
            Ok((asked, roster, judged))
        })
        .await?;
        *held = Some(before);
        let (accepted, roster) = self.store_commit(account, *id, asked, judged?).await?;
        self.pace
            .count(Some(group.no), agent, cost, self.clock.now_ms())
            .await;
        *held = Some(roster);
        Ok(accepted)
    }

    /// Who may not see the log's head is not told where it is. Strangers see that of an open group: what they
    /// may append to it is for the rules of the log to say.
    async fn check_standing(
        &self,
        account: &Account,
        group: &GroupRecord,
        asked: &Asked,
    ) -> Result<(), AppendRefusal> {
        match self.store.standing(group, account.agent).await? {
            Standing::Member | Standing::Invited => Ok(()),
            Standing::Former { .. } | Standing::Stranger if self.store.is_open(group).await? => Ok(()),
            Standing::Former { departed } if asked.commit.body().position <= departed => {
                Err(AppendRefusal::Conflict)
            }
            Standing::Former { .. } | Standing::Stranger => Err(AppendRefusal::NotFound),
        }
    }

    async fn store_commit(
        &self,
        account: &Account,
        id: GroupId,
        asked: Asked,
        judged: Judged,
    ) -> Result<(Accepted, Roster), AppendRefusal> {
        let Judged {
            roster,
            effect,
            leaves,
        } = judged;
        let tree = match leaves {
            None => None,
            Some(leaves) => Some(blocking(move || Ok(LeafTree::new(leaves))).await?),
        };
        let (position, epoch) = (roster.position(), roster.epoch());
        let commit = NewCommit {
            group: id,
            by: account.agent,
            position,
            previous: asked.commit.body().previous,
            hash: asked.hash,
            bytes: asked.bytes,
            rekey: tree.is_some().then_some((epoch, asked.leaves)),
            effect,
        };
        match self.store.append(commit).await? {
            AppendOutcome::Appended(group) => {
                if let Some(tree) = tree {
                    // All members will fetch their leaves now.
                    self.trees.keep(group.no, epoch, tree);
                }
                Ok((accepted(id, position, asked.hash, false), roster))
            }
            AppendOutcome::Repeated { position } => Ok((accepted(id, position, asked.hash, true), roster)),
            AppendOutcome::Conflict => Err(AppendRefusal::Conflict),
            AppendOutcome::Blocked => Err(AppendRefusal::Blocked),
            AppendOutcome::SlugTaken => Err(AppendRefusal::SlugTaken),
        }
    }

    const fn rules(&self, account: &Account) -> Rules {
        Rules {
            relay: self.relay,
            members: account.limits.group_members,
        }
    }
}

const fn accepted(group: GroupId, position: u64, hash: Hash, repeated: bool) -> Accepted {
    Accepted {
        group,
        position,
        hash,
        repeated,
    }
}

/// Signatures and hashes of whole groups do not belong among the sockets.
async fn blocking<T, F>(work: F) -> Result<T, AppendRefusal>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, AppendRefusal> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| AppendRefusal::Interrupted)?
}
