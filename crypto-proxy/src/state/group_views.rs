//! Groups and invites as the agent sees them.

use rusqlite::{Connection, Row};
use waxwire_shared::{
    identity::IdentityKey,
    ids::{GroupId, Handle, Hash},
    wire::Role,
};

use super::{
    ColumnKeys, Pin, Reader, StateError, Store,
    confirmation::{confirmation, unconfirmed},
    from_sql,
    groups::{Standing, StoredProfile},
    invitations::{INVITATION, WAITS, invitation_row},
};
use crate::model::{
    DebtKind, Group, GroupEnd, GroupLookup, GroupMember, GroupSecurity, Invitation, LocalConversation, Trust,
};

const GROUP: &str = "SELECT g.group_row, g.group_id, g.standing, g.created_by, g.created_at, g.role, \
     g.ended_by, g.ended_at, g.sealed, c.last_message_at, g.epoch, g.head, g.length, g.debt, g.debt_since, \
     g.is_open, g.stop FROM grp g JOIN conversation c USING (conversation_id) WHERE c.local = ?1 AND c.kind = 2";

const fn damaged(row: i64) -> StateError {
    StateError::Damaged { table: "grp", row }
}

fn role(number: i64) -> Role {
    if number == Role::Admin as i64 {
        Role::Admin
    } else {
        Role::Member
    }
}

fn lookup(db: &Connection, keys: &ColumnKeys, id: &LocalConversation) -> Result<GroupLookup, StateError> {
    let mut statement = db.prepare_cached(GROUP)?;
    let mut rows = statement.query([id.id])?;
    let Some(row) = rows.next()? else {
        return Ok(GroupLookup::Unknown);
    };
    match Standing::from_number(row.get(2)?) {
        Standing::Member => Ok(GroupLookup::Member(Box::new(group(db, keys, row, *id)?))),
        Standing::Ended => {
            let group_row = row.get(0)?;
            Ok(GroupLookup::Ended(GroupEnd {
                id: *id,
                by: handle(row, 6, group_row)?,
                at: from_sql(row.get(7)?),
            }))
        }
        _ => Ok(GroupLookup::Unknown),
    }
}

fn group(
    db: &Connection,
    keys: &ColumnKeys,
    row: &Row<'_>,
    id: LocalConversation,
) -> Result<Group, StateError> {
    let group_row = row.get(0)?;
    let sealed: Vec<u8> = row.get(8)?;
    Ok(Group {
        id,
        profile: StoredProfile::open(keys, group_row, &sealed)?.shown(),
        created_by: handle(row, 3, group_row)?,
        created_at: from_sql(row.get(4)?),
        last_message_at: row.get::<_, Option<i64>>(9)?.map(from_sql),
        your_role: role(row.get(5)?),
        members: members(db, group_row)?,
    })
}

fn handle(row: &Row<'_>, column: usize, group_row: i64) -> Result<Handle, StateError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| damaged(group_row))
}

fn members(db: &Connection, group_row: i64) -> Result<Vec<GroupMember>, StateError> {
    let mut statement = db.prepare_cached(
        "SELECT m.handle, m.role, m.joined_at, m.confirmed, p.trust, p.changed, p.identity = m.identity, \
         m.own \
         FROM grp_member m LEFT JOIN peer p ON p.handle = m.handle \
         WHERE m.group_row = ?1 ORDER BY m.place, m.handle",
    )?;
    let mut rows = statement.query([group_row])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let pinned: Option<bool> = row.get(6)?;
        let trust = match pinned {
            _ if row.get(7)? => Trust::Verified,
            None => Trust::New,
            Some(false) => Trust::Changed,
            Some(true) => Pin::from_number(row.get(4)?).trust(row.get::<_, Option<Vec<u8>>>(5)?.is_some()),
        };
        members.push(GroupMember {
            handle: handle(row, 0, group_row)?,
            role: role(row.get(1)?),
            joined_at: from_sql(row.get(2)?),
            trust,
            confirmed_epoch: row.get::<_, Option<i64>>(3)?.map(from_sql),
        });
    }
    Ok(members)
}

