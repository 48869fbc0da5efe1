//! Leaves: the tree over them, and which of one's own handle are one's own doing.

use waxwire_shared::{
    hash::sha256,
    ids::Hash,
    merkle::{Frontier, leaf_hash},
    sign::SignedBytes,
    wire::{Bundle, DecodeError, Document as _, LogLeaf},
};

/// Adds encoded leaves to a tree; gives those under a handle's tag, with their places.
///
/// # Errors
/// [`DecodeError`] of the first that is no leaf; the tree has then only those before it.
pub fn append(
    tree: &mut Frontier,
    leaves: &[Vec<u8>],
    tag: &Hash,
) -> Result<Vec<(u64, LogLeaf)>, DecodeError> {
    let mut own = Vec::new();
    for bytes in leaves {
        let leaf = LogLeaf::decode(bytes)?;
        if leaf.handle_tag == *tag {
            own.push((tree.size(), leaf));
        }
        tree.push(leaf_hash(bytes));
    }
    Ok(own)
}

/// What is kept of a bundle that this agent has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnBundle {
    /// Hash of the signed bundle.
    pub hash: Hash,
    /// Its number.
    pub number: u64,
    /// Hash of the signed bundle before it.
    pub previous: Option<Hash>,
}

impl OwnBundle {
    /// Of a signed bundle of one's own; `None` if it is none.
    #[must_use]
    pub fn of(signed: &[u8]) -> Option<Self> {
        let bundle = Bundle::decode(&SignedBytes::decode(signed).ok()?.body).ok()?;
        Some(Self {
            hash: sha256(signed),
            number: bundle.number,
            previous: bundle.previous,
        })
    }
}

/// What this agent knows of its own bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnBundles {
    /// Those that are known, by ascending number.
    pub bundles: Vec<OwnBundle>,
    /// There may be some from before the first of these, as after a recovery.
    pub begins_late: bool,
}

/// Whose doing a leaf under the own handle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One's own.
    Own,
    /// It stands where one's own record has a hole, as after a restore: nobody can tell.
    Unaccounted,
    /// Somebody else's.
    Rogue,
}

/// Whose doing a leaf under the own handle is.
///
/// Each bundle names the one before it, so one's record shows where nothing is missing; a leaf that stands
/// there and is not in the record is not one's own. Nor is one that is newer than all.
#[must_use]
pub fn judge(leaf: &LogLeaf, own: &OwnBundles) -> Verdict {
    let bundles = &own.bundles;
    if let Some(same) = bundles
        .iter()
        .find(|own| own.hash == leaf.bundle || own.number == leaf.number)
    {
        let is_own = same.hash == leaf.bundle && same.number == leaf.number;
        return if is_own { Verdict::Own } else { Verdict::Rogue };
    }
    let next = bundles.partition_point(|own| own.number < leaf.number);
    let Some(successor) = bundles.get(next) else {
        return Verdict::Rogue;
    };
    match successor.previous {
        Some(previous) if previous == leaf.bundle => Verdict::Own,
        // The bundle before it is known: there is no hole between the two.
        Some(previous) if bundles.iter().any(|own| own.hash == previous) => Verdict::Rogue,
        Some(_) => Verdict::Unaccounted,
        None if next == 0 && own.begins_late => Verdict::Unaccounted,
        None => Verdict::Rogue,
    }
}
