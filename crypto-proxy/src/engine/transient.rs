//! Control messages that nobody stores: typing and presence (docs/protocol.md, 7.4).
//!
//! They are sealed, opened and verified like every control message, and written down nowhere. They
//! take no number, no position of a queue and no key of a chain, are not acknowledged and not
//! repeated. What is refused is counted; an alert would be a row for each.

use std::collections::HashMap;

use waxwire_shared::{
    ids::Handle,
    limits,
    message::Body,
    wire::{ControlBody, Kind, Lane},
};

use super::{
    Count, Effect, Engine, InboxMode, RelayCall,
    receive::{Opened, open},
};
use crate::{
    model::UnixMs,
    state::{PeerRow, Pin, StateError},
};

/// How far a message's own time may be off.
pub(super) const FRESH_MS: u64 = 60_000;
/// A bundle is asked for at most so often for the sake of these.
const ASK_MS: u64 = 60_000;
/// Peers whose bundles were asked for that are remembered.
const ASKED: usize = 1_024;

/// What may be lost at any moment.
#[derive(Debug, Default)]
pub(super) struct Transients {
    /// Time of the last one that was sent: no two are of the same.
    last: UnixMs,
    /// When bundles were asked for.
    asked: HashMap<Handle, UnixMs>,
}

/// What becomes of a received one, as a label.
pub(super) type Outcome = &'static str;

impl Engine {
    /// Has a control message passed on to a peer that may be there; without a bundle that may be used
    /// at once it is lost, and the next one finds one.
    pub(super) fn pass_on(&mut self, peer: &PeerRow, kind: Kind, body: Vec<u8>, now: UnixMs) {
        if !self.volatile.link_up || peer.pin == Pin::Blocked || peer.changed.is_some() {
            return;
        }
        if !self.is_fresh(peer, now) {
            return self.ask_bundle_for_later(&peer.handle, now);
        }
        let time = now.max(self.volatile.transients.last + 1);
        if let Some(sealed) = self.seal_control(peer, kind, body, time, None) {
            self.volatile.transients.last = time;
            self.count(Count::Transient("sent"));
            self.effects.push(Effect::Transient(sealed.envelope));
        }
    }

    pub(super) fn ask_bundle_for_later(&mut self, handle: &Handle, now: UnixMs) {
        let asked = &mut self.volatile.transients.asked;
        asked.retain(|_, at| now.saturating_sub(*at) < ASK_MS);
        if asked.len() < ASKED && asked.insert(handle.clone(), now).is_none() {
            self.effects.push(Effect::Call(RelayCall::Bundle(handle.clone())));
        }
    }

    /// Whether a peer is one that the agent has to do with.
    pub(super) fn is_welcome(&self, peer: &PeerRow) -> Result<bool, StateError> {
        let known = !matches!(peer.pin, Pin::New | Pin::Blocked);
        Ok(known && (peer.accepted || self.inbox_mode()? == InboxMode::Open))
    }

    /// An envelope that is in no queue.
    pub(super) fn transient(&mut self, bytes: &[u8], now: UnixMs) -> Result<(), StateError> {
        let outcome = self.take_transient(bytes, now)?;
        self.count(Count::Transient(outcome));
        Ok(())
    }

    fn take_transient(&mut self, bytes: &[u8], now: UnixMs) -> Result<Outcome, StateError> {
        if bytes.len() > limits::TRANSIENT {
            return Ok("refused");
        }
        let Ok(Opened {
            body: Body::Control(body),
            ..
        }) = open(&self.account, Lane::Control, bytes)
        else {
            return Ok("refused");
        };
        if now.abs_diff(body.time) > FRESH_MS {
            return Ok("stale");
        }
        match self.sender(&body)? {
            None => Ok("unknown_sender"),
            Some(peer) => match body.kind {
                Kind::Typing => self.take_typing(&peer, &body, now),
                Kind::Presence => self.take_presence(&peer, &body, now),
                // Everything else is stored, and comes by its queue or not at all.
                _ => Ok("refused"),
            },
        }
    }

    /// The peer that signed, if it is the one known by its handle and not blocked. Nobody is looked up
    /// for the sake of what is forgotten in a minute.
    fn sender(&self, body: &ControlBody) -> Result<Option<PeerRow>, StateError> {
        let peer = self.store.peer(&body.handle)?;
        Ok(peer.filter(|peer| peer.identity == body.identity && peer.pin != Pin::Blocked))
    }
}
