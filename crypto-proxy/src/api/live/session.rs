//! One socket, from its first frame to its end.
//!
//! One task owns the socket. It writes what its feed tells and takes what the client says; what that
//! asks of the engine waits in it, bounded, and is asked one command after another.

mod asking;

use std::{error::Error as _, pin::Pin, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite;

use self::asking::Asking;
use super::{
    super::ApiState,
    client::{Hello, Said},
    feed::{Ended, Feed, Frame, Scope},
    frames,
    lease::Lease,
    socket::slot,
};

/// How long a client may take to say hello.
const HELLO: Duration = Duration::from_secs(5);
/// How often a client is asked whether it is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// How long a client may leave unread what was written, and after which time it is told from the rows.
const WRITE: Duration = Duration::from_secs(10);
const STUCK: Duration = Duration::from_secs(1);
/// How long a client may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// The same for a client that has to read much before it.
const GOODBYE_SLOW: Duration = Duration::from_secs(20);
/// How long the engine may take for what a client has asked at its end.
const FINISH: Duration = Duration::from_secs(4);
/// Most frames that are written before the client is listened to.
const BATCH: usize = 64;

/// How a client was let in.
pub(super) enum Entry {
    /// It has shown the token or a ticket.
    Known {
        /// Its place among the sockets.
        slot: OwnedSemaphorePermit,
        /// Whether it acknowledges each message.
        ack: bool,
    },
    /// It has to say hello, and has a place among those who have not.
    Stranger(OwnedSemaphorePermit),
}

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has closed it.
    Closed,
    /// The connection broke.
    Gone,
    /// The client did not show a valid token in time.
    Expired(&'static str),
    /// The client sent what is no frame.
    Violation(&'static str),
    /// There are too many sockets.
    Full,
    /// The proxy stops.
    Draining,
    /// No pong came.
    Silent,
    /// The client does not read what is written.
    Slow,
    /// The proxy failed.
    Fault,
}

impl End {
    /// Close code and reason; none if nobody is there to read it.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Closed | Self::Gone => None,
            Self::Expired(reason) | Self::Violation(reason) => Some((close_code::POLICY, reason)),
            Self::Full => Some((close_code::AGAIN, "too many sockets")),
            Self::Draining => Some((close_code::AWAY, "the proxy stops")),
            Self::Silent => Some((close_code::AWAY, "no pong")),
            Self::Slow => Some((close_code::AGAIN, "slow reader")),
            Self::Fault => Some((close_code::ERROR, "internal error")),
        }
    }
}

/// Whether the client was asked if it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    Quiet,
    Asked,
    Answered,
}

struct Session {
    state: ApiState,
    socket: WebSocket,
    asking: Asking,
    /// Whether something was written that is not flushed.
    dirty: bool,
}

/// A session that was let in.
struct Course {
    feed: Feed,
    lease: Option<Lease>,
    liveness: Liveness,
    slot: OwnedSemaphorePermit,
}

enum Event {
    Frame(Result<Frame, Ended>),
    Said(Option<Result<Message, axum::Error>>),
    Answered,
    Timer,
    Stop,
}

/// Serves a socket until it ends.
pub(super) async fn run(socket: WebSocket, state: ApiState, entry: Entry) {
    let asking = Asking::new(state.clone());
    let mut session = Session {
        state,
        socket,
        asking,
        dirty: false,
    };
    let (end, course) = match session.enter(entry).await {
        Ok(mut course) => (session.drive(&mut course).await, Some(course)),
        Err(end) => (end, None),
    };
    tracing::debug!(?end, "socket ends");
    session.leave(end, course).await;
}

impl Session {
    /// Makes sure who is there, and says hello.
    async fn enter(&mut self, entry: Entry) -> Result<Course, End> {
        let (slot, ack) = match entry {
            Entry::Known { slot, ack } => (slot, ack),
            Entry::Stranger(_among) => {
                let hello = self.await_hello().await?;
                if !self.state.token().matches(hello.token.as_bytes()) {
                    return Err(End::Expired("the token is wrong"));
                }
                let slot = slot(&self.state.live().sockets).map_err(|_| End::Full)?;
                (slot, hello.ack)
            }
        };
        let notices = Feed::subscribe(&self.state);
        let beginning = self.state.read(|backend| backend.beginning()).await;
        let beginning = beginning.map_err(|_| End::Fault)?;
        let leases = self.state.live().leases();
        let (lease, backlog) = if ack {
            let (lease, backlog) = leases.take(beginning.last);
            (Some(lease), backlog)
        } else {
            (None, leases.free())
        };
        let scope = Scope {
            live_after: beginning.last,
            backlog,
        };
        let feed = Feed::new(self.state.clone(), notices, &beginning, scope);
        let mut course = Course {
            feed,
            lease,
            liveness: Liveness::Quiet,
            slot,
        };
        self.write(&mut course.feed, Message::Text(frames::hello_ok(ack)))
            .await?;
        Ok(course)
    }

