//! Own commits: built on the verified head, kept, appended, and forgotten when the log has decided
//! (flows 3, 6, 7, 8).

use std::sync::Arc;

use waxwire_shared::{
    api::{append::Append, problem::ProblemType},
    hash::sha256,
    ids::{GroupId, Handle, Hash},
    roster::{CommitError, Plan, Roster},
    sign::Verified,
    suite::Suite,
    wire::{Change, Commit, EmptyReason, Member, Rekey, VERSION},
};

use super::{ASK_AGAIN_MS, Engine, Goal, GroupView, Lookup};
use crate::{
    engine::{AppendOutcome, Effect, RelayCall, send},
    fault,
    group::{LeafKey, rekey},
    model::{Refusal, Severity, UnixMs},
    state::{GroupRow, PendingCommit, Standing, StateError},
};

/// The relay's name of the limit to how many groups an agent is in (docs/relay-api.md, "Limits").
const GROUPS: &str = "groups";

/// Whether a commit could be put on its way.
pub(super) enum Committed {
    /// It is, or another one is, or bundles are missing: look again later.
    Waiting,
    /// The log does not allow it.
    Refused(Refusal),
}

impl Engine {
    /// Whether the own commit that is on its way is a leave.
    pub(super) fn is_leaving(&self, row: &GroupRow) -> Result<bool, StateError> {
        let pending = self.store.pending_commit(row.group_row)?;
        let commit = pending.and_then(|pending| {
            Verified::<Commit>::from_bytes(&pending.signed, |commit| &commit.signer).ok()
        });
        Ok(commit.is_some_and(|commit| {
            let changes = &commit.body().changes;
            changes
                .iter()
                .any(|change| matches!(change, Change::Leave { .. }))
        }))
    }

    /// Puts a commit with these changes on its way, with a rekey if one is wanted or needed.
    pub(super) fn commit(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        changes: Vec<Change>,
        rekey: bool,
        now: UnixMs,
    ) -> Result<Committed, StateError> {
        // Without the relay nothing is put on its way: whoever waits is refused, and nothing happens later.
        if !self.volatile.link_up || self.store.pending_commit(row.group_row)?.is_some() {
            return Ok(Committed::Waiting);
        }
        let me = self.account.identity.public().clone();
        let plan = match view.roster.plan(&me, &changes) {
            Ok(plan) => plan,
            Err(error) => return Ok(Committed::Refused(refusal_of(&error, row))),
        };
        let suite = view.roster.suite();
        let (rekey, leaves) = if rekey || plan.must_rekey {
            let Some(keys) = self.leaf_keys(&row.group_id, &plan.members, now)? else {
                return Ok(Committed::Waiting);
            };
            match rekey::prepare(&mut *self.rng, &plan, suite, &keys) {
                Ok(prepared) => (Some(prepared.rekey), prepared.leaves),
                Err(_) => return Ok(Committed::Refused(Refusal::GroupFull)),
            }
        } else {
            (None, Vec::new())
        };
        let commit = self.sign_commit(Some(row.group_id), &plan, suite, changes, rekey, now);
        self.task(&row.group_id).lookups.clear();
        self.put_on_its_way(row, plan.position, commit, leaves, now)?;
        Ok(Committed::Waiting)
    }

    /// The first commit of a new group; gives the group's id.
    pub(super) fn sign_create(
        &mut self,
        changes: Vec<Change>,
        now: UnixMs,
    ) -> Result<(GroupId, Vec<u8>, Vec<u8>), Refusal> {
        let me = self.account.identity.public().clone();
        let plan = Roster::plan_create(&me, &changes).map_err(|_| Refusal::GroupFull)?;
        let keys = vec![self.own_leaf_key(); plan.members.len()];
        let prepared =
            rekey::prepare(&mut *self.rng, &plan, Suite::CLASSIC, &keys).map_err(|_| Refusal::GroupFull)?;
        let commit = self.sign_commit(None, &plan, Suite::CLASSIC, changes, Some(prepared.rekey), now);
        let group = GroupId::from_bytes(*sha256(&commit).as_bytes());
        Ok((group, commit, prepared.leaves))
    }

    fn sign_commit(
        &self,
        group: Option<GroupId>,
        plan: &Plan,
        suite: Suite,
        changes: Vec<Change>,
        rekey: Option<Rekey>,
        now: UnixMs,
    ) -> Vec<u8> {
        self.account.identity.sign_document(&Commit {
            version: VERSION,
            suite,
            group,
            position: plan.position,
            previous: plan.previous,
            signer: self.account.identity.public().clone(),
            changes,
            rekey,
            time: now,
        })
    }

