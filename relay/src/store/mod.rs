//! All SQL of the relay, behind one enum with one method per act. Nothing here knows HTTP.
//!
//! A store owes its callers what `conformance` tests: positions without gaps in commit order,
//! idempotency by `(sender, mid)` before every other check, and an answer only after the commit.

pub mod blobs;
#[cfg(test)]
mod conformance;
mod error;
pub mod groups;
pub mod hooks;
pub mod lineage;
mod many;
pub mod model;
#[cfg(test)]
mod plans;
pub mod postgres;
pub mod relations;
mod retention;
mod rows;
mod rules;
pub mod sqlite;
#[cfg(test)]
mod testing;
pub mod transparency;
mod url;
mod writer;

use std::sync::Arc;

pub use blobs::*;
pub use error::{DatabaseUrlError, OpenError, ReadError, WriteError};
pub use groups::*;
pub use hooks::*;
pub use lineage::Lineage;
pub use model::*;
pub use relations::*;
pub use retention::{RetainError, RetainStep, Retention, RetentionCursor};
#[cfg(test)]
pub(crate) use testing::*;
pub use transparency::*;
pub use url::{DatabaseUrl, PostgresUrl};
use waxwire_shared::{
    api::profile::ProfileRequest,
    ids::{GroupId, Handle, Hash},
};
use zeroize::Zeroizing;

use crate::{clock::Clock, limits::Tiers, metrics::Metrics, snowflake::WorkerId};

/// What a store needs of its surroundings.
pub struct StoreContext {
    /// Number of this process in the ids that it makes; without one, the first that no other process has.
    pub worker: Option<WorkerId>,
    /// Tells the time of storing.
    pub clock: Clock,
    /// Counts batches and commits.
    pub metrics: Arc<Metrics>,
    /// Limits of sends.
    pub tiers: Arc<Tiers>,
    /// Learns what became durable.
    pub listener: Arc<dyn CommitListener>,
    /// What this node is to others, and counts limits with.
    pub nodes: Option<Arc<crate::nodes::Nodes>>,
    /// Whether this process serves agents.
    pub serving: bool,
    /// Whether other processes may serve the same database at the same time.
    pub others: bool,
}

/// What one of several processes on a database does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Gives bundles their leaves in the transparency log and signs heads.
    Log = 1,
    /// Deletes what is no longer kept.
    Retention = 2,
    /// Calls hooks.
    Wakeups = 3,
}

/// A database of the relay.
#[derive(Debug, Clone)]
pub enum Store {
    /// Embedded.
    Sqlite(sqlite::SqliteStore),
    /// A server of its own.
    Postgres(postgres::PostgresStore),
}

/// Calls the method of the same name on whichever store it is.
macro_rules! on_each {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Self::Sqlite($inner) => $call,
            Self::Postgres($inner) => $call,
        }
    };
}

use on_each;

