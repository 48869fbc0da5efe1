//! What the agent wants of a group, one step at a time.

use waxwire_shared::{
    fingerprint::Address,
    ids::{GroupId, Handle},
    wire::{Change, CutOff, Member, Role},
};

use super::{Engine, Goal, GroupView, Lookup, Wanted, commits::Committed};
use crate::{
    engine::{Effect, GroupCommand, RelayCall, Reply, RequestId},
    model::{AddOutcome, Added, HistoryShare, InviteId, LocalConversation, Refusal, SendRequest, UnixMs},
    state::{EpochState, GroupRow, PeerRow, Standing, StateError, Stop},
};

/// Seconds after which a request that met a missing epoch is worth repeating.
const EPOCH_RETRY: u64 = 2;

/// How far a goal is.
pub(super) enum Step {
    /// Reached, or out of reach.
    Answer(Result<Reply, Refusal>),
    /// Something has to happen first.
    Wait,
    /// Somebody else answers.
    Handed,
}

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(Err(refusal))
    }
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Answer(Ok(reply))
    }
}

impl From<Committed> for Step {
    fn from(committed: Committed) -> Self {
        match committed {
            Committed::Waiting => Self::Wait,
            Committed::Refused(refusal) => refusal.into(),
        }
    }
}

impl Engine {
    /// The agent asks something about groups.
    pub(in crate::engine) fn group_command(
        &mut self,
        request: RequestId,
        command: GroupCommand,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let (local, goal) = match command {
            GroupCommand::Create(new) => return self.found(request, new, now),
            GroupCommand::Join(joining) => return self.join_channel(request, joining, now),
            GroupCommand::Channels { after, limit } => {
                let call = RelayCall::Channels {
                    request,
                    after,
                    limit,
                };
                self.effects.push(Effect::Call(call));
                return Ok(());
            }
            GroupCommand::Accept(invite) => return self.accept(request, invite, now),
            GroupCommand::Reject(invite) => return self.reject(request, &invite),
            GroupCommand::SetConfirmation(local, wanted) => {
                return self.set_confirmation(request, &local, &wanted, now);
            }
            GroupCommand::Rekey(local) => return self.want_rekey(request, &local, now),
            GroupCommand::Update(local, change) => (local, Goal::Update(change)),
            GroupCommand::Disband(local) => (local, Goal::Disband),
            GroupCommand::Add(local, address, share) => {
                self.tell_again(&local, &address.handle, now)?;
                (local, Goal::Add(address, share))
            }
            GroupCommand::Remove(local, handle) => (local, Goal::Remove(handle)),
            GroupCommand::SetRole(local, handle, role) => (local, Goal::SetRole(handle, role)),
            GroupCommand::Leave(local) => (local, Goal::Leave),
        };
        match self.group_by_local(&local)? {
            Some(row) => self.want(&row.group_id, request, goal, now),
            None => self.refuse(request, Refusal::GroupNotFound),
        }
    }

    pub(in crate::engine) fn group_by_local(
        &self,
        local: &LocalConversation,
    ) -> Result<Option<GroupRow>, StateError> {
        match self.store.conversation(local)? {
            Some(conversation) => self.store.group_of(conversation.conversation_id),
            None => Ok(None),
        }
    }

    fn want_rekey(
        &mut self,
        request: RequestId,
        local: &LocalConversation,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(row) = self.group_by_local(local)? else {
            return self.refuse(request, Refusal::GroupNotFound);
        };
        let from = self.group_view(&row)?.map_or(0, |view| view.roster.epoch());
        self.want(&row.group_id, request, Goal::Rekey { from }, now)
    }

    /// Begins to work on a goal.
    pub(super) fn want(
        &mut self,
        group: &GroupId,
        request: RequestId,
        goal: Goal,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let until = now + self.settings.answer_within;
        let task = self.task(group);
        // What failed for an earlier request may be there by now.
        task.lookups.retain(|_, lookup| *lookup == Lookup::Asked);
        task.goals.push(Wanted { request, goal, until });
        self.advance(group, now)
    }

    /// Takes a step towards each goal.
    pub(super) fn drive_goals(&mut self, group: &GroupId, now: UnixMs) -> Result<(), StateError> {
        for wanted in std::mem::take(&mut self.task(group).goals) {
            let Some(row) = self.store.group(group)? else {
                self.reply(wanted.request, Err(Refusal::GroupNotFound));
                continue;
            };
            match self.step(&row, &wanted, now)? {
                Step::Answer(answer) => self.reply(wanted.request, answer),
                Step::Wait => self.task(group).goals.push(wanted),
                Step::Handed => {}
            }
        }
        Ok(())
    }

    /// Requests that have waited long enough are answered; what is on its way goes on.
    pub(super) fn expire_goals(&mut self, group: &GroupId, now: UnixMs) {
        let up = self.volatile.link_up;
        let (over, waiting) = std::mem::take(&mut self.task(group).goals)
            .into_iter()
            .partition(|wanted| wanted.until <= now);
        self.task(group).goals = waiting;
        let over: Vec<Wanted> = over;
        for wanted in over {
            let refusal = if up {
                Refusal::EpochPending {
                    retry_after: EPOCH_RETRY,
                }
            } else {
                Refusal::RelayUnreachable { queued: false }
            };
            self.reply(wanted.request, Err(refusal));
        }
    }

