//! The log through the real router and store, checked as agents check it (docs/protocol.md, 10).

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use tempfile::TempDir;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{BundleAnswer, LogConsistencyAnswer, LogHeadAnswer, LogLeavesAnswer},
    },
    handle_tag::handle_tag,
    hash::sha256,
    ids::Hash,
    merkle::{self, leaf_hash},
    sign::Unverified,
    wire::{Bundle, Document as _, LogConsistency, LogHead, LogLeaf, LogProof, VERSION},
};

use super::Transparency;
use crate::{
    clock::Stopwatch,
    store::{NewLeaf, SignedHead},
    testing::{Answer, NOW, Setup, TestAgent, TestRelay},
};

const SHORT: Duration = Duration::from_millis(20);
/// Nothing comes into the log while a test runs.
const LONG: Duration = Duration::from_secs(3_600);

async fn start_on(folder: Arc<TempDir>, interval: Option<Duration>) -> TestRelay {
    TestRelay::start_with(Setup {
        folder,
        transparency: interval,
        ..Setup::default()
    })
    .await
}

async fn start(interval: Option<Duration>) -> TestRelay {
    start_on(Setup::default().folder, interval).await
}

impl TestRelay {
    /// A head as agents take one: signed by this relay.
    fn verify(&self, bytes: &[u8]) -> LogHead {
        let head = Unverified::<LogHead>::decode(bytes).unwrap();
        let head = head.verify_by(self.relay.identity.public()).unwrap().into_body();
        assert_eq!(head.relay, *self.relay.identity.id());
        head
    }

    async fn newest(&self, agent: &TestAgent) -> Option<LogHead> {
        let answer = self.get("/v1/log/head", Some(&agent.key)).await;
        let found = answer.status == StatusCode::OK;
        found.then(|| self.verify(&answer.json::<LogHeadAnswer>().head.0))
    }

