//! Names of stored envelopes: 64-bit Snowflakes.
//!
//! `41 bits of milliseconds since 2025-01-01T00:00:00Z || 10 bits of worker || 12 bits of sequence`,
//! below a zero sign bit. They name things and are never an order, a cursor or a counter.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// 2025-01-01T00:00:00Z in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_735_689_600_000;

const WORKER_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const TIME_MASK: u64 = (1 << 41) - 1;

/// Which of the relay's processes makes ids: 0 to 1023, no two at the same time with one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "u16")]
pub struct WorkerId(u16);

/// A worker id that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker id is a number from 0 to 1023")]
pub struct WorkerIdError;

impl TryFrom<u16> for WorkerId {
    type Error = WorkerIdError;

    fn try_from(number: u16) -> Result<Self, WorkerIdError> {
        if u32::from(number) < 1 << WORKER_BITS {
            Ok(Self(number))
        } else {
            Err(WorkerIdError)
        }
    }
}

impl WorkerId {
    /// Every number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..1 << WORKER_BITS).map(Self)
    }
}

impl From<WorkerId> for i32 {
    fn from(worker: WorkerId) -> Self {
        worker.0.into()
    }
}

impl FromStr for WorkerId {
    type Err = WorkerIdError;

    fn from_str(text: &str) -> Result<Self, WorkerIdError> {
        text.parse::<u16>().map_err(|_| WorkerIdError)?.try_into()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes ids that never repeat and always grow, whatever the clock does.
#[derive(Debug)]
pub struct Snowflakes {
    worker: WorkerId,
    /// Unix milliseconds of the last id.
    last_ms: u64,
    sequence: u64,
}

impl Snowflakes {
    /// A generator whose first id lies after `floor_ms`, the latest time that earlier runs may
    /// have used.
    #[must_use]
    pub fn new(worker: WorkerId, floor_ms: u64) -> Self {
        Self {
            worker,
            last_ms: floor_ms.max(EPOCH_MS),
            sequence: (1 << SEQUENCE_BITS) - 1,
        }
    }

    /// The next id. A clock that went backwards, or more than 4,096 ids in a millisecond, make it
    /// run ahead of the clock instead of waiting.
    pub fn next(&mut self, now_ms: u64) -> u64 {
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            self.sequence = 0;
        } else {
            self.sequence += 1;
            if self.sequence >> SEQUENCE_BITS != 0 {
                self.last_ms += 1;
                self.sequence = 0;
            }
        }
        let time = (self.last_ms - EPOCH_MS) & TIME_MASK;
        time << (WORKER_BITS + SEQUENCE_BITS) | u64::from(self.worker.0) << SEQUENCE_BITS | self.sequence
    }

    /// Ids from now on have this number.
    pub const fn renumber(&mut self, worker: WorkerId) {
        self.worker = worker;
    }

    /// Ids from now on lie after `floor_ms`, too: somebody else may have made some until then.
    pub fn raise(&mut self, floor_ms: u64) {
        if floor_ms >= self.last_ms {
            self.last_ms = floor_ms;
            self.sequence = (1 << SEQUENCE_BITS) - 1;
        }
    }

    /// Unix milliseconds of the last id.
    #[must_use]
    pub const fn last_ms(&self) -> u64 {
        self.last_ms
    }
}

/// The least id that could be made at `ms`, Unix milliseconds.
#[must_use]
pub const fn first_at(ms: u64) -> u64 {
    (ms.saturating_sub(EPOCH_MS) & TIME_MASK) << (WORKER_BITS + SEQUENCE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = EPOCH_MS + 1_000;

    #[test]
    fn next_has_time_worker_and_sequence_in_their_bits() {
        let mut ids = Snowflakes::new(WorkerId(5), 0);
        assert_eq!(ids.next(NOW), 1_000 << 22 | 5 << 12);
        assert_eq!(ids.next(NOW), 1_000 << 22 | 5 << 12 | 1);
        assert_eq!(ids.next(NOW + 1), 1_001 << 22 | 5 << 12);
    }

    #[test]
    fn next_grows_when_the_clock_goes_backwards() {
        let mut ids = Snowflakes::new(WorkerId(0), 0);
        let mut last = ids.next(NOW);
        for now in [NOW - 500, 0, NOW, NOW - 1] {
            let id = ids.next(now);
            assert!(id > last);
            last = id;
        }
    }

    #[test]
    fn next_never_repeats_beyond_the_sequence_of_a_millisecond() {
        let mut ids = Snowflakes::new(WorkerId(1023), 0);
        let made: Vec<u64> = (0..10_000).map(|_| ids.next(NOW)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(ids.last_ms(), NOW + 2);
    }

    #[test]
    fn new_starts_after_its_floor() {
        let before = Snowflakes::new(WorkerId(0), NOW + 99).next(NOW);
        assert_eq!(before >> 22, 1_100);
    }

    #[test]
    fn raise_lifts_what_comes_and_never_lowers_it() {
        let mut ids = Snowflakes::new(WorkerId(0), 0);
        ids.next(NOW);
        ids.raise(NOW + 50);
        assert_eq!(ids.next(NOW) >> 22, 1_051);
        ids.raise(NOW);
        assert_eq!(ids.next(NOW) >> 22, 1_051);
    }

    #[test]
    fn worker_id_is_ten_bits() {
        assert!("1023".parse::<WorkerId>().is_ok());
        for bad in ["1024", "-1", "", "x", "65536"] {
            assert_eq!(bad.parse::<WorkerId>(), Err(WorkerIdError), "{bad}");
        }
    }
}
