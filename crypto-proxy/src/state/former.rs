//! A peer, or this agent, has another identity: what that does to their conversation
//! (docs/protocol.md, 4.6).

use rusqlite::params;
use waxwire_shared::{
    fingerprint::Fingerprint,
    identity::IdentityKey,
    ids::{ConversationId, Hash},
    succession::Proof,
};

use super::{Standing, StateError, Store, from_sql, peers::proof_number, to_sql};
use crate::model::{SendToken, UnixMs};

const IDENTITY: &str = "own_identity";

impl Store {
    /// Remembers an identity that a handle had until now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_former(
        &self,
        peer_id: i64,
        identity: &IdentityKey,
        proof: Option<Proof>,
        until: UnixMs,
    ) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT OR REPLACE INTO peer_former(peer_id, identity, proof, until) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let until = to_sql(until);
        statement.execute(params![
            peer_id,
            identity.to_prefixed(),
            proof_number(proof),
            until
        ])?;
        Ok(())
    }

    /// The identities that a handle had before, oldest first, with when each ended here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn former(&self, peer_id: i64) -> Result<Vec<(IdentityKey, UnixMs)>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT identity, until FROM peer_former WHERE peer_id = ?1 ORDER BY until")?;
        let rows = statement.query_map([peer_id], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, from_sql(row.get(1)?)))
        })?;
        let damaged = StateError::Damaged {
            table: "peer_former",
            row: peer_id,
        };
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let known = rows
            .into_iter()
            .map(|(bytes, until)| IdentityKey::from_prefixed(&bytes).map(|identity| (identity, until)));
        known.collect::<Option<_>>().ok_or(damaged)
    }

    /// Gives a direct conversation the id that follows from another identity. The local id stays, and
    /// everything that is visible. Numbering begins anew on both sides: nothing of what was counted, withdrawn,
    /// owed or missed under the old id is of any use under the new one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn move_conversation(&self, peer_id: i64, protocol_id: &ConversationId) -> Result<(), StateError> {
        let conversation = "(SELECT conversation_id FROM conversation WHERE peer_id = ?1 AND kind = 1)";
        let sessions =
            format!("(SELECT session_row FROM inbound_session WHERE conversation_id IN {conversation})");
        for statement in [
            format!("DELETE FROM withdrawn WHERE conversation_id IN {conversation}"),
            format!("DELETE FROM inbound_void WHERE session_row IN {sessions}"),
            format!("DELETE FROM missing WHERE session_row IN {sessions}"),
            format!("UPDATE outbox SET receipt_of = NULL WHERE receipt_of IN {sessions}"),
            format!("DELETE FROM inbound_session WHERE conversation_id IN {conversation}"),
            "DELETE FROM answer WHERE peer_id = ?1".to_owned(),
        ] {
            self.db.prepare_cached(&statement)?.execute([peer_id])?;
        }
        let mut statement = self.db.prepare_cached(
            "UPDATE conversation SET protocol_id = ?2, era = era + 1, out_n = 0, out_hash = NULL \
             WHERE peer_id = ?1 AND kind = 1",
        )?;
        statement.execute(params![peer_id, protocol_id.as_bytes()])?;
        Ok(())
    }

    /// This agent has another identity: each direct conversation gets the id that follows from it, and the groups
    /// that the former one is a member of are left. Called again with the same identity it changes nothing.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn become_identity(&self, identity: &IdentityKey) -> Result<(), StateError> {
        let id = Hash::from_bytes(*Fingerprint::of(identity).as_bytes());
        if self.meta::<{ Hash::LENGTH }>(IDENTITY)? == Some(*id.as_bytes()) {
            return Ok(());
        }
        self.put_meta(IDENTITY, id.as_bytes())?;
        let mut statement = self.db.prepare_cached(
            "SELECT peer_id, identity FROM peer WHERE peer_id IN \
             (SELECT peer_id FROM conversation WHERE kind = 1)",
        )?;
        let peers = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        for (peer_id, peer) in peers.collect::<Result<Vec<_>, _>>()? {
            let damaged = StateError::Damaged {
                table: "peer",
                row: peer_id,
            };
            let peer = IdentityKey::from_prefixed(&peer).ok_or(damaged)?;
            self.move_conversation(peer_id, &ConversationId::direct(identity, &peer))?;
        }
        let mut statement = self
            .db
            .prepare_cached("SELECT group_row FROM grp WHERE standing <= 2")?;
        let groups = statement.query_map([], |row| row.get(0))?;
        for group_row in groups.collect::<Result<Vec<i64>, _>>()? {
            self.put_standing(group_row, Standing::Left)?;
            self.erase_epochs(group_row)?;
        }
        self.db.execute_batch(
            "DELETE FROM grp_pending; DELETE FROM grp_held; DELETE FROM grant_due; DELETE FROM invitation;
             DELETE FROM cursor;",
        )?;
        Ok(())
    }

    /// How many own messages wait to be sent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unsent(&self) -> Result<u64, StateError> {
        let query = "SELECT count(*) FROM outbox WHERE message_row IS NOT NULL";
        Ok(self.db.query_row(query, [], |row| row.get(0)).map(from_sql)?)
    }

    /// Own messages of a direct conversation, since a time, that its peer has not proved to have, in order:
    /// the row of each and its place in the outbox, if it is there.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unconfirmed(
        &self,
        conversation_id: i64,
        since: UnixMs,
    ) -> Result<Vec<(i64, Option<SendToken>)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT m.message_row, o.token FROM message m JOIN conversation c USING (conversation_id) \
             LEFT JOIN outbox o USING (message_row) WHERE m.conversation_id = ?1 AND m.own = 1 AND m.form = 0 \
             AND m.status <= 2 AND m.deleted = 0 AND m.era = c.era \
             AND (o.token IS NOT NULL OR m.visible_at >= ?2) ORDER BY m.n, m.message_row",
        )?;
        let rows = statement.query_map(params![conversation_id, to_sql(since)], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(from_sql)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Ends a message that the agent sees; of another, which is erased, nothing is left.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn fail_visible(&self, message_row: i64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE message SET status = 5 WHERE message_row = ?1 AND seq IS NOT NULL")?;
        statement.execute([message_row])?;
        Ok(())
    }

    /// Keeps an envelope back until somebody decides or a deadline passes.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn freeze_outbox(&self, token: SendToken, deadline: UnixMs) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE outbox SET parked = 1, deadline = max(deadline, ?2) WHERE token = ?1")?;
        statement.execute([to_sql(token), to_sql(deadline)])?;
        self.deadlines.forget();
        Ok(())
    }
}