    /// The newest head once it covers so many leaves.
    async fn until_size(&self, agent: &TestAgent, size: u64) -> LogHead {
        let covered = async {
            loop {
                match self.newest(agent).await {
                    Some(head) if head.size >= size => return head,
                    _ => tokio::time::sleep(SHORT).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), covered)
            .await
            .unwrap()
    }

    async fn bundle(&self, asker: &TestAgent, handle: &str) -> BundleAnswer {
        let path = format!("/v1/agents/{handle}/bundle");
        self.get(&path, Some(&asker.key)).await.json()
    }

    /// The bundle of an agent and the head that it is proved to be under.
    async fn proven(&self, asker: &TestAgent, agent: &TestAgent) -> LogHead {
        let answer = self.bundle(asker, agent.handle.as_str()).await;
        let bundle = Unverified::<Bundle>::decode(&answer.bundle.0).unwrap();
        let bundle = bundle.verify_by(&agent.identity()).unwrap();
        let proof = LogProof::decode(&answer.log.unwrap().0).unwrap();
        let head = self.verify(&proof.head);
        let leaf = LogLeaf {
            handle_tag: handle_tag(&head.relay, &agent.handle).unwrap(),
            number: bundle.body().number,
            bundle: bundle.hash(),
        };
        let (leaf, path) = (leaf_hash(&leaf.encode()), &proof.path);
        assert!(merkle::verify_inclusion(
            &leaf,
            proof.index,
            head.size,
            path,
            &head.root
        ));
        head
    }

    async fn consistency(&self, asker: &TestAgent, from: u64, to: u64) -> Answer {
        let path = format!("/v1/log/consistency?from={from}&to={to}");
        self.get(&path, Some(&asker.key)).await
    }

    async fn leaves(&self, asker: &TestAgent, query: &str) -> LogLeavesAnswer {
        let path = format!("/v1/log/leaves?{query}");
        self.get(&path, Some(&asker.key)).await.json()
    }

    async fn assert_no_head(&self, asker: &TestAgent) {
        for path in ["head", "leaves?from=0", "consistency?from=1&to=2"] {
            let answer = self.get(&format!("/v1/log/{path}"), Some(&asker.key)).await;
            answer.assert_problem(ProblemType::NotFound);
        }
    }

    /// What the sequencer does, but for the tags.
    async fn append_due(&self) {
        let store = &self.relay.delivery.store;
        let due = store.due_bundles(10).await.unwrap().into_iter();
        let leaves = due.map(|due| NewLeaf {
            due: due.no,
            leaf: LogLeaf {
                handle_tag: Hash::from_bytes([1; 32]),
                number: due.number,
                bundle: sha256(&due.bytes),
            },
            handle: due.handle,
        });
        store.append_leaves(leaves.collect()).await.unwrap();
    }

    /// Signs a head in its place.
    async fn sign(&self, size: u64, root: Hash) {
        let bytes = self.relay.identity.sign_head(&LogHead {
            version: VERSION,
            relay: *self.relay.identity.id(),
            log: self.relay.transparency.unwrap().id,
            size,
            root,
            time: NOW,
            map_root: None,
            co_signatures: None,
        });
        let head = SignedHead { size, bytes };
        self.relay.delivery.store.put_head(head).await.unwrap();
    }

    async fn publish(&self, agent: &TestAgent, number: u64) {
        let body = Some((
            "application/octet-stream",
            agent.sign_bundle(&agent.bundle(number)),
        ));
        let path = "/v1/agents/me/bundle";
        let answer = self.call(Method::PUT, path, Some(&agent.key), body).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

/// Hashes of all leaves, read in pages.
async fn all_leaves(relay: &TestRelay, asker: &TestAgent) -> Vec<Hash> {
    let mut leaves = Vec::new();
    loop {
        let page = relay
            .leaves(asker, &format!("from={}&limit=30", leaves.len()))
            .await;
        leaves.extend(page.leaves.iter().map(|leaf| leaf_hash(&leaf.0)));
        if page.leaves.is_empty() {
            assert_eq!(page.size, leaves.len() as u64);
            return leaves;
        }
    }
}

/// docs/protocol.md, 10: each of a hundred agents' bundles is proved by its lookup, and every head continues every
/// earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_prove_bundles_and_heads_are_consistent() {
    let relay = start(Some(SHORT)).await;
    let mut agents = Vec::new();
    for number in 0..100 {
        agents.push(relay.register(&format!("agent-{number}")).await);
    }
    let asker = &agents[0];
    let last = relay.until_size(asker, 100).await;
    let mut heads = Vec::new();
    for agent in &agents {
        assert_eq!(relay.proven(asker, agent).await, last);
    }
    let leaves = all_leaves(&relay, asker).await;
    assert_eq!(leaves.len(), 100);
    for size in 1..=100 {
        if let Some(bytes) = relay.relay.delivery.store.head_of(size).await.unwrap() {
            let head = relay.verify(&bytes);
            assert_eq!(
                (head.size, head.log, head.version),
                (size, last.log, last.version)
            );
            assert_eq!(head.root, merkle::root(&leaves[..size as usize]));
            heads.push(head);
        }
    }
    assert!(heads.len() >= 2, "{}", heads.len());
    for (number, later) in heads.iter().enumerate() {
        for earlier in &heads[..number] {
            let answer = relay.consistency(asker, earlier.size, later.size).await;
            let proof = answer.json::<LogConsistencyAnswer>().consistency.0;
            let proof = LogConsistency::decode(&proof).unwrap();
            assert_eq!(&relay.verify(&proof.earlier), earlier);
            assert_eq!(&relay.verify(&proof.later), later);
            assert!(merkle::verify_consistency(
                earlier.size,
                &earlier.root,
                later.size,
                &later.root,
                &proof.path
            ));
        }
    }
    let signed = relay.relay.delivery.metrics.heads.get();
    assert_eq!(signed, heads.len() as u64);
    assert_eq!(relay.relay.delivery.metrics.log_size.get(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_head_covers_is_neither_proved_nor_shown() {
    let relay = start(Some(LONG)).await;
    let alice = relay.register("alice").await;
    relay.assert_no_head(&alice).await;
    relay.append_due().await;
    assert_eq!(relay.bundle(&alice, "alice").await.log, None);
    relay.assert_no_head(&alice).await;
    relay.sign(1, merkle::root(&[])).await;
    let bob = relay.register("bob").await;
    relay.append_due().await;
    assert!(relay.bundle(&bob, "alice").await.log.is_some());
    assert_eq!(relay.bundle(&bob, "bob").await.log, None);
    let page = relay.leaves(&bob, "from=0").await;
    assert_eq!((page.leaves.len(), page.size), (1, 1));
    assert_eq!(relay.leaves(&bob, "from=1").await.leaves, []);
}

/// A bundle that is replaced is proved anew: the leaf is of exactly what is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_goes_on_after_a_restart_and_has_every_bundle() {
    let relay = start(Some(SHORT)).await;
    let alice = relay.register("alice").await;
    let before = relay.until_size(&alice, 1).await;
    relay.publish(&alice, NOW + 1).await;
    let folder = relay.stop().await;

    // Whatever is published while it is off comes in when it is on again.
    let relay = start_on(folder, None).await;
    let bob = relay.register("bob").await;
    relay.publish(&alice, NOW + 2).await;
    assert_eq!(relay.bundle(&bob, "alice").await.log, None);
    relay.assert_no_head(&bob).await;
    let folder = relay.stop().await;

    let relay = start_on(folder, Some(SHORT)).await;
    let after = relay.until_size(&bob, 4).await;
    assert_eq!((after.log, after.size), (before.log, 4));
    relay.proven(&bob, &alice).await;
    relay.proven(&alice, &bob).await;
    let answer = relay.consistency(&bob, before.size, after.size).await;
    let proof = answer.json::<LogConsistencyAnswer>().consistency.0;
    let path = LogConsistency::decode(&proof).unwrap().path;
    assert!(merkle::verify_consistency(1, &before.root, 4, &after.root, &path));
    let page = relay.leaves(&bob, "from=0").await;
    let leaves = page
        .leaves
        .iter()
        .map(|leaf| LogLeaf::decode(&leaf.0).unwrap().number);
    assert_eq!(leaves.collect::<Vec<u64>>(), [NOW, NOW + 1, NOW, NOW + 2]);
}

/// A database that an earlier version or a relay without a log has served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_is_switched_on_later_begins_with_the_bundles_that_are_there() {
    let relay = start(None).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    relay.publish(&alice, NOW + 1).await;
    relay.assert_no_head(&alice).await;
    let folder = relay.stop().await;
    let relay = start_on(folder, Some(SHORT)).await;
    let head = relay.until_size(&alice, 2).await;
    assert_eq!(head.size, 2);
    relay.proven(&bob, &alice).await;
    relay.proven(&alice, &bob).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_bounded_and_need_a_key() {
    let relay = start(Some(SHORT)).await;
    let alice = relay.register("alice").await;
    relay.until_size(&alice, 1).await;
    for path in ["head", "leaves?from=0", "consistency?from=1&to=2"] {
        let answer = relay.get(&format!("/v1/log/{path}"), None).await;
        answer.assert_problem(ProblemType::Unauthorized);
    }
    for query in [
        "leaves",
        "leaves?from=-1",
        "leaves?from=0&limit=0",
        "leaves?from=0&limit=1001",
        "leaves?from=0&to=1",
        "consistency?from=1",
        "consistency?from=1&to=1",
        "consistency?from=2&to=1",
        "consistency?from=1&to=18446744073709551616",
    ] {
        let answer = relay.get(&format!("/v1/log/{query}"), Some(&alice.key)).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
    for (from, to) in [(0, 1), (1, 2), (1, u64::MAX)] {
        let answer = relay.consistency(&alice, from, to).await;
        answer.assert_problem(ProblemType::NotFound);
    }
    let beyond = relay.leaves(&alice, &format!("from={}", u64::MAX)).await;
    assert_eq!((beyond.leaves.len(), beyond.size), (0, 1));
}

/// docs/protocol.md, 10: heads are signed at most once in an interval, however much there is to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_not_signed_more_often_than_told() {
    let relay = start(Some(LONG)).await;
    let alice = relay.register("alice").await;
    for number in 1..=200 {
        relay.publish(&alice, NOW + number).await;
    }
    let interval = Duration::from_millis(500);
    let begin = Stopwatch::start();
    let relay = start_on(relay.stop().await, Some(interval)).await;
    relay.until_size(&alice, 201).await;
    let most = begin.elapsed().as_millis() / interval.as_millis();
    let signed = relay.relay.delivery.metrics.heads.get();
    assert!((1..=most).contains(&u128::from(signed)), "{signed} of {most}");
}

/// A log is begun once for a database, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_has_one_id() {
    let relay = start(Some(LONG)).await;
    let store = &relay.relay.delivery.store;
    let id = relay.relay.transparency.unwrap().id;
    let again = Transparency::open(store, Hash::from_bytes([9; 32]), SHORT).await;
    assert_eq!(again.unwrap().id, id);
}
