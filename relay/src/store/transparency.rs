//! The transparency log, as it goes into and comes out of a store (docs/protocol.md, 10).
//!
//! A bundle is due for the log in the transaction that publishes it. Leaves, nodes and heads are never changed.

use std::collections::HashMap;

use waxwire_shared::{
    ids::{Handle, Hash},
    merkle::{Frontier, Node, leaf_hash},
    wire::{Document as _, LogLeaf},
};

use super::{ReadError, Store, WriteError, on_each, rows};

/// The store's number of a bundle that is not in the log yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueNo(pub(in crate::store) i64);

/// A bundle that is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueBundle {
    /// Its turn.
    pub no: DueNo,
    /// The handle that it was published for.
    pub handle: Handle,
    /// The tag of that, if it was computed before.
    pub tag: Option<Hash>,
    /// Its number.
    pub number: u64,
    /// The signed bundle, verbatim.
    pub bytes: Vec<u8>,
    /// When it was published, Unix milliseconds.
    pub published_at: u64,
}

/// A leaf for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLeaf {
    /// The bundle that it is for.
    pub due: DueNo,
    /// The handle of that.
    pub handle: Handle,
    /// The leaf.
    pub leaf: LogLeaf,
}

/// A head that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// How many leaves it is over.
    pub size: u64,
    /// As it was signed.
    pub bytes: Vec<u8>,
}

/// Leaf hashes and roots of full subtrees.
pub type Nodes = HashMap<Node, Hash>;

impl Store {
    /// The id of the log; `candidate` becomes it if there is no log yet. The latest bundle of every agent is due
    /// for one that is new.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn transparency_log(&self, candidate: Hash) -> Result<Hash, WriteError> {
        on_each!(self, s => s.transparency_log(candidate).await)
    }

    /// Bundles that are not in the log yet, in the order of publication.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn due_bundles(&self, limit: usize) -> Result<Vec<DueBundle>, ReadError> {
        on_each!(self, s => s.due_bundles(limit).await)
    }

    /// Appends leaves of bundles that are still due, in this order, and keeps their tags. Gives the size of the log.
    ///
    /// # Errors
    /// [`WriteError`]; the outcome is unknown then. The same again is safe.
    pub async fn append_leaves(&self, leaves: Vec<NewLeaf>) -> Result<u64, WriteError> {
        on_each!(self, s => s.append_leaves(leaves).await)
    }

    /// How many leaves there are.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transparency_size(&self) -> Result<u64, ReadError> {
        on_each!(self, s => s.transparency_size().await)
    }

    /// Those of some nodes that there are.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transparency_nodes(&self, nodes: &[Node]) -> Result<Nodes, ReadError> {
        on_each!(self, s => s.transparency_nodes(nodes).await)
    }

    /// Keeps a signed head, if there are as many leaves and there is no head of this size.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_head(&self, head: SignedHead) -> Result<(), WriteError> {
        on_each!(self, s => s.put_head(head).await)
    }

    /// The newest head that was signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn newest_head(&self) -> Result<Option<SignedHead>, ReadError> {
        on_each!(self, s => s.newest_head().await)
    }

    /// The head of a size.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn head_of(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
        on_each!(self, s => s.head_of(size).await)
    }

    /// Index of the leaf of a bundle, by the hash of that.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn leaf_of(&self, bundle: &Hash) -> Result<Option<u64>, ReadError> {
        on_each!(self, s => s.leaf_of(bundle).await)
    }

    /// Leaves from index `from` to before `to`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn log_leaves(&self, from: u64, to: u64) -> Result<Vec<LogLeaf>, ReadError> {
        on_each!(self, s => s.log_leaves(from, to).await)
    }
}

/// What a log of this frontier stores with more leaves, which follow those that it has.
pub(super) fn grow(frontier: &mut Frontier, leaves: &[&NewLeaf]) -> Vec<(Node, Hash)> {
    let hashes = leaves.iter().map(|new| leaf_hash(&new.leaf.encode()));
    hashes.flat_map(|hash| frontier.push(hash)).collect()
}

/// A number of a statement for one that a request names; what is too large is nowhere.
pub(super) fn number(asked: u64) -> i64 {
    i64::try_from(asked).unwrap_or(i64::MAX)
}

/// Number, handle, tag, number and bytes of the bundle, when it was published.
pub(super) type DueRow = (i64, String, Option<Vec<u8>>, i64, Vec<u8>, i64);

pub(super) fn due((no, handle, tag, number, bytes, published_at): DueRow) -> Result<DueBundle, ReadError> {
    Ok(DueBundle {
        no: DueNo(no),
        handle: rows::handle(&handle)?,
        tag: tag.as_deref().map(hash).transpose()?,
        number: number.cast_unsigned(),
        bytes,
        published_at: published_at.cast_unsigned(),
    })
}

/// Tag, number, hash of the bundle.
pub(super) type LeafRow = (Vec<u8>, i64, Vec<u8>);

pub(super) fn leaf((tag, number, bundle): LeafRow) -> Result<LogLeaf, ReadError> {
    Ok(LogLeaf {
        handle_tag: hash(&tag)?,
        number: number.cast_unsigned(),
        bundle: hash(&bundle)?,
    })
}

/// Number, hash.
pub(super) type NodeRow = (i64, Vec<u8>);

pub(super) fn nodes(asked: &[Node], rows: Vec<NodeRow>) -> Result<Nodes, ReadError> {
    let rows: HashMap<i64, Vec<u8>> = rows.into_iter().collect();
    let found = |node: &Node| {
        let bytes = rows.get(&node.number().cast_signed())?;
        Some(hash(bytes).map(|hash| (*node, hash)))
    };
    asked.iter().filter_map(found).collect()
}

pub(super) fn signed_head((size, bytes): (i64, Vec<u8>)) -> SignedHead {
    SignedHead {
        size: size.cast_unsigned(),
        bytes,
    }
}

fn hash(bytes: &[u8]) -> Result<Hash, ReadError> {
    Hash::from_slice(bytes).map_err(|_| rows::invalid("transparency", "hash"))
}
