//! Which instance of the agent is the live one (docs/protocol.md, 8.4 and 8.5).
//!
//! The link offers this instance's lease before every socket and reports every other lease that the relay
//! shows. Only what the agent's own identity has signed counts: a relay can keep an instance from the
//! mail, as it can anyway, and cannot make it stop.

use std::cmp::Ordering;

use waxwire_shared::{
    api::rest::BundleAnswer,
    ids::SessionId,
    sign::Verified,
    wire::{Bundle, Lease, Receipt, VERSION},
};

use super::{Effect, Engine, LookupError, RelayCall};
use crate::{
    model::{Refusal, Severity, UnixMs},
    state::{ConversationRow, StateError},
};

/// Milliseconds until a new incarnation is begun again that could not be made durable.
const AGAIN_MS: u64 = 1_000;
/// A peer's receipt begins no new incarnation sooner after the last: each one costs every group a rekey,
/// and a peer can sign what it likes.
const BETWEEN_RECEIPTS_MS: u64 = 3_600 * 1_000;

/// Why this instance sends and takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// A later incarnation is the live one.
    Superseded,
    /// Another instance has the same incarnation.
    Clone,
}

/// A run of numbering that this instance begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anew {
    /// Its incarnation, higher than any before.
    pub incarnation: u64,
    /// Its session.
    pub session: SessionId,
}

/// How this instance stands to others of the agent.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// The own lease, as it was signed last; empty before it was.
    lease: Vec<u8>,
    /// When, Unix milliseconds.
    leased_at: UnixMs,
    conflict: Option<Conflict>,
    /// What is being begun, and when it was last tried: until it is durable nothing is sent.
    beginning: Option<(Anew, UnixMs)>,
    /// What was numbered before, and what is from this batch on, while the batch is not written.
    begun: Option<(Anew, Anew)>,
    /// The relay has been asked for the own bundle since the start.
    looked: bool,
    /// The bundle that peers see is not of a key that is held here.
    pub(super) must_rotate: bool,
}

impl Instance {
    /// Whether nothing is sent now.
    pub(super) const fn holds_back(&self) -> bool {
        self.conflict.is_some() || self.beginning.is_some()
    }

    pub(super) fn next_try(&self) -> Option<UnixMs> {
        self.beginning.map(|(_, tried)| tried + AGAIN_MS)
    }
}

impl Engine {
    /// Signs the lease of this run of the proxy, for the link to begin with.
    pub fn lease(&mut self, now: UnixMs) -> Vec<u8> {
        let account = &self.account;
        let lease = account.identity.sign_document(&Lease {
            version: VERSION,
            relay: account.relay,
            identity: account.identity.public().clone(),
            incarnation: account.incarnation,
            session: account.session,
            time: now,
        });
        self.instance.lease.clone_from(&lease);
        self.instance.leased_at = now;
        lease
    }

    /// Whether another instance of the agent keeps this one from sending.
    pub(super) const fn is_live(&self) -> bool {
        self.instance.conflict.is_none()
    }

    /// Why nothing may be sent.
    pub(super) fn check_live(&self) -> Result<(), Refusal> {
        match self.instance.conflict {
            None if self.instance.beginning.is_some() => Err(Refusal::Storage),
            None => Ok(()),
            Some(Conflict::Superseded) => Err(Refusal::Superseded),
            Some(Conflict::Clone) => Err(Refusal::Clone),
        }
    }

    /// A lease that the relay shows: who else claims to be this agent.
    pub(super) fn lease_shown(&mut self, signed: &[u8], now: UnixMs) -> Result<(), StateError> {
        if signed == self.instance.lease {
            return Ok(());
        }
        let account = &self.account;
        let shown = Verified::<Lease>::from_bytes(signed, |lease| &lease.identity).ok();
        let shown = shown
            .map(Verified::into_body)
            .filter(|lease| lease.identity == *account.identity.public() && lease.relay == account.relay);
        let Some(shown) = shown else {
            let reason = "the relay shows a lease that this agent has not signed";
            return self.alert("lease_forged", Severity::Warning, None, reason, now);
        };
        let same_session = shown.session == account.session;
        match shown.incarnation.cmp(&account.incarnation) {
            Ordering::Greater => self.stand_down(Conflict::Superseded, now),
            // The own lease of an earlier run is older.
            Ordering::Equal if same_session && shown.time <= self.instance.leased_at => Ok(()),
            Ordering::Equal => {
                self.answer_clone(shown.time, now);
                self.stand_down(Conflict::Clone, now)
            }
            // An incarnation is not younger than what it is called by.
            Ordering::Less if shown.time > account.incarnation => {
                let reason = "an older instance of this agent was started; it was told to stop";
                self.alert("clone", Severity::Critical, None, reason, now)
            }
            Ordering::Less => Ok(()),
        }
    }

    /// The other instance learns of this one as this one did of the other: by a later lease. Once, or the
    /// two would go on for ever.
    fn answer_clone(&mut self, shown_at: UnixMs, now: UnixMs) {
        if self.is_live() {
            let lease = self.lease(now.max(shown_at.saturating_add(1)));
            self.effects.push(Effect::Call(RelayCall::Lease(lease)));
        }
    }

