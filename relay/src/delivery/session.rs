//! One socket of an agent, from its first frame to its end.
//!
//! One task owns the socket. It writes answers and pushes from its inbox, reads the table where a
//! queue is behind, and takes frames while not too many sends wait for their answers. Everything
//! that waits in it is bounded.

mod pushes;
mod start;

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::time::{Instant, Sleep};
use waxwire_shared::api::{
    frames::{ClientFrame, Cursor, Delivery as DeliveryFrame, Queue, RelayFrame},
    problem::Problem,
};

use super::{
    Delivery,
    hub::Attached,
    inbox::{Answer, Closing},
    queue_set::QueueSet,
    queue_state::QueueState,
    send::{self, SendRefusal},
};
use crate::store::{Account, Page, QueueHead, Range, ReadError, Reply, View};

/// Most sends of a socket that wait for their answers; beyond it the socket is not read.
const IN_FLIGHT: usize = 256;
/// Most envelopes and bytes that are read from the table at once.
const READ_ROWS: usize = 64;
const READ_BYTES: usize = 512 * 1024;

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The peer closed it, or the connection broke.
    Gone,
    /// The peer sent what is not a frame of this interface.
    Violation(&'static str),
    /// The account may not be used any more.
    Closing(Closing),
    /// The relay stops.
    Draining,
    /// No pong came.
    Silent,
    /// The peer did not read what was written for too long.
    Slow,
    /// The relay failed.
    Fault,
}

impl End {
    /// Close code and reason; none if nobody is there to read it.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Gone => None,
            Self::Violation(reason) => Some((close_code::POLICY, reason)),
            Self::Closing(Closing::KeyReplaced) => {
                Some((close_code::POLICY, "the API key is not valid any more"))
            }
            Self::Closing(Closing::Suspended) => Some((close_code::POLICY, "the agent is suspended")),
            Self::Draining => Some((close_code::AWAY, "the relay stops")),
            Self::Silent => Some((close_code::AWAY, "no pong")),
            Self::Slow => Some((close_code::AGAIN, "slow reader")),
            Self::Fault => Some((close_code::ERROR, "internal error")),
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = (usize, Result<Option<Page>, ReadError>)> + Send>>;

/// When the peer was asked whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    Quiet,
    Asked,
    Answered,
}

struct Session {
    delivery: Arc<Delivery>,
    account: Account,
    attached: Attached,
    request_id: Arc<str>,
    queues: QueueSet,
    sends: Sends,
    reading: Option<Reading>,
    liveness: Liveness,
    draining: bool,
    /// Whether something was written that is not flushed.
    dirty: bool,
}

/// Sends of a socket that wait for their answers, which are given in the order of the sends.
#[derive(Debug, Default)]
struct Sends {
    /// At the store.
    in_flight: usize,
    /// Refused without asking the store: after so many answers of it, and the name of the send.
    refused: VecDeque<(usize, u32, SendRefusal)>,
}

impl Sends {
    fn len(&self) -> usize {
        self.in_flight + self.refused.len()
    }

    fn refuse(&mut self, request: u32, refusal: SendRefusal) {
        self.refused.push_back((self.in_flight, request, refusal));
    }

    /// The store has answered one.
    fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for (before, ..) in &mut self.refused {
            *before = before.saturating_sub(1);
        }
    }

    /// The next refusal, if all sends before it are answered.
    fn next_refusal(&mut self) -> Option<(u32, SendRefusal)> {
        let (_, request, refusal) = self.refused.pop_front_if(|(before, ..)| *before == 0)?;
        Some((request, refusal))
    }
}

enum Event {
    Mail,
    Frame(Option<Result<Message, axum::Error>>),
    Page(usize, Result<Option<Page>, ReadError>),
    Timer,
    Drain,
}

/// Serves a socket until it ends.
pub async fn run(
    mut socket: WebSocket,
    delivery: Arc<Delivery>,
    account: Account,
    attached: Attached,
    request_id: Arc<str>,
) {
    let mut session = Session {
        delivery,
        account,
        attached,
        request_id,
        queues: QueueSet::default(),
        sends: Sends::default(),
        reading: None,
        liveness: Liveness::Quiet,
        draining: false,
        dirty: false,
    };
    let end = match session.start(&mut socket).await {
        Ok(()) => session.drive(&mut socket).await,
        Err(end) => end,
    };
    tracing::debug!(request_id = %session.request_id, ?end, "socket ends");
    let timing = session.delivery.timing.clone();
    session
        .delivery
        .metrics
        .waiting
        .add(-i64::try_from(session.sends.in_flight).unwrap_or(i64::MAX));
    drop(session);
    if let Some((code, reason)) = end.close() {
        close(socket, code, reason, timing.close).await;
    }
}

