//! Own encryption keys and bundles: renewal, rotation, erasure (docs/protocol.md, 4.3).
//!
//! The three are independent. A bundle is renewed when half of its life is over, by the machine's
//! clock; a key is rotated and erased by running time. What is decided here becomes durable in the
//! key store before the relay hears of it, and the bytes of a bundle are kept until the relay has
//! answered, so that a crash leads to the same bundle again and not to a fork.

use std::collections::BTreeSet;

use waxwire_shared::{
    api::{frames::Queue, problem::ProblemType},
    hash::sha256,
    ids::{Handle, Hash, RelayId},
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, Document as _, VERSION},
};

use super::{Effect, EncryptionKey, Engine, KeyChange, LookupError, Now, Offer};
use crate::{
    crypto::{
        sealed_box,
        secret::{EncryptionSecret, IdentitySecret},
    },
    model::{Refusal, Severity, UnixMs},
    state::StateError,
};

const MINUTE: u64 = 60 * 1_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long senders may use a bundle.
const BUNDLE_LIFE: u64 = 90 * DAY;
/// What is left of that when a bundle is renewed.
const RENEWAL: u64 = BUNDLE_LIFE / 2;
/// A bundle is valid from a little before it was made, for relays and peers whose clocks are slow.
const BUNDLE_EARLY: u64 = HOUR;
/// How often keys are looked at and the running time is noted.
const BEAT: u64 = 5 * MINUTE;
/// Until a bundle is offered again to a relay that did not answer.
const AGAIN: u64 = MINUTE;
/// Until a bundle is offered again to a relay that refused one.
const AFTER_REFUSAL: u64 = HOUR;
/// How long a relay that never says that the queues are empty can hold up what is due.
const PATIENCE: u64 = HOUR;

/// What may be lost at any moment; times are running time unless they say otherwise.
#[derive(Debug, Default)]
pub(super) struct OwnKeys {
    /// Queues that this socket has delivered to their ends.
    emptied: BTreeSet<Queue>,
    /// This socket came up after the newest bundle was published.
    is_since_publication: bool,
    /// A bundle is on its way to the relay.
    offered: bool,
    not_before: u64,
    /// Since when something is due and the queues are not empty.
    due_since: Option<u64>,
    /// When keys were last looked at.
    last_beat: u64,
    /// They were looked at in this transaction: what was erased is to leave the log of the database, too.
    beaten: bool,
    /// When they are looked at again, Unix milliseconds; at once in the beginning.
    next_beat: UnixMs,
}

impl OwnKeys {
    pub(super) const fn next_beat(&self) -> UnixMs {
        self.next_beat
    }

    /// Somebody waits: what was put off for a while is tried at once.
    pub(super) const fn hurry(&mut self) {
        self.not_before = 0;
    }

    pub(super) const fn take_beaten(&mut self) -> bool {
        std::mem::replace(&mut self.beaten, false)
    }

    pub(super) fn socket_came_up(&mut self) {
        self.emptied.clear();
        self.is_since_publication = true;
    }

    /// After the state could not be written: tried again at the next beat, not at once.
    pub(super) fn after_failure(running: u64, now: UnixMs) -> Self {
        Self {
            last_beat: running,
            next_beat: now + BEAT,
            ..Self::default()
        }
    }

    fn all_emptied(&self) -> bool {
        [Queue::Mail, Queue::Control]
            .iter()
            .all(|queue| self.emptied.contains(queue))
    }
}

/// What a bundle says.
#[derive(Debug)]
pub struct BundleDraft<'a> {
    /// Where the agent is registered.
    pub relay: RelayId,
    /// Its handle there.
    pub handle: &'a Handle,
    /// What it says of the recovery key.
    pub recovery: Hash,
    /// The bundle's number.
    pub number: u64,
    /// Hash of the signed bundle before it.
    pub previous: Option<Hash>,
    /// Suite of the key.
    pub suite: Suite,
    /// Number of the key.
    pub key_number: u64,
    /// The key.
    pub key: &'a EncryptionSecret,
}