impl Store {
    /// Opens the database, creates and migrates it where needed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(url: &DatabaseUrl, context: StoreContext) -> Result<Self, OpenError> {
        match url {
            DatabaseUrl::Sqlite(path) => sqlite::SqliteStore::open(path, context).await.map(Self::Sqlite),
            DatabaseUrl::Postgres(url) => postgres::PostgresStore::open(url, context)
                .await
                .map(Self::Postgres),
        }
    }

    /// Submits a send; whoever `reply` names learns what became of it. Sends that are submitted one
    /// after the other are stored in that order. Waits while too many are queued.
    pub async fn submit(&self, send: NewEnvelope, reply: Reply) {
        on_each!(self, s => s.submit(send, reply).await);
    }

    /// Stores one envelope and waits for the outcome.
    ///
    /// # Errors
    /// [`WriteError`]; the outcome is unknown then.
    pub async fn send(&self, send: NewEnvelope) -> SendResult {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.submit(send, Reply::Once(reply)).await;
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }

    /// Notes an ack, to be written with the next batch. Acks are cumulative, never go back, and one
    /// beyond the head counts as the head.
    pub fn note_ack(&self, view: View, position: u64) {
        on_each!(self, s => s.note_ack(view, position));
    }

    /// Writes acks and waits until they are durable.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn ack(&self, acks: Vec<(View, u64)>) -> Result<(), WriteError> {
        on_each!(self, s => s.ack(acks).await)
    }

    /// Appends a commit that the caller has verified to the log of its group, with the leaves of its
    /// rekey, if it continues the log's head; the first creates the group.
    ///
    /// # Errors
    /// [`WriteError`]; the outcome is unknown then.
    pub async fn append(&self, commit: NewCommit) -> Result<AppendOutcome, WriteError> {
        on_each!(self, s => s.append(commit).await)
    }

    /// The relay's secret identity key; `candidate` becomes it if there is none.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn relay_secret(&self, candidate: Zeroizing<[u8; 32]>) -> Result<RelaySecret, WriteError> {
        on_each!(self, s => s.relay_secret(candidate).await)
    }

    /// Registers an agent.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn register(&self, registration: Registration) -> Result<RegisterOutcome, WriteError> {
        on_each!(self, s => s.register(registration).await)
    }

    /// Gives the handle of a registration to its identity, which follows the one that holds it. Profile,
    /// contacts and blocks go with it; queues and memberships do not.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn succeed(
        &self,
        registration: Registration,
        succession: NewSuccession,
    ) -> Result<SuccessionOutcome, WriteError> {
        on_each!(self, s => s.succeed(registration, succession).await)
    }

    /// Who holds a handle, and its latest bundle.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn holder(
        &self,
        handle: &Handle,
    ) -> Result<Option<(waxwire_shared::ids::AgentId, Vec<u8>)>, ReadError> {
        on_each!(self, s => s.holder(handle).await)
    }

    /// The latest successions of a handle, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn successions(&self, handle: &Handle, limit: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        on_each!(self, s => s.successions(handle, limit).await)
    }

    /// Replaces the API key of the agent with this handle and id.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn replace_key(
        &self,
        handle: Handle,
        id: waxwire_shared::ids::AgentId,
        key_hash: Hash,
        challenge: UsedChallenge,
    ) -> Result<KeyOutcome, WriteError> {
        on_each!(self, s => s.replace_key(handle, id, key_hash, challenge).await)
    }

    /// Takes an agent's API key away. `None` if there is no such handle, else the agent and whether it had one.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn revoke_key(&self, handle: Handle) -> Result<Option<(AgentNo, bool)>, WriteError> {
        on_each!(self, s => s.revoke_key(handle).await)
    }

    /// Suspends an agent or ends its suspension. `None` if there is no such handle, else the
    /// agent and whether anything changed.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn set_suspended(
        &self,
        handle: Handle,
        suspended: bool,
    ) -> Result<Option<(AgentNo, bool)>, WriteError> {
        on_each!(self, s => s.set_suspended(handle, suspended).await)
    }

    /// Adds an invite code, usable once until `expires_at`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn add_invite(&self, code_hash: Hash, expires_at: u64) -> Result<(), WriteError> {
        on_each!(self, s => s.add_invite(code_hash, expires_at).await)
    }

    /// Publishes a verified bundle of an agent.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_bundle(&self, agent: AgentNo, bundle: BundleBytes) -> Result<BundleOutcome, WriteError> {
        on_each!(self, s => s.put_bundle(agent, bundle).await)
    }

    /// Lets an agent hold a contact or a block of the agent with a handle, `max` of a kind at most; 0 is
    /// unlimited. The same again changes nothing, another kind of block replaces the first.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn relate(
        &self,
        agent: AgentNo,
        other: Handle,
        relation: Relation,
        max: u64,
    ) -> Result<RelateOutcome, WriteError> {
        on_each!(self, s => s.relate(agent, other, relation, max).await)
    }

    /// Replaces what an agent tells of itself.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn set_profile(&self, agent: AgentNo, profile: ProfileRequest) -> Result<(), WriteError> {
        on_each!(self, s => s.set_profile(agent, profile).await)
    }

    /// Takes a contact away.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn remove_contact(&self, agent: AgentNo, other: Handle) -> Result<(), WriteError> {
        on_each!(self, s => s.remove_contact(agent, other).await)
    }

    /// Takes a block away.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn remove_block(&self, agent: AgentNo, other: Handle) -> Result<(), WriteError> {
        on_each!(self, s => s.remove_block(agent, other).await)
    }

    /// Keeps a verified lease of the agent with this id if it is newer than the one that is held: of a
    /// higher incarnation, or signed later in the same session.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_lease(
        &self,
        id: waxwire_shared::ids::AgentId,
        lease: NewLease,
    ) -> Result<LeaseOutcome, WriteError> {
        on_each!(self, s => s.put_lease(id, lease).await)
    }

    /// Makes an organisation, or gives one another tier.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_org(&self, name: String, tier: String) -> Result<OrgOutcome, WriteError> {
        on_each!(self, s => s.put_org(name, tier).await)
    }

    /// Moves an agent into an organisation; false if there is no such one, and none without the agent.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn move_agent(&self, handle: Handle, org: String) -> Result<Option<bool>, WriteError> {
        on_each!(self, s => s.move_agent(handle, org).await)
    }

    /// Another process may have changed agents or organisations.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn forget_agents(&self) -> Result<(), WriteError> {
        on_each!(self, s => s.forget_agents().await)
    }

    /// Deletes one small portion of what retention lets go.
    ///
    /// # Errors
    /// [`WriteError`] or [`ReadError`] as text.
    pub async fn retain(
        &self,
        cursor: &mut RetentionCursor,
        policy: &Retention,
    ) -> Result<RetainStep, RetainError> {
        on_each!(self, s => s.retain(cursor, policy).await)
    }

    /// Whether other processes may serve the database at the same time.
    #[must_use]
    pub const fn has_others(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.has_others(),
        }
    }

    /// Whether this process is the one that has a duty, of those that serve the database; if nobody has it, it
    /// takes it on. What a duty does stays right if two do it for a moment.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn has_duty(&self, duty: Duty) -> Result<bool, WriteError> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(store) => store.has_duty(duty).await,
        }
    }

    /// Whether the database takes writes and answers reads now.
    pub async fn is_ready(&self) -> bool {
        on_each!(self, s => s.is_ready().await)
    }

    /// The account that an API key of this hash belongs to.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account_by_key(&self, key_hash: &Hash) -> Result<Option<Account>, ReadError> {
        on_each!(self, s => s.account_by_key(key_hash).await)
    }

    /// The agent of an account.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn agent(&self, agent: AgentNo) -> Result<Option<AgentRecord>, ReadError> {
        on_each!(self, s => s.agent(agent).await)
    }

    /// Every organisation, by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn orgs(&self) -> Result<Vec<OrgRecord>, ReadError> {
        on_each!(self, s => s.orgs().await)
    }

    /// Agents in order of their handles, after one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn agents(&self, after: &str, limit: usize) -> Result<Vec<AgentRecord>, ReadError> {
        on_each!(self, s => s.agents(after, limit).await)
    }

    /// The latest bundle of the agent with this handle, as far as `viewer` may see it: a block hides it
    /// unless a group needs it, of which that agent is a member and `viewer` is one or is invited.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn bundle(
        &self,
        viewer: AgentNo,
        handle: &Handle,
    ) -> Result<Sight<(waxwire_shared::ids::AgentId, Vec<u8>)>, ReadError> {
        on_each!(self, s => s.bundle(viewer, handle).await)
    }

    /// The agent with this handle, as far as `viewer` may know of it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn sight(&self, viewer: AgentNo, handle: &Handle) -> Result<Sight<AgentNo>, ReadError> {
        on_each!(self, s => s.sight(viewer, handle).await)
    }

    /// What the agent with this handle tells of itself, as far as `viewer` may know of it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn profile(&self, viewer: AgentNo, handle: &Handle) -> Result<Sight<Profile>, ReadError> {
        on_each!(self, s => s.profile(viewer, handle).await)
    }

    /// Agents whose handle begins with `prefix` and who are listed, and the one that has exactly this
    /// handle, by handle; without `viewer`, the suspended, and whoever is kept apart from it by a block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn directory(
        &self,
        viewer: AgentNo,
        prefix: &str,
        limit: u64,
        offset: u64,
    ) -> Result<DirectoryPage, ReadError> {
        on_each!(self, s => s.directory(viewer, prefix, limit, offset).await)
    }

    /// Who holds an agent as a contact and may know of it: neither has blocked the other.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn contact_holders(&self, agent: AgentNo) -> Result<Vec<AgentNo>, ReadError> {
        on_each!(self, s => s.contact_holders(agent).await)
    }

    /// The newest lease of an agent, as signed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn lease(&self, agent: AgentNo) -> Result<Option<Vec<u8>>, ReadError> {
        on_each!(self, s => s.lease(agent).await)
    }

    /// Head and ack of a queue as far as it may be seen; `None` if nothing of it may.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn queue_head(&self, view: View) -> Result<Option<QueueHead>, ReadError> {
        on_each!(self, s => s.queue_head(view).await)
    }

    /// Reads a range of a queue as far as it may be seen; `None` if nothing of it may.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, view: View, range: Range) -> Result<Option<Page>, ReadError> {
        on_each!(self, s => s.read(view, range).await)
    }

    /// A group.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn group(&self, id: &GroupId) -> Result<Option<GroupRecord>, ReadError> {
        on_each!(self, s => s.group(id).await)
    }

    /// What an agent is to a group.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn standing(&self, group: &GroupRecord, agent: AgentNo) -> Result<Standing, ReadError> {
        on_each!(self, s => s.standing(group, agent).await)
    }

    /// Whether everybody may read the log of a group and join it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn is_open(&self, group: &GroupRecord) -> Result<bool, ReadError> {
        on_each!(self, s => s.is_open(group).await)
    }

    /// The group that has a slug, open or not.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn channel(&self, slug: &Handle) -> Result<Option<ChannelRecord>, ReadError> {
        on_each!(self, s => s.channel(slug).await)
    }

    /// Open groups that have a slug, by slug, after one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn open_channels(&self, after: &str, limit: u64) -> Result<Vec<ChannelRecord>, ReadError> {
        on_each!(self, s => s.open_channels(after, limit).await)
    }

    /// Where the log of a group ends.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn log_tip(&self, group: &GroupRecord) -> Result<LogTip, ReadError> {
        on_each!(self, s => s.log_tip(group).await)
    }

    /// Position of the commit with this hash in the log of a group.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn commit_position(&self, group: GroupNo, hash: &Hash) -> Result<Option<u64>, ReadError> {
        on_each!(self, s => s.commit_position(group, hash).await)
    }

    /// Position of the commit that opened an epoch, if its leaves are held.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn rekey_position(&self, group: GroupNo, epoch: u64) -> Result<Option<u64>, ReadError> {
        on_each!(self, s => s.rekey_position(group, epoch).await)
    }

    /// The encoded leaves of an epoch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn leaves(&self, group: GroupNo, epoch: u64) -> Result<Option<Vec<u8>>, ReadError> {
        on_each!(self, s => s.leaves(group, epoch).await)
    }

    /// Notes when agents were last there, in order.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put_last_seen(&self, seen: Vec<LastSeen>) -> Result<(), WriteError> {
        on_each!(self, s => s.put_last_seen(seen).await)
    }

    /// Those of some agents that `viewer` may see, with when they were last there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn in_sight(
        &self,
        viewer: AgentNo,
        handles: &[Handle],
    ) -> Result<Vec<(AgentNo, Handle, Option<u64>)>, ReadError> {
        on_each!(self, s => s.in_sight(viewer, handles).await)
    }

    /// Whom an agent holds as contacts, without those that one of the two has blocked.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn contacts(&self, agent: AgentNo) -> Result<Vec<(AgentNo, Handle)>, ReadError> {
        on_each!(self, s => s.contacts(agent).await)
    }

    /// Whether one of two agents has blocked the other.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn has_block(&self, one: AgentNo, other: AgentNo) -> Result<bool, ReadError> {
        on_each!(self, s => s.has_block(one, other).await)
    }

    /// Changes of credentials and suspensions after an event; with `None` only the last event.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn auth_events(&self, after: Option<u64>) -> Result<Vec<AuthEvent>, ReadError> {
        on_each!(self, s => s.auth_events(after).await)
    }

    /// Writes what was submitted and noted, then closes. Later writes are refused.
    pub async fn close(&self) {
        on_each!(self, s => s.close().await);
    }
}
