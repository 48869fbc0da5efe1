//! Rules about the transparency log (docs/protocol.md, 10).

use waxwire_shared::{
    merkle::{self, Plan, leaf_hash},
    wire::{Document as _, LogLeaf},
};

use super::*;
use crate::store::{BundleOutcome, DueBundle, NewLeaf, NewSuccession, SignedHead, SuccessionOutcome};

const FIRST: Hash = Hash::from_bytes([1; 32]);
const OTHER: Hash = Hash::from_bytes([2; 32]);

/// Its leaf, with something for a tag.
pub(super) fn leaf(due: &DueBundle) -> NewLeaf {
    NewLeaf {
        due: due.no,
        handle: due.handle.clone(),
        leaf: LogLeaf {
            handle_tag: sha256(due.handle.as_str().as_bytes()),
            number: due.number,
            bundle: sha256(&due.bytes),
        },
    }
}

pub(super) fn head(size: u64, content: u8) -> SignedHead {
    SignedHead {
        size,
        bytes: vec![content],
    }
}

impl<B: Backend> World<B> {
    async fn log(&self, candidate: Hash) -> Hash {
        self.store.transparency_log(candidate).await.unwrap()
    }

    async fn publish(&self, account: &Account, number: u64) -> BundleOutcome {
        let bytes = format!("{} {number}", account.id);
        let bundle = bundle(number, bytes.as_bytes());
        self.store.put_bundle(account.agent, bundle).await.unwrap()
    }

    async fn due(&self) -> Vec<DueBundle> {
        self.store.due_bundles(1_000).await.unwrap()
    }

    /// Whose bundles are due, and which.
    async fn owed(&self) -> Vec<(String, u64)> {
        let due = self.due().await.into_iter();
        due.map(|due| (due.handle.to_string(), due.number)).collect()
    }

    async fn append(&self, due: &[DueBundle]) -> u64 {
        let leaves = due.iter().map(leaf).collect();
        self.store.append_leaves(leaves).await.unwrap()
    }

    async fn leaves(&self) -> Vec<LogLeaf> {
        self.store.log_leaves(0, u64::MAX).await.unwrap()
    }

    async fn hashes(&self, plan: &Plan) -> Vec<Hash> {
        let nodes: Vec<merkle::Node> = plan.nodes().collect();
        let held = self.store.transparency_nodes(&nodes).await.unwrap();
        plan.resolve(|node| held.get(&node).copied()).unwrap()
    }
}

pub(crate) async fn latest_bundles_and_all_that_follow_are_due_for_a_log<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, _) = (world.agent(1).await, world.agent(2).await);
    world.publish(&a, NOW + 1).await;
    assert_eq!(world.owed().await, [], "there is no log");
    assert_eq!(world.log(FIRST).await, FIRST);
    let latest = [("agent-1".to_owned(), NOW + 1), ("agent-2".to_owned(), NOW)];
    assert_eq!(world.owed().await, latest);
    // The log is begun once.
    let world = world.crash().await;
    assert_eq!(world.log(OTHER).await, FIRST);
    assert_eq!(world.owed().await, latest);

    assert_eq!(world.publish(&a, NOW + 2).await, BundleOutcome::Stored);
    assert_eq!(world.publish(&a, NOW + 2).await, BundleOutcome::Repeated);
    assert_eq!(world.publish(&a, NOW).await, BundleOutcome::Stale);
    world.agent(3).await;
    let new = Registration {
        handle: handle(1),
        ..registration(4)
    };
    let succession = NewSuccession {
        old: a.id,
        recovery: None,
        bytes: vec![1],
    };
    let succeeded = world.store.succeed(new, succession).await.unwrap();
    assert!(
        matches!(succeeded, SuccessionOutcome::Done { .. }),
        "{succeeded:?}"
    );
    let owed = world.owed().await;
    assert_eq!(&owed[..2], latest);
    let later = [("agent-1", NOW + 2), ("agent-3", NOW), ("agent-1", NOW)];
    assert_eq!(
        &owed[2..],
        later.map(|(handle, number)| (handle.to_owned(), number))
    );
    let first = world.due().await.remove(0);
    assert_eq!(first.bytes, format!("{} {}", a.id, NOW + 1).into_bytes());
    assert_eq!((first.published_at, first.tag), (NOW, None));
    assert_eq!(world.store.due_bundles(2).await.unwrap().len(), 2);
}

