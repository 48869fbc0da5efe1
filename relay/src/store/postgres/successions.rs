//! A handle goes from one identity to another.

use waxwire_shared::ids::Hash;

use super::{
    PostgresStore,
    accounts::{self, Found},
    batch::Transaction,
    sql,
};
use crate::{
    accounts::proof,
    store::{AgentNo, NewSuccession, RegisterOutcome, Registration, SuccessionOutcome, WriteError},
};

async fn succeed(
    tx: &mut Transaction<'_>,
    asked: &Registration,
    succession: &NewSuccession,
) -> sqlx::Result<SuccessionOutcome> {
    if accounts::is_used(tx, &asked.challenge).await? {
        return Ok(SuccessionOutcome::ChallengeUsed);
    }
    let Some(holder) = accounts::by_handle(tx.connection, &asked.handle).await? else {
        return Ok(SuccessionOutcome::Unknown);
    };
    if holder.id == asked.id {
        return repeat(tx, asked, &holder).await;
    }
    if let Some(refused) = refusal(tx, &holder, asked, succession).await? {
        return Ok(refused);
    }
    let old = holder.no;
    let now = tx.now_ms.cast_signed();
    sqlx::query(sql::FREE_HANDLE)
        .bind(old.0)
        .bind(now)
        .execute(&mut *tx.connection)
        .await?;
    accounts::note_auth_event(tx, old).await?;
    let new = accounts::insert_agent(tx, asked).await?;
    for statement in [sql::INHERIT].into_iter().chain(sql::INHERIT_RELATIONS) {
        sqlx::query(statement)
            .bind(old.0)
            .bind(new.0)
            .execute(&mut *tx.connection)
            .await?;
    }
    sqlx::query(sql::INSERT_SUCCESSION)
        .bind(asked.handle.as_str())
        .bind(old.0)
        .bind(new.0)
        .bind(succession.bytes.as_slice())
        .bind(now)
        .execute(&mut *tx.connection)
        .await?;
    Ok(SuccessionOutcome::Done { old, new })
}

/// What was done before is answered like a registration that is repeated.
async fn repeat(
    tx: &mut Transaction<'_>,
    asked: &Registration,
    holder: &Found,
) -> sqlx::Result<SuccessionOutcome> {
    Ok(match accounts::register_again(tx, asked, holder).await? {
        RegisterOutcome::Suspended => SuccessionOutcome::Suspended,
        RegisterOutcome::StaleBundle => SuccessionOutcome::StaleBundle,
        _ => SuccessionOutcome::Repeated(holder.no),
    })
}

async fn refusal(
    tx: &mut Transaction<'_>,
    holder: &Found,
    asked: &Registration,
    succession: &NewSuccession,
) -> sqlx::Result<Option<SuccessionOutcome>> {
    if holder.id != succession.old {
        return Ok(Some(SuccessionOutcome::Refused));
    }
    if holder.suspended {
        return Ok(Some(SuccessionOutcome::Suspended));
    }
    if accounts::is_known(tx.connection, &asked.id).await? {
        return Ok(Some(SuccessionOutcome::IdentityTaken));
    }
    Ok(match succession.recovery {
        Some(given) if recovery_hash(tx, holder.no).await? != Some(given) => Some(SuccessionOutcome::Refused),
        Some(_) => None,
        // Who has the old key can read what came for it, and does so first.
        None if has_mail(tx, holder.no).await? => Some(SuccessionOutcome::NotDrained),
        None => None,
    })
}

/// What the newest bundle says of the recovery key; it was verified before it was stored.
async fn recovery_hash(tx: &mut Transaction<'_>, agent: AgentNo) -> sqlx::Result<Option<Hash>> {
    let bundle = accounts::latest_bundle(tx.connection, agent).await?;
    Ok(bundle.and_then(|(_, bytes)| proof::recovery_hash(&bytes)))
}

/// Nothing more comes meanwhile: the queue is locked.
async fn has_mail(tx: &mut Transaction<'_>, agent: AgentNo) -> sqlx::Result<bool> {
    let (head, acked): (i64, i64) = sqlx::query_as(sql::LOCK_MAIL_OF)
        .bind(agent.0)
        .fetch_one(&mut *tx.connection)
        .await?;
    Ok(acked < head)
}

impl PostgresStore {
    pub(in crate::store) async fn succeed(
        &self,
        asked: Registration,
        succession: NewSuccession,
    ) -> Result<SuccessionOutcome, WriteError> {
        self.write(async move |tx| succeed(tx, &asked, &succession).await)
            .await
    }
}