    async fn await_hello(&mut self) -> Result<Hello, End> {
        let stopping = self.state.stopping().clone();
        let hello = async {
            loop {
                match self.socket.recv().await {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(Said::Hello(hello)) = Said::parse(&text) {
                            return Ok(hello);
                        }
                    }
                    Some(Ok(Message::Close(_))) => return Err(End::Closed),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(&error)),
                    None => return Err(End::Gone),
                }
            }
        };
        tokio::select! {
            hello = timeout_at(Instant::now() + HELLO, hello) => {
                hello.unwrap_or(Err(End::Expired("no hello in time")))
            }
            () = stopping.cancelled() => Err(End::Draining),
        }
    }

    async fn drive(&mut self, course: &mut Course) -> End {
        let timer = tokio::time::sleep(PING);
        tokio::pin!(timer);
        loop {
            if let Err(end) = self.turn(course, timer.as_mut()).await {
                return end;
            }
        }
    }

    /// Writes what there is, then waits for the next thing to happen.
    async fn turn(&mut self, course: &mut Course, mut timer: Pin<&mut Sleep>) -> Result<(), End> {
        for _ in 0..BATCH {
            if self.asking.is_full() {
                break;
            }
            let Some(frame) = course.feed.ready()? else { break };
            self.tell(course, frame).await?;
        }
        self.flush(&mut course.feed).await?;
        match self.next_event(course, timer.as_mut()).await {
            Event::Frame(frame) => self.tell(course, frame?).await,
            Event::Said(Some(Ok(message))) => self.take(course, message),
            Event::Said(Some(Err(error))) => Err(broken(&error)),
            Event::Said(None) => Err(End::Gone),
            Event::Answered => Ok(()),
            Event::Timer => self.check_liveness(course, timer).await,
            Event::Stop => Err(End::Draining),
        }
    }

    async fn next_event(&mut self, course: &mut Course, timer: Pin<&mut Sleep>) -> Event {
        let room = !self.asking.is_full();
        tokio::select! {
            frame = course.feed.next(), if room => Event::Frame(frame),
            message = self.socket.recv(), if room => Event::Said(message),
            () = self.asking.answered() => Event::Answered,
            () = timer => Event::Timer,
            () = self.state.stopping().cancelled() => Event::Stop,
        }
    }

    async fn tell(&mut self, course: &mut Course, frame: Frame) -> Result<(), End> {
        self.write(&mut course.feed, Message::Text(frame.text)).await?;
        if course.lease.is_none() {
            self.asking.written(frame.delivery);
        }
        Ok(())
    }

    /// Understands what the client says; what is not understood is passed over.
    fn take(&mut self, course: &mut Course, message: Message) -> Result<(), End> {
        if course.liveness == Liveness::Asked {
            course.liveness = Liveness::Answered;
        }
        match message {
            Message::Text(text) => self.asking.hear(&text),
            Message::Close(_) => return Err(End::Closed),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
        Ok(())
    }

    async fn check_liveness(&mut self, course: &mut Course, timer: Pin<&mut Sleep>) -> Result<(), End> {
        let (next, wait) = match course.liveness {
            Liveness::Asked => return Err(End::Silent),
            Liveness::Answered => (Liveness::Quiet, PING - PONG),
            Liveness::Quiet => (Liveness::Asked, PONG),
        };
        course.liveness = next;
        timer.reset(Instant::now() + wait);
        if next == Liveness::Asked {
            self.write(&mut course.feed, Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    async fn write(&mut self, feed: &mut Feed, message: Message) -> Result<(), End> {
        self.dirty = true;
        patiently(self.socket.feed(message), feed).await
    }

    async fn flush(&mut self, feed: &mut Feed) -> Result<(), End> {
        if std::mem::take(&mut self.dirty) {
            patiently(self.socket.flush(), feed).await?;
            self.asking.flushed();
        }
        Ok(())
    }

    /// Says goodbye. What the client has said until then is done before its lease ends.
    async fn leave(mut self, end: End, course: Option<Course>) {
        let (lease, _slot) = course.map(|course| (course.lease, course.slot)).unzip();
        // Whoever does not read keeps nothing from others.
        let lease = lease.flatten().filter(|_| end != End::Slow);
        if let End::Expired(reason) = end {
            let expired = self.socket.feed(Message::Text(frames::session_expired(reason)));
            // A client that does not read it is closed all the same.
            drop(timeout(GOODBYE, expired).await);
        }
        if end != End::Gone {
            let patience = if end == End::Slow { GOODBYE_SLOW } else { GOODBYE };
            drop(timeout(patience, self.goodbye(end)).await);
        }
        if timeout(FINISH, self.asking.finish()).await.is_err() {
            tracing::debug!("what a socket asked was not answered in time");
        }
        drop(lease);
    }

    async fn goodbye(&mut self, end: End) {
        if let Some((code, reason)) = end.close() {
            let reason = Utf8Bytes::from_static(reason);
            let close = Message::Close(Some(CloseFrame { code, reason }));
            if self.socket.send(close).await.is_err() {
                return;
            }
        }
        loop {
            tokio::select! {
                message = self.socket.recv(), if !self.asking.is_full() => match message {
                    Some(Ok(Message::Text(text))) => self.asking.hear(&text),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                () = self.asking.answered() => {}
            }
        }
    }
}

/// Waits until something was written. A feed whose client does not read for a while is told from the
/// rows later: nothing is kept for it.
async fn patiently(
    writing: impl Future<Output = Result<(), axum::Error>>,
    feed: &mut Feed,
) -> Result<(), End> {
    tokio::pin!(writing);
    let written = match timeout(STUCK, writing.as_mut()).await {
        Ok(written) => written,
        Err(_) => {
            feed.fall_behind();
            timeout(WRITE - STUCK, writing).await.map_err(|_| End::Slow)?
        }
    };
    written.map_err(|_| End::Gone)
}

/// Why nothing more can be read.
fn broken(error: &axum::Error) -> End {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(tungstenite::Error::Capacity(_)) => End::Violation("a frame is too large"),
        Some(tungstenite::Error::Utf8(_)) => End::Violation("text is not UTF-8"),
        _ => End::Gone,
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Stopped => Self::Draining,
            Ended::Unreadable => Self::Fault,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