pub(crate) async fn bundle_that_is_due_is_not_pruned<B: Backend>() {
    let world = World::<B>::new().await;
    let a = world.agent(1).await;
    world.log(FIRST).await;
    for number in 1..=40 {
        assert_eq!(world.publish(&a, NOW + number).await, BundleOutcome::Stored);
    }
    let due = world.due().await;
    assert_eq!(due.len(), 41);
    world.append(&due[..40]).await;
    assert_eq!(world.publish(&a, NOW + 41).await, BundleOutcome::Stored);
    assert_eq!(world.owed().await.len(), 2);
    world.append(&world.due().await).await;
    let numbers: Vec<u64> = world.leaves().await.iter().map(|leaf| leaf.number).collect();
    assert_eq!(numbers, (NOW..=NOW + 41).collect::<Vec<u64>>());
}

pub(crate) async fn leaf_is_appended_once_whatever_is_repeated<B: Backend>() {
    let world = World::<B>::new().await;
    world.log(FIRST).await;
    let a = world.agent(1).await;
    world.agent(2).await;
    let due = world.due().await;
    assert_eq!(world.append(&due[..1]).await, 1);
    // As after an answer that was lost.
    assert_eq!(world.append(&due).await, 2);
    assert_eq!(world.append(&due).await, 2);
    assert_eq!(world.due().await, []);
    world.publish(&a, NOW + 1).await;
    let world = world.crash().await;
    let later = world.due().await;
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].tag, Some(sha256(b"agent-1")), "tags are kept");
    assert_eq!(world.append(&[due, later.clone()].concat()).await, 3);
    assert_eq!(world.store.transparency_size().await.unwrap(), 3);
    let leaves = world.leaves().await;
    let handles = ["agent-1", "agent-2", "agent-1"].map(|handle| sha256(handle.as_bytes()));
    let tags: Vec<Hash> = leaves.iter().map(|leaf| leaf.handle_tag).collect();
    assert_eq!(tags, handles);
    assert_eq!(leaves[2], leaf(&later[0]).leaf);
    let index = world.store.leaf_of(&leaves[2].bundle).await.unwrap();
    assert_eq!(index, Some(2));
    assert_eq!(world.store.leaf_of(&OTHER).await.unwrap(), None);
    assert_eq!(world.store.log_leaves(1, 2).await.unwrap(), &leaves[1..2]);
    assert_eq!(world.store.log_leaves(3, u64::MAX).await.unwrap(), []);
}

pub(crate) async fn stored_nodes_prove_every_leaf_and_prefix<B: Backend>() {
    let world = World::<B>::new().await;
    world.log(FIRST).await;
    for number in 1..=21 {
        world.agent(number).await;
    }
    let due = world.due().await;
    let mut rest = due.as_slice();
    // Pages of all sizes, and a crash between them.
    for page in 1..=6 {
        let (now, later) = rest.split_at(page);
        world.append(now).await;
        rest = later;
    }
    let world = world.crash().await;
    let leaves = world.leaves().await;
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(&leaf.encode())).collect();
    assert_eq!(hashes.len(), 21);
    for size in 1..=hashes.len() {
        let tree = &hashes[..size];
        let plan = Plan::root(size as u64);
        assert_eq!(world.hashes(&plan).await, [merkle::root(tree)], "{size}");
        for index in 0..size {
            let plan = Plan::inclusion(index as u64, size as u64);
            let path = merkle::inclusion_path(tree, index);
            assert_eq!(world.hashes(&plan).await, path, "{index} of {size}");
            let plan = Plan::consistency(index as u64, size as u64);
            let path = merkle::consistency_path(tree, index);
            assert_eq!(world.hashes(&plan).await, path, "from {index} to {size}");
        }
    }
}

pub(crate) async fn head_is_kept_once_and_never_beyond_the_leaves<B: Backend>() {
    let world = World::<B>::new().await;
    let put = async |world: &World<B>, head| world.store.put_head(head).await.unwrap();
    let newest = async |world: &World<B>| world.store.newest_head().await.unwrap();
    put(&world, head(0, 1)).await;
    assert_eq!(newest(&world).await, None, "there is no log");
    world.log(FIRST).await;
    for number in 1..=3 {
        world.agent(number).await;
    }
    let due = world.due().await;
    world.append(&due[..2]).await;
    put(&world, head(3, 3)).await;
    assert_eq!(newest(&world).await, None, "there are two leaves");
    put(&world, head(2, 2)).await;
    put(&world, head(2, 4)).await;
    assert_eq!(newest(&world).await, Some(head(2, 2)));
    world.append(&due).await;
    put(&world, head(3, 5)).await;
    let world = world.crash().await;
    assert_eq!(newest(&world).await, Some(head(3, 5)));
    assert_eq!(world.store.head_of(2).await.unwrap(), Some(vec![2]));
    for size in [0, 1, 4, u64::MAX] {
        assert_eq!(world.store.head_of(size).await.unwrap(), None, "{size}");
    }
}
