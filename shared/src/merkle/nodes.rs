//! Trees that grow and whose nodes lie in a store: what is added to it with a leaf, and which nodes a root or a path
//! is made of, so that neither needs more than `O(log n)` of them.
//!
//! Stored are the roots of full subtrees only: they never change. Whatever else there is in a tree of some size is
//! at its right edge and made of few of them.

use super::{node_hash, root, split};
use crate::ids::Hash;

/// The root of a full subtree. Nodes are numbered in order, however far the tree grows: leaf `i` is `2 * i`, and a root
/// is halfway between its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(u64);

impl Node {
    /// Number `position` of the subtrees of `2^height` leaves.
    const fn new(height: u32, position: u64) -> Self {
        Self((position << (height + 1)) | ((1 << height) - 1))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The full subtrees that the first leaves of a log are made of: all that is needed to add others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// From the largest to the smallest: one for each bit of `size` that is set.
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of `size` leaves, given the hashes of [`Plan::root`]'s nodes; none if they are of another number.
    #[must_use]
    pub fn new(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        let is_whole = hashes.len() == size.count_ones() as usize;
        is_whole.then_some(Self { size, hashes })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its subtrees, from the largest to the smallest: with the size all there is to keep.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The same as [`root`].
    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.hashes).unwrap_or_else(|| root(&[]))
    }

    /// Adds a leaf by its hash. Gives the nodes that are new: the leaf, and the subtrees that it makes full.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Node, Hash)> {
        let mut hash = leaf;
        let mut made = vec![(Node::new(0, self.size), hash)];
        for height in 1..=self.size.trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
                made.push((Node::new(height, self.size >> height), hash));
            }
        }
        self.hashes.push(hash);
        self.size += 1;
        made
    }
}

/// The root over subtrees from the largest to the smallest.
fn fold(hashes: &[Hash]) -> Option<Hash> {
    let smallest_first = hashes.iter().rev().copied();
    smallest_first.reduce(|right, left| node_hash(&left, &right))
}

/// How a root or a path is made of stored nodes, of a log that has fewer than `2^62` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The nodes of each hash, from the largest subtree to the smallest.
    hashes: Vec<Vec<Node>>,
}

impl Plan {
    /// Of the [`root`] over the first `size` leaves; of nothing if there are none.
    #[must_use]
    pub fn root(size: u64) -> Self {
        let all = (size > 0).then(|| cover(0, size));
        Self {
            hashes: all.into_iter().collect(),
        }
    }

    /// Of [`inclusion_path`](super::inclusion_path): leaf `index` of `size`.
    #[must_use]
    pub fn inclusion(index: u64, size: u64) -> Self {
        let mut hashes = Vec::new();
        let (mut start, mut end) = if index < size { (0, size) } else { (0, 0) };
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                hashes.push(cover(middle, end));
                end = middle;
            } else {
                hashes.push(cover(start, middle));
                start = middle;
            }
        }
        hashes.reverse();
        Self { hashes }
    }

    /// Of [`consistency_path`](super::consistency_path): from the first `first` leaves to the first `second`.
    #[must_use]
    pub fn consistency(first: u64, second: u64) -> Self {
        let mut hashes = Vec::new();
        let is_prefix = (1..=second).contains(&first);
        let (mut start, mut end) = (0, if is_prefix { second } else { first });
        while end != first {
            let middle = start + split(end - start);
            if first <= middle {
                hashes.push(cover(middle, end));
                end = middle;
            } else {
                hashes.push(cover(start, middle));
                start = middle;
            }
        }
        // Unless the earlier tree is a subtree of the later: its root is known to the verifier.
        if start > 0 {
            hashes.push(cover(start, end));
        }
        hashes.reverse();
        Self { hashes }
    }

    /// Which nodes are needed.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.hashes.iter().flatten().copied()
    }

    /// The hashes, if all nodes are there.
    pub fn resolve(&self, node: impl Fn(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
        let hash = |nodes: &Vec<Node>| {
            let hashes: Option<Vec<Hash>> = nodes.iter().map(|found| node(*found)).collect();
            fold(&hashes?)
        };
        self.hashes.iter().map(hash).collect()
    }
}