    pub(super) fn put_on_its_way(
        &mut self,
        row: &GroupRow,
        position: u64,
        signed: Vec<u8>,
        leaves: Vec<u8>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let pending = PendingCommit {
            hash: sha256(&signed),
            position,
            signed,
            leaves,
        };
        self.store.put_pending_commit(row.group_row, &pending, now)?;
        fault::point("commit.before_commit");
        self.drive_append(row)
    }

    /// Hands the own commit to the link, once.
    pub(super) fn drive_append(&mut self, row: &GroupRow) -> Result<(), StateError> {
        let up = self.volatile.link_up;
        let task = self.task(&row.group_id);
        if !up || task.appending || task.again_at.is_some() {
            return Ok(());
        }
        let Some(pending) = self.store.pending_commit(row.group_row)? else {
            return Ok(());
        };
        self.task(&row.group_id).appending = true;
        let body = Append {
            commit: &pending.signed,
            leaves: &pending.leaves,
        };
        self.effects.push(Effect::Call(RelayCall::Append {
            group: row.group_id,
            commit: pending.hash,
            first: pending.position == 0,
            body: body.to_bytes(),
        }));
        Ok(())
    }

    /// The relay's answer to [`RelayCall::Append`]. What it says is a hint: the log decides.
    pub(in crate::engine) fn appended(
        &mut self,
        group: &GroupId,
        commit: &Hash,
        outcome: AppendOutcome,
        now: UnixMs,
    ) -> Result<(), StateError> {
        fault::point("commit.answered");
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        let pending = self.store.pending_commit(row.group_row)?;
        let ours = pending.is_some_and(|pending| pending.hash == *commit);
        if !ours {
            return Ok(());
        }
        self.task(group).appending = false;
        match outcome {
            AppendOutcome::Stored | AppendOutcome::Conflict => {
                let task = self.task(group);
                (task.appending, task.claimed) = (true, true);
                self.ask_log(&row);
            }
            AppendOutcome::Unknown => self.task(group).again_at = Some(now + ASK_AGAIN_MS),
            AppendOutcome::Refused(problem) => {
                self.store.note_refused_commit(commit)?;
                self.store.drop_pending_commit(row.group_row)?;
                let refusal = match problem.problem_type() {
                    Some(ProblemType::Forbidden) => match &problem.limit {
                        Some(limit) if limit.name == GROUPS => Refusal::TooManyGroups(limit.max),
                        Some(_) => Refusal::GroupFull,
                        None => Refusal::Forbidden,
                    },
                    Some(ProblemType::RateLimited) => Refusal::RateLimited {
                        retry_after: problem.retry_after.unwrap_or(1),
                    },
                    Some(ProblemType::Suspended) => Refusal::Suspended,
                    Some(ProblemType::Blocked) => Refusal::Blocked,
                    Some(ProblemType::SlugTaken) => Refusal::SlugTaken,
                    Some(ProblemType::NotFound) => Refusal::GroupNotFound,
                    _ => Refusal::Forbidden,
                };
                // Too often or too late is no wrong, and of a block nobody is told but whoever asked.
                let expected = matches!(
                    refusal,
                    Refusal::RateLimited { .. }
                        | Refusal::TooManyGroups(_)
                        | Refusal::Blocked
                        | Refusal::SlugTaken
                );
                if !expected {
                    let reason = "the relay refuses a commit of this agent";
                    self.group_alert(&row, "commit_refused", Severity::Warning, reason, now)?;
                }
                return self.commit_refused(&row, &refusal, now);
            }
        }
        Ok(())
    }

    /// Goals that need a commit are given up; payments are tried again later.
    fn commit_refused(&mut self, row: &GroupRow, refusal: &Refusal, now: UnixMs) -> Result<(), StateError> {
        let task = self.task(&row.group_id);
        task.pay_at = task.pay_at.map(|_| now + 60 * ASK_AGAIN_MS);
        let goals = std::mem::take(&mut task.goals);
        for wanted in goals {
            let refusal = match (&wanted.goal, refusal) {
                // It was open a moment ago.
                (Goal::Join(_), Refusal::GroupNotFound) => Refusal::ChannelNotFound,
                _ => refusal.clone(),
            };
            self.reply(wanted.request, Err(refusal));
        }
        if row.standing == Standing::Entering && row.length == 0 {
            self.volatile.tasks.remove(&row.group_id);
            self.store.drop_group(row)?;
        }
        Ok(())
    }