/// Says goodbye and gives the peer a moment to read it.
async fn close(mut socket: WebSocket, code: u16, reason: &'static str, patience: Duration) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A peer that does not answer in time is left.
    drop(tokio::time::timeout(patience, goodbye).await);
}

impl Session {
    async fn drive(&mut self, socket: &mut WebSocket) -> End {
        let timer = tokio::time::sleep(self.delivery.timing.ping);
        tokio::pin!(timer);
        loop {
            if let Err(end) = self.turn(socket, timer.as_mut()).await {
                return end;
            }
        }
    }

    /// Writes whatever can be written, then waits for the next thing to happen.
    async fn turn(&mut self, socket: &mut WebSocket, mut timer: Pin<&mut Sleep>) -> Result<(), End> {
        self.write_mail(socket).await?;
        self.catch_up(socket).await?;
        self.flush(socket).await?;
        if self.draining && self.sends.in_flight == 0 {
            return Err(End::Draining);
        }
        match self.next_event(socket, timer.as_mut()).await {
            Event::Mail => Ok(()),
            Event::Frame(None | Some(Err(_))) => Err(End::Gone),
            Event::Frame(Some(Ok(message))) => self.take_message(socket, message).await,
            Event::Page(index, page) => {
                self.reading = None;
                let page = page.map_err(|error| fault(&error))?;
                self.write_page(socket, index, page).await
            }
            Event::Timer if self.draining => Err(End::Draining),
            Event::Timer => self.check_liveness(socket, timer).await,
            Event::Drain => {
                self.draining = true;
                timer.reset(Instant::now() + self.delivery.timing.drain);
                Ok(())
            }
        }
    }

    async fn next_event(&mut self, socket: &mut WebSocket, timer: Pin<&mut Sleep>) -> Event {
        let takes_frames = self.sends.len() < IN_FLIGHT && !self.draining;
        let reading = async {
            match &mut self.reading {
                Some(reading) => reading.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.attached.inbox().arrived() => Event::Mail,
            message = socket.recv(), if takes_frames => Event::Frame(message),
            (index, page) = reading => Event::Page(index, page),
            () = timer => Event::Timer,
            () = self.delivery.shutdown.cancelled(), if !self.draining => Event::Drain,
        }
    }

    async fn write_answer(&mut self, socket: &mut WebSocket, answer: Answer) -> Result<(), End> {
        self.sends.answered();
        self.delivery.metrics.waiting.add(-1);
        match send::settle(answer.hash, answer.result) {
            Ok(accepted) => {
                self.delivery.metrics.accept(accepted.repeated);
                if let Some(notice) = accepted.notice {
                    let frame = RelayFrame::Notice {
                        request: answer.request,
                        notice: *notice,
                    };
                    self.write(socket, frame.encode().into()).await?;
                }
                let frame = RelayFrame::Stored {
                    request: answer.request,
                    repeated: accepted.repeated,
                    envelope_id: accepted.envelope_id,
                    hash: accepted.hash,
                };
                self.write(socket, frame.encode().into()).await?;
            }
            Err(refusal) => self.refuse(socket, answer.request, &refusal).await?,
        }
        self.write_refusals(socket).await
    }

    /// Those that no send before them keeps waiting.
    async fn write_refusals(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        while let Some((request, refusal)) = self.sends.next_refusal() {
            self.refuse(socket, request, &refusal).await?;
        }
        Ok(())
    }

    async fn refuse(
        &mut self,
        socket: &mut WebSocket,
        request: u32,
        refusal: &SendRefusal,
    ) -> Result<(), End> {
        let mut problem: Problem = refusal.problem();
        if let Some(kind) = problem.problem_type() {
            self.delivery.metrics.refuse(kind);
        }
        problem.instance = Some(self.request_id.to_string());
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let frame = RelayFrame::Refused {
            request,
            status: problem.status,
            problem: &body,
        };
        self.write(socket, frame.encode().into()).await
    }

    /// Announces queues that were read to their ends and starts reading one that was not.
    async fn catch_up(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let heads: Vec<Cursor> = self
            .queues
            .iter_mut()
            .filter_map(|state| {
                let position = state.take_announcement()?;
                Some(Cursor {
                    queue: state.queue(),
                    position,
                })
            })
            .collect();
        for cursor in heads {
            self.write(socket, RelayFrame::Head(cursor).encode().into())
                .await?;
        }
        if self.reading.is_some() || self.draining {
            return Ok(());
        }
        if let Some(next) = self.queues.next_read() {
            if let Some(state) = self.queues.at(next.index) {
                state.begin_read();
            }
            let store = self.delivery.store.clone();
            let range = Range {
                after: next.after,
                before: None,
                limit: next.rows.min(READ_ROWS),
                max_bytes: next.bytes.min(READ_BYTES),
            };
            self.reading = Some(Box::pin(async move {
                (next.index, store.read(next.view, range).await)
            }));
        }
        Ok(())
    }

    async fn write_page(
        &mut self,
        socket: &mut WebSocket,
        index: usize,
        page: Option<Page>,
    ) -> Result<(), End> {
        let (envelopes, end) = match page {
            Some(page) => {
                if let Some(state) = self.queues.at(index) {
                    state.found(page.head);
                }
                (page.envelopes, (!page.more).then_some(page.head))
            }
            // Nothing of it may be seen any more.
            None => (Vec::new(), self.queues.at(index).map(|state| state.head())),
        };
        for envelope in envelopes {
            let Some(state) = self.queues.at(index) else {
                return Ok(());
            };
            if envelope.position <= state.delivered() {
                // A push brought it while the table was read.
                continue;
            }
            let queue = state.queue();
            let frame = RelayFrame::Deliver(DeliveryFrame {
                cursor: Cursor {
                    queue,
                    position: envelope.position,
                },
                envelope_id: envelope.envelope_id,
                stored_at: envelope.stored_at,
                object: &envelope.bytes,
            })
            .encode();
            state.deliver(envelope.position, frame.len());
            self.delivery.metrics.read.add(1);
            if matches!(queue, Queue::Group(_) | Queue::Log(_)) {
                self.delivery.metrics.group_deliveries.add(1);
            }
            self.write(socket, frame.into()).await?;
        }
        if let Some(end) = end
            && let Some(state) = self.queues.at(index)
        {
            state.pass_over(end);
        }
        Ok(())
    }

    async fn take_message(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        if self.liveness == Liveness::Asked {
            self.liveness = Liveness::Answered;
        }
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Text(_) => return Err(End::Violation("frames are binary")),
            Message::Close(_) => return Err(End::Gone),
        };
        match ClientFrame::decode(&bytes) {
            Ok(ClientFrame::Send { request, envelope }) => {
                let envelope = bytes.slice_ref(envelope);
                self.take_send(socket, request, envelope).await
            }
            Ok(ClientFrame::Ack(cursors)) => {
                self.take_acks(&cursors);
                Ok(())
            }
            Ok(ClientFrame::Transient(envelope)) => {
                self.delivery.pass_on(&self.account, envelope).await;
                Ok(())
            }
            Ok(ClientFrame::Presence { shown }) => {
                self.attached.show(shown);
                Ok(())
            }
            Ok(ClientFrame::Resume(_)) => Err(End::Violation("resume is the first frame only")),
            Err(_) => Err(End::Violation("malformed frame")),
        }
    }

