//! When something that waits is due. What the outbox waits for is known without asking, as is the last number that
//! it gave out: as an index and a row they would be written with every envelope, and again when it goes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use super::{StateError, Store, from_sql};
use crate::model::{SendToken, UnixMs};

/// Read from the outbox when first asked, and again after a transaction was rolled back.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    waiting: RefCell<Option<BTreeSet<(UnixMs, SendToken)>>>,
    /// Never lower than it was: an answer to an envelope that is gone must not be taken for another's.
    last: Cell<SendToken>,
}

impl Deadlines {
    /// They are read again.
    pub(super) fn forget(&self) {
        self.waiting.replace(None);
    }
}

/// See [`Store::waiting`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Since when a message waits for a hole in its author's numbers.
    pub gap: Option<UnixMs>,
    /// When a missing number is asked for.
    pub missing: Option<UnixMs>,
    /// When an answer is given.
    pub answer: Option<UnixMs>,
    /// Since when a message cites a commit that the relay does not show.
    pub unknown_head: Option<UnixMs>,
}

impl Store {
    fn with_deadlines<T>(
        &self,
        act: impl FnOnce(&mut BTreeSet<(UnixMs, SendToken)>) -> T,
    ) -> Result<T, StateError> {
        let mut waiting = self.deadlines.waiting.borrow_mut();
        if let Some(waiting) = &mut *waiting {
            return Ok(act(waiting));
        }
        let mut statement = self.db.prepare_cached("SELECT deadline, token FROM outbox")?;
        let rows = statement.query_map([], |row| Ok((from_sql(row.get(0)?), from_sql(row.get(1)?))))?;
        let read = rows.collect::<Result<BTreeSet<_>, _>>()?;
        let highest = read.iter().map(|(_, token)| *token).max().unwrap_or(0);
        self.deadlines.last.set(self.deadlines.last.get().max(highest));
        Ok(act(waiting.insert(read)))
    }

    /// The number of the next envelope.
    pub(super) fn next_token(&self) -> Result<SendToken, StateError> {
        self.with_deadlines(|_| ())?;
        let token = self.deadlines.last.get() + 1;
        self.deadlines.last.set(token);
        Ok(token)
    }

    /// Notes until when an envelope is offered.
    pub(super) fn note_deadline(&self, token: SendToken, deadline: UnixMs) -> Result<(), StateError> {
        self.with_deadlines(|waiting| _ = waiting.insert((deadline, token)))
    }

    /// An envelope is gone.
    pub(super) fn drop_deadline(&self, token: SendToken, deadline: UnixMs) -> Result<(), StateError> {
        if !self.with_deadlines(|waiting| waiting.remove(&(deadline, token)))? {
            self.deadlines.forget();
        }
        Ok(())
    }

    /// The envelope that is given up next, and when.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn next_outbox_deadline(&self) -> Result<Option<(UnixMs, SendToken)>, StateError> {
        self.with_deadlines(|waiting| waiting.first().copied())
    }

    /// Since when the oldest things wait that rows tell of, looked up at once.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn waiting(&self) -> Result<Waiting, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT (SELECT min(visible_at) FROM message WHERE hold = 1 AND hold != 0), \
             (SELECT min(ask_at) FROM missing), (SELECT min(due_at) FROM answer), \
             (SELECT min(held_at) FROM grp_held WHERE reason = 1 AND told = 0)",
        )?;
        Ok(statement.query_row([], |row| {
            let time = |column| row.get::<_, Option<i64>>(column).map(|time| time.map(from_sql));
            Ok(Waiting {
                gap: time(0)?,
                missing: time(1)?,
                answer: time(2)?,
                unknown_head: time(3)?,
            })
        })?)
    }
}
