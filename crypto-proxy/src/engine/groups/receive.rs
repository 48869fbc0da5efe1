//! Messages of others in a group (flow 5, step 5; docs/protocol.md, 6.8).

use std::sync::Arc;

use waxwire_shared::{
    identity::IdentityKey,
    ids::{GroupId, Handle},
    message::{Body, UnverifiedMessage},
    wire::{
        Context, ControlBody, Core, Document as _, Envelope, GroupHeader, Kind, Member, MessageBytes, Resend,
        Role,
    },
};

use super::{
    Engine, GroupView,
    line::{self, Arrival},
};
use crate::{
    crypto::message::{self, OpenMessageError},
    engine::{
        Count,
        inbox::Arrived,
        receive::{Reject, is_well_formed},
    },
    group::{Chain, Walk, WalkError},
    model::{Severity, UnixMs},
    state::{EpochState, GroupRow, Lacking, PeerRow, Pin, Standing, StateError, Stop},
};

/// How long the relay may take to show a commit that a message cites.
pub(in crate::engine) const HEAD_WITHIN_MS: u64 = 60_000;

/// A group message that opened under its author's chain and whose signature and audience hold.
struct Opened {
    header: GroupHeader,
    signed: MessageBytes,
    body: Body,
    /// A head of the relay's log that the author had seen, unverified.
    log_head: Option<Vec<u8>>,
    chain_row: i64,
    epoch_row: i64,
    /// The chain after it; `None` for a key that had been stepped over.
    step: Option<Step>,
}

struct Step {
    chain: Chain,
    skipped: Vec<(u64, crate::crypto::secret::MessageKey)>,
}

/// What becomes of an envelope before it is opened.
enum Seen {
    Opened(Box<Opened>),
    Lacks(GroupHeader, Lacking),
    Refused(Reject),
    /// An own one, or one from before this agent could read.
    Ignored,
}

impl Engine {
    /// An envelope of a group's queue.
    pub(in crate::engine) fn pushed_group_envelope(
        &mut self,
        group: &GroupId,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        match self.store.group(group)? {
            Some(row) if row.standing == Standing::Member => self.group_envelope(&row, bytes, now),
            Some(_) => Ok(()),
            None => {
                let reason = "the relay delivers for a group that this agent has nothing to do with";
                self.alert("unexpected_group", Severity::Warning, None, reason, now)
            }
        }
    }

