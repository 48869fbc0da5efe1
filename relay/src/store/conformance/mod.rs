//! What every store owes, one function a rule, run against each backend on a database of its own.

pub(super) mod accounts;
pub(super) mod blobs;
pub(super) mod channels;
pub(super) mod directory;
pub(super) mod groups;
pub(super) mod hooks;
pub(super) mod limits;
pub(super) mod memberships;
pub(super) mod nodes;
pub(super) mod presence;
pub(super) mod relations;
pub(super) mod retention;
pub(super) mod sends;
pub(super) mod successions;
pub(super) mod transparency;

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
    Account, Admission, AgentNo, Appended, BundleBytes, CommitListener, NewEnvelope, QueueHead, QueueNo,
    Range, RegisterOutcome, Registration, SendOutcome, Sight, Store, StoreContext, Stored, StoredEnvelope,
    Target, UsedChallenge, View, WriteError,
};
use crate::{
    clock::Clock,
    limits::{TierLimits, Tiers},
    metrics::Metrics,
    testing::{NOW, UNLIMITED},
};

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
    /// Makes the database refuse envelopes, which come late in a transaction, or take them again.
    async fn refuse_envelopes(store: &Store, refuse: bool);
}

/// What was stored, as the listener heard of it.
#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<QueueNo, Vec<u64>>>);

