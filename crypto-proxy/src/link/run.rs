//! Keeps the link up: connect, resume, run, report, wait, again.

use std::{
    future::Future,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rand_core::CryptoRng;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Credentials, LinkCommand, LinkConfig, Reports,
    backoff::Backoff,
    calls,
    cursors::Cursors,
    http::Client,
    lease::{Lease, Standing},
    renewal::{self, RenewalError},
    session::{Ended, Session},
    socket::{self, OpenError, Socket, Welcome},
    status::{LinkFault, LinkStatus},
};
use crate::{
    clock,
    engine::{LinkEvent, RelayCall, SendOutcome},
};

/// A connection that lasted this long worked, even if nothing was said.
const HEALTHY: Duration = Duration::from_secs(30);
/// How long another refusal of the API key is believed after a new one was given.
const BETWEEN_KEYS: Duration = Duration::from_secs(5 * 60);
/// How long the engine may take to decide about a relay that was set back.
const DECISION: Duration = Duration::from_secs(10);
/// A socket that was dropped on the engine's wish is replaced at once if it lasted this long.
const RESET: Duration = Duration::from_secs(1);
/// So many that lasted shorter are replaced within a second, as when keys are replaced one after the other.
const RESETS: u32 = 8;

/// Keeps one socket to the relay open and carries out the engine's commands until `cancel`, or
/// until the engine has gone.
///
/// - Every [`LinkCommand::Send`] has exactly one [`LinkEvent::Outcome`]; without a socket it is
///   `Unknown` at once. Outcomes `Unknown` of a lost socket come in the order of the sends, then
///   [`LinkEvent::Down`].
/// - At each connection the relay proves its identity first. While another relay answers, nothing
///   but that question goes out; [`LinkEvent::RelayChanged`] tells so.
/// - Before each socket the relay takes this instance's lease. If it holds another one that stands in the
///   way, and whenever it shows one, [`LinkEvent::Lease`] tells so; the engine decides.
/// - After 401 the link proves the identity and gets a new API key; [`LinkEvent::KeyReplaced`] tells
///   so. Where that fails, and after 403, the next try is minutes away and
///   [`LinkEvent::Unauthorized`] tells so. A close
///   with 1008 has several causes, so the upgrade is tried once more to learn whether this is one.
pub async fn run(
    config: LinkConfig,
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    engine: impl Reports,
    rng: impl CryptoRng + Send,
    status: watch::Sender<LinkStatus>,
    cancel: CancellationToken,
) {
    let (calls, waiting) = mpsc::unbounded_channel();
    let cursors = Mutex::new(Cursors::new(config.lineage, config.cursors));
    let lease = Lease::new(config.lease);
    let link = Link {
        client: &config.client,
        rng,
        status,
        backoff: Backoff::default(),
        credentials: &*config.credentials,
        renewed: None,
        told: None,
        expelled: false,
        resets: 0,
        room: Room {
            commands,
            engine: &engine,
            calls,
            cursors: &cursors,
            lease: &lease,
            cancel,
        },
    };
    tokio::select! {
        () = link.keep_up() => {}
        () = calls::run(&config.client, waiting, &engine) => {}
    }
}

struct Link<'a, E, R> {
    client: &'a Client,
    rng: R,
    status: watch::Sender<LinkStatus>,
    backoff: Backoff,
    credentials: &'a dyn Credentials,
    /// When the relay last gave a new API key.
    renewed: Option<Instant>,
    /// The trouble that the engine was told about since the socket was last up.
    told: Option<OpenError>,
    /// The last attempt or connection ended with a close of 1008.
    expelled: bool,
    /// Sockets in a row that were dropped on the engine's wish soon after they came up.
    resets: u32,
    room: Room<'a, E>,
}

/// What goes on whether the socket is up or not.
struct Room<'a, E> {
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    engine: &'a E,
    calls: mpsc::UnboundedSender<RelayCall>,
    cursors: &'a Mutex<Cursors>,
    lease: &'a Lease,
    cancel: CancellationToken,
}

/// What became of work that was done while there was no socket.
enum Meanwhile<T> {
    Done(T),
    /// The engine wants a fresh socket now.
    Reset,
    /// The link is to end.
    Stop,
}

