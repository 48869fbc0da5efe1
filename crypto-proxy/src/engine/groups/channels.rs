//! Named channels (docs/protocol.md, 6.11). What the relay says of a slug leads to a log; the log proves slug and
//! join policy, and the first group that this agent was in under a slug is the one that the slug names.

use waxwire_shared::{
    api::rest::{ChannelAnswer, ChannelsAnswer},
    ids::{GroupId, Handle},
    limits,
    sign::Verified,
    wire::{Change, Commit, JoinPolicy, Profile},
};

use super::{Engine, Goal, GroupView, commits::Committed, goals::Step};
use crate::{
    engine::{Effect, LookupError, RelayCall, Reply, RequestId, relations},
    model::{Joining, ListedChannel, LocalConversation, Refusal, Severity, UnixMs},
    state::{GroupRow, Standing, StateError, Stop, StoredProfile},
};

impl Engine {
    /// The agent wants to be in a channel: the relay is asked which group that is.
    pub(super) fn join_channel(
        &mut self,
        request: RequestId,
        joining: Joining,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let known = self.store.channel_group(&joining.slug)?;
        if let Some(row) = known.filter(|row| row.standing == Standing::Member)
            && joining.expected.is_none_or(|expected| expected == row.local())
        {
            return self.want(&row.group_id, request, Goal::Join(joining), now);
        }
        self.effects
            .push(Effect::Call(RelayCall::Channel(request, joining)));
        Ok(())
    }

    /// The relay's answer to [`RelayCall::Channel`]: the log of the group that it names is read from its
    /// beginning.
    pub(in crate::engine) fn channel_found(
        &mut self,
        request: RequestId,
        joining: Joining,
        answer: Result<ChannelAnswer, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let slug = &joining.slug;
        let group = match answer {
            Ok(found) if found.slug == *slug => found.group_id,
            Ok(_) => return self.refuse(request, Refusal::ChannelFalse(slug.clone())),
            Err(error) => return self.refuse(request, refusal(error)),
        };
        if let Some(refusal) = self.check_slug(&joining, &group, now)? {
            return self.refuse(request, refusal);
        }
        let standing = self.store.group(&group)?.map(|row| row.standing);
        match standing {
            Some(Standing::Member) => {}
            // Its slug is free, as its log has it.
            Some(Standing::Ended) => return self.refuse(request, Refusal::ChannelFalse(slug.clone())),
            _ => self.enter_channel(&group, now)?,
        }
        self.want(&group, request, Goal::Join(joining), now)
    }

    fn enter_channel(&mut self, group: &GroupId, now: UnixMs) -> Result<(), StateError> {
        let profile = StoredProfile::Asked(Profile {
            group: *group,
            revision: 0,
            name: String::new(),
            topic: None,
            avatar: None,
        });
        let row = self.store.enter_group(&mut *self.rng, group, &profile, now)?;
        let task = self.task(&row.group_id);
        (task.log_read, task.log_asked) = (false, false);
        self.ask_log(&row);
        Ok(())
    }

    /// Why a group is not the one that a slug names, if it is not.
    fn check_slug(
        &mut self,
        joining: &Joining,
        group: &GroupId,
        now: UnixMs,
    ) -> Result<Option<Refusal>, StateError> {
        let shown = LocalConversation::group(group);
        let known = match joining.expected {
            Some(expected) => Some(expected),
            None => self.known_channel(&joining.slug)?.map(|row| row.local()),
        };
        let Some(known) = known.filter(|known| *known != shown) else {
            return Ok(None);
        };
        let slug = joining.slug.clone();
        self.alert_changed(&slug, &known, now)?;
        Ok(Some(Refusal::ChannelChanged { slug, known, shown }))
    }

    /// The group that a slug names, unless it has ended: then the slug is free.
    fn known_channel(&self, slug: &Handle) -> Result<Option<GroupRow>, StateError> {
        let known = self.store.channel_group(slug)?;
        Ok(known.filter(|row| row.standing != Standing::Ended))
    }

    fn alert_changed(
        &mut self,
        slug: &Handle,
        known: &LocalConversation,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let reason =
            format!("another group is shown under the slug {slug} than before; it is not taken for it");
        self.alert_in(
            "channel_changed",
            Severity::Critical,
            None,
            Some(known),
            &reason,
            now,
        )
    }

