//! Repair (docs/protocol.md, 9): what did not arrive or does not open is asked for, and what authors send
//! again is judged as if it had come in an envelope. What this agent answers is in `answers`.

use std::collections::HashMap;

use waxwire_shared::{
    hash::sha256,
    ids::AgentId,
    message::{Body, UnverifiedMessage},
    wire::{
        ControlBody, DirectHeader, Document, Envelope, GroupHeader, Header, Kind, Lane, MessageBytes, Resend,
        ResendRequest, Unreadable,
    },
};

use super::{Engine, InboxMode, inbox::Arrived, receive::is_well_formed};
use crate::{
    model::{Severity, UnixMs},
    state::{GroupRow, PeerRow, Standing, StateError, to_ranges},
};

/// Peers that are told of one envelope that does not open: it does not say whose it is.
const CORRESPONDENTS: usize = 32;
/// Reports of envelopes that do not open in one minute: whoever invents envelopes gets no more.
const REPORTS: u32 = 16;
/// Answers to one peer in one minute.
const ANSWERS: u32 = 64;
const MINUTE_MS: u64 = 60_000;
/// Ranges in one request.
const RANGES: usize = 64;
/// Milliseconds until missing numbers are asked for again, by how often they were.
const ASK_AGAIN_MS: [u64; 4] = [30_000, 600_000, 3_600_000, 24 * 3_600_000];

/// How much was repaired in the current minute.
#[derive(Debug, Default)]
pub(super) struct Budget {
    since: UnixMs,
    reports: u32,
    answers: HashMap<i64, u32>,
}

/// What is being repaired; may be lost, for whoever misses something asks again.
#[derive(Debug, Default)]
pub(super) struct Repair {
    pub(super) budget: Budget,
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

    pub(super) fn answer(&mut self, peer_id: i64, now: UnixMs) -> bool {
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
        let strangers = self.inbox_mode()? == InboxMode::Open;
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
            // An author who is heard in groups alone may have erased the key that is known of it: the next
            // request goes to its newest.
            if !self.is_fresh(&peer, now) {
                self.ask_for_sender(&peer.handle);
            }
        }
        Ok(())
    }

    fn may_be_told(&self, peer: &PeerRow, conversation_id: i64) -> Result<bool, StateError> {
        let open = peer.accepted || self.inbox_mode()? == InboxMode::Open;
        Ok(open || self.store.group_of(conversation_id)?.is_some())
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
        let (signed, context, body) = message.into_parts();
        match body {
            Body::Content(core) if is_well_formed(&core) => {
                self.head_of_peer(context.log_head, now)?;
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
        let (signed, context, body) = message.into_parts();
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
        self.head_of_peer(context.log_head, now)?;
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

    pub(super) fn malformed_repair(&mut self, peer: &PeerRow, now: UnixMs) -> Result<(), StateError> {
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