    fn step(&mut self, row: &GroupRow, wanted: &Wanted, now: UnixMs) -> Result<Step, StateError> {
        // What is reached by not being a member any more comes first.
        match (&wanted.goal, row.standing) {
            (Goal::Leave, Standing::Left | Standing::Removed | Standing::Ended) => {
                return Ok(Reply::Left(self.task(&row.group_id).promoted.clone()).into());
            }
            (Goal::Disband, Standing::Ended) => {
                let at = row.end.as_ref().map_or(0, |(_, at)| *at);
                return Ok(Reply::Ended(at).into());
            }
            (_, Standing::Ended) => return Ok(gone(row).into()),
            (Goal::Join(_), Standing::Left | Standing::Removed) => {
                return Ok(Refusal::ChannelNotFound.into());
            }
            (_, Standing::Left | Standing::Removed) => return Ok(Refusal::GroupNotFound.into()),
            (Goal::Accept(invite), Standing::Entering) => return self.step_accept(row, invite, now),
            (Goal::Join(joining), Standing::Entering) => return self.step_join(row, joining, now),
            (_, Standing::Entering) => return Ok(Step::Wait),
            (_, Standing::Member) => {}
        }
        if row.stop == Some(Stop::Forked) {
            let group = row.local();
            return Ok(Refusal::RosterFork { group }.into());
        }
        let Some(view) = self.group_view(row)? else {
            return Ok(Step::Wait);
        };
        match &wanted.goal {
            Goal::Founded(invited) => self.step_founded(row, &view, invited, now),
            Goal::Accept(_) => self.answer_group(row),
            Goal::Join(joining) => self.step_joined(row, &view, joining, now),
            Goal::Update(change) => self.step_update(row, &view, change, now),
            Goal::Disband => {
                let committed = self.commit(row, &view, vec![Change::Disband], false, now)?;
                Ok(committed.into())
            }
            Goal::Add(address, share) => self.step_add(row, &view, address, *share, now),
            Goal::Remove(handle) => self.step_remove(row, &view, handle, now),
            Goal::SetRole(handle, role) => self.step_role(row, &view, handle, *role, now),
            Goal::Leave => self.step_leave(row, &view, now),
            Goal::Rekey { from } => self.step_rekey(row, &view, *from, now),
            Goal::Send(request) => self.step_send(row, &view, wanted, request, now),
        }
    }

    /// The group as the agent sees it.
    pub(super) fn answer_group(&self, row: &GroupRow) -> Result<Step, StateError> {
        Ok(match self.store.group_view(&row.local())? {
            Some(group) => Reply::Group(Box::new(group)).into(),
            None => Refusal::GroupNotFound.into(),
        })
    }

    fn step_add(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        address: &Address,
        share: Option<HistoryShare>,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        if address.handle == self.account.handle {
            return Ok(Refusal::Invalid("this is the agent itself").into());
        }
        let peer = match self.known_peer(&row.group_id, address, now)? {
            Ok(Some(peer)) => peer,
            Ok(None) => return Ok(Step::Wait),
            Err(refusal) => return Ok(refusal.into()),
        };
        let added = |outcome| {
            Step::from(Reply::Added(Added {
                handle: peer.handle.clone(),
                outcome,
            }))
        };
        if view.roster.member(&peer.identity).is_some() {
            return Ok(added(AddOutcome::AlreadyMember));
        }
        let open = view
            .roster
            .invites()
            .find(|invite| invite.identity == peer.identity);
        if let Some(invite) = open {
            if let Some(share) = share {
                let after = self.share_from(row, view, share)?;
                self.store.owe_grant(row.group_row, &peer.identity, after)?;
            }
            return Ok(added(AddOutcome::Invited(InviteId::of(
                &invite.reference,
                &invite.inviter,
            ))));
        }
        // Whoever has the keys of its former identity is out by the same commit, and the key replaced.
        let removal = self.removal_of_former(row, view, &peer)?;
        let rekey = removal.is_some();
        let mut changes = Vec::from_iter(removal);
        changes.push(Change::Invite {
            identity: peer.identity.clone(),
            handle: peer.handle.clone(),
            role: Role::Member,
        });
        Ok(self.commit(row, view, changes, rekey, now)?.into())
    }

    /// The member that a peer was under an identity which it has no more (docs/protocol.md, 4.6).
    fn removal_of_former(
        &self,
        row: &GroupRow,
        view: &GroupView,
        peer: &PeerRow,
    ) -> Result<Option<Change>, StateError> {
        let former = self.store.former(peer.peer_id)?;
        let mut identities = former.into_iter().map(|(identity, _)| identity);
        let Some(identity) = identities.find(|identity| view.roster.member(identity).is_some()) else {
            return Ok(None);
        };
        let cut_off = self.cut_off_of(row, &peer.handle)?;
        Ok(Some(Change::Remove { identity, cut_off }))
    }

