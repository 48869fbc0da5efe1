//! The transparency log (docs/protocol.md, 10): which bundle each handle had, so that a relay which shows different
//! agents different ones can be found out by them.
//!
//! A bundle is due for the log in the transaction that publishes it; no request waits for its leaf. [`sequencer`] makes
//! the leaves one after the other and signs heads. What is served here is read from the store, `O(log n)` of it.

mod sequencer;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use waxwire_shared::{
    hash::sha256,
    ids::Hash,
    merkle::{Node, Plan},
    wire::{LogConsistency, LogProof},
};

pub use self::{
    sequencer::follow,
    settings::{HeadIntervalError, Switch, TransparencyTable},
};
use crate::store::{ReadError, SignedHead, Store, WriteError};

/// The log of a relay that has it switched on.
#[derive(Debug, Clone, Copy)]
pub struct Transparency {
    /// Names the log.
    id: Hash,
    /// Heads are not signed more often.
    interval: Duration,
}

impl Transparency {
    /// Goes on with the log of a database, or begins one that has the id `candidate`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn open(store: &Store, candidate: Hash, interval: Duration) -> Result<Self, WriteError> {
        let id = store.transparency_log(candidate).await?;
        Ok(Self { id, interval })
    }
}

/// The proof that the log has a leaf for a signed bundle, if a signed head covers that.
///
/// # Errors
/// [`ReadError`].
pub async fn prove(store: &Store, bundle: &[u8]) -> Result<Option<LogProof>, ReadError> {
    let Some(SignedHead { size, bytes }) = store.newest_head().await? else {
        return Ok(None);
    };
    let leaf = store.leaf_of(&sha256(bundle)).await?;
    let Some(index) = leaf.filter(|index| *index < size) else {
        return Ok(None);
    };
    Ok(Some(LogProof {
        head: bytes,
        index,
        path: hashes(store, &Plan::inclusion(index, size)).await?,
    }))
}

/// The proof that the head of size `to` continues the head of size `from`, if both were signed.
///
/// # Errors
/// [`ReadError`].
pub async fn prove_consistency(
    store: &Store,
    from: u64,
    to: u64,
) -> Result<Option<LogConsistency>, ReadError> {
    let (Some(earlier), Some(later)) = (store.head_of(from).await?, store.head_of(to).await?) else {
        return Ok(None);
    };
    Ok(Some(LogConsistency {
        earlier,
        later,
        path: hashes(store, &Plan::consistency(from, to)).await?,
    }))
}

async fn hashes(store: &Store, plan: &Plan) -> Result<Vec<Hash>, ReadError> {
    let nodes: Vec<Node> = plan.nodes().collect();
    let held = store.transparency_nodes(&nodes).await?;
    let hashes = plan.resolve(|node| held.get(&node).copied());
    hashes.ok_or(ReadError::Row {
        table: "transparency_node",
        column: "hash",
    })
}
