//! The live face: sockets and streams of events (docs/proxy-api.md, Live).
//!
//! [`feed`] says what is told and in which order, [`frames`] how; [`lease`] keeps what is on its way
//! by one socket from being offered elsewhere. [`socket`] lets a client in, [`session`] serves it;
//! [`events`] is the same feed as server-sent events.

mod client;
mod events;
mod feed;
mod frames;
mod lease;
mod session;
mod socket;
mod ticket;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::client::is_frame;
pub(crate) use self::frames::{message_payload, other_payload};
pub(super) use self::{
    events::{__path_events, events},
    lease::Leases,
    socket::{__path_open, __path_ticket, is_socket, open, ticket},
};
use self::{feed::Frame, ticket::Tickets};
use super::ApiState;
use crate::model::Message;

/// Clients that were let in to say who they are and have not yet.
const STRANGERS: usize = 16;
/// Frames of the newest messages that are kept, so that they are made once for all sockets.
const SHARED: usize = 16;
/// How long sockets may take to say goodbye when the proxy stops.
const DRAIN: Duration = Duration::from_secs(8);

/// What all sockets and streams share.
#[derive(Debug)]
pub(super) struct Live {
    leases: Leases,
    tickets: Tickets,
    sockets: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    shared: Mutex<VecDeque<Frame>>,
    tasks: TaskTracker,
}

impl Live {
    /// For so many sockets and as many streams; 0 is no limit.
    pub(super) fn new(limit: usize) -> Self {
        let limit = match limit {
            0 => Semaphore::MAX_PERMITS,
            limit => limit.min(Semaphore::MAX_PERMITS),
        };
        Self {
            leases: Leases::default(),
            tickets: Tickets::default(),
            sockets: Arc::new(Semaphore::new(limit)),
            streams: Arc::new(Semaphore::new(limit)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            shared: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// What is on its way by sockets.
    pub(super) const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The frame of a message that became visible now.
    fn frame(&self, state: &ApiState, message: &Message) -> Frame {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frame) = shared.iter().find(|frame| frame.place == Some(message.place)) {
            return frame.clone();
        }
        let frame = Frame::of(message, state.me().handle.as_str());
        if shared.len() == SHARED {
            shared.pop_front();
        }
        shared.push_back(frame.clone());
        frame
    }

    /// Waits until every socket has said goodbye, which they do once the proxy stops.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("a socket did not end in time and is dropped");
        }
    }
}

/// The text of a frame, for tests.
#[cfg(test)]
fn value(text: &axum::extract::ws::Utf8Bytes) -> serde_json::Value {
    serde_json::from_str(text.as_str()).unwrap()
}
