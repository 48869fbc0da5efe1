//! Contacts and blocks, and what the relay has to be told of them.

use rand_core::CryptoRng;
use rusqlite::{Connection, Row, params};
use waxwire_shared::ids::Handle;

use super::{ColumnKeys, PeerRow, Pin, Reader, StateError, Store, from_sql, to_sql};
use crate::model::{Contact, ContactPage, Profile, UnixMs};

const TABLE: &str = "contact";

/// Something of this agent that the relay holds, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Whether a peer is a contact.
    Contact(i64),
    /// Whether a peer is blocked.
    Block(i64),
    /// The own profile.
    Profile,
}

impl Subject {
    const fn numbers(self) -> [i64; 2] {
        match self {
            Self::Contact(peer_id) => [1, peer_id],
            Self::Block(peer_id) => [2, peer_id],
            Self::Profile => [3, 0],
        }
    }

    const fn from_numbers(subject: i64, peer_id: i64) -> Self {
        match subject {
            1 => Self::Contact(peer_id),
            2 => Self::Block(peer_id),
            _ => Self::Profile,
        }
    }
}

const SELECT: &str = "SELECT c.peer_id, p.handle, c.added_at, c.sealed, f.display_name, f.description \
                      FROM contact c JOIN peer p USING (peer_id) LEFT JOIN peer_profile f USING (peer_id)";

fn contact(row: &Row<'_>, keys: &ColumnKeys) -> Result<Contact, StateError> {
    let peer_id = row.get(0)?;
    let damaged = || StateError::Damaged {
        table: TABLE,
        row: peer_id,
    };
    let handle: String = row.get(1)?;
    let notes = match row.get::<_, Option<Vec<u8>>>(3)? {
        Some(sealed) => {
            let notes = keys.open(TABLE, peer_id, &sealed)?;
            Some(String::from_utf8(notes.to_vec()).map_err(|_| damaged())?)
        }
        None => None,
    };
    Ok(Contact {
        handle: handle.parse().map_err(|_| damaged())?,
        added_at: from_sql(row.get(2)?),
        notes,
        profile: Profile {
            display_name: row.get(4)?,
            description: row.get(5)?,
        },
    })
}

fn find(db: &Connection, keys: &ColumnKeys, handle: &Handle) -> Result<Option<Contact>, StateError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE p.handle = ?1"))?;
    let mut rows = statement.query([handle.as_str()])?;
    rows.next()?.map(|row| contact(row, keys)).transpose()
}

impl Store {
    /// Makes a peer a contact; one that is stays as it is.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_contact(&self, peer_id: i64, now: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached("INSERT INTO contact(peer_id, added_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![peer_id, to_sql(now)])?;
        Ok(())
    }

    /// Notes something about a contact; false if there is no such contact.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_contact_notes(
        &self,
        rng: &mut dyn CryptoRng,
        peer_id: i64,
        notes: Option<&str>,
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let sealed = notes.map(|notes| self.keys.seal(rng, TABLE, peer_id, now, notes.as_bytes()));
        let changed = self
            .db
            .prepare_cached("UPDATE contact SET sealed = ?2 WHERE peer_id = ?1")?
            .execute(params![peer_id, sealed])?;
        Ok(changed == 1)
    }

    /// Makes a peer no contact; false if it was none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_contact(&self, peer_id: i64) -> Result<bool, StateError> {
        let removed = self
            .db
            .prepare_cached("DELETE FROM contact WHERE peer_id = ?1")?
            .execute([peer_id])?;
        Ok(removed == 1)
    }

    /// Whether a peer is a contact.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_contact(&self, peer_id: i64) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT EXISTS(SELECT 1 FROM contact WHERE peer_id = ?1)")?;
        Ok(statement.query_row([peer_id], |row| row.get(0))?)
    }

    /// The contact with a handle.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn contact(&self, handle: &Handle) -> Result<Option<Contact>, StateError> {
        find(&self.db, &self.keys, handle)
    }

    /// Blocks a peer; its trust waits until the block is lifted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn block_peer(&self, peer: &mut PeerRow, now: UnixMs) -> Result<(), StateError> {
        if peer.pin == Pin::Blocked {
            return Ok(());
        }
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO peer_block(peer_id, trust, blocked_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![peer.peer_id, peer.pin.number(), to_sql(now)])?;
        peer.pin = Pin::Blocked;
        self.put_peer(peer)?;
        Ok(())
    }

    /// Lifts a block: the peer is trusted as before.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unblock_peer(&self, peer: &mut PeerRow) -> Result<(), StateError> {
        if peer.pin != Pin::Blocked {
            return Ok(());
        }
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM peer_block WHERE peer_id = ?1 RETURNING trust")?;
        let mut rows = statement.query([peer.peer_id])?;
        peer.pin = match rows.next()? {
            Some(row) => Pin::from_number(row.get(0)?),
            None => Pin::Tofu,
        };
        drop(rows);
        self.put_peer(peer)?;
        Ok(())
    }

    /// Whether anything was ever visible in a direct conversation with a peer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn has_conversed(&self, peer_id: i64) -> Result<bool, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM conversation WHERE peer_id = ?1 AND kind = 1 AND next_seq > 1)",
        )?;
        Ok(statement.query_row([peer_id], |row| row.get(0))?)
    }

    /// Remembers what the relay last said of a peer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_peer_profile(&self, peer_id: i64, profile: &Profile) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO peer_profile(peer_id, display_name, description) VALUES (?1, ?2, ?3) \
                 ON CONFLICT(peer_id) DO UPDATE SET display_name = ?2, description = ?3",
            )?
            .execute(params![peer_id, profile.display_name, profile.description])?;
        Ok(())
    }

    /// What the relay last said of a peer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn peer_profile(&self, peer_id: i64) -> Result<Profile, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT display_name, description FROM peer_profile WHERE peer_id = ?1")?;
        let mut rows = statement.query([peer_id])?;
        Ok(match rows.next()? {
            Some(row) => Profile {
                display_name: row.get(0)?,
                description: row.get(1)?,
            },
            None => Profile::default(),
        })
    }

    /// Notes that the relay holds an older state of a subject.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_undeclared(&self, subject: Subject) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO undeclared(subject, peer_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?
            .execute(subject.numbers())?;
        Ok(())
    }

    /// Notes that the relay has the present state of a subject.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_undeclared(&self, subject: Subject) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM undeclared WHERE subject = ?1 AND peer_id = ?2")?
            .execute(subject.numbers())?;
        Ok(())
    }

    /// What the relay has to be told.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn undeclared(&self) -> Result<Vec<Subject>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT subject, peer_id FROM undeclared")?;
        let rows = statement.query_map([], |row| Ok(Subject::from_numbers(row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Reader {
    /// Contacts by handle.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn contacts(&self, limit: usize, offset: usize) -> Result<ContactPage, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!("{SELECT} ORDER BY p.handle LIMIT ?1 OFFSET ?2"))?;
        let mut rows = statement.query([to_sql(limit as u64), to_sql(offset as u64)])?;
        let mut contacts = Vec::new();
        while let Some(row) = rows.next()? {
            contacts.push(contact(row, &self.keys)?);
        }
        let total = db.query_row("SELECT count(*) FROM contact", [], |row| row.get(0))?;
        Ok(ContactPage {
            contacts,
            total: from_sql(total),
        })
    }

    /// The contact with a handle.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn contact(&self, handle: &Handle) -> Result<Option<Contact>, StateError> {
        find(&self.db(), &self.keys, handle)
    }
}
