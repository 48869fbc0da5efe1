//! How this agent comes into a group: it founds one (flow 3) or accepts an invite (flow 4).

use std::collections::HashMap;

use waxwire_shared::{
    fingerprint::Address,
    ids::{Handle, Nonce32},
    limits,
    roster::OpenInvite,
    wire::{
        Change, ControlBody, Document as _, InviteNotice, InviteRef, JoinPolicy, Kind, Policy, Profile, Role,
    },
};

use super::{Engine, Founding, Goal, GroupView, Lookup, Wanted, goals::Step};
use crate::{
    engine::{Count, Effect, Notice, RelayCall, Reply, RequestId},
    model::{
        AddOutcome, Added, Invitation, InviteId, InvitePolicy, LocalConversation, NewChannel, NewGroup,
        Refusal, Severity, UnixMs,
    },
    state::{
        EpochState, GroupRow, InvitationRow, PeerRow, Pin, ProfileDue, Standing, StateError, StoredProfile,
    },
};

/// Most invites in the first commit, beside the change that founds the group.
const FIRST_INVITES: usize = limits::COMMIT_CHANGES - 1;

/// Whoever shall be in a new group is looked up unless that was done just now: an invite of somebody who
/// has blocked this agent since would keep the group from being founded.
const FOUNDING_LOOKUP_MS: u64 = 60_000;

/// Where one of the members of a new group stands.
enum Invitee {
    Found(Box<PeerRow>),
    LookedUp,
    /// There is no such agent, or none that is trusted: left out.
    Out,
    /// The relay did not answer: nobody is left out for that.
    Unreached(Refusal),
}

impl Engine {
    /// Flow 3: the members are looked up first.
    pub(super) fn found(
        &mut self,
        request: RequestId,
        new: Box<NewGroup>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if let Some(channel) = &new.channel
            && let Some(known) = self.store.channel_group(&channel.slug)?
            && known.standing == Standing::Member
        {
            return self.refuse(request, Refusal::SlugTaken);
        }
        self.volatile.founding.push(Founding {
            request,
            new,
            until: now + self.settings.answer_within,
            lookups: HashMap::new(),
        });
        self.drive_founding(now)
    }

    pub(super) fn drive_founding(&mut self, now: UnixMs) -> Result<(), StateError> {
        for mut founding in std::mem::take(&mut self.volatile.founding) {
            let mut invitees = Vec::new();
            let mut complete = true;
            let mut unreached = None;
            for address in &founding.new.members {
                match self.invitee(address, &mut founding.lookups, now)? {
                    Invitee::Found(peer) => invitees.push(peer),
                    Invitee::LookedUp => complete = false,
                    Invitee::Out => {}
                    Invitee::Unreached(refusal) => unreached = Some(refusal),
                }
            }
            if let Some(refusal) = unreached {
                self.reply(founding.request, Err(refusal));
            } else if complete && self.volatile.link_up {
                self.make_group(&founding, &invitees, now)?;
            } else {
                self.volatile.founding.push(founding);
            }
        }
        Ok(())
    }

    fn invitee(
        &mut self,
        address: &Address,
        lookups: &mut HashMap<Handle, Lookup>,
        now: UnixMs,
    ) -> Result<Invitee, StateError> {
        if address.handle == self.account.handle {
            return Ok(Invitee::Out);
        }
        let peer = self.store.peer(&address.handle)?;
        if peer
            .as_ref()
            .is_some_and(|peer| self.check_trust(peer, address).is_err())
        {
            return Ok(Invitee::Out);
        }
        let fresh = peer.as_ref().is_some_and(|peer| {
            self.is_fresh(peer, now) && now.saturating_sub(peer.fetched_at) <= FOUNDING_LOOKUP_MS
        });
        match (peer, lookups.get(&address.handle)) {
            (_, Some(Lookup::Failed(Refusal::Blocked | Refusal::AgentNotFound))) => Ok(Invitee::Out),
            (Some(mut peer), looked_up) if fresh || matches!(looked_up, Some(Lookup::Failed(_))) => {
                self.pin_invitee(&mut peer, address)?;
                Ok(Invitee::Found(Box::new(peer)))
            }
            (None, Some(Lookup::Failed(refusal @ Refusal::RelayUnreachable { .. }))) => {
                Ok(Invitee::Unreached(refusal.clone()))
            }
            (None, Some(Lookup::Failed(_))) => Ok(Invitee::Out),
            (_, Some(_)) => Ok(Invitee::LookedUp),
            (_, None) => {
                lookups.insert(address.handle.clone(), Lookup::Asked);
                let call = RelayCall::Bundle(address.handle.clone());
                self.effects.push(Effect::Call(call));
                Ok(Invitee::LookedUp)
            }
        }
    }

    /// Inviting somebody pins what was only looked up, and lets them in.
    pub(super) fn pin_invitee(&mut self, peer: &mut PeerRow, address: &Address) -> Result<(), StateError> {
        let pin = match (peer.pin, address.fingerprint.is_some()) {
            (Pin::New | Pin::Tofu, true) => Pin::Fingerprint,
            (Pin::New, false) => Pin::Tofu,
            (pin, _) => pin,
        };
        if pin != peer.pin || !peer.accepted {
            (peer.pin, peer.accepted) = (pin, true);
            self.store.put_peer(peer)?;
        }
        Ok(())
    }

