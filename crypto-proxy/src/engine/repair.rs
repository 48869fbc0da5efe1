//! Repair (docs/protocol.md, 9): what did not arrive or does not open is asked for; what others miss of
//! this agent's own is sent again, to the identity that it was meant for and nobody else.

use std::collections::HashMap;

use waxwire_shared::{
    hash::sha256,
    ids::{AgentId, ConversationId, Handle},
    message::{Body, UnverifiedMessage},
    wire::{
        ControlBody, DirectHeader, Document, Envelope, GroupHeader, Header, Kind, Lane, MessageBytes, Resend,
        ResendRequest, Unreadable,
    },
};

use super::{
    Effect, Engine, InboxMode, RelayCall, inbox::Arrived, receive::is_well_formed, send::CONTROL_DEADLINE_MS,
};
use crate::{
    model::{Severity, UnixMs},
    state::{GroupRow, OwnEnvelope, PeerRow, Standing, StateError, to_ranges},
};

/// Peers that are told of one envelope that does not open: it does not say whose it is.
const CORRESPONDENTS: usize = 32;
/// Reports of envelopes that do not open in one minute: whoever invents envelopes gets no more.
const REPORTS: u32 = 16;
/// Answers to one peer in one minute.
const ANSWERS: u32 = 64;
const MINUTE_MS: u64 = 60_000;
/// How long own messages are sent again, in milliseconds.
const RESEND_FOR_MS: u64 = 30 * 24 * 3_600 * 1_000;
/// How often one message is sealed to another key.
const ATTEMPTS: u32 = 8;
/// Most bytes of signed messages in one answer, unless a single one is longer.
const PART: usize = 40 * 1024;
/// Ranges in one request.
const RANGES: usize = 64;
/// Milliseconds until missing numbers are asked for again, by how often they were.
const ASK_AGAIN_MS: [u64; 4] = [30_000, 600_000, 3_600_000, 24 * 3_600_000];

/// How much was repaired in the current minute.
#[derive(Debug, Default)]
struct Budget {
    since: UnixMs,
    reports: u32,
    answers: HashMap<i64, u32>,
}

/// What is being repaired; may be lost, for whoever misses something asks again.
#[derive(Debug, Default)]
pub(super) struct Repair {
    budget: Budget,
    /// Own messages to be sealed again once their recipient's bundle was looked up.
    waiting: HashMap<Handle, Vec<i64>>,
}

impl Budget {
    fn at(&mut self, now: UnixMs) -> &mut Self {
        if now.saturating_sub(self.since) >= MINUTE_MS || now < self.since {
            *self = Self {
                since: now,
                ..Self::default()
            };
        }
        self
    }

    fn report(&mut self, now: UnixMs) -> bool {
        let budget = self.at(now);
        budget.reports += 1;
        budget.reports <= REPORTS
    }

    fn answer(&mut self, peer_id: i64, now: UnixMs) -> bool {
        let count = self.at(now).answers.entry(peer_id).or_default();
        *count += 1;
        *count <= ANSWERS
    }
}

impl Engine {
    /// A direct envelope does not open: every correspondent is asked whether it is theirs.
    pub(super) fn report_unreadable(&mut self, bytes: &[u8], now: UnixMs) -> Result<(), StateError> {
        let Some(header) = direct_header(bytes) else {
            return Ok(());
        };
        if header.lane != Lane::Mail || !self.volatile.repair.budget.report(now) {
            return Ok(());
        }
        let report = Unreadable {
            envelope_hash: sha256(bytes),
            mid: header.mid,
        };
        let strangers = self.settings.inbox_mode == InboxMode::Open;
        for peer_id in self.store.correspondents(strangers, CORRESPONDENTS)? {
            let peer = self.store.peer_by_id(peer_id)?;
            self.queue_control(&peer, Kind::Unreadable, report.encode(), now)?;
        }
        Ok(())
    }

