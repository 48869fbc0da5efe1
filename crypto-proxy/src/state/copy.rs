//! The rows of a database that a backup holds, out of one and into another (docs/protocol.md, 8.3).
//!
//! [`TABLES`] says of every table what becomes of it; a table that is not named there is not copied, and a
//! test names it. Content columns stay sealed: the key to them is in the backup, too.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::Path};

use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value, types::ValueRef};
use zeroize::Zeroizing;

use super::{FILE, MIGRATIONS, StateError, configure};

/// Migrations that this program knows.
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// What a backup has of a table.
enum Part {
    /// All of it.
    All,
    /// What this query gives; `{history}` becomes whether the history is wanted.
    Some(&'static str),
    /// Nothing: it is of this instance only, or would give away what must not be in a backup.
    Nothing,
}

/// Whether a message is copied. Own ones that were never stored are not; neither is, without history, what
/// the agent has taken already.
macro_rules! kept_message {
    () => {
        "status <> 1 AND ({history} OR hold <> 0 OR (delivery IS NOT NULL AND delivered_at IS NULL))"
    };
}

/// Every table, so that a row comes after those that it refers to.
const TABLES: &[(&str, Part)] = &[
    // What was offered names a key that is not in the backup.
    (
        "meta",
        Part::Some("SELECT * FROM meta WHERE key NOT IN ('own_bundle_offered', 'own_session', 'leased_at')"),
    ),
    ("peer", Part::All),
    ("peer_former", Part::All),
    ("expected", Part::All),
    ("peer_block", Part::All),
    ("peer_profile", Part::All),
    ("contact", Part::All),
    ("mute", Part::All),
    ("own_profile", Part::All),
    ("undeclared", Part::All),
    ("conversation", Part::All),
    (
        "message",
        Part::Some(concat!("SELECT * FROM message WHERE ", kept_message!())),
    ),
    // Of a message that is not copied, its id still leads to the envelope that the relay may hold.
    (
        "sent_id",
        Part::Some(concat!(
            "SELECT tag, coalesce((SELECT message_row FROM message WHERE message_row = sent_id.message_row AND ",
            kept_message!(),
            "), 0) AS message_row, coalesce(abandoned, (SELECT envelope_hash FROM message WHERE message_row = \
         sent_id.message_row)) AS abandoned FROM sent_id"
        )),
    ),
    // Their names are those of own messages.
    (
        "upload",
        Part::Some("SELECT * FROM upload WHERE stage = 3 AND {history}"),
    ),
    ("outbox", Part::Nothing),
    ("withdrawn", Part::Nothing),
    ("inbound_session", Part::All),
    ("inbound_void", Part::All),
    // The relay knows what was acknowledged, also after the backup was made.
    ("cursor", Part::Nothing),
    ("missing", Part::All),
    // Sealed to keys that are not in the backup.
    ("held", Part::Nothing),
    ("alert", Part::All),
    ("grp", Part::All),
    ("channel", Part::All),
    ("grp_commit", Part::All),
    ("grp_evidence", Part::All),
    ("grp_member", Part::All),
    ("grp_receipt", Part::All),
    ("confirmation", Part::All),
    ("confirmation_of", Part::All),
    ("grp_pending", Part::Nothing),
    // What was signed before the new incarnation proves nothing against it.
    ("grp_refused", Part::Nothing),
    ("grp_leaves", Part::All),
    // Without chains nothing of an epoch can be read any more: whoever wrote under it is asked.
    (
        "epoch",
        Part::Some(
            "SELECT epoch_row, group_row, epoch, position, leaf_index, max(state, 3) AS state, noted_at FROM epoch",
        ),
    ),
    ("chain", Part::Nothing),
    ("skipped_key", Part::Nothing),
    ("grp_held", Part::Nothing),
    ("invitation", Part::All),
    ("grant_due", Part::All),
    // Whoever misses something asks again.
    ("answer", Part::Nothing),
    // The messages among it wait in the inbox; receivers are told what comes from then on.
    ("webhook", Part::All),
    ("webhook_event", Part::Nothing),
    ("log_head", Part::All),
    ("log_unsettled", Part::All),
    ("log_scan", Part::All),
    ("log_own", Part::All),
    ("log_evidence", Part::All),
    ("log_former", Part::All),
    ("own_bundle", Part::All),
];

/// What [`export`] gives.
#[derive(Debug)]
pub enum Exported {
    /// The rows that follow are of this table.
    Table {
        /// Its name.
        name: &'static str,
        /// Names of the columns.
        columns: Vec<String>,
    },
    /// A row.
    Row {
        /// The table.
        table: &'static str,
        /// Its values, encoded.
        values: Zeroizing<Vec<u8>>,
    },
}

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;

/// Gives what a backup holds of the database in `folder`, as it is at one moment; it may be in use.
///
/// # Errors
/// [`StateError`], and whatever `take` refuses.
pub fn export<E: From<StateError>>(
    folder: &Path,
    history: bool,
    mut take: impl FnMut(Exported) -> Result<(), E>,
) -> Result<(), E> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Err(StateError::Missing(path).into());
    }
    let db =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(StateError::from)?;
    db.pragma_update(None, "busy_timeout", 5_000)
        .and_then(|()| db.pragma_update(None, "query_only", true))
        .map_err(StateError::from)?;
    let found: i64 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(StateError::from)?;
    let known = i64::from(SCHEMA);
    if found != known {
        return Err(StateError::TooNew { found, known }.into());
    }
    // The first statement in it fixes what all of them see.
    db.execute_batch("BEGIN").map_err(StateError::from)?;
    for &(table, ref part) in TABLES {
        let query = match part {
            Part::All => format!("SELECT * FROM {table}"),
            Part::Some(query) => query.replace("{history}", if history { "1" } else { "0" }),
            Part::Nothing => continue,
        };
        let mut statement = db.prepare(&query).map_err(StateError::from)?;
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let count = columns.len();
        take(Exported::Table { name: table, columns })?;
        let mut rows = statement.query([]).map_err(StateError::from)?;
        while let Some(row) = rows.next().map_err(StateError::from)? {
            let values = encode(row, count).map_err(StateError::from)?;
            take(Exported::Row { table, values })?;
        }
    }
    Ok(())
}

