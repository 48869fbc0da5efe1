//! Buckets that all nodes have in common. A step with any number of them is one round trip and is atomic: however many
//! nodes take at the same time, no more comes out than was in.

use std::sync::LazyLock;

use redis::Script;

use super::{Bucket, Nodes};
use crate::limits::Rate;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// How a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Of each bucket what is there.
    Each,
    /// Everything or nothing.
    All,
    /// Whether it is there or not.
    Force,
}

impl Manner {
    const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::All => "all",
            Self::Force => "force",
        }
    }
}

/// What is wanted of a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Which; its rate is not unlimited.
    pub bucket: Bucket,
    /// How it fills.
    pub rate: Rate,
    /// How many; 0 looks, below 0 gives back.
    pub want: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many were taken, at most as many as were wanted.
    pub taken: i64,
    /// How many are left.
    pub left: u64,
    /// Milliseconds until there is one, if none is left.
    pub retry_after_ms: u64,
}

impl Nodes {
    /// One step; an answer for each question. None if Redis is lost: then whoever asks counts by itself.
    pub async fn take(&self, manner: Manner, asks: &[Ask]) -> Option<Vec<Taken>> {
        if asks.is_empty() {
            return Some(Vec::new());
        }
        let (mut connection, names) = self.connected()?;
        let mut call = TAKE.prepare_invoke();
        for ask in asks {
            call.key(names.bucket(&ask.bucket));
        }
        call.arg(manner.name());
        for Ask { rate, want, .. } in asks {
            call.arg(rate.interval_us()).arg(rate.window_us()).arg(*want);
        }
        let answers: Vec<i64> = self.settle(call.invoke_async(&mut connection).await)?;
        let taken = asks.iter().zip(answers.chunks_exact(3)).map(|(ask, answer)| {
            // Who counts for all may be wrong, but not so that anything overflows.
            let max = i64::try_from(ask.rate.max).unwrap_or(i64::MAX);
            Taken {
                taken: answer[0].clamp(ask.want.min(0), ask.want.max(0)),
                left: answer[1].clamp(0, max).cast_unsigned(),
                retry_after_ms: answer[2].cast_unsigned().clamp(1, ask.rate.window_ms.max(1)),
            }
        });
        let taken: Vec<Taken> = taken.collect();
        (taken.len() == asks.len()).then_some(taken)
    }
}
