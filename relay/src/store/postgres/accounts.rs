//! Acts on agents: registration, API keys, suspension, invites, bundles, the relay's own key.
//!
//! Each act checks everything before its first write: an act that refuses leaves no trace.

use sqlx::PgConnection;
use waxwire_shared::{
    identity::ED25519,
    ids::{AgentId, Handle, Hash},
};
use zeroize::Zeroizing;

use super::{PostgresStore, batch::Transaction, sql, transparency};
use crate::store::{
    Admission, AgentNo, BundleBytes, BundleOutcome, KeyOutcome, RegisterOutcome, Registration, RelaySecret,
    UsedChallenge, WriteError, rows::kind, rules,
};

/// An agent as an act finds it.
pub(super) struct Found {
    pub(super) no: AgentNo,
    pub(super) id: AgentId,
    pub(super) suspended: bool,
    has_key: bool,
}

pub(super) async fn by_handle(connection: &mut PgConnection, handle: &Handle) -> sqlx::Result<Option<Found>> {
    // A handle that changes hands while its row is waited for is not found with the old one.
    for _ in 0..2 {
        let row: Option<(i64, [u8; 16], bool, bool)> = sqlx::query_as(sql::AGENT_BY_HANDLE)
            .bind(handle.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some((no, id, suspended, has_key)) = row {
            return Ok(Some(Found {
                no: AgentNo(no),
                id: AgentId::from_bytes(id),
                suspended,
                has_key,
            }));
        }
    }
    Ok(None)
}

/// First half of the key of the lock of what an agent holds.
const OWNER: i32 = i32::from_be_bytes(*b"waxo");

/// Whatever counts what an agent holds before it adds to it takes turns with its like.
pub(super) async fn lock_owner(tx: &mut Transaction<'_>, agent: AgentNo) -> sqlx::Result<()> {
    sqlx::query(sql::LOCK_OWNER)
        .bind(OWNER)
        .bind(agent.0)
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

/// Whether a statement with one id or hash finds a row.
async fn exists(connection: &mut PgConnection, sql: &'static str, key: &[u8]) -> sqlx::Result<bool> {
    let row = sqlx::query(sql).bind(key).fetch_optional(connection).await?;
    Ok(row.is_some())
}

pub(super) async fn is_known(connection: &mut PgConnection, id: &AgentId) -> sqlx::Result<bool> {
    exists(connection, sql::AGENT_BY_ID, id.as_bytes()).await
}

pub(super) async fn note_auth_event(tx: &mut Transaction<'_>, agent: AgentNo) -> sqlx::Result<()> {
    sqlx::query(sql::INSERT_AUTH_EVENT)
        .bind(agent.0)
        .bind(tx.now_ms.cast_signed())
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

async fn use_challenge(tx: &mut Transaction<'_>, challenge: &UsedChallenge) -> sqlx::Result<()> {
    sqlx::query(sql::USE_CHALLENGE)
        .bind(challenge.hash.as_bytes().as_slice())
        .bind(challenge.expires_at.cast_signed())
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

pub(super) async fn is_used(tx: &mut Transaction<'_>, challenge: &UsedChallenge) -> sqlx::Result<bool> {
    exists(tx.connection, sql::CHALLENGE_USED, challenge.hash.as_bytes()).await
}

async fn set_key(tx: &mut Transaction<'_>, agent: AgentNo, key_hash: &Hash) -> sqlx::Result<()> {
    sqlx::query(sql::REPLACE_KEY)
        .bind(agent.0)
        .bind(key_hash.as_bytes().as_slice())
        .execute(&mut *tx.connection)
        .await?;
    note_auth_event(tx, agent).await
}

async fn register(tx: &mut Transaction<'_>, asked: &Registration) -> sqlx::Result<RegisterOutcome> {
    if is_used(tx, &asked.challenge).await? {
        return Ok(RegisterOutcome::ChallengeUsed);
    }
    match by_handle(tx.connection, &asked.handle).await? {
        Some(found) if found.id == asked.id => register_again(tx, asked, &found).await,
        Some(_) => Ok(RegisterOutcome::HandleTaken),
        None => register_new(tx, asked).await,
    }
}

pub(super) async fn register_again(
    tx: &mut Transaction<'_>,
    asked: &Registration,
    found: &Found,
) -> sqlx::Result<RegisterOutcome> {
    if found.suspended {
        return Ok(RegisterOutcome::Suspended);
    }
    if publish(tx, found.no, &asked.bundle).await? == BundleOutcome::Stale {
        return Ok(RegisterOutcome::StaleBundle);
    }
    use_challenge(tx, &asked.challenge).await?;
    set_key(tx, found.no, &asked.api_key_hash).await?;
    Ok(RegisterOutcome::Repeated(found.no))
}

async fn register_new(tx: &mut Transaction<'_>, asked: &Registration) -> sqlx::Result<RegisterOutcome> {
    if is_known(tx.connection, &asked.id).await? {
        return Ok(RegisterOutcome::IdentityTaken);
    }
    let now = tx.now_ms.cast_signed();
    let invite = match asked.admission {
        Admission::Open => None,
        Admission::Closed => return Ok(RegisterOutcome::Closed),
        Admission::Invite(None) => return Ok(RegisterOutcome::InviteRefused),
        Admission::Invite(Some(code)) => {
            let usable = sqlx::query(sql::INVITE_USABLE)
                .bind(code.as_bytes().as_slice())
                .bind(now)
                .fetch_optional(&mut *tx.connection)
                .await?;
            if usable.is_none() {
                return Ok(RegisterOutcome::InviteRefused);
            }
            Some(code)
        }
    };
    let agent = insert_agent(tx, asked).await?;
    if let Some(code) = invite {
        sqlx::query(sql::USE_INVITE)
            .bind(code.as_bytes().as_slice())
            .bind(now)
            .bind(agent.0)
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(RegisterOutcome::Created(agent))
}

/// The number of a new queue.
pub(super) async fn insert_queue(connection: &mut PgConnection, kind: i64) -> sqlx::Result<i64> {
    let (queue,): (i64,) = sqlx::query_as(sql::INSERT_QUEUE)
        .bind(kind)
        .fetch_one(connection)
        .await?;
    Ok(queue)
}

/// An agent with its queues and first bundle; its challenge is used up.
pub(super) async fn insert_agent(tx: &mut Transaction<'_>, asked: &Registration) -> sqlx::Result<AgentNo> {
    let mail = insert_queue(tx.connection, kind::MAIL).await?;
    let control = insert_queue(tx.connection, kind::CONTROL).await?;
    let (agent,): (i64,) = sqlx::query_as(sql::INSERT_AGENT)
        .bind(asked.id.as_bytes().as_slice())
        .bind(asked.handle.as_str())
        .bind(asked.identity.to_prefixed().to_vec())
        .bind(asked.api_key_hash.as_bytes().as_slice())
        .bind(mail)
        .bind(control)
        .bind(tx.now_ms.cast_signed())
        .fetch_one(&mut *tx.connection)
        .await?;
    let agent = AgentNo(agent);
    insert_bundle(tx, agent, &asked.bundle).await?;
    use_challenge(tx, &asked.challenge).await?;
    Ok(agent)
}

async fn insert_bundle(tx: &mut Transaction<'_>, agent: AgentNo, bundle: &BundleBytes) -> sqlx::Result<()> {
    sqlx::query(sql::INSERT_BUNDLE)
        .bind(agent.0)
        .bind(bundle.number.cast_signed())
        .bind(bundle.bytes.as_slice())
        .execute(&mut *tx.connection)
        .await?;
    transparency::owe(tx, agent, bundle).await
}

/// Number and bytes.
pub(super) async fn latest_bundle(
    connection: &mut PgConnection,
    agent: AgentNo,
) -> sqlx::Result<Option<(i64, Vec<u8>)>> {
    sqlx::query_as(sql::LATEST_BUNDLE)
        .bind(agent.0)
        .fetch_optional(connection)
        .await
}

async fn publish(
    tx: &mut Transaction<'_>,
    agent: AgentNo,
    bundle: &BundleBytes,
) -> sqlx::Result<BundleOutcome> {
    let held = latest_bundle(tx.connection, agent).await?;
    if let Some(outcome) = rules::bundle(held, bundle) {
        return Ok(outcome);
    }
    insert_bundle(tx, agent, bundle).await?;
    sqlx::query(sql::PRUNE_BUNDLES)
        .bind(agent.0)
        .execute(&mut *tx.connection)
        .await?;
    Ok(BundleOutcome::Stored)
}

async fn replace_key(
    tx: &mut Transaction<'_>,
    handle: &Handle,
    id: &AgentId,
    key_hash: &Hash,
    challenge: &UsedChallenge,
) -> sqlx::Result<KeyOutcome> {
    if is_used(tx, challenge).await? {
        return Ok(KeyOutcome::ChallengeUsed);
    }
    match by_handle(tx.connection, handle).await? {
        Some(found) if found.id == *id && found.suspended => Ok(KeyOutcome::Suspended),
        Some(found) if found.id == *id => {
            use_challenge(tx, challenge).await?;
            set_key(tx, found.no, key_hash).await?;
            Ok(KeyOutcome::Replaced(found.no))
        }
        _ => Ok(KeyOutcome::Unknown),
    }
}

async fn revoke_key(tx: &mut Transaction<'_>, handle: &Handle) -> sqlx::Result<Option<(AgentNo, bool)>> {
    let Some(found) = by_handle(tx.connection, handle).await? else {
        return Ok(None);
    };
    if found.has_key {
        sqlx::query(sql::REVOKE_KEY)
            .bind(found.no.0)
            .bind(tx.now_ms.cast_signed())
            .execute(&mut *tx.connection)
            .await?;
        note_auth_event(tx, found.no).await?;
    }
    Ok(Some((found.no, found.has_key)))
}

async fn set_suspended(
    tx: &mut Transaction<'_>,
    handle: &Handle,
    suspended: bool,
) -> sqlx::Result<Option<(AgentNo, bool)>> {
    let Some(found) = by_handle(tx.connection, handle).await? else {
        return Ok(None);
    };
    let changes = found.suspended != suspended;
    if changes {
        sqlx::query(sql::SET_SUSPENDED)
            .bind(found.no.0)
            .bind(suspended.then(|| tx.now_ms.cast_signed()))
            .execute(&mut *tx.connection)
            .await?;
        note_auth_event(tx, found.no).await?;
    }
    Ok(Some((found.no, changes)))
}

async fn relay_secret(
    tx: &mut Transaction<'_>,
    candidate: &Zeroizing<[u8; 32]>,
) -> sqlx::Result<RelaySecret> {
    // Inserted if there is none, whoever else does so at the same time.
    let made = sqlx::query(sql::INSERT_IDENTITY)
        .bind(i64::from(ED25519))
        .bind(candidate.as_slice())
        .bind(tx.now_ms.cast_signed())
        .execute(&mut *tx.connection)
        .await?;
    let (secret,): ([u8; 32],) = sqlx::query_as(sql::IDENTITY)
        .fetch_one(&mut *tx.connection)
        .await?;
    Ok(RelaySecret {
        secret: Zeroizing::new(secret),
        created: made.rows_affected() == 1,
    })
}

impl PostgresStore {
    pub(in crate::store) async fn relay_secret(
        &self,
        candidate: Zeroizing<[u8; 32]>,
    ) -> Result<RelaySecret, WriteError> {
        self.write(async move |tx| relay_secret(tx, &candidate).await)
            .await
    }

    pub(in crate::store) async fn register(
        &self,
        asked: Registration,
    ) -> Result<RegisterOutcome, WriteError> {
        self.write(async move |tx| register(tx, &asked).await).await
    }

    pub(in crate::store) async fn replace_key(
        &self,
        handle: Handle,
        id: AgentId,
        key_hash: Hash,
        challenge: UsedChallenge,
    ) -> Result<KeyOutcome, WriteError> {
        self.write(async move |tx| replace_key(tx, &handle, &id, &key_hash, &challenge).await)
            .await
    }

    pub(in crate::store) async fn revoke_key(
        &self,
        handle: Handle,
    ) -> Result<Option<(AgentNo, bool)>, WriteError> {
        self.write(async move |tx| revoke_key(tx, &handle).await).await
    }

    pub(in crate::store) async fn set_suspended(
        &self,
        handle: Handle,
        suspended: bool,
    ) -> Result<Option<(AgentNo, bool)>, WriteError> {
        self.write(async move |tx| set_suspended(tx, &handle, suspended).await)
            .await
    }

    pub(in crate::store) async fn add_invite(
        &self,
        code_hash: Hash,
        expires_at: u64,
    ) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::INSERT_INVITE)
                .bind(code_hash.as_bytes().as_slice())
                .bind(tx.now_ms.cast_signed())
                .bind(expires_at.cast_signed())
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        })
        .await
    }

    pub(in crate::store) async fn put_bundle(
        &self,
        agent: AgentNo,
        bundle: BundleBytes,
    ) -> Result<BundleOutcome, WriteError> {
        self.write(async move |tx| {
            sqlx::query(sql::LOCK_AGENT)
                .bind(agent.0)
                .execute(&mut *tx.connection)
                .await?;
            publish(tx, agent, &bundle).await
        })
        .await
    }
}
