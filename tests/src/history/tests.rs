//! The checker is checked: it finds nothing in a good record, and each kind of fault that is planted in one.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use waxwire_shared::hash::sha256;

use super::{
    History,
    check::{Fault, violations},
    record::{Attempt, Delivered, Kept, Lane, Outcome, Record, Row, Settled},
};
use crate::lane::Dice;

const AGENTS: [&str; 3] = ["alice", "bob", "carol"];
const GROUP: &str = "grp_1";

const FAULTS: [Fault; 11] = [
    Fault::Lost,
    Fault::Disorder,
    Fault::Twice,
    Fault::AfterAck,
    Fault::Changed,
    Fault::Invented,
    Fault::Refused,
    Fault::Flawed,
    Fault::NoRow,
    Fault::RowTwice,
    Fault::RowGap,
];

fn pick<T>(dice: &mut Dice, of: &[T]) -> usize {
    usize::try_from(dice.roll(of.len() as u64)).unwrap()
}

fn lanes() -> Vec<Lane> {
    let mut lanes = Vec::new();
    for (number, from) in AGENTS.into_iter().enumerate() {
        for to in AGENTS.into_iter().filter(|to| *to != from).chain([GROUP]) {
            lanes.push(Lane {
                from: from.into(),
                to: to.into(),
                number,
            });
        }
    }
    lanes
}

/// What happens in a good world: messages of each lane in their order, each stored once and shown once to
/// whoever reads it, again and again until it is settled.
struct World {
    dice: Dice,
    record: Record,
    /// Rows that each agent has not settled.
    waiting: HashMap<&'static str, Vec<Row>>,
    numbers: HashMap<(&'static str, String), u64>,
    rows: Vec<Kept>,
    positions: BTreeMap<i64, u64>,
    now: u64,
}

impl World {
    fn good(seed: u64) -> Record {
        let members = AGENTS.map(str::to_owned).to_vec();
        let mut world = Self {
            dice: Dice::new(seed),
            record: Record {
                groups: HashMap::from([(GROUP.to_owned(), members)]),
                ..Record::default()
            },
            waiting: HashMap::new(),
            numbers: HashMap::new(),
            rows: Vec::new(),
            positions: BTreeMap::new(),
            now: 0,
        };
        let lanes = lanes();
        let mut next = vec![0; lanes.len()];
        for _ in 0..60 {
            let lane = pick(&mut world.dice, &lanes);
            match world.dice.roll(4) {
                0 => world.sync(AGENTS[lane % 3]),
                _ => {
                    world.send(&lanes[lane], next[lane]);
                    next[lane] += 1;
                }
            }
        }
        for agent in AGENTS {
            world.sync(agent);
        }
        world.record.kept = Some(world.rows);
        world.record
    }

    fn send(&mut self, lane: &Lane, index: usize) {
        let message = format!("msg_{}", lane.id(index));
        let (outcome, stored) = match self.dice.roll(8) {
            0 => (Outcome::Refused, false),
            1 => (Outcome::Unknown, false),
            2 => (Outcome::Unknown, true),
            _ => (Outcome::Accepted(message.clone()), true),
        };
        let attempt = Attempt {
            lane: lane.clone(),
            index,
            outcome,
        };
        self.record.attempts.insert(lane.id(index), attempt);
        if !stored {
            return;
        }
        let queue = AGENTS
            .iter()
            .position(|agent| *agent == lane.to)
            .unwrap_or(AGENTS.len());
        self.store(i64::try_from(queue).unwrap(), &message);
        for agent in AGENTS {
            if self.record.readers(lane).any(|reader| reader == agent) {
                self.show(agent, lane, index, &message);
            }
        }
    }

    fn store(&mut self, queue: i64, message: &str) {
        let position = self.positions.entry(queue).or_default();
        *position += 1;
        let kept = Kept {
            queue,
            position: *position,
            hash: sha256(message.as_bytes()),
        };
        self.record.promised.insert(kept.hash);
        self.rows.push(kept);
    }

    fn show(&mut self, agent: &'static str, lane: &Lane, index: usize, message: &str) {
        let conversation = match lane.to.as_str() {
            GROUP => GROUP.to_owned(),
            _ => format!("conv_{}", lane.from),
        };
        let seq = self.numbers.entry((agent, conversation.clone())).or_default();
        *seq += 1;
        let row = Row {
            message: message.to_owned(),
            client_msg_id: lane.id(index),
            sender: lane.from.clone(),
            delivery: format!("del_{conversation}_{seq}"),
            conversation,
            seq: *seq,
            text: lane.text(index),
            flawed: false,
        };
        self.waiting.entry(agent).or_default().push(row);
    }

