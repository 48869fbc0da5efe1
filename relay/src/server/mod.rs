//! From a configuration to a serving relay, and to its orderly end.

mod connection;
mod listener;
mod patience;
#[cfg(test)]
mod tests;
mod tls;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use waxwire_shared::ids::Hash;
use zeroize::Zeroizing;

pub use self::listener::Bound;
use self::{
    connection::Protocol,
    listener::{accept, bind},
};
use crate::{
    accounts::auth::Auth,
    background,
    blobs::{self, Blobs},
    clock::Clock,
    config::Config,
    delivery::{Allowances, Delivery, Hub, Presence, Timing},
    groups::Groups,
    hooks::HookRules,
    identity::RelayIdentity,
    limits::Rates,
    metrics::Metrics,
    nodes::{Nodes, RedisUrlUnusable},
    relay::{Relay, RequestIds},
    rng::{self, Random, RandomError},
    store::{CommitListener, OpenError, Store, StoreContext, WriteError},
    transparency::Transparency,
};

/// How long connections and sockets may take to end.
const DRAIN: Duration = Duration::from_secs(7);

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("the database cannot be opened")]
    Store(#[from] OpenError),
    /// The relay's identity.
    #[error("the relay's identity cannot be read or stored")]
    Identity(#[from] WriteError),
    /// The lineage of the database.
    #[error("the lineage of the database cannot be read or stored")]
    Lineage(#[source] WriteError),
    /// The transparency log.
    #[error("the transparency log cannot be begun")]
    Transparency(#[source] WriteError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisUrlUnusable),
    /// The place of attachments.
    #[error("there is no place for attachments")]
    Blobs(#[from] blobs::OpenError),
    /// Randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("the TLS file {path} is not usable: {what}")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What the relay takes from its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Tells the time.
    pub clock: Clock,
    /// Gives randomness.
    pub random: Arc<dyn Random>,
    /// Patience with sockets.
    pub timing: Timing,
    /// Cancelled when the relay is to stop.
    pub shutdown: CancellationToken,
}

/// A relay that serves.
#[derive(Debug)]
pub struct Server {
    relay: Arc<Relay>,
    bound: Bound,
    metrics_bound: Option<Bound>,
    https: bool,
    shutdown: CancellationToken,
}

impl Server {
    /// Opens the database, listens and serves until `surroundings.shutdown` is cancelled.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings {
            clock,
            random,
            timing,
            shutdown,
        } = surroundings;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let metrics = Arc::new(Metrics::default());
        let nodes = match &config.redis {
            None => None,
            Some(url) => {
                let me = u64::from_be_bytes(rng::array(&*random)?);
                Some(Nodes::new(url, me, timing.mark, Arc::clone(&metrics))?)
            }
        };
        let hub = Hub::among(nodes.clone(), Arc::clone(&metrics));
        let context = StoreContext {
            worker: config.worker,
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            tiers: Arc::new(config.tiers),
            listener: Arc::clone(&hub) as Arc<dyn CommitListener>,
            serving: true,
            nodes: nodes.clone(),
            others: nodes.is_some(),
        };
        let store = Store::open(&config.database, context).await?;
        let blobs = Blobs::open(&config.blobs)?;
        let identity = identity(&store, &*random).await?;
        begin_lineage(&store, &*random).await?;
        let prefix = u32::from_be_bytes(rng::array(&*random)?);
        let transparency = match config.transparency {
            Some(interval) => Some(transparency(&store, &*random, interval).await?),
            None => None,
        };
        let groups = Groups::new(
            store.clone(),
            *identity.id(),
            Arc::clone(&metrics),
            clock.clone(),
            config.limits,
            nodes.clone(),
        );
        let relay = Arc::new(Relay {
            delivery: Arc::new(Delivery {
                store,
                hub,
                nodes: nodes.clone(),
                clock,
                presence: Presence::default(),
                allowances: Allowances::new(config.limits.transients_per_minute, nodes.clone()),
                metrics: Arc::clone(&metrics),
                timing,
                shutdown: shutdown.clone(),
            }),
            identity,
            auth: Auth::default(),
            groups: Arc::new(groups),
            blobs,
            transparency,
            registration: config.registration,
            master_key: config.master_key,
            limits: config.limits,
            hook_rules: Arc::new(HookRules::new(config.hook_allow)),
            directory_rates: Rates::new("searches", nodes.clone()),
            lookup_misses: Rates::new("misses", nodes),
            random,
            requests: RequestIds::new(prefix),
            tasks: TaskTracker::new(),
        });
        let (listener, bound) = bind(&config.listen).await?;
        let https = tls.is_some();
        let protocol = Protocol::relay(Arc::clone(&relay), tls);
        tokio::spawn(accept(listener, protocol, relay.tasks.clone(), shutdown.clone()));
        let metrics_bound = match &config.metrics_listen {
            None => None,
            Some(listen) => {
                let (listener, bound) = bind(listen).await?;
                let protocol = Protocol::metrics(metrics);
                tokio::spawn(accept(listener, protocol, relay.tasks.clone(), shutdown.clone()));
                Some(bound)
            }
        };
        background::start(&relay);
        Ok(Self {
            relay,
            bound,
            metrics_bound,
            https,
            shutdown,
        })
    }

    /// Where the relay listens: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.bound {
            Bound::Tcp(address) if self.https => format!("https://{address}"),
            Bound::Tcp(address) => format!("http://{address}"),
            Bound::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Where metrics are served.
    #[must_use]
    pub const fn metrics_bound(&self) -> Option<&Bound> {
        self.metrics_bound.as_ref()
    }

    /// What serves.
    #[must_use]
    pub const fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// Waits for the signal to stop, then for what is in flight, then closes the database.
    pub async fn run(self) {
        self.shutdown.cancelled().await;
        tracing::info!("stopping");
        self.relay.tasks.close();
        if tokio::time::timeout(DRAIN, self.relay.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(left = self.relay.tasks.len(), "connections did not end in time");
        }
        self.relay.delivery.end_presence().await;
        self.relay.delivery.store.close().await;
        if let Some(nodes) = &self.relay.delivery.nodes {
            nodes.end().await;
        }
        for bound in [Some(self.bound), self.metrics_bound].into_iter().flatten() {
            bound.clean_up();
        }
        tracing::info!("stopped");
    }
}

/// The relay's identity, made at the first start.
async fn identity(store: &Store, random: &dyn Random) -> Result<RelayIdentity, StartError> {
    let candidate = Zeroizing::new(rng::array::<32>(random)?);
    let held = store.relay_secret(candidate).await?;
    let identity = RelayIdentity::from_secret(&held.secret);
    if held.created {
        tracing::info!(fingerprint = %identity.fingerprint(), "made the relay's identity");
    }
    Ok(identity)
}

/// Goes on with the course of events that the database holds, or begins another one.
async fn begin_lineage(store: &Store, random: &dyn Random) -> Result<(), StartError> {
    // Never 0, and within what databases count to.
    let candidate = (u64::from_be_bytes(rng::array(random)?) >> 1).max(1);
    let lineage = store.lineage(candidate).await.map_err(StartError::Lineage)?;
    if lineage.is_new {
        tracing::warn!(
            reaches = lineage.reaches,
            "the database was set back to an earlier state; agents are told and send again what it lacks"
        );
    }
    Ok(())
}

/// The database's transparency log, begun when it is switched on for the first time.
async fn transparency(
    store: &Store,
    random: &dyn Random,
    interval: Duration,
) -> Result<Transparency, StartError> {
    let candidate = Hash::from_bytes(rng::array(random)?);
    let log = Transparency::open(store, candidate, interval).await;
    log.map_err(StartError::Transparency)
}