/// The full subtrees of the leaves from `start` to before `end`, largest first. `start` is where one as large as the
/// largest of them may begin.
fn cover(start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut next = start;
    while next < end {
        let height = (end - next).ilog2();
        nodes.push(Node::new(height, next >> height));
        next += 1 << height;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{consistency_path, inclusion_path, leaf_hash};

    /// A store of nodes, the leaf hashes, and the frontier after each leaf.
    fn grown(size: u64) -> (HashMap<Node, Hash>, Vec<Hash>, Vec<Frontier>) {
        let leaves: Vec<Hash> = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut frontier = Frontier::new(0, Vec::new()).unwrap();
        let (mut store, mut frontiers) = (HashMap::new(), vec![frontier.clone()]);
        for leaf in &leaves {
            for (node, hash) in frontier.push(*leaf) {
                assert_eq!(store.insert(node, hash), None, "no node is made twice");
            }
            frontiers.push(frontier.clone());
        }
        (store, leaves, frontiers)
    }

    fn resolve(plan: &Plan, store: &HashMap<Node, Hash>) -> Vec<Hash> {
        plan.resolve(|node| store.get(&node).copied()).unwrap()
    }

    /// docs/protocol.md, 2.6 and 10: a log that keeps nodes gives the roots and paths of one that keeps all leaves.
    #[test]
    fn stored_nodes_give_every_root_and_path() {
        let (store, leaves, frontiers) = grown(70);
        for size in 0..=leaves.len() {
            let tree = &leaves[..size];
            let plan = Plan::root(size as u64);
            assert_eq!(frontiers[size].root(), root(tree), "{size}");
            let kept: Vec<Hash> = plan.nodes().map(|node| store[&node]).collect();
            assert_eq!(Frontier::new(size as u64, kept).unwrap(), frontiers[size]);
            assert_eq!(
                resolve(&plan, &store).first(),
                (size > 0).then(|| root(tree)).as_ref()
            );
            for other in 0..=size + 1 {
                let plan = Plan::inclusion(other as u64, size as u64);
                assert_eq!(
                    resolve(&plan, &store),
                    inclusion_path(tree, other),
                    "{other} of {size}"
                );
                let plan = Plan::consistency(other as u64, size as u64);
                let path = consistency_path(tree, other);
                assert_eq!(resolve(&plan, &store), path, "from {other} to {size}");
            }
        }
    }

    #[test]
    fn what_is_missing_gives_nothing() {
        let (mut store, ..) = grown(7);
        let plan = Plan::inclusion(0, 7);
        store.remove(&plan.nodes().last().unwrap());
        assert_eq!(plan.resolve(|node| store.get(&node).copied()), None);
        assert_eq!(Frontier::new(7, vec![leaf_hash(b""); 2]), None);
    }

    proptest! {
        /// No size is too large, and none needs more nodes than two for each level.
        #[test]
        fn few_nodes_are_needed(size in 1..=1_u64 << 62, part in any::<u64>()) {
            let index = part % size;
            let levels = 64 - size.leading_zeros() as usize;
            for plan in [Plan::root(size), Plan::inclusion(index, size), Plan::consistency(index, size)] {
                prop_assert!(plan.nodes().count() <= 2 * levels);
                prop_assert!(plan.hashes.len() <= levels + 1);
                prop_assert!(plan.nodes().all(|node| node.number() < 2 * size));
            }
        }

        #[test]
        fn larger_trees_agree_with_all_leaves(size in 1..3_000_u64, part in any::<u64>()) {
            let (store, leaves, frontiers) = grown(size);
            let index = (part % size) as usize;
            prop_assert_eq!(frontiers[leaves.len()].root(), root(&leaves));
            let plan = Plan::inclusion(index as u64, size);
            prop_assert_eq!(resolve(&plan, &store), inclusion_path(&leaves, index));
            let plan = Plan::consistency(index as u64, size);
            prop_assert_eq!(resolve(&plan, &store), consistency_path(&leaves, index));
        }
    }
}
