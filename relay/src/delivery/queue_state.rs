//! How far one socket is with one queue: what was delivered, what is not acknowledged yet, and
//! whether it lives from pushes or has to read.

use std::collections::VecDeque;

use waxwire_shared::api::frames::Queue;

use super::inbox::Push;
use crate::store::View;

/// Most deliveries of a queue that a socket may have un-acknowledged.
pub(super) const WINDOW: usize = 256;
/// Most bytes of deliveries of a queue that a socket may have un-acknowledged.
pub(super) const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// One queue on one socket.
#[derive(Debug)]
pub struct QueueState {
    view: View,
    queue: Queue,
    /// Everything up to here was delivered, or lies before where the socket resumed.
    delivered: u64,
    /// The highest position that was heard of.
    head: u64,
    /// Nothing beyond this is for the reader: its membership has ended there.
    end: Option<u64>,
    /// Whether there may be more than was heard of.
    suspected: bool,
    /// Whether the head has grown since the last read began.
    grown: bool,
    /// Whether the reader must be told that it has everything.
    announce: bool,
    unacked: VecDeque<(u64, usize)>,
    unacked_bytes: usize,
}

impl QueueState {
    /// A queue from which everything after `resume` is to be delivered. A cursor beyond the head
    /// counts as the head: the relay cannot have delivered what it does not hold.
    #[must_use]
    pub fn new(view: View, queue: Queue, resume: u64, head: u64) -> Self {
        Self {
            view,
            queue,
            delivered: resume.min(head),
            head,
            end: None,
            suspected: false,
            grown: false,
            announce: true,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
        }
    }

    /// The queue as far as its reader may see it.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// The queue's name for its reader.
    #[must_use]
    pub const fn queue(&self) -> Queue {
        self.queue
    }

    /// Everything up to here was delivered.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The highest position that was heard of.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// Notes that there is something at `position`.
    pub fn heard(&mut self, position: u64) {
        let position = position.min(self.end.unwrap_or(u64::MAX));
        self.grown |= position > self.head;
        self.head = position.max(self.head);
    }

    /// Notes that there may be something up to `position`, which only a read can tell.
    pub fn suspect(&mut self, position: u64) {
        let visible = position.min(self.end.unwrap_or(u64::MAX));
        self.suspected |= visible > self.head;
    }

    /// What was suspected until now is found by the read that begins.
    pub const fn begin_read(&mut self) {
        self.suspected = false;
        self.grown = false;
    }

    /// Notes the head that a read has found. It is the truth, unless something was heard of since the read began: what
    /// was heard of before and is not there is not for this reader, whose membership has ended without that being known.
    pub fn found(&mut self, head: u64) {
        if !self.grown {
            self.head = head.max(self.delivered);
        }
        self.heard(head);
    }

    /// Notes where the reader's membership has ended, or with `None` that it goes on.
    pub const fn set_end(&mut self, end: Option<u64>) {
        self.end = end;
    }

    /// Whether `push` is to be written now: it is the very next one and fits the window. Anything
    /// else is read from the table later, or was delivered before.
    #[must_use]
    pub fn takes(&mut self, push: &Push) -> bool {
        self.heard(push.position);
        push.position <= self.head && push.position == self.delivered + 1 && self.has_room()
    }

    /// Notes a delivery. Positions that are no longer held are passed over.
    pub fn deliver(&mut self, position: u64, bytes: usize) {
        self.delivered = position.max(self.delivered);
        self.heard(position);
        self.unacked.push_back((position, bytes));
        self.unacked_bytes += bytes;
    }

    /// Notes that a read found nothing up to `head`.
    pub fn pass_over(&mut self, head: u64) {
        self.delivered = head.max(self.delivered);
        self.heard(head);
    }

    /// Notes an ack.
    pub fn ack(&mut self, position: u64) {
        while let Some((oldest, bytes)) = self.unacked.front().copied()
            && oldest <= position
        {
            self.unacked.pop_front();
            self.unacked_bytes -= bytes;
        }
        if self.unacked.is_empty() {
            // An idle socket holds no memory of a busy hour.
            self.unacked.shrink_to(0);
        }
    }