/// A signed bundle with one key, valid for 90 days from `now`.
#[must_use]
pub fn sign_bundle(identity: &IdentitySecret, draft: &BundleDraft<'_>, now: UnixMs) -> Vec<u8> {
    identity.sign_document(&Bundle {
        version: VERSION,
        relay: draft.relay,
        handle: draft.handle.clone(),
        identity: identity.public().clone(),
        number: draft.number,
        not_before: now.saturating_sub(BUNDLE_EARLY),
        not_after: now + BUNDLE_LIFE,
        previous: draft.previous,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: draft.suite,
            number: draft.key_number,
            public: draft.key.public().as_bytes().to_vec(),
        }],
        recovery: draft.recovery,
    })
}

/// The body of an own bundle, which nobody else can have written.
fn body(signed: &[u8]) -> Option<Bundle> {
    Bundle::decode(&SignedBytes::decode(signed).ok()?.body).ok()
}

impl Engine {
    /// Notes the running time and looks at the keys now and then, whatever else happens.
    pub(super) fn beat(&mut self, now: UnixMs) -> Result<(), StateError> {
        let settings = &self.settings;
        let interval = BEAT.min(settings.key_rotation.min(settings.key_retention) / 4);
        let own = &mut self.volatile.own_keys;
        if now < own.next_beat && self.running.saturating_sub(own.last_beat) < interval {
            return Ok(());
        }
        own.last_beat = self.running;
        own.next_beat = now + interval;
        own.beaten = true;
        self.store.put_running_time(self.running)?;
        self.erase_old_chains(interval)?;
        self.note_bundle_expiry(self.bundle_expires()?);
        self.audit_if_due(now)?;
        self.tend_keys(now)
    }