    /// A peer whose identity is known and trusted enough to be invited; `None` while it is looked up.
    pub(super) fn known_peer(
        &mut self,
        group: &GroupId,
        address: &Address,
        now: UnixMs,
    ) -> Result<Result<Option<PeerRow>, Refusal>, StateError> {
        let peer = self.store.peer(&address.handle)?;
        if let Some(peer) = &peer
            && let Err(refusal) = self.check_trust(peer, address)
        {
            return Ok(Err(refusal));
        }
        let fresh = peer.as_ref().is_some_and(|peer| self.is_fresh(peer, now));
        let failed = if fresh {
            None
        } else {
            match self.failed_lookup(group, &address.handle) {
                None => return Ok(Ok(None)),
                failed => failed,
            }
        };
        let Some(mut peer) = peer else {
            return Ok(Err(failed.unwrap_or(Refusal::AgentNotFound)));
        };
        self.pin_invitee(&mut peer, address)?;
        Ok(Ok(Some(peer)))
    }

    fn step_remove(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        handle: &Handle,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        if *handle == self.account.handle {
            return Ok(Refusal::Invalid("an agent leaves a group, it does not remove itself").into());
        }
        let (change, rekey) = if let Some(member) = self.member_called(view, handle)? {
            let cut_off = self.cut_off_of(row, handle)?;
            let change = Change::Remove {
                identity: member.identity.clone(),
                cut_off,
            };
            (change, true)
        } else if let Some(invite) = view.roster.invites().find(|invite| invite.handle == *handle) {
            let invite = invite.reference.clone();
            (Change::Uninvite { invite }, false)
        } else {
            return Ok(Reply::Done.into());
        };
        Ok(self.commit(row, view, vec![change], rekey, now)?.into())
    }

    /// The last message of a member that was verified here.
    fn cut_off_of(&self, row: &GroupRow, handle: &Handle) -> Result<Option<CutOff>, StateError> {
        let Some(peer) = self.store.peer(handle)? else {
            return Ok(None);
        };
        let last = self.store.last_number(row.conversation_id, peer.peer_id)?;
        Ok(last.map(|(incarnation, session, n)| CutOff {
            incarnation,
            session,
            n,
        }))
    }

    /// The member with a handle. If several claim it, the one who is known by it; whoever only claims it comes last.
    fn member_called<'a>(
        &self,
        view: &'a GroupView,
        handle: &Handle,
    ) -> Result<Option<&'a Member>, StateError> {
        let known = self.store.peer(handle)?.map(|peer| peer.identity);
        let called = || {
            view.roster
                .members()
                .iter()
                .filter(|member| member.handle == *handle)
        };
        let known = called().find(|member| known.as_ref() == Some(&member.identity));
        Ok(known.or_else(|| called().next()).map(AsRef::as_ref))
    }

    fn step_role(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        handle: &Handle,
        role: Role,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        let Some(member) = self.member_called(view, handle)? else {
            return Ok(Refusal::NotMember.into());
        };
        if member.role == role {
            return Ok(Reply::Done.into());
        }
        let change = Change::Role {
            identity: member.identity.clone(),
            role,
        };
        Ok(self.commit(row, view, vec![change], false, now)?.into())
    }

    /// Flow 6, step 1: nothing of this agent's is under way any more when it leaves.
    fn step_leave(&mut self, row: &GroupRow, view: &GroupView, now: UnixMs) -> Result<Step, StateError> {
        if !self.store.outbox_of_group(row.group_row)?.is_empty() {
            return Ok(Step::Wait);
        }
        let conversation = self.store.conversation(&row.local())?;
        let cut_off = conversation.filter(|it| it.out_n > 0).map(|conversation| CutOff {
            incarnation: self.account.incarnation,
            session: self.account.session,
            n: conversation.out_n,
        });
        Ok(self
            .commit(row, view, vec![Change::Leave { cut_off }], false, now)?
            .into())
    }

    fn step_rekey(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        from: u64,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        let epoch = view.roster.epoch();
        // What was on its way when the own key was replaced is sealed to the former one.
        if epoch > from && !row.renew {
            let adopted = self.store.epoch(row.group_row, epoch)?;
            return Ok(match adopted.map(|epoch| epoch.state) {
                Some(EpochState::Adopted) => Reply::Epoch(epoch).into(),
                _ => Step::Wait,
            });
        }
        Ok(self.commit(row, view, Vec::new(), true, now)?.into())
    }

    /// A message to a group: like any goal, but whoever asked is answered by the outcome.
    pub(in crate::engine) fn want_sent(
        &mut self,
        group: &GroupId,
        request: RequestId,
        send: Box<SendRequest>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.want(group, request, Goal::Send(send), now)
    }
}

/// What a request to a group that has ended is told.
pub(super) fn gone(row: &GroupRow) -> Refusal {
    row.end_view()
        .map_or(Refusal::GroupNotFound, |end| Refusal::GroupDeleted(Box::new(end)))
}
