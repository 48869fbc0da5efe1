//! What a relay that was set back lacks (docs/protocol.md, 8.6).

use rusqlite::params;

use super::{StateError, Store, to_sql};
use crate::model::UnixMs;

const LINEAGE: &str = "lineage";

impl Store {
    /// The course of events that the relay's database held when it was last heard of.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn lineage(&self) -> Result<Option<u64>, StateError> {
        Ok(self.meta(LINEAGE)?.map(u64::from_be_bytes))
    }

    /// Notes another one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_lineage(&self, lineage: u64) -> Result<(), StateError> {
        self.put_meta(LINEAGE, &lineage.to_be_bytes())
    }

    /// Forgets how far the relay's queues were taken.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget_cursors(&self) -> Result<(), StateError> {
        self.db.prepare_cached("DELETE FROM cursor")?.execute([])?;
        Ok(())
    }

    /// The relay is told again whom this agent holds and blocks, and its profile.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn declare_again(&self) -> Result<(), StateError> {
        Ok(self.db.execute_batch(
            "INSERT OR IGNORE INTO undeclared
                 SELECT 1, peer_id FROM contact UNION ALL SELECT 2, peer_id FROM peer_block
                 UNION ALL SELECT 3, 0 FROM own_profile;",
        )?)
    }

    /// Receipts of what came since a time are owed again.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_receipts_since(&self, since: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE inbound_session SET receipt_due = 3, said_delivered = 0, said_read = 0 WHERE EXISTS
                 (SELECT 1 FROM message AS m WHERE m.conversation_id = inbound_session.conversation_id
                  AND m.peer_id = inbound_session.peer_id AND m.own = 0 AND m.delivered_at >= ?1)",
            )?
            .execute([to_sql(since)])?;
        Ok(())
    }

    /// Own direct messages since a time that were stored and never confirmed are owed to their recipients.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_unconfirmed(&self, since: UnixMs, due_at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT OR IGNORE INTO answer(peer_id, message_row, anew, due_at)
                 SELECT peer_id, message_row, 1, ?2 FROM message
                 WHERE own = 1 AND status = 2 AND form = 0 AND peer_id IS NOT NULL AND mid IS NOT NULL
                 AND created_at >= ?1",
            )?
            .execute(params![to_sql(since), to_sql(due_at)])?;
        Ok(())
    }

    /// The same of groups that this agent is a member of: group and message, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unconfirmed_in_groups(&self, since: UnixMs) -> Result<Vec<(i64, i64)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT g.group_row, m.message_row FROM message AS m
             JOIN grp AS g USING (conversation_id)
             WHERE m.own = 1 AND m.status = 2 AND m.form = 0 AND m.peer_id IS NULL AND m.mid IS NOT NULL
             AND m.created_at >= ?1 AND g.standing = 2
             AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.message_row = m.message_row)
             ORDER BY m.message_row",
        )?;
        let rows = statement.query_map([to_sql(since)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
