//! What came in a batch is opened and verified on several cores before the first of it is handled: catching up, that is
//! most of the work. It reads nothing but keys and writes nothing.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    thread::{self, available_parallelism},
};

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    wire::Lane,
};

use super::{
    Account, Engine, Event, LinkEvent,
    receive::{Opened, open},
};
use crate::harden;

/// Envelopes that are worth a thread.
const SHARE: usize = 8;
/// Most threads, the engine's among them.
const THREADS: usize = 4;

/// An envelope of a batch.
type Sealed<'a> = (Cursor, Lane, &'a [u8]);

impl Engine {
    /// Opens what a batch brings, where it is enough to share the work. What does not open now is looked at again in
    /// its turn: events before it may have brought the key.
    pub(super) fn open_ahead(&self, events: &[Event]) -> HashMap<Cursor, Opened> {
        let sealed: Vec<Sealed<'_>> = events.iter().filter_map(sealed).collect();
        if sealed.len() < 2 * SHARE || !self.is_live() {
            return HashMap::new();
        }
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = (sealed.len() / SHARE).min(cores).min(THREADS);
        let account = &self.account;
        let mut shares = sealed.chunks(sealed.len().div_ceil(threads));
        let own = shares.next().unwrap_or_default();
        thread::scope(|scope| {
            let others: Vec<_> = shares
                .map(|share| {
                    scope.spawn(|| {
                        let opened = open_all(account, share);
                        harden::scrub_stack();
                        opened
                    })
                })
                .collect();
            let mut opened: HashMap<_, _> = open_all(account, own).into_iter().collect();
            // Of a thread that has failed everything is opened in its turn.
            opened.extend(
                others
                    .into_iter()
                    .flat_map(|other| other.join().unwrap_or_default()),
            );
            opened
        })
    }
}

fn sealed(event: &Event) -> Option<Sealed<'_>> {
    let Event::Link(LinkEvent::Delivered { cursor, object }) = event else {
        return None;
    };
    let lane = match cursor.queue {
        Queue::Mail => Lane::Mail,
        Queue::Control => Lane::Control,
        Queue::Group(_) | Queue::Log(_) => return None,
    };
    Some((*cursor, lane, object))
}

fn open_all(account: &Account, sealed: &[Sealed<'_>]) -> Vec<(Cursor, Opened)> {
    let opened = sealed
        .iter()
        .map(|(cursor, lane, bytes)| Some((*cursor, open(account, *lane, bytes).ok()?)));
    opened.flatten().collect()
}
