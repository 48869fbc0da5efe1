//! A shell without threads, sockets or clocks: engines over states in memory, joined by a relay of
//! a few lines whose lies a test can script.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_shared::{
    api::{
        frames::{Allowance, Cursor, Notice as SendNotice, Queue, Seen},
        problem::{Problem, ProblemType},
        rest::{Base64Bytes, BundleAnswer},
    },
    hash::sha256,
    ids::{AgentId, Handle, Hash, Mid, RelayId, SessionId},
    suite::Suite,
    wire::{Bundle, BundleKey, DirectHeader, Document as _, Envelope, Header, Kind, Lane, VERSION},
};

use super::group_relay::GroupRelay;
use crate::{
    crypto::secret::{EncryptionPublic, EncryptionSecret, IdentitySecret, SendIdKey, StateMasterKey},
    engine::{
        Account, Anew, AppendOutcome, Command, Declaration, Effect, EncryptionKey, Engine, Event, KeyChange,
        LinkEvent, LogCall, LookupError, Notice, Now, ReadNotice, RelayCall, Reply, SendOutcome, Settings,
    },
    model::{
        Alert, Destination, GroupEnd, Invitation, LocalConversation, Message, PeerPresence, Refusal,
        SendRequest, SendToken,
    },
    state::{ColumnKeys, Store},
    transparency::testing::TestLog,
};

pub(super) const START: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 3_600 * 1_000;

pub(super) fn relay_id() -> RelayId {
    RelayId::from_bytes([9; 32])
}

/// One agent: its engine and what its agent saw.
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) handle: Handle,
    pub(super) agent_id: AgentId,
    pub(super) bundle: Vec<u8>,
    pub(super) answers: HashMap<u64, Result<Reply, Refusal>>,
    pub(super) shown: Vec<Message>,
    pub(super) alerts: Vec<Alert>,
    pub(super) online: bool,
    /// Numbers of the keys that its key store was given.
    kept: Vec<u64>,
    /// What its key store was told.
    pub(super) changes: Vec<KeyChange>,
    /// Own bundles that it offered to the relay, and what that does with the next ones.
    pub(super) offered: Vec<Vec<u8>>,
    pub(super) offers: VecDeque<Offered>,
    pub(super) invited: Vec<Invitation>,
    /// What it was told of typing and presence.
    pub(super) typing: Vec<(LocalConversation, Handle, bool)>,
    pub(super) presences: Vec<PeerPresence>,
    /// Whether it counts as online.
    pub(super) is_shown: bool,
    /// What was said of its limits.
    pub(super) warned: Vec<Allowance>,
    pub(super) read: Vec<ReadNotice>,
    pub(super) ended: Vec<GroupEnd>,
    /// Incarnations that it began.
    pub(super) begun: Vec<Anew>,
    /// Its state may be damaged.
    pub(super) may_fail: bool,
    /// It cannot be written until that was noticed.
    disk_full: bool,
    /// How many tags of handles it had computed.
    pub(super) tags_asked: u64,
    seed: u8,
    taken: BTreeMap<Queue, u64>,
}

