//! What lies behind an engine before the relay begins to lie: two honest agents who have talked, and share a group.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    sync::OnceLock,
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_proxy::{
    crypto::{message, secret::EncryptionPublic},
    engine::{
        AppendOutcome, Command, Effect, Event, GroupCommand, LinkEvent, LogPage, LookupError, Notice,
        RelayCall, SendOutcome,
    },
    model::{Destination, GroupProfile, InviteId, LocalConversation, Message, NewGroup, SendRequest},
    state::{FILE, StateError, Store},
};
use waxwire_shared::{
    api::{
        append::Append,
        frames::{Cursor, Queue},
        rest::BundleAnswer,
    },
    fingerprint::Fingerprint,
    hash::sha256,
    identity::IdentityKey,
    ids::{AgentId, ConversationId, GroupId, Hash, Mid, SessionId},
    merkle,
    suite::Suite,
    wire::{
        Context, ControlBody, Core, DirectHeader, Document as _, Envelope, Header, Kind, Lane, LeafProof,
        Leaves, VERSION,
    },
};

use super::{
    answer_of,
    party::{Party, START, columns, keys},
};
use crate::feed::Feed;

/// Begins everything that honest agents say.
const SAID: &[u8] = b"said-";

const ALICE: u8 = 1;
const BOB: u8 = 2;

/// A relay of a few lines, as honest as they come.
#[derive(Default)]
struct Honest {
    /// Queues of Alice and of Bob.
    queues: [BTreeMap<Queue, Vec<Vec<u8>>>; 2],
    delivered: [BTreeMap<Queue, usize>; 2],
    log: Vec<Vec<u8>>,
    leaves: BTreeMap<u64, Leaves>,
    group: Option<GroupId>,
}

impl Honest {
    fn store(&mut self, envelope: &[u8], parties: &[Party; 2]) {
        match Header::decode(Envelope::split(envelope).unwrap().header).unwrap() {
            Header::Direct(header) => {
                let to = parties
                    .iter()
                    .position(|party| party.agent_id == header.to)
                    .unwrap();
                let queue = self.queues[to].entry(header.lane.into()).or_default();
                queue.push(envelope.to_vec());
            }
            Header::Group(header) => {
                for queues in &mut self.queues {
                    let queue = queues.entry(Queue::Group(header.group)).or_default();
                    queue.push(envelope.to_vec());
                }
            }
        }
    }

    fn append(&mut self, group: GroupId, body: &[u8]) {
        let append = Append::split(body).unwrap();
        self.group = Some(group);
        self.log.push(append.commit.to_vec());
        if !append.leaves.is_empty() {
            let epoch = self.leaves.len() as u64 + 1;
            self.leaves.insert(epoch, Leaves::decode(append.leaves).unwrap());
        }
        for queues in &mut self.queues {
            queues
                .entry(Queue::Log(group))
                .or_default()
                .push(append.commit.to_vec());
        }
    }

    fn leaf(&self, epoch: u64, index: u32) -> Result<Vec<u8>, LookupError> {
        let leaves = &self.leaves.get(&epoch).ok_or(LookupError::NotFound)?.leaves;
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let at = usize::try_from(index).unwrap();
        let path = merkle::inclusion_path(&hashes, at);
        let leaf = leaves.get(at).ok_or(LookupError::NotFound)?.clone();
        Ok(LeafProof { leaf, path }.encode())
    }

    fn answer(&mut self, call: RelayCall, parties: &[Party; 2]) -> Option<LinkEvent> {
        Some(match call {
            RelayCall::Bundle(handle) => {
                let party = parties.iter().find(|party| party.handle == handle);
                let answer = party.map(|party| answer_of(party.agent_id, &party.bundle));
                LinkEvent::Bundle(handle, answer.ok_or(LookupError::NotFound))
            }
            RelayCall::Append {
                group, commit, body, ..
            } => {
                self.append(group, &body);
                LinkEvent::Appended(group, commit, AppendOutcome::Stored)
            }
            RelayCall::Log { group, after } => {
                let from = usize::try_from(after).unwrap();
                let page = LogPage {
                    after,
                    commits: self.log[from..].to_vec(),
                    length: self.log.len() as u64,
                };
                LinkEvent::Log(group, Ok(page))
            }
            RelayCall::Leaf { group, epoch, index } => LinkEvent::Leaf(group, epoch, self.leaf(epoch, index)),
            RelayCall::Transparency(call) => LinkEvent::Transparency(call, Err(LookupError::NotFound)),
            RelayCall::Declare(declared) => LinkEvent::Declared(declared, Ok(())),
            RelayCall::Lease(lease) => LinkEvent::Lease(lease),
            _ => return None,
        })
    }
}

