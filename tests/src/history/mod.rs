//! What clients saw while programs were killed, and the rules that it must obey.
//!
//! A record is made on the clients' side of the API: what was answered 201, what was delivered, what was
//! acknowledged. Whatever was not answered may have happened or not. The way to the relay adds what that one
//! has said to hold, and its database what it holds in the end. [`check`] judges a record.

pub mod check;
pub mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use waxwire_shared::ids::Hash;

use self::record::{Attempt, Delivered, Outcome, Row, Settled};
pub use self::{
    check::{Fault, Violation, violations},
    record::{Kept, Lane, Moment, Record},
};
use crate::agent::Message;

#[derive(Debug, Default)]
struct Records {
    record: Record,
    /// Envelopes that the relay has said to hold by now.
    promised: BTreeSet<Hash>,
    /// Agent and message of every row.
    seen: HashSet<(String, String)>,
}

/// A record in the making; clones share it.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: Arc<Mutex<Records>>,
    clock: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl History {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Lanes may lead to a group; what they carry is for these members.
    pub fn group(&self, group: &str, members: &[&str]) {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.records().record.groups.insert(group.to_owned(), members);
    }

    /// A message is about to be sent, perhaps again.
    pub fn tries(&self, lane: &Lane, index: usize) {
        self.outcome(lane, index, Outcome::Unknown);
    }

    /// A message was answered 200 or 201.
    pub fn accepted(&self, lane: &Lane, index: usize, message: &str) {
        self.outcome(lane, index, Outcome::Accepted(message.to_owned()));
    }

    /// A send was not answered, or not now.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// How many sends failed that way.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// A message was refused for good.
    pub fn refused(&self, lane: &Lane, index: usize) {
        self.outcome(lane, index, Outcome::Refused);
    }

    fn outcome(&self, lane: &Lane, index: usize, outcome: Outcome) {
        let attempt = Attempt {
            lane: lane.clone(),
            index,
            outcome,
        };
        self.records().record.attempts.insert(lane.id(index), attempt);
    }

    /// An answer of sync that was asked for at `asked`. What the proxy itself tells of a group counts for nothing.
    pub fn synced(&self, agent: &str, asked: Moment, rows: &[Message]) {
        let written = rows.iter().filter(|row| row.kind != "system");
        let rows: Vec<Row> = written.map(Row::of).collect();
        let mut records = self.records();
        let seen = rows.iter().map(|row| (agent.to_owned(), row.message.clone()));
        records.seen.extend(seen);
        records.record.delivered.push(Delivered {
            agent: agent.to_owned(),
            asked,
            rows,
        });
    }

    /// An ack was answered 200 by now; it settled these rows.
    pub fn acked(&self, agent: &str, rows: &[Message]) {
        let settled = Settled {
            agent: agent.to_owned(),
            answered: self.now(),
            messages: rows.iter().map(|row| row.id.clone()).collect(),
        };
        self.records().record.settled.push(settled);
    }

    /// The relay has said to hold an envelope.
    pub fn promised(&self, envelope: Hash) {
        self.records().promised.insert(envelope);
    }

    /// What the relay holds in the end. Envelopes that it takes while that is read need not be among them.
    ///
    /// # Errors
    /// Those of the reading.
    pub async fn kept(&self, rows: impl Future<Output = anyhow::Result<Vec<Kept>>>) -> anyhow::Result<()> {
        let promised = self.records().promised.clone();
        let rows = rows.await?;
        let record = &mut self.records().record;
        (record.promised, record.kept) = (promised, Some(rows));
        Ok(())
    }

    /// How many messages were accepted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records().record.accepted().count()
    }

    /// Whether none was accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of the accepted messages for an agent it has not seen.
    #[must_use]
    pub fn missing(&self, agent: &str) -> usize {
        let records = self.records();
        let record = &records.record;
        let due = record
            .accepted()
            .filter(|(attempt, _)| record.readers(&attempt.lane).any(|reader| reader == agent));
        due.filter(|(_, id)| !records.seen.contains(&(agent.to_owned(), (*id).to_owned())))
            .count()
    }

    /// Everything that breaks a rule.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        violations(&self.records().record)
    }
}
