//! What one socket or stream of events is told, in order.
//!
//! A feed is a cursor over the order in which messages became visible. It reads the rows after its
//! cursor; once there are none, it waits for notices. The notice of the message that comes next is
//! told as it is, any other shows that the feed is behind, and it reads again: notices are hints, the
//! state is the truth. So backlog and live traffic are one walk in one order, and nothing can fall
//! between them, come twice or overtake.
//!
//! Up to the place at which a feed began, only the backlog is told: what is not settled and not on
//! its way by another socket. Own messages between those are echoed, for without them a client sees
//! holes in a conversation's numbers. After it, everything is told, own messages too. What is muted is
//! passed over: sync has it, whatever is leased.

use std::collections::{HashSet, VecDeque};

use axum::extract::ws::Utf8Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use super::{super::ApiState, frames, lease::Places};
use crate::{
    clock,
    engine::Notice,
    model::{DeliveryId, LocalConversation, Message},
    state::{Beginning, VisibleRow},
};

/// Most messages that are looked at at once.
const ROWS: usize = 128;
/// Read no further once so many bytes of text wait.
const BYTES: usize = 256 * 1024;

/// Something to be told.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// JSON.
    pub(super) text: Utf8Bytes,
    /// The place of the message that it tells.
    pub(super) place: Option<u64>,
    /// The delivery of the message that it tells, if it is inbound.
    pub(super) delivery: Option<DeliveryId>,
}

/// Why a feed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The engine has ended.
    Stopped,
    /// The state cannot be read.
    Unreadable,
}

/// Where a feed begins.
#[derive(Debug)]
pub(super) struct Scope {
    /// After this place everything is told, before it only the backlog.
    pub(super) live_after: u64,
    /// The places of the backlog that may be told.
    pub(super) backlog: Places,
}

/// See the module's documentation.
pub(super) struct Feed {
    state: ApiState,
    /// None while nothing is kept for this feed.
    notices: Option<Receiver<Notice>>,
    scope: Option<Walk>,
    /// Everything up to here was told, or is not for this feed.
    place: u64,
    behind: bool,
    reading: Option<BoxFuture<'static, Result<Read, Ended>>>,
    waiting: VecDeque<Frame>,
}

/// What a walk over the rows remembers.
struct Walk {
    scope: Scope,
    /// Conversations of which something was told before `live_after`.
    begun: HashSet<LocalConversation>,
}

struct Read {
    walk: Walk,
    frames: VecDeque<Frame>,
    up_to: u64,
    more: bool,
}

impl Feed {
    /// Subscribes first: what becomes visible from then on is heard of.
    pub(super) fn subscribe(state: &ApiState) -> Receiver<Notice> {
        state.backend().notices()
    }

    /// A feed from what stood there after `notices` had been subscribed to.
    pub(super) fn new(
        state: ApiState,
        notices: Receiver<Notice>,
        beginning: &Beginning,
        scope: Scope,
    ) -> Self {
        let oldest = beginning
            .unsettled
            .map_or(scope.live_after, |place| place.saturating_sub(1));
        Self {
            state,
            notices: Some(notices),
            place: oldest.min(scope.live_after),
            scope: Some(Walk {
                scope,
                begun: HashSet::new(),
            }),
            behind: true,
            reading: None,
            waiting: VecDeque::new(),
        }
    }

    /// The next frame. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Frame, Ended> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            if self.behind {
                self.read_on().await?;
                continue;
            }
            let Some(notices) = &mut self.notices else {
                continue;
            };
            match notices.recv().await {
                Ok(notice) => self.hear(notice),
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Err(Ended::Stopped),
            }
        }
    }

    /// The next frame if it is there already.
    pub(super) fn ready(&mut self) -> Result<Option<Frame>, Ended> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(Some(frame));
            }
            let state = &self.state;
            let notices = self.notices.get_or_insert_with(|| Self::subscribe(state));
            if self.behind {
                return Ok(None);
            }
            match notices.try_recv() {
                Ok(notice) => self.hear(notice),
                Err(TryRecvError::Lagged(_)) => self.behind = true,
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Closed) => return Err(Ended::Stopped),
            }
        }
    }

    /// Hears nothing until it is asked again, so that nothing is kept for it; the rows tell then what
    /// became visible. What is no message is lost.
    pub(super) fn fall_behind(&mut self) {
        self.notices = None;
        self.behind = true;
    }

    fn hear(&mut self, notice: Notice) {
        let Notice::Message(message) = notice else {
            let text = frames::other(&notice);
            self.waiting.extend(text.map(|text| Frame {
                text,
                place: None,
                delivery: None,
            }));
            return;
        };
        if message.place == self.place + 1 {
            self.place = message.place;
            if !message.is_muted(clock::unix()) {
                self.waiting
                    .push_back(self.state.live().frame(&self.state, &message));
            }
        } else if message.place > self.place {
            self.behind = true;
        }
    }

    async fn read_on(&mut self) -> Result<(), Ended> {
        if self.reading.is_none() {
            let Some(walk) = self.scope.take() else {
                return Err(Ended::Unreadable);
            };
            self.reading = Some(Box::pin(read(self.state.clone(), walk, self.place)));
        }
        if let Some(reading) = &mut self.reading {
            let read = reading.as_mut().await;
            self.reading = None;
            let read = read?;
            self.scope = Some(read.walk);
            self.place = read.up_to;
            self.behind = read.more;
            self.waiting.extend(read.frames);
        }
        Ok(())
    }
}

/// Reads the rows after a place and makes frames of them, on a thread that may block.
async fn read(state: ApiState, mut walk: Walk, after: u64) -> Result<Read, Ended> {
    let me = state.me().handle.to_string();
    let read = state.read(move |backend| {
        let stretch = backend.stretch(after, ROWS, BYTES, &mut |row| walk.wants(row))?;
        let now = clock::unix();
        let loud = stretch.messages.iter().filter(|message| !message.is_muted(now));
        let frames = loud.map(|message| Frame::of(message, &me));
        Ok(Read {
            frames: frames.collect(),
            walk,
            up_to: stretch.up_to,
            more: stretch.more,
        })
    });
    read.await.map_err(|_| Ended::Unreadable)
}

impl Walk {
    fn wants(&mut self, row: &VisibleRow) -> bool {
        if row.place > self.scope.live_after {
            return true;
        }
        if row.own {
            return self.begun.contains(&row.conversation);
        }
        let mine = self
            .scope
            .backlog
            .iter()
            .any(|places| places.contains(&row.place));
        let wanted = mine && !row.settled;
        if wanted {
            self.begun.insert(row.conversation);
        }
        wanted
    }
}

impl Frame {
    pub(super) fn of(message: &Message, me: &str) -> Self {
        Self {
            text: frames::message(message, me),
            place: Some(message.place),
            delivery: message.delivery,
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