impl<E: Reports, R: CryptoRng + Send> Link<'_, E, R> {
    async fn keep_up(mut self) {
        let mut wait = Some(Duration::ZERO);
        while let Some(duration) = wait {
            let heed_reset = !matches!(self.told, Some(OpenError::Unauthorized { .. }));
            if let Meanwhile::Stop = self.room.meanwhile(sleep(duration), heed_reset).await {
                break;
            }
            let lease = match self.room.lease.get() {
                Standing::Under(lease) => lease,
                Standing::Down(fault) => {
                    wait = self.stand_down(fault).await;
                    continue;
                }
            };
            wait = match self.open(&lease).await {
                // Decided anew while the socket was opened.
                Meanwhile::Done(Ok(_)) if self.room.lease.get() != Standing::Under(lease.clone()) => {
                    Some(Duration::ZERO)
                }
                Meanwhile::Done(Ok((socket, welcome))) => self.begin(socket, welcome).await,
                Meanwhile::Done(Err(error)) => Some(self.failed(error).await),
                Meanwhile::Reset => Some(Duration::ZERO),
                Meanwhile::Stop => None,
            };
        }
        self.note_down(LinkFault::Stopping);
    }

    /// Waits without a socket until the engine has decided anew. How long to wait then; `None` to end.
    async fn stand_down(&mut self, fault: LinkFault) -> Option<Duration> {
        self.note_down(fault);
        match self.room.meanwhile(std::future::pending::<()>(), true).await {
            Meanwhile::Stop => None,
            Meanwhile::Done(()) | Meanwhile::Reset => Some(Duration::ZERO),
        }
    }

    /// Serves a socket if the relay's queues are those that the positions are of. If they are not, the engine is told,
    /// and there is no socket before it has decided.
    async fn begin(&mut self, socket: Socket, welcome: Welcome) -> Option<Duration> {
        let Welcome { lineage, reaches, .. } = welcome;
        let known = self.room.cursors().lineage();
        if known != Some(lineage) {
            let told = LinkEvent::Lineage { lineage, reaches };
            self.room.engine.report(told).await;
        }
        match known {
            Some(known) if known != lineage => {
                drop(socket);
                self.note_down(LinkFault::Reset);
                match self.room.meanwhile(sleep(DECISION), true).await {
                    Meanwhile::Stop => None,
                    Meanwhile::Done(()) | Meanwhile::Reset => Some(Duration::ZERO),
                }
            }
            _ => {
                self.room.cursors().adopt(lineage);
                self.serve(socket, welcome.time).await
            }
        }
    }

    /// From nothing to a socket that is welcome. A lease that stands in the way is reported.
    async fn open(&mut self, lease: &Bytes) -> Meanwhile<Result<(Socket, Welcome), OpenError>> {
        let Self {
            client, rng, room, ..
        } = self;
        let cursors = room.cursors;
        let mut held = None;
        let work = async {
            let mut socket = socket::open(client, lease, &mut held, rng).await?;
            let resume = cursors.lock().unwrap_or_else(PoisonError::into_inner).resume();
            let welcome = socket::resume(&mut socket, resume).await?;
            Ok((socket, welcome))
        };
        let opened = room.meanwhile(work, false).await;
        if let Some(held) = held {
            room.engine.report(LinkEvent::Lease(held)).await;
        }
        opened
    }

    /// Runs a session and reports its end. How long to wait for the next; `None` to end.
    async fn serve(&mut self, socket: Socket, relay_time: u64) -> Option<Duration> {
        self.told = None;
        self.note_up(relay_time);
        let room = &mut self.room;
        room.engine.report(LinkEvent::Up { relay_time }).await;
        let session = Session::new(room.engine, &room.calls, room.cursors, room.lease);
        let ended = session.run(socket, &mut room.commands, &room.cancel).await;
        let Ended {
            fault,
            traffic,
            lived,
            unsettled,
        } = ended;
        tracing::info!(reason = %fault, unsettled = unsettled.len(), "the link is down");
        for token in unsettled {
            room.engine
                .report(LinkEvent::Outcome(token, SendOutcome::Unknown))
                .await;
        }
        room.engine.report(LinkEvent::Down).await;
        self.note_down(fault);
        self.expelled &= lived < HEALTHY;
        // What breaks the protocol does not count as traffic, or a broken relay would be hammered.
        let worked = lived >= HEALTHY || (traffic && fault != LinkFault::Malformed);
        match fault {
            LinkFault::Stopping => None,
            LinkFault::Expelled => Some(self.failed(OpenError::NoWelcome(fault)).await),
            LinkFault::Reset if lived >= RESET => {
                self.resets = 0;
                Some(Duration::ZERO)
            }
            // Whatever it is that the engine cannot do, it cannot do yet.
            LinkFault::Reset if self.resets >= RESETS => Some(self.backoff.after_failure(&mut self.rng)),
            LinkFault::Reset => {
                self.resets += 1;
                Some(self.backoff.after_success(&mut self.rng))
            }
            _ if worked => Some(self.backoff.after_success(&mut self.rng)),
            _ => Some(self.backoff.after_failure(&mut self.rng)),
        }
    }

    /// Takes an attempt in that came to nothing. How long to wait for the next.
    async fn failed(&mut self, error: OpenError) -> Duration {
        let again = std::mem::replace(&mut self.expelled, error.fault() == LinkFault::Expelled);
        let error = match error {
            OpenError::Unauthorized { suspended: false } => match self.renew_key().await {
                Ok(()) => return Duration::ZERO,
                Err(error) => error,
            },
            // The key is accepted, and the socket is not.
            _ if again && self.expelled => OpenError::Unauthorized { suspended: false },
            error => error,
        };
        self.note_down(error.fault());
        let (event, wait) = match error {
            OpenError::Unauthorized { suspended } => {
                let event = LinkEvent::Unauthorized { suspended };
                (Some(event), self.backoff.after_refusal(&mut self.rng))
            }
            OpenError::Untrusted(_) => {
                let event = LinkEvent::Untrusted;
                (Some(event), self.backoff.after_failure(&mut self.rng))
            }
            OpenError::RelayChanged { shown } => {
                let event = LinkEvent::RelayChanged { shown };
                (Some(event), self.backoff.after_failure(&mut self.rng))
            }
            _ => (None, self.backoff.after_failure(&mut self.rng)),
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match event {
            Some(event) if self.told != Some(error) => {
                tracing::error!(reason = %error, wait_ms, "no link");
                self.told = Some(error);
                self.room.engine.report(event).await;
            }
            _ => tracing::info!(reason = %error, wait_ms, "no link"),
        }
        wait
    }

    /// Gets a new API key by proof of identity, once for each refusal and not more often than
    /// refusals are waited for: two instances that take the key from one another must not race.
    ///
    /// # Errors
    /// There is none: `Unauthorized`, or `Outdated` after the lease that stands in the way was reported.
    async fn renew_key(&mut self) -> Result<(), OpenError> {
        let refused = |suspended| Err(OpenError::Unauthorized { suspended });
        if self.renewed.is_some_and(|at| at.elapsed() < BETWEEN_KEYS) {
            return refused(false);
        }
        let Standing::Under(lease) = self.room.lease.get() else {
            return refused(false);
        };
        self.note_down(LinkFault::Unauthorized);
        let Self {
            client,
            credentials,
            rng,
            room,
            ..
        } = self;
        let renewal = renewal::renew(client, *credentials, lease.to_vec(), rng);
        match room.meanwhile(renewal, false).await {
            Meanwhile::Done(Ok(())) => {
                tracing::warn!("the relay did not accept the API key and gave a new one");
                self.renewed = Some(Instant::now());
                self.room.engine.report(LinkEvent::KeyReplaced).await;
                Ok(())
            }
            Meanwhile::Done(Err(RenewalError::Outdated(held))) => {
                self.room.engine.report(LinkEvent::Lease(held)).await;
                Err(OpenError::Outdated)
            }
            Meanwhile::Done(Err(error)) => {
                tracing::warn!(%error, "no new API key");
                refused(matches!(error, RenewalError::Suspended))
            }
            // The next wait sees to it.
            Meanwhile::Reset | Meanwhile::Stop => refused(false),
        }
    }

    fn note_up(&self, relay_time: u64) {
        let now = clock::unix();
        tracing::info!("the link is up");
        self.status.send_modify(|status| {
            status.connected = true;
            status.since = now;
            status.connections += 1;
            status.clock_skew_ms = Some(skew(relay_time, now));
        });
    }

    fn note_down(&self, fault: LinkFault) {
        let now = clock::unix();
        self.status.send_modify(|status| {
            if status.connected || status.since == 0 {
                status.since = now;
            }
            status.connected = false;
            status.last_fault = Some(fault);
            status.malformed += u64::from(fault == LinkFault::Malformed);
        });
    }
}

