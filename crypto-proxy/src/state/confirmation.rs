//! Whose confirmation of an epoch the agent requires before it sends in a group.

use rusqlite::{Connection, OptionalExtension as _, params};
use waxwire_shared::ids::Handle;

use super::{StateError, Store, to_sql};
use crate::model::{Confirmation, Required};

/// What is required in a group.
pub(super) fn confirmation(db: &Connection, group_row: i64) -> Result<Confirmation, StateError> {
    let mut statement =
        db.prepare_cached("SELECT required, confirms FROM confirmation WHERE group_row = ?1")?;
    let row = statement
        .query_row([group_row], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    let Some((required, confirms)) = row else {
        return Ok(Confirmation::default());
    };
    let required = match required {
        0 => Required::Nobody,
        1 => Required::Everybody,
        _ => Required::Listed(handles(
            db,
            "SELECT handle FROM confirmation_of WHERE group_row = ?1 AND ?2 >= 0 ORDER BY handle",
            group_row,
            0,
        )?),
    };
    Ok(Confirmation { required, confirms })
}

/// Members whose confirmation of an epoch is required and has not come, as they joined.
pub(super) fn unconfirmed(db: &Connection, group_row: i64, epoch: u64) -> Result<Vec<Handle>, StateError> {
    handles(
        db,
        "SELECT m.handle FROM grp_member m JOIN confirmation c USING (group_row) \
         WHERE m.group_row = ?1 AND m.own = 0 AND coalesce(m.confirmed, 0) < ?2 AND (c.required = 1 \
         OR c.required = 2 AND m.handle IN (SELECT handle FROM confirmation_of o WHERE o.group_row = ?1)) \
         ORDER BY m.place, m.handle",
        group_row,
        epoch,
    )
}

fn handles(db: &Connection, query: &str, group_row: i64, epoch: u64) -> Result<Vec<Handle>, StateError> {
    let mut statement = db.prepare_cached(query)?;
    let rows = statement.query_map([group_row, to_sql(epoch)], |row| row.get::<_, String>(0))?;
    let damaged = |_| StateError::Damaged {
        table: "confirmation",
        row: group_row,
    };
    rows.map(|text| text?.parse().map_err(damaged)).collect()
}

impl Store {
    /// What is required in a group from now on.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_confirmation(&self, group_row: i64, wanted: &Confirmation) -> Result<(), StateError> {
        let (required, listed): (i64, &[Handle]) = match &wanted.required {
            Required::Nobody => (0, &[]),
            Required::Everybody => (1, &[]),
            Required::Listed(handles) => (2, handles),
        };
        self.db
            .prepare_cached("DELETE FROM confirmation_of WHERE group_row = ?1")?
            .execute([group_row])?;
        self.db
            .prepare_cached(
                "INSERT INTO confirmation(group_row, required, confirms) VALUES (?1, ?2, ?3) \
                 ON CONFLICT(group_row) DO UPDATE SET required = ?2, confirms = ?3",
            )?
            .execute(params![group_row, required, wanted.confirms])?;
        let mut statement = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO confirmation_of(group_row, handle) VALUES (?1, ?2)")?;
        for handle in listed {
            statement.execute(params![group_row, handle.as_str()])?;
        }
        Ok(())
    }

    /// Members whose confirmation of an epoch is required and has not come.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unconfirmed_members(&self, group_row: i64, epoch: u64) -> Result<Vec<Handle>, StateError> {
        unconfirmed(&self.db, group_row, epoch)
    }

    /// If this agent confirms epochs of a group by itself, it owes the others something signed: the profile that is
    /// kept, once more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_confirmation(&self, group_row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE grp SET profile_due = 2 WHERE group_row = ?1 AND profile_due = 0 \
                 AND EXISTS (SELECT 1 FROM confirmation c WHERE c.group_row = ?1 AND c.confirms)",
            )?
            .execute([group_row])?;
        Ok(())
    }
}
