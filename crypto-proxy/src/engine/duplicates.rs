//! The same content over and over, to whomever: a loop, or spam. No relay can see it, so the proxy of the
//! agent that sends it counts.

use std::collections::HashMap;

use waxwire_shared::hash::sha256;

use super::Engine;
use crate::model::{Refusal, SendRequest, UnixMs};

/// Milliseconds in which equal contents are counted.
const WINDOW_MS: u64 = 60_000;
/// Contents that are counted at the same time. Who sends more different ones meets the relay's limits.
const CONTENTS: usize = 4_096;
/// Bytes of content below which nothing is counted: short answers are alike.
const SHORT: usize = 64;
/// Bytes of a hash that stand for a content.
const TAG: usize = 16;

/// How often a content was sent since a time.
#[derive(Debug, Clone, Copy)]
struct Count {
    since: UnixMs,
    sent: u64,
}

/// Contents of the last minute.
#[derive(Debug, Default)]
pub(super) struct Duplicates(HashMap<[u8; TAG], Count>);

impl Duplicates {
    fn recent(&self, tag: &[u8; TAG], now: UnixMs) -> Option<Count> {
        let count = self.0.get(tag).copied();
        count.filter(|count| (count.since..count.since + WINDOW_MS).contains(&now))
    }

    fn add(&mut self, tag: [u8; TAG], now: UnixMs) {
        let before = self.recent(&tag, now).unwrap_or(Count { since: now, sent: 0 });
        if self.0.len() >= CONTENTS {
            self.0.retain(|_, count| now < count.since + WINDOW_MS);
        }
        if self.0.len() < CONTENTS || self.0.contains_key(&tag) {
            let sent = before.sent + 1;
            self.0.insert(tag, Count { sent, ..before });
        }
    }
}

/// A broadcast is one message, however many have a copy.
fn tag(request: &SendRequest) -> Option<[u8; TAG]> {
    if request.broadcast || request.content.len() < SHORT {
        return None;
    }
    sha256(request.content.as_bytes())
        .as_bytes()
        .first_chunk()
        .copied()
}

impl Engine {
    /// Why a content may not be sent once more now.
    pub(super) fn check_duplicate(&self, request: &SendRequest, now: UnixMs) -> Result<(), Refusal> {
        let max = self.settings.duplicates;
        let count = tag(request).and_then(|tag| self.volatile.duplicates.recent(&tag, now));
        match count {
            Some(Count { since, sent }) if max > 0 && sent >= max => Err(Refusal::RateLimited {
                retry_after: (since + WINDOW_MS - now).div_ceil(1_000),
            }),
            _ => Ok(()),
        }
    }

    /// A message was queued.
    pub(super) fn count_content(&mut self, request: &SendRequest, now: UnixMs) {
        if let Some(tag) = tag(request) {
            self.volatile.duplicates.add(tag, now);
        }
    }
}