    /// Notes how long the proxy has run, at its stop.
    pub fn note_running_time(&mut self, now: Now) {
        let noted = self
            .store
            .begin()
            .and_then(|()| self.store.put_running_time(now.running))
            .and_then(|()| self.store.commit());
        if let Err(error) = noted {
            self.store.rollback();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the running time was not noted"
            );
        }
    }

    /// A queue was delivered to its end.
    pub(super) fn queue_emptied(&mut self, queue: Queue, now: UnixMs) -> Result<(), StateError> {
        self.volatile.own_keys.emptied.insert(queue);
        self.tend_keys(now)
    }

    /// Does what is due: notes that the queues are empty, erases, rotates or renews.
    pub(super) fn tend_keys(&mut self, now: UnixMs) -> Result<(), StateError> {
        let own = &self.volatile.own_keys;
        if own.is_since_publication && own.all_emptied() {
            self.note_emptied();
        }
        self.erase_keys();
        let own = &self.volatile.own_keys;
        if !self.volatile.link_up || own.offered || self.running < own.not_before {
            return Ok(());
        }
        if let Some(signed) = self.store.offered_bundle()? {
            return self.offer(signed);
        }
        let wanted = self.rotation_is_wanted();
        let rotate = wanted
            || self.instance.must_rotate
            || self.running.saturating_sub(self.store.rotated_at()?) >= self.settings.key_rotation;
        if !rotate && !self.renewal_is_due(now)? {
            self.volatile.own_keys.due_since = None;
            return Ok(());
        }
        let own = &mut self.volatile.own_keys;
        let due_since = *own.due_since.get_or_insert(self.running);
        // After an absence the queues are emptied first: what waits there is for the keys of then.
        if wanted || own.all_emptied() || self.running.saturating_sub(due_since) >= PATIENCE {
            if wanted {
                self.store.renew_groups()?;
            }
            self.make_bundle(rotate, now)
        } else {
            Ok(())
        }
    }

    /// When the own bundle expires, Unix milliseconds; 0 if none is known.
    fn bundle_expires(&self) -> Result<UnixMs, StateError> {
        let bundle = self.store.own_bundle()?.as_deref().and_then(body);
        Ok(bundle.map_or(0, |bundle| bundle.not_after))
    }

    /// A bundle that is not known here is renewed, too.
    fn renewal_is_due(&self, now: UnixMs) -> Result<bool, StateError> {
        Ok(self.bundle_expires()? < now + RENEWAL)
    }

    fn note_emptied(&mut self) {
        let running = self.running;
        for key in &mut self.account.encryption_keys {
            if key.superseded.is_some() && key.emptied.is_none() {
                key.emptied = Some(running);
                let key_number = key.number;
                self.effects
                    .push(Effect::Keys(KeyChange::Emptied { key_number, running }));
            }
        }
    }

    fn erase_keys(&mut self) {
        let (running, retention) = (self.running, self.settings.key_retention);
        let effects = &mut self.effects;
        self.account.encryption_keys.retain(|key| {
            let erase = key
                .emptied
                .is_some_and(|emptied| running.saturating_sub(emptied) >= retention);
            if erase {
                let key_number = key.number;
                effects.push(Effect::Keys(KeyChange::Erased { key_number }));
            }
            !erase
        });
    }

    /// Signs the next bundle, with a new key if asked, and offers it.
    fn make_bundle(&mut self, rotate: bool, now: UnixMs) -> Result<(), StateError> {
        let key_number = if rotate {
            self.successor(now)
        } else {
            self.account.key_number
        };
        let account = &mut self.account;
        let Some(key) = find_key(&account.encryption_keys, key_number) else {
            return Ok(());
        };
        account.bundle_number = (account.bundle_number + 1).max(now);
        let draft = BundleDraft {
            relay: account.relay,
            handle: &account.handle,
            recovery: account.recovery,
            number: account.bundle_number,
            previous: Some(account.bundle_hash),
            suite: key.suite,
            key_number,
            key: &key.secret,
        };
        let signed = sign_bundle(&account.identity, &draft, now);
        self.store.put_offered_bundle(&signed)?;
        self.offer(signed)
    }

    /// The number of the key that follows the published one: one that was made and never published,
    /// or a new one.
    fn successor(&mut self, now: UnixMs) -> u64 {
        let account = &mut self.account;
        let numbers = account.encryption_keys.iter().map(|key| key.number);
        let highest = numbers.max().unwrap_or(0).max(account.key_number);
        if highest > account.key_number {
            return highest;
        }
        let number = (highest + 1).max(now);
        account.encryption_keys.push(EncryptionKey {
            number,
            suite: Suite::CLASSIC,
            secret: EncryptionSecret::generate(&mut *self.rng),
            superseded: None,
            emptied: None,
        });
        number
    }

    /// Offers a bundle to the relay, now or again. One whose key is not held, or does not open what
    /// is sealed to it, was never offered and is dropped.
    fn offer(&mut self, signed: Vec<u8>) -> Result<(), StateError> {
        let bundle = body(&signed);
        let offered = bundle.as_ref().and_then(|bundle| {
            let key = find_key(&self.account.encryption_keys, bundle.best_key()?.number)?;
            Some((bundle.number, key))
        });
        let Some((number, key)) = offered.filter(|(_, key)| opens(key, &mut *self.rng)) else {
            return self.store.drop_offered_bundle();
        };
        let key = key.duplicate();
        self.volatile.own_keys.offered = true;
        self.effects.push(Effect::OfferBundle(Box::new(Offer {
            key,
            number,
            bundle: signed,
        })));
        Ok(())
    }

    /// The relay shows the own bundle with this number. If it was set back and that is an older one than it has had, peers
    /// are to see the newest again.
    pub(super) fn publish_again(&mut self, shown: u64, now: UnixMs) -> Result<(), StateError> {
        let own = self
            .store
            .own_bundle()?
            .filter(|own| body(own).is_some_and(|own| own.number > shown));
        let Some(own) = own else { return Ok(()) };
        if self.store.offered_bundle()?.is_none() {
            self.store.put_offered_bundle(&own)?;
        }
        self.tend_keys(now)
    }

    /// What the relay says of the bundle that was offered.
    pub(super) fn published(
        &mut self,
        answer: Result<(), LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.volatile.own_keys.offered = false;
        if let Err(error) = &answer {
            self.refuse_rotations(&not_taken(error));
        }
        let (wait, reason) = match answer {
            Ok(()) => {
                self.adopt_published(now)?;
                return self.rotated(now);
            }
            Err(LookupError::Unreachable) => (AGAIN, None),
            Err(LookupError::Refused(problem)) if matches!(problem.status, 401 | 403 | 429 | 500..) => {
                (AFTER_REFUSAL.min(5 * AGAIN), None)
            }
            Err(LookupError::Refused(problem)) if problem.problem_type() == Some(ProblemType::Stale) => {
                let reason = "the relay holds a newer bundle of this agent: another instance of it is live, \
                              or this state is an old copy";
                (
                    AFTER_REFUSAL,
                    Some(("own_bundle_stale", Severity::Critical, reason)),
                )
            }
            Err(_) => {
                let reason = "the relay refuses this agent's bundle; senders will soon refuse its old one";
                (
                    AFTER_REFUSAL,
                    Some(("own_bundle_refused", Severity::Warning, reason)),
                )
            }
        };
        self.volatile.own_keys.not_before = self.running + wait;
        if let Some((kind, severity, reason)) = reason {
            // The next one has another number.
            self.store.drop_offered_bundle()?;
            self.alert(kind, severity, None, reason, now)?;
        }
        Ok(())
    }

    /// The relay has the bundle: from now on it is the own one.
    fn adopt_published(&mut self, now: UnixMs) -> Result<(), StateError> {
        let Some(signed) = self.store.offered_bundle()? else {
            return Ok(());
        };
        self.store.put_own_bundle(&signed)?;
        let Some(bundle) = body(&signed) else {
            return Ok(());
        };
        let Some(key) = bundle.best_key() else {
            return Ok(());
        };
        let (number, hash) = (bundle.number, sha256(&signed));
        self.note_bundle_expiry(bundle.not_after);
        let rotated = key.number != self.account.key_number;
        self.account.bundle_hash = hash;
        self.account.key_number = key.number;
        self.effects.push(Effect::Keys(KeyChange::Published {
            number,
            hash,
            key_number: key.number,
            at: now,
        }));
        self.instance.must_rotate = false;
        self.volatile.own_keys.not_before = 0;
        self.volatile.own_keys.due_since = None;
        tracing::info!(number, rotated, "a bundle was published");
        if rotated {
            self.supersede(key.number, now)?;
        }
        Ok(())
    }

    /// Older keys have a successor now. A fresh socket says when the queues are empty since then.
    fn supersede(&mut self, current: u64, now: UnixMs) -> Result<(), StateError> {
        self.store.put_rotated_at(self.running)?;
        // A relay that never lets the queues be emptied holds an erasure up until here.
        self.note_emptied();
        for key in &mut self.account.encryption_keys {
            if key.number < current && key.superseded.is_none() {
                key.superseded = Some(now);
            }
        }
        let own = &mut self.volatile.own_keys;
        own.emptied.clear();
        own.is_since_publication = false;
        self.effects.push(Effect::ResetLink);
        Ok(())
    }
}

