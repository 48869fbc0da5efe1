//! The rules that a record must obey, as a pure function of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{Lane, Moment, Outcome, Record, Row};

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Accepted and never delivered to somebody whom it was for.
    Lost,
    /// One message of a lane was shown before an earlier one.
    Disorder,
    /// One message under two ids or numbers.
    Twice,
    /// In an answer that was asked for after its ack was answered.
    AfterAck,
    /// Shown otherwise than before, or than it was written.
    Changed,
    /// Delivered, and nobody has sent it to this agent.
    Invented,
    /// Delivered, and its author was told that it is refused.
    Refused,
    /// Delivered unverified, or behind a gap.
    Flawed,
    /// The relay has said to hold an envelope and holds it not.
    NoRow,
    /// The relay holds an envelope twice.
    RowTwice,
    /// A queue has a hole in its positions.
    RowGap,
}

/// Where a rule is broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which rule.
    pub fault: Fault,
    /// By what.
    pub what: String,
}

/// First row of each message, by agent.
type Seen<'a> = HashMap<&'a str, BTreeMap<&'a str, &'a Row>>;

/// Everything in a record that breaks a rule.
#[must_use]
pub fn violations(record: &Record) -> Vec<Violation> {
    let seen = seen(record);
    let mut found = Vec::new();
    for (agent, rows) in &seen {
        contradictions(record, agent, rows, &mut found);
    }
    changes(record, &seen, &mut found);
    losses_and_disorder(record, &seen, &mut found);
    redeliveries(record, &mut found);
    rows_of_the_relay(record, &mut found);
    found
}

fn note(found: &mut Vec<Violation>, fault: Fault, what: String) {
    found.push(Violation { fault, what });
}

fn seen(record: &Record) -> Seen<'_> {
    let mut seen = Seen::new();
    for answer in &record.delivered {
        let of_agent = seen.entry(&answer.agent).or_default();
        for row in &answer.rows {
            of_agent.entry(&row.message).or_insert(row);
        }
    }
    seen
}

/// What an agent was shown that nobody sent it, that is flawed, or that it has twice.
fn contradictions(record: &Record, agent: &str, rows: &BTreeMap<&str, &Row>, found: &mut Vec<Violation>) {
    let (mut ids, mut numbers) = (HashMap::new(), HashMap::new());
    for row in rows.values() {
        match record.attempts.get(&row.client_msg_id) {
            Some(attempt) if attempt.lane.from == row.sender && is_read_by(record, &attempt.lane, agent) => {
                if attempt.outcome == Outcome::Refused {
                    note(
                        found,
                        Fault::Refused,
                        format!("{agent} got what was refused: {row:?}"),
                    );
                }
                if row.text != attempt.lane.text(attempt.index) {
                    note(
                        found,
                        Fault::Changed,
                        format!("{agent} got another text: {row:?}"),
                    );
                }
            }
            _ => note(
                found,
                Fault::Invented,
                format!("{agent} got what nobody sent it: {row:?}"),
            ),
        }
        if row.flawed {
            let what = format!("{agent} got a message with a gap or unverified: {row:?}");
            note(found, Fault::Flawed, what);
        }
        let same = [
            ids.insert((&row.sender, &row.client_msg_id), *row),
            numbers.insert((&row.conversation, row.seq), *row),
        ];
        for other in same.into_iter().flatten() {
            let what = format!("{agent} got one message twice: {row:?} and {other:?}");
            note(found, Fault::Twice, what);
        }
    }
}

fn is_read_by(record: &Record, lane: &Lane, agent: &str) -> bool {
    record.readers(lane).any(|reader| reader == agent)
}

/// Rows that were shown differently before.
fn changes(record: &Record, seen: &Seen<'_>, found: &mut Vec<Violation>) {
    for answer in &record.delivered {
        for row in &answer.rows {
            let first = seen.get(answer.agent.as_str());
            let first = first.and_then(|rows| rows.get(row.message.as_str()));
            if first.is_some_and(|first| *first != row) {
                let what = format!("{} got a message that had changed: {row:?}", answer.agent);
                note(found, Fault::Changed, what);
            }
        }
    }
}

/// Accepted messages that never came, and messages of a lane that overtook one another.
fn losses_and_disorder(record: &Record, seen: &Seen<'_>, found: &mut Vec<Violation>) {
    let mut last: HashMap<(&Lane, &str), (usize, u64)> = HashMap::new();
    let mut accepted: Vec<_> = record.accepted().collect();
    accepted.sort_by_key(|(attempt, _)| attempt.index);
    for (attempt, message) in accepted {
        let (lane, index) = (&attempt.lane, attempt.index);
        for reader in record.readers(lane) {
            let Some(row) = seen.get(reader).and_then(|rows| rows.get(message)) else {
                let what = format!(
                    "{} was accepted as {message} and {reader} has it not",
                    lane.id(index)
                );
                note(found, Fault::Lost, what);
                continue;
            };
            if row.client_msg_id != lane.id(index) {
                let what = format!("{} was accepted as {message}, which is {row:?}", lane.id(index));
                note(found, Fault::Changed, what);
            }
            if let Some((before, seq)) = last.insert((lane, reader), (index, row.seq))
                && seq >= row.seq
            {
                let what = format!(
                    "{reader} got {} before message {before} of its lane",
                    lane.id(index)
                );
                note(found, Fault::Disorder, what);
            }
        }
    }
}

/// Messages in an answer that was asked for after their ack was answered.
fn redeliveries(record: &Record, found: &mut Vec<Violation>) {
    let mut settled: HashMap<(&str, &str), Moment> = HashMap::new();
    for ack in &record.settled {
        for message in &ack.messages {
            let first = settled.entry((&ack.agent, message)).or_insert(ack.answered);
            *first = (*first).min(ack.answered);
        }
    }
    for answer in &record.delivered {
        for row in &answer.rows {
            let at = settled.get(&(answer.agent.as_str(), row.message.as_str()));
            if at.is_some_and(|at| *at < answer.asked) {
                let what = format!("{} got a message again after its ack: {row:?}", answer.agent);
                note(found, Fault::AfterAck, what);
            }
        }
    }
}

/// What the relay has said to hold it holds, once, in queues without holes.
fn rows_of_the_relay(record: &Record, found: &mut Vec<Violation>) {
    let Some(kept) = &record.kept else { return };
    let mut hashes = BTreeSet::new();
    let mut queues: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
    for row in kept {
        if !hashes.insert(row.hash) {
            note(
                found,
                Fault::RowTwice,
                format!("the relay holds an envelope twice: {row:?}"),
            );
        }
        queues.entry(row.queue).or_default().insert(row.position);
    }
    for hash in record.promised.difference(&hashes) {
        note(
            found,
            Fault::NoRow,
            format!("the relay has said to hold {hash:?}"),
        );
    }
    for (queue, positions) in queues {
        if !positions.iter().copied().eq(1..=positions.len() as u64) {
            note(
                found,
                Fault::RowGap,
                format!("queue {queue} has holes: {positions:?}"),
            );
        }
    }
}
