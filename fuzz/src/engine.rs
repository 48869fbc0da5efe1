//! The whole inbound pipeline of a proxy: an engine in memory, and whatever a relay may report to it.
//!
//! An input is a list of reports. Some carry bytes of the input; some carry what honest agents have sealed and signed,
//! as it was or altered; some carry bytes of the input that an honest key has sealed or signed, so that the readers
//! behind the signatures are reached as well.

mod party;
mod rows;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waxwire_proxy::engine::{
    AppendOutcome, Effect, Event, LinkEvent, LogPage, LookupError, Notice, RelayCall, SendOutcome,
};
use waxwire_shared::{
    api::{
        frames::{Cursor, Notice as SendNotice, Queue, Seen},
        problem::Problem,
        rest::{Base64Bytes, BundleAnswer},
    },
    ids::GroupId,
};

pub(crate) use self::party::account;
use self::world::{Past, Reader, past};
use crate::feed::Feed;

table! {
    "engine" => engine,
    "state_rows" => rows::state_rows,
}

/// Most reports of one input; each is a transaction.
const REPORTS: usize = 48;

/// Most that follows from one report.
const EFFECTS: usize = 512;

fn engine(bytes: &[u8]) -> bool {
    let past = past();
    let mut trial = Trial {
        reader: past.again(),
        past,
        calls: VecDeque::new(),
        sends: VecDeque::new(),
        reached: past.reached.clone(),
        acks: 0,
        answered: BTreeSet::new(),
    };
    let mut feed = Feed(bytes);
    for _ in 0..REPORTS {
        if feed.is_empty() {
            break;
        }
        let event = trial.report(&mut feed);
        trial.give(event);
    }
    trial.aftermath()
}

/// One engine under one relay.
struct Trial<'a> {
    past: &'a Past,
    reader: Reader,
    /// What it has asked and the relay has not answered.
    calls: VecDeque<RelayCall>,
    sends: VecDeque<(u64, Vec<u8>)>,
    /// How far the relay has come in each queue, by its own account.
    reached: BTreeMap<Queue, u64>,
    acks: usize,
    answered: BTreeSet<u64>,
}

