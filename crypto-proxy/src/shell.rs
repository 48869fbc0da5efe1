//! Runs the engine: one thread takes the events that wait, handles them in one transaction,
//! commits, and only then carries the effects out.
//!
//! Nothing is sent before the transaction on which it rests has committed, and events that arrive
//! while a commit is under way share the next one (group commit without a timer).

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, oneshot};
use waxwire_outbound::traces;
use waxwire_shared::{
    handle_tag::handle_tag,
    ids::{Handle, RelayId},
};

use crate::{
    clock::{self, Clock},
    engine::{
        Command, Conflict, Effect, Engine, Event, KeyChange, LinkEvent, LookupError, Notice, Offer,
        RelayCall, Reply, RequestId,
    },
    fault, harden,
    keeper::Keeper,
    keystore::KeyStoreError,
    link::{LinkCommand, LinkFault, Reports},
    model::Refusal,
};

/// Events that wait before senders are held up.
const EVENTS: usize = 1_024;
/// Most events in one transaction.
const BATCH: usize = 256;
/// Notices that a slow reader may miss before it is told so.
const NOTICES: usize = 1_024;

type Answer = Result<Reply, Refusal>;
type Pending = Arc<Mutex<HashMap<RequestId, oneshot::Sender<Answer>>>>;

/// Talks to the running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    events: mpsc::Sender<Event>,
    pending: Pending,
    next_request: Arc<AtomicU64>,
    notices: broadcast::Sender<Notice>,
}

impl EngineHandle {
    /// Asks the engine and waits for its answer.
    ///
    /// # Errors
    /// The engine's [`Refusal`]; [`Refusal::Stopping`] when it has ended.
    pub async fn command(&self, command: Command) -> Answer {
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.pending).insert(id, answer);
        if self.events.send(Event::Command(id, command)).await.is_err() {
            lock(&self.pending).remove(&id);
            return Err(Refusal::Stopping);
        }
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// What becomes visible from now on. A reader that lags learns so and reads the state again.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}

impl Reports for EngineHandle {
    async fn report(&self, event: LinkEvent) {
        // A send fails only when the engine has ended, and then nobody needs the report.
        let _ended = self.events.send(Event::Link(event)).await;
    }
}

/// A started engine.
#[derive(Debug)]
pub struct Running {
    /// Talks to it.
    pub handle: EngineHandle,
    /// Ends when every [`EngineHandle`] is gone or [`Running::stop`] was called.
    thread: thread::JoinHandle<()>,
    stop: mpsc::Sender<()>,
}

impl Running {
    /// Lets the engine finish what waits, then ends it.
    pub async fn stop(self) {
        let _ended = self.stop.send(()).await;
        drop(self.handle);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the engine did not end in order");
        }
    }
}

/// Starts the engine on a thread of its own; link effects go to `link`, what is decided about keys
/// to `keeper`.
///
/// # Errors
/// When the thread or its timer cannot be made.
pub fn start(
    engine: Engine,
    clock: Clock,
    link: mpsc::UnboundedSender<LinkCommand>,
    keeper: Keeper,
) -> std::io::Result<Running> {
    let (events, inbox) = mpsc::channel(EVENTS);
    let (stop, stopped) = mpsc::channel(1);
    let (notices, _) = broadcast::channel(NOTICES);
    let pending = Pending::default();
    let outside = Outside {
        pending: Arc::clone(&pending),
        notices: notices.clone(),
        link,
        keeper,
        own: VecDeque::new(),
        relay: engine.relay(),
        events: events.downgrade(),
    };
    let timer = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // Tags of handles, one at a time.
        .max_blocking_threads(1)
        .build()?;
    let thread = thread::Builder::new()
        .name("engine".into())
        .spawn(move || timer.block_on(run(engine, clock, inbox, stopped, outside)))?;
    let handle = EngineHandle {
        events,
        pending,
        next_request: Arc::default(),
        notices,
    };
    Ok(Running { handle, thread, stop })
}

/// Where effects go.
struct Outside {
    pending: Pending,
    notices: broadcast::Sender<Notice>,
    link: mpsc::UnboundedSender<LinkCommand>,
    keeper: Keeper,
    /// What the engine learns from its own effects.
    own: VecDeque<Event>,
    relay: RelayId,
    /// Weak, or the engine would wait for itself to end.
    events: mpsc::WeakSender<Event>,
}

