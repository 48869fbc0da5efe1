//! All queues of one socket, and which of them is read next.

use std::collections::HashMap;

use waxwire_shared::{api::frames::Queue, ids::GroupId};

use super::queue_state::QueueState;
use crate::store::{QueueNo, View};

/// The queues that a socket serves. Each keeps its index.
#[derive(Debug, Default)]
pub(super) struct QueueSet {
    states: Vec<QueueState>,
    by_no: HashMap<QueueNo, usize>,
    by_queue: HashMap<Queue, usize>,
    /// From which on the next log to read is looked for.
    from_log: usize,
    /// The same of the other queues.
    from_other: usize,
    /// Whether a log was read last.
    log_was_last: bool,
}

/// What is to be read from the table next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextRead {
    /// Index of the queue.
    pub(super) index: usize,
    /// The queue.
    pub(super) view: View,
    /// After this position.
    pub(super) after: u64,
    /// At most so many.
    pub(super) rows: usize,
    /// And so many bytes.
    pub(super) bytes: usize,
}

const fn is_log(queue: &Queue) -> bool {
    matches!(queue, Queue::Log(_))
}

const fn is_own(queue: &Queue) -> bool {
    matches!(queue, Queue::Mail | Queue::Control)
}

impl QueueSet {
    /// Adds a queue.
    pub(super) fn add(&mut self, state: QueueState) {
        let index = self.states.len();
        self.by_no.insert(state.view().queue_no(), index);
        self.by_queue.insert(state.queue(), index);
        self.states.push(state);
    }

    /// The queue of an index.
    pub(super) fn at(&mut self, index: usize) -> Option<&mut QueueState> {
        self.states.get_mut(index)
    }

    /// The queue of a number.
    pub(super) fn numbered(&mut self, no: QueueNo) -> Option<&mut QueueState> {
        self.states.get_mut(*self.by_no.get(&no)?)
    }

    /// The queue of a name.
    pub(super) fn named(&mut self, queue: &Queue) -> Option<&mut QueueState> {
        self.states.get_mut(*self.by_queue.get(queue)?)
    }

    /// Every queue.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut QueueState> {
        self.states.iter_mut()
    }

    /// Whether commits of a group are still to be read, so that its messages had better wait.
    pub(super) fn log_is_behind(&self, group: &GroupId) -> bool {
        let index = self.by_queue.get(&Queue::Log(*group));
        index
            .and_then(|index| self.states.get(*index))
            .is_some_and(|state| state.to_read().is_some())
    }

    /// Logs first, so that no message of a group comes before the commit that it cites; in turn with
    /// the agent's own queues, so that neither keeps the other waiting; then everything else. Among
    /// their like, each in its turn.
    pub(super) fn next_read(&mut self) -> Option<NextRead> {
        let log = self.find(self.from_log, is_log);
        let own = || self.find(self.from_other, is_own);
        let other = match log {
            Some(_) if self.log_was_last => own(),
            Some(_) => None,
            None => self.find(self.from_other, |queue| !is_log(queue)),
        };
        let index = other.or(log)?;
        self.log_was_last = other.is_none();
        if self.log_was_last {
            self.from_log = index + 1;
        } else {
            self.from_other = index + 1;
        }
        let state = self.states.get(index)?;
        let (rows, bytes) = state.to_read()?;
        Some(NextRead {
            index,
            view: state.view(),
            after: state.delivered(),
            rows,
            bytes,
        })
    }

    /// The first from `start` on, all around, that is of a kind and has something to read.
    fn find(&self, start: usize, kind: impl Fn(&Queue) -> bool) -> Option<usize> {
        let count = self.states.len();
        let mut around = (0..count).map(|step| (start + step) % count);
        around.find(|index| {
            let state = &self.states[*index];
            kind(&state.queue()) && state.to_read().is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_queue;

    fn group(number: u8) -> GroupId {
        GroupId::from_bytes([number; 32])
    }

    /// Mail, control, and for each group its log and its messages, in this order.
    fn set(heads: &[u64]) -> QueueSet {
        let mut set = QueueSet::default();
        let groups = (1..).flat_map(|number| [Queue::Log(group(number)), Queue::Group(group(number))]);
        let queues = [Queue::Mail, Queue::Control].into_iter().chain(groups);
        for (number, (queue, head)) in (1..).zip(queues.zip(heads)) {
            let view = View::Whole(test_queue(number));
            set.add(QueueState::new(view, queue, 0, *head));
        }
        set
    }

    /// Reads to the end, one object at a time, and tells in which order.
    fn order(set: &mut QueueSet) -> Vec<usize> {
        let mut order = Vec::new();
        while let Some(next) = set.next_read() {
            let state = set.at(next.index).unwrap();
            state.deliver(next.after + 1, 1);
            order.push(next.index);
        }
        order
    }

    #[test]
    fn logs_and_own_queues_take_turns_before_messages_of_groups() {
        let mut set = set(&[3, 1, 2, 2, 2, 1]);
        assert_eq!(order(&mut set), [2, 0, 4, 1, 2, 0, 4, 3, 5, 0, 3]);
    }

    #[test]
    fn long_backlog_of_mail_does_not_keep_a_log_waiting() {
        let mut set = set(&[100, 0, 3, 0]);
        let order = order(&mut set);
        assert_eq!(order[..6], [2, 0, 2, 0, 2, 0]);
    }

    #[test]
    fn log_is_behind_only_while_there_is_something_to_read() {
        let mut set = set(&[0, 0, 1, 1]);
        assert!(set.log_is_behind(&group(1)));
        set.named(&Queue::Log(group(1))).unwrap().deliver(1, 1);
        assert!(!set.log_is_behind(&group(1)));
        assert!(!set.log_is_behind(&group(2)));
        assert_eq!(
            set.numbered(test_queue(4)).unwrap().queue(),
            Queue::Group(group(1))
        );
        assert!(set.numbered(test_queue(9)).is_none());
    }
}