impl Trial<'_> {
    /// The next thing that the relay says.
    fn report(&mut self, feed: &mut Feed<'_>) -> Event {
        Event::Link(match feed.byte() % 20 {
            0 => self.deliver(feed, |feed| feed.part().to_vec()),
            1..=3 => self.honest(feed, 0),
            4..=5 => {
                let flips = 1 + feed.byte() % 3;
                self.honest(feed, flips)
            }
            6 => {
                let envelope = self.past.signed(feed);
                self.deliver(feed, |_| envelope)
            }
            7 => LinkEvent::Transient(self.past.signed(feed)),
            8 => LinkEvent::Transient(feed.part().to_vec()),
            9 => LinkEvent::Lease(feed.part().to_vec()),
            10 => {
                let cursor = self.cursor(feed);
                self.reach(cursor);
                LinkEvent::Head(cursor)
            }
            11 => self.bundle(feed),
            12 | 13 => self.answer(feed),
            14 => self.outcome(feed),
            15 => {
                self.reader.pass(1 << (feed.byte() % 32));
                return Event::Tick;
            }
            16 => LinkEvent::Down,
            17 => LinkEvent::Up {
                relay_time: self.reader.now().wrapping_add(feed.number()),
            },
            18 => {
                let handle = if feed.byte() & 1 == 0 { "alice" } else { "mallory" };
                LinkEvent::Seen(Seen {
                    handle: handle.parse().unwrap(),
                    online: feed.byte() & 1 == 0,
                    last_seen: (feed.byte() & 1 == 0).then(|| feed.number()),
                })
            }
            _ => LinkEvent::Log(self.group(feed), Ok(self.log_page(feed))),
        })
    }

    fn group(&self, feed: &mut Feed<'_>) -> GroupId {
        match feed.byte() & 3 {
            0 => GroupId::from_bytes(*feed.hash().as_bytes()),
            _ => self.past.group,
        }
    }

    fn cursor(&self, feed: &mut Feed<'_>) -> Cursor {
        let queue = match feed.byte() & 3 {
            0 => Queue::Mail,
            1 => Queue::Control,
            2 => Queue::Group(self.group(feed)),
            _ => Queue::Log(self.group(feed)),
        };
        let position = match feed.byte() & 3 {
            0 => feed.number(),
            _ => self.reached.get(&queue).copied().unwrap_or(0).saturating_add(1),
        };
        Cursor { queue, position }
    }

    fn reach(&mut self, cursor: Cursor) {
        let reached = self.reached.entry(cursor.queue).or_default();
        *reached = cursor.position.max(*reached);
    }

    fn deliver(&mut self, feed: &mut Feed<'_>, object: impl FnOnce(&mut Feed<'_>) -> Vec<u8>) -> LinkEvent {
        let cursor = self.cursor(feed);
        self.reach(cursor);
        LinkEvent::Delivered {
            cursor,
            object: object(feed),
        }
    }

    /// Something that honest agents have sent, where it belongs or elsewhere, with so many bits of it flipped.
    fn honest(&mut self, feed: &mut Feed<'_>, flips: u8) -> LinkEvent {
        let (queue, object) = &self.past.objects[usize::from(feed.byte()) % self.past.objects.len()];
        let mut object = object.clone();
        for _ in 0..flips {
            let at = usize::from(feed.byte()) << 8 | usize::from(feed.byte());
            let at = at % object.len();
            object[at] ^= 1 << (feed.byte() & 7);
        }
        let cursor = match feed.byte() & 7 {
            0 => self.cursor(feed),
            _ => Cursor {
                queue: *queue,
                position: self.reached.get(queue).copied().unwrap_or(0).saturating_add(1),
            },
        };
        self.reach(cursor);
        LinkEvent::Delivered { cursor, object }
    }

    fn bundle(&self, feed: &mut Feed<'_>) -> LinkEvent {
        let mut answer = self.past.bundle.clone();
        match feed.byte() & 3 {
            0 => {}
            1 => answer.log = Some(Base64Bytes(feed.part().to_vec())),
            2 => answer.successions = vec![Base64Bytes(feed.part().to_vec())],
            _ => answer.bundle = Base64Bytes(feed.part().to_vec()),
        }
        LinkEvent::Bundle("alice".parse().unwrap(), Ok(answer))
    }

    fn log_page(&self, feed: &mut Feed<'_>) -> LogPage {
        let honest = feed.byte() & 1 == 0;
        let mut commits = if honest { self.past.log.clone() } else { Vec::new() };
        for _ in 0..feed.byte() % 3 {
            commits.push(feed.part().to_vec());
        }
        LogPage {
            after: if feed.byte() & 3 == 0 { feed.number() } else { 0 },
            length: if feed.byte() & 3 == 0 {
                feed.number()
            } else {
                commits.len() as u64
            },
            commits,
        }
    }

    /// The answer to the oldest question, which may be nonsense.
    fn answer(&mut self, feed: &mut Feed<'_>) -> LinkEvent {
        let error = match feed.byte() % 5 {
            0 => Some(LookupError::NotFound),
            1 => Some(LookupError::Unreachable),
            _ => None,
        };
        match self.calls.pop_front() {
            None => LinkEvent::Up {
                relay_time: self.reader.now(),
            },
            Some(RelayCall::Bundle(handle)) => match error {
                Some(error) => LinkEvent::Bundle(handle, Err(error)),
                None => self.bundle(feed),
            },
            Some(RelayCall::Publish(_)) => LinkEvent::Published(error.map_or(Ok(()), Err)),
            Some(RelayCall::Declare(declared)) => LinkEvent::Declared(declared, error.map_or(Ok(()), Err)),
            Some(RelayCall::Log { group, .. }) => {
                LinkEvent::Log(group, error.map_or_else(|| Ok(self.log_page(feed)), Err))
            }
            Some(RelayCall::Leaf { group, epoch, .. }) => {
                let leaf = match feed.byte() & 1 {
                    0 => self.past.leaf.clone(),
                    _ => feed.part().to_vec(),
                };
                LinkEvent::Leaf(group, epoch, error.map_or(Ok(leaf), Err))
            }
            Some(RelayCall::Append { group, commit, .. }) => LinkEvent::Appended(
                group,
                commit,
                match feed.byte() & 3 {
                    0 => AppendOutcome::Conflict,
                    1 => AppendOutcome::Unknown,
                    2 => AppendOutcome::Refused(Box::new(self.problem(feed))),
                    _ => AppendOutcome::Stored,
                },
            ),
            Some(RelayCall::Lease(lease)) => LinkEvent::Lease(match feed.byte() & 1 {
                0 => lease,
                _ => feed.part().to_vec(),
            }),
            Some(RelayCall::Transparency(call)) => {
                let documents = (0..feed.byte() % 4).map(|_| feed.part().to_vec()).collect();
                LinkEvent::Transparency(call, error.map_or(Ok(documents), Err))
            }
            Some(_) => LinkEvent::Down,
        }
    }

    fn problem(&self, feed: &mut Feed<'_>) -> Problem {
        let types = waxwire_shared::api::problem::ProblemType::ALL;
        Problem::new(types[usize::from(feed.byte()) % types.len()])
    }

    /// What became of the oldest envelope that the engine has sent.
    fn outcome(&mut self, feed: &mut Feed<'_>) -> LinkEvent {
        let (token, hash) = match self.sends.pop_front() {
            Some((token, envelope)) => (token, waxwire_shared::hash::sha256(&envelope)),
            None => (feed.number(), feed.hash()),
        };
        let outcome = match feed.byte() & 7 {
            0 => SendOutcome::Unknown,
            1 => SendOutcome::Refused(Box::new(self.problem(feed))),
            2 => SendOutcome::Stored {
                repeated: true,
                hash: feed.hash(),
                notice: None,
            },
            3 => SendOutcome::Stored {
                repeated: false,
                hash,
                notice: Some(Box::new(SendNotice {
                    backlog: feed.number(),
                    ..SendNotice::default()
                })),
            },
            _ => SendOutcome::Stored {
                repeated: false,
                hash,
                notice: None,
            },
        };
        LinkEvent::Outcome(token, outcome)
    }

    /// Handles one report, and what follows from it here.
    fn give(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut effects = 0;
        while let Some(event) = events.pop_front() {
            for effect in self.reader.handle(vec![event]) {
                effects += 1;
                assert!(effects < EFFECTS, "one report sets off too much");
                events.extend(self.follow(effect));
            }
        }
    }

    fn follow(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Notify(Notice::Message(message)) => self.past.is_true(&message),
            Effect::Ack(cursors) => cursors.into_iter().for_each(|cursor| self.acknowledged(cursor)),
            Effect::Reply(request, _) => assert!(self.answered.insert(request), "answered twice"),
            Effect::Call(call) => self.calls.push_back(call),
            Effect::Send(token, envelope) => {
                assert!(!self.past.in_clear(&envelope), "plaintext to the relay");
                self.sends.push_back((token, envelope));
            }
            Effect::ResetLink => unreachable!("the state cannot be written"),
            Effect::BeginAnew(anew) => return Some(Event::BegunAnew(anew)),
            Effect::OfferBundle(offer) => self.calls.push_back(RelayCall::Publish(offer.bundle)),
            Effect::HandleTag(handle) => {
                let tag = waxwire_shared::hash::sha256(handle.as_str().as_bytes());
                return Some(Event::HandleTag(handle, Some(tag)));
            }
            _ => {}
        }
        None
    }

    /// What is acknowledged was there. That acks only grow is the link's work: what comes again is acknowledged again.
    fn acknowledged(&mut self, cursor: Cursor) {
        self.acks += 1;
        let reached = self.reached.get(&cursor.queue).copied().unwrap_or(0);
        assert!(cursor.position <= reached, "an ack of what never came");
    }

    /// Time passes and the relay is gone: what waits is given up, and nothing is left undone for ever.
    fn aftermath(&mut self) -> bool {
        self.give(Event::Link(LinkEvent::Down));
        for _ in 0..4 {
            self.reader.pass(3_600_000);
            self.give(Event::Tick);
        }
        self.acks > 0
    }
}

/// The answer to a question about a bundle.
fn answer_of(agent_id: waxwire_shared::ids::AgentId, bundle: &[u8]) -> BundleAnswer {
    BundleAnswer {
        agent_id,
        bundle: Base64Bytes(bundle.to_vec()),
        successions: Vec::new(),
        log: None,
    }
}