impl CommitListener for Heard {
    fn stored(&self, appended: &[Appended], batch: &[Stored]) {
        let mut heard = self.0.lock().unwrap();
        for stored in appended.iter().map(|appended| &appended.commit).chain(batch) {
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
    tiers: Arc<Tiers>,
}

impl<B: Backend> World<B> {
    async fn new() -> Self {
        Self::with(unlimited()).await
    }

    async fn with(tiers: Tiers) -> Self {
        Self::on(B::new(), NOW, Arc::new(tiers)).await
    }

    async fn on(backend: B, now: u64, tiers: Arc<Tiers>) -> Self {
        let now = Arc::new(AtomicU64::new(now));
        let heard = Arc::new(Heard::default());
        let context = context(&now, &heard, &tiers);
        Self {
            store: backend.open(context).await,
            backend,
            now,
            heard,
            tiers,
        }
    }

    /// Two stores on one database, which know of each other.
    async fn several(tiers: Tiers) -> (Self, Store) {
        let (backend, tiers) = (B::new(), Arc::new(tiers));
        let now = Arc::new(AtomicU64::new(NOW));
        let heard = Arc::new(Heard::default());
        let open = async || {
            let context = context(&now, &heard, &tiers);
            let context = StoreContext {
                others: true,
                ..context
            };
            backend.open(context).await
        };
        let (store, other) = tokio::join!(open(), open());
        let world = Self {
            store,
            backend,
            now,
            heard,
            tiers,
        };
        (world, other)
    }

    /// Ends in good order and begins again.
    async fn restart(self) -> Self {
        self.store.close().await;
        let now = self.now.load(Ordering::Relaxed);
        drop(self.store);
        Self::on(self.backend, now, self.tiers).await
    }

    /// Ends without any order and begins again on what is left.
    async fn crash(self) -> Self {
        let now = self.now.load(Ordering::Relaxed);
        Self::on(self.backend.crash(), now, self.tiers).await
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

    /// Registers one of many agents.
    async fn numbered_agent(&self, number: u64) -> Account {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let identity = IdentityKey::ed25519(key);
        let asked = Registration {
            id: AgentId::of(&RelayId::from_bytes([0; 32]), &identity),
            handle: format!("numbered-{number}").parse().unwrap(),
            identity,
            api_key_hash: Hash::from_bytes(key),
            challenge: UsedChallenge {
                hash: Hash::from_bytes(key),
                expires_at: NOW + 300_000,
            },
            ..registration(0)
        };
        self.store.register(asked).await.unwrap();
        let account = self.store.account_by_key(&Hash::from_bytes(key)).await;
        account.unwrap().unwrap()
    }

    async fn send(&self, from: &Account, to: &Account, mid: u64) -> SendOutcome {
        self.store.send(mail(from, to, mid)).await.unwrap()
    }

    async fn read(&self, queue: QueueNo, range: Range) -> Vec<StoredEnvelope> {
        let page = self.store.read(View::Whole(queue), range).await.unwrap();
        page.unwrap().envelopes
    }

    async fn head(&self, queue: QueueNo) -> QueueHead {
        self.store.queue_head(View::Whole(queue)).await.unwrap().unwrap()
    }

    async fn positions(&self, queue: QueueNo) -> Vec<u64> {
        let envelopes = self.read(queue, ALL).await;
        envelopes.iter().map(|envelope| envelope.position).collect()
    }
}

fn context(now: &Arc<AtomicU64>, heard: &Arc<Heard>, tiers: &Arc<Tiers>) -> StoreContext {
    StoreContext {
        worker: None,
        clock: Clock::Manual(Arc::clone(now)),
        metrics: Arc::new(Metrics::default()),
        tiers: Arc::clone(tiers),
        listener: Arc::clone(heard) as Arc<dyn CommitListener>,
        serving: true,
        others: false,
        nodes: None,
    }
}

fn unlimited() -> Tiers {
    Tiers {
        default: TierLimits {
            sends: UNLIMITED,
            ..TierLimits::default()
        },
        ..Tiers::default()
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

pub(super) fn handle(number: u8) -> Handle {
    format!("agent-{number}").parse().unwrap()
}

/// Registers the first agent in a store.
pub(super) async fn registered(store: &Store) -> Account {
    store.register(registration(1)).await.unwrap();
    store.account_by_key(&key(1, 0)).await.unwrap().unwrap()
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

pub(super) fn mail(from: &Account, to: &Account, mid: u64) -> NewEnvelope {
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
            sends: reads_at_the_same_time_are_each_ones_own
            sends: acks_are_cumulative_and_never_beyond_the_head
            sends: noted_acks_are_written_without_anybody_waiting
            sends: failed_batch_burns_no_position
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
            accounts: newest_lease_is_kept
            accounts: agents_are_listed_in_order
            accounts: relay_secret_is_made_once
            accounts: lineage_goes_on_until_the_database_was_set_back
            successions: handle_goes_to_the_new_identity_with_what_others_hold_of_it
            successions: succession_is_idempotent_for_the_same_new_identity
            successions: succession_follows_who_holds_the_handle
            successions: planned_change_waits_until_the_mail_is_taken
            groups: log_takes_commits_in_order_and_one_at_a_position
            groups: racing_commits_have_one_winner
            groups: append_is_idempotent_by_hash_wherever_the_commit_stands
            groups: refused_append_leaves_no_trace
            memberships: log_is_seen_by_members_and_the_invited_and_by_the_departed_up_to_their_end
            memberships: marks_change_with_every_joining_and_departure
            memberships: invite_is_too_old_after_a_thousand_commits
            memberships: invite_waits_for_who_is_not_registered
            memberships: messages_are_seen_by_members_of_their_time
            groups: send_is_decided_by_membership_epoch_and_end
            groups: no_message_is_stored_behind_the_end_of_its_epoch
            memberships: acks_of_members_are_their_own
            memberships: memberships_are_listed_with_what_may_be_seen
            memberships: thousand_members_share_one_row_a_message
            groups: groups_survive_a_crash
            channels: slug_belongs_to_one_group_until_it_is_given_up
            channels: refused_claim_of_a_slug_leaves_no_trace
            channels: racing_claims_of_a_slug_have_one_winner
            channels: log_of_an_open_group_is_seen_by_everybody_while_it_is_open
            channels: open_channels_are_listed_by_slug_with_their_members
            channels: member_of_an_open_group_is_sealed_to_across_a_block
            channels: channels_survive_a_crash
            hooks: an_agent_is_owed_one_wake_up_however_much_grows
            hooks: wake_up_that_failed_waits_dies_and_is_revived
            hooks: backlogs_are_owed_a_wake_up_after_a_start
            hooks: wake_up_that_a_clock_ahead_has_put_off_is_due
            presence: last_seen_only_grows_and_survives_a_crash
            presence: blocked_pair_is_out_of_sight_both_ways
            relations: block_refuses_sends_both_ways_in_both_lanes
            relations: block_without_a_conversation_looks_like_nobody
            relations: repeat_is_found_before_a_block
            relations: blocks_survive_a_crash_and_failed_writes
            relations: group_goes_on_across_a_block_but_for_invites
            relations: bundle_hides_behind_a_block_unless_a_group_needs_it
            relations: contacts_have_their_holders_but_not_across_a_block
            relations: relations_are_bounded_and_may_be_repeated
            directory: search_finds_the_listed_by_prefix_and_anybody_by_handle
            directory: directory_hides_the_blocked_and_the_suspended
            directory: pages_of_the_directory_are_in_order_of_handles
            directory: profile_is_replaced_whole_and_hides_behind_a_block
            limits: sends_of_an_agent_are_counted_in_each_lane
            limits: organisation_is_counted_and_its_tier_counts
            limits: full_backlog_refuses_until_it_is_fetched
            limits: half_a_backlog_and_an_almost_empty_bucket_are_told
            limits: repeat_is_found_before_a_limit_and_costs_nothing
            limits: member_that_is_far_behind_is_named_and_loses_nothing
            blobs: blob_is_begun_once_and_by_one_agent
            blobs: quotas_count_what_is_held_and_what_is_unfinished
            blobs: blobs_expire_by_age_and_sooner_if_unfinished
            retention: retention_deletes_old_acknowledged_envelopes_only
            retention: retention_deletes_old_idempotency_keys_in_steps
            retention: group_messages_go_once_every_member_has_them
            retention: leaves_of_the_last_epochs_stay_and_older_ones_while_they_are_needed
            transparency: latest_bundles_and_all_that_follow_are_due_for_a_log
            transparency: bundle_that_is_due_is_not_pruned
            transparency: leaf_is_appended_once_whatever_is_repeated
            transparency: stored_nodes_prove_every_leaf_and_prefix
            transparency: head_is_kept_once_and_never_beyond_the_leaves
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

/// Runs every rule about several stores on one database against a backend that can have them.
macro_rules! conformance_of_nodes {
    ($backend:ty) => {
        $crate::store::conformance::rules! { $backend,
            nodes: positions_and_ids_are_unique_whichever_store_sends
            nodes: store_whose_sessions_end_makes_no_id_twice
            nodes: send_at_two_stores_is_stored_once
            nodes: racing_commits_at_two_stores_have_one_winner
            nodes: block_counts_at_the_other_store_at_once
            nodes: tier_counts_at_the_other_store_at_once
            nodes: nothing_is_stored_behind_a_planned_change_at_the_other_store
            nodes: what_is_unique_stays_so_over_stores
            nodes: quotas_hold_over_stores
            nodes: newest_of_leases_and_bundles_at_two_stores_is_kept
            nodes: log_does_not_fork_between_two_sequencers
            nodes: duty_is_of_one_store_and_passes_on
            nodes: acts_and_sends_of_two_stores_do_not_fail_each_other
        }
    };
}

pub(super) use {conformance, conformance_of_nodes, rules};
