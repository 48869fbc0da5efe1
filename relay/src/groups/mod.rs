//! Groups as the relay sees them: it verifies commits by the same rules as every member
//! ([`waxwire_shared::roster`]), orders them, and serves each member its leaf of a rekey. It knows who
//! is in a group and nothing that is said in it.

mod append;
mod effect;
mod judge;
mod pace;
mod recent;
mod rosters;
mod trees;
mod uploads;

use std::sync::Arc;

pub use append::{Accepted, AppendRefusal};
pub use judge::JudgeError;
pub use pace::TooOften;
pub use rosters::ReplayError;
pub use trees::TreeError;
pub use uploads::{Busy, SMALL, Upload, Uploads};
use waxwire_shared::ids::{GroupId, RelayId};

use self::{pace::Pace, rosters::Rosters, trees::Trees};
use crate::{
    clock::Clock,
    config::Limits,
    metrics::Metrics,
    nodes::Nodes,
    store::{AgentNo, ReadError, Standing, Store},
};

/// What the relay does for groups.
#[derive(Debug)]
pub struct Groups {
    store: Store,
    relay: RelayId,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Groups that an agent may be in; 0 is unlimited.
    max_groups: u64,
    pace: Pace,
    rosters: Rosters,
    trees: Trees,
    /// Room for large bodies.
    pub uploads: Uploads,
}

/// Why a leaf is not given.
#[derive(Debug, thiserror::Error)]
pub enum LeafRefusal {
    /// No such leaf, or not for this agent.
    #[error("no such leaf")]
    NotFound,
    /// The store did not answer.
    #[error("the leaf cannot be looked up")]
    Read(#[from] ReadError),
    /// The leaves cannot be prepared.
    #[error("the leaf cannot be given")]
    Tree(#[source] TreeError),
}

impl Groups {
    /// Groups of a store, none in memory.
    #[must_use]
    pub fn new(
        store: Store,
        relay: RelayId,
        metrics: Arc<Metrics>,
        clock: Clock,
        limits: Limits,
        nodes: Option<Arc<Nodes>>,
    ) -> Self {
        Self {
            store,
            relay,
            metrics,
            clock,
            max_groups: limits.groups,
            pace: Pace::new(limits, nodes),
            rosters: Rosters::default(),
            trees: Trees::default(),
            uploads: Uploads::default(),
        }
    }

    /// A leaf of an epoch with its way to the root, for members and the invited, and for those who departed
    /// if the epoch was opened before. Strangers to an open group see its commits only.
    ///
    /// # Errors
    /// [`LeafRefusal`].
    pub async fn leaf(
        &self,
        agent: AgentNo,
        group: &GroupId,
        epoch: u64,
        index: usize,
    ) -> Result<Vec<u8>, LeafRefusal> {
        let group = self.store.group(group).await?.ok_or(LeafRefusal::NotFound)?;
        let last = match self.store.standing(&group, agent).await? {
            Standing::Member | Standing::Invited => u64::MAX,
            Standing::Former { departed } => departed,
            Standing::Stranger => return Err(LeafRefusal::NotFound),
        };
        let opened = self.store.rekey_position(group.no, epoch).await?;
        if opened.is_none_or(|position| position > last) {
            return Err(LeafRefusal::NotFound);
        }
        let tree = match self.trees.get(&self.store, group.no, epoch).await {
            Err(TreeError::Gone) => return Err(LeafRefusal::NotFound),
            tree => tree.map_err(LeafRefusal::Tree)?,
        };
        tree.proof(index).ok_or(LeafRefusal::NotFound)
    }
}
