//! Token buckets: one number for each key that has used its bucket of late.

use std::{collections::HashMap, hash::Hash};

/// Keys that are kept before those with full buckets are thrown away.
const KEYS: usize = 65_536;

/// How far a clock is set back that has drifted; in microseconds.
const STEP_US: u64 = 5_000_000;

/// So many in a window, all at once after a window of silence; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub max: u64,
    /// Milliseconds.
    pub window_ms: u64,
}

impl Rate {
    /// So many in a minute.
    #[must_use]
    pub const fn per_minute(max: u64) -> Self {
        let window_ms = 60_000;
        Self { max, window_ms }
    }

    /// So many in an hour.
    #[must_use]
    pub const fn per_hour(max: u64) -> Self {
        let window_ms = 3_600_000;
        Self { max, window_ms }
    }

    /// So many in a day.
    #[must_use]
    pub const fn per_day(max: u64) -> Self {
        let window_ms = 24 * 3_600_000;
        Self { max, window_ms }
    }

    pub(crate) const fn window_us(self) -> u64 {
        self.window_ms * 1_000
    }

    /// Microseconds until another one is there.
    pub(crate) const fn interval_us(self) -> u64 {
        let interval = self.window_us() / self.max;
        if interval == 0 { 1 } else { interval }
    }
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Milliseconds until there is one again, at least 1.
    pub retry_after_ms: u64,
}

impl Spent {
    /// Whole seconds, as `Retry-After` wants them.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.retry_after_ms.div_ceil(1_000)
    }
}

/// A bucket for each key.
#[derive(Debug)]
pub struct Buckets<K> {
    /// When the bucket is full again, in microseconds of the caller's clock.
    full_at: HashMap<K, u64>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self {
            full_at: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// When the bucket is full again: within a window. What lies further ahead is from before the clock was
    /// set back: by little, and the bucket is empty, or by more, and it is forgotten: nobody waits until the
    /// clock is where it was.
    fn full_at(&self, key: &K, rate: Rate, now_us: u64) -> u64 {
        let window = rate.window_us();
        match self.full_at.get(key) {
            Some(full_at) if *full_at <= now_us + window + STEP_US => {
                (*full_at).clamp(now_us, now_us + window)
            }
            _ => now_us,
        }
    }

    /// How much is left; nothing is taken.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn look(&self, key: &K, rate: Rate, now_ms: u64) -> Result<u64, Spent> {
        if rate.max == 0 {
            return Ok(u64::MAX);
        }
        let now_us = now_ms * 1_000;
        let room = now_us + rate.window_us() - self.full_at(key, rate, now_us);
        match room / rate.interval_us() {
            0 => Err(Spent {
                retry_after_ms: (rate.interval_us() - room).div_ceil(1_000),
            }),
            left => Ok(left),
        }
    }

    /// The same for whoever needs so many at once.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn look_for(&self, count: u64, key: &K, rate: Rate, now_ms: u64) -> Result<u64, Spent> {
        match self.look(key, rate, now_ms)? {
            left if left < count => Err(Spent {
                retry_after_ms: rate.interval_us().div_ceil(1_000),
            }),
            left => Ok(left),
        }
    }

    /// Takes one out; whoever asks too often gets nothing for it and loses nothing by it.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn take(&mut self, key: K, rate: Rate, now_ms: u64) -> Result<u64, Spent> {
        let left = self.look(&key, rate, now_ms)?;
        if rate.max == 0 {
            return Ok(left);
        }
        self.force(1, key, rate, now_ms);
        Ok(left - 1)
    }

    /// Takes so many out, or what is there of them.
    pub fn force(&mut self, count: u64, key: K, rate: Rate, now_ms: u64) {
        if rate.max > 0 {
            let now_us = now_ms * 1_000;
            let taken = count.saturating_mul(rate.interval_us()).min(rate.window_us());
            let full_at = self.full_at(&key, rate, now_us) + taken;
            self.keep(key, full_at.min(now_us + rate.window_us()), now_us);
        }
    }

    /// Notes how much is left, as whoever counts it says.
    pub fn set_left(&mut self, key: K, rate: Rate, left: u64, now_ms: u64) {
        if rate.max > 0 {
            let now_us = now_ms * 1_000;
            let room = left.saturating_mul(rate.interval_us()).min(rate.window_us());
            self.keep(key, now_us + rate.window_us() - room, now_us);
        }
    }

    fn keep(&mut self, key: K, full_at: u64, now_us: u64) {
        if self.full_at.len() >= KEYS && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, full_at| *full_at > now_us);
        }
        self.full_at.insert(key, full_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const RATE: Rate = Rate::per_minute(60);

    fn taken(buckets: &mut Buckets<u8>, key: u8, now: u64) -> usize {
        (0..1_000)
            .filter(|_| buckets.take(key, RATE, now).is_ok())
            .count()
    }

    #[test]
    fn bucket_is_emptied_at_once_and_filled_one_by_one() {
        let mut buckets = Buckets::default();
        assert_eq!(taken(&mut buckets, 1, NOW), 60);
        assert_eq!(taken(&mut buckets, 2, NOW), 60, "everybody has an own one");
        assert_eq!(taken(&mut buckets, 1, NOW + 1_500), 1);
        assert_eq!(taken(&mut buckets, 1, NOW + 2_000), 1, "half a one was left over");
        assert_eq!(taken(&mut buckets, 1, NOW + 3_600_000), 60);
    }

    #[test]
    fn wait_that_is_told_is_enough() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(1, RATE, NOW), Ok(59));
        assert_eq!(taken(&mut buckets, 1, NOW), 59);
        let spent = buckets.take(1, RATE, NOW + 300).unwrap_err();
        assert_eq!((spent.retry_after_ms, spent.seconds()), (700, 1));
        assert!(buckets.take(1, RATE, NOW + 300 + 699).is_err());
        assert_eq!(buckets.take(1, RATE, NOW + 300 + 700), Ok(0));
    }

    #[test]
    fn clock_that_was_set_back_makes_nobody_wait_for_long() {
        let mut buckets = Buckets::default();
        assert_eq!(taken(&mut buckets, 1, NOW), 60);
        assert_eq!(taken(&mut buckets, 1, NOW - 1), 0);
        assert_eq!(
            taken(&mut buckets, 1, NOW - 30_000),
            60,
            "not before half a minute is over again"
        );
        assert_eq!(taken(&mut buckets, 1, NOW - 3_600_000), 60);
    }

    #[test]
    fn no_limit_is_no_limit_and_leaves_no_trace() {
        let mut buckets = Buckets::default();
        let unlimited = Rate::per_day(0);
        assert!((0..10_000).all(|_| buckets.take(1, unlimited, NOW) == Ok(u64::MAX)));
        assert!(buckets.full_at.is_empty());
    }

    #[test]
    fn keys_that_were_quiet_are_forgotten() {
        let mut buckets = Buckets::default();
        for key in 0..KEYS {
            buckets.take(key, RATE, NOW).unwrap();
        }
        buckets.take(KEYS, RATE, NOW + 60_000).unwrap();
        assert_eq!(buckets.full_at.len(), 1);
    }
}