    /// Flow 3, step 1: the first commit, with as many invites as fit.
    fn make_group(
        &mut self,
        founding: &Founding,
        invitees: &[Box<PeerRow>],
        now: UnixMs,
    ) -> Result<(), StateError> {
        let mut nonce = [0; Nonce32::LENGTH];
        self.rng.fill_bytes(&mut nonce);
        let mut changes = vec![Change::Create {
            nonce: Nonce32::from_bytes(nonce),
            handle: self.account.handle.clone(),
            policy: policy(founding.new.channel.as_ref()),
        }];
        changes.extend(invitees.iter().take(FIRST_INVITES).map(|peer| invite(peer)));
        let (group, signed, leaves) = match self.sign_create(changes, now) {
            Ok(made) => made,
            Err(refusal) => return self.refuse(founding.request, refusal),
        };
        let asked = &founding.new.profile;
        let profile = Profile {
            group,
            revision: 0,
            name: asked.name.clone(),
            topic: asked.description.clone(),
            avatar: asked.avatar.clone(),
        };
        let row = self
            .store
            .enter_group(&mut *self.rng, &group, &StoredProfile::Asked(profile), now)?;
        self.store.put_profile_due(row.group_row, ProfileDue::Own)?;
        self.task(&group).goals.push(Wanted {
            request: founding.request,
            goal: Goal::Founded(invitees.iter().map(|peer| peer.handle.clone()).collect()),
            until: founding.until,
        });
        self.put_on_its_way(&row, 0, signed, leaves, now)
    }

    /// The group stands once its first epoch is adopted and everybody is invited.
    pub(super) fn step_founded(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        invited: &[Handle],
        now: UnixMs,
    ) -> Result<Step, StateError> {
        let epoch = self.store.epoch(row.group_row, view.roster.epoch())?;
        if epoch.is_none_or(|epoch| epoch.state != EpochState::Adopted) {
            return Ok(Step::Wait);
        }
        let mut added = Vec::new();
        let mut missing = Vec::new();
        for handle in invited {
            let outcome = if view
                .roster
                .members()
                .iter()
                .any(|member| member.handle == *handle)
            {
                Some(AddOutcome::AlreadyMember)
            } else {
                let mut invites = view.roster.invites();
                let open = invites.find(|invite| invite.handle == *handle);
                open.map(|invite| AddOutcome::Invited(InviteId::of(&invite.reference, &invite.inviter)))
            };
            match outcome {
                Some(outcome) => added.push(Added {
                    handle: handle.clone(),
                    outcome,
                }),
                None => missing.extend(self.store.peer(handle)?),
            }
        }
        if !missing.is_empty() {
            let changes = missing.iter().take(limits::COMMIT_CHANGES).map(invite);
            return Ok(self.commit(row, view, changes.collect(), false, now)?.into());
        }
        Ok(match self.store.group_view(&row.local())? {
            Some(group) => Reply::GroupCreated(Box::new(group), added).into(),
            None => Refusal::GroupNotFound.into(),
        })
    }

    /// Members were not looked up in time: the request is refused.
    pub(super) fn expire_founding(&mut self, now: UnixMs) {
        let (over, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.volatile.founding)
            .into_iter()
            .partition(|founding| founding.until <= now);
        self.volatile.founding = waiting;
        for founding in over {
            self.reply(founding.request, Err(Refusal::RelayUnreachable { queued: false }));
        }
    }

    /// Flow 4, step 2: whoever was invited is told, in a direct message.
    pub(super) fn tell_invitee(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        invite: &OpenInvite,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(peer) = self.store.peer(&invite.handle)? else {
            return Ok(());
        };
        let notice = InviteNotice {
            group: row.group_id,
            invite: invite.reference.clone(),
            roster_head: view.roster.head(),
            position: view.roster.position(),
            name: self.profile_of(row)?.name,
        };
        self.queue_control(&peer, Kind::Invite, notice.encode(), now)
            .map(drop)
    }

    /// Whoever is invited already and asked for again is told again: it may have declined.
    pub(super) fn tell_again(
        &mut self,
        local: &LocalConversation,
        handle: &Handle,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(row) = self.group_by_local(local)? else {
            return Ok(());
        };
        let view = self
            .group_view(&row)?
            .filter(|_| row.standing == Standing::Member);
        let me = self.account.identity.public();
        let open = view.as_ref().and_then(|view| {
            let mut invites = view.roster.invites();
            invites.find(|invite| invite.handle == *handle && invite.inviter == *me)
        });
        match (&view, open) {
            (Some(view), Some(invite)) => self.tell_invitee(&row, view, invite, now),
            _ => Ok(()),
        }
    }

