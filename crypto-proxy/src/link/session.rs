//! One socket from welcome to end: pipelined sends, coalesced acks, deliveries in order.
//!
//! Four loops share one task: one takes commands in, one writes, one reads and reports, one watches
//! the clock. Taking in waits for nothing, writing for the relay, reading for the engine. A send is
//! entered in [`Flight`] before anything can interrupt and leaves it after its outcome was reported,
//! so every send has one.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;
use waxwire_shared::{
    api::frames::{ClientFrame, Notice, RelayFrame},
    limits,
};

use super::{
    LinkCommand, Reports,
    cursors::Cursors,
    flight::Flight,
    http::parse_problem,
    lease::{Lease, Standing},
    socket::{Heard, STEP, Socket, fault_of, heard},
    status::LinkFault,
};
use crate::{
    engine::{LinkEvent, RelayCall, SendOutcome},
    model::SendToken,
};

/// How far apart frames with acks are: what comes in between shares the next one.
const ACKS: Duration = Duration::from_millis(5);
/// How long the relay may owe the answer to a send.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the relay is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);
/// How long the relay may give none.
const SILENCE: Duration = Duration::from_secs(45);
/// How often the two are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long taking leave may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Most envelopes that wait to be passed on; what comes then is lost.
const PASSING: usize = 512;
/// Most members of a group that a notice names.
const SKIPPED: usize = 256;
/// Most commands or sends between two looks at the rest.
const BATCH: usize = 64;

type Sink = SplitSink<Socket, Message>;

/// What a session needs of the link.
pub(super) struct Session<'a, E> {
    engine: &'a E,
    calls: &'a mpsc::UnboundedSender<RelayCall>,
    cursors: &'a Mutex<Cursors>,
    lease: &'a Lease,
    pulse: Mutex<Pulse>,
    /// There may be something to write.
    work: Notify,
}

/// How a session ended.
pub(super) struct Ended {
    /// Why.
    pub(super) fault: LinkFault,
    /// Whether the relay sent anything but the welcome.
    pub(super) traffic: bool,
    /// How long it lasted.
    pub(super) lived: Duration,
    /// Sends without an outcome, in order.
    pub(super) unsettled: Vec<SendToken>,
}

/// What the loops share.
struct Pulse {
    flight: Flight,
    /// Frames that nobody answers, and whether the agent is to count as online.
    passing: VecDeque<Vec<u8>>,
    show: Option<bool>,
    /// When something was last heard.
    heard: Instant,
    /// Since when nobody listens because the engine is busy.
    engaged: Option<Instant>,
    traffic: bool,
    /// What was told of a send whose answer comes next.
    notice: Option<(u32, Notice)>,
}

impl<'a, E: Reports> Session<'a, E> {
    pub(super) fn new(
        engine: &'a E,
        calls: &'a mpsc::UnboundedSender<RelayCall>,
        cursors: &'a Mutex<Cursors>,
        lease: &'a Lease,
    ) -> Self {
        let pulse = Pulse {
            flight: Flight::default(),
            passing: VecDeque::new(),
            show: None,
            heard: Instant::now(),
            engaged: None,
            traffic: false,
            notice: None,
        };
        Self {
            engine,
            calls,
            cursors,
            lease,
            pulse: Mutex::new(pulse),
            work: Notify::new(),
        }
    }

    /// Runs until the socket ends, the engine wants another one, or `cancel`.
    pub(super) async fn run(
        self,
        socket: Socket,
        commands: &mut mpsc::UnboundedReceiver<LinkCommand>,
        cancel: &CancellationToken,
    ) -> Ended {
        let started = Instant::now();
        let (mut sink, stream) = socket.split();
        // In random order: whoever is always ready must not keep the others from being polled.
        let fault = tokio::select! {
            () = cancel.cancelled() => LinkFault::Stopping,
            fault = self.watch() => fault,
            fault = self.read(stream) => fault,
            fault = self.write(&mut sink) => fault,
            fault = self.take_commands(commands) => fault,
        };
        if fault == LinkFault::Stopping {
            // The relay finds out by itself if it does not hear this.
            let _late = timeout(GOODBYE, self.take_leave(&mut sink)).await;
        }
        let pulse = self.pulse.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ended {
            fault,
            traffic: pulse.traffic,
            lived: started.elapsed(),
            unsettled: pulse.flight.into_unsettled().collect(),
        }
    }

