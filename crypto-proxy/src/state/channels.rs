//! Named channels: which group a slug names for this agent.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use waxwire_shared::ids::{GroupId, Handle};

use super::{
    ColumnKeys, GroupRow, Reader, Standing, StateError, Store, from_sql, groups::StoredProfile, to_sql,
};
use crate::model::{Channel, LocalConversation};

const CHANNEL: &str = "SELECT channel.slug, grp.group_row, grp.group_id, grp.is_open, grp.members, grp.sealed, \
                       grp.standing FROM channel JOIN grp USING (group_row)";

fn channel(row: &Row<'_>, keys: &ColumnKeys) -> Result<Channel, StateError> {
    let group_row = row.get(1)?;
    let slug: String = row.get(0)?;
    let sealed: Vec<u8> = row.get(5)?;
    Ok(Channel {
        id: LocalConversation::group(&GroupId::from_bytes(row.get(2)?)),
        slug: parse(&slug, group_row)?,
        name: StoredProfile::open(keys, group_row, &sealed)?.shown().name,
        open: row.get(3)?,
        joined: Standing::from_number(row.get(6)?) == Standing::Member,
        members: from_sql(row.get(4)?),
    })
}

fn parse(slug: &str, group_row: i64) -> Result<Handle, StateError> {
    slug.parse().map_err(|_| StateError::Damaged {
        table: "channel",
        row: group_row,
    })
}

fn one(db: &Connection, keys: &ColumnKeys, slug: &Handle) -> Result<Option<Channel>, StateError> {
    let mut statement = db.prepare_cached(&format!("{CHANNEL} WHERE slug = ?1"))?;
    let mut rows = statement.query([slug.as_str()])?;
    rows.next()?.map(|row| channel(row, keys)).transpose()
}

impl Store {
    /// The group that a slug names for this agent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn channel_group(&self, slug: &Handle) -> Result<Option<GroupRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT group_row FROM channel WHERE slug = ?1")?;
        let row = statement
            .query_row([slug.as_str()], |row| row.get(0))
            .optional()?;
        row.map(|row| self.group_by_row(row)).transpose()
    }

    /// The slug that names a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn slug_of(&self, group_row: i64) -> Result<Option<Handle>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT slug FROM channel WHERE group_row = ?1")?;
        let slug: Option<String> = statement.query_row([group_row], |row| row.get(0)).optional()?;
        slug.map(|slug| parse(&slug, group_row)).transpose()
    }

    /// A slug names a group from now on, and that group has no other one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn pin_channel(&self, slug: &Handle, group_row: i64) -> Result<(), StateError> {
        self.unpin_channel(group_row)?;
        self.db
            .prepare_cached(
                "INSERT INTO channel(slug, group_row) VALUES (?1, ?2) \
                 ON CONFLICT(slug) DO UPDATE SET group_row = ?2",
            )?
            .execute(params![slug.as_str(), group_row])?;
        Ok(())
    }

    /// No slug names a group any more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unpin_channel(&self, group_row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM channel WHERE group_row = ?1")?
            .execute([group_row])?;
        Ok(())
    }
}

impl Reader {
    /// What a slug names for this agent, member or not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn channel(&self, slug: &Handle) -> Result<Option<Channel>, StateError> {
        one(&self.db(), &self.keys, slug)
    }

    /// Channels that this agent is a member of, by slug, after one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn channels(&self, after: &str, limit: usize) -> Result<Vec<Channel>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "{CHANNEL} WHERE slug > ?1 AND standing = 2 ORDER BY slug LIMIT ?2"
        ))?;
        let mut rows = statement.query(params![after, to_sql(limit as u64)])?;
        let mut channels = Vec::new();
        while let Some(row) = rows.next()? {
            channels.push(channel(row, &self.keys)?);
        }
        Ok(channels)
    }
}
