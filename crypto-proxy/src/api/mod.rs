//! The localhost face of the proxy: REST as agents speak it (docs/proxy-api.md).
//!
//! One file per resource, with its handlers and their request tests; the router on top. A request
//! passes [`observe`] (id, counters, time limit, panics), [`guard`] (host, origin, token, type of
//! the body), its handler (parsing, limits) and then the engine or the state behind
//! [`backend::Backend`].

mod agents;
mod alerts;
mod audit;
mod backend;
mod broadcasts;
mod channels;
mod contacts;
mod conversations;
mod directory;
mod downloads;
mod error;
mod group_security;
mod groups;
mod guard;
mod health;
mod history;
mod hook_desk;
mod inbox;
mod invites;
mod keys;
mod listen;
mod live;
mod members;
mod messages;
mod metrics;
mod mutes;
mod observe;
mod openapi;
mod pins;
mod presence;
mod receiving;
mod request;
mod requests;
mod router;
mod server;
mod shape;
mod sync;
pub(crate) mod timestamp;
mod token;
mod uploads;
mod verify;
mod webhooks;
mod written;

#[cfg(test)]
mod answer;
#[cfg(test)]
mod obliging;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod testing;

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::hook_desk::hook_timestamp;
use self::{
    backend::{Backend, Live, Unreadable},
    downloads::Downloads,
    error::ApiError,
    live::Live as LiveFace,
    metrics::Metrics,
};
pub use self::{
    error::ErrorBody,
    guard::Hosts,
    health::{Checks, NONCE, PROOF, Readiness},
    hook_desk::hook_form,
    listen::{BindError, ListenAddr, ListenAddrError, Listener},
    live::is_frame,
    router::router,
    server::serve,
    token::{ApiToken, TokenError},
};
use crate::{
    attachments::Attachments,
    clock,
    engine::{Command, ContactCommand, GroupCommand, InboxMode, Reply},
    model::{Me, UnixMs},
    shell::EngineHandle,
    state::Reader,
    webhooks::Allowed,
};

/// More lines for `GET /metrics`, in Prometheus text, made when they are asked for, on a thread that
/// may block.
pub type OwnMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the handlers share; cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    backend: Arc<dyn Backend>,
    config: ApiConfig,
    metrics: Metrics,
    live: LiveFace,
    downloads: Downloads,
    /// Told when the agent has changed something about webhooks.
    webhooks_changed: Notify,
    /// When this API was made, in front of the running number of a request id.
    started: UnixMs,
    request_number: AtomicU64,
    openapi: OnceLock<Bytes>,
}

/// What is fixed when the API is made.
pub struct ApiConfig {
    /// Whose API this is.
    pub me: Me,
    /// Who may write without being let in, until the agent sets it.
    pub inbox_mode: InboxMode,
    /// See [`Listener::hosts`].
    pub hosts: Hosts,
    /// Where the API listens, as it is printed at start.
    pub place: String,
    /// What callers show.
    pub token: ApiToken,
    /// What [`Checks`] cannot learn from the state.
    pub readiness: Readiness,
    /// More lines for `GET /metrics`.
    pub metrics: Option<OwnMetrics>,
    /// The bytes of attachments.
    pub attachments: Arc<Attachments>,
    /// Most sockets at one time, and most streams of events; 0 is no limit.
    pub max_sockets: usize,
    /// Which hosts webhooks may call.
    pub webhook_hosts: Arc<Allowed>,
    /// Cancelled when the proxy begins to stop: whoever waits in a long poll is answered, sockets are
    /// closed.
    pub stopping: CancellationToken,
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl ApiState {
    /// The API in front of a running engine and its state.
    #[must_use]
    pub fn new(engine: EngineHandle, reader: Reader, config: ApiConfig) -> Self {
        Self::with_backend(Arc::new(Live { engine, reader }), config)
    }

    fn with_backend(backend: Arc<dyn Backend>, config: ApiConfig) -> Self {
        Self(Arc::new(Shared {
            backend,
            live: LiveFace::new(config.max_sockets),
            downloads: Downloads::default(),
            webhooks_changed: Notify::new(),
            config,
            metrics: Metrics::default(),
            started: clock::unix(),
            request_number: AtomicU64::default(),
            openapi: OnceLock::new(),
        }))
    }

    /// Asks the engine.
    async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        Ok(self.0.backend.command(command).await?)
    }

    /// Asks the engine about groups.
    async fn ask_group(&self, command: GroupCommand) -> Result<Reply, ApiError> {
        self.ask(Command::Group(command)).await
    }

    /// Asks the engine about contacts, blocks, mutes and profiles.
    async fn ask_contacts(&self, command: ContactCommand) -> Result<Reply, ApiError> {
        self.ask(Command::Contact(command)).await
    }

    /// Reads the state on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Backend) -> Result<T, Unreadable> + Send + 'static,
    ) -> Result<T, ApiError> {
        let backend = Arc::clone(&self.0.backend);
        match tokio::task::spawn_blocking(move || read(backend.as_ref())).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(ApiError::internal()),
        }
    }

    async fn checks(&self) -> Checks {
        let readiness = Arc::clone(&self.0.config.readiness);
        let since = clock::unix().saturating_sub(health::STUCK_AFTER_MS);
        let checks = self
            .read(move |backend| Ok(readiness().and_state(backend.stuck_since(since).ok())))
            .await;
        checks.unwrap_or_default()
    }

    fn backend(&self) -> &dyn Backend {
        self.0.backend.as_ref()
    }

    fn me(&self) -> &Me {
        &self.0.config.me
    }

    fn inbox_mode(&self) -> InboxMode {
        self.0.config.inbox_mode
    }

    fn hosts(&self) -> &Hosts {
        &self.0.config.hosts
    }

    fn place(&self) -> &str {
        &self.0.config.place
    }

    fn token(&self) -> &ApiToken {
        &self.0.config.token
    }

    fn stopping(&self) -> &CancellationToken {
        &self.0.config.stopping
    }

    fn attachments(&self) -> &Arc<Attachments> {
        &self.0.config.attachments
    }

    fn downloads(&self) -> &Downloads {
        &self.0.downloads
    }

    fn live(&self) -> &LiveFace {
        &self.0.live
    }

    /// Waits until every socket is closed, for a moment; call it when the proxy stops.
    pub async fn sockets_closed(&self) {
        self.live().ended().await;
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    async fn own_metrics(&self) -> Result<String, ApiError> {
        let metrics = self.0.config.metrics.clone();
        self.read(move |_| Ok(metrics.map_or_else(String::new, |lines| lines())))
            .await
    }

    /// Made when it is first asked for: that takes three times the heap of a proxy at rest.
    fn openapi(&self) -> &Bytes {
        self.0.openapi.get_or_init(|| openapi::text().into())
    }
}
