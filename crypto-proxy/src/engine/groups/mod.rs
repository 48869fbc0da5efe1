//! Groups (docs/protocol.md, 6): the verified log, own commits, epochs, messages.
//!
//! What the agent wants is a [`Goal`]: a state of the group. After everything that happens to a group,
//! [`Engine::advance`] looks how far each goal is and takes the next step towards it; so a lost race, a
//! lost answer and a restart all end in the same place. At most one own commit is on its way into a
//! log at a time.
//!
//! - `goals`: what the agent wants, step by step
//! - `entering`: founding a group, accepting an invite
//! - `channels`: joining a named channel
//! - `commits`: own commits
//! - `log`: commits that the relay shows
//! - `events`: what a commit means to the agent
//! - `epochs`: leaves, chains, debts
//! - `send`, `receive`: messages
//! - `confirmation`: whose confirmation of an epoch is waited for
//! - `line`: messages that wait for a commit, a key or their turn
//! - `profile`, `grants`: name and topic; history for those who join

mod channels;
mod commits;
mod confirmation;
mod entering;
mod epochs;
mod events;
mod goals;
mod grants;
mod line;
mod log;
mod lost;
mod profile;
mod receive;
mod send;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use waxwire_shared::{
    api::frames::Queue,
    fingerprint::Address,
    ids::{GroupId, Handle},
    roster::{Roster, RosterHistory},
    sign::Verified,
    wire::{Commit, Role},
};

pub(super) use self::receive::HEAD_WITHIN_MS;
use super::{Engine, RequestId};
use crate::{
    model::{HistoryShare, InviteId, Joining, NewGroup, ProfileChange, Refusal, SendRequest, UnixMs},
    state::{GroupRow, StateError, Stop},
};

/// Milliseconds until the relay is asked again after it did not answer.
const ASK_AGAIN_MS: u64 = 1_000;

/// A group's verified log, condensed.
#[derive(Debug, Clone)]
pub(super) struct GroupView {
    pub(super) roster: Roster,
    pub(super) history: RosterHistory,
}

/// What the agent wants of a group.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// The group has its first epoch; these were invited with it.
    Founded(Vec<Handle>),
    /// The profile is so.
    Update(ProfileChange),
    /// The group has ended.
    Disband,
    /// Somebody is invited or a member.
    Add(Address, Option<HistoryShare>),
    /// Somebody is neither.
    Remove(Handle),
    /// A member has a role.
    SetRole(Handle, Role),
    /// This agent is no member.
    Leave,
    /// This agent is a member.
    Accept(InviteId),
    /// This agent is a member of the channel.
    Join(Joining),
    /// There is a later epoch than this.
    Rekey { from: u64 },
    /// A message is sealed.
    Send(Box<SendRequest>),
}

/// A request that waits for its goal.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) request: RequestId,
    pub(super) goal: Goal,
    pub(super) until: UnixMs,
}

/// A group that somebody wants to found, while its members are looked up.
#[derive(Debug)]
pub(super) struct Founding {
    request: RequestId,
    new: Box<NewGroup>,
    until: UnixMs,
    lookups: HashMap<Handle, Lookup>,
}

/// A bundle that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lookup {
    Asked,
    Failed(Refusal),
}

/// What goes on in a group and may be lost at any moment.
#[derive(Debug, Default)]
pub(super) struct Task {
    goals: Vec<Wanted>,
    /// The log was asked for and has not come.
    log_asked: bool,
    /// The log was read to the end that the relay showed, since the link came up.
    log_read: bool,
    /// What it showed last did not verify.
    log_false: bool,
    /// It lacks commits that are known here.
    log_lost: bool,
    /// The own commit was handed to the link.
    appending: bool,
    /// The relay has said what became of it; the log must show it.
    claimed: bool,
    /// Epochs whose leaves were asked for.
    leaves_asked: BTreeSet<u64>,
    /// Bundles that the next rekey or invite needs.
    lookups: HashMap<Handle, Lookup>,
    /// When what failed is tried again.
    again_at: Option<UnixMs>,
    /// When this agent pays for a rekey that is due, unless somebody else does.
    pay_at: Option<UnixMs>,
    /// Epochs for which the relay has answered without giving the leaf.
    leaves_denied: BTreeSet<u64>,
    /// When messages that stand in line are read without what is under way.
    line_until: Option<UnixMs>,
    /// Who became admin when this agent left.
    promoted: Option<Handle>,
    /// The relay says that the epoch of queued messages is closed: they have to be sealed again.
    reseal: bool,
    /// How often the relay refused a closed epoch without the log moving on.
    rounds: u32,
}

impl Founding {
    /// Who waits.
    pub(super) fn request(self) -> RequestId {
        self.request
    }
}

impl Task {
    /// Who waits.
    pub(super) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.goals.into_iter().map(|wanted| wanted.request)
    }
}

impl Engine {
    pub(super) fn task(&mut self, group: &GroupId) -> &mut Task {
        self.volatile.tasks.entry(*group).or_default()
    }