    /// Whether another delivery may be written.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unacked.len() < WINDOW && self.unacked_bytes < WINDOW_BYTES
    }

    /// How many envelopes and bytes the window has room for; `None` if there is nothing to read or
    /// no room.
    #[must_use]
    pub fn to_read(&self) -> Option<(usize, usize)> {
        ((self.suspected || self.delivered < self.head) && self.has_room())
            .then(|| (WINDOW - self.unacked.len(), WINDOW_BYTES - self.unacked_bytes))
    }

    /// The position to announce as delivered, once each time the queue was behind and is not any
    /// more.
    #[must_use]
    pub const fn take_announcement(&mut self) -> Option<u64> {
        if self.delivered < self.head {
            self.announce = true;
            None
        } else if self.announce {
            self.announce = false;
            Some(self.delivered)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{View, test_queue};

    fn push(position: u64) -> Push {
        Push {
            queue: test_queue(1),
            position,
            frame: Bytes::from_static(b"frame"),
        }
    }

    fn state(resume: u64, head: u64) -> QueueState {
        QueueState::new(View::Whole(test_queue(1)), Queue::Mail, resume, head)
    }

    #[test]
    fn live_state_takes_the_next_push_only() {
        let mut state = state(5, 5);
        assert_eq!(state.take_announcement(), Some(5));
        assert!(!state.takes(&push(5)));
        assert!(state.takes(&push(6)));
        state.deliver(6, 5);
        // One was dropped on the way: read from the table.
        assert!(!state.takes(&push(8)));
        assert!(state.to_read().is_some());
        assert_eq!(state.take_announcement(), None);
        state.deliver(7, 5);
        state.deliver(8, 5);
        assert_eq!(state.to_read(), None);
        assert_eq!(state.take_announcement(), Some(8));
        assert_eq!(state.take_announcement(), None);
    }

    #[test]
    fn nothing_beyond_the_end_of_a_membership_is_taken_or_read() {
        let mut state = state(5, 5);
        state.set_end(Some(6));
        assert!(!state.takes(&push(7)));
        assert!(state.takes(&push(6)));
        state.deliver(6, 5);
        assert!(!state.takes(&push(7)));
        assert_eq!(state.to_read(), None);
        assert_eq!(state.take_announcement(), Some(6));
        state.set_end(None);
        assert!(state.takes(&push(7)));
    }

    #[test]
    fn pushes_during_a_read_are_not_delivered_out_of_order() {
        let mut state = state(0, 3);
        assert!(!state.takes(&push(4)));
        for position in 1..=3 {
            state.deliver(position, 5);
        }
        assert!(state.to_read().is_some());
        assert!(state.takes(&push(4)));
    }

    #[test]
    fn window_counts_deliveries_and_bytes_until_acknowledged() {
        let mut state = state(0, 1_000);
        for position in 1..=WINDOW as u64 {
            assert!(state.has_room());
            state.deliver(position, 1);
        }
        assert!(!state.has_room());
        assert_eq!(state.to_read(), None);
        state.ack(1);
        assert_eq!(state.to_read().unwrap().0, 1);
        state.ack(1_000);
        state.deliver(300, WINDOW_BYTES);
        assert!(!state.has_room());
        state.ack(300);
        assert_eq!(state.to_read(), Some((WINDOW, WINDOW_BYTES)));
    }

    #[test]
    fn what_is_suspected_is_read_once_and_only_the_table_is_believed() {
        let mut state = state(5, 5);
        assert_eq!(state.take_announcement(), Some(5));
        state.suspect(5);
        assert_eq!(state.to_read(), None, "it was delivered already");
        state.suspect(u64::MAX);
        assert!(state.to_read().is_some());
        assert_eq!(state.head(), 5);
        state.begin_read();
        state.found(7);
        assert_eq!(state.head(), 7);
        state.deliver(6, 1);
        state.deliver(7, 1);
        state.pass_over(7);
        assert_eq!(state.to_read(), None);
        state.set_end(Some(7));
        state.suspect(9);
        assert_eq!(state.to_read(), None, "its reader's membership has ended");
    }

    #[test]
    fn what_was_heard_of_and_is_not_there_is_not_read_for_ever() {
        let mut state = state(5, 5);
        state.heard(9);
        state.begin_read();
        state.found(5);
        state.pass_over(5);
        assert_eq!(state.to_read(), None);
        // Unless it came meanwhile.
        state.heard(9);
        state.begin_read();
        state.heard(10);
        state.found(5);
        state.pass_over(5);
        assert!(state.to_read().is_some());
    }

    #[test]
    fn positions_that_are_no_longer_held_are_passed_over() {
        let mut state = state(0, 10);
        state.pass_over(10);
        assert_eq!(state.to_read(), None);
        assert_eq!(state.take_announcement(), Some(10));
    }
}
