//! What clients saw while programs were killed, and the rules that it must obey.
//!
//! A record is made on the client's side of the API only: what was answered 201, what was delivered,
//! what was acknowledged. Whatever was not answered may have happened or not.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::agent::Message;

/// A moment of the test; later ones are larger.
pub type Moment = u64;

/// One sender: it begins a message only after the one before was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Handle of the author.
    pub from: String,
    /// Handle of the recipient.
    pub to: String,
    /// Tells senders of one author apart.
    pub number: usize,
}

impl Lane {
    /// The idempotency key of a message of this lane.
    #[must_use]
    pub fn id(&self, index: usize) -> String {
        format!(
            "{}-to-{}-lane-{}-message-{index}",
            self.from, self.to, self.number
        )
    }
}

/// A delivered row as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    message: String,
    client_msg_id: String,
    sender: String,
    delivery: String,
    seq: u64,
    flawed: bool,
}

#[derive(Debug, Default)]
struct Records {
    /// Lane, index, message id.
    accepted: Vec<(Lane, usize, String)>,
    /// Lane and index of everything that was ever tried.
    tried: HashSet<String>,
    /// Agent, when the answer was asked for, rows.
    synced: Vec<(String, Moment, Vec<Row>)>,
    /// Agent, when the answer to the ack was there, messages that it settled.
    acked: Vec<(String, Moment, Vec<String>)>,
}

/// A record of what clients saw; clones share it.
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

    /// A message is about to be sent, perhaps again.
    pub fn tries(&self, lane: &Lane, index: usize) {
        self.records().tried.insert(lane.id(index));
    }

    /// A send was not answered, or by 503.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    /// How many sends failed that way.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// A message was answered 200 or 201.
    pub fn accepted(&self, lane: &Lane, index: usize, message: &str) {
        self.records()
            .accepted
            .push((lane.clone(), index, message.to_owned()));
    }

    /// An answer of sync that was asked for at `asked`.
    pub fn synced(&self, agent: &str, asked: Moment, rows: &[Message]) {
        let rows = rows.iter().map(Row::of).collect();
        self.records().synced.push((agent.to_owned(), asked, rows));
    }

    /// An ack was answered 200 by now; it settled these rows.
    pub fn acked(&self, agent: &str, rows: &[Message]) {
        let now = self.now();
        let ids = rows.iter().map(|row| row.id.clone()).collect();
        self.records().acked.push((agent.to_owned(), now, ids));
    }

    /// How many messages were accepted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records().accepted.len()
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
        let seen = records.seen(agent);
        let due = records.accepted.iter().filter(|(lane, ..)| lane.to == agent);
        due.filter(|(.., id)| !seen.contains_key(id.as_str())).count()
    }

    /// Everything that breaks a rule.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let records = self.records();
        let mut found = records.contradictions();
        found.extend(records.losses_and_disorder());
        found.extend(records.redeliveries());
        found
    }
}

impl Row {
    fn of(message: &Message) -> Self {
        Self {
            message: message.id.clone(),
            client_msg_id: message.client_msg_id.clone(),
            sender: message.sender.clone(),
            delivery: message.delivery_id.clone().unwrap_or_default(),
            seq: message.seq,
            flawed: !message.security.verified || message.security.gap.is_some(),
        }
    }
}

impl Records {
    fn agents(&self) -> HashSet<&str> {
        let synced = self.synced.iter().map(|(agent, ..)| agent.as_str());
        synced
            .chain(self.accepted.iter().map(|(lane, ..)| lane.to.as_str()))
            .collect()
    }

    /// First row of each message that an agent saw.
    fn seen(&self, agent: &str) -> HashMap<&str, &Row> {
        let mut seen = HashMap::new();
        let rows = self.synced.iter().filter(|(who, ..)| who == agent);
        for row in rows.flat_map(|(.., rows)| rows) {
            seen.entry(row.message.as_str()).or_insert(row);
        }
        seen
    }

