//! What happens because time passes.

use super::{Effect, Engine, RelayCall, groups::HEAD_WITHIN_MS};
use crate::{
    model::{Refusal, UnixMs},
    state::StateError,
};

impl Engine {
    /// When [`super::Event::Tick`] is due next, in Unix milliseconds; `None` if nothing waits.
    ///
    /// A state that cannot be read gives no deadline: the next event reports it. After one that could
    /// not be written, nothing is due for a while: the failure would only repeat itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMs> {
        let volatile = &self.volatile;
        let waiters = volatile.waiters.values().flatten().map(|waiter| waiter.until);
        let lookups = volatile.lookups.values();
        let asking = lookups
            .clone()
            .flat_map(|lookup| &lookup.waiting)
            .map(|asking| asking.until);
        let again = lookups.filter_map(|lookup| lookup.ask_at);
        let outbox = self.store.next_outbox_deadline().ok().flatten().map(|(at, _)| at);
        let waiting = self.store.waiting().unwrap_or_default();
        let gap = waiting.gap.map(|since| since + self.settings.gap_wait);
        let unknown_head = waiting.unknown_head.map(|since| since + HEAD_WITHIN_MS);
        let beat = Some(volatile.own_keys.next_beat());
        [
            volatile.retry_at,
            volatile.receipts.next(),
            outbox,
            gap,
            waiting.missing,
            waiting.answer,
            unknown_head,
            beat,
            volatile.typists.next_end(),
            volatile.presences.next_deadline(),
            volatile.declaring.deadline(),
            self.instance.next_try(),
            volatile.log.deadline(),
            volatile
                .strangers
                .deadline(self.clock.map_or(0, |clock| clock.unix)),
        ]
        .into_iter()
        .flatten()
        .chain(waiters)
        .chain(volatile.rotations.iter().map(|rotation| rotation.until))
        .chain(asking)
        .chain(again)
        .chain(self.next_group_deadline())
        .min()
        .map(|at| at.max(self.resting.0))
    }

    pub(super) fn tick(&mut self, now: UnixMs) -> Result<(), StateError> {
        if self.volatile.retry_at.is_some_and(|at| at <= now) {
            self.volatile.retry_at = None;
        }
        self.begin_again_if_due(now);
        self.expire_lookups(now)?;
        self.ask_for_strangers(now);
        self.expire_waiters(now);
        self.expire_rotations(now)?;
        while let Some((deadline, token)) = self.store.next_outbox_deadline()?
            && deadline <= now
        {
            self.give_up(token, &Refusal::RelayUnreachable { queued: false }, now)?;
        }
        while let Some((since, gap)) = self.store.oldest_gap()?
            && since + self.settings.gap_wait <= now
        {
            self.release_gaps(gap, now)?;
        }
        self.ask_missing(now)?;
        self.give_answers(now)?;
        self.tick_declarations(now)?;
        self.tick_groups(now)?;
        self.end_typing(None, now);
        self.tick_presence(now)?;
        self.tick_log(now)?;
        self.tick_receipts(now)
    }

    /// Agents that have waited long enough for an outcome are told that the message is queued.
    fn expire_waiters(&mut self, now: UnixMs) {
        let mut expired = Vec::new();
        self.volatile.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| {
                let keep = waiter.until > now;
                if !keep {
                    expired.push(waiter.request);
                }
                keep
            });
            !waiters.is_empty()
        });
        for request in expired {
            self.reply(request, Err(Refusal::RelayUnreachable { queued: true }));
        }
    }

    fn expire_lookups(&mut self, now: UnixMs) -> Result<(), StateError> {
        let mut expired = Vec::new();
        for (handle, lookup) in &mut self.volatile.lookups {
            if lookup.ask_at.is_some_and(|at| at <= now) {
                lookup.ask_at = None;
                self.effects.push(Effect::Call(RelayCall::Bundle(handle.clone())));
            }
            let (over, waiting) = std::mem::take(&mut lookup.waiting)
                .into_iter()
                .partition(|asking| asking.until <= now);
            lookup.waiting = waiting;
            let over: Vec<_> = over;
            expired.extend(over);
        }
        self.volatile
            .lookups
            .retain(|_, lookup| !lookup.waiting.is_empty() || lookup.ask_at.is_some());
        for asking in expired {
            self.not_reached(asking, now)?;
        }
        Ok(())
    }
}