    async fn take_send(&mut self, socket: &mut WebSocket, request: u32, envelope: Bytes) -> Result<(), End> {
        match send::prepare(&self.account, envelope) {
            Err(refusal) => {
                self.sends.refuse(request, refusal);
                self.write_refusals(socket).await
            }
            Ok(send) => {
                self.sends.in_flight += 1;
                self.delivery.metrics.waiting.add(1);
                let sink = Arc::clone(self.attached.inbox());
                self.delivery
                    .store
                    .submit(send, Reply::Stream { sink, request })
                    .await;
                Ok(())
            }
        }
    }

    /// Queues that are not this agent's are passed over: it may have left a group a moment ago.
    fn take_acks(&mut self, cursors: &[Cursor]) {
        for cursor in cursors {
            if let Some(state) = self.queues.named(&cursor.queue) {
                state.ack(cursor.position);
                let position = cursor.position.min(state.head());
                self.delivery.store.note_ack(state.view(), position);
            }
        }
    }

    async fn check_liveness(&mut self, socket: &mut WebSocket, timer: Pin<&mut Sleep>) -> Result<(), End> {
        let timing = &self.delivery.timing;
        let (next, wait) = match self.liveness {
            Liveness::Asked => return Err(End::Silent),
            Liveness::Answered => (Liveness::Quiet, timing.ping.saturating_sub(timing.pong)),
            Liveness::Quiet => (Liveness::Asked, timing.pong),
        };
        self.liveness = next;
        timer.reset(Instant::now() + wait);
        if next == Liveness::Asked {
            self.feed(socket, Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    async fn write(&mut self, socket: &mut WebSocket, frame: Bytes) -> Result<(), End> {
        self.feed(socket, Message::Binary(frame)).await
    }

    async fn feed(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        self.dirty = true;
        match tokio::time::timeout(self.delivery.timing.write, socket.feed(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    async fn flush(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        match tokio::time::timeout(self.delivery.timing.write, socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }
}

/// Waits until the inbox says that the socket must end.
async fn closed(inbox: &super::Inbox) -> Closing {
    std::future::poll_fn(|context| inbox.poll_closing(context)).await
}

fn fault(error: &ReadError) -> End {
    tracing::error!(error = %crate::logging::chain(error), "a socket cannot read its queue");
    End::Fault
}
