//! The tap: what lies between a proxy and the relay, and can lie.
//!
//! It listens on a port of its own for as long as it lives, so a proxy keeps its relay's address
//! while the relay comes and goes. Requests are forwarded one by one, sockets frame by frame; a
//! script decides the fate of each. Without a script everything passes.
//!
//! - [`Tap::set`] changes the way itself: open, slow, stalled (bytes wait, nobody hangs up), down.
//! - [`Tap::cut`] breaks every connection that is open now.
//! - [`Tap::on_frame`] and [`Tap::on_request`] install scripts; [`Tap::inject`] adds frames.
//! - [`Tap::evil`] takes the queues over: what is delivered, in which order and how often.
//! - [`Tap::record`] keeps whatever travels, for searches.

mod evil;
mod requests;
mod sockets;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::JoinHandle,
};
use waxwire_shared::api::frames::{ClientFrame, RelayFrame};

pub use evil::Evil;
pub use requests::{Asked, Outcome, Rewrite};

use crate::{balancer::Balancer, ledger::Ledger};

/// Bursts of frames that may wait to be injected.
const INJECTED: usize = 1_024;

/// Frames that go to a socket together, and who is said to have sent them.
type Burst = (Side, Vec<Bytes>);

/// How the way between proxy and relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Everything passes.
    #[default]
    Open,
    /// Every frame and request waits that long.
    Slow(Duration),
    /// Connections are accepted and kept, but nothing moves: a partition.
    Stalled,
    /// Connections are broken and refused.
    Down,
}

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The proxy.
    Proxy,
    /// The relay.
    Relay,
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Who sent it.
    pub from: Side,
    /// Which socket it is on, counted from 1.
    pub socket: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame, if the proxy sent it and it is one.
    #[must_use]
    pub fn client(&self) -> Option<ClientFrame<'a>> {
        let decoded = (self.from == Side::Proxy).then(|| ClientFrame::decode(self.bytes));
        decoded?.ok()
    }

    /// The frame, if the relay sent it and it is one.
    #[must_use]
    pub fn relay(&self) -> Option<RelayFrame<'a>> {
        let decoded = (self.from == Side::Relay).then(|| RelayFrame::decode(self.bytes));
        decoded?.ok()
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Pass,
    /// It is lost.
    Drop,
    /// These go in its place.
    Replace(Vec<Vec<u8>>),
    /// It is lost and the socket breaks.
    Cut,
    /// It passes, then the socket breaks.
    PassThenCut,
}

type FrameScript = Box<dyn FnMut(Frame<'_>) -> Fate + Send>;
type RequestScript = Box<dyn FnMut(&Asked) -> Outcome + Send>;

/// What a tap's connections share.
struct Shared {
    relay: Balancer,
    ledger: Ledger,
    way: watch::Sender<Way>,
    cuts: watch::Sender<u64>,
    injected: broadcast::Sender<Burst>,
    sockets: AtomicU64,
    on_frame: Mutex<Option<FrameScript>>,
    on_request: Mutex<Option<RequestScript>>,
    record: Mutex<Option<Vec<u8>>>,
}

/// A tap in front of a relay; ends when dropped.
pub struct Tap {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tap({})", self.address)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tap {
    /// A tap in front of the relay that is at `relay` now or later. Envelopes to groups that the proxy
    /// sends are noted in the ledger.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(relay: impl Into<Balancer>, ledger: Ledger) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            relay: relay.into(),
            ledger,
            way: watch::Sender::new(Way::Open),
            cuts: watch::Sender::new(0),
            injected: broadcast::Sender::new(INJECTED),
            sockets: AtomicU64::new(0),
            on_frame: Mutex::default(),
            on_request: Mutex::default(),
            record: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            accepting,
        })
    }

    /// The relay's URL as the proxy knows it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the way.
    pub fn set(&self, way: Way) {
        self.shared.way.send_replace(way);
        if way == Way::Down {
            self.cut();
        }
    }

    /// Breaks every connection that is open now.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Puts the proxy at a node of the relay, as a load balancer would; at another while that one does not run.
    pub fn put_at(&self, node: usize) {
        self.shared.relay.prefer(node);
        self.cut();
    }

    /// Every connection goes to another node than the one before, from now on.
    pub fn scatter(&self) {
        self.shared.relay.scatter();
        self.cut();
    }

    /// Decides the fate of every frame from now on.
    pub fn on_frame(&self, script: impl FnMut(Frame<'_>) -> Fate + Send + 'static) {
        *lock(&self.shared.on_frame) = Some(Box::new(script));
    }

    /// Decides the outcome of every request from now on, the one for the socket included.
    pub fn on_request(&self, script: impl FnMut(&Asked) -> Outcome + Send + 'static) {
        *lock(&self.shared.on_request) = Some(Box::new(script));
    }

    /// Without a script for requests again.
    pub fn forget_requests(&self) {
        *lock(&self.shared.on_request) = None;
    }

    /// Without scripts again.
    pub fn calm(&self) {
        *lock(&self.shared.on_frame) = None;
        *lock(&self.shared.on_request) = None;
    }

    /// Adds a frame to the sockets that are open now, as if `from` had sent it.
    pub fn inject(&self, from: Side, bytes: impl Into<Bytes>) {
        self.shared.inject(from, vec![bytes.into()]);
    }

    /// How many sockets there were.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        self.shared.sockets.load(Ordering::SeqCst)
    }

    /// Keeps from now on whatever travels.
    pub fn record(&self) {
        *lock(&self.shared.record) = Some(Vec::new());
    }

    /// What has travelled since [`Self::record`].
    #[must_use]
    pub fn recorded(&self) -> Vec<u8> {
        lock(&self.shared.record).clone().unwrap_or_default()
    }
}

impl Shared {
    fn inject(&self, from: Side, frames: Vec<Bytes>) {
        // Without a socket there is nobody to receive them.
        let _receivers = self.injected.send((from, frames));
    }

    fn note(&self, bytes: &[u8]) {
        if let Some(record) = lock(&self.record).as_mut() {
            record.extend_from_slice(bytes);
        }
    }

    fn fate(&self, frame: Frame<'_>) -> Fate {
        self.note(frame.bytes);
        if let Some(ClientFrame::Send { envelope, .. }) = frame.client() {
            self.ledger.note(envelope);
        }
        match lock(&self.on_frame).as_mut() {
            Some(script) => script(frame),
            None => Fate::Pass,
        }
    }

    fn outcome(&self, asked: &Asked) -> Outcome {
        match lock(&self.on_request).as_mut() {
            Some(script) => script(asked),
            None => Outcome::Pass,
        }
    }

    /// Waits until the way lets something through.
    async fn passage(&self) {
        let mut way = self.way.subscribe();
        // The sender lives as long as this.
        let open = way.wait_for(|way| !matches!(way, Way::Stalled)).await;
        let way = open.map_or(Way::Open, |way| *way);
        if let Way::Slow(delay) = way {
            tokio::time::sleep(delay).await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        if *shared.way.borrow() == Way::Down || stream.set_nodelay(true).is_err() {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            tokio::select! {
                () = requests::serve(stream, Arc::clone(&shared)) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}
