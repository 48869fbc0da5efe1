//! `[limits]` and `[tiers]` of the file.

use std::collections::BTreeMap;

use serde::Deserialize;

use waxwire_shared::limits::GROUP_MEMBERS;

use super::ConfigError;
use crate::{
    cli::OrgName,
    limits::{DEFAULT_TIER, SendLimits, TierLimits, Tiers},
};

/// Limits that an operator may change; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sockets that an agent may have at the same time.
    pub sockets: u64,
    /// Sockets of all agents at one node.
    pub node_sockets: u64,
    /// Contacts that an agent may hold.
    pub contacts: u64,
    /// Agents that an agent may have blocked.
    pub blocks: u64,
    /// Envelopes that are stored nowhere which an agent may have passed on in a minute.
    pub transients_per_minute: u64,
    /// Groups that an agent may be a member of, to found or join another.
    pub groups: u64,
    /// Groups that an agent may found or join in an hour.
    pub groups_per_hour: u64,
    /// Joins and leaves of an agent in one group, in an hour. Joins are refused beyond it.
    pub joins_and_leaves_per_hour: u64,
    /// Commits that an agent appends to the log of one group, in a minute.
    pub commits_per_minute: u64,
    /// Searches of an agent in a minute.
    pub directory_per_minute: u64,
    /// Searches of an agent on a day.
    pub directory_per_day: u64,
    /// Handles that an agent asks for in a minute and may not know of.
    pub lookup_misses_per_minute: u64,
    /// The same on a day.
    pub lookup_misses_per_day: u64,
    /// Days that a blob is kept.
    pub blob_days: u64,
    /// Members that a group may have, open invites included, for an invite or a joining to be taken. This
    /// and the following are those of the default tier.
    pub group_members: u64,
    /// Largest attachment, in bytes before it is padded and sealed.
    pub attachment: u64,
    /// Bytes of blobs that the relay holds of an agent; each counts as 64 KiB at least.
    pub blob_bytes: u64,
    /// Uploads that an agent may have begun and not completed.
    pub unfinished_blobs: u64,
    /// Messages that an agent sends in a minute.
    pub sends_per_minute: u64,
    /// Control envelopes that an agent sends in a minute.
    pub control_per_minute: u64,
    /// Envelopes that all agents of an organisation send in an hour.
    pub org_sends_per_hour: u64,
    /// Messages that wait for an agent: beyond it senders are refused, from half of it they are told.
    pub backlog: u64,
    /// Control envelopes that wait for an agent.
    pub control_backlog: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let tier = TierLimits::default();
        let sends = tier.sends;
        Self {
            sockets: 8,
            node_sockets: 100_000,
            group_members: tier.group_members,
            contacts: 10_000,
            blocks: 10_000,
            transients_per_minute: 1_200,
            groups: 1_000,
            groups_per_hour: 1_000,
            joins_and_leaves_per_hour: 4,
            commits_per_minute: 120,
            directory_per_minute: 60,
            directory_per_day: 1_000,
            lookup_misses_per_minute: 60,
            lookup_misses_per_day: 1_000,
            sends_per_minute: sends.sends_per_minute,
            control_per_minute: sends.control_per_minute,
            org_sends_per_hour: sends.org_sends_per_hour,
            backlog: sends.backlog,
            control_backlog: sends.control_backlog,
            attachment: tier.attachment,
            blob_bytes: tier.blob_bytes,
            unfinished_blobs: tier.unfinished_blobs,
            blob_days: 30,
        }
    }
}

impl Limits {
    const fn tier(&self) -> TierLimits {
        TierLimits {
            sends: SendLimits {
                sends_per_minute: self.sends_per_minute,
                control_per_minute: self.control_per_minute,
                org_sends_per_hour: self.org_sends_per_hour,
                backlog: self.backlog,
                control_backlog: self.control_backlog,
            },
            group_members: self.group_members,
            attachment: self.attachment,
            blob_bytes: self.blob_bytes,
            unfinished_blobs: self.unfinished_blobs,
        }
    }
}

/// What a tier has otherwise than `[limits]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierTable {
    sends_per_minute: Option<u64>,
    control_per_minute: Option<u64>,
    org_sends_per_hour: Option<u64>,
    backlog: Option<u64>,
    control_backlog: Option<u64>,
    group_members: Option<u64>,
    attachment: Option<u64>,
    blob_bytes: Option<u64>,
    unfinished_blobs: Option<u64>,
}

impl TierTable {
    fn over(self, default: TierLimits) -> TierLimits {
        let sends = default.sends;
        TierLimits {
            sends: SendLimits {
                sends_per_minute: self.sends_per_minute.unwrap_or(sends.sends_per_minute),
                control_per_minute: self.control_per_minute.unwrap_or(sends.control_per_minute),
                org_sends_per_hour: self.org_sends_per_hour.unwrap_or(sends.org_sends_per_hour),
                backlog: self.backlog.unwrap_or(sends.backlog),
                control_backlog: self.control_backlog.unwrap_or(sends.control_backlog),
            },
            group_members: self.group_members.unwrap_or(default.group_members),
            attachment: self.attachment.unwrap_or(default.attachment),
            blob_bytes: self.blob_bytes.unwrap_or(default.blob_bytes),
            unfinished_blobs: self.unfinished_blobs.unwrap_or(default.unfinished_blobs),
        }
    }
}

/// The tiers of a file, each like the default but for what it says.
pub(super) fn tiers(limits: &Limits, tables: BTreeMap<String, TierTable>) -> Result<Tiers, ConfigError> {
    if tables.contains_key(DEFAULT_TIER) {
        return Err(ConfigError::DefaultTier);
    }
    if let Some(name) = tables.keys().find(|name| name.parse::<OrgName>().is_err()) {
        return Err(ConfigError::TierName(name.clone()));
    }
    let default = limits.tier();
    let named: BTreeMap<_, _> = tables
        .into_iter()
        .map(|(name, table)| (name, table.over(default)))
        .collect();
    let too_large = |tier: &TierLimits| tier.group_members > GROUP_MEMBERS as u64;
    if named.values().chain([&default]).any(too_large) {
        return Err(ConfigError::GroupMembers);
    }
    Ok(Tiers { default, named })
}