async fn run(
    mut engine: Engine,
    clock: Clock,
    mut inbox: mpsc::Receiver<Event>,
    mut stopped: mpsc::Receiver<()>,
    mut outside: Outside,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.extend(outside.own.drain(..));
        let due = if batch.is_empty() {
            engine.next_deadline()
        } else {
            Some(0)
        };
        let wait = due.map(|at| Duration::from_millis(at.saturating_sub(clock::unix())));
        tokio::select! {
            biased;
            count = inbox.recv_many(&mut batch, BATCH) => if count == 0 { break },
            _ = stopped.recv() => break,
            () = sleep(wait) => {}
        }
        // Also while events keep coming.
        if due.is_some_and(|at| at <= clock::unix()) {
            batch.push(Event::Tick);
            outside.retry_keys();
        }
        let span = tracing::info_span!(target: traces::TARGET, "batch", events = batch.len());
        let effects = span.in_scope(|| engine.handle_batch(batch.drain(..), clock.now()));
        for effect in effects {
            outside.carry_out(effect);
        }
        harden::scrub_stack();
    }
    engine.note_running_time(clock.now());
    outside.retry_keys();
    lock(&outside.pending).clear();
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

impl Outside {
    fn carry_out(&mut self, effect: Effect) {
        let command = match effect {
            Effect::Reply(id, answer) => {
                pass_reply(&answer);
                if let Some(waiting) = lock(&self.pending).remove(&id) {
                    // The agent may have hung up; its retry finds the outcome.
                    let _gone = waiting.send(answer);
                }
                return;
            }
            Effect::Notify(notice) => {
                // Nobody may be listening.
                let _nobody = self.notices.send(notice);
                return;
            }
            Effect::Send(token, envelope) => {
                fault::point("send.committed");
                LinkCommand::Send { token, envelope }
            }
            Effect::Ack(cursors) => {
                fault::point("receive.committed");
                LinkCommand::Ack(cursors)
            }
            Effect::Transient(envelope) => LinkCommand::Transient(envelope),
            Effect::Show(shown) => LinkCommand::Show(shown),
            Effect::Call(call) => {
                pass_call(&call);
                LinkCommand::Call(call)
            }
            Effect::OfferBundle(offer) => match self.make_durable(&offer) {
                Ok(()) => LinkCommand::Call(RelayCall::Publish(offer.bundle)),
                Err(()) => {
                    let unreached = LinkEvent::Published(Err(LookupError::Unreachable));
                    self.own.push_back(Event::Link(unreached));
                    return;
                }
            },
            Effect::Keys(change) => {
                if matches!(change, KeyChange::Published { .. }) {
                    fault::point("bundle.published");
                }
                // Tried again with the next deadline.
                let _told = told(self.keeper.apply(change));
                fault::point("keys.saved");
                return;
            }
            Effect::BeginAnew(anew) => {
                if told(self.keeper.begin_anew(anew)).is_ok() {
                    fault::point("anew.durable");
                    self.own.push_back(Event::BegunAnew(anew));
                }
                return;
            }
            Effect::HandleTag(handle) => {
                self.compute_tag(handle);
                return;
            }
            Effect::Lease(lease) => LinkCommand::Lease(lease),
            Effect::Lineage(lineage) => LinkCommand::Lineage(lineage),
            Effect::ResetLink => LinkCommand::Reset,
            Effect::StandDown(conflict) => LinkCommand::StandDown(match conflict {
                Conflict::Superseded => LinkFault::Superseded,
                Conflict::Clone => LinkFault::Clone,
            }),
        };
        if self.link.send(command).is_err() {
            tracing::debug!("the link has ended");
        }
    }

    fn make_durable(&self, offer: &Offer) -> Result<(), ()> {
        fault::point("bundle.committed");
        told(self.keeper.offer(offer))?;
        fault::point("bundle.durable");
        Ok(())
    }

    /// On a thread of its own: it takes tens of milliseconds and 19 MiB.
    fn compute_tag(&self, handle: Handle) {
        let (relay, events) = (self.relay, self.events.clone());
        tokio::task::spawn_blocking(move || {
            let tag = handle_tag(&relay, &handle).ok();
            if let Some(events) = events.upgrade() {
                // The engine may have ended meanwhile.
                let _ended = events.blocking_send(Event::HandleTag(handle, tag));
            }
        });
    }

    fn retry_keys(&self) {
        let _told = told(self.keeper.retry());
    }
}

/// Fault points of answers: what they report is durable, and the agent does not know.
fn pass_reply(answer: &Answer) {
    match answer {
        Ok(Reply::Sent(_)) => fault::point("send.stored"),
        Ok(
            Reply::GroupCreated(..)
            | Reply::Group(_)
            | Reply::Added(_)
            | Reply::Left(_)
            | Reply::Ended(_)
            | Reply::Epoch(_)
            | Reply::Done,
        ) => fault::point("change.reported"),
        _ => {}
    }
}

/// Fault points of calls: what they rest on is durable, and the relay has not been asked.
fn pass_call(call: &RelayCall) {
    match call {
        RelayCall::Append { .. } => fault::point("commit.committed"),
        RelayCall::Log { .. } => fault::point("log.asked"),
        RelayCall::Leaf { .. } => fault::point("leaf.asked"),
        _ => {}
    }
}

/// Says what went wrong.
fn told(saved: Result<(), KeyStoreError>) -> Result<(), ()> {
    saved.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the key store cannot be written"
        );
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