    /// From now on this instance sends and takes nothing; whoever waits for a send is told so.
    fn stand_down(&mut self, conflict: Conflict, now: UnixMs) -> Result<(), StateError> {
        if self.instance.conflict == Some(conflict) {
            return Ok(());
        }
        self.instance.conflict = Some(conflict);
        self.effects.push(Effect::StandDown(conflict));
        let (kind, reason) = match conflict {
            Conflict::Superseded => (
                "superseded",
                "a later instance of this agent is live, as after a restore; this one sends and takes nothing",
            ),
            Conflict::Clone => (
                "clone",
                "another instance of this agent runs on a copy of its state; neither sends until one is ended",
            ),
        };
        self.alert(kind, Severity::Critical, None, reason, now)?;
        for waiter in std::mem::take(&mut self.volatile.waiters).into_values().flatten() {
            self.reply(waiter.request, self.check_live().map(|()| super::Reply::Done));
        }
        self.link_down();
        Ok(())
    }

    /// Asks once for the own bundle as peers see it: one that is ahead of this state is signed evidence
    /// that the state was rolled back.
    pub(super) fn look_at_own_bundle(&mut self) {
        if !std::mem::replace(&mut self.instance.looked, true) {
            let handle = self.account.handle.clone();
            self.effects.push(Effect::Call(RelayCall::Bundle(handle)));
        }
    }

    /// The relay's database was set back, and with it perhaps the own bundle.
    pub(super) const fn look_again(&mut self) {
        self.instance.looked = false;
    }

    /// The own bundle as the relay shows it.
    pub(super) fn own_bundle_shown(
        &mut self,
        answer: Result<BundleAnswer, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(answer) = answer else {
            self.instance.looked = false;
            return Ok(());
        };
        let account = &self.account;
        let shown = Verified::<Bundle>::from_bytes(&answer.bundle.0, |bundle| &bundle.identity).ok();
        let shown = shown.map(Verified::into_body).filter(|bundle| {
            bundle.identity == *account.identity.public()
                && bundle.handle == account.handle
                && bundle.relay == account.relay
        });
        let Some(shown) = shown else {
            let reason = "the relay shows another identity under this agent's handle";
            return self.alert("own_bundle_foreign", Severity::Critical, None, reason, now);
        };
        if shown.number > account.bundle_number {
            self.store.note_own_bundle(&answer.bundle.0)?;
            // The next one has to follow it.
            self.account.bundle_number = shown.number;
            self.instance.must_rotate = true;
            return self.rolled_back(now);
        }
        self.publish_again(shown.number, now)
    }

    /// Something that this identity has signed and this state does not know. What is from before the
    /// incarnation began says nothing about it.
    pub(super) fn own_object_unknown(&mut self, signed_at: UnixMs, now: UnixMs) -> Result<(), StateError> {
        if signed_at > self.account.incarnation {
            self.rolled_back(now)
        } else {
            Ok(())
        }
    }

    /// Whether a peer's receipt proves that a message was sent that this state does not know; then the
    /// state was rolled back.
    pub(super) fn receipt_is_ahead(
        &mut self,
        conversation: &ConversationRow,
        receipt: &Receipt,
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let ahead = receipt.session == self.account.session && receipt.n > conversation.out_n;
        let rested = now.saturating_sub(self.account.incarnation) >= BETWEEN_RECEIPTS_MS;
        if ahead && rested {
            self.rolled_back(now)?;
        }
        Ok(ahead && rested)
    }

    /// Flow 10, step 3: begins a new incarnation and session, once they are durable in the key store.
    fn rolled_back(&mut self, now: UnixMs) -> Result<(), StateError> {
        if !self.is_live() || self.instance.beginning.is_some() {
            return Ok(());
        }
        let mut session = [0; SessionId::LENGTH];
        self.rng.fill_bytes(&mut session);
        let anew = Anew {
            incarnation: (self.account.incarnation + 1).max(now),
            session: SessionId::from_bytes(session),
        };
        self.instance.beginning = Some((anew, now));
        self.effects.push(Effect::BeginAnew(anew));
        let reason = "this state is an old copy: something that this agent has signed is not in it; numbering \
                      begins anew and the keys of groups are replaced";
        self.alert("rolled_back", Severity::Critical, None, reason, now)
    }

    /// Tries again what could not be made durable.
    pub(super) fn begin_again_if_due(&mut self, now: UnixMs) {
        if let Some((anew, tried)) = &mut self.instance.beginning
            && *tried + AGAIN_MS <= now
        {
            *tried = now;
            self.effects.push(Effect::BeginAnew(*anew));
        }
    }

    /// A batch is written.
    pub(super) const fn beginning_written(&mut self) {
        self.instance.begun = None;
    }

    /// A batch is not written: what it began is begun again.
    pub(super) fn beginning_lost(&mut self, now: UnixMs) {
        if let Some((before, anew)) = self.instance.begun.take() {
            (self.account.incarnation, self.account.session) = (before.incarnation, before.session);
            self.instance.beginning = Some((anew, now));
        }
    }

    /// The new incarnation is durable: numbering begins anew, under a lease of its own.
    pub(super) fn begun_anew(&mut self, anew: Anew, now: UnixMs) -> Result<(), StateError> {
        if self
            .instance
            .beginning
            .take()
            .is_none_or(|(begun, _)| begun != anew)
        {
            return Ok(());
        }
        let before = Anew {
            incarnation: self.account.incarnation,
            session: self.account.session,
        };
        self.instance.begun = Some((before, anew));
        (self.account.incarnation, self.account.session) = (anew.incarnation, anew.session);
        self.store.begin_restored(&anew.session)?;
        for waiter in std::mem::take(&mut self.volatile.waiters).into_values().flatten() {
            self.reply(waiter.request, Err(Refusal::RelayUnreachable { queued: false }));
        }
        self.forget_own_commits();
        let lease = self.lease(now);
        self.effects.push(Effect::Lease(lease));
        self.link_down();
        Ok(())
    }
}
