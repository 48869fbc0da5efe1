//! Acts on agents: registration, API keys, suspension, invites, bundles, the relay's own key.
//!
//! Each act checks everything before its first write: an act that refuses leaves no trace.

use rusqlite::{Connection, OptionalExtension as _, params};
use waxwire_shared::{
    identity::ED25519,
    ids::{AgentId, Handle, Hash},
};
use zeroize::Zeroizing;

use super::{SqliteStore, batch::Transaction, sql, transparency};
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

pub(super) fn by_handle(connection: &Connection, handle: &Handle) -> rusqlite::Result<Option<Found>> {
    connection
        .prepare_cached(sql::AGENT_BY_HANDLE)?
        .query_row([handle.as_str()], |row| {
            Ok(Found {
                no: AgentNo(row.get(0)?),
                id: AgentId::from_bytes(row.get(1)?),
                suspended: row.get(2)?,
                has_key: row.get(3)?,
            })
        })
        .optional()
}

pub(super) fn exists(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<bool> {
    let row = connection
        .prepare_cached(sql)?
        .query_row(params, |_| Ok(()))
        .optional()?;
    Ok(row.is_some())
}

pub(super) fn note_auth_event(tx: &Transaction<'_>, agent: AgentNo) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(sql::INSERT_AUTH_EVENT)?
        .execute(params![agent.0, tx.now_ms.cast_signed()])
        .map(drop)
}

pub(super) fn use_challenge(tx: &Transaction<'_>, challenge: &UsedChallenge) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(sql::USE_CHALLENGE)?
        .execute(params![
            challenge.hash.as_bytes(),
            challenge.expires_at.cast_signed()
        ])
        .map(drop)
}

pub(super) fn is_used(tx: &Transaction<'_>, challenge: &UsedChallenge) -> rusqlite::Result<bool> {
    exists(tx.connection, sql::CHALLENGE_USED, [challenge.hash.as_bytes()])
}

fn set_key(tx: &Transaction<'_>, agent: AgentNo, key_hash: &Hash) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(sql::REPLACE_KEY)?
        .execute(params![agent.0, key_hash.as_bytes()])?;
    note_auth_event(tx, agent)
}

fn register(tx: &mut Transaction<'_>, asked: &Registration) -> rusqlite::Result<RegisterOutcome> {
    if is_used(tx, &asked.challenge)? {
        return Ok(RegisterOutcome::ChallengeUsed);
    }
    match by_handle(tx.connection, &asked.handle)? {
        Some(found) if found.id == asked.id => register_again(tx, asked, &found),
        Some(_) => Ok(RegisterOutcome::HandleTaken),
        None => register_new(tx, asked),
    }
}

pub(super) fn register_again(
    tx: &Transaction<'_>,
    asked: &Registration,
    found: &Found,
) -> rusqlite::Result<RegisterOutcome> {
    if found.suspended {
        return Ok(RegisterOutcome::Suspended);
    }
    if publish(tx, found.no, &asked.bundle)? == BundleOutcome::Stale {
        return Ok(RegisterOutcome::StaleBundle);
    }
    use_challenge(tx, &asked.challenge)?;
    set_key(tx, found.no, &asked.api_key_hash)?;
    Ok(RegisterOutcome::Repeated(found.no))
}

fn register_new(tx: &Transaction<'_>, asked: &Registration) -> rusqlite::Result<RegisterOutcome> {
    let connection = tx.connection;
    if exists(connection, sql::AGENT_BY_ID, [asked.id.as_bytes()])? {
        return Ok(RegisterOutcome::IdentityTaken);
    }
    let now = tx.now_ms.cast_signed();
    let invite = match asked.admission {
        Admission::Open => None,
        Admission::Closed => return Ok(RegisterOutcome::Closed),
        Admission::Invite(None) => return Ok(RegisterOutcome::InviteRefused),
        Admission::Invite(Some(code)) => {
            if !exists(connection, sql::INVITE_USABLE, params![code.as_bytes(), now])? {
                return Ok(RegisterOutcome::InviteRefused);
            }
            Some(code)
        }
    };
    let agent = insert_agent(tx, asked)?;
    if let Some(code) = invite {
        connection
            .prepare_cached(sql::USE_INVITE)?
            .execute(params![code.as_bytes(), now, agent.0])?;
    }
    Ok(RegisterOutcome::Created(agent))
}

/// An agent with its queues and first bundle; its challenge is used up.
pub(super) fn insert_agent(tx: &Transaction<'_>, asked: &Registration) -> rusqlite::Result<AgentNo> {
    let connection = tx.connection;
    let mut insert_queue = connection.prepare_cached(sql::INSERT_QUEUE)?;
    let mail = insert_queue.insert([kind::MAIL])?;
    let control = insert_queue.insert([kind::CONTROL])?;
    let agent = connection.prepare_cached(sql::INSERT_AGENT)?.insert(params![
        asked.id.as_bytes(),
        asked.handle.as_str(),
        asked.identity.to_prefixed(),
        asked.api_key_hash.as_bytes(),
        mail,
        control,
        tx.now_ms.cast_signed()
    ])?;
    let agent = AgentNo(agent);
    insert_bundle(tx, agent, &asked.bundle)?;
    use_challenge(tx, &asked.challenge)?;
    Ok(agent)
}

fn insert_bundle(tx: &Transaction<'_>, agent: AgentNo, bundle: &BundleBytes) -> rusqlite::Result<()> {
    let number = bundle.number.cast_signed();
    tx.connection
        .prepare_cached(sql::INSERT_BUNDLE)?
        .execute(params![agent.0, number, bundle.bytes])?;
    transparency::owe(tx, agent, bundle)
}

fn publish(tx: &Transaction<'_>, agent: AgentNo, bundle: &BundleBytes) -> rusqlite::Result<BundleOutcome> {
    let held = tx
        .connection
        .prepare_cached(sql::LATEST_BUNDLE)?
        .query_row([agent.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(outcome) = rules::bundle(held, bundle) {
        return Ok(outcome);
    }
    insert_bundle(tx, agent, bundle)?;
    tx.connection
        .prepare_cached(sql::PRUNE_BUNDLES)?
        .execute([agent.0])?;
    Ok(BundleOutcome::Stored)
}

fn replace_key(
    tx: &Transaction<'_>,
    handle: &Handle,
    id: &AgentId,
    key_hash: &Hash,
    challenge: &UsedChallenge,
) -> rusqlite::Result<KeyOutcome> {
    if is_used(tx, challenge)? {
        return Ok(KeyOutcome::ChallengeUsed);
    }
    match by_handle(tx.connection, handle)? {
        Some(found) if found.id == *id && found.suspended => Ok(KeyOutcome::Suspended),
        Some(found) if found.id == *id => {
            use_challenge(tx, challenge)?;
            set_key(tx, found.no, key_hash)?;
            Ok(KeyOutcome::Replaced(found.no))
        }
        _ => Ok(KeyOutcome::Unknown),
    }
}

fn revoke_key(tx: &Transaction<'_>, handle: &Handle) -> rusqlite::Result<Option<(AgentNo, bool)>> {
    let Some(found) = by_handle(tx.connection, handle)? else {
        return Ok(None);
    };
    if found.has_key {
        tx.connection
            .prepare_cached(sql::REVOKE_KEY)?
            .execute([found.no.0, tx.now_ms.cast_signed()])?;
        note_auth_event(tx, found.no)?;
    }
    Ok(Some((found.no, found.has_key)))
}

fn set_suspended(
    tx: &Transaction<'_>,
    handle: &Handle,
    suspended: bool,
) -> rusqlite::Result<Option<(AgentNo, bool)>> {
    let Some(found) = by_handle(tx.connection, handle)? else {
        return Ok(None);
    };
    let changes = found.suspended != suspended;
    if changes {
        let since = suspended.then(|| tx.now_ms.cast_signed());
        tx.connection
            .prepare_cached(sql::SET_SUSPENDED)?
            .execute(params![found.no.0, since])?;
        note_auth_event(tx, found.no)?;
    }
    Ok(Some((found.no, changes)))
}

fn relay_secret(tx: &Transaction<'_>, candidate: &Zeroizing<[u8; 32]>) -> rusqlite::Result<RelaySecret> {
    let held: Option<[u8; 32]> = tx
        .connection
        .prepare_cached(sql::IDENTITY)?
        .query_row([], |row| row.get(0))
        .optional()?;
    let created = held.is_none();
    let secret = match held {
        Some(secret) => Zeroizing::new(secret),
        None => {
            tx.connection
                .prepare_cached(sql::INSERT_IDENTITY)?
                .execute(params![ED25519, candidate.as_slice(), tx.now_ms.cast_signed()])?;
            candidate.clone()
        }
    };
    Ok(RelaySecret { secret, created })
}

impl SqliteStore {
    pub(in crate::store) async fn relay_secret(
        &self,
        candidate: Zeroizing<[u8; 32]>,
    ) -> Result<RelaySecret, WriteError> {
        self.write(move |tx| relay_secret(tx, &candidate)).await
    }

    pub(in crate::store) async fn register(
        &self,
        asked: Registration,
    ) -> Result<RegisterOutcome, WriteError> {
        self.write(move |tx| register(tx, &asked)).await
    }

    pub(in crate::store) async fn replace_key(
        &self,
        handle: Handle,
        id: AgentId,
        key_hash: Hash,
        challenge: UsedChallenge,
    ) -> Result<KeyOutcome, WriteError> {
        self.write(move |tx| replace_key(tx, &handle, &id, &key_hash, &challenge))
            .await
    }

    pub(in crate::store) async fn revoke_key(
        &self,
        handle: Handle,
    ) -> Result<Option<(AgentNo, bool)>, WriteError> {
        self.write(move |tx| revoke_key(tx, &handle)).await
    }

    pub(in crate::store) async fn set_suspended(
        &self,
        handle: Handle,
        suspended: bool,
    ) -> Result<Option<(AgentNo, bool)>, WriteError> {
        self.write(move |tx| set_suspended(tx, &handle, suspended)).await
    }

    pub(in crate::store) async fn add_invite(
        &self,
        code_hash: Hash,
        expires_at: u64,
    ) -> Result<(), WriteError> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(sql::INSERT_INVITE)?
                .execute(params![
                    code_hash.as_bytes(),
                    tx.now_ms.cast_signed(),
                    expires_at.cast_signed()
                ])
                .map(drop)
        })
        .await
    }

    pub(in crate::store) async fn put_bundle(
        &self,
        agent: AgentNo,
        bundle: BundleBytes,
    ) -> Result<BundleOutcome, WriteError> {
        self.write(move |tx| publish(tx, agent, &bundle)).await
    }
}
