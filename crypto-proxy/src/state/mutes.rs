//! What is not pushed to the agent. Nobody else is told.

use rusqlite::{Connection, Row, params};

use super::{Reader, StateError, Store, from_sql, to_sql};
use crate::model::{LocalConversation, Mute, MuteTarget, UnixMs};

const AGENT: i64 = 1;
const CONVERSATION: i64 = 2;

/// A mute that is over counts for nothing.
const HOLDS: &str = "(until IS NULL OR until > ?1)";

fn key(target: &MuteTarget) -> (i64, String) {
    match target {
        MuteTarget::Agent(handle) => (AGENT, handle.to_string()),
        MuteTarget::Conversation(conversation) => (CONVERSATION, conversation.to_string()),
    }
}

fn mute(row: &Row<'_>) -> Result<Mute, StateError> {
    let damaged = || StateError::Damaged {
        table: "mute",
        row: 0,
    };
    let text: String = row.get(1)?;
    let target = if row.get::<_, i64>(0)? == AGENT {
        MuteTarget::Agent(text.parse().map_err(|_| damaged())?)
    } else {
        MuteTarget::Conversation(text.parse().map_err(|_| damaged())?)
    };
    Ok(Mute {
        target,
        until: row.get::<_, Option<i64>>(2)?.map(from_sql),
        created_at: from_sql(row.get(3)?),
    })
}

fn find(db: &Connection, target: &MuteTarget, now: UnixMs) -> Result<Option<Mute>, StateError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT kind, target, until, created_at FROM mute WHERE {HOLDS} AND kind = ?2 AND target = ?3"
    ))?;
    let (kind, text) = key(target);
    let mut rows = statement.query(params![to_sql(now), kind, text])?;
    rows.next()?.map(mute).transpose()
}

/// Until when a conversation, or the other side of a direct one, is muted; 0 if neither is.
pub(super) fn muted_until(
    db: &Connection,
    conversation: &LocalConversation,
    peer: Option<&str>,
) -> Result<UnixMs, StateError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT coalesce(max(coalesce(until, ?1)), 0) FROM mute WHERE kind = {AGENT} AND target = ?2 \
         OR kind = {CONVERSATION} AND target = ?3"
    ))?;
    let until = statement.query_row(params![i64::MAX, peer, conversation.to_string()], |row| {
        row.get(0)
    })?;
    Ok(from_sql(until))
}

impl Store {
    /// Mutes something, until a time or for ever; gives the mute as it is now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_mute(
        &self,
        target: &MuteTarget,
        until: Option<UnixMs>,
        now: UnixMs,
    ) -> Result<Mute, StateError> {
        self.forget_mutes(now)?;
        let (kind, text) = key(target);
        let mut statement = self.db.prepare_cached(
            "INSERT INTO mute(kind, target, until, created_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT(kind, target) DO UPDATE SET until = ?3 RETURNING created_at",
        )?;
        let created_at = statement.query_row(params![kind, text, until.map(to_sql), to_sql(now)], |row| {
            row.get(0)
        })?;
        Ok(Mute {
            target: target.clone(),
            until,
            created_at: from_sql(created_at),
        })
    }

    /// Mutes something no longer; false if it was not muted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_mute(&self, target: &MuteTarget, now: UnixMs) -> Result<bool, StateError> {
        self.forget_mutes(now)?;
        let (kind, text) = key(target);
        let removed = self
            .db
            .prepare_cached("DELETE FROM mute WHERE kind = ?1 AND target = ?2")?
            .execute(params![kind, text])?;
        Ok(removed == 1)
    }

    /// Whether something is muted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_muted(&self, target: &MuteTarget, now: UnixMs) -> Result<bool, StateError> {
        Ok(find(&self.db, target, now)?.is_some())
    }

    /// Mutes that are over.
    fn forget_mutes(&self, now: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM mute WHERE until <= ?1")?
            .execute([to_sql(now)])?;
        Ok(())
    }
}

impl Reader {
    /// Every mute that holds, the latest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn mutes(&self, now: UnixMs) -> Result<Vec<Mute>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "SELECT kind, target, until, created_at FROM mute WHERE {HOLDS} \
             ORDER BY created_at DESC, kind, target"
        ))?;
        let mut rows = statement.query([to_sql(now)])?;
        let mut mutes = Vec::new();
        while let Some(row) = rows.next()? {
            mutes.push(mute(row)?);
        }
        Ok(mutes)
    }

    /// The mute of something, if it is muted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn mute(&self, target: &MuteTarget, now: UnixMs) -> Result<Option<Mute>, StateError> {
        find(&self.db(), target, now)
    }

    /// Whether any mute holds.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_anything_muted(&self, now: UnixMs) -> Result<bool, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!("SELECT EXISTS(SELECT 1 FROM mute WHERE {HOLDS})"))?;
        Ok(statement.query_row([to_sql(now)], |row| row.get(0))?)
    }
}