impl Store {
    /// Identity and handle of every member.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn roster_handles(&self, group_row: i64) -> Result<Vec<(IdentityKey, Handle)>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT handle, identity FROM grp_member WHERE group_row = ?1 ORDER BY place")?;
        let mut rows = statement.query([group_row])?;
        let mut members = Vec::new();
        while let Some(row) = rows.next()? {
            let identity: Vec<u8> = row.get(1)?;
            let identity = IdentityKey::from_prefixed(&identity).ok_or_else(|| damaged(group_row))?;
            members.push((identity, handle(row, 0, group_row)?));
        }
        Ok(members)
    }
}

/// Handles of the other members.
pub(super) fn others(db: &Connection, group_row: i64) -> Result<Vec<String>, StateError> {
    let mut statement = db.prepare_cached(
        "SELECT handle FROM grp_member WHERE group_row = ?1 AND own = 0 ORDER BY place, handle",
    )?;
    let rows = statement.query_map([group_row], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn security(db: &Connection, id: &LocalConversation) -> Result<Option<GroupSecurity>, StateError> {
    let mut statement = db.prepare_cached(GROUP)?;
    let mut rows = statement.query([id.id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if Standing::from_number(row.get(2)?) != Standing::Member {
        return Ok(None);
    }
    let group_row = row.get(0)?;
    let since: Option<i64> = row.get(14)?;
    let kind = match row.get(13)? {
        1 => Some(DebtKind::Soft),
        2 => Some(DebtKind::Hard),
        _ => None,
    };
    Ok(Some(GroupSecurity {
        epoch: from_sql(row.get(10)?),
        roster_head: Hash::from_bytes(row.get(11)?),
        roster_length: from_sql(row.get(12)?),
        members: members(db, group_row)?,
        debt: kind.zip(since.map(from_sql)),
        confidential_from_relay: !row.get::<_, bool>(15)?,
        forked: row.get::<_, i64>(16)? == 1,
        confirmation: confirmation(db, group_row)?,
        unconfirmed: unconfirmed(db, group_row, from_sql(row.get(10)?))?,
    }))
}

fn invitations(db: &Connection, keys: &ColumnKeys) -> Result<Vec<Invitation>, StateError> {
    let mut statement = db.prepare_cached(&format!("{INVITATION} WHERE {WAITS} ORDER BY invite_row"))?;
    let mut inviter = db.prepare_cached("SELECT handle FROM peer WHERE peer_id = ?1")?;
    let mut rows = statement.query([])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let found = invitation_row(row, keys)?;
        let handle: String = inviter.query_row([found.peer_id], |row| row.get(0))?;
        let group: GroupId = found.group;
        list.push(Invitation {
            id: found.id,
            group: LocalConversation::group(&group),
            group_id: group,
            name: found.name,
            inviter: handle.parse().map_err(|_| StateError::Damaged {
                table: "peer",
                row: found.peer_id,
            })?,
            received_at: found.received_at,
        });
    }
    Ok(list)
}

impl Store {
    /// A group that this agent is a member of.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group_view(&self, id: &LocalConversation) -> Result<Option<Group>, StateError> {
        Ok(match lookup(&self.db, &self.keys, id)? {
            GroupLookup::Member(group) => Some(*group),
            _ => None,
        })
    }
}

#[cfg(test)]
impl Store {
    /// What the agent is told about the security of a group, uncommitted changes included.
    pub(crate) fn group_security(&self, id: &LocalConversation) -> Option<GroupSecurity> {
        security(&self.db, id).unwrap()
    }
}

impl Reader {
    /// Every group that this agent is a member of.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn member_groups(&self) -> Result<Vec<LocalConversation>, StateError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT group_id FROM grp WHERE standing = 2 ORDER BY group_row")?;
        let ids = statement.query_map([], |row| {
            Ok(LocalConversation::group(&GroupId::from_bytes(row.get(0)?)))
        })?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// What a group id names.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group(&self, id: &LocalConversation) -> Result<GroupLookup, StateError> {
        lookup(&self.db(), &self.keys, id)
    }

    /// How a group is secured; `None` unless this agent is a member.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group_security(&self, id: &LocalConversation) -> Result<Option<GroupSecurity>, StateError> {
        security(&self.db(), id)
    }

    /// Invites that wait for the agent's decision, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn invitations(&self) -> Result<Vec<Invitation>, StateError> {
        invitations(&self.db(), &self.keys)
    }
}
