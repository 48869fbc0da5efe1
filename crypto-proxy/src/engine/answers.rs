//! Answers of this agent to those who miss something of its own (docs/protocol.md, 9): sent again to the
//! identity that it was meant for and nobody else, after a random delay.
//!
//! What is owed is in the state, so that neither delay nor restart loses it, and the same message is owed
//! to a peer once, however often it is asked for meanwhile.

use std::collections::BTreeMap;

use waxwire_shared::{
    ids::{ConversationId, Handle},
    wire::{ControlBody, Core, Document, Kind, Resend, ResendRequest, Unreadable},
};

use super::{Effect, Engine, RelayCall, send::CONTROL_DEADLINE_MS};
use crate::{
    model::UnixMs,
    state::{GroupRow, Owed, OwnEnvelope, PeerRow, Pin, StateError},
};

/// How long own messages are sent again, in milliseconds.
pub(super) const RESEND_FOR_MS: u64 = 30 * 24 * 3_600 * 1_000;
/// How often one message is sealed to another key.
const ATTEMPTS: u32 = 8;
/// Most bytes of signed messages in one answer, unless a single one is longer.
const PART: usize = 40 * 1024;
/// Most numbers of one request that count.
const NUMBERS: usize = 1_000;
/// Milliseconds until a bundle that did not come is asked for again.
const BUNDLE_AGAIN_MS: u64 = 600_000;

impl Engine {
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
        let current = own.hash == report.envelope_hash && !own.arrived && is_recent(own.created_at, now);
        if !current || !self.volatile.repair.budget.answer(peer.peer_id, now) {
            return Ok(());
        }
        self.owe(peer, &[own.message_row], true, now)
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
        for n in numbers.take(NUMBERS) {
            let found =
                self.store
                    .own_by_number(conversation.conversation_id, request.session.as_bytes(), n)?;
            rows.extend(
                found
                    .filter(|(_, sent)| is_recent(*sent, now))
                    .map(|(row, _)| row),
            );
        }
        self.owe(peer, &rows, false, now)
    }

    /// Notes that own messages are to be sent again, all after one delay.
    fn owe(&mut self, peer: &PeerRow, rows: &[i64], anew: bool, now: UnixMs) -> Result<(), StateError> {
        let mut bytes = [0; 8];
        self.rng.fill_bytes(&mut bytes);
        let delay = u64::from_be_bytes(bytes) % self.settings.answer_delay.max(1);
        for row in rows {
            self.store.owe_answer(peer.peer_id, *row, anew, now + delay)?;
        }
        Ok(())
    }

    /// Gives the answers whose time has come.
    pub(super) fn give_answers(&mut self, now: UnixMs) -> Result<(), StateError> {
        while let Some((peer_id, owed)) = self.store.due_answers(now, NUMBERS)? {
            let peer = self.store.peer_by_id(peer_id)?;
            let mut verbatim: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for Owed { message_row, anew } in owed {
                let own = self.store.own_envelope(message_row)?;
                let own = own.filter(|own| is_recent(own.created_at, now));
                let may = peer.changed.is_none() && peer.pin != Pin::Blocked;
                let Some(own) = own.filter(|_| may) else {
                    self.store.answered(peer_id, message_row)?;
                    continue;
                };
                // Whoever cannot read may have lost its keys.
                if anew {
                    self.store
                        .answer_later(peer_id, message_row, now + BUNDLE_AGAIN_MS)?;
                    let call = RelayCall::Bundle(peer.handle.clone());
                    self.effects.push(Effect::Call(call));
                } else {
                    self.store.answered(peer_id, message_row)?;
                    let message = self.store.message_by_row(own.message_row)?;
                    verbatim
                        .entry(message.conversation_id)
                        .or_default()
                        .push(message_row);
                }
            }
            for (conversation_id, rows) in verbatim {
                self.resend(&peer, conversation_id, &rows, now)?;
            }
        }
        Ok(())
    }

    /// Own messages of one conversation, again and verbatim.
    fn resend(
        &mut self,
        peer: &PeerRow,
        conversation_id: i64,
        rows: &[i64],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if let Some(group) = self.store.group_of(conversation_id)? {
            return self.resend_in_group(&group, peer, rows, now);
        }
        let conversation = self.store.conversation_by_id(conversation_id)?.protocol_id;
        if conversation != ConversationId::direct(self.account.identity.public(), &peer.identity) {
            return Ok(());
        }
        let mut items = Vec::new();
        for row in rows {
            let signed = self.store.signed(*row)?;
            // Of an earlier identity of the peer there may be messages in the same conversation.
            if Core::decode(&signed.core).is_ok_and(|core| core.conversation == conversation) {
                items.push(signed.encode());
            }
        }
        self.queue_resend(peer, conversation, items, now)
    }

    /// A peer's bundle is fresh: what it could not open is sealed to what it says.
    pub(super) fn repair_with_bundle(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        let Some(peer) = self.store.peer(handle)? else {
            return Ok(());
        };
        for message_row in self.store.answers_for_bundle(peer.peer_id)? {
            self.store.answered(peer.peer_id, message_row)?;
            let Some(own) = self.store.own_envelope(message_row)? else {
                continue;
            };
            let message = self.store.message_by_row(message_row)?;
            if message.peer_id == Some(peer.peer_id) {
                self.repair_own(&peer, &own, now)?;
            } else {
                self.resend(&peer, message.conversation_id, &[message_row], now)?;
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
}

fn is_recent(sent: UnixMs, now: UnixMs) -> bool {
    now.saturating_sub(sent) <= RESEND_FOR_MS
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
