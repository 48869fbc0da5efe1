//! What is due at a time of the machine's clock, when that clock has not gone on evenly.

use std::ops::RangeInclusive;

use super::{StateError, Store, to_sql};
use crate::model::UnixMs;

impl Store {
    /// Holes, and commits that are not shown, are waited for from now on; what was put off is due now, and what waits for
    /// the relay within `deadlines`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn wait_anew(&self, now: UnixMs, deadlines: RangeInclusive<UnixMs>) -> Result<(), StateError> {
        const FROM_NOW: [&str; 4] = [
            "UPDATE message SET visible_at = ?1 WHERE hold = 1 AND hold != 0",
            "UPDATE grp_held SET held_at = ?1 WHERE reason = 1 AND told = 0",
            "UPDATE missing SET ask_at = ?1 WHERE ask_at > ?1",
            "UPDATE answer SET due_at = ?1 WHERE due_at > ?1",
        ];
        for statement in FROM_NOW {
            self.db.execute(statement, [to_sql(now)])?;
        }
        self.db.execute(
            "UPDATE outbox SET deadline = min(max(deadline, ?1), ?2) WHERE deadline NOT BETWEEN ?1 AND ?2",
            [to_sql(*deadlines.start()), to_sql(*deadlines.end())],
        )?;
        self.deadlines.forget();
        Ok(())
    }
}
