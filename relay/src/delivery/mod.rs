//! From the commit to the sockets: the hub pushes what was stored from memory, a socket that is
//! behind reads the table. A push is a hint and may be dropped; the table is the truth.

mod hub;
mod inbox;
pub(crate) mod passing;
#[cfg(test)]
mod passing_tests;
mod presence;
mod queue_set;
mod queue_state;
pub mod send;
pub mod session;
#[cfg(test)]
mod session_groups_tests;
#[cfg(test)]
mod session_tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

pub use hub::{Attached, Full, Hub, SocketLimits};
pub use inbox::{Answer, Bounds, Closing, Inbox, Mail, MembershipNews, Push};
pub use passing::Allowances;
pub use presence::Presence;
pub use queue_state::QueueState;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    metrics::Metrics,
    nodes::{Nodes, Word},
    store::{AgentNo, Store},
};

/// How long sockets wait for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// For the first frame.
    pub first_frame: Duration,
    /// Between pings.
    pub ping: Duration,
    /// For the pong, or any other frame, after a ping.
    pub pong: Duration,
    /// For a write that the peer does not read.
    pub write: Duration,
    /// For answers to sends in flight, when the relay stops.
    pub drain: Duration,
    /// For the peer's half of a close.
    pub close: Duration,
    /// For another socket of an agent whose last one has ended, before the agent counts as gone.
    pub absence: Duration,
    /// How long an agent stays online after its node was last heard of.
    pub mark: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_frame: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            close: Duration::from_secs(1),
            absence: Duration::from_secs(3),
            mark: Duration::from_secs(30),
        }
    }
}

/// What sockets and long polls work with.
#[derive(Debug)]
pub struct Delivery {
    /// The table.
    pub store: Store,
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// What this node is to others, if there may be some.
    pub nodes: Option<Arc<Nodes>>,
    /// Tells the time of welcomes.
    pub clock: Clock,
    /// What agents may still have passed on.
    pub allowances: Allowances,
    /// Who is online.
    pub presence: Presence,
    /// Counts deliveries.
    pub metrics: Arc<Metrics>,
    /// Patience.
    pub timing: Timing,
    /// Cancelled when the relay stops.
    pub shutdown: CancellationToken,
}

impl Delivery {
    /// Shows the sockets of an agent, on whatever node, a lease that was offered for it.
    pub fn show_lease(&self, agent: AgentNo, signed: Vec<u8>) {
        self.hub.show_lease(agent, &signed);
        if let Some(nodes) = &self.nodes {
            nodes.tell([agent], &Word::Lease(signed.into()));
        }
    }

    /// Those of some agents that have a socket on some node, as far as that can be told.
    pub async fn with_sockets(&self, agents: Vec<AgentNo>) -> HashSet<AgentNo> {
        let mut there: HashSet<AgentNo> = self.hub.with_sockets(agents.clone()).into_iter().collect();
        let others: Vec<AgentNo> = agents
            .into_iter()
            .filter(|agent| !there.contains(agent))
            .collect();
        if let Some(nodes) = &self.nodes
            && !others.is_empty()
        {
            there.extend(nodes.with_sockets(&others).await.unwrap_or_default());
        }
        there
    }
}
