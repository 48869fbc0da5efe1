//! The own session, and what becomes of the state when a new one begins (docs/protocol.md, 8.4).

use waxwire_shared::{
    ids::{Hash, SessionId},
    limits,
};

use super::{StateError, Store};
use crate::model::UnixMs;

const SESSION: &str = "own_session";
const ANEW: &str = "begun_anew";
const LEASED: &str = "leased_at";

impl Store {
    /// Makes sure that the own numbers are those of `session`: with another one numbering begins anew.
    /// Whatever was numbered and not stored is given up, with the hash of its envelope, which the relay
    /// may hold. Own commits on their way are forgotten, and nothing is sealed to a group before this agent
    /// has replaced its key. The relay is told again whom this agent holds and blocks, and its profile.
    ///
    /// Must run inside a transaction. Called again with the same session it changes nothing.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin_session(&self, session: &SessionId) -> Result<(), StateError> {
        let known = self.meta::<{ SessionId::LENGTH }>(SESSION)?;
        if known == Some(*session.as_bytes()) {
            return Ok(());
        }
        self.put_meta(SESSION, session.as_bytes())?;
        // The first session of all finds no numbers.
        if known.is_some() {
            self.begin_anew()?;
        }
        Ok(())
    }

    /// The same for a state that was restored: its numbers are those of a session that is over.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin_restored(&self, session: &SessionId) -> Result<(), StateError> {
        self.put_meta(SESSION, session.as_bytes())?;
        self.begin_anew()
    }

    /// The time of the next lease: later than that of every lease before, also if the clock was set back.
    /// What lies more than a day ahead no relay has taken.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn next_lease(&self, now: UnixMs) -> Result<UnixMs, StateError> {
        let last = self.meta(LEASED)?.map_or(0, u64::from_be_bytes);
        let next = if last >= now && last < now + limits::NUMBER_FUTURE_MS {
            last + 1
        } else {
            now
        };
        self.put_meta(LEASED, &next.to_be_bytes())?;
        Ok(next)
    }

    /// Whether this agent has ever begun anew: then the relay may hold messages that are not known here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn has_begun_anew(&self) -> Result<bool, StateError> {
        Ok(self.meta::<1>(ANEW)?.is_some())
    }

    fn begin_anew(&self) -> Result<(), StateError> {
        let mut waiting = self
            .db
            .prepare_cached("SELECT message_row, hash FROM outbox WHERE message_row IS NOT NULL")?;
        let waiting = waiting.query_map([], |row| Ok((row.get(0)?, Hash::from_bytes(row.get(1)?))))?;
        for (message_row, envelope) in waiting.collect::<Result<Vec<_>, _>>()? {
            self.give_up_message(message_row, &envelope)?;
        }
        self.put_meta(ANEW, &[1])?;
        self.db.execute_batch(
            "UPDATE inbound_session SET receipt_due = 3, said_delivered = 0, said_read = 0
                 WHERE session_row IN (SELECT receipt_of FROM outbox);
             DELETE FROM outbox;
             DELETE FROM withdrawn;
             DELETE FROM grp_pending;
             UPDATE conversation SET out_n = 0, out_hash = NULL;
             UPDATE grp SET renew = 1 WHERE standing <= 2;",
        )?;
        self.deadlines.forget();
        self.declare_again()
    }

    /// What was stored once and was being repaired stays as it is.
    fn give_up_message(&self, message_row: i64, envelope: &Hash) -> Result<(), StateError> {
        if !self.message_by_row(message_row)?.visible {
            self.forget_sent(message_row, Some(envelope))?;
            self.erase_message(message_row)?;
        }
        Ok(())
    }
}
