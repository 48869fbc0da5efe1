//! Nothing of a batch has happened, or the clock is another: what is volatile begins anew.

use waxwire_shared::api::frames::Cursor;

use super::{Effect, Engine, Founding, Now, RequestId, Task, own_keys, rotate_now};
use crate::{
    model::{Refusal, UnixMs},
    state::StateError,
};

/// How many events are handled one at a time after one could not be.
const CAREFUL: u32 = 2_048;

/// Milliseconds until overdue deadlines are tried again after the state could not be written; doubled
/// each time, up to the second.
const REST_MS: (u64, u64) = (250, 10_000);

/// A batch of which nothing has happened.
pub(super) struct Failed {
    pub(super) error: StateError,
    /// Who waits for an answer to it.
    pub(super) requests: Vec<RequestId>,
    /// Its first event, if that is an object of the relay.
    pub(super) delivered: Option<Cursor>,
}

impl Engine {
    pub(super) fn failed(&mut self, failed: Failed, now: Now) -> Vec<Effect> {
        let Failed {
            error,
            requests,
            delivered,
        } = failed;
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the state cannot be written"
        );
        self.counters.fail_batch();
        self.store.rollback();
        self.beginning_lost(now.unix);
        self.rest(now.unix);
        if !error.is_of_the_database() {
            if self.careful > 0 {
                self.poison.extend(delivered);
            }
            self.careful = CAREFUL;
        }
        self.start_over(requests, |_| Refusal::Storage, now.unix)
    }

    /// What is overdue stays overdue while the state cannot be written, as on a full disk.
    fn rest(&mut self, now: UnixMs) {
        let (first, longest) = REST_MS;
        let failures = self.resting.1;
        let wait = first.saturating_mul(1 << failures.min(16)).min(longest);
        self.resting = (now + wait, failures + 1);
    }

    /// Forgets everything volatile and refuses whoever waits; `refusal` is told who waits for what is queued.
    pub(super) fn start_over(
        &mut self,
        requests: Vec<RequestId>,
        refusal: impl Fn(bool) -> Refusal,
        now: UnixMs,
    ) -> Vec<Effect> {
        self.effects.clear();
        self.acks.clear();
        self.views.clear();
        self.counts.clear();
        let lost = std::mem::take(&mut self.volatile);
        self.volatile.own_keys = own_keys::OwnKeys::after_failure(self.running, now);
        let waiters = lost.waiters.into_values().flatten().map(|waiter| waiter.request);
        let lookups = lost
            .lookups
            .into_values()
            .flat_map(|lookup| lookup.waiting)
            .map(|asking| asking.request);
        let goals = lost.tasks.into_values().flat_map(Task::into_requests);
        let founding = lost.founding.into_iter().map(Founding::request);
        let presences = lost.presences.into_requests();
        let rotations = lost.rotations.into_iter().map(rotate_now::Rotation::request);
        let declaring = lost.declaring.into_requests();
        let queued = waiters.map(|id| (id, refusal(true)));
        let others = requests
            .into_iter()
            .chain(lookups)
            .chain(goals)
            .chain(founding)
            .chain(presences)
            .chain(rotations)
            .chain(declaring)
            .map(|id| (id, refusal(false)));
        let mut effects: Vec<Effect> = queued
            .chain(others)
            .map(|(id, refusal)| Effect::Reply(id, Err(refusal)))
            .collect();
        effects.push(Effect::ResetLink);
        effects
    }
}
