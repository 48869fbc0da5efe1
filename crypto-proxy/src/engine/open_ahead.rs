//! What came in a batch is opened and verified on several cores before the first of it is handled: catching up, that is
//! most of the work. It reads nothing but keys and writes nothing.

use std::{
    num::NonZeroUsize,
    thread::{self, available_parallelism},
};

use waxwire_shared::{api::frames::Queue, wire::Lane};

use super::{
    Account, Engine, Event, LinkEvent,
    receive::{Opened, open},
};
use crate::harden;

/// Envelopes that are worth a thread.
const SHARE: usize = 8;
/// Most threads, the engine's among them.
const THREADS: usize = 4;

/// An envelope, by its place in the batch: the relay may give two the same position in a queue.
type Sealed<'a> = (usize, Lane, &'a [u8]);

impl Engine {
    /// For each event what is in it, as far as that is opened: where a batch brings enough to share the work. What does
    /// not open now is looked at again in its turn: events before it may have brought the key.
    pub(super) fn open_ahead(&self, events: &[Event]) -> Vec<Option<Opened>> {
        let mut opened: Vec<Option<Opened>> = events.iter().map(|_| None).collect();
        let sealed: Vec<Sealed<'_>> = events.iter().enumerate().filter_map(sealed).collect();
        if sealed.len() < 2 * SHARE || !self.is_live() {
            return opened;
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
            let own = open_all(account, own);
            // Of a thread that has failed everything is opened in its turn.
            let others = others
                .into_iter()
                .flat_map(|other| other.join().unwrap_or_default());
            for (place, content) in own.into_iter().chain(others) {
                opened[place] = Some(content);
            }
        });
        opened
    }
}

fn sealed((place, event): (usize, &Event)) -> Option<Sealed<'_>> {
    let Event::Link(LinkEvent::Delivered { cursor, object }) = event else {
        return None;
    };
    let lane = match cursor.queue {
        Queue::Mail => Lane::Mail,
        Queue::Control => Lane::Control,
        Queue::Group(_) | Queue::Log(_) => return None,
    };
    Some((place, lane, object))
}

fn open_all(account: &Account, sealed: &[Sealed<'_>]) -> Vec<(usize, Opened)> {
    let opened = sealed
        .iter()
        .map(|(place, lane, bytes)| Some((*place, open(account, *lane, bytes).ok()?)));
    opened.flatten().collect()
}