    async fn read(&self, mut stream: SplitStream<Socket>) -> LinkFault {
        loop {
            let heard = heard(stream.next().await);
            self.pulse().heard = Instant::now();
            let done = match heard {
                Ok(Heard::Frame(bytes)) => self.on_frame(&bytes).await,
                Ok(Heard::Alive) => Ok(()),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                return fault;
            }
        }
    }

    async fn on_frame(&self, bytes: &[u8]) -> Result<(), LinkFault> {
        let frame = RelayFrame::decode(bytes).map_err(|_| LinkFault::Malformed)?;
        self.pulse().traffic = true;
        match frame {
            RelayFrame::Stored {
                request,
                repeated,
                envelope_id: _,
                hash,
            } => {
                let notice = self.pulse().notice.take_if(|(about, _)| *about == request);
                let outcome = SendOutcome::Stored {
                    repeated,
                    hash,
                    notice: notice.map(|(_, notice)| Box::new(notice)),
                };
                self.settle(request, outcome).await?;
            }
            RelayFrame::Notice { request, notice } if notice.skipped.len() <= SKIPPED => {
                self.pulse().notice = Some((request, notice));
            }
            RelayFrame::Refused {
                request,
                status,
                problem,
            } => {
                let problem = parse_problem(status, problem).ok_or(LinkFault::Malformed)?;
                self.settle(request, SendOutcome::Refused(Box::new(problem)))
                    .await?;
            }
            RelayFrame::Deliver(delivery) if delivery.cursor.position > 0 => {
                let (cursor, object) = (delivery.cursor, delivery.object.to_vec());
                self.report(LinkEvent::Delivered { cursor, object }).await;
            }
            RelayFrame::Head(cursor) => self.report(LinkEvent::Head(cursor)).await,
            RelayFrame::Lease(lease) => self.report(LinkEvent::Lease(lease.to_vec())).await,
            RelayFrame::Transient(envelope) if envelope.len() <= limits::TRANSIENT => {
                self.report(LinkEvent::Transient(envelope.to_vec())).await;
            }
            RelayFrame::Presence(seen) => self.report(LinkEvent::Seen(seen)).await,
            RelayFrame::Deliver(_)
            | RelayFrame::Welcome { .. }
            | RelayFrame::Transient(_)
            | RelayFrame::Notice { .. } => return Err(LinkFault::Malformed),
        }
        Ok(())
    }

