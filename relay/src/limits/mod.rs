//! How much agents may do: limits by tier, and the buckets that sends are counted in.
//!
//! Counts live in memory, or among several nodes in Redis: a relay that starts again begins with full buckets. Nothing
//! that a limit refuses is lost, for the sender is told at once and keeps it.

mod buckets;
mod common;
mod meter;
mod meter_common;
mod rates;

use std::collections::BTreeMap;

pub use buckets::{Buckets, Rate, Spent};
pub use common::{Common, Short};
pub use meter::{Due, Meter};
pub use rates::{Allowance, Rates};

/// The tier of organisations that have no other.
pub const DEFAULT_TIER: &str = "default";

/// What limits sends of an agent, and mail that waits for it; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// Messages that an agent sends in a minute.
    pub sends_per_minute: u64,
    /// Control envelopes that an agent sends in a minute.
    pub control_per_minute: u64,
    /// Envelopes that all agents of an organisation send in an hour.
    pub org_sends_per_hour: u64,
    /// Messages that wait for an agent.
    pub backlog: u64,
    /// Control envelopes that wait for an agent.
    pub control_backlog: u64,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            sends_per_minute: 200,
            control_per_minute: 2_000,
            org_sends_per_hour: 100_000,
            backlog: 10_000,
            control_backlog: 100_000,
        }
    }
}

/// What a tier sets; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierLimits {
    /// Of sends and of what waits.
    pub sends: SendLimits,
    /// Members of a group, for whom the agent invites, and for it to join.
    pub group_members: u64,
    /// Bytes of an attachment before it is padded and sealed.
    pub attachment: u64,
    /// Bytes of blobs that the relay holds of an agent.
    pub blob_bytes: u64,
    /// Uploads that an agent may have begun and not completed.
    pub unfinished_blobs: u64,
}

impl Default for TierLimits {
    fn default() -> Self {
        Self {
            sends: SendLimits::default(),
            group_members: 256,
            attachment: waxwire_shared::limits::ATTACHMENT,
            blob_bytes: 1024 * 1024 * 1024,
            unfinished_blobs: 16,
        }
    }
}

/// Limits by the name of a tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiers {
    /// Of the default tier, and of names that the configuration lacks.
    pub default: TierLimits,
    /// Of the others.
    pub named: BTreeMap<String, TierLimits>,
}

impl Tiers {
    /// The limits of a tier.
    #[must_use]
    pub fn get(&self, tier: &str) -> TierLimits {
        self.named.get(tier).copied().unwrap_or(self.default)
    }
}
