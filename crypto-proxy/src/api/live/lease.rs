//! Which deliveries are on their way to an agent by a socket that will acknowledge them.
//!
//! While a delivery is leased, neither sync nor another socket's backlog offers it. A socket leases
//! what of the backlog is free when it opens, and everything that comes later: so nothing of what it
//! is about to carry can be seen elsewhere first, and a lease is a few stretches of places, however
//! many messages it is about. There is no timer. A lease ends with its socket; what was settled
//! meanwhile is offered by nobody anyway.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Stretches of places, ascending and apart from one another.
pub(super) type Places = Vec<RangeInclusive<u64>>;

/// All leases of a proxy; clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Leases(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<Held>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    leases: HashMap<u64, Places>,
}

/// The lease of one socket; it ends when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Leases,
    number: u64,
}

impl Leases {
    /// What is not leased.
    pub(in crate::api) fn free(&self) -> Places {
        self.held().free()
    }

    /// Leases what is free up to `last`, and everything after it. Gives also what is leased now.
    pub(super) fn take(&self, last: u64) -> (Lease, Places) {
        let mut held = self.held();
        let mut places: Places = held
            .free()
            .into_iter()
            .filter_map(|free| {
                let end = last.min(*free.end());
                (*free.start() <= end).then_some(*free.start()..=end)
            })
            .collect();
        places.push(last.saturating_add(1)..=u64::MAX);
        let number = held.next;
        held.next += 1;
        held.leases.insert(number, places.clone());
        let leases = self.clone();
        (Lease { leases, number }, places)
    }

    /// Waits until a lease has ended since the returned future was made.
    pub(in crate::api) fn released(&self) -> impl Future<Output = ()> {
        self.0.released.notified()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn free(&self) -> Places {
        let mut leased: Vec<&RangeInclusive<u64>> = self.leases.values().flatten().collect();
        leased.sort_unstable_by_key(|places| *places.start());
        let mut free = Places::new();
        let mut next = 0;
        for places in leased {
            if *places.start() > next {
                free.push(next..=places.start() - 1);
            }
            if *places.end() == u64::MAX {
                return free;
            }
            next = next.max(places.end() + 1);
        }
        free.push(next..=u64::MAX);
        free
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.held().leases.remove(&self.number);
        self.leases.0.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = u64::MAX;

    #[test]
    fn a_lease_takes_the_backlog_and_what_comes() {
        let leases = Leases::default();
        assert_eq!(leases.free(), [0..=END]);
        let (lease, places) = leases.take(7);
        assert_eq!(places, [0..=7, 8..=END]);
        assert!(leases.free().is_empty());
        drop(lease);
        assert_eq!(leases.free(), [0..=END]);
    }

    #[test]
    fn a_second_lease_takes_only_what_comes() {
        let leases = Leases::default();
        let (first, _) = leases.take(7);
        let (second, places) = leases.take(9);
        assert_eq!(places, [10..=END]);
        drop(first);
        assert_eq!(leases.free(), [0..=9]);
        let (_third, places) = leases.take(12);
        assert_eq!(places, [0..=9, 13..=END]);
        drop(second);
        assert_eq!(leases.free(), [10..=12]);
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_a_release() {
        let leases = Leases::default();
        let (lease, _) = leases.take(0);
        let released = leases.released();
        drop(lease);
        released.await;
    }
}
