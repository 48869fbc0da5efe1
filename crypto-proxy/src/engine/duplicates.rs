//! The same content over and over: a loop, or spam. No relay can see it, so the proxies at both ends count: that of
//! the sender refuses, that of the recipient says with each message how often it came before.

use std::collections::HashMap;

use waxwire_shared::hash::sha256;

use super::Engine;
use crate::model::{Refusal, SendRequest, UnixMs};

/// Milliseconds in which equal contents are counted that the agent sends.
const SENT_MS: u64 = 60_000;
/// The same for what it receives.
const RECEIVED_MS: u64 = 3_600_000;
/// Contents that are counted at the same time. Who sends more different ones meets the relay's limits.
const CONTENTS: usize = 4_096;
/// Bytes of content below which nothing is counted: short answers are alike.
const SHORT: usize = 64;
/// Bytes of a hash that stand for a content.
const TAG: usize = 16;

/// What the agent sends.
pub(super) type Sent = Contents<SENT_MS>;
/// What it receives, from whomever.
pub(super) type Received = Contents<RECEIVED_MS>;

/// How often there was a content since a time.
#[derive(Debug, Clone, Copy)]
struct Count {
    since: UnixMs,
    times: u64,
}

/// Contents, counted for so many milliseconds from when each came first.
#[derive(Debug, Default)]
pub(super) struct Contents<const WINDOW_MS: u64>(HashMap<[u8; TAG], Count>);

impl<const WINDOW_MS: u64> Contents<WINDOW_MS> {
    fn recent(&self, tag: &[u8; TAG], now: UnixMs) -> Option<Count> {
        let count = self.0.get(tag).copied();
        count.filter(|count| (count.since..count.since + WINDOW_MS).contains(&now))
    }

    /// Gives how often it was there before.
    fn add(&mut self, tag: [u8; TAG], now: UnixMs) -> u64 {
        let before = self.recent(&tag, now).unwrap_or(Count { since: now, times: 0 });
        if self.0.len() >= CONTENTS {
            self.0.retain(|_, count| now < count.since + WINDOW_MS);
        }
        if self.0.len() < CONTENTS || self.0.contains_key(&tag) {
            let times = before.times + 1;
            self.0.insert(tag, Count { times, ..before });
        }
        before.times
    }
}

fn tag(content: &[u8]) -> Option<[u8; TAG]> {
    if content.len() < SHORT {
        return None;
    }
    sha256(content).as_bytes().first_chunk().copied()
}

/// A broadcast is one message, however many have a copy.
fn tag_of(request: &SendRequest) -> Option<[u8; TAG]> {
    if request.broadcast {
        None
    } else {
        tag(request.content.as_bytes())
    }
}

impl Engine {
    /// Why a content may not be sent once more now.
    pub(super) fn check_duplicate(&self, request: &SendRequest, now: UnixMs) -> Result<(), Refusal> {
        let max = self.settings.duplicates;
        let count = tag_of(request).and_then(|tag| self.volatile.sent.recent(&tag, now));
        match count {
            Some(Count { since, times }) if max > 0 && times >= max => Err(Refusal::RateLimited {
                retry_after: (since + SENT_MS - now).div_ceil(1_000),
            }),
            _ => Ok(()),
        }
    }

    /// A message was queued.
    pub(super) fn count_content(&mut self, request: &SendRequest, now: UnixMs) {
        if let Some(tag) = tag_of(request) {
            self.volatile.sent.add(tag, now);
        }
    }

    /// A message came; gives how often its content had come before.
    pub(super) fn count_received(&mut self, content: &[u8], now: UnixMs) -> u64 {
        tag(content).map_or(0, |tag| self.volatile.received.add(tag, now))
    }
}
