//! Invites that came, and history that was promised with those that were made.

use rand_core::CryptoRng;
use rusqlite::{OptionalExtension as _, Row, params};
use waxwire_shared::{
    identity::IdentityKey,
    ids::{GroupId, Hash},
    wire::InviteRef,
};

use super::{ColumnKeys, StateError, Store, from_sql, to_sql};
use crate::model::{InviteId, UnixMs};

/// An invite that waits for the agent's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationRow {
    /// Its local id.
    pub id: InviteId,
    /// The group.
    pub group: GroupId,
    /// How commits name the invite.
    pub invite: InviteRef,
    /// A commit that the log must contain.
    pub roster_head: Hash,
    /// The inviter.
    pub peer_id: i64,
    /// When it came.
    pub received_at: UnixMs,
    /// Name, as the inviter says.
    pub name: String,
}

/// Most invites that wait.
const INVITATIONS: i64 = 1_000;
/// Most invites of one inviter that wait.
const INVITATIONS_OF_PEER: i64 = 100;

impl Store {
    /// Keeps an invite; false if it is known or too many wait.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_invitation(
        &self,
        rng: &mut dyn CryptoRng,
        new: &InvitationRow,
        position: u64,
    ) -> Result<bool, StateError> {
        let (next, waiting, of_peer): (i64, i64, i64) = self
            .db
            .prepare_cached(&format!(
                "SELECT (SELECT coalesce(max(invite_row), 0) + 1 FROM invitation), count(*), \
                 count(*) FILTER (WHERE peer_id = ?1) FROM invitation WHERE {WAITS}"
            ))?
            .query_row([new.peer_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if waiting >= INVITATIONS || of_peer >= INVITATIONS_OF_PEER {
            return Ok(false);
        }
        let sealed = self
            .keys
            .seal(rng, "invitation", next, new.received_at, new.name.as_bytes());
        let mut statement = self.db.prepare_cached(
            "INSERT INTO invitation(invite_row, invite_id, group_id, commit_hash, commit_index, roster_head, \
             position, peer_id, received_at, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT DO NOTHING",
        )?;
        let made = statement.execute(params![
            next,
            new.id.0,
            new.group.as_bytes(),
            new.invite.commit.as_bytes(),
            new.invite.index,
            new.roster_head.as_bytes(),
            to_sql(position),
            new.peer_id,
            to_sql(new.received_at),
            sealed
        ])?;
        Ok(made == 1)
    }

    /// The invite with a local id.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn invitation(&self, id: &InviteId) -> Result<Option<InvitationRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{INVITATION} WHERE invite_id = ?1"))?;
        let mut rows = statement.query([id.0])?;
        rows.next()?
            .map(|row| invitation_row(row, &self.keys))
            .transpose()
    }

    /// The newest invite to a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn invitation_to(&self, group: &GroupId) -> Result<Option<InviteId>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT invite_id FROM invitation WHERE group_id = ?1 ORDER BY position DESC LIMIT 1",
        )?;
        let id = statement
            .query_row([group.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(id.map(InviteId))
    }

    /// Forgets an invite.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_invitation(&self, id: &InviteId) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM invitation WHERE invite_id = ?1")?
            .execute([id.0])?;
        Ok(())
    }

    /// Forgets the invites of a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_invitations(&self, group: &GroupId) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM invitation WHERE group_id = ?1")?
            .execute([group.as_bytes()])?;
        Ok(())
    }

    /// Promises history after a local number to somebody who is invited.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_grant(&self, row: i64, identity: &IdentityKey, after_seq: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO grant_due(group_row, identity, after_seq) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET after_seq = ?3",
            )?
            .execute(params![row, identity.to_prefixed(), to_sql(after_seq)])?;
        Ok(())
    }

    /// Takes the promise of history to somebody who has joined.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn take_grant(&self, row: i64, identity: &IdentityKey) -> Result<Option<u64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "DELETE FROM grant_due WHERE group_row = ?1 AND identity = ?2 RETURNING after_seq",
        )?;
        let mut rows = statement.query(params![row, identity.to_prefixed()])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map(from_sql))
    }
}

/// An invite that was accepted stays until the membership ends, so that accepting can be repeated.
pub(super) const WAITS: &str = "group_id NOT IN (SELECT group_id FROM grp WHERE standing = 2)";

pub(super) const INVITATION: &str = "SELECT invite_row, group_id, commit_hash, commit_index, roster_head, \
                                     peer_id, received_at, sealed, invite_id FROM invitation";

pub(super) fn invitation_row(row: &Row<'_>, keys: &ColumnKeys) -> Result<InvitationRow, StateError> {
    let invite_row: i64 = row.get(0)?;
    let sealed: Vec<u8> = row.get(7)?;
    let name = keys.open("invitation", invite_row, &sealed)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| StateError::Damaged {
        table: "invitation",
        row: invite_row,
    })?;
    Ok(InvitationRow {
        id: InviteId(row.get(8)?),
        group: GroupId::from_bytes(row.get(1)?),
        invite: InviteRef {
            commit: Hash::from_bytes(row.get(2)?),
            index: row.get(3)?,
        },
        roster_head: Hash::from_bytes(row.get(4)?),
        peer_id: row.get(5)?,
        received_at: from_sql(row.get(6)?),
        name,
    })
}