/// The set-up, played once; what Bob was told in it is kept.
struct Stage {
    parties: [Party; 2],
    relay: Honest,
    told: Vec<(u64, Vec<Event>)>,
    invited: Option<InviteId>,
    requests: u64,
}

impl Stage {
    fn feed(&mut self, index: usize, events: Vec<Event>) {
        let mut batches = VecDeque::from([events]);
        while let Some(events) = batches.pop_front() {
            if index == 1 {
                self.told.push((self.parties[1].now, events.clone()));
            }
            let effects = self.parties[index].handle(events);
            let follow: Vec<Event> = effects
                .into_iter()
                .filter_map(|effect| self.follow(effect))
                .collect();
            if !follow.is_empty() {
                batches.push_back(follow);
            }
        }
    }

    fn follow(&mut self, effect: Effect) -> Option<Event> {
        let event = match effect {
            Effect::Send(token, envelope) => {
                self.relay.store(&envelope, &self.parties);
                let outcome = SendOutcome::Stored {
                    repeated: false,
                    hash: sha256(&envelope),
                    notice: None,
                };
                Some(LinkEvent::Outcome(token, outcome))
            }
            Effect::Call(call) => self.relay.answer(call, &self.parties),
            Effect::Notify(Notice::Invited(invitation)) => {
                self.invited = Some(invitation.id);
                None
            }
            Effect::HandleTag(handle) => {
                let tag = sha256(handle.as_str().as_bytes());
                return Some(Event::HandleTag(handle, Some(tag)));
            }
            _ => None,
        };
        event.map(Event::Link)
    }

    fn ask(&mut self, index: usize, command: Command) {
        self.requests += 1;
        self.feed(index, vec![Event::Command(self.requests, command)]);
        self.settle();
    }

    /// Everybody gets everything that is there, and what is due is done.
    fn settle(&mut self) {
        for round in 0..12 {
            for index in [0, 1] {
                let new = self.undelivered(index);
                if !new.is_empty() {
                    self.feed(index, new);
                }
                self.parties[index].now = START + 1_000 + self.requests * 60_000 + round * 400;
                self.feed(index, vec![Event::Tick]);
            }
        }
    }

    fn undelivered(&mut self, index: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for (queue, objects) in &self.relay.queues[index] {
            let from = self.relay.delivered[index].entry(*queue).or_default();
            for (at, object) in objects.iter().enumerate().skip(*from) {
                let cursor = Cursor {
                    queue: *queue,
                    position: at as u64 + 1,
                };
                let object = object.clone();
                events.push(Event::Link(LinkEvent::Delivered { cursor, object }));
            }
            *from = objects.len();
        }
        events
    }

    fn say(&mut self, index: usize, to: Destination, text: &str) {
        self.ask(
            index,
            Command::Send(Box::new(SendRequest {
                to,
                client_msg_id: text.into(),
                message_type: "text".into(),
                content: format!("{{\"text\":\"{text}\"}}"),
                metadata: None,
                reply_to: None,
                expires_at: None,
                attachment: None,
                broadcast: false,
            })),
        );
    }
}

/// What every input begins with.
pub(super) struct Past {
    told: Vec<(u64, Vec<Event>)>,
    pub(super) now: u64,
    pub(super) group: GroupId,
    /// Objects of Bob's queues, in order.
    pub(super) objects: Vec<(Queue, Vec<u8>)>,
    /// How far each queue was read.
    pub(super) reached: BTreeMap<Queue, u64>,
    pub(super) log: Vec<Vec<u8>>,
    /// Bob's database.
    pub(super) state: Vec<u8>,
    /// Bob's leaf of the newest epoch.
    pub(super) leaf: Vec<u8>,
    /// What the relay says of Alice.
    pub(super) bundle: BundleAnswer,
    bob: (AgentId, IdentityKey),
    sealing: RefCell<ChaCha20Rng>,
}