    /// No own commit is on its way any more.
    pub(in crate::engine) fn forget_own_commits(&mut self) {
        for task in self.volatile.tasks.values_mut() {
            (task.appending, task.claimed) = (false, false);
        }
    }

    /// A key for every member of a roster; `None` while bundles are being looked up. A member whose
    /// bundle cannot be had gets an empty leaf.
    pub(super) fn leaf_keys(
        &mut self,
        group: &GroupId,
        members: &[Arc<Member>],
        now: UnixMs,
    ) -> Result<Option<Vec<LeafKey>>, StateError> {
        let mut keys = Vec::with_capacity(members.len());
        let mut complete = true;
        for member in members {
            if member.identity == *self.account.identity.public() {
                keys.push(self.own_leaf_key());
                continue;
            }
            match self.leaf_key(group, member, now)? {
                Some(key) => keys.push(key),
                None => complete = false,
            }
        }
        Ok(complete.then_some(keys))
    }

    fn own_leaf_key(&self) -> LeafKey {
        let own = self.account.encryption_keys.iter();
        let newest = own.max_by_key(|key| (key.suite, key.number));
        LeafKey {
            key: newest
                .map(|key| (key.number, key.suite, *key.secret.public()))
                .ok_or(EmptyReason::Unreachable),
        }
    }

    /// `None` while the bundle is being looked up.
    fn leaf_key(
        &mut self,
        group: &GroupId,
        member: &Member,
        now: UnixMs,
    ) -> Result<Option<LeafKey>, StateError> {
        if member.handle == self.account.handle {
            // A former identity of this agent, or somebody who has taken its name: nobody can be asked for a key.
            return Ok(Some(LeafKey {
                key: Err(EmptyReason::Unreachable),
            }));
        }
        let peer = self.store.peer(&member.handle)?;
        let fresh = peer.as_ref().is_some_and(|peer| self.is_fresh(peer, now));
        if !fresh && self.failed_lookup(group, &member.handle).is_none() {
            return Ok(None);
        }
        let key = match peer {
            Some(peer) if peer.identity == member.identity => match send::stored_bundle(&peer) {
                Some(bundle) if bundle.not_after <= now => Err(EmptyReason::Expired),
                Some(bundle) => send::recipient_key(&peer, &bundle)
                    .map(|key| (key.number, key.suite, key.public))
                    .map_err(|_| EmptyReason::Unreachable),
                None => Err(EmptyReason::Unreachable),
            },
            _ => Err(EmptyReason::Unreachable),
        };
        Ok(Some(LeafKey { key }))
    }

    /// Why a lookup for this group has failed, if it has; begins one if there was none.
    pub(super) fn failed_lookup(&mut self, group: &GroupId, handle: &Handle) -> Option<Refusal> {
        let up = self.volatile.link_up;
        let task = self.task(group);
        match task.lookups.get(handle) {
            Some(Lookup::Failed(refusal)) => Some(refusal.clone()),
            Some(Lookup::Asked) => None,
            None => {
                if up {
                    task.lookups.insert(handle.clone(), Lookup::Asked);
                    self.effects.push(Effect::Call(RelayCall::Bundle(handle.clone())));
                }
                None
            }
        }
    }
}

/// What the agent is told when the log does not allow a commit.
pub(super) fn refusal_of(error: &CommitError, row: &GroupRow) -> Refusal {
    match error {
        CommitError::Role { .. } => Refusal::NotAdmin,
        CommitError::LastAdmin => Refusal::LastAdmin,
        CommitError::Full | CommitError::TooManyChanges => Refusal::GroupFull,
        CommitError::NoSuchMember { .. } => Refusal::NotMember,
        CommitError::NoSuchInvite { .. } | CommitError::NotInvited { .. } => Refusal::InviteNotFound,
        CommitError::Ended => row
            .end_view()
            .map_or(Refusal::GroupNotFound, |end| Refusal::GroupDeleted(Box::new(end))),
        CommitError::NotMember | CommitError::RekeyByOutsider => Refusal::GroupNotFound,
        _ => Refusal::Invalid("the group's log does not allow this"),
    }
}
