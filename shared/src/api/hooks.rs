//! Hooks by which a relay wakes crypto proxies that keep no socket (docs/relay-api.md, Wake-ups).

use serde::{Deserialize, Serialize};

use super::frames::Queue;
use crate::ids::AgentId;

/// `PUT /v1/agents/me/hook`; 204.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// Where to call.
    pub url: String,
    /// What signs the calls; [`SECRET_LENGTHS`](crate::hook::SECRET_LENGTHS) bytes.
    pub secret: String,
}

impl std::fmt::Debug for HookRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookRequest")
    }
}

/// What a relay posts to a hook: a queue of the agent has grown. A hint; others may have, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeupBody {
    /// Whose.
    pub agent: AgentId,
    /// Which.
    pub queue: Queue,
    /// How far it reached.
    pub head: u64,
}
