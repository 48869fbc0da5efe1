//! What handlers and tasks of one serving process share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio_util::task::TaskTracker;
use waxwire_shared::api::rest::Registration;

use crate::{
    accounts::auth::Auth,
    blobs::Blobs,
    config::{Limits, MasterKey},
    delivery::Delivery,
    groups::Groups,
    hooks::HookRules,
    identity::RelayIdentity,
    limits::Rates,
    rng::Random,
    transparency::Transparency,
};

/// A serving relay.
#[derive(Debug)]
pub struct Relay {
    /// Store, hub, clock, metrics and the signal to stop.
    pub delivery: Arc<Delivery>,
    /// The relay's own key.
    pub identity: RelayIdentity,
    /// Accounts by API key.
    pub auth: Auth,
    /// Commits and leaves of groups.
    pub groups: Arc<Groups>,
    /// Attachments.
    pub blobs: Blobs,
    /// The transparency log, if it is switched on.
    pub transparency: Option<Transparency>,
    /// Who may register.
    pub registration: Registration,
    /// Opens the administration API.
    pub master_key: Option<MasterKey>,
    /// Limits.
    pub limits: Limits,
    /// Which hooks may be called.
    pub hook_rules: Arc<HookRules>,
    /// Searches of agents.
    pub directory_rates: Rates,
    /// Lookups of handles that the one who asks may not know of.
    pub lookup_misses: Rates,
    /// Nonces, API keys, invite codes.
    pub random: Arc<dyn Random>,
    /// Names requests in answers and logs.
    pub requests: RequestIds,
    /// Connections and sockets, waited for when the relay stops.
    pub tasks: TaskTracker,
}

/// Names requests: random for each process, then counted.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Ids that begin with `prefix`.
    #[must_use]
    pub const fn new(prefix: u32) -> Self {
        Self(AtomicU64::new((prefix as u64) << 32))
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        RequestId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Names a request; 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
