//! Buckets of all nodes together, as far as there are others and Redis counts for all.
//!
//! While nobody does, each node gives out its share of every limit. What it has heard of a bucket before it still knows:
//! failing over fills none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Buckets, Rate, Spent};
use crate::nodes::{Ask, Bucket, Manner, Nodes, Taken};

/// See the module's documentation.
#[derive(Debug)]
pub struct Common {
    nodes: Option<Arc<Nodes>>,
    local: Mutex<Buckets<Bucket>>,
}

/// A bucket in which nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Which.
    pub bucket: Bucket,
    /// For how long.
    pub spent: Spent,
}

impl Common {
    /// Buckets of this node alone, or of all.
    #[must_use]
    pub fn new(nodes: Option<Arc<Nodes>>) -> Self {
        Self {
            nodes,
            local: Mutex::default(),
        }
    }

    fn local(&self) -> MutexGuard<'_, Buckets<Bucket>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A limit as this node counts it by itself.
    fn own(&self, rate: Rate) -> Rate {
        self.nodes.as_ref().map_or(rate, |nodes| nodes.share(rate))
    }

    /// Whether one could be taken out of each bucket.
    ///
    /// # Errors
    /// [`Short`].
    pub async fn look(&self, buckets: &[(Bucket, Rate)], now_ms: u64) -> Result<(), Short> {
        if let Some(answers) = self.ask(Manner::All, 0, buckets, now_ms).await {
            return first_short(1, &answers);
        }
        let local = self.local();
        for (bucket, rate) in buckets {
            let looked = local.look(bucket, self.own(*rate), now_ms);
            looked.map_err(|spent| Short {
                bucket: *bucket,
                spent,
            })?;
        }
        Ok(())
    }

    /// Takes `count` out of each bucket, or none out of any.
    ///
    /// # Errors
    /// [`Short`].
    pub async fn take(&self, count: u64, buckets: &[(Bucket, Rate)], now_ms: u64) -> Result<(), Short> {
        let want = i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(answers) = self.ask(Manner::All, want, buckets, now_ms).await {
            let taken = answers.iter().all(|(_, answer)| answer.taken == want);
            return if taken {
                Ok(())
            } else {
                first_short(count, &answers)
            };
        }
        let local = &mut *self.local();
        for (bucket, rate) in buckets {
            let looked = local.look_for(count, bucket, self.own(*rate), now_ms);
            looked.map_err(|spent| Short {
                bucket: *bucket,
                spent,
            })?;
        }
        for (bucket, rate) in buckets {
            local.force(count, *bucket, self.own(*rate), now_ms);
        }
        Ok(())
    }

    /// Takes `count` out of each bucket whether they are there or not.
    pub async fn force(&self, count: u64, buckets: &[(Bucket, Rate)], now_ms: u64) {
        let want = i64::try_from(count).unwrap_or(i64::MAX);
        if self.ask(Manner::Force, want, buckets, now_ms).await.is_some() {
            return;
        }
        let mut local = self.local();
        for (bucket, rate) in buckets {
            local.force(count, *bucket, self.own(*rate), now_ms);
        }
    }

    /// What all nodes together say, of those buckets that are limited; None if nobody counts for all.
    async fn ask(
        &self,
        manner: Manner,
        want: i64,
        buckets: &[(Bucket, Rate)],
        now_ms: u64,
    ) -> Option<Vec<(Bucket, Taken)>> {
        let nodes = self.nodes.as_ref()?;
        let limited = buckets.iter().filter(|(_, rate)| rate.max > 0);
        let asks: Vec<Ask> = limited
            .map(|(bucket, rate)| Ask {
                bucket: *bucket,
                rate: *rate,
                want,
            })
            .collect();
        let answers = nodes.take(manner, &asks).await?;
        let mut local = self.local();
        let answers = asks.iter().zip(answers).map(|(ask, answer)| {
            local.set_left(ask.bucket, ask.rate, answer.left, now_ms);
            (ask.bucket, answer)
        });
        Some(answers.collect())
    }
}

fn first_short(count: u64, answers: &[(Bucket, Taken)]) -> Result<(), Short> {
    match answers.iter().find(|(_, answer)| answer.left < count) {
        None => Ok(()),
        Some((bucket, answer)) => Err(Short {
            bucket: *bucket,
            spent: Spent {
                retry_after_ms: answer.retry_after_ms,
            },
        }),
    }
}