    /// Rows that nobody sent, that are flawed, or that were shown differently before; one message
    /// under two ids.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for agent in self.agents() {
            let seen = self.seen(agent);
            let (mut ids, mut seqs) = (HashMap::new(), HashMap::new());
            for row in seen.values() {
                if !self.tried.contains(&row.client_msg_id) {
                    found.push(format!("{agent} got what nobody sent: {row:?}"));
                }
                if row.flawed {
                    found.push(format!("{agent} got a message with a gap or unverified: {row:?}"));
                }
                let same = [
                    ids.insert(&row.client_msg_id, *row),
                    seqs.insert((&row.sender, row.seq), *row),
                ];
                for other in same.into_iter().flatten() {
                    found.push(format!("{agent} got one message twice: {row:?} and {other:?}"));
                }
            }
            let rows = self.synced.iter().filter(|(who, ..)| who == agent);
            for row in rows.flat_map(|(.., rows)| rows) {
                if seen.get(row.message.as_str()).is_some_and(|first| *first != row) {
                    found.push(format!("{agent} got a message that had changed: {row:?}"));
                }
            }
        }
        found
    }

    /// Accepted messages that never came, and messages of a lane that overtook one another.
    fn losses_and_disorder(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut last: HashMap<&Lane, (usize, u64)> = HashMap::new();
        let mut accepted: Vec<_> = self.accepted.iter().collect();
        accepted.sort_by_key(|(_, index, _)| *index);
        let seen: HashMap<&str, _> = self
            .agents()
            .into_iter()
            .map(|agent| (agent, self.seen(agent)))
            .collect();
        for (lane, index, id) in accepted {
            let row = seen.get(lane.to.as_str()).and_then(|seen| seen.get(id.as_str()));
            let Some(row) = row else {
                found.push(format!("lost: {} was accepted as {id}", lane.id(*index)));
                continue;
            };
            if row.client_msg_id != lane.id(*index) {
                found.push(format!(
                    "{id} was accepted as {} and came as {row:?}",
                    lane.id(*index)
                ));
            }
            if let Some((before, seq)) = last.insert(lane, (*index, row.seq))
                && seq >= row.seq
            {
                found.push(format!(
                    "{} came before message {before} of its lane",
                    lane.id(*index)
                ));
            }
        }
        found
    }

    /// Messages in an answer that was asked for after their ack was answered.
    fn redeliveries(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut settled: HashMap<(&str, &str), Moment> = HashMap::new();
        for (agent, at, ids) in &self.acked {
            for id in ids {
                let first = settled.entry((agent, id)).or_insert(*at);
                *first = (*first).min(*at);
            }
        }
        for (agent, asked, rows) in &self.synced {
            for row in rows {
                if settled
                    .get(&(agent.as_str(), row.message.as_str()))
                    .is_some_and(|at| at < asked)
                {
                    found.push(format!("{agent} got a message again after its ack: {row:?}"));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lane() -> Lane {
        Lane {
            from: "alice".into(),
            to: "bob".into(),
            number: 0,
        }
    }

    fn row(index: usize, seq: u64) -> Message {
        serde_json::from_value(json!({
            "id": format!("msg_{index}"), "conversation_id": "conv_1", "sender": "alice",
            "client_msg_id": lane().id(index), "seq": seq, "type": "text", "content": {},
            "status": "stored", "created_at": "", "delivery_id": format!("del_{seq}"),
            "security": { "verified": true, "sender_fingerprint": "", "trust": "pinned", "gap": null },
        }))
        .unwrap()
    }

    /// Two messages, sent, delivered in order and settled.
    fn good() -> History {
        let history = History::default();
        for index in 0..2 {
            history.tries(&lane(), index);
            history.accepted(&lane(), index, &format!("msg_{index}"));
        }
        let rows = [row(0, 1), row(1, 2)];
        history.synced("bob", history.now(), &rows);
        history.synced("bob", history.now(), &rows);
        history.acked("bob", &rows);
        history
    }

    #[track_caller]
    fn one_violation(history: &History, word: &str) {
        let found = history.violations();
        assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
    }

    #[test]
    fn good_history_has_no_violation() {
        assert_eq!(good().violations(), [] as [String; 0]);
        assert_eq!(good().missing("bob"), 0);
    }

    #[test]
    fn loss_is_a_violation() {
        let history = good();
        history.tries(&lane(), 2);
        history.accepted(&lane(), 2, "msg_2");
        assert_eq!(history.missing("bob"), 1);
        one_violation(&history, "lost");
    }

    #[test]
    fn redelivery_after_the_ack_is_a_violation() {
        let history = good();
        history.synced("bob", history.now(), &[row(1, 2)]);
        one_violation(&history, "again after its ack");
    }

    #[test]
    fn disorder_is_a_violation() {
        let history = good();
        for index in [2, 3] {
            history.tries(&lane(), index);
            history.accepted(&lane(), index, &format!("msg_{index}"));
        }
        history.synced("bob", history.now(), &[row(3, 3), row(2, 4)]);
        one_violation(&history, "came before message");
    }

    #[test]
    fn double_and_changed_and_invented_rows_are_violations() {
        let history = good();
        history.tries(&lane(), 2);
        history.synced("bob", history.now(), &[row(2, 3)]);
        assert_eq!(history.violations(), [] as [String; 0]);
        history.synced("bob", history.now(), &[row(2, 4)]);
        one_violation(&history, "had changed");

        let history = good();
        history.synced("bob", history.now(), &[row(7, 3)]);
        one_violation(&history, "nobody sent");

        let history = good();
        let mut twin = row(1, 3);
        twin.id = "msg_twin".into();
        history.synced("bob", history.now(), &[twin]);
        one_violation(&history, "twice");
    }
}
