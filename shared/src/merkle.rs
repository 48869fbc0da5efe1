//! Merkle trees as RFC 9162 section 2.1 hashes them (docs/protocol.md, 2 and 6).

mod nodes;

use sha2::{Digest, Sha256};

pub use self::nodes::{Frontier, Node, Plan};
use crate::ids::Hash;

/// `SHA-256(0x00 || leaf)`.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::new_with_prefix([0]).chain_update(leaf).finalize().into())
}

/// `SHA-256(0x01 || left || right)`.
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let hasher = Sha256::new_with_prefix([1]);
    let hasher = hasher
        .chain_update(left.as_bytes())
        .chain_update(right.as_bytes());
    Hash::from_bytes(hasher.finalize().into())
}

/// The root over leaf hashes; `SHA-256("")` for none.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => crate::hash::sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(half(leaves));
            node_hash(&root(left), &root(right))
        }
    }
}

/// Sibling hashes from leaf `index` to the root; empty if there is no such leaf.
#[must_use]
pub fn inclusion_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 || index >= leaves.len() {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(half(leaves));
    let (mut path, sibling) = if index < left.len() {
        (inclusion_path(left, index), root(right))
    } else {
        (inclusion_path(right, index - left.len()), root(left))
    };
    path.push(sibling);
    path
}

/// A tree with all its nodes, for whoever gives out many paths: each costs no hashing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// From the leaf hashes to the root. A node without a neighbour stands in the next level as it is.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over leaf hashes.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut level = leaves;
        let mut levels = Vec::new();
        while level.len() > 1 {
            let pairs = level.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                _ => pair[0],
            });
            let next = pairs.collect();
            levels.push(std::mem::replace(&mut level, next));
        }
        levels.push(level);
        Self { levels }
    }

    /// The same as [`root`].
    #[must_use]
    pub fn root(&self) -> Hash {
        self.levels.last().map_or_else(|| root(&[]), |top| root(top))
    }

    /// The same as [`inclusion_path`].
    #[must_use]
    pub fn inclusion_path(&self, index: usize) -> Vec<Hash> {
        if index >= self.len() {
            return Vec::new();
        }
        let siblings = (0..).zip(&self.levels);
        let siblings = siblings.filter_map(|(height, level)| level.get((index >> height) ^ 1));
        siblings.copied().collect()
    }

    /// Number of leaves.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there is no leaf.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether `leaf` (its hash) is number `index` of `size` leaves under `root` (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Hashes that prove that the first `first` leaves are a prefix of all (RFC 9162, 2.1.4.1); empty
/// if `first` is 0, all or more.
#[must_use]
pub fn consistency_path(leaves: &[Hash], first: usize) -> Vec<Hash> {
    if first == 0 || first >= leaves.len() {
        return Vec::new();
    }
    subproof(leaves, first, true)
}

/// `whole`: the earlier tree is exactly these first leaves, so its root is known to the verifier.
fn subproof(leaves: &[Hash], first: usize, whole: bool) -> Vec<Hash> {
    if first == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(half(leaves));
    let (mut path, sibling) = if first <= left.len() {
        (subproof(left, first, whole), root(right))
    } else {
        (subproof(right, first - left.len(), false), root(left))
    };
    path.push(sibling);
    path
}

/// Whether a tree of `first` leaves with root `first_root` is a prefix of one of `second` leaves with
/// root `second_root` (RFC 9162, 2.1.4.2). An empty tree is a prefix of every tree.
#[must_use]
pub fn verify_consistency(
    first: u64,
    first_root: &Hash,
    second: u64,
    second_root: &Hash,
    path: &[Hash],
) -> bool {
    if first > second {
        return false;
    }
    if first == 0 {
        return path.is_empty() && *first_root == root(&[]);
    }
    if first == second {
        return path.is_empty() && first_root == second_root;
    }
    let (mut node, mut last) = (first - 1, second - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    // The earlier tree is a complete subtree of the later: its root begins both.
    let (start, rest) = if first.is_power_of_two() {
        (*first_root, path)
    } else {
        match path.split_first() {
            Some((start, rest)) => (*start, rest),
            None => return false,
        }
    };
    let (mut earlier, mut later) = (start, start);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            earlier = node_hash(sibling, &earlier);
            later = node_hash(sibling, &later);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            later = node_hash(&later, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && earlier == *first_root && later == *second_root
}

/// Where leaves, at least two, are split.
const fn half(leaves: &[Hash]) -> usize {
    split(leaves.len() as u64) as usize
}

/// The largest power of two below `length`, which is at least 2.
const fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 2.6: a proof with a hash too many, too few or another is refused.
    #[test]
    fn inclusion_proofs_verify_for_every_leaf_and_nothing_else() {
        for size in 1..40_u64 {
            let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
            let root = root(&leaves);
            for index in 0..size {
                let path = inclusion_path(&leaves, index as usize);
                let leaf = &leaves[index as usize];
                assert!(
                    verify_inclusion(leaf, index, size, &path, &root),
                    "{index} of {size}"
                );
                assert!(!verify_inclusion(leaf, index + 1, size, &path, &root) || size == 1);
                assert!(!verify_inclusion(&leaf_hash(b"other"), index, size, &path, &root));
                assert!(!verify_inclusion(leaf, index, size, &path, &leaf_hash(b"root")));
                let longer = [path.as_slice(), &[root]].concat();
                assert!(!verify_inclusion(leaf, index, size, &longer, &root));
            }
        }
    }

    #[test]
    fn tree_gives_the_same_root_and_paths() {
        for size in 0..70_u64 {
            let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
            let tree = Tree::new(leaves.clone());
            assert_eq!((tree.len(), tree.is_empty()), (leaves.len(), leaves.is_empty()));
            assert_eq!(tree.root(), root(&leaves), "{size}");
            for index in 0..=leaves.len() + 1 {
                let path = inclusion_path(&leaves, index);
                assert_eq!(tree.inclusion_path(index), path, "{index} of {size}");
            }
        }
    }

    /// docs/protocol.md, 2.6 and 10: a later head continues an earlier one, or it is a fork.
    #[test]
    fn consistency_proofs_verify_for_every_prefix_and_nothing_else() {
        let leaves: Vec<Hash> = (0..40_u64).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for second in 0..=leaves.len() {
            for first in 0..=second {
                let path = consistency_path(&leaves[..second], first);
                let (earlier, later) = (root(&leaves[..first]), root(&leaves[..second]));
                let verify = |first: usize, earlier: &Hash, later: &Hash, path: &[Hash]| {
                    verify_consistency(first as u64, earlier, second as u64, later, path)
                };
                assert!(verify(first, &earlier, &later, &path), "{first} of {second}");
                let other = leaf_hash(b"other");
                assert!(!verify(first, &other, &later, &path));
                assert!(!verify(first, &earlier, &other, &path) || first == 0);
                assert!(!verify(second + 1, &earlier, &later, &path));
                let longer = [path.as_slice(), &[other]].concat();
                assert!(!verify(first, &earlier, &later, &longer));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!verify(first, &earlier, &later, shorter));
                }
            }
        }
    }

    /// docs/protocol.md, 2.6: the root of no leaves.
    #[test]
    fn empty_tree_has_the_hash_of_nothing() {
        assert!(root(&[]).to_string().starts_with("e3b0c44298fc1c14"));
        assert!(!verify_inclusion(&root(&[]), 0, 0, &[], &root(&[])));
    }
}