impl<E> Room<'_, E> {
    fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Reports> Room<'_, E> {
    /// Does something that needs no socket and answers commands beside it.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>, heed_reset: bool) -> Meanwhile<T> {
        let mut work = pin!(work);
        loop {
            let command = tokio::select! {
                () = self.cancel.cancelled() => return Meanwhile::Stop,
                done = &mut work => return Meanwhile::Done(done),
                command = self.commands.recv() => command,
            };
            match command {
                None => return Meanwhile::Stop,
                Some(LinkCommand::Send { token, envelope: _ }) => {
                    self.engine
                        .report(LinkEvent::Outcome(token, SendOutcome::Unknown))
                        .await;
                }
                // The engine says so again when a socket is up.
                Some(LinkCommand::Transient(_) | LinkCommand::Show(_)) => {}
                Some(LinkCommand::Ack(cursors)) => self.cursors().ack(cursors),
                Some(LinkCommand::Lineage(lineage)) => {
                    self.cursors().begin(lineage);
                    if heed_reset {
                        return Meanwhile::Reset;
                    }
                }
                Some(LinkCommand::Call(call)) => {
                    // The calls end only after the link has.
                    let _ended = self.calls.send(call);
                }
                Some(LinkCommand::Lease(lease)) => {
                    self.lease.set(Standing::Under(lease.into()));
                    if heed_reset {
                        return Meanwhile::Reset;
                    }
                }
                Some(LinkCommand::StandDown(fault)) => {
                    self.lease.set(Standing::Down(fault));
                    if heed_reset {
                        return Meanwhile::Reset;
                    }
                }
                Some(LinkCommand::Reset | LinkCommand::Wake) if heed_reset => return Meanwhile::Reset,
                Some(LinkCommand::Reset | LinkCommand::Wake) => {}
            }
        }
    }
}

/// `relay - ours`, as far as it can be shown.
fn skew(relay: u64, ours: u64) -> i64 {
    i64::try_from(i128::from(relay) - i128::from(ours)).unwrap_or(i64::MAX)
}