impl Node {
    pub(super) fn new(name: &str, seed: u8, settings: Settings) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let identity = IdentitySecret::generate(&mut rng);
        let secret = EncryptionSecret::generate(&mut rng);
        let handle: Handle = name.parse().unwrap();
        let bundle = bundle(&identity, &handle, START, secret.public().as_bytes());
        let agent_id = AgentId::of(&relay_id(), identity.public());
        let account = Account {
            handle: handle.clone(),
            relay: relay_id(),
            relay_identity: crate::transparency::testing::signer().public().clone(),
            agent_id,
            identity,
            send_id_key: SendIdKey::generate(&mut rng),
            encryption_keys: vec![EncryptionKey {
                number: START,
                suite: Suite::CLASSIC,
                secret,
                superseded: None,
                emptied: None,
            }],
            key_number: START,
            bundle_hash: sha256(&bundle),
            bundle_number: START,
            recovery: Hash::from_bytes([0; 32]),
            session: SessionId::from_bytes([seed; 16]),
            incarnation: START,
        };
        let keys = Arc::new(ColumnKeys::new(StateMasterKey::generate(&mut rng)));
        let store = Store::in_memory(keys, [seed; 8]).unwrap();
        store.put_own_bundle(&bundle).unwrap();
        let engine = Engine::new(account, settings, store, Box::new(rng));
        Self {
            engine,
            handle,
            agent_id,
            bundle,
            answers: HashMap::new(),
            shown: Vec::new(),
            alerts: Vec::new(),
            online: false,
            invited: Vec::new(),
            typing: Vec::new(),
            presences: Vec::new(),
            is_shown: false,
            warned: Vec::new(),
            read: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
            may_fail: false,
            disk_full: false,
            tags_asked: 0,
            kept: Vec::new(),
            changes: Vec::new(),
            offered: Vec::new(),
            offers: VecDeque::new(),
            seed,
            taken: BTreeMap::new(),
        }
    }

    /// The same keys again, as the seed gives them.
    pub(super) fn keys(&self) -> (IdentitySecret, [u8; 32]) {
        let mut rng = ChaCha20Rng::from_seed([self.seed; 32]);
        let identity = IdentitySecret::generate(&mut rng);
        let secret = EncryptionSecret::generate(&mut rng);
        (identity, *secret.public().as_bytes())
    }

    pub(super) fn public(&self) -> EncryptionPublic {
        EncryptionPublic::from_slice(&self.keys().1).unwrap()
    }

    pub(super) fn alerted(&self, kind: &str) -> bool {
        self.alerts.iter().any(|alert| alert.kind == kind)
    }

    pub(super) fn inbound(&self) -> Vec<String> {
        self.shown
            .iter()
            .filter(|message| !message.own)
            .map(|message| message.client_msg_id.clone())
            .collect()
    }
}

/// A signed bundle with one key.
pub(super) fn bundle(identity: &IdentitySecret, handle: &Handle, number: u64, public: &[u8; 32]) -> Vec<u8> {
    identity.sign_document(&Bundle {
        version: VERSION,
        relay: relay_id(),
        handle: handle.clone(),
        identity: identity.public().clone(),
        number,
        not_before: START - 1,
        not_after: START + 90 * DAY,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: Suite::CLASSIC,
            number,
            public: public.to_vec(),
        }],
        recovery: Hash::from_bytes([0; 32]),
    })
}

/// A message whose text is its id.
pub(super) fn request(to: Destination, client_msg_id: &str) -> Box<SendRequest> {
    Box::new(SendRequest {
        to,
        client_msg_id: client_msg_id.into(),
        message_type: "text".into(),
        content: format!("{{\"text\":\"{client_msg_id}\"}}"),
        metadata: None,
        reply_to: None,
        expires_at: None,
        attachment: None,
        broadcast: false,
    })
}

/// What the relay does with a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Stores and answers.
    None,
    /// Stores; the answer is lost.
    LoseAnswer,
    /// Stores nothing; nobody knows.
    LoseSend,
    /// Refuses for good.
    Refuse(ProblemType),
}

/// What the relay does with an own bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// Takes it; the answer is lost.
    LoseAnswer,
    /// Says that it cannot be reached.
    Lose,
    /// Refuses it.
    Refuse(ProblemType),
}

/// Objects with their places in the queues, in the order in which they come.
pub(super) type Objects = Vec<(Cursor, Vec<u8>)>;

/// What a relay makes of the objects that it hands to an agent.
pub(super) type Tamper = Box<dyn FnMut(usize, Objects) -> Objects>;

/// What a relay says of its log, by whom it is asked.
pub(super) type LogScript = Box<dyn FnMut(usize, LogCall) -> Option<Result<Vec<Vec<u8>>, LookupError>>>;

