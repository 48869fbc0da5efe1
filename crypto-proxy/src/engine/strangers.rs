//! Senders whom nobody knows here yet. They are looked up a few at a time, and within a share of what the relay lets an
//! agent ask in vain: whoever signs messages with handles that there are not must not use up the agent's own lookups.

use std::collections::{HashSet, VecDeque};

use waxwire_shared::ids::Handle;

use super::{Effect, Engine, RelayCall};
use crate::{
    model::{Refusal, UnixMs},
    state::StateError,
};

/// Lookups under way.
const AT_ONCE: usize = 16;
/// Lookups in vain within a minute and a day: a third of what relays allow if nothing else is configured.
const MISSES: [(UnixMs, u32); 2] = [(60_000, 20), (24 * 3_600 * 1_000, 333)];
/// How long a message of somebody who is nowhere to be found is kept.
const KEPT_MS: UnixMs = 7 * 24 * 3_600 * 1_000;

/// Who is to be looked up, and how often that was in vain.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    line: VecDeque<Handle>,
    /// Those in the line and those who are being looked up.
    known: HashSet<Handle>,
    under_way: usize,
    /// Of the minute and of the day: when it began, and lookups in vain since.
    misses: [(UnixMs, u32); 2],
}

impl Strangers {
    fn line_up(&mut self, handle: &Handle) {
        if self.known.insert(handle.clone()) {
            self.line.push_back(handle.clone());
        }
    }

    /// The next to be looked up, if another one may be.
    fn next(&mut self, now: UnixMs) -> Option<Handle> {
        let full = self.under_way >= AT_ONCE || self.exhausted_until(now).is_some();
        let handle = (!full).then(|| self.line.pop_front()).flatten()?;
        self.under_way += 1;
        Some(handle)
    }

    /// Until when too many lookups were in vain.
    fn exhausted_until(&self, now: UnixMs) -> Option<UnixMs> {
        let ends = self.misses.iter().zip(MISSES);
        ends.filter(|((began, count), (window, most))| {
            count >= most && now.saturating_sub(*began) < *window && *began <= now
        })
        .map(|((began, _), (window, _))| began + window)
        .max()
    }

    fn missed(&mut self, now: UnixMs) {
        for ((began, count), (window, _)) in self.misses.iter_mut().zip(MISSES) {
            if *count == 0 || now.saturating_sub(*began) >= window || *began > now {
                (*began, *count) = (now, 0);
            }
            *count += 1;
        }
    }

    /// The relay lets nobody be looked up: not before the minute is over.
    const fn pause(&mut self, now: UnixMs) {
        self.misses[0] = (now, MISSES[0].1);
    }

    /// When somebody in the line may be looked up who may not be now.
    pub(super) fn deadline(&self, now: UnixMs) -> Option<UnixMs> {
        let waits = !self.line.is_empty() && self.under_way < AT_ONCE;
        waits.then(|| self.exhausted_until(now)).flatten()
    }
}

impl Engine {
    /// The link is up: whoever is still unknown is looked up again.
    pub(super) fn strangers_up(&mut self, now: UnixMs) -> Result<(), StateError> {
        self.store.drop_held_before(now.saturating_sub(KEPT_MS))?;
        let strangers = &mut self.volatile.strangers;
        strangers.line.clear();
        strangers.known.clear();
        strangers.under_way = 0;
        for handle in self.store.unknown_senders()? {
            self.volatile.strangers.line_up(&handle);
        }
        self.ask_for_strangers(now);
        Ok(())
    }

    /// A message of somebody unknown waits.
    pub(super) fn ask_for_stranger(&mut self, handle: &Handle, now: UnixMs) {
        self.volatile.strangers.line_up(handle);
        self.ask_for_strangers(now);
    }

    pub(super) fn ask_for_strangers(&mut self, now: UnixMs) {
        while self.volatile.link_up
            && let Some(handle) = self.volatile.strangers.next(now)
        {
            self.effects.push(Effect::Call(RelayCall::Bundle(handle)));
        }
    }

    /// The relay has answered a lookup, whoever wanted it.
    pub(super) fn looked_up(&mut self, handle: &Handle, verdict: &Result<(), Refusal>, now: UnixMs) {
        let strangers = &mut self.volatile.strangers;
        if !strangers.known.remove(handle) {
            return;
        }
        if let Some(place) = strangers.line.iter().position(|waiting| waiting == handle) {
            strangers.line.remove(place);
            return;
        }
        strangers.under_way = strangers.under_way.saturating_sub(1);
        match verdict {
            Err(Refusal::AgentNotFound) => strangers.missed(now),
            Err(Refusal::RateLimited { .. }) => {
                strangers.line_up(handle);
                strangers.pause(now);
            }
            _ => {}
        }
        self.ask_for_strangers(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers(count: usize) -> Strangers {
        let mut strangers = Strangers::default();
        for number in 0..count {
            strangers.line_up(&format!("nobody-{number}").parse().unwrap());
        }
        strangers
    }

    #[test]
    fn only_some_are_looked_up_at_once() {
        let mut strangers = strangers(AT_ONCE + 1);
        strangers.line_up(&"nobody-0".parse().unwrap());
        let asked = std::iter::from_fn(|| strangers.next(1)).count();
        assert_eq!((asked, strangers.line.len()), (AT_ONCE, 1));
    }

    #[test]
    fn lookups_in_vain_are_limited_by_minute_and_day() {
        let [(minute, of_minute), (day, of_day)] = MISSES;
        let mut strangers = strangers(1_000);
        let mut missed = 0;
        for now in (1..day).step_by(1_000) {
            while strangers.next(now).is_some() {
                strangers.under_way -= 1;
                strangers.missed(now);
                missed += 1;
            }
            if now < minute {
                assert_eq!(missed, of_minute);
                assert_eq!(strangers.deadline(now), Some(1 + minute));
            }
        }
        assert_eq!(missed, of_day);
        assert!(strangers.next(1 + day).is_some());
    }
}
