//! What holds after every step, and what holds in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{AgentId, GroupId, Hash},
    roster::{Roster, RosterHistory},
    sign::Verified,
    wire::{Commit, Document as _, Envelope, GroupHeader},
};

use super::{
    super::{
        groups::NAMES,
        net::{Net, Node},
    },
    world::{Said, To, World},
};
use crate::{
    model::{Message, MessageId, Status},
    state::Direction,
};

/// Alerts that no relay and no accident can cause where every member is honest.
const NEVER: [&str; 4] = ["sender_fork", "roster_fork", "leaf_false", "identity_changed"];

/// What was seen so far.
#[derive(Default)]
pub(super) struct Watch {
    agents: Vec<Seen>,
    logs: BTreeMap<GroupId, Log>,
    /// Every (group, epoch, sender, i) that was used, with what it was used for.
    used: HashMap<(GroupId, u64, AgentId, u64), Hash>,
    direct: usize,
}

/// What one agent was shown, and how far it was.
#[derive(Default)]
struct Seen {
    shown: usize,
    alerts: usize,
    said: BTreeSet<usize>,
    order: BTreeMap<(usize, Option<GroupId>), Order>,
    lengths: BTreeMap<GroupId, u64>,
}

/// What came of an author in a conversation.
struct Order {
    /// The number with which its numbering began for the reader.
    begun: u64,
    /// The highest of all that came.
    last: u64,
}

/// A group as its commits make it.
struct Log {
    roster: Roster,
    history: RosterHistory,
    commits: usize,
    messages: usize,
}

impl Watch {
    pub(super) fn new(agents: usize) -> Self {
        Self {
            agents: (0..agents).map(|_| Seen::default()).collect(),
            ..Self::default()
        }
    }

    /// The rules of every step.
    pub(super) fn look(&mut self, world: &World) {
        self.follow_groups(&world.net);
        self.no_plaintext(world);
        for index in 0..world.agents() {
            self.shown_is_said(world, index);
            self.no_impossible_alert(world, index);
            self.log_is_the_log(&world.net, index);
        }
    }

    /// Commits are valid, and no place of an author's chain is used twice.
    fn follow_groups(&mut self, net: &Net) {
        for (group, held) in &net.groups.groups {
            let commit =
                |bytes: &Vec<u8>| Verified::<Commit>::from_bytes(bytes, |commit| &commit.signer).unwrap();
            let log = self.logs.entry(*group).or_insert_with(|| {
                let roster = Roster::create(&commit(&held.log[0])).unwrap();
                Log {
                    history: RosterHistory::begin(&roster),
                    roster,
                    commits: 1,
                    messages: 0,
                }
            });
            for bytes in &held.log[log.commits..] {
                let applied = log.roster.apply(&commit(bytes)).unwrap();
                log.history.record(&log.roster, &applied);
            }
            log.commits = held.log.len();
            for envelope in &held.messages[log.messages..] {
                let header = GroupHeader::decode(Envelope::split(envelope).unwrap().header).unwrap();
                let place = (header.group, header.epoch, header.sender, header.i);
                let hash = sha256(envelope);
                let earlier = self.used.insert(place, hash);
                assert!(
                    earlier.is_none_or(|earlier| earlier == hash),
                    "a key is used twice: {place:?}"
                );
            }
            log.messages = held.messages.len();
        }
    }

    fn no_plaintext(&mut self, world: &World) {
        let needle = b"simulated-";
        for (_, _, envelope) in &world.net.stored[self.direct..] {
            assert!(
                !envelope.windows(needle.len()).any(|part| part == needle),
                "plaintext at the relay"
            );
        }
        self.direct = world.net.stored.len();
    }