    /// An invite came.
    pub(in crate::engine) fn invited(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(notice) = InviteNotice::decode(&body.body) else {
            let reason = "an invite breaks a rule of its format";
            return self.alert(
                "invite_malformed",
                Severity::Warning,
                Some(&peer.handle),
                reason,
                now,
            );
        };
        let strict = self.store.own_profile()?.invite_policy == InvitePolicy::ContactsOnly;
        if strict && !self.store.is_contact(peer.peer_id)? {
            self.count(Count::Receive("invite_refused"));
            return Ok(());
        }
        let known = self.store.group(&notice.group)?;
        if known.is_some_and(|row| row.standing == Standing::Member) {
            return Ok(());
        }
        let new = InvitationRow {
            id: InviteId::of(&notice.invite, &peer.identity),
            group: notice.group,
            invite: notice.invite,
            roster_head: notice.roster_head,
            peer_id: peer.peer_id,
            received_at: now,
            name: notice.name,
        };
        if self.store.put_invitation(&mut *self.rng, &new, notice.position)? {
            let invitation = Invitation {
                id: new.id,
                group: LocalConversation::group(&new.group),
                group_id: new.group,
                name: new.name,
                inviter: peer.handle.clone(),
                received_at: now,
            };
            self.effects
                .push(Effect::Notify(Notice::Invited(Box::new(invitation))));
        }
        Ok(())
    }

    /// Flow 4, steps 3 and 4: the agent accepts; the log is read from its beginning.
    pub(super) fn accept(&mut self, request: RequestId, id: InviteId, now: UnixMs) -> Result<(), StateError> {
        let Some(invitation) = self.store.invitation(&id)? else {
            return self.refuse(request, Refusal::InviteNotFound);
        };
        // The answer to the first time was lost.
        if let Some(row) = self.store.group(&invitation.group)?
            && row.standing == Standing::Member
        {
            return self.want(&row.group_id, request, Goal::Accept(id), now);
        }
        let profile = Profile {
            group: invitation.group,
            revision: 0,
            name: invitation.name.clone(),
            topic: None,
            avatar: None,
        };
        let row = self.store.enter_group(
            &mut *self.rng,
            &invitation.group,
            &StoredProfile::Asked(profile),
            now,
        )?;
        if row.standing == Standing::Entering {
            let task = self.task(&row.group_id);
            (task.log_read, task.log_asked) = (false, false);
            self.ask_log(&row);
        }
        self.want(&row.group_id, request, Goal::Accept(id), now)
    }

    /// Flow 4, steps 4 and 5.
    pub(super) fn step_accept(
        &mut self,
        row: &GroupRow,
        id: &InviteId,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        let Some(invitation) = self.store.invitation(id)? else {
            return Ok(Refusal::InviteNotFound.into());
        };
        if !self.task(&row.group_id).log_read {
            self.ask_log(row);
            return Ok(Step::Wait);
        }
        let Some(view) = self.group_view(row)? else {
            return self.dead_invite(row, id);
        };
        let inviter = self.store.peer_by_id(invitation.peer_id)?;
        let named = |invite: &OpenInvite| invite.reference == invitation.invite;
        if view
            .roster
            .invites()
            .any(|invite| named(invite) && invite.inviter != inviter.identity)
        {
            let reason = "somebody else than the inviter told of an invite";
            self.alert(
                "invite_forged",
                Severity::Warning,
                Some(&inviter.handle),
                reason,
                now,
            )?;
            return self.dead_invite(row, id);
        }
        if view.history.position_of(&invitation.roster_head).is_none() {
            let reason = "the relay withholds commits that an inviter has named";
            self.group_alert(row, "roster_withheld", Severity::Critical, reason, now)?;
            let handle = inviter.handle;
            return Ok(Refusal::RelayLied { handle }.into());
        }
        let me = self.account.identity.public();
        let mine = |invite: &OpenInvite| named(invite) && invite.identity == *me;
        if !view.roster.invites().any(mine) {
            return self.dead_invite(row, id);
        }
        let change = accept_change(invitation.invite);
        let rekey = view.roster.members().len() < limits::ACCEPT_REKEY_MEMBERS;
        Ok(self.commit(row, &view, vec![change], rekey, now)?.into())
    }

    fn dead_invite(&self, row: &GroupRow, id: &InviteId) -> Result<Step, StateError> {
        self.store.drop_invitation(id)?;
        self.store.put_standing(row.group_row, Standing::Left)?;
        Ok(Refusal::InviteNotFound.into())
    }

    /// The agent declines. The inviter is not told: the invite stays open until it dies.
    pub(super) fn reject(&mut self, request: RequestId, id: &InviteId) -> Result<(), StateError> {
        self.store.drop_invitation(id)?;
        self.reply(request, Ok(Reply::Done));
        Ok(())
    }
}

fn policy(channel: Option<&NewChannel>) -> Policy {
    Policy {
        join: if channel.is_some_and(|channel| channel.open) {
            JoinPolicy::Open
        } else {
            JoinPolicy::Invite
        },
        invite_role: Role::Admin,
        slug: channel.map(|channel| channel.slug.clone()),
    }
}

fn invite(peer: &PeerRow) -> Change {
    Change::Invite {
        identity: peer.identity.clone(),
        handle: peer.handle.clone(),
        role: Role::Member,
    }
}

const fn accept_change(invite: InviteRef) -> Change {
    Change::Accept { invite }
}