/// What stands for the tag of a handle, without its price.
pub(super) fn tag(handle: &Handle) -> Hash {
    sha256(handle.as_str().as_bytes())
}

/// Engines and the relay between them.
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) now: u64,
    pub(super) faults: VecDeque<Fault>,
    /// Everything stored: recipient, lane, envelope; a test may reorder or rewrite it before `run`.
    pub(super) stored: Vec<(AgentId, Lane, Vec<u8>)>,
    pub(super) bundles: HashMap<Handle, Vec<u8>>,
    /// What it shows with every bundle.
    pub(super) successions: Vec<Vec<u8>>,
    /// Envelopes to be passed on with the next `run`, and all that ever were.
    pub(super) passing: Vec<Vec<u8>>,
    pub(super) passed: Vec<Vec<u8>>,
    pub(super) relay_down: bool,
    /// How much of the time since the start no proxy ran.
    pub(super) away: u64,
    mids: HashMap<(AgentId, Mid), Hash>,
    next_request: u64,
    pub(super) groups: GroupRelay,
    /// Calls wait until they are released.
    pub(super) calls_wait: bool,
    /// Lookups of whoever is offline are answered, too. Otherwise they take longer than the test.
    pub(super) tells_unreached: bool,
    waiting_calls: VecDeque<(usize, RelayCall)>,
    /// The answer to the next append is lost.
    pub(super) lose_append: bool,
    /// The next append is stored, and answered as if it was refused.
    pub(super) refuse_append: bool,
    /// The state of whoever next begins anew cannot be written then.
    pub(super) disk_full_at_beginning: bool,
    /// What is said of the next send that is stored.
    pub(super) notice: Option<Box<SendNotice>>,
    /// What the relay was told by whom, in order.
    pub(super) declared: Vec<(usize, Declaration)>,
    /// What it says to that.
    pub(super) declare_fails: Option<LookupError>,
    /// Leases that were offered outside of the link's own.
    pub(super) leases: Vec<Vec<u8>>,
    /// A relay that does not hand out what it holds.
    pub(super) tamper: Option<Tamper>,
    /// The log that each agent is shown, if the relay keeps one; the last is that of all others.
    pub(super) logs: Vec<TestLog>,
    /// What the relay was asked about its log.
    pub(super) log_calls: Vec<LogCall>,
    /// In place of the relay's answers about its log.
    pub(super) log_answer: Option<LogScript>,
    /// This agent's proxy dies after its next transaction and before anything follows from it.
    pub(super) dies: Option<usize>,
}

