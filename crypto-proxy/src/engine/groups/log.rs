//! Commits that the relay shows: verified, kept, told to the rest (flows 4, 6, 7, 8).

use std::sync::Arc;

use waxwire_shared::{
    api::frames::Cursor,
    ids::{GroupId, Handle},
    roster::{Applied, Equivocation},
    sign::Verified,
    wire::{Change, Commit, Role},
};

use super::{ASK_AGAIN_MS, Engine, GroupView, next_view};
use crate::{
    engine::{Effect, LogPage, LookupError, RelayCall},
    fault,
    model::{DebtKind, Severity, Status, UnixMs},
    state::{GroupRow, ProfileDue, Standing, StateError, Stop},
};

/// What became of a commit that the relay shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It is kept, now or before.
    Kept,
    /// Others come before it.
    Later,
    /// It is of no use.
    Refused,
}

impl Engine {
    /// Asks for what follows the commits that are kept.
    pub(super) fn ask_log(&mut self, row: &GroupRow) {
        let up = self.volatile.link_up;
        let task = self.task(&row.group_id);
        if up && !std::mem::replace(&mut task.log_asked, true) {
            self.effects.push(Effect::Call(RelayCall::Log {
                group: row.group_id,
                after: row.length,
            }));
        }
    }

    pub(super) fn ask_log_again(&mut self, group: &GroupId) -> Result<(), StateError> {
        if let Some(row) = self.store.group(group)?
            && matches!(row.standing, Standing::Entering | Standing::Member)
            && row.stop != Some(Stop::Forked)
        {
            self.ask_log(&row);
        }
        Ok(())
    }

    /// The relay's answer to [`RelayCall::Log`].
    pub(in crate::engine) fn log_page(
        &mut self,
        group: &GroupId,
        answer: Result<LogPage, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.task(group).log_asked = false;
        let Some(before) = self.store.group(group)? else {
            return Ok(());
        };
        match answer {
            Ok(page) => {
                self.task(group).log_false = false;
                for (position, bytes) in (page.after..).zip(&page.commits) {
                    if self.take_commit(group, position, bytes, now)? == Taken::Refused {
                        self.task(group).log_false = true;
                        break;
                    }
                }
                let Some(row) = self.store.group(group)? else {
                    return Ok(());
                };
                if row.length < page.length && row.length > before.length {
                    self.ask_log(&row);
                } else {
                    self.task(group).log_read = true;
                    self.compare_length(&row, page.after, page.length, now)?;
                    self.log_ended(&row, now)?;
                }
            }
            // Nothing of it is shown to this agent: whoever waits sees what that means.
            Err(LookupError::NotFound) => {
                self.task(group).log_read = true;
                // A relay that was set back knows nothing of a group that was founded since.
                if self.volatile.set_back_at.is_some() {
                    self.compare_length(&before, before.length, 0, now)?;
                }
            }
            Err(LookupError::Refused(_) | LookupError::Unreachable) => {
                self.task(group).again_at = Some(now + ASK_AGAIN_MS);
            }
        }
        self.advance(group, now)
    }

    /// A commit that the relay pushes.
    pub(in crate::engine) fn pushed_commit(
        &mut self,
        group: &GroupId,
        cursor: &Cursor,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if self.store.group(group)?.is_none() {
            let reason = "the relay delivers for a group that this agent has nothing to do with";
            return self.alert("unexpected_group", Severity::Warning, None, reason, now);
        }
        let Some(position) = cursor.position.checked_sub(1) else {
            let reason = "the relay delivers at a position that there is not";
            return self.alert("envelope_malformed", Severity::Warning, None, reason, now);
        };
        match self.take_commit(group, position, bytes, now)? {
            // What the log has where an invalid commit was shown is not known yet.
            Taken::Later | Taken::Refused => self.ask_log_again(group)?,
            Taken::Kept => self.log_has_grown(group, cursor.position)?,
        }
        self.advance(group, now)
    }

