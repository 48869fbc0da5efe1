//! Sends that have no outcome yet.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::model::SendToken;

/// Most sends without an answer on the wire.
const SENDS: usize = 1_024;
/// Most bytes without an answer on the wire: bounds how old an answer can be on a slow line.
const BYTES: usize = 1024 * 1024;

/// A send on the wire.
#[derive(Debug)]
struct Slot {
    token: SendToken,
    bytes: usize,
    settled: bool,
}

/// The pipeline of sends of one socket, in order.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// On the wire; the first is not settled.
    slots: VecDeque<Slot>,
    /// Request number of the first slot.
    base: u32,
    bytes: usize,
    /// How many slots at the end are not written out yet.
    unwritten: usize,
    /// Since when the relay owes an answer to the first slot.
    owed_since: Option<Instant>,
    /// Behind them, for want of room.
    waiting: VecDeque<(SendToken, Vec<u8>)>,
}

impl Flight {
    /// Takes a send over; from now on it has an outcome.
    pub(super) fn enqueue(&mut self, token: SendToken, envelope: Vec<u8>) {
        self.waiting.push_back((token, envelope));
    }

    /// The next send if there is room for it on the wire.
    pub(super) fn next(&mut self) -> Option<(u32, Vec<u8>)> {
        let full = self.slots.len() >= SENDS || self.bytes >= BYTES;
        let (token, envelope) = if full { None } else { self.waiting.pop_front() }?;
        let offset = u32::try_from(self.slots.len()).ok()?;
        let slot = Slot {
            token,
            bytes: envelope.len(),
            settled: false,
        };
        self.bytes += slot.bytes;
        self.unwritten += 1;
        self.slots.push_back(slot);
        Some((self.base.wrapping_add(offset), envelope))
    }

    /// Everything that [`Self::next`] gave is written out.
    pub(super) fn written(&mut self, now: Instant) {
        self.unwritten = 0;
        if self.owed_since.is_none() && !self.slots.is_empty() {
            self.owed_since = Some(now);
        }
    }

    /// Which send a request number means; `None` if there is none such without an outcome.
    pub(super) fn token(&self, request: u32) -> Option<SendToken> {
        let slot = self.slots.get(self.index(request))?;
        (!slot.settled).then_some(slot.token)
    }

    /// The outcome of a send was reported. True if sends that waited for room can go now.
    pub(super) fn settle(&mut self, request: u32, now: Instant) -> bool {
        let index = self.index(request);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.settled = true;
        }
        let mut moved = false;
        while let Some(first) = self.slots.pop_front_if(|slot| slot.settled) {
            self.base = self.base.wrapping_add(1);
            self.bytes -= first.bytes;
            moved = true;
        }
        if moved {
            self.owed_since = (self.slots.len() > self.unwritten).then_some(now);
        }
        moved && !self.waiting.is_empty()
    }

    /// Since when the relay owes an answer.
    pub(super) const fn owed_since(&self) -> Option<Instant> {
        self.owed_since
    }

    /// The relay is not to blame for some time in which nobody listened.
    pub(super) fn forgive(&mut self, time: std::time::Duration, now: Instant) {
        self.owed_since = self.owed_since.map(|since| (since + time).min(now));
    }

    /// Ends the pipeline: what has no outcome, in order.
    pub(super) fn into_unsettled(self) -> impl Iterator<Item = SendToken> {
        let on_the_wire = self
            .slots
            .into_iter()
            .filter(|slot| !slot.settled)
            .map(|slot| slot.token);
        on_the_wire.chain(self.waiting.into_iter().map(|(token, _)| token))
    }

    fn index(&self, request: u32) -> usize {
        usize::try_from(request.wrapping_sub(self.base)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn flight(tokens: std::ops::Range<u64>) -> Flight {
        let mut flight = Flight {
            base: u32::MAX - 1,
            ..Flight::default()
        };
        tokens.for_each(|token| flight.enqueue(token, vec![0; 10]));
        flight
    }

    #[test]
    fn outcomes_come_in_any_order_and_once() {
        let now = Instant::now();
        let mut flight = flight(0..4);
        let requests: Vec<u32> = std::iter::from_fn(|| flight.next())
            .map(|(request, _)| request)
            .collect();
        assert_eq!(requests, [u32::MAX - 1, u32::MAX, 0, 1]);
        assert_eq!(flight.token(0), Some(2));
        flight.settle(0, now);
        assert_eq!(flight.token(0), None);
        flight.settle(u32::MAX - 1, now);
        assert_eq!(flight.token(u32::MAX - 1), None);
        assert_eq!(flight.token(2), None);
        flight.enqueue(9, vec![1]);
        assert_eq!(flight.into_unsettled().collect::<Vec<_>>(), [1, 3, 9]);
    }

    #[test]
    fn the_wire_is_bounded_and_moves_on() {
        let now = Instant::now();
        let mut flight = flight(0..2_000);
        let sent: Vec<u32> = std::iter::from_fn(|| flight.next())
            .map(|(request, _)| request)
            .collect();
        assert_eq!(sent.len(), SENDS);
        assert!(!flight.settle(sent[1], now), "the first is still owed");
        assert!(flight.settle(sent[0], now));
        assert_eq!(std::iter::from_fn(|| flight.next()).count(), 2);
        assert_eq!(
            flight.into_unsettled().collect::<Vec<_>>(),
            (2..2_000).collect::<Vec<u64>>()
        );
    }

    #[test]
    fn an_answer_is_owed_from_the_write_on_and_for_the_first_only() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut flight = flight(0..2);
        let (first, _) = flight.next().unwrap();
        assert_eq!(flight.owed_since(), None);
        flight.written(start);
        let (second, _) = flight.next().unwrap();
        flight.written(later);
        assert_eq!(flight.owed_since(), Some(start));
        flight.settle(second, later);
        assert_eq!(
            flight.owed_since(),
            Some(start),
            "others being answered does not help"
        );
        flight.forgive(Duration::from_secs(9), later);
        assert_eq!(flight.owed_since(), Some(later));
        flight.settle(first, later);
        assert_eq!(flight.owed_since(), None);
    }
}
