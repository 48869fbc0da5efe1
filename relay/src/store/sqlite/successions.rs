//! A handle goes from one identity to another.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::ids::Hash;

use super::{
    SqliteStore,
    accounts::{self, Found},
    batch::Transaction,
    sql,
};
use crate::{
    accounts::proof,
    store::{AgentNo, NewSuccession, RegisterOutcome, Registration, SuccessionOutcome, WriteError},
};

fn succeed(
    tx: &mut Transaction<'_>,
    asked: &Registration,
    succession: &NewSuccession,
) -> rusqlite::Result<SuccessionOutcome> {
    if accounts::is_used(tx, &asked.challenge)? {
        return Ok(SuccessionOutcome::ChallengeUsed);
    }
    let Some(holder) = accounts::by_handle(tx.connection, &asked.handle)? else {
        return Ok(SuccessionOutcome::Unknown);
    };
    if holder.id == asked.id {
        return repeat(tx, asked, &holder);
    }
    if let Some(refused) = refusal(tx, &holder, asked, succession)? {
        return Ok(refused);
    }
    let old = holder.no;
    let now = tx.now_ms.cast_signed();
    let connection = tx.connection;
    connection
        .prepare_cached(sql::FREE_HANDLE)?
        .execute(params![old.0, now])?;
    accounts::note_auth_event(tx, old)?;
    let new = accounts::insert_agent(tx, asked)?;
    connection.prepare_cached(sql::INHERIT)?.execute([old.0, new.0])?;
    for statement in sql::INHERIT_RELATIONS {
        connection.prepare_cached(statement)?.execute([old.0, new.0])?;
    }
    connection
        .prepare_cached(sql::INSERT_SUCCESSION)?
        .execute(params![
            asked.handle.as_str(),
            old.0,
            new.0,
            succession.bytes,
            now
        ])?;
    tx.memory.succeed(&holder.id);
    Ok(SuccessionOutcome::Done { old, new })
}

/// What was done before is answered like a registration that is repeated.
fn repeat(tx: &Transaction<'_>, asked: &Registration, holder: &Found) -> rusqlite::Result<SuccessionOutcome> {
    Ok(match accounts::register_again(tx, asked, holder)? {
        RegisterOutcome::Suspended => SuccessionOutcome::Suspended,
        RegisterOutcome::StaleBundle => SuccessionOutcome::StaleBundle,
        _ => SuccessionOutcome::Repeated(holder.no),
    })
}

fn refusal(
    tx: &Transaction<'_>,
    holder: &Found,
    asked: &Registration,
    succession: &NewSuccession,
) -> rusqlite::Result<Option<SuccessionOutcome>> {
    if holder.id != succession.old {
        return Ok(Some(SuccessionOutcome::Refused));
    }
    if holder.suspended {
        return Ok(Some(SuccessionOutcome::Suspended));
    }
    if accounts::exists(tx.connection, sql::AGENT_BY_ID, [asked.id.as_bytes()])? {
        return Ok(Some(SuccessionOutcome::IdentityTaken));
    }
    Ok(match succession.recovery {
        Some(given) if recovery_hash(tx, holder.no)? != Some(given) => Some(SuccessionOutcome::Refused),
        Some(_) => None,
        // Who has the old key can read what came for it, and does so first.
        None if has_mail(tx, holder.no)? => Some(SuccessionOutcome::NotDrained),
        None => None,
    })
}

/// What the newest bundle says of the recovery key; it was verified before it was stored.
fn recovery_hash(tx: &Transaction<'_>, agent: AgentNo) -> rusqlite::Result<Option<Hash>> {
    let bytes: Option<Vec<u8>> = tx
        .connection
        .prepare_cached(sql::LATEST_BUNDLE)?
        .query_row([agent.0], |row| row.get(1))
        .optional()?;
    Ok(bytes.and_then(|bytes| proof::recovery_hash(&bytes)))
}

fn has_mail(tx: &Transaction<'_>, agent: AgentNo) -> rusqlite::Result<bool> {
    let mail: i64 = tx
        .connection
        .prepare_cached(sql::MAIL_OF)?
        .query_row([agent.0], |row| row.get(0))?;
    let (head, acked): (i64, i64) = tx
        .connection
        .prepare_cached(sql::QUEUE_HEAD)?
        .query_row([mail], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(acked < head)
}

impl SqliteStore {
    pub(in crate::store) async fn succeed(
        &self,
        asked: Registration,
        succession: NewSuccession,
    ) -> Result<SuccessionOutcome, WriteError> {
        self.write(move |tx| succeed(tx, &asked, &succession)).await
    }
}