    /// Whatever an agent sees was said by its author, to it, once, and in order.
    fn shown_is_said(&mut self, world: &World, index: usize) {
        let node = &world.net.nodes[index];
        let from = std::mem::replace(&mut self.agents[index].shown, node.shown.len());
        for message in &node.shown[from..] {
            if message.own || message.message_type == "system" {
                continue;
            }
            let (place, said) = find(world, message);
            assert!(message.security.verified, "{} sees {message:?}", node.handle);
            assert_eq!(message.content, format!("{{\"text\":\"{}\"}}", said.id));
            let group = match said.to {
                To::Agent(to) => {
                    assert!(
                        to == index && message.group.is_none(),
                        "{} sees {said:?}",
                        node.handle
                    );
                    None
                }
                To::Group(group) => {
                    self.may_read(&world.net, index, &group, message);
                    Some(group)
                }
            };
            let seen = &mut self.agents[index];
            assert!(seen.said.insert(place), "{} sees {said:?} again", node.handle);
            // Of what is asked for at one time, nobody says which comes first: that is decided by numbers.
            // A message that its sender has given up has none any more.
            let Some(n) = number(&world.net, said) else {
                continue;
            };
            let begins = Order { begun: n, last: n };
            let order = seen.order.entry((said.from, group)).or_insert(begins);
            // docs/protocol.md, 5.4: what a group said before is owed by nobody, and shown all the same if it comes.
            let is_owed = group.is_none() || n >= order.begun;
            let may_be_late = message.security.late || !is_owed || fills_hole(node, message, order.last);
            assert!(
                n >= order.last || may_be_late,
                "{} sees {said:?} late",
                node.handle
            );
            order.last = n.max(order.last);
        }
    }

    /// Only members at the beginning of an epoch read what was sealed under it.
    fn may_read(&self, net: &Net, index: usize, group: &GroupId, message: &Message) {
        let epoch = message.security.epoch.expect("an epoch");
        let history = &self.logs[group].history;
        let position = history.position_of_epoch(epoch).expect("a known epoch");
        let me = identity(net, index);
        assert!(
            history.role_at(&me, position).is_some(),
            "{} reads epoch {epoch} without being in it",
            NAMES[index]
        );
    }

    fn no_impossible_alert(&mut self, world: &World, index: usize) {
        let node = &world.net.nodes[index];
        let from = std::mem::replace(&mut self.agents[index].alerts, node.alerts.len());
        for alert in &node.alerts[from..] {
            assert!(
                !NEVER.contains(&alert.kind.as_str()),
                "{}: {alert:?}",
                node.handle
            );
        }
    }

    /// A log as a proxy keeps it is the beginning of the one log, and never gets shorter.
    fn log_is_the_log(&mut self, net: &Net, index: usize) {
        for (group, held) in &net.groups.groups {
            let store = net.nodes[index].engine.store();
            let Some(row) = store.group(group).unwrap() else {
                continue;
            };
            let before = self.agents[index].lengths.insert(*group, row.length).unwrap_or(0);
            assert!(row.length >= before, "{} forgets commits", NAMES[index]);
            if let Some(last) = row.length.checked_sub(1) {
                let kept = store.commit_at(row.group_row, last).unwrap().unwrap();
                assert_eq!(held.log.get(usize::try_from(last).unwrap()), Some(&kept));
            }
        }
    }
}

fn find<'a>(world: &'a World, message: &Message) -> (usize, &'a Said) {
    let is_it = |said: &Said| said.id == message.client_msg_id && NAMES[said.from] == message.sender.as_str();
    let place = world.said.iter().position(is_it);
    let place = place.unwrap_or_else(|| panic!("nobody said {message:?}"));
    (place, &world.said[place])
}

/// The number that a message has in the conversation and session of its sender.
fn number(net: &Net, said: &Said) -> Option<u64> {
    let store = net.nodes[said.from].engine.store();
    let row = store.sent_id(&said.id).unwrap()?;
    store.core(row).ok().map(|core| core.n)
}