    /// The group's log as it is kept; `None` while nothing of it is.
    fn group_view(&mut self, row: &GroupRow) -> Result<Option<Arc<GroupView>>, StateError> {
        if let Some(view) = self.views.get(&row.group_id) {
            return Ok(Some(Arc::clone(view)));
        }
        let damaged = || StateError::Damaged {
            table: "grp_commit",
            row: row.group_row,
        };
        let mut view: Option<GroupView> = None;
        let mut position = 0;
        loop {
            let page = self.store.commits_from(row.group_row, position, 1_000)?;
            if page.is_empty() {
                break;
            }
            position += page.len() as u64;
            for bytes in page {
                let commit = Verified::<Commit>::from_bytes(&bytes, |commit| &commit.signer);
                let commit = commit.map_err(|_| damaged())?;
                let (next, _) = next_view(view.take(), &commit).map_err(|_| damaged())?;
                view = Some(next);
            }
        }
        let Some(view) = view.map(Arc::new) else {
            return Ok(None);
        };
        self.views.insert(row.group_id, Arc::clone(&view));
        Ok(Some(view))
    }

    /// Looks how far everything in a group is and takes the next steps.
    pub(super) fn advance(&mut self, group: &GroupId, now: UnixMs) -> Result<(), StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        self.drive_append(&row)?;
        self.drive_leaves(&row)?;
        self.move_line(&row, line::Patience::Left, now)?;
        self.report_without_epoch(&row, now)?;
        self.drive_rekey(&row, now)?;
        self.drive_profile(group, now)?;
        self.drive_reseal(group, now)?;
        self.drive_goals(group, now)
    }

    /// The link is up: what may have happened meanwhile is found out.
    pub(super) fn groups_up(&mut self, now: UnixMs) -> Result<(), StateError> {
        let compare = std::mem::take(&mut self.volatile.compare_logs);
        for row in self.store.live_groups()? {
            let pending = self.store.pending_commit(row.group_row)?.is_some();
            // Something invalid was shown in place of a commit, which is not pushed again.
            let behind = self.store.cursor(&Queue::Log(row.group_id))? > row.length;
            let task = self.task(&row.group_id);
            (task.log_asked, task.log_read, task.appending) = (false, false, false);
            task.leaves_asked.clear();
            let stopped = row.stop == Some(Stop::Withheld);
            let wanted = compare || pending || behind || stopped || row.renew || !task.goals.is_empty();
            if wanted || self.store.waits_for_head(row.group_row)? {
                self.ask_log(&row);
            }
            self.advance(&row.group_id, now)?;
        }
        self.drive_founding(now)
    }

    /// Time has passed for groups.
    pub(super) fn tick_groups(&mut self, now: UnixMs) -> Result<(), StateError> {
        let groups: Vec<GroupId> = self.volatile.tasks.keys().copied().collect();
        for group in groups {
            self.expire_goals(&group, now);
            let task = self.task(&group);
            let due = task.again_at.is_some_and(|at| at <= now) || task.pay_at.is_some_and(|at| at <= now);
            if task.again_at.is_some_and(|at| at <= now) {
                task.again_at = None;
                task.leaves_asked.clear();
                task.lookups.retain(|_, lookup| *lookup == Lookup::Asked);
                self.ask_log_again(&group)?;
            }
            if due {
                self.advance(&group, now)?;
            }
        }
        self.tick_lines(now)?;
        self.expire_founding(now);
        self.check_unknown_heads(now)
    }

    /// When the next of the groups' deadlines is.
    pub(super) fn next_group_deadline(&self) -> Option<UnixMs> {
        let tasks = self.volatile.tasks.values();
        let times = tasks.flat_map(|task| {
            let goals = task.goals.iter().map(|goal| goal.until);
            goals
                .chain(task.again_at)
                .chain(task.pay_at)
                .chain(task.line_until)
        });
        let founding = self.volatile.founding.iter().map(|founding| founding.until);
        times.chain(founding).min()
    }

    /// A bundle came or did not: whoever waited for it goes on.
    pub(super) fn bundle_for_groups(
        &mut self,
        handle: &Handle,
        verdict: &Result<(), Refusal>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let settle = |lookups: &mut HashMap<Handle, Lookup>| {
            let asked = lookups.get(handle) == Some(&Lookup::Asked);
            match verdict {
                Ok(()) if asked => drop(lookups.remove(handle)),
                Err(refusal) if asked => {
                    drop(lookups.insert(handle.clone(), Lookup::Failed(refusal.clone())))
                }
                _ => {}
            }
            asked && !lookups.values().any(|lookup| *lookup == Lookup::Asked)
        };
        let mut ready = Vec::new();
        for (group, task) in &mut self.volatile.tasks {
            if settle(&mut task.lookups) {
                ready.push(*group);
            }
        }
        let mut founding = false;
        for waiting in &mut self.volatile.founding {
            founding |= settle(&mut waiting.lookups);
        }
        for group in ready {
            self.advance(&group, now)?;
        }
        if founding {
            self.drive_founding(now)?;
        }
        Ok(())
    }
}

/// A log with one more commit, if the commit is valid.
fn next_view(
    view: Option<GroupView>,
    commit: &Verified<Commit>,
) -> Result<(GroupView, waxwire_shared::roster::Applied), waxwire_shared::roster::CommitError> {
    match view {
        None => {
            let roster = Roster::create(commit)?;
            let applied = waxwire_shared::roster::Applied {
                epoch: Some(1),
                invited: roster.invites().cloned().map(Arc::new).collect(),
                joined: vec![commit.signer().clone()],
                ..Default::default()
            };
            let history = RosterHistory::begin(&roster);
            Ok((GroupView { roster, history }, applied))
        }
        Some(mut view) => {
            let applied = view.roster.apply(commit)?;
            view.history.record(&view.roster, &applied);
            Ok((view, applied))
        }
    }
}
