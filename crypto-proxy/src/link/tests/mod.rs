//! The link against a relay in this process, on paused time: waits cost nothing and are exact.

mod calls;
mod fake;
mod hostile;
mod leases;
mod reconnect;
mod renewal;
mod session;

use std::sync::Arc;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;
use waxwire_shared::api::frames::{Cursor, Queue};

use self::fake::{API_KEY, FakeRelay, LINEAGE, Peer, relay_id};
use super::{Client, Credentials, LinkCommand, LinkConfig, LinkStatus, run};
use crate::{
    credential::ApiKey,
    engine::{LinkEvent, SendOutcome},
    model::SendToken,
};

/// The lease that the link begins with; what it says is not the link's business.
const LEASE: &[u8] = b"lease";

/// A running link between a fake relay and a test in the role of the engine.
struct World {
    relay: FakeRelay,
    commands: mpsc::UnboundedSender<LinkCommand>,
    events: mpsc::Receiver<LinkEvent>,
    status: watch::Receiver<LinkStatus>,
    cancel: CancellationToken,
    link: JoinHandle<()>,
}

fn at(queue: Queue, position: u64) -> Cursor {
    Cursor { queue, position }
}

fn client(relay: &FakeRelay) -> Client {
    let key = ApiKey::new(API_KEY).unwrap();
    Client::memory(relay.dialer.clone()).authorized(&key, relay_id(1), ChaCha8Rng::seed_from_u64(2))
}

impl World {
    fn start() -> Self {
        Self::with(FakeRelay::start(), Vec::new(), 1_000)
    }

    /// `patience`: how many reports fit before the engine has to read.
    fn with(relay: FakeRelay, cursors: Vec<Cursor>, patience: usize) -> Self {
        let config = LinkConfig {
            lineage: Some(LINEAGE),
            client: Arc::new(client(&relay)),
            cursors,
            lease: LEASE.to_vec(),
            credentials: Arc::clone(&relay.credentials) as Arc<dyn Credentials>,
        };
        let (commands, inbox) = mpsc::unbounded_channel();
        let (reports, events) = mpsc::channel(patience);
        let (sender, status) = watch::channel(LinkStatus::default());
        let cancel = CancellationToken::new();
        let rng = ChaCha8Rng::seed_from_u64(1);
        let link = tokio::spawn(run(config, inbox, reports, rng, sender, cancel.clone()));
        Self {
            relay,
            commands,
            events,
            status,
            cancel,
            link,
        }
    }

    /// A link that is up.
    async fn up() -> (Self, Peer) {
        let mut world = Self::start();
        let peer = world.next_up().await;
        (world, peer)
    }

    async fn next_up(&mut self) -> Peer {
        let (peer, _) = self.relay.welcome().await;
        assert!(matches!(self.event().await, LinkEvent::Up { relay_time: 2_000 }));
        peer
    }

    fn send(&self, token: SendToken) {
        let envelope = format!("envelope {token}").into_bytes();
        self.command(LinkCommand::Send { token, envelope });
    }

    fn command(&self, command: LinkCommand) {
        self.commands.send(command).unwrap();
    }

    async fn event(&mut self) -> LinkEvent {
        let event = timeout(Duration::from_secs(3_600), self.events.recv()).await;
        event.expect("an event within an hour").expect("a running link")
    }

    async fn expect_unknown(&mut self, tokens: &[SendToken]) {
        for wanted in tokens {
            match self.event().await {
                LinkEvent::Outcome(token, SendOutcome::Unknown) if token == *wanted => {}
                other => panic!("expected unknown for {wanted}, got {other:?}"),
            }
        }
    }

    async fn expect_down(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, LinkEvent::Down), "{event:?}");
    }
}