/// Whether a message lies in a hole that another one, no later than `last`, was shown with. The agent need not have been
/// told of that one: its proxy may have died meanwhile.
fn fills_hole(node: &Node, message: &Message, last: u64) -> bool {
    let store = node.engine.store();
    let row = store.message_by_id(&message.id).unwrap().expect("a row");
    let by_n = |n| {
        store
            .message_by_n(row.conversation_id, row.peer_id, Direction::In, &row.session, n)
            .unwrap()
    };
    (row.n + 1..=last)
        .filter_map(by_n)
        .filter_map(|later| store.view(later.message_row).unwrap().security.gap)
        .any(|gap| (gap.after + 1..=gap.after + gap.missing).contains(&row.n))
}

fn identity(net: &Net, index: usize) -> IdentityKey {
    net.nodes[index].keys().0.public().clone()
}

/// The rules of the end: everybody was answered, groups agree, and nothing is lost in silence.
pub(super) fn judge(world: &mut World) {
    assert!(world.asked.is_empty(), "without an answer: {:?}", world.asked);
    let net = &world.net;
    for group in net.groups.groups.keys() {
        net.assert_converged(group);
    }
    for (place, said) in world.said.iter().enumerate() {
        let Some(id) = stored(net, said) else { continue };
        let owed: Vec<usize> = match said.to {
            To::Agent(to) => vec![to],
            To::Group(group) => {
                let others = (0..world.agents()).filter(|to| *to != said.from);
                others.filter(|to| owes(world, place, &group, *to)).collect()
            }
        };
        for to in owed {
            let row = net.nodes[to].engine.store().message_by_id(&id).unwrap();
            assert!(
                row.as_ref().is_some_and(|row| row.visible),
                "{} does not see {said:?}: {row:?}; alerts: {:?}",
                NAMES[to],
                net.nodes[to].alerts
            );
        }
    }
}

/// What the sender's own proxy calls a message that the relay has; what it gave up it has told its agent.
fn stored(net: &Net, said: &Said) -> Option<MessageId> {
    let store = net.nodes[said.from].engine.store();
    let row = store.sent_id(&said.id).unwrap()?;
    let status = store.message_by_row(row).ok()?.status;
    assert_ne!(status, Status::Queued, "{said:?} was never sent");
    let (id, _) = store.newest_of(&[row]).unwrap()?;
    (status != Status::Failed).then_some(id)
}

/// Whether a member is owed what was said to a group: it was in the group when the epoch began, both are
/// in it still, and the author's numbering had begun for it (docs/protocol.md, 5.4).
fn owes(world: &World, place: usize, group: &GroupId, to: usize) -> bool {
    let (net, said) = (&world.net, &world.said[place]);
    let own = |message: &&Message| message.own && message.client_msg_id == said.id;
    let own = net.nodes[said.from].shown.iter().find(own);
    let Some(epoch) = own.and_then(|message| message.security.epoch) else {
        return false;
    };
    let held = &net.groups.groups[group];
    let joined = |index| Some(held.roster.member(&identity(net, index))?.joined);
    let (Some(author), Some(reader)) = (joined(said.from), joined(to)) else {
        return false;
    };
    let begins = |epoch| {
        let position = |bytes: &Vec<u8>| {
            let commit = Verified::<Commit>::from_bytes(bytes, |commit| &commit.signer).unwrap();
            let rekey = commit.body().rekey.as_ref();
            rekey
                .is_some_and(|rekey| rekey.epoch == epoch)
                .then_some(commit.body().position)
        };
        held.log.iter().find_map(position).expect("the epoch's commit")
    };
    // What came first of the author since the reader is in the group: numbering begins with it, or with what was stepped over
    // in its epoch.
    let same = |other: &Said| other.from == said.from && other.to == said.to;
    let heard = net.nodes[to].shown.iter().filter(|message| !message.own);
    let mut heard = heard.filter_map(|message| {
        let epoch = message.security.epoch?;
        let place = world
            .said
            .iter()
            .position(|said| said.id == message.client_msg_id)?;
        (same(&world.said[place]) && begins(epoch) >= reader).then_some((place, epoch))
    });
    let numbered = heard
        .next()
        .is_some_and(|(first, of)| first <= place || of == epoch);
    begins(epoch) >= author.max(reader) && numbered
}