    /// Reports an outcome. The send is settled after the report: if the session ends in between,
    /// its outcome is unknown, not missing.
    async fn settle(&self, request: u32, outcome: SendOutcome) -> Result<(), LinkFault> {
        let token = self.pulse().flight.token(request).ok_or(LinkFault::Malformed)?;
        self.report(LinkEvent::Outcome(token, outcome)).await;
        if self.pulse().flight.settle(request, Instant::now()) {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Reports; meanwhile nobody listens, which is not held against the relay.
    async fn report(&self, event: LinkEvent) {
        let from = Instant::now();
        self.pulse().engaged = Some(from);
        self.engine.report(event).await;
        let now = Instant::now();
        let mut pulse = self.pulse();
        pulse.engaged = None;
        pulse.heard = now;
        pulse.flight.forgive(now - from, now);
    }

    async fn watch(&self) -> LinkFault {
        let mut ticks = interval(WATCH);
        loop {
            let now = ticks.tick().await;
            let pulse = self.pulse();
            let silent = now.saturating_duration_since(pulse.heard) >= SILENCE;
            let owing = pulse
                .flight
                .owed_since()
                .is_some_and(|since| now >= since + ANSWER);
            if pulse.engaged.is_none() && (silent || owing) {
                return LinkFault::Silent;
            }
        }
    }

    async fn take_commands(&self, commands: &mut mpsc::UnboundedReceiver<LinkCommand>) -> LinkFault {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if commands.recv_many(&mut batch, BATCH).await == 0 {
                return LinkFault::Stopping;
            }
            if self.take_in(&mut batch) {
                return LinkFault::Reset;
            }
            self.work.notify_one();
        }
    }

    /// Takes a batch over at once. True if one of the commands is a reset.
    fn take_in(&self, batch: &mut Vec<LinkCommand>) -> bool {
        let mut reset = false;
        let mut pulse = self.pulse();
        for command in batch.drain(..) {
            match command {
                LinkCommand::Send { token, envelope } => pulse.flight.enqueue(token, envelope),
                LinkCommand::Transient(envelope) if pulse.passing.len() < PASSING => {
                    pulse
                        .passing
                        .push_back(ClientFrame::Transient(&envelope).encode());
                }
                LinkCommand::Transient(_) => {}
                LinkCommand::Show(shown) => pulse.show = Some(shown),
                LinkCommand::Ack(cursors) => self.cursors().ack(cursors),
                LinkCommand::Call(call) => {
                    // The calls end only after the link has.
                    let _ended = self.calls.send(call);
                }
                LinkCommand::Lineage(lineage) => {
                    self.cursors().begin(lineage);
                    reset = true;
                }
                LinkCommand::Reset => reset = true,
                // It is awake.
                LinkCommand::Wake => {}
                LinkCommand::Lease(lease) => {
                    self.lease.set(Standing::Under(lease.into()));
                    reset = true;
                }
                LinkCommand::StandDown(fault) => {
                    self.lease.set(Standing::Down(fault));
                    reset = true;
                }
            }
        }
        reset
    }

    async fn write(&self, sink: &mut Sink) -> LinkFault {
        let now = Instant::now();
        let mut ping = interval_at(now + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_ack = now;
        loop {
            let ack_at = self.cursors().any_untold().then_some(next_ack);
            let written = tokio::select! {
                () = self.work.notified() => self.write_work(sink).await,
                () = until(ack_at) => {
                    next_ack = Instant::now() + ACKS;
                    self.write_acks(sink).await
                }
                _ = ping.tick() => in_time(sink.send(Message::Ping(tungstenite::Bytes::new()))).await,
            };
            if let Err(fault) = written {
                return fault;
            }
        }
    }

    async fn write_work(&self, sink: &mut Sink) -> Result<(), LinkFault> {
        self.write_sends(sink).await?;
        let (show, passing) = {
            let mut pulse = self.pulse();
            (pulse.show.take(), std::mem::take(&mut pulse.passing))
        };
        if show.is_none() && passing.is_empty() {
            return Ok(());
        }
        let show = show.map(|shown| ClientFrame::Presence { shown }.encode());
        for frame in show.into_iter().chain(passing) {
            in_time(sink.feed(Message::binary(frame))).await?;
        }
        in_time(sink.flush()).await
    }

    async fn write_sends(&self, sink: &mut Sink) -> Result<(), LinkFault> {
        loop {
            let mut count = 0;
            while count < BATCH {
                let Some((request, envelope)) = self.pulse().flight.next() else {
                    break;
                };
                let frame = ClientFrame::Send {
                    request,
                    envelope: &envelope,
                }
                .encode();
                in_time(sink.feed(Message::binary(frame))).await?;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            in_time(sink.flush()).await?;
            self.pulse().flight.written(Instant::now());
        }
    }

    async fn write_acks(&self, sink: &mut Sink) -> Result<(), LinkFault> {
        let cursors = self.cursors().take_untold();
        in_time(sink.send(Message::binary(ClientFrame::Ack(cursors).encode()))).await
    }

    async fn take_leave(&self, sink: &mut Sink) -> Result<(), LinkFault> {
        while self.cursors().any_untold() {
            self.write_acks(sink).await?;
        }
        let close = CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        };
        in_time(sink.send(Message::Close(Some(close)))).await
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One step of writing: a relay that does not read for long is gone.
async fn in_time(step: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), LinkFault> {
    match timeout(STEP, step).await {
        Ok(written) => written.map_err(|error| fault_of(&error)),
        Err(_) => Err(LinkFault::Silent),
    }
}