    /// Reads an envelope, or keeps it until it can be read.
    pub(super) fn read_in_group(
        &mut self,
        row: &GroupRow,
        bytes: &[u8],
        arrival: Arrival,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(());
        };
        match self.open_in_group(row, &view, bytes)? {
            Seen::Opened(opened) => match view.history.position_of(&opened.header.roster_head) {
                Some(position) => self.admit(row, &view, *opened, position, bytes, now),
                // Who is a member again at a later head seals under a later epoch.
                None if view.roster.member(opened.body.identity()).is_none() => {
                    self.refuse_in_group(row, Reject::NotMember, now)
                }
                None => self.hold(row, &opened.header, Lacking::Head, bytes, arrival, now),
            },
            Seen::Lacks(header, lacking) => self.hold(row, &header, lacking, bytes, arrival, now),
            Seen::Refused(reject) => self.refuse_in_group(row, reject, now),
            Seen::Ignored => Ok(()),
        }
    }

    pub(super) fn refuse_in_group(
        &mut self,
        row: &GroupRow,
        reject: Reject,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let (kind, reason) = reject.row();
        self.count(Count::Receive("refused"));
        self.count(Count::ReceiveRefused(kind));
        self.group_alert(row, kind, Severity::Warning, reason, now)
    }

    /// docs/protocol.md, 6.8, steps 2 to 5, on values only.
    fn open_in_group(&self, row: &GroupRow, view: &GroupView, bytes: &[u8]) -> Result<Seen, StateError> {
        let header = match self.header_in_group(row, bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Seen::Ignored),
            Err(reject) => return Ok(Seen::Refused(reject)),
        };
        let Ok(envelope) = Envelope::split(bytes) else {
            return Ok(Seen::Refused(Reject::Malformed));
        };
        let Some(epoch) = self.store.epoch(row.group_row, header.epoch)? else {
            let lacking = line::lacks(view, None, &header);
            return Ok(lacking.map_or(Seen::Ignored, |lacking| Seen::Lacks(header, lacking)));
        };
        match epoch.state {
            EpochState::Adopted => {}
            EpochState::Wanted | EpochState::Unusable => return Ok(Seen::Lacks(header, Lacking::Epoch)),
            EpochState::Erased => return Ok(Seen::Refused(Reject::EpochErased)),
        }
        let Some(sender) = self.store.chain(epoch.epoch_row, &header.sender)? else {
            return Ok(Seen::Refused(Reject::NotMember));
        };
        let (key, step) = match sender.chain.walk(header.i) {
            Ok(Walk {
                key, skipped, chain, ..
            }) => (key, Some(Step { chain, skipped })),
            Err(WalkError::Behind { .. }) => match self.store.skipped(sender.chain_row, header.i)? {
                Some(key) => (key, None),
                None => return Ok(Seen::Refused(Reject::Replayed)),
            },
            Err(WalkError::Beyond { .. }) => return Ok(Seen::Refused(Reject::Malformed)),
        };
        let opened = message::open_group(&key, envelope.header, envelope.ciphertext);
        Ok(match self.verify_in_group(opened, envelope.header) {
            Ok((signed, body, log_head)) => Seen::Opened(Box::new(Opened {
                header,
                signed,
                body,
                log_head,
                chain_row: sender.chain_row,
                epoch_row: epoch.epoch_row,
                step,
            })),
            Err(reject) => Seen::Refused(reject),
        })
    }

    fn verify_in_group(
        &self,
        opened: Result<(Kind, MessageBytes), OpenMessageError>,
        header: &[u8],
    ) -> Result<(MessageBytes, Body, Option<Vec<u8>>), Reject> {
        let (kind, signed) = opened?;
        let message = UnverifiedMessage::from_message(signed).map_err(|_| Reject::Body)?;
        let message = message.verify().map_err(|_| Reject::Signature)?;
        message.check_group(header, &self.account.relay)?;
        let (signed, context, body) = message.into_parts();
        let formed = match &body {
            Body::Content(core) => is_well_formed(core),
            Body::Control(_) => true,
        };
        if body.kind() == kind && formed {
            Ok((signed, body, context.log_head))
        } else {
            Err(Reject::Body)
        }
    }

    /// docs/protocol.md, 6.8, steps 6 to 8.
    fn admit(
        &mut self,
        row: &GroupRow,
        view: &Arc<GroupView>,
        opened: Opened,
        position: u64,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        let identity = opened.body.identity().clone();
        let Some(role) = view.history.role_at(&identity, position) else {
            return self.refuse_in_group(row, Reject::NotMember, now);
        };
        let handle = opened.body.handle().clone();
        let member = view.roster.member(&identity);
        if member.is_some_and(|member| member.handle != handle) {
            return self.refuse_in_group(row, Reject::Context, now);
        }
        let late = member.is_none();
        if late && !admitted_late(view, &opened.body) {
            return self.refuse_in_group(row, Reject::CutOff, now);
        }
        match self.store.peer(&handle)? {
            Some(peer) if peer.identity == identity => {
                self.store_opened(row, &identity, &opened, now)?;
                self.receive_in_group(row, peer, role, opened, late, now)
            }
            Some(peer) => self.hold_mismatch(&peer, bytes, now),
            None => self.hold_unknown(&handle, bytes, now),
        }
    }

    /// Chain, skipped keys, erasures and confirmation: in the transaction that stores the message.
    fn store_opened(
        &mut self,
        row: &GroupRow,
        identity: &IdentityKey,
        opened: &Opened,
        now: UnixMs,
    ) -> Result<(), StateError> {
        match &opened.step {
            Some(Step { chain, skipped }) => {
                self.store
                    .put_chain(&mut *self.rng, opened.chain_row, chain, now)?;
                self.store
                    .put_skipped(&mut *self.rng, opened.chain_row, skipped, now)?;
            }
            None => self.store.erase_skipped(opened.chain_row, opened.header.i)?,
        }
        self.store.count_ciphertext(opened.epoch_row, false)?;
        self.store
            .confirm_epoch(row.group_row, identity, opened.header.epoch)
    }

    fn receive_in_group(
        &mut self,
        row: &GroupRow,
        mut peer: PeerRow,
        role: Role,
        mut opened: Opened,
        late: bool,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.head_of_peer(opened.log_head.take(), now)?;
        // What a blocked peer says to a common group is part of the group's conversation.
        if peer.pin == Pin::New {
            peer.pin = Pin::Tofu;
            self.store.put_peer(&peer)?;
        }
        let missing = opened.step.as_ref().map_or(0, |step| step.skipped.len() as u64);
        match &opened.body {
            Body::Content(core) => {
                let Some(conversation) = self.store.conversation(&row.local())? else {
                    return Ok(());
                };
                let arrived = Arrived {
                    conversation,
                    core,
                    signed: &opened.signed,
                    epoch: Some(opened.header.epoch),
                    late,
                    before: self.not_owed(row, &peer, core, missing)?,
                };
                self.place(&peer, &arrived, false, now)
            }
            Body::Control(body) => self.group_control(row, role, body, &opened.signed, now),
        }
    }

    /// How many of an author's numbers are from before this agent could read, told by the first message
    /// of the author since it joined. Under its first epoch here the author's chain tells: what was
    /// stepped over in it is missing, everything earlier is nobody's loss. Who joined after this agent
    /// owes it everything.
    pub(in crate::engine) fn not_owed(
        &mut self,
        row: &GroupRow,
        peer: &PeerRow,
        core: &Core,
        missing: u64,
    ) -> Result<u64, StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(0);
        };
        let joined = |identity| view.roster.member(identity).map(|member| member.joined);
        let (own, author) = (joined(self.account.identity.public()), joined(&core.identity));
        let heard = self.store.heard_since(row, peer.peer_id, &core.session, own)?;
        if author > own || heard {
            return Ok(0);
        }
        Ok((core.n - 1).saturating_sub(missing))
    }

    /// Whether a departed member's message is one that its cut-off admits.
    pub(in crate::engine) fn is_before_cut_off(
        &mut self,
        row: &GroupRow,
        core: &Core,
    ) -> Result<bool, StateError> {
        let view = self.group_view(row)?;
        Ok(view.is_some_and(|view| admits_late(&view, core)))
    }

    /// Members now, with their handles.
    pub(in crate::engine) fn members_of(
        &mut self,
        row: &GroupRow,
    ) -> Result<Vec<(IdentityKey, Handle)>, StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(Vec::new());
        };
        let members = view.roster.members().iter();
        Ok(members
            .map(|member| (member.identity.clone(), member.handle.clone()))
            .collect())
    }

    /// Whether somebody was a member at the roster head that a header cites.
    pub(in crate::engine) fn stood_at(
        &mut self,
        row: &GroupRow,
        header: &GroupHeader,
        identity: &IdentityKey,
    ) -> Result<bool, StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(false);
        };
        let position = view.history.position_of(&header.roster_head);
        Ok(position.is_some_and(|position| view.history.role_at(identity, position).is_some()))
    }

    /// Whether somebody was meant to read an own message: a member when its epoch began, and now.
    pub(in crate::engine) fn was_reader(
        &mut self,
        row: &GroupRow,
        signed: &MessageBytes,
        identity: &IdentityKey,
    ) -> Result<bool, StateError> {
        let header = Context::decode(&signed.context)
            .ok()
            .and_then(|context| GroupHeader::decode(&context.header).ok());
        let (Some(header), Some(view)) = (header, self.group_view(row)?) else {
            return Ok(false);
        };
        let position = view.history.position_of_epoch(header.epoch);
        let then = position.is_some_and(|position| view.history.role_at(identity, position).is_some());
        Ok(then && view.roster.member(identity).is_some())
    }

    /// A control message to all members.
    fn group_control(
        &mut self,
        row: &GroupRow,
        role: Role,
        body: &ControlBody,
        signed: &MessageBytes,
        now: UnixMs,
    ) -> Result<(), StateError> {
        match body.kind {
            Kind::Profile if role == Role::Admin => self.take_profile(row, body, signed, now),
            Kind::Profile => self.refuse_in_group(row, Reject::NotAdmin, now),
            Kind::Resend => match Resend::decode(&body.body) {
                Ok(resend) => self.take_group_resend(row, &resend, now),
                Err(_) => self.refuse_in_group(row, Reject::Body, now),
            },
            // Typing and presence are worth nothing later.
            _ => Ok(()),
        }
    }

    /// The relay has not shown a commit that messages cite (docs/protocol.md, 6.9). One member may be lying; an
    /// admin or two members are believed, and nothing is sent for as long as they are.
    pub(super) fn check_unknown_heads(&mut self, now: UnixMs) -> Result<(), StateError> {
        while let Some((since, group_row)) = self.store.oldest_unknown_head()?
            && since + HEAD_WITHIN_MS <= now
        {
            let row = self.store.group_by_row(group_row)?;
            self.store.tell_unknown_heads(group_row, now - HEAD_WITHIN_MS)?;
            let citing = self.citing_unknown_heads(&row, true)?;
            let reason = if are_believed(&citing) {
                self.store.put_stop(group_row, Some(Stop::Withheld))?;
                let names: Vec<_> = citing.iter().map(|member| member.handle.as_str()).collect();
                format!(
                    "the relay does not show commits that {} cite; nothing is sent to the group meanwhile",
                    names.join(", ")
                )
            } else {
                "the relay does not show commits that messages of the group cite".to_owned()
            };
            self.group_alert(&row, "roster_withheld", Severity::Critical, &reason, now)?;
            self.ask_log(&row);
        }
        Ok(())
    }

    /// The log was read: the stop ends with what it rests on, the commits being shown or whoever cites them
    /// being believed no more.
    pub(super) fn lift_stop(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        if row.stop != Some(Stop::Withheld) || are_believed(&self.citing_unknown_heads(row, false)?) {
            return Ok(());
        }
        self.store.put_stop(row.group_row, None)?;
        let reason = "nobody who is believed cites commits that the relay does not show any more; messages are \
                      sent to the group again";
        self.group_alert(row, "group_resumed", Severity::Info, reason, now)
    }

    /// Members now whose messages cite unknown commits, as far as these open: all, or as many as are believed.
    /// If `told`, only messages count that the agent was told of.
    fn citing_unknown_heads(&mut self, row: &GroupRow, told: bool) -> Result<Vec<Member>, StateError> {
        let mut citing: Vec<Member> = Vec::new();
        let Some(view) = self.group_view(row)? else {
            return Ok(citing);
        };
        for envelope in self.store.citing_unknown_heads(row.group_row, told)? {
            let Seen::Opened(opened) = self.open_in_group(row, &view, &envelope)? else {
                continue;
            };
            if let Some(member) = view.roster.member(opened.body.identity())
                && !citing.iter().any(|known| known.identity == member.identity)
            {
                citing.push(member.clone());
                if are_believed(&citing) {
                    break;
                }
            }
        }
        Ok(citing)
    }
}

/// Whether the word of these members stops a group.
fn are_believed(citing: &[Member]) -> bool {
    citing.len() >= 2 || citing.iter().any(|member| member.role == Role::Admin)
}

/// docs/protocol.md, 6.8, step 7: what the departed said before their cut-off.
fn admitted_late(view: &GroupView, body: &Body) -> bool {
    matches!(body, Body::Content(core) if admits_late(view, core))
}

fn admits_late(view: &GroupView, core: &Core) -> bool {
    let departure = view.roster.departure(&core.identity);
    let cut_off = departure.and_then(|departure| departure.cut_off.as_ref());
    cut_off.is_some_and(|cut_off| cut_off.admits(core.incarnation, &core.session, core.n))
}