impl Net {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        let bundles = nodes
            .iter()
            .map(|node| (node.handle.clone(), node.bundle.clone()))
            .collect();
        let mut net = Self {
            nodes,
            now: START + 1_000,
            faults: VecDeque::new(),
            stored: Vec::new(),
            passing: Vec::new(),
            passed: Vec::new(),
            bundles,
            successions: Vec::new(),
            relay_down: false,
            away: 0,
            mids: HashMap::new(),
            next_request: 0,
            groups: GroupRelay::default(),
            calls_wait: false,
            tells_unreached: false,
            waiting_calls: VecDeque::new(),
            lose_append: false,
            refuse_append: false,
            disk_full_at_beginning: false,
            notice: None,
            declared: Vec::new(),
            declare_fails: None,
            leases: Vec::new(),
            tamper: None,
            logs: Vec::new(),
            log_calls: Vec::new(),
            log_answer: None,
            dies: None,
        };
        for index in 0..net.nodes.len() {
            net.connect(index);
        }
        net
    }

    pub(super) fn pair() -> Self {
        Self::new(vec![
            Node::new("alice", 1, Settings::default()),
            Node::new("bob", 2, Settings::default()),
        ])
    }

    /// Another agent, whom the relay knows.
    pub(super) fn add_node(&mut self, name: &str, seed: u8) {
        let node = Node::new(name, seed, Settings::default());
        self.bundles.insert(node.handle.clone(), node.bundle.clone());
        self.nodes.push(node);
        self.connect(self.nodes.len() - 1);
    }

    pub(super) fn connect(&mut self, index: usize) {
        self.nodes[index].online = true;
        self.nodes[index].is_shown = false;
        let relay_time = self.now;
        self.feed(index, vec![Event::Link(LinkEvent::Up { relay_time })]);
    }

    pub(super) fn disconnect(&mut self, index: usize) {
        self.nodes[index].online = false;
        self.feed(index, vec![Event::Link(LinkEvent::Down)]);
    }

    pub(super) fn command(&mut self, index: usize, command: Command) -> u64 {
        self.next_request += 1;
        let id = self.next_request;
        self.feed(index, vec![Event::Command(id, command)]);
        id
    }

    pub(super) fn send(&mut self, from: usize, to: &str, client_msg_id: &str) -> u64 {
        let to = Destination::Peer(to.parse().unwrap());
        self.command(from, Command::Send(request(to, client_msg_id)))
    }

    /// Calls that wait to be released.
    pub(super) fn waiting_calls(&self) -> usize {
        self.waiting_calls.len()
    }

    /// The relay pretends that an agent has everything of a queue up to a position.
    pub(super) fn skip(&mut self, index: usize, queue: Queue, position: u64) {
        self.nodes[index].taken.insert(queue, position);
    }

    /// How far an agent has acknowledged a queue.
    pub(super) fn acked(&self, index: usize, queue: Queue) -> u64 {
        self.nodes[index].taken.get(&queue).copied().unwrap_or(0)
    }

    /// A control message of any kind and body.
    pub(super) fn control(&mut self, from: usize, to: &str, kind: Kind, body: Vec<u8>) {
        let now = Now {
            unix: self.now,
            running: self.now - START - self.away,
        };
        let effects = self.nodes[from]
            .engine
            .send_control(&to.parse().unwrap(), kind, body, now);
        for effect in effects {
            if let Some(event) = self.carry_out(from, effect) {
                self.feed(from, vec![event]);
            }
        }
    }

    pub(super) fn answer(&self, index: usize, id: u64) -> Option<&Result<Reply, Refusal>> {
        self.nodes[index].answers.get(&id)
    }

    /// Gives everybody who is online what the relay holds, then lets time pass where asked.
    pub(super) fn run(&mut self) {
        for _ in 0..50 {
            self.pass_on();
            let before = self
                .nodes
                .iter()
                .map(|node| node.taken.values().sum::<u64>())
                .sum::<u64>();
            for index in 0..self.nodes.len() {
                self.deliver(index);
            }
            let after = self
                .nodes
                .iter()
                .map(|node| node.taken.values().sum::<u64>())
                .sum::<u64>();
            if before == after && self.passing.is_empty() {
                return;
            }
        }
    }

    /// Hands what nobody stores to those who are there.
    fn pass_on(&mut self) {
        for envelope in std::mem::take(&mut self.passing) {
            let header = Header::decode(Envelope::split(&envelope).unwrap().header).unwrap();
            let Header::Direct(DirectHeader { to, .. }) = header else {
                panic!("only direct envelopes are passed on");
            };
            let there = |node: &Node| node.agent_id == to && node.online;
            if let Some(index) = self.nodes.iter().position(there) {
                self.feed(index, vec![Event::Link(LinkEvent::Transient(envelope.clone()))]);
            }
            self.passed.push(envelope);
        }
    }

    /// An agent holds another as a contact.
    pub(super) fn hold(&mut self, index: usize, other: &str) {
        let store = self.nodes[index].engine.store();
        let peer = store.peer(&other.parse().unwrap()).unwrap().unwrap();
        store.put_contact(peer.peer_id, self.now).unwrap();
    }

    /// The relay says that somebody came or went.
    pub(super) fn push_seen(&mut self, index: usize, of: &str, online: bool) {
        let seen = Seen {
            handle: of.parse().unwrap(),
            online,
            last_seen: (!online).then_some(START),
        };
        self.feed(index, vec![Event::Link(LinkEvent::Seen(seen))]);
    }

    /// Alice has said "one", "two" and "three", and bob has the first and the third; the relay has lost the second.
    pub(super) fn with_hole() -> Self {
        let mut net = Self::pair();
        net.send(0, "bob", "one");
        net.run();
        net.send(0, "bob", "two");
        net.stored.pop();
        net.send(0, "bob", "three");
        net.run();
        net
    }

    /// Time passes in which no proxy runs, or all clocks are set: nobody has looked at them yet.
    pub(super) fn suspend(&mut self, ms: u64) {
        self.now += ms;
        self.away += ms;
        for node in &mut self.nodes {
            node.may_fail = true;
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        for index in 0..self.nodes.len() {
            if self.nodes[index]
                .engine
                .next_deadline()
                .is_some_and(|at| at <= self.now)
            {
                self.feed(index, vec![Event::Tick]);
            }
        }
        self.run();
    }

    fn deliver(&mut self, index: usize) {
        if !self.nodes[index].online {
            return;
        }
        let me = self.nodes[index].agent_id;
        let mut objects = Objects::new();
        for (lane, queue) in [(Lane::Mail, Queue::Mail), (Lane::Control, Queue::Control)] {
            let mine = self.stored.iter().filter(|(to, on, _)| *to == me && *on == lane);
            let mine = (1_u64..).zip(mine.map(|(_, _, envelope)| envelope.clone()));
            objects.extend(self.untaken(index, queue, mine));
        }
        self.give(index, objects);
        self.deliver_groups(index);
    }

    fn deliver_groups(&mut self, index: usize) {
        let me = self.nodes[index].agent_id;
        let mut objects = Objects::new();
        let mut groups: Vec<_> = self.groups.groups.keys().copied().collect();
        groups.sort();
        for group in groups {
            let (log, messages) = self.groups.readable(&group, &me);
            objects.extend(self.untaken(index, Queue::Log(group), log));
            objects.extend(self.untaken(index, Queue::Group(group), messages));
        }
        self.give(index, objects);
    }

    /// What of a queue an agent has not acknowledged.
    fn untaken(
        &self,
        index: usize,
        queue: Queue,
        objects: impl IntoIterator<Item = (u64, Vec<u8>)>,
    ) -> Objects {
        let taken = self.acked(index, queue);
        let left = objects.into_iter().filter(|(position, _)| *position > taken);
        left.map(|(position, object)| (Cursor { queue, position }, object))
            .collect()
    }

    fn give(&mut self, index: usize, mut objects: Objects) {
        if let Some(tamper) = &mut self.tamper {
            objects = tamper(index, objects);
        }
        if objects.is_empty() {
            return;
        }
        let delivered = |(cursor, object)| Event::Link(LinkEvent::Delivered { cursor, object });
        self.feed(index, objects.into_iter().map(delivered).collect());
    }

    /// The same state in a new process, with the keys that reached the key store.
    pub(super) fn restart_as_kept(&mut self, index: usize) {
        let kept = self.nodes[index].kept.clone();
        self.restart(index, |number| number != START && !kept.contains(&number));
    }

    /// The same state and keys in a new process; keys of which the key store was not told are lost.
    pub(super) fn restart(&mut self, index: usize, lose: impl Fn(u64) -> bool) {
        let spare = Node::new("spare", 99, Settings::default()).engine;
        let Engine {
            mut account,
            settings,
            store,
            rng,
            ..
        } = std::mem::replace(&mut self.nodes[index].engine, spare);
        account.encryption_keys.retain(|key| !lose(key.number));
        self.nodes[index].engine = Engine::new(account, settings, store, rng);
        self.connect(index);
    }

    pub(super) fn feed(&mut self, index: usize, events: Vec<Event>) {
        let mut queue = VecDeque::from(vec![events]);
        while let Some(events) = queue.pop_front() {
            let now = Now {
                unix: self.now,
                running: self.now - START - self.away,
            };
            let effects = self.nodes[index].engine.handle_batch(events.into_iter(), now);
            if self.dies == Some(index) {
                self.dies = None;
                return self.restart_as_kept(index);
            }
            let answers: Vec<Event> = effects
                .into_iter()
                .filter_map(|effect| self.carry_out(index, effect))
                .collect();
            if !answers.is_empty() {
                queue.push_back(answers);
            }
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Reply(id, answer) => {
                let earlier = self.nodes[index].answers.insert(id, answer);
                assert!(earlier.is_none(), "request {id} was answered twice");
                None
            }
            Effect::Send(token, envelope) => {
                let outcome = self.store(index, token, &envelope)?;
                Some(Event::Link(LinkEvent::Outcome(token, outcome)))
            }
            Effect::Ack(cursors) => {
                for cursor in cursors {
                    self.nodes[index].taken.insert(cursor.queue, cursor.position);
                }
                None
            }
            Effect::Transient(envelope) => {
                self.passing.push(envelope);
                None
            }
            Effect::Show(shown) => {
                self.nodes[index].is_shown = shown;
                None
            }
            Effect::Notify(Notice::Typing {
                conversation,
                sender,
                active,
            }) => {
                self.nodes[index].typing.push((conversation, sender, active));
                None
            }
            Effect::Notify(Notice::Presence(presence)) => {
                self.nodes[index].presences.push(*presence);
                None
            }
            Effect::Call(call) if self.calls_wait => {
                self.waiting_calls.push_back((index, call));
                None
            }
            Effect::Call(call) => self.answer_call(index, call),
            Effect::Notify(Notice::Invited(invitation)) => {
                self.nodes[index].invited.push(*invitation);
                None
            }
            Effect::OfferBundle(offer) => {
                self.nodes[index].kept.push(offer.key.number);
                let answer = self.publish(index, offer.bundle);
                Some(Event::Link(LinkEvent::Published(answer)))
            }
            Effect::Keys(change) => {
                self.nodes[index].changes.push(change);
                None
            }
            Effect::BeginAnew(anew) => {
                self.nodes[index].begun.push(anew);
                if std::mem::take(&mut self.disk_full_at_beginning) {
                    self.nodes[index].disk_full = true;
                    self.nodes[index].engine.store().execute("PRAGMA query_only = ON");
                }
                Some(Event::BegunAnew(anew))
            }
            Effect::Lease(lease) => {
                self.leases.push(lease);
                let relay_time = self.now;
                Some(Event::Link(LinkEvent::Up { relay_time }))
            }
            Effect::StandDown(_) => {
                self.nodes[index].online = false;
                Some(Event::Link(LinkEvent::Down))
            }
            Effect::ResetLink => {
                let mut changes = self.nodes[index].changes.iter();
                let published = changes.any(|change| matches!(change, KeyChange::Published { .. }));
                assert!(published || self.nodes[index].may_fail, "the state failed");
                if std::mem::take(&mut self.nodes[index].disk_full) {
                    self.nodes[index]
                        .engine
                        .store()
                        .execute("PRAGMA query_only = OFF");
                }
                let relay_time = self.now;
                let up = Event::Link(LinkEvent::Up { relay_time });
                self.nodes[index].online.then_some(up)
            }
            Effect::Lineage(_) => {
                self.nodes[index].taken.clear();
                let relay_time = self.now;
                Some(Event::Link(LinkEvent::Up { relay_time }))
            }
            Effect::HandleTag(handle) => {
                self.nodes[index].tags_asked += 1;
                let tag = tag(&handle);
                Some(Event::HandleTag(handle, Some(tag)))
            }
            Effect::Notify(Notice::Message(message)) => {
                self.nodes[index].shown.push(*message);
                None
            }
            Effect::Notify(Notice::Read(read)) => {
                self.nodes[index].read.push(*read);
                None
            }
            Effect::Notify(Notice::RateLimit(allowance)) => {
                self.nodes[index].warned.push(allowance);
                None
            }
            Effect::Notify(Notice::GroupEnded(end)) => {
                self.nodes[index].ended.push(*end);
                None
            }
            Effect::Notify(Notice::Alert(alert)) => {
                self.nodes[index].alerts.push(*alert);
                None
            }
        }
    }

    fn answer_call(&mut self, index: usize, call: RelayCall) -> Option<Event> {
        if let RelayCall::Lease(lease) = &call {
            self.leases.push(lease.clone());
        }
        if !self.nodes[index].online {
            return self.answer_offline(call).map(Event::Link);
        }
        Some(Event::Link(match call {
            RelayCall::Lease(lease) => LinkEvent::Lease(lease),
            RelayCall::Publish(bundle) => LinkEvent::Published(self.publish(index, bundle)),
            RelayCall::Declare(declaration) => {
                let answer = match &self.declare_fails {
                    Some(error) => Err(error.clone()),
                    None => {
                        self.declared.push((index, declaration.clone()));
                        Ok(())
                    }
                };
                LinkEvent::Declared(declaration, answer)
            }
            RelayCall::Profile(request, handle) => {
                LinkEvent::Profile(request, handle, Err(LookupError::Unreachable))
            }
            RelayCall::Directory { request, .. } => {
                LinkEvent::Directory(request, Err(LookupError::Unreachable))
            }
            RelayCall::Channel(request, joining) => {
                let answer = self.groups.channel(&joining.slug);
                LinkEvent::Channel(request, joining, answer)
            }
            RelayCall::Channels { request, .. } => {
                LinkEvent::Channels(request, Err(LookupError::Unreachable))
            }
            RelayCall::Bundle(handle) => {
                let answer = self.look_up(&handle);
                let answer = answer.map(|shown| self.with_proof(index, shown));
                LinkEvent::Bundle(handle, answer)
            }
            RelayCall::Append {
                group,
                commit,
                first,
                body,
            } => {
                let outcome = self.groups.append(&group, first, &body);
                let outcome = if std::mem::take(&mut self.lose_append) {
                    AppendOutcome::Unknown
                } else if std::mem::take(&mut self.refuse_append) {
                    AppendOutcome::Refused(Box::new(Problem::new(ProblemType::Forbidden)))
                } else {
                    outcome
                };
                LinkEvent::Appended(group, commit, outcome)
            }
            RelayCall::Log { group, after } => LinkEvent::Log(group, self.groups.log(&group, after)),
            RelayCall::Presences(id, handles) => {
                let seen = handles.into_iter().filter_map(|handle| self.see(handle));
                LinkEvent::Presences(id, Ok(seen.collect()))
            }
            RelayCall::Transparency(call) => LinkEvent::Transparency(call, self.read_log(index, call)),
            RelayCall::Leaf { group, epoch, index } => {
                LinkEvent::Leaf(group, epoch, self.groups.leaf(&group, epoch, index))
            }
        }))
    }

    /// The link answers every call once, also that the relay was not reached.
    fn answer_offline(&self, call: RelayCall) -> Option<LinkEvent> {
        let unreached = LookupError::Unreachable;
        match call {
            RelayCall::Transparency(call) => Some(LinkEvent::Transparency(call, Err(unreached))),
            RelayCall::Bundle(handle) if self.tells_unreached => {
                Some(LinkEvent::Bundle(handle, Err(unreached)))
            }
            _ => None,
        }
    }

    fn see(&self, handle: Handle) -> Option<Seen> {
        let node = self.nodes.iter().find(|node| node.handle == handle)?;
        let online = node.online && node.is_shown;
        Some(Seen {
            handle,
            online,
            last_seen: (!online).then_some(START),
        })
    }

    /// Answers calls that were kept waiting, in order.
    pub(super) fn release_calls(&mut self) {
        self.calls_wait = false;
        while let Some((index, call)) = self.waiting_calls.pop_front() {
            if let Some(event) = self.answer_call(index, call) {
                self.feed(index, vec![event]);
            }
        }
    }

    /// Answers the latest of the calls that wait; false if none does.
    pub(super) fn release_latest_call(&mut self) -> bool {
        let Some((index, call)) = self.waiting_calls.pop_back() else {
            return false;
        };
        if let Some(event) = self.answer_call(index, call) {
            self.feed(index, vec![event]);
        }
        true
    }

    fn publish(&mut self, index: usize, bundle: Vec<u8>) -> Result<(), LookupError> {
        let node = &mut self.nodes[index];
        node.offered.push(bundle.clone());
        let handle = node.handle.clone();
        match node.offers.pop_front() {
            None => {
                self.bundles.insert(handle, bundle);
                Ok(())
            }
            Some(Offered::LoseAnswer) => {
                self.bundles.insert(handle, bundle);
                Err(LookupError::Unreachable)
            }
            Some(Offered::Lose) => Err(LookupError::Unreachable),
            Some(Offered::Refuse(kind)) => Err(LookupError::Refused(Box::new(Problem::new(kind)))),
        }
    }

    fn look_up(&self, handle: &Handle) -> Result<BundleAnswer, LookupError> {
        if self.relay_down {
            return Err(LookupError::Unreachable);
        }
        let bundle = self.bundles.get(handle).ok_or(LookupError::NotFound)?;
        let node = self
            .nodes
            .iter()
            .find(|node| node.bundle == *bundle || node.handle == *handle);
        let signed = waxwire_shared::sign::SignedBytes::decode(bundle).unwrap();
        let body = Bundle::decode(&signed.body).unwrap();
        let agent_id = AgentId::of(&relay_id(), &body.identity);
        assert!(node.is_some());
        Ok(BundleAnswer {
            agent_id,
            bundle: Base64Bytes(bundle.clone()),
            successions: self.successions.iter().cloned().map(Base64Bytes).collect(),
            log: None,
        })
    }

    fn store(&mut self, index: usize, _token: SendToken, envelope: &[u8]) -> Option<SendOutcome> {
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        let sender = self.nodes[index].agent_id;
        let header = match Header::decode(Envelope::split(envelope).unwrap().header).unwrap() {
            Header::Direct(header) => header,
            Header::Group(header) => {
                return match fault {
                    Fault::LoseSend => None,
                    Fault::Refuse(kind) => Some(SendOutcome::Refused(Box::new(Problem::new(kind)))),
                    Fault::None => {
                        let mut outcome = self.groups.send(sender, &header, envelope);
                        if let SendOutcome::Stored { notice, .. } = &mut outcome {
                            *notice = self.notice.take();
                        }
                        Some(outcome)
                    }
                    Fault::LoseAnswer => {
                        self.groups.send(sender, &header, envelope);
                        None
                    }
                };
            }
        };
        match fault {
            Fault::LoseSend => return None,
            Fault::Refuse(kind) => return Some(SendOutcome::Refused(Box::new(Problem::new(kind)))),
            Fault::None | Fault::LoseAnswer => {}
        }
        let known = self.mids.get(&(sender, header.mid)).copied();
        let hash = known.unwrap_or_else(|| sha256(envelope));
        if known.is_none() {
            self.mids.insert((sender, header.mid), hash);
            self.stored.push((header.to, header.lane, envelope.to_vec()));
        }
        (fault == Fault::None).then_some(SendOutcome::Stored {
            repeated: known.is_some(),
            hash,
            notice: self.notice.take(),
        })
    }
}
