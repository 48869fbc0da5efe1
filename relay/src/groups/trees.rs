//! Leaves of epochs with their trees, prepared once for all the members who fetch theirs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use waxwire_shared::{
    merkle::{Tree, leaf_hash},
    wire::{DecodeError, Document as _, LeafProof, Leaves},
};

use super::recent::Recent;
use crate::store::{GroupNo, ReadError, Store};

/// Bytes of all prepared epochs.
const BYTES: usize = 32 * 1024 * 1024;
/// Bytes of an epoch beside its leaves.
const BASE: usize = 512;
/// Bytes of a leaf beside its content: its place in the list, its hash and half of the nodes above.
const LEAF: usize = 24 + 2 * 32;

/// Why leaves cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// They cannot be read.
    #[error("leaves cannot be read")]
    Read(#[from] ReadError),
    /// They are not what was stored.
    #[error("leaves are damaged")]
    Decode(#[from] DecodeError),
    /// The relay stops.
    #[error("preparing leaves was interrupted")]
    Interrupted,
    /// Retention has deleted them a moment ago.
    #[error("leaves are not held any more")]
    Gone,
}

/// The leaves of one epoch.
#[derive(Debug)]
pub(super) struct LeafTree {
    leaves: Vec<Vec<u8>>,
    tree: Tree,
}

impl LeafTree {
    /// Hashes all leaves.
    pub(super) fn new(leaves: Leaves) -> Self {
        let leaves = leaves.leaves;
        let tree = Tree::new(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
        Self { leaves, tree }
    }

    fn weight(&self) -> usize {
        BASE + self.leaves.iter().map(|leaf| LEAF + leaf.len()).sum::<usize>()
    }

    /// An encoded [`LeafProof`].
    pub(super) fn proof(&self, index: usize) -> Option<Vec<u8>> {
        let leaf = self.leaves.get(index)?.clone();
        let path = self.tree.inclusion_path(index);
        Some(LeafProof { leaf, path }.encode())
    }
}

type Key = (GroupNo, u64);
type Slot = Arc<OnceCell<Arc<LeafTree>>>;

/// Prepared epochs.
#[derive(Debug)]
pub(super) struct Trees(Mutex<Recent<Key, Slot>>);

impl Default for Trees {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(BYTES)))
    }
}

impl Trees {
    fn with<T>(&self, act: impl FnOnce(&mut Recent<Key, Slot>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps an epoch that was just stored.
    pub(super) fn keep(&self, group: GroupNo, epoch: u64, tree: LeafTree) {
        let weight = tree.weight();
        let slot = Arc::new(OnceCell::new_with(Some(Arc::new(tree))));
        self.with(|recent| recent.put((group, epoch), weight, slot));
    }

    /// An epoch's leaves, read and hashed by the first who asks while the others wait.
    pub(super) async fn get(
        &self,
        store: &Store,
        group: GroupNo,
        epoch: u64,
    ) -> Result<Arc<LeafTree>, TreeError> {
        let key = (group, epoch);
        let slot = self.with(|recent| recent.get(key, BASE, Slot::default));
        let tree = slot.get_or_try_init(async || {
            let bytes = store.leaves(group, epoch).await?.ok_or(TreeError::Gone)?;
            let prepare = move || Leaves::decode(&bytes).map(LeafTree::new);
            let tree = tokio::task::spawn_blocking(prepare).await;
            let tree = Arc::new(tree.map_err(|_| TreeError::Interrupted)??);
            self.with(|recent| recent.weigh(&key, tree.weight()));
            Ok(tree)
        });
        tree.await.cloned()
    }
}
