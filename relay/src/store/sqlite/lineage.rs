//! Which course of events the file holds.

use rusqlite::{Connection, OptionalExtension as _};

use super::{SqliteStore, batch::Transaction, sql, writer::set_counter};
use crate::store::{
    WriteError,
    lineage::{LINEAGE, Lineage, Noted, OVER, REACHES},
};

/// The ends of the reserves of ids lie a little ahead of the newest envelope, and are found at once.
const LATEST: &str = "SELECT coalesce(max(value), 0) FROM counter WHERE name LIKE 'ids_reserved_until_ms%'";
const FORGET_LOG: &str = "
    DELETE FROM transparency_head; DELETE FROM transparency_node; DELETE FROM transparency_leaf;
    DELETE FROM transparency_due; DELETE FROM transparency_log";

fn counter(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = connection
        .prepare_cached(sql::COUNTER)?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.map(i64::cast_unsigned))
}

fn lineage(tx: &Transaction<'_>, candidate: u64) -> rusqlite::Result<Lineage> {
    let connection = tx.connection;
    let noted = Noted {
        lineage: counter(connection, LINEAGE)?,
        reaches: counter(connection, REACHES)?.unwrap_or_default(),
        over: counter(connection, OVER)?.unwrap_or_default() != 0,
        place: None,
    };
    if let Some(lineage) = noted.goes_on(None) {
        return Ok(lineage);
    }
    let is_new = noted.lineage.is_some();
    let mut reaches = 0;
    if is_new {
        let latest: i64 = connection.query_row(LATEST, [], |row| row.get(0))?;
        reaches = latest.cast_unsigned();
        connection.execute_batch(FORGET_LOG)?;
    }
    for (name, value) in [(LINEAGE, candidate), (REACHES, reaches), (OVER, 0)] {
        set_counter(connection, name, value)?;
    }
    Ok(Lineage {
        id: candidate,
        reaches,
        is_new,
    })
}

/// Marks a copy of a database, which nobody has opened, as what it is.
pub(super) fn end_in(connection: &Connection) -> rusqlite::Result<()> {
    set_counter(connection, OVER, 1)
}

impl SqliteStore {
    pub(in crate::store) async fn lineage(&self, candidate: u64) -> Result<Lineage, WriteError> {
        self.write(move |tx| lineage(tx, candidate)).await
    }

    pub(in crate::store) async fn end_lineage(&self) -> Result<(), WriteError> {
        self.write(|tx| end_in(tx.connection)).await
    }
}
