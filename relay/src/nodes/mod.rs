//! What the relay nodes on one database tell each other by way of Redis: that there is something to read, envelopes that
//! nobody stores, who is online, and what is left of limits.
//!
//! Nothing that Redis says is believed about what is stored: a hint makes a node read the table, which is the truth, and
//! what is passed on is checked as if an agent had sent it. Redis may therefore be lost, be emptied or lie: then
//! deliveries are found by polling, limits hold for each node by itself, and presence may be wrong. Nothing else in the
//! relay knows Redis.

mod buckets;
mod hear;
mod interest;
mod link;
mod look;
mod names;
mod online;
mod outbox;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod word;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use buckets::{Ask, Manner, Taken};
pub use interest::Topic;
pub use names::Bucket;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waxwire_shared::ids::RelayId;
pub use word::{NodeId, Word};

use self::{interest::Interest, look::Looks, names::Names, outbox::Outbox};
use crate::{config::RedisUrl, limits::Rate, metrics::Metrics, relay::Relay};

/// This node among the others.
pub struct Nodes {
    client: redis::Client,
    me: NodeId,
    /// How long its marks last.
    mark: Duration,
    /// Known once the database has told whose relay this is.
    names: OnceLock<Names>,
    /// None while Redis is lost.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Redis did not do as it was asked.
    failed: Notify,
    /// Nothing more is to be said or heard.
    ended: CancellationToken,
    /// Whether it was logged that Redis is lost.
    told_lost: AtomicBool,
    /// Nodes that there were when they were last counted, this one among them.
    count: AtomicU64,
    outbox: Outbox,
    interest: Interest,
    looks: Looks,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nodes")
    }
}

/// Nodes that there are at least: whoever sets Redis up has more than one, also while the others are not counted yet.
const LEAST: u64 = 2;

/// The URL of Redis cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL of Redis cannot be used")]
pub struct RedisUrlUnusable;

impl Nodes {
    /// A node that the others know by the number `me`. It speaks to nobody before [`run`].
    ///
    /// # Errors
    /// [`RedisUrlUnusable`].
    pub fn new(
        url: &RedisUrl,
        me: u64,
        mark: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, RedisUrlUnusable> {
        let client = redis::Client::open(url.expose_text()).map_err(|_| RedisUrlUnusable)?;
        Ok(Arc::new(Self {
            client,
            me: NodeId(me),
            mark,
            names: OnceLock::new(),
            connection: Mutex::default(),
            failed: Notify::new(),
            ended: CancellationToken::new(),
            told_lost: AtomicBool::new(false),
            count: AtomicU64::new(LEAST),
            outbox: Outbox::default(),
            interest: Interest::default(),
            looks: Looks::default(),
            metrics,
        }))
    }

    /// Several relays may share one Redis.
    fn set_relay(&self, relay: &RelayId) {
        self.names.get_or_init(|| Names::new(relay));
    }

    /// Whether Redis did as it was asked, the last time.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.slot().is_some()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection and how everything is called, unless Redis is lost.
    fn connected(&self) -> Option<(MultiplexedConnection, &Names)> {
        let connection = self.slot().clone()?;
        Some((connection, self.names.get()?))
    }

    /// What a call gave, or None; then Redis counts as lost until there is another connection.
    fn settle<T>(&self, result: redis::RedisResult<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.turn_down(&link::Fault::from(error));
                self.failed.notify_one();
                None
            }
        }
    }

    fn turn_up(&self, connection: MultiplexedConnection) {
        *self.slot() = Some(connection);
        self.metrics.redis_up.set(1);
        self.told_lost.store(false, Ordering::Relaxed);
        tracing::info!("redis answers");
    }

    fn turn_down(&self, fault: &link::Fault) {
        *self.slot() = None;
        self.metrics.redis_up.set(0);
        if !self.told_lost.swap(true, Ordering::Relaxed) {
            tracing::error!(%fault, "redis is lost: deliveries from other nodes are polled for");
        }
    }

    /// What this node may give out of a limit while nobody counts for all: the nodes have equal shares, and that is also
    /// what a bucket begins with that it knows nothing of.
    #[must_use]
    pub fn share(&self, rate: Rate) -> Rate {
        let max = match rate.max {
            0 => 0,
            max => (max / self.count.load(Ordering::Relaxed).max(LEAST)).max(1),
        };
        Rate { max, ..rate }
    }

    /// Which queues and agents this node serves has changed.
    pub fn note_interest(&self, topic: Topic) {
        self.interest.note(topic);
    }
}

/// Speaks with the other nodes until the relay stops.
pub async fn run(nodes: Arc<Nodes>, relay: Arc<Relay>) {
    nodes.set_relay(relay.identity.id());
    let (nodes, relay) = (&*nodes, &*relay);
    tokio::join!(
        link::follow(nodes, relay),
        look::follow(nodes, &relay.delivery),
        online::follow(nodes, &relay.delivery),
    );
}