    /// Takes a commit that the relay says stands at `position` of the log.
    fn take_commit(
        &mut self,
        group: &GroupId,
        position: u64,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<Taken, StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(Taken::Refused);
        };
        if row.stop == Some(Stop::Forked) || !matches!(row.standing, Standing::Entering | Standing::Member) {
            return Ok(Taken::Refused);
        }
        if position > row.length {
            return Ok(Taken::Later);
        }
        let commit = Verified::<Commit>::from_bytes(bytes, |commit| &commit.signer);
        if position < row.length {
            return self.compare(&row, position, bytes, commit.ok().as_ref(), now);
        }
        let view = self.group_view(&row)?;
        let next = commit.ok().and_then(|commit| {
            let (next, applied) = next_view(view.as_deref().cloned(), &commit).ok()?;
            (*next.roster.group() == *group).then_some((commit, next, applied))
        });
        match next {
            Some((commit, next, applied)) => {
                self.keep_commit(&row, view, &commit, next, &applied, now)?;
                Ok(Taken::Kept)
            }
            None => {
                let reason = "the relay shows a commit that is not valid where it stands";
                self.group_alert(&row, "invalid_commit", Severity::Critical, reason, now)?;
                Ok(Taken::Refused)
            }
        }
    }

    /// A commit at a position that is known: the same one, or proof that the log was forked.
    fn compare(
        &mut self,
        row: &GroupRow,
        position: u64,
        bytes: &[u8],
        shown: Option<&Verified<Commit>>,
        now: UnixMs,
    ) -> Result<Taken, StateError> {
        if self.store.commit_at(row.group_row, position)?.as_deref() == Some(bytes) {
            return Ok(Taken::Kept);
        }
        let kept = self.stored_commit(row, position)?;
        let evidence = kept
            .as_ref()
            .zip(shown)
            .and_then(|(kept, shown)| Equivocation::of(kept, shown));
        if evidence.is_none() {
            let reason = "the relay shows another commit than before, and it does not verify";
            self.group_alert(row, "invalid_commit", Severity::Critical, reason, now)?;
            return Ok(Taken::Refused);
        }
        self.store.put_stop(row.group_row, Some(Stop::Forked))?;
        self.store.keep_evidence(row.group_row, position, bytes)?;
        let reason = "the relay has shown two logs of the group; nothing is sent to it any more";
        self.group_alert(row, "roster_fork", Severity::Critical, reason, now)?;
        Ok(Taken::Refused)
    }

    /// The log was read to its end. A stop that nothing keeps up any more ends. An own commit that is still
    /// on its way is offered again later: the relay has claimed to store it, or that it lost, and shows neither.
    fn log_ended(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        let claimed = std::mem::take(&mut self.task(&row.group_id).claimed);
        if claimed && self.store.pending_commit(row.group_row)?.is_some() {
            let task = self.task(&row.group_id);
            (task.appending, task.again_at) = (false, Some(now + ASK_AGAIN_MS));
        }
        self.lift_stop(row, now)
    }

    /// Everything that follows from a valid commit, in one transaction.
    fn keep_commit(
        &mut self,
        row: &GroupRow,
        before: Option<Arc<GroupView>>,
        commit: &Verified<Commit>,
        next: GroupView,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let next = Arc::new(next);
        self.store
            .push_commit(row.group_row, commit.body().position, commit.bytes())?;
        self.views.insert(row.group_id, Arc::clone(&next));
        self.show_roster(row, commit, &next, applied, now)?;
        let pending = self.store.pending_commit(row.group_row)?;
        let won = pending
            .as_ref()
            .is_some_and(|pending| pending.hash == commit.hash());
        if let Some(pending) = &pending
            && (won || pending.position <= commit.body().position)
        {
            self.store.drop_pending_commit(row.group_row)?;
            self.task(&row.group_id).appending = false;
        }
        self.own_standing(row, commit, &next, applied, now)?;
        self.name_group(row, before.as_deref(), commit, &next, now)?;
        self.tell_events(row, before.as_deref(), commit, &next, applied, now)?;
        if let Some(epoch) = applied.epoch {
            if won {
                self.store.renewed(row.group_row)?;
            }
            let leaves = pending.filter(|_| won).map(|pending| pending.leaves);
            if let Some(leaves) = &leaves {
                self.store
                    .keep_leaves(row.group_row, commit.body().position, leaves)?;
            }
            self.new_epoch(row, &next, commit, epoch, leaves.as_deref(), now)?;
        }
        if commit.signer() == self.account.identity.public() {
            if !won && !self.store.knows_refused_commit(&commit.hash())? {
                self.own_object_unknown(commit.body().time, now)?;
            }
            self.after_own_commit(row, before.as_deref(), &next, applied, now)?;
        }
        if let Some(before) = &before {
            self.welcome(row, before, commit, applied, now)?;
        }
        self.task(&row.group_id).rounds = 0;
        fault::point("log.before_commit");
        self.release_group_held_heads(row, now)
    }

    /// What is shown of the roster.
    fn show_roster(
        &self,
        row: &GroupRow,
        commit: &Verified<Commit>,
        next: &GroupView,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let (group_row, body) = (row.group_row, commit.body());
        let me = self.account.identity.public();
        let changed = applied.roles.iter().map(|(identity, _)| identity);
        for identity in applied.joined.iter().chain(&applied.promoted).chain(changed) {
            if let Some(member) = next.roster.member(identity) {
                let joined = (member.joined, body.time);
                self.store.put_member(
                    group_row,
                    identity,
                    &member.handle,
                    member.role,
                    joined,
                    identity == me,
                )?;
            }
        }
        for departure in &applied.departed {
            if next.roster.member(&departure.identity).is_none() {
                self.store.remove_member(group_row, &departure.identity)?;
            }
        }
        if !applied.departed.is_empty() {
            // Only they had not confirmed some messages.
            for status in [Status::Delivered, Status::Read] {
                self.store.raise_group_status(row, None, status, now)?;
            }
        }
        if body.position == 0
            && let Some(founder) = next.roster.member(commit.signer())
        {
            self.store.put_founder(group_row, &founder.handle, body.time)?;
        }
        let debt = self.debt(row, next)?;
        self.store
            .put_roster(group_row, &next.roster, self.account.identity.public(), debt)
    }

    /// The open debt, and since when by the clock of whoever opened it.
    fn debt(&self, row: &GroupRow, view: &GroupView) -> Result<Option<(DebtKind, UnixMs)>, StateError> {
        let hard = view.roster.hard_debt().map(|position| (DebtKind::Hard, position));
        let soft = view.roster.soft_debt().map(|position| (DebtKind::Soft, position));
        let Some((kind, position)) = hard.or(soft) else {
            return Ok(None);
        };
        Ok(self.commit_body(row, position)?.map(|commit| (kind, commit.time)))
    }

    /// A commit that is kept.
    pub(super) fn commit_body(&self, row: &GroupRow, position: u64) -> Result<Option<Commit>, StateError> {
        Ok(self.stored_commit(row, position)?.map(Verified::into_body))
    }

    pub(super) fn stored_commit(
        &self,
        row: &GroupRow,
        position: u64,
    ) -> Result<Option<Verified<Commit>>, StateError> {
        let bytes = self.store.commit_at(row.group_row, position)?;
        Ok(bytes.and_then(|bytes| Verified::<Commit>::from_bytes(&bytes, |commit| &commit.signer).ok()))
    }

    /// What a commit makes of this agent's own membership.
    fn own_standing(
        &mut self,
        row: &GroupRow,
        commit: &Verified<Commit>,
        next: &GroupView,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let me = self.account.identity.public().clone();
        let promoted = applied
            .promoted
            .first()
            .and_then(|identity| next.roster.member(identity));
        let promoted = promoted.map(|member| member.handle.clone());
        if applied.joined.contains(&me) && next.roster.member(&me).is_some() {
            self.store.put_standing(row.group_row, Standing::Member)?;
        }
        let departed = applied.departed.iter().find(|departure| departure.identity == me);
        let standing = match departed {
            Some(departure) if departure.removed => Some(Standing::Removed),
            Some(_) => Some(Standing::Left),
            None => None,
        };
        if let Some(standing) = standing {
            self.task(&row.group_id).promoted = promoted;
            self.depart(row, standing, now)?;
        }
        if applied.ended && standing.is_none() {
            let by = signer_handle(next, commit).unwrap_or_else(|| self.account.handle.clone());
            self.depart(row, Standing::Ended, now)?;
            self.store.put_end(row.group_row, &by, commit.body().time)?;
        }
        Ok(())
    }

    /// Nothing more is sealed or opened in a group.
    fn depart(&mut self, row: &GroupRow, standing: Standing, now: UnixMs) -> Result<(), StateError> {
        self.store.put_standing(row.group_row, standing)?;
        self.store.drop_invitations(&row.group_id)?;
        self.store.erase_epochs(row.group_row)?;
        self.store.drop_pending_commit(row.group_row)?;
        self.store.put_profile_due(row.group_row, ProfileDue::No)?;
        self.refuse_group_outbox(row, now)
    }

    /// What this agent's own commit asks of it: invitees are told, members who joined get the profile.
    fn after_own_commit(
        &mut self,
        row: &GroupRow,
        before: Option<&GroupView>,
        next: &GroupView,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        for invite in &applied.invited {
            self.tell_invitee(row, next, invite, now)?;
        }
        let paid_for_joiners =
            applied.epoch.is_some() && before.is_some_and(|before| before.roster.soft_debt().is_some());
        if paid_for_joiners {
            self.owe_profile(row)?;
        }
        Ok(())
    }

    /// Members have joined who do not know the profile.
    pub(super) fn owe_profile(&self, row: &GroupRow) -> Result<(), StateError> {
        let row = self.store.group_by_row(row.group_row)?;
        if row.profile_revision > 0 && row.profile_due == ProfileDue::No {
            self.store.put_profile_due(row.group_row, ProfileDue::Kept)?;
        }
        Ok(())
    }

    /// Whoever joined by an invite of this agent gets what was promised and, if it replaced the key
    /// itself, the profile. Whoever joined without an invite gets the profile from the admins.
    fn welcome(
        &mut self,
        row: &GroupRow,
        before: &GroupView,
        commit: &Verified<Commit>,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let me = self.account.identity.public().clone();
        let joins = |change: &Change| matches!(change, Change::Join { .. });
        if applied.epoch.is_some() && self.is_admin(before) && commit.body().changes.iter().any(joins) {
            self.owe_profile(row)?;
        }
        for identity in &applied.joined {
            let mut invites = before.roster.invites();
            if invites.any(|invite| invite.identity == *identity && invite.inviter == me) {
                if applied.epoch.is_some() {
                    self.owe_profile(row)?;
                }
                self.grant_history(row, identity, commit, now)?;
            }
        }
        Ok(())
    }

    /// An alert about a group.
    pub(in crate::engine) fn group_alert(
        &mut self,
        row: &GroupRow,
        kind: &'static str,
        severity: Severity,
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.alert_in(kind, severity, None, Some(&row.local()), reason, now)
    }

    /// Whether this agent is an admin of the group.
    pub(super) fn is_admin(&self, view: &GroupView) -> bool {
        view.roster
            .member(self.account.identity.public())
            .is_some_and(|member| member.role == Role::Admin)
    }
}

/// The handle of a commit's signer in a roster.
pub(super) fn signer_handle(view: &GroupView, commit: &Verified<Commit>) -> Option<Handle> {
    view.roster
        .member(commit.signer())
        .map(|member| member.handle.clone())
}