thread_local! {
    static PAST: OnceLock<&'static Past> = const { OnceLock::new() };
}

/// One for each thread, made when it is first asked for.
pub(super) fn past() -> &'static Past {
    PAST.with(|cell| *cell.get_or_init(|| Box::leak(Box::new(played()))))
}

fn played() -> Past {
    let parties = [Party::new("alice", ALICE), Party::new("bob", BOB)];
    let mut stage = Stage {
        parties,
        relay: Honest::default(),
        told: Vec::new(),
        invited: None,
        requests: 0,
    };
    for index in [0, 1] {
        let relay_time = stage.parties[index].now;
        stage.feed(index, vec![Event::Link(LinkEvent::Up { relay_time })]);
    }
    let peer = |name: &str| Destination::Peer(name.parse().unwrap());
    stage.say(0, peer("bob"), "said-first");
    stage.say(1, peer("alice"), "said-second");
    let new = NewGroup {
        profile: GroupProfile {
            name: "said-plans".into(),
            ..GroupProfile::default()
        },
        members: vec!["bob".parse().unwrap()],
        channel: None,
    };
    stage.ask(0, Command::Group(GroupCommand::Create(Box::new(new))));
    let invite = stage.invited.unwrap();
    stage.ask(1, Command::Group(GroupCommand::Accept(invite)));
    let group = stage.relay.group.unwrap();
    let epochs = stage.relay.leaves.len() as u64;
    // What follows comes to Bob in the trial, in whatever order.
    let told = std::mem::take(&mut stage.told);
    let delivered = stage.relay.delivered[1].clone();
    let now = stage.parties[1].now;
    stage.say(0, peer("bob"), "said-third");
    stage.say(
        0,
        Destination::Conversation(LocalConversation::group(&group)),
        "said-to-all",
    );
    stage.say(0, peer("bob"), "said-fourth");
    let queues = std::mem::take(&mut stage.relay.queues[1]);
    let objects: Vec<(Queue, Vec<u8>)> = queues
        .iter()
        .flat_map(|(queue, objects)| {
            let read = delivered.get(queue).copied().unwrap_or(0);
            objects
                .iter()
                .skip(read.saturating_sub(1))
                .map(|object| (*queue, object.clone()))
        })
        .collect();
    assert!(objects.iter().any(|(queue, _)| matches!(queue, Queue::Group(_))));
    let state = written(&told);
    let alice = &stage.parties[0];
    Past {
        told,
        state,
        now,
        group,
        objects,
        reached: delivered
            .iter()
            .map(|(queue, read)| (*queue, *read as u64))
            .collect(),
        leaf: stage.relay.leaf(epochs, 1).unwrap(),
        log: stage.relay.log,
        bundle: answer_of(alice.agent_id, &alice.bundle),
        bob: (stage.parties[1].agent_id, keys(BOB).0.public().clone()),
        sealing: RefCell::new(ChaCha20Rng::from_seed([9; 32])),
    }
}

/// The database of a Bob who was told this.
fn written(told: &[(u64, Vec<Event>)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), columns(), [BOB; 8], START).unwrap();
    let mut bob = opened(folder.path()).unwrap();
    bob.hear(told);
    drop(bob);
    fs::read(folder.path().join(FILE)).unwrap()
}

fn opened(folder: &Path) -> Result<Party, StateError> {
    let store = Store::open(folder, columns())?;
    Party::with_store("bob", BOB, store)
}

impl Past {
    /// Bob's engine as it was at the end of the past.
    pub(super) fn again(&self) -> Reader {
        let mut reader = Reader(Party::new("bob", BOB));
        reader.0.hear(&self.told);
        reader.0.now = self.now;
        reader
    }

    /// Bob's engine on a state in a folder.
    pub(super) fn resumed(&self, folder: &Path) -> Result<Reader, StateError> {
        let mut reader = Reader(opened(folder)?);
        reader.0.now = self.now;
        Ok(reader)
    }

