//! What the writer takes out of the buckets of all nodes for a batch, and holds until it is used.
//!
//! One step for each batch with all that its sends may need: what a refused send did not use is used by the next batch, or
//! given back with its step. A crash loses what was held, so that limits are stricter and nothing else.

use std::{collections::HashMap, sync::Arc};

use super::{Rate, Spent};
use crate::nodes::{Ask, Bucket, Manner, Nodes};

/// Until there is one in a bucket that nobody asked for.
const UNKNOWN_MS: u64 = 1_000;

/// What is held of one bucket.
#[derive(Debug, Clone, Copy)]
struct Hand {
    rate: Rate,
    held: u64,
    /// Taken out of this hand since the last step.
    used: u64,
    /// Left in the bucket.
    left: u64,
    retry_after_ms: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Hands {
    pub(super) nodes: Arc<Nodes>,
    hands: HashMap<Bucket, Hand>,
    /// Whether somebody counts for all nodes, as of the last step.
    pub(super) count: bool,
}

impl Hands {
    pub(super) fn new(nodes: Arc<Nodes>) -> Self {
        Self {
            nodes,
            hands: HashMap::new(),
            count: false,
        }
    }

    /// Takes what is needed and not held, and gives back what is held and not needed. Answers how much of each bucket
    /// there is for this node now.
    pub(super) async fn provide(&mut self, needs: &HashMap<Bucket, (Rate, u64)>) -> Vec<(Bucket, Rate, u64)> {
        let mut asks = Vec::with_capacity(needs.len());
        for (bucket, (rate, need)) in needs {
            let held = self.hands.get(bucket).map_or(0, |hand| hand.held);
            asks.push(ask(*bucket, *rate, *need, held));
        }
        for (bucket, hand) in &self.hands {
            if !needs.contains_key(bucket) {
                asks.push(ask(*bucket, hand.rate, 0, hand.held));
            }
        }
        let answers = self.nodes.take(Manner::Each, &asks).await;
        self.count = answers.is_some();
        let held = std::mem::take(&mut self.hands);
        for (Ask { bucket, rate, .. }, answer) in asks.iter().zip(answers.unwrap_or_default()) {
            if needs.contains_key(bucket) {
                let before = held.get(bucket).map_or(0, |hand| hand.held);
                let hand = Hand {
                    rate: *rate,
                    held: before.saturating_add_signed(answer.taken),
                    used: 0,
                    left: answer.left,
                    retry_after_ms: answer.retry_after_ms,
                };
                self.hands.insert(*bucket, hand);
            }
        }
        let known = self.hands.iter();
        known
            .map(|(bucket, hand)| (*bucket, hand.rate, hand.left + hand.held))
            .collect()
    }

    pub(super) fn look(&self, bucket: &Bucket) -> Result<(), Spent> {
        match self.hands.get(bucket) {
            Some(hand) if hand.held > 0 => Ok(()),
            hand => Err(Spent {
                retry_after_ms: hand.map_or(UNKNOWN_MS, |hand| hand.retry_after_ms),
            }),
        }
    }

    /// Uses one that was looked at: how many are left.
    pub(super) fn take(&mut self, bucket: &Bucket) -> Option<u64> {
        let hand = self.hands.get_mut(bucket)?;
        hand.held = hand.held.checked_sub(1)?;
        hand.used += 1;
        Some(hand.left + hand.held)
    }

    /// What was used since the last step was not: its batch is not written.
    pub(super) fn undo(&mut self) {
        for hand in self.hands.values_mut() {
            hand.held += std::mem::take(&mut hand.used);
        }
    }
}

fn ask(bucket: Bucket, rate: Rate, need: u64, held: u64) -> Ask {
    let (need, held) = (i64::try_from(need).unwrap_or(i64::MAX), held.cast_signed());
    Ask {
        bucket,
        rate,
        want: need - held,
    }
}