    /// The log was read or will be: it has to prove what the relay said, then this agent's own join is appended to
    /// it, or an invite is accepted.
    pub(super) fn step_join(
        &mut self,
        row: &GroupRow,
        joining: &Joining,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        if row.stop == Some(Stop::Forked) {
            return self.give_up_channel(row, Refusal::RosterFork { group: row.local() });
        }
        let task = self.task(&row.group_id);
        if !task.log_read {
            self.ask_log(row);
            return Ok(Step::Wait);
        }
        if task.log_false {
            return self.give_up_channel(row, Refusal::ChannelFalse(joining.slug.clone()));
        }
        let Some(view) = self.group_view(row)? else {
            return self.give_up_channel(row, Refusal::ChannelNotFound);
        };
        if !claims(&view, &joining.slug) {
            let reason = "the relay shows a group under a slug that its log does not claim";
            self.group_alert(row, "channel_false", Severity::Critical, reason, now)?;
            return self.give_up_channel(row, Refusal::ChannelFalse(joining.slug.clone()));
        }
        // Another join may have come first.
        if let Some(refusal) = self.check_slug(joining, &row.group_id, now)? {
            return self.give_up_channel(row, refusal);
        }
        if view.roster.policy().join == JoinPolicy::Invite {
            return match self.store.invitation_to(&row.group_id)? {
                Some(invite) => self.step_accept(row, &invite, now),
                None => self.give_up_channel(row, Refusal::InviteRequired),
            };
        }
        let handle = self.account.handle.clone();
        let rekey = view.roster.members().len() < limits::ACCEPT_REKEY_MEMBERS;
        match self.commit(row, &view, vec![Change::Join { handle }], rekey, now)? {
            Committed::Waiting => Ok(Step::Wait),
            Committed::Refused(refusal) => self.give_up_channel(row, refusal),
        }
    }

    /// What was read is kept only of a group that this agent was in.
    fn give_up_channel(&mut self, row: &GroupRow, refusal: Refusal) -> Result<Step, StateError> {
        if row.length == 0 {
            self.store.drop_group(row)?;
        } else {
            self.store.put_standing(row.group_row, Standing::Left)?;
        }
        Ok(refusal.into())
    }

    /// This agent is a member: of the channel, if its log says so.
    pub(super) fn step_joined(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        joining: &Joining,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        if !claims(view, &joining.slug) {
            return Ok(Refusal::ChannelFalse(joining.slug.clone()).into());
        }
        if let Some(refusal) = self.check_slug(joining, &row.group_id, now)? {
            return Ok(refusal.into());
        }
        self.store.pin_channel(&joining.slug, row.group_row)?;
        self.answer_group(row)
    }

    /// A commit was kept: the slug that it gives the group, or takes away. What is read as a stranger gives
    /// nothing a name.
    pub(super) fn name_group(
        &mut self,
        row: &GroupRow,
        before: Option<&GroupView>,
        commit: &Verified<Commit>,
        next: &GroupView,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let me = self.account.identity.public();
        let was = before.filter(|before| before.roster.member(me).is_some());
        let old = was.and_then(|before| before.roster.policy().slug.as_ref());
        let new = next.roster.policy().slug.as_ref();
        if self.store.slug_of(row.group_row)?.as_ref() != new && !next.roster.has_ended() {
            self.store.unpin_channel(row.group_row)?;
        }
        let Some(slug) = new.filter(|slug| old != Some(*slug) && next.roster.member(me).is_some()) else {
            return Ok(());
        };
        let founded = before.is_none() && commit.signer() == me;
        match self.known_channel(slug)? {
            Some(known) if known.group_row != row.group_row && !founded && !self.is_expected(row, slug) => {
                self.alert_changed(slug, &known.local(), now)
            }
            _ => self.store.pin_channel(slug, row.group_row),
        }
    }

    /// Whether the agent has said that it means this group by the slug.
    fn is_expected(&self, row: &GroupRow, slug: &Handle) -> bool {
        let task = self.volatile.tasks.get(&row.group_id);
        let mut goals = task.into_iter().flat_map(|task| &task.goals);
        goals.any(|wanted| match &wanted.goal {
            Goal::Join(joining) => joining.slug == *slug && joining.expected == Some(row.local()),
            _ => false,
        })
    }

    /// The relay's answer to [`RelayCall::Channels`].
    pub(in crate::engine) fn channels_listed(
        &mut self,
        request: RequestId,
        answer: Result<ChannelsAnswer, LookupError>,
    ) {
        let listed = answer.map_err(refusal).map(|answer| {
            let open = answer.channels.into_iter().filter(|channel| channel.open);
            let shown = open.map(|channel| ListedChannel {
                id: LocalConversation::group(&channel.group_id),
                slug: channel.slug,
                members: channel.members,
            });
            Reply::Channels(shown.collect())
        });
        self.reply(request, listed);
    }
}

/// Why there is no answer of the relay.
fn refusal(error: LookupError) -> Refusal {
    match error {
        LookupError::NotFound => Refusal::ChannelNotFound,
        error => relations::refusal(error),
    }
}

/// Whether a group's log claims a slug.
fn claims(view: &GroupView, slug: &Handle) -> bool {
    !view.roster.has_ended() && view.roster.policy().slug.as_ref() == Some(slug)
}
