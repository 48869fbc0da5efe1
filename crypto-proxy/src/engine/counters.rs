//! What the engine counts, for `GET /metrics`. Names are fixed by the program; nobody's handle or id
//! is among them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Engine;
use crate::model::{Severity, UnixMs};

/// Something to be counted once its transaction has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// What became of an envelope that was offered to the relay.
    Send(&'static str),
    /// Why the relay refused one.
    SendRefused(&'static str),
    /// What became of an object that the relay delivered.
    Receive(&'static str),
    /// Why one was refused.
    ReceiveRefused(&'static str),
    /// What became of a control message that nobody stores.
    Transient(&'static str),
    /// What became of a call of a webhook, or of an event for one.
    Webhook(&'static str),
    /// What became of a signed head of the relay's transparency log that was shown.
    LogHead(&'static str),
    /// An alert, whether it made a row or not.
    Alert(Severity, &'static str),
}

/// Counters since the start; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counts: BTreeMap<Count, u64>,
    failed_batches: u64,
    bundle_expires: UnixMs,
}

impl Counters {
    /// Every count that is not zero, in order.
    #[must_use]
    pub fn all(&self) -> Vec<(Count, u64)> {
        let counted = self.lock();
        counted.counts.iter().map(|(count, n)| (*count, *n)).collect()
    }

    /// Batches of which nothing happened because the state could not be written.
    #[must_use]
    pub fn failed_batches(&self) -> u64 {
        self.lock().failed_batches
    }

    pub(super) fn fail_batch(&self) {
        self.lock().failed_batches += 1;
    }

    /// When the own bundle expires for senders, Unix milliseconds; 0 if none is known.
    #[must_use]
    pub fn bundle_expires(&self) -> UnixMs {
        self.lock().bundle_expires
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Counts when the transaction has committed, and never if it fails.
    pub(super) fn count(&mut self, count: Count) {
        self.counts.push(count);
    }

    pub(super) fn publish_counts(&mut self) {
        if self.counts.is_empty() {
            return;
        }
        let mut counted = self.counters.lock();
        for count in self.counts.drain(..) {
            *counted.counts.entry(count).or_default() += 1;
        }
    }

    pub(super) fn note_bundle_expiry(&self, expires: UnixMs) {
        self.counters.lock().bundle_expires = expires;
    }
}