impl EncryptionKey {
    /// A second copy, for the key store.
    fn duplicate(&self) -> Self {
        Self {
            secret: self.secret.duplicate(),
            ..*self
        }
    }
}

fn find_key(keys: &[EncryptionKey], number: u64) -> Option<&EncryptionKey> {
    keys.iter().find(|key| key.number == number)
}

/// What is told to whoever waits for a bundle that the relay has not taken.
fn not_taken(error: &LookupError) -> Refusal {
    match error {
        LookupError::Refused(problem) => match problem.status {
            429 => Refusal::RateLimited {
                retry_after: problem.retry_after.unwrap_or(1),
            },
            500.. => Refusal::RelayUnreachable { queued: true },
            _ => Refusal::Forbidden,
        },
        LookupError::Unreachable => Refusal::RelayUnreachable { queued: true },
        LookupError::NotFound => Refusal::Forbidden,
    }
}

/// Nothing is published that could not be opened.
fn opens(key: &EncryptionKey, rng: &mut (dyn rand_core::CryptoRng + Send)) -> bool {
    let probe = b"waxwire self-seal";
    let sealed = sealed_box::seal(rng, key.secret.public(), probe);
    sealed_box::open(&key.secret, &sealed).is_ok_and(|opened| opened.as_slice() == probe)
}
