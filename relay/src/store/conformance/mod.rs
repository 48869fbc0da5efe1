//! What every store owes, one function a rule, run against each backend on a database of its own.

pub(super) mod accounts;
pub(super) mod retention;
pub(super) mod sends;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{AgentId, Handle, Hash, Mid, RelayId},
    wire::Lane,
};

use super::{
    Account, Admission, BundleBytes, CommitListener, NewEnvelope, QueueNo, Range, RegisterOutcome,
    Registration, SendOutcome, Store, StoreContext, Stored, StoredEnvelope, Target, UsedChallenge,
    WriteError,
};
use crate::{clock::Clock, metrics::Metrics, snowflake::WorkerId, testing::NOW};

/// A kind of database, and one of it.
pub(super) trait Backend {
    /// Makes an empty database.
    fn new() -> Self;
    /// Opens it.
    async fn open(&self, context: StoreContext) -> Store;
    /// Another database with what a crash at this moment would leave of this one.
    fn crash(&self) -> Self;
    /// A write that the database refuses for a reason of its own, while others wait behind it.
    async fn bad_write(store: &Store) -> Result<(), WriteError>;
}

/// What was stored, as the listener heard of it.
#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<QueueNo, Vec<u64>>>);

impl CommitListener for Heard {
    fn stored(&self, batch: &[Stored]) {
        let mut heard = self.0.lock().unwrap();
        for stored in batch {
            heard.entry(stored.queue_no).or_default().push(stored.position);
        }
    }
}

/// A store under test with its surroundings.
pub(super) struct World<B> {
    backend: B,
    store: Store,
    now: Arc<AtomicU64>,
    heard: Arc<Heard>,
}

impl<B: Backend> World<B> {
    async fn new() -> Self {
        Self::on(B::new(), NOW).await
    }

    async fn on(backend: B, now: u64) -> Self {
        let now = Arc::new(AtomicU64::new(now));
        let heard = Arc::new(Heard::default());
        let context = StoreContext {
            worker: WorkerId::default(),
            clock: Clock::Manual(Arc::clone(&now)),
            metrics: Arc::new(Metrics::default()),
            listener: Arc::clone(&heard) as Arc<dyn CommitListener>,
            serving: true,
        };
        Self {
            store: backend.open(context).await,
            backend,
            now,
            heard,
        }
    }

    /// Ends in good order and begins again.
    async fn restart(self) -> Self {
        self.store.close().await;
        let now = self.now.load(Ordering::Relaxed);
        drop(self.store);
        Self::on(self.backend, now).await
    }

    /// Ends without any order and begins again on what is left.
    async fn crash(self) -> Self {
        let now = self.now.load(Ordering::Relaxed);
        Self::on(self.backend.crash(), now).await
    }

    fn advance(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    /// Registers the agent of a number.
    async fn agent(&self, number: u8) -> Account {
        let outcome = self.store.register(registration(number)).await.unwrap();
        assert!(matches!(outcome, RegisterOutcome::Created(_)), "{outcome:?}");
        let account = self.store.account_by_key(&key(number, 0)).await.unwrap();
        account.unwrap()
    }

    async fn send(&self, from: &Account, to: &Account, mid: u64) -> SendOutcome {
        self.store.send(mail(from, to, mid)).await.unwrap()
    }

    async fn read(&self, queue: QueueNo, range: Range) -> Vec<StoredEnvelope> {
        self.store.read(queue, range).await.unwrap().envelopes
    }

    async fn positions(&self, queue: QueueNo) -> Vec<u64> {
        let envelopes = self.read(queue, ALL).await;
        envelopes.iter().map(|envelope| envelope.position).collect()
    }
}

const ALL: Range = Range {
    after: 0,
    before: None,
    limit: 100_000,
    max_bytes: usize::MAX,
};

fn identity(number: u8) -> IdentityKey {
    IdentityKey::ed25519([number; 32])
}

fn id(number: u8) -> AgentId {
    AgentId::of(&RelayId::from_bytes([0; 32]), &identity(number))
}

fn handle(number: u8) -> Handle {
    format!("agent-{number}").parse().unwrap()
}

/// Hash of an agent's API key of a generation.
fn key(number: u8, generation: u8) -> Hash {
    Hash::from_bytes([number ^ generation.rotate_left(4) ^ 0x80; 32])
}

fn challenge(number: u8) -> UsedChallenge {
    UsedChallenge {
        hash: Hash::from_bytes([number; 32]),
        expires_at: NOW + 300_000,
    }
}

fn bundle(number: u64, content: &[u8]) -> BundleBytes {
    BundleBytes {
        number,
        bytes: content.to_vec(),
    }
}

fn registration(number: u8) -> Registration {
    Registration {
        id: id(number),
        handle: handle(number),
        identity: identity(number),
        api_key_hash: key(number, 0),
        bundle: bundle(NOW, b"bundle"),
        challenge: challenge(number),
        admission: Admission::Open,
    }
}

fn new_mid(mid: u64) -> Mid {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&mid.to_be_bytes());
    Mid::from_bytes(bytes)
}

fn to_lane(from: &Account, to: AgentId, lane: Lane, mid: u64) -> NewEnvelope {
    let bytes = Bytes::from(format!("envelope {mid}"));
    NewEnvelope {
        sender: from.agent,
        mid: new_mid(mid),
        target: Target::Direct { to, lane },
        hash: sha256(&bytes),
        bytes,
    }
}

fn mail(from: &Account, to: &Account, mid: u64) -> NewEnvelope {
    to_lane(from, to.id, Lane::Mail, mid)
}

/// Runs every rule against a backend.
macro_rules! conformance {
    ($backend:ty) => {
        $crate::store::conformance::rules! { $backend,
            sends: positions_have_no_gaps_and_follow_the_commits
            sends: reader_never_skips_while_others_send
            sends: stream_is_stored_in_order_of_submission
            sends: repeat_answers_the_first_id_and_hash
            sends: repeat_is_found_before_the_recipient_is_looked_up
            sends: repeat_in_one_batch_is_stored_once
            sends: same_mid_of_two_senders_is_two_envelopes
            sends: refused_send_leaves_no_trace
            sends: lanes_are_queues_of_their_own
            sends: ranges_are_exclusive_bounded_and_oldest_first
            sends: acks_are_cumulative_and_never_beyond_the_head
            sends: noted_acks_are_written_without_anybody_waiting
            sends: bad_write_fails_alone
            sends: what_was_answered_survives_a_crash
            sends: ids_grow_over_restarts_and_clocks_that_go_back
            accounts: registration_is_unique_by_handle_and_identity
            accounts: registration_again_replaces_the_key
            accounts: challenge_is_used_once
            accounts: invite_is_used_once_and_in_time
            accounts: closed_registration_lets_the_known_back
            accounts: key_that_was_replaced_or_revoked_is_unknown
            accounts: suspension_shows_in_the_account_and_stops_new_keys
            accounts: every_change_of_a_credential_is_an_event
            accounts: bundle_numbers_only_grow
            accounts: agents_are_listed_in_order
            accounts: relay_secret_is_made_once
            retention: retention_deletes_old_acknowledged_envelopes_only
            retention: retention_deletes_old_idempotency_keys_in_steps
        }
    };
}

macro_rules! rules {
    ($backend:ty, $($module:ident: $rule:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            $crate::store::conformance::$module::$rule::<$backend>().await;
        }
    )*};
}

pub(super) use {conformance, rules};