fn encode(row: &Row<'_>, count: usize) -> rusqlite::Result<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::new());
    for column in 0..count {
        let (kind, bytes) = match row.get_ref(column)? {
            ValueRef::Null => {
                out.push(NULL);
                continue;
            }
            ValueRef::Integer(integer) => {
                out.push(INTEGER);
                out.extend_from_slice(&integer.to_be_bytes());
                continue;
            }
            ValueRef::Text(text) => (TEXT, text),
            ValueRef::Blob(blob) => (BLOB, blob),
            // No column holds one.
            ValueRef::Real(_) => return Err(rusqlite::Error::InvalidQuery),
        };
        let length = u32::try_from(bytes.len()).map_err(|_| rusqlite::Error::InvalidQuery)?;
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    }
    Ok(out)
}

/// A database that is being filled from a backup. Nothing of it is there before [`Import::finish`].
#[derive(Debug)]
pub struct Import {
    db: Connection,
    insert: Option<(String, usize)>,
}

impl Import {
    /// Makes an empty database of the given schema in `folder`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin(folder: &Path, schema: u32) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StateError::Create {
                path: path.clone(),
                source,
            })?;
        let db = Connection::open(path)?;
        configure(&db)?;
        db.execute_batch("BEGIN IMMEDIATE")?;
        for migration in MIGRATIONS.iter().take(schema as usize) {
            db.execute_batch(migration)?;
        }
        db.pragma_update(None, "user_version", schema)?;
        Ok(Self { db, insert: None })
    }

    /// The rows that follow are of this table.
    ///
    /// # Errors
    /// [`StateError::Foreign`] for a table or column that a backup does not hold.
    pub fn table(&mut self, name: &str, columns: &[String]) -> Result<(), StateError> {
        let copied = |(table, part): &(&str, Part)| *table == name && !matches!(part, Part::Nothing);
        if !TABLES.iter().any(copied) || columns.is_empty() {
            return Err(StateError::Foreign);
        }
        let mut known = self
            .db
            .prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")?;
        for column in columns {
            if !known.exists([name, column])? {
                return Err(StateError::Foreign);
            }
        }
        let places = vec!["?"; columns.len()].join(", ");
        let names = columns.join(", ");
        let sql = format!("INSERT INTO {name}({names}) VALUES ({places})");
        self.insert = Some((sql, columns.len()));
        Ok(())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`StateError::Foreign`] for values that do not fit the table; the database's own.
    pub fn row(&mut self, values: &[u8]) -> Result<(), StateError> {
        let (sql, count) = self.insert.as_ref().ok_or(StateError::Foreign)?;
        let values = decode(values).filter(|values| values.len() == *count);
        let values = values.ok_or(StateError::Foreign)?;
        self.db.prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// [`StateError::Foreign`] if rows refer to others that are missing; the database's own.
    pub fn finish(self) -> Result<(), StateError> {
        if self.db.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err(StateError::Foreign);
        }
        Ok(self.db.execute_batch("COMMIT")?)
    }
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        values.push(match *kind {
            NULL => Value::Null,
            INTEGER => {
                let (integer, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Value::Integer(i64::from_be_bytes(*integer))
            }
            TEXT | BLOB => {
                let (length, rest) = bytes.split_first_chunk()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (content, rest) = rest.split_at_checked(length)?;
                bytes = rest;
                if *kind == TEXT {
                    Value::Text(String::from_utf8(content.to_vec()).ok()?)
                } else {
                    Value::Blob(content.to_vec())
                }
            }
            _ => return None,
        });
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that nobody thought of is neither copied nor forgotten.
    #[test]
    fn every_table_is_decided_upon() {
        let db = Connection::open_in_memory().unwrap();
        for migration in MIGRATIONS {
            db.execute_batch(migration).unwrap();
        }
        let mut statement = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let mut found: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut named: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        found.sort();
        named.sort_unstable();
        assert_eq!(found, named);
    }

    #[test]
    fn values_round_trip_and_refuse_any_cut() {
        let db = Connection::open_in_memory().unwrap();
        let mut statement = db.prepare("SELECT NULL, -5, 'text', x'00ff', ''").unwrap();
        let mut rows = statement.query([]).unwrap();
        let values = encode(rows.next().unwrap().unwrap(), 5).unwrap();
        let expected = [
            Value::Null,
            Value::Integer(-5),
            Value::Text("text".into()),
            Value::Blob(vec![0, 255]),
            Value::Text(String::new()),
        ];
        assert_eq!(decode(&values).unwrap(), expected);
        for cut in 0..values.len() {
            assert_ne!(decode(&values[..cut]), Some(expected.to_vec()), "{cut}");
        }
        assert_eq!(decode(&[9]), None);
    }
}