    fn sync(&mut self, agent: &'static str) {
        self.now += 2;
        let waiting = self.waiting.entry(agent).or_default();
        self.record.delivered.push(Delivered {
            agent: agent.to_owned(),
            asked: self.now,
            rows: waiting.clone(),
        });
        let settled = usize::try_from(self.dice.roll(waiting.len() as u64 + 1)).unwrap();
        let messages = waiting.drain(..settled).map(|row| row.message).collect();
        self.record.settled.push(Settled {
            agent: agent.to_owned(),
            answered: self.now + 1,
            messages,
        });
    }
}

/// Every row that was delivered, to be changed.
fn rows(record: &mut Record) -> impl Iterator<Item = (&String, &mut Row)> {
    let delivered = record.delivered.iter_mut();
    delivered.flat_map(|answer| answer.rows.iter_mut().map(|row| (&answer.agent, row)))
}

/// An accepted message that somebody got: who, and its row.
fn some_row(record: &Record, dice: &mut Dice) -> (String, Row) {
    let accepted: Vec<&str> = record.accepted().map(|(_, message)| message).collect();
    let delivered = record.delivered.iter();
    let all: Vec<(&String, &Row)> = delivered
        .flat_map(|answer| answer.rows.iter().map(|row| (&answer.agent, row)))
        .filter(|(_, row)| accepted.contains(&row.message.as_str()))
        .collect();
    let (agent, row) = all[pick(dice, &all)];
    (agent.clone(), row.clone())
}

/// Breaks one rule; false if this record has nothing to break it with.
fn plant(record: &mut Record, fault: Fault, dice: &mut Dice) -> bool {
    let (agent, row) = some_row(record, dice);
    let now = u64::MAX - 1;
    let tell = |record: &mut Record, row: Row| {
        record.delivered.push(Delivered {
            agent: agent.clone(),
            asked: now,
            rows: vec![row],
        });
    };
    match fault {
        Fault::Lost => {
            for answer in record.delivered.iter_mut().filter(|answer| answer.agent == agent) {
                answer.rows.retain(|other| other.message != row.message);
            }
        }
        Fault::Disorder => {
            let attempt = &record.attempts[&row.client_msg_id];
            let earlier = record
                .accepted()
                .find(|(other, _)| other.lane == attempt.lane && other.index < attempt.index);
            let Some(earlier) = earlier.map(|(_, message)| message.to_owned()) else {
                return false;
            };
            let of_agent = |record: &mut Record, message: &str, seq: Option<u64>| {
                let mut held = 0;
                for (who, row) in rows(record) {
                    if *who == agent && row.message == message {
                        held = row.seq;
                        row.seq = seq.unwrap_or(row.seq);
                    }
                }
                held
            };
            let seq = of_agent(record, &earlier, Some(row.seq));
            of_agent(record, &row.message, Some(seq));
        }
        Fault::Twice => tell(
            record,
            Row {
                message: "msg_twin".into(),
                seq: 10_000,
                ..row
            },
        ),
        Fault::AfterAck => {
            let settled = record
                .settled
                .iter()
                .any(|ack| ack.agent == agent && ack.messages.contains(&row.message));
            if !settled {
                return false;
            }
            tell(record, row);
        }
        Fault::Changed => match dice.roll(2) {
            0 => {
                for (_, other) in rows(record).filter(|(_, other)| other.message == row.message) {
                    other.text = "another".into();
                }
            }
            _ => record.delivered.insert(
                0,
                Delivered {
                    agent,
                    asked: 0,
                    rows: vec![Row {
                        delivery: "del_another".into(),
                        ..row
                    }],
                },
            ),
        },
        Fault::Invented => match dice.roll(2) {
            0 => tell(
                record,
                Row {
                    client_msg_id: "nobody's".into(),
                    message: "msg_nobody's".into(),
                    seq: 10_000,
                    ..row
                },
            ),
            _ => {
                let author = row.sender.clone();
                record.delivered.push(Delivered {
                    agent: author,
                    asked: 0,
                    rows: vec![Row { seq: 10_000, ..row }],
                });
            }
        },
        Fault::Refused => {
            let attempt = record.attempts.get_mut(&row.client_msg_id).unwrap();
            attempt.outcome = Outcome::Refused;
        }
        Fault::Flawed => {
            for (_, other) in rows(record).filter(|(_, other)| other.message == row.message) {
                other.flawed = true;
            }
        }
        Fault::NoRow | Fault::RowTwice | Fault::RowGap => return plant_row(record, fault, dice),
    }
    true
}

fn plant_row(record: &mut Record, fault: Fault, dice: &mut Dice) -> bool {
    let kept = record.kept.as_mut().unwrap();
    let chosen = pick(dice, kept);
    let Kept {
        queue,
        position,
        hash,
    } = kept[chosen].clone();
    let last = kept.iter().filter(|row| row.queue == queue).count() as u64;
    match fault {
        Fault::NoRow => kept[chosen].hash = sha256(b"another"),
        Fault::RowTwice => kept.push(Kept {
            queue,
            position: last + 1,
            hash,
        }),
        _ => {
            // What came after it moves up.
            let behind = kept
                .iter_mut()
                .filter(|row| row.queue == queue && row.position >= position);
            behind.for_each(|row| row.position += 1);
        }
    }
    true
}

proptest! {
    #[test]
    fn good_records_have_no_violation(seed in any::<u64>()) {
        let record = World::good(seed);
        let found = violations(&record);
        prop_assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn planted_faults_are_found_and_no_others(seed in any::<u64>()) {
        let good = World::good(seed);
        prop_assume!(good.accepted().next().is_some());
        for fault in FAULTS {
            let mut record = good.clone();
            let planted = (0..20).any(|try_| plant(&mut record, fault, &mut Dice::new(seed ^ try_)));
            if planted {
                let found = violations(&record);
                prop_assert!(!found.is_empty(), "{fault:?} was not found");
                prop_assert!(found.iter().all(|one| one.fault == fault), "{fault:?}: {found:#?}");
            }
        }
    }
}

/// The relay goes on while its rows are read.
#[tokio::test]
async fn promise_after_the_rows_were_asked_for_is_not_looked_for() {
    let history = History::default();
    let [early, meanwhile, later] = ["early", "meanwhile", "later"].map(|name| sha256(name.as_bytes()));
    history.promised(early);
    let rows = async {
        history.promised(meanwhile);
        anyhow::Ok(Vec::new())
    };
    history.kept(rows).await.unwrap();
    history.promised(later);
    let found = history.violations();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].fault == Fault::NoRow && found[0].what.contains(&format!("{early:?}")),
        "{found:?}"
    );
}
