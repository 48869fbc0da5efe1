//! How many rows statements walk over because no index leads them to those that they want. For tests.

use std::{cell::RefCell, collections::HashMap};

use rusqlite::{
    StatementStatus,
    trace::{TraceEvent, TraceEventCodes},
};

use super::Store;

#[derive(Default)]
struct Scans {
    /// What SQLite has counted for a statement since it was prepared.
    counted: HashMap<String, i32>,
    /// Of that, since the last look.
    rows: HashMap<String, i32>,
}

thread_local! {
    static SCANS: RefCell<Scans> = RefCell::default();
}

fn note(event: TraceEvent<'_>) {
    let TraceEvent::Profile(statement, _) = event else {
        return;
    };
    let now = statement.get_status(StatementStatus::FullscanStep);
    SCANS.with_borrow_mut(|scans| {
        let sql = statement.sql().into_owned();
        let before = scans.counted.insert(sql.clone(), now).unwrap_or_default();
        // Less than before: it was prepared anew.
        *scans.rows.entry(sql).or_default() += if now < before { now } else { now - before };
    });
}

impl Store {
    /// Counts from now on, for this thread; one store at a time.
    pub(crate) fn watch_scans(&self) {
        SCANS.take();
        self.db
            .trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note));
    }
}

/// Rows that were walked over since the last look, by statement.
pub(crate) fn taken() -> HashMap<String, i32> {
    SCANS.with_borrow_mut(|scans| std::mem::take(&mut scans.rows))
}