    /// What is shown was said: the seals of a state are its own, and its readers check where they stand.
    pub(super) fn was_said(&self, message: &Message) {
        let said = message.content.contains("said-") || message.message_type == "system";
        assert!(said, "{message:?}");
    }

    /// Nothing is shown that its author did not sign: Alice, who alone has a key besides Bob.
    pub(super) fn is_true(&self, message: &Message) {
        if message.own || message.message_type == "system" {
            return;
        }
        assert!(message.security.verified, "{message:?}");
        assert_eq!(message.sender.as_str(), "alice");
        let fingerprint = Fingerprint::of(keys(ALICE).0.public());
        assert_eq!(message.security.sender_fingerprint, fingerprint);
    }

    pub(super) fn in_clear(&self, envelope: &[u8]) -> bool {
        envelope.windows(SAID.len()).any(|part| part == SAID)
    }

    /// A message that Alice has signed and sealed for Bob: its kind and its body are anybody's choice.
    pub(super) fn signed(&self, feed: &mut Feed<'_>) -> Vec<u8> {
        let identity = keys(ALICE).0;
        let kind = Kind::ALL[usize::from(feed.byte()) % Kind::ALL.len()];
        let lane = kind.direct_lane().unwrap_or(Lane::Control);
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: if feed.byte() & 7 == 0 { Lane::Mail } else { lane },
            to: self.bob.0,
            key_number: START,
            mid: Mid::from_bytes([feed.byte(); 16]),
        };
        let header = header.encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: Some("bob".parse().unwrap()),
            recipient: Some(self.bob.1.clone()),
            recipient_key_number: Some(START),
            sender_key_number: Some(START),
            sender_bundle: Some(sha256(&self.bundle.bundle.0)),
            log_head: (feed.byte() & 7 == 0).then(|| feed.part().to_vec()),
        };
        let body = match feed.byte() & 7 {
            0 => feed.part().to_vec(),
            _ if kind.is_content() => self.core(kind, feed).encode(),
            _ => self.control(kind, feed).encode(),
        };
        let message = message::sign_message(&identity, kind, &context, &body);
        let bob = EncryptionPublic::from_slice(keys(BOB).1.public().as_bytes()).unwrap();
        let mut rng = self.sealing.borrow_mut();
        let sealed = message::seal_direct(&mut *rng, &bob, kind, &message);
        Envelope {
            header: &header,
            ciphertext: &sealed.unwrap_or_default(),
        }
        .to_bytes()
    }

    fn core(&self, kind: Kind, feed: &mut Feed<'_>) -> Core {
        let n = feed.number();
        Core {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind,
            handle: "alice".parse().unwrap(),
            identity: keys(ALICE).0.public().clone(),
            conversation: ConversationId::direct(keys(ALICE).0.public(), &self.bob.1),
            session: SessionId::from_bytes([if feed.byte() & 7 == 0 { 5 } else { ALICE }; 16]),
            incarnation: START + u64::from(feed.byte() & 1),
            n,
            previous: (n > 1).then(|| feed.hash()),
            void: Vec::new(),
            client_msg_id: "made-up".into(),
            time: if feed.byte() & 3 == 0 {
                feed.number()
            } else {
                START
            },
            expires: None,
            ack: None,
            message_type: if feed.byte() & 7 == 0 { "system" } else { "text" }.into(),
            content: feed.part().to_vec(),
            metadata: None,
            reply_to: None,
            attachments: None,
        }
    }

    fn control(&self, kind: Kind, feed: &mut Feed<'_>) -> ControlBody {
        ControlBody {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind,
            handle: "alice".parse().unwrap(),
            identity: keys(ALICE).0.public().clone(),
            conversation: match feed.byte() & 3 {
                0 => ConversationId::group(&self.group),
                _ => ConversationId::direct(keys(ALICE).0.public(), &self.bob.1),
            },
            session: SessionId::from_bytes([ALICE; 16]),
            incarnation: START,
            time: START,
            body: feed.part().to_vec(),
        }
    }
}

/// The engine under trial.
pub(super) struct Reader(Party);

impl Reader {
    pub(super) fn now(&self) -> u64 {
        self.0.now
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.0.now += ms;
    }

    pub(super) fn handle(&mut self, events: Vec<Event>) -> Vec<Effect> {
        self.0.handle(events)
    }
}
