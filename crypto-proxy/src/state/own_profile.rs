//! What the agent has set of itself.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Reader, StateError, Store, from_sql, to_sql};
use crate::model::{InboxMode, InvitePolicy, OwnProfile, Profile, UnixMs};

const OPEN: i64 = 1;
const CONTACTS_ONLY: i64 = 2;

fn read(db: &Connection) -> Result<OwnProfile, StateError> {
    let mut statement = db.prepare_cached(
        "SELECT display_name, description, listed, inbox_mode, invite_policy, updated_at FROM own_profile",
    )?;
    let found = statement
        .query_row([], |row| {
            Ok(OwnProfile {
                profile: Profile {
                    display_name: row.get(0)?,
                    description: row.get(1)?,
                },
                listed: row.get(2)?,
                inbox_mode: row.get::<_, Option<i64>>(3)?.map(|mode| match mode {
                    CONTACTS_ONLY => InboxMode::ContactsOnly,
                    _ => InboxMode::Open,
                }),
                invite_policy: match row.get(4)? {
                    CONTACTS_ONLY => InvitePolicy::ContactsOnly,
                    _ => InvitePolicy::Open,
                },
                updated_at: Some(from_sql(row.get(5)?)),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

impl Store {
    /// What the agent has set of itself.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_profile(&self) -> Result<OwnProfile, StateError> {
        read(&self.db)
    }

    /// Sets all of it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_own_profile(&self, own: &OwnProfile, now: UnixMs) -> Result<(), StateError> {
        let inbox_mode = own.inbox_mode.map(|mode| match mode {
            InboxMode::Open => OPEN,
            InboxMode::ContactsOnly => CONTACTS_ONLY,
        });
        let invite_policy = match own.invite_policy {
            InvitePolicy::Open => OPEN,
            InvitePolicy::ContactsOnly => CONTACTS_ONLY,
        };
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO own_profile(id, display_name, description, listed, inbox_mode, \
                 invite_policy, updated_at) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                own.profile.display_name,
                own.profile.description,
                own.listed,
                inbox_mode,
                invite_policy,
                to_sql(now)
            ])?;
        Ok(())
    }
}

impl Reader {
    /// What the agent has set of itself.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_profile(&self) -> Result<OwnProfile, StateError> {
        read(&self.db())
    }
}
