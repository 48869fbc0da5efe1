//! How far each queue is durable here, and what of it the relay has been told.

use std::collections::{BTreeMap, BTreeSet};

use waxwire_shared::api::frames::{Cursor, Queue};

/// Most cursors in one frame: 41 bytes each, far below what a relay must accept as a message.
const FRAME: usize = 1_000;

/// Acknowledged positions; they only grow, as long as the relay's queues are of one course of events.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// Which one; none before the relay was first heard of.
    lineage: Option<u64>,
    acked: BTreeMap<Queue, u64>,
    /// Queues whose position the relay has not been told on this socket.
    untold: BTreeSet<Queue>,
}

impl Cursors {
    pub(super) fn new(lineage: Option<u64>, cursors: Vec<Cursor>) -> Self {
        let mut this = Self {
            lineage,
            ..Self::default()
        };
        this.ack(cursors);
        this
    }

    /// Of which course of events the positions are.
    pub(super) const fn lineage(&self) -> Option<u64> {
        self.lineage
    }

    /// The relay was first heard of; positions that are known are taken as those of its queues.
    pub(super) const fn adopt(&mut self, lineage: u64) {
        self.lineage = Some(lineage);
    }

    /// Nothing is known of positions of this course of events.
    pub(super) fn begin(&mut self, lineage: u64) {
        *self = Self::new(Some(lineage), Vec::new());
    }

    /// Takes acknowledgements in.
    pub(super) fn ack(&mut self, cursors: Vec<Cursor>) {
        for Cursor { queue, position } in cursors {
            let acked = self.acked.entry(queue).or_default();
            if position > *acked {
                *acked = position;
                self.untold.insert(queue);
            }
        }
    }

    /// What the first frame of a socket says. Where there are too many queues for one frame, the
    /// others go on from the last ack that the relay knows. All of them are acknowledged again:
    /// acks may have been lost with the last socket.
    pub(super) fn resume(&mut self) -> Vec<Cursor> {
        self.untold = self.acked.keys().copied().collect();
        self.acked
            .iter()
            .take(FRAME)
            .map(|(queue, position)| Cursor {
                queue: *queue,
                position: *position,
            })
            .collect()
    }

    /// Whether there is something to tell.
    pub(super) fn any_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// What to tell the relay next, one frame at most.
    pub(super) fn take_untold(&mut self) -> Vec<Cursor> {
        let mut out = Vec::new();
        while out.len() < FRAME
            && let Some(queue) = self.untold.pop_first()
        {
            out.extend(self.acked.get(&queue).map(|position| Cursor {
                queue,
                position: *position,
            }));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::ids::GroupId;

    use super::*;

    fn at(queue: Queue, position: u64) -> Cursor {
        Cursor { queue, position }
    }

    #[test]
    fn acks_are_coalesced_to_the_highest() {
        let mut cursors = Cursors::new(None, vec![at(Queue::Mail, 5)]);
        assert_eq!(cursors.take_untold(), [at(Queue::Mail, 5)]);
        cursors.ack(vec![
            at(Queue::Mail, 7),
            at(Queue::Control, 1),
            at(Queue::Mail, 6),
        ]);
        cursors.ack(vec![at(Queue::Mail, 9)]);
        assert_eq!(cursors.take_untold(), [at(Queue::Mail, 9), at(Queue::Control, 1)]);
        cursors.ack(vec![at(Queue::Mail, 9), at(Queue::Mail, 3)]);
        assert!(!cursors.any_untold());
        assert_eq!(cursors.resume(), [at(Queue::Mail, 9), at(Queue::Control, 1)]);
        assert!(cursors.any_untold(), "acks may have been lost with the socket");
    }

    #[test]
    fn frames_are_bounded_and_nothing_is_forgotten() {
        let group = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            at(Queue::Group(GroupId::from_bytes(id)), 1)
        };
        let mut cursors = Cursors::new(
            Some(1),
            (0..2_500).map(group).chain([at(Queue::Mail, 1)]).collect(),
        );
        let resume = cursors.resume();
        assert_eq!((resume.len(), resume[0]), (1_000, at(Queue::Mail, 1)));
        let told: Vec<usize> = std::iter::from_fn(|| {
            let frame = cursors.take_untold();
            (!frame.is_empty()).then_some(frame.len())
        })
        .collect();
        assert_eq!(told, [1_000, 1_000, 501]);
    }
}