    /// Epochs have no key for this agent: the authors of what waits for them are asked for it, each
    /// envelope once, as soon as the author is known.
    pub(super) fn report_without_epoch(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        for held in self.store.unreported(row.group_row, REPORTS)? {
            let header = Envelope::split(&held.envelope).map(|envelope| GroupHeader::decode(envelope.header));
            let Ok(Ok(header)) = header else {
                continue;
            };
            let Some(author) = self.author_of(row, &header)? else {
                continue;
            };
            if !self.volatile.repair.budget.report(now) {
                return Ok(());
            }
            let report = Unreadable {
                envelope_hash: sha256(&held.envelope),
                mid: header.mid,
            };
            self.queue_control(&author, Kind::Unreadable, report.encode(), now)?;
            self.store.reported(held.held_id)?;
        }
        Ok(())
    }

    /// Whoever a group header names as its sender, if they are a member and known here.
    fn author_of(&mut self, row: &GroupRow, header: &GroupHeader) -> Result<Option<PeerRow>, StateError> {
        let relay = self.account.relay;
        let members = self.members_of(row)?;
        let author = members
            .into_iter()
            .find(|(identity, _)| AgentId::of(&relay, identity) == header.sender);
        let Some((identity, handle)) = author else {
            return Ok(None);
        };
        let peer = self.store.peer(&handle)?;
        Ok(peer.filter(|peer| peer.identity == identity))
    }

    /// Asks for numbers that did not come.
    pub(super) fn ask_missing(&mut self, now: UnixMs) -> Result<(), StateError> {
        while let Some(due) = self.store.due_missing(now)? {
            let wait = ASK_AGAIN_MS[(due.tries as usize).min(ASK_AGAIN_MS.len() - 1)];
            self.store.asked_missing(due.session_row, now, now + wait)?;
            let session = self.store.session_by_row(due.session_row)?;
            let peer = self.store.peer_by_id(session.peer_id)?;
            // Strangers are told nothing.
            if !self.may_be_told(&peer, session.conversation_id)? {
                self.store.drop_missing(due.session_row)?;
                continue;
            }
            let conversation = self
                .store
                .conversation_by_id(session.conversation_id)?
                .protocol_id;
            let request = ResendRequest {
                conversation,
                session: session.session,
                ranges: to_ranges(&due.numbers, RANGES),
            };
            self.queue_control(&peer, Kind::ResendRequest, request.encode(), now)?;
        }
        Ok(())
    }

    fn may_be_told(&self, peer: &PeerRow, conversation_id: i64) -> Result<bool, StateError> {
        let open = peer.accepted || self.settings.inbox_mode == InboxMode::Open;
        Ok(open || self.store.group_of(conversation_id)?.is_some())
    }

    /// A peer could not open something.
    pub(super) fn take_unreadable(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(report) = Unreadable::decode(&body.body) else {
            return self.malformed_repair(peer, now);
        };
        // Others are asked, too: what is not this agent's own is none of its business.
        let Some(own) = self.store.own_by_mid(&report.mid)? else {
            return Ok(());
        };
        let message = self.store.message_by_row(own.message_row)?;
        let current = own.hash == report.envelope_hash && !own.arrived && is_recent(own.created_at, now);
        if !current || !self.volatile.repair.budget.answer(peer.peer_id, now) {
            return Ok(());
        }
        if message.peer_id == Some(peer.peer_id) {
            let waiting = self.volatile.repair.waiting.entry(peer.handle.clone());
            waiting.or_default().push(own.message_row);
            let call = RelayCall::Bundle(peer.handle.clone());
            self.effects.push(Effect::Call(call));
            return Ok(());
        }
        match self.store.group_of(message.conversation_id)? {
            Some(row) => self.resend_in_group(&row, peer, &[own.message_row], now),
            None => Ok(()),
        }
    }

    /// A peer's bundle is fresh: what it could not open is sealed to what it says.
    pub(super) fn repair_with_bundle(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        let waiting = self.volatile.repair.waiting.remove(handle).unwrap_or_default();
        if waiting.is_empty() {
            return Ok(());
        }
        let Some(peer) = self.store.peer(handle)? else {
            return Ok(());
        };
        for message_row in waiting {
            if let Some(own) = self.store.own_envelope(message_row)? {
                self.repair_own(&peer, &own, now)?;
            }
        }
        Ok(())
    }

    /// The same core to the peer's current key: `attempt` grows, and with it the `mid` is another.
    fn repair_own(&mut self, peer: &PeerRow, own: &OwnEnvelope, now: UnixMs) -> Result<(), StateError> {
        if own.attempt >= ATTEMPTS || self.store.outbox_of(own.message_row)?.is_some() {
            return Ok(());
        }
        let deadline = now + CONTROL_DEADLINE_MS;
        // Whoever cannot be sealed to now reports the same envelope again.
        self.seal_again(peer, own.message_row, own.attempt + 1, deadline, now)
            .map(drop)
    }

    /// A peer misses numbers of this agent's.
    pub(super) fn take_resend_request(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(request) = ResendRequest::decode(&body.body) else {
            return self.malformed_repair(peer, now);
        };
        let Some(conversation) = self.store.conversation_by_protocol(&request.conversation)? else {
            return Ok(());
        };
        if !self.volatile.repair.budget.answer(peer.peer_id, now) {
            return Ok(());
        }
        let numbers = request.ranges.iter().flat_map(|range| range.first..=range.last);
        let mut rows = Vec::new();
        for n in numbers.take(1_000) {
            let found =
                self.store
                    .own_by_number(conversation.conversation_id, request.session.as_bytes(), n)?;
            rows.extend(
                found
                    .filter(|(_, sent)| is_recent(*sent, now))
                    .map(|(row, _)| row),
            );
        }
        match self.store.group_of(conversation.conversation_id)? {
            Some(row) => self.resend_in_group(&row, peer, &rows, now),
            None if conversation.peer_id == Some(peer.peer_id) => {
                let items = rows
                    .iter()
                    .map(|row| Ok(self.store.signed(*row)?.encode()))
                    .collect::<Result<_, StateError>>()?;
                self.queue_resend(peer, conversation.protocol_id, items, now)
            }
            None => Ok(()),
        }
    }

    /// Own messages to a group, again and verbatim, to a member who was one when they were sealed.
    fn resend_in_group(
        &mut self,
        row: &GroupRow,
        peer: &PeerRow,
        rows: &[i64],
        now: UnixMs,
    ) -> Result<(), StateError> {
        let mut items = Vec::new();
        for message_row in rows {
            let signed = self.store.signed(*message_row)?;
            if self.was_reader(row, &signed, &peer.identity)? {
                items.push(signed.encode());
            }
        }
        self.queue_resend(peer, ConversationId::group(&row.group_id), items, now)
    }

    fn queue_resend(
        &mut self,
        peer: &PeerRow,
        conversation: ConversationId,
        items: Vec<Vec<u8>>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        for items in in_parts(items, PART) {
            let resend = Resend { conversation, items };
            self.queue_control(peer, Kind::Resend, resend.encode(), now)?;
        }
        Ok(())
    }

    /// What this agent asked for: each item is judged as if it had come in an envelope of its own.
    pub(super) fn take_resend(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(resend) = Resend::decode(&body.body) else {
            return self.malformed_repair(peer, now);
        };
        let group = match self.store.conversation_by_protocol(&resend.conversation)? {
            Some(conversation) => self.store.group_of(conversation.conversation_id)?,
            None => None,
        };
        for item in &resend.items {
            let taken = match &group {
                Some(row) => self.take_group_item(row, peer, item, now)?,
                None => self.take_direct_item(peer, item, now)?,
            };
            if !taken {
                let reason = "a peer sends again what it cannot have sent";
                self.alert(
                    "resend_refused",
                    Severity::Warning,
                    Some(&peer.handle),
                    reason,
                    now,
                )?;
            }
        }
        Ok(())
    }

    fn take_direct_item(&mut self, peer: &PeerRow, item: &[u8], now: UnixMs) -> Result<bool, StateError> {
        let Some(message) = verified(item) else {
            return Ok(false);
        };
        let account = &self.account;
        let me = account.identity.public();
        let meant = message.check_recipient(&account.relay, me, &account.handle);
        if meant.is_err() || *message.signer() != peer.identity {
            return Ok(false);
        }
        let (signed, _, body) = message.into_parts();
        match body {
            Body::Content(core) if is_well_formed(&core) => {
                self.content(peer.clone(), &core, &signed, now)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn take_group_item(
        &mut self,
        row: &GroupRow,
        peer: &PeerRow,
        item: &[u8],
        now: UnixMs,
    ) -> Result<bool, StateError> {
        if row.standing != Standing::Member {
            return Ok(true);
        }
        let Some(message) = verified(item) else {
            return Ok(false);
        };
        let Ok(header) = message.check_member(&self.account.relay) else {
            return Ok(false);
        };
        let (header, mine) = (header.clone(), header.group == row.group_id);
        if !mine || *message.signer() != peer.identity || !self.stood_at(row, &header, &peer.identity)? {
            return Ok(false);
        }
        let (signed, _, body) = message.into_parts();
        let Body::Content(core) = body else {
            return Ok(false);
        };
        let Some(conversation) = self.store.conversation(&row.local())? else {
            return Ok(false);
        };
        if !is_well_formed(&core) {
            return Ok(false);
        }
        // docs/protocol.md, 6.8, step 7, holds for what is sent again, too.
        let departed = !self
            .members_of(row)?
            .iter()
            .any(|(identity, _)| *identity == core.identity);
        if departed && !self.is_before_cut_off(row, &core)? {
            return Ok(false);
        }
        self.store.drop_group_held(row.group_row, &header.mid)?;
        let before = self.not_owed(row, peer, &core, 0)?;
        let arrived = Arrived {
            conversation,
            core: &core,
            signed: &signed,
            epoch: Some(header.epoch),
            late: departed,
            before,
        };
        self.place(peer, &arrived, false, now)?;
        Ok(true)
    }

    fn malformed_repair(&mut self, peer: &PeerRow, now: UnixMs) -> Result<(), StateError> {
        let reason = "a message about repair breaks a rule of its format";
        self.alert(
            "repair_malformed",
            Severity::Warning,
            Some(&peer.handle),
            reason,
            now,
        )
    }
}

fn is_recent(sent: UnixMs, now: UnixMs) -> bool {
    now.saturating_sub(sent) <= RESEND_FOR_MS
}

fn direct_header(bytes: &[u8]) -> Option<DirectHeader> {
    let envelope = Envelope::split(bytes).ok()?;
    match Header::decode(envelope.header).ok()? {
        Header::Direct(header) => Some(header),
        Header::Group(_) => None,
    }
}

fn verified(item: &[u8]) -> Option<waxwire_shared::message::VerifiedMessage> {
    let message = UnverifiedMessage::from_message(MessageBytes::decode(item).ok()?).ok()?;
    message.verify().ok()
}

/// Signed messages in parts of at most `room` bytes, a longer one alone: each fits into one message.
pub(super) fn in_parts(items: Vec<Vec<u8>>, room: usize) -> Vec<Vec<Vec<u8>>> {
    let mut parts: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut left = 0;
    for item in items {
        match parts.last_mut() {
            Some(part) if item.len() <= left => {
                left -= item.len();
                part.push(item);
            }
            _ => {
                left = room.saturating_sub(item.len());
                parts.push(vec![item]);
            }
        }
    }
    parts
}
