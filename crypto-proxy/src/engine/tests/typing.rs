//! Typing (docs/protocol.md, 7.4): who is told, who is believed, and that nothing stays.

use waxwire_shared::{
    ids::ConversationId,
    wire::{Document as _, Kind, Receipt, ReceiptState, Typing},
};

use super::{
    groups::{ALICE, BOB, CAROL, NAMES},
    net::{Net, Node},
};
use crate::{
    engine::{Command, Count, Event, GroupCommand, InboxMode, LinkEvent, Settings},
    model::{LocalConversation, Refusal, TrustDecision},
};

impl Net {
    fn types(&mut self, index: usize, conversation: LocalConversation, active: bool) {
        let id = self.command(index, Command::Typing(conversation, active));
        assert!(matches!(self.answer(index, id), Some(Ok(_))));
        self.run();
    }

    /// What an agent was told since the last look: who, and whether it types.
    fn told(&mut self, index: usize) -> Vec<(String, bool)> {
        let told = std::mem::take(&mut self.nodes[index].typing);
        told.into_iter()
            .map(|(_, who, active)| (who.to_string(), active))
            .collect()
    }

    /// Hands an envelope over as one that is in no queue.
    pub(super) fn hand_over(&mut self, index: usize, envelope: Vec<u8>) {
        self.feed(index, vec![Event::Link(LinkEvent::Transient(envelope))]);
    }

    pub(super) fn transients(&self, index: usize, outcome: &'static str) -> u64 {
        let counts = self.nodes[index].engine.counters().all();
        let of = |(count, _): &(Count, u64)| *count == Count::Transient(outcome);
        counts.into_iter().find(of).map_or(0, |(_, n)| n)
    }

    /// What bob sends to alice without a word about its conversation.
    fn forge(&mut self, kind: Kind, body: Vec<u8>) -> Vec<u8> {
        self.control(BOB, "alice", kind, body);
        let (_, _, envelope) = self.stored.pop().unwrap();
        envelope
    }
}

/// Alice and bob, who have talked, and their conversation.
fn talked() -> (Net, LocalConversation) {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "hello");
    net.run();
    net.send(BOB, "alice", "hello, too");
    net.run();
    net.pass(1_000);
    let conversation = net.nodes[BOB].shown[0].conversation;
    (net, conversation)
}

fn start() -> (String, bool) {
    ("alice".into(), true)
}

fn stop() -> (String, bool) {
    ("alice".into(), false)
}

/// docs/protocol.md, 7.4: sealed to the peer, in no queue, without a number, and written nowhere.
#[test]
fn typing_reaches_the_peer_and_leaves_no_trace() {
    let (mut net, conversation) = talked();
    let stored = net.stored.len();
    net.types(ALICE, conversation, true);
    net.types(ALICE, conversation, false);
    assert_eq!(net.told(BOB), [start(), stop()]);
    assert_eq!(net.nodes[BOB].alerts, []);
    assert_eq!(net.stored.len(), stored);
    assert!(
        net.nodes[ALICE]
            .engine
            .store()
            .outbox_after(0, 10)
            .unwrap()
            .is_empty()
    );
    // The next message has the next number: nothing is missed, no gap is shown.
    net.send(ALICE, "bob", "after");
    net.run();
    let last = net.nodes[BOB].shown.last().unwrap();
    assert_eq!((last.client_msg_id.as_str(), last.security.gap), ("after", None));
    assert_eq!(net.told(BOB), []);
}

#[test]
fn typing_in_an_unknown_conversation_is_refused() {
    let (mut net, _) = talked();
    let unknown = LocalConversation::direct(&ConversationId::from_bytes([7; 32]));
    let id = net.command(ALICE, Command::Typing(unknown, true));
    let answer = net.answer(ALICE, id).unwrap();
    assert!(matches!(answer, Err(Refusal::ConversationNotFound)));
}

/// A start goes out once in three seconds, a stop only after a start.
#[test]
fn own_typing_is_throttled() {
    let (mut net, conversation) = talked();
    net.types(ALICE, conversation, false);
    assert_eq!(net.passed.len(), 0);
    for _ in 0..20 {
        net.types(ALICE, conversation, true);
    }
    assert_eq!(net.passed.len(), 1);
    for _ in 0..20 {
        net.types(ALICE, conversation, false);
        net.types(ALICE, conversation, true);
    }
    assert_eq!(
        net.passed.len(),
        2,
        "one stop, and no start so soon after the last"
    );
    net.pass(3_000);
    net.types(ALICE, conversation, true);
    assert_eq!(net.passed.len(), 3);
}

/// Without a link nothing is sent, now or later.
#[test]
fn typing_without_a_link_is_lost() {
    let (mut net, conversation) = talked();
    net.disconnect(ALICE);
    net.types(ALICE, conversation, true);
    net.connect(ALICE);
    net.run();
    assert_eq!((net.passed.len(), net.told(BOB)), (0, vec![]));
}

/// docs/protocol.md, 7.4: what a peer started ends by itself.
#[test]
fn start_ends_after_a_minute_or_when_the_peer_is_gone() {
    let (mut net, conversation) = talked();
    net.types(ALICE, conversation, true);
    net.pass(59_000);
    assert_eq!(net.told(BOB), [start()]);
    net.pass(1_000);
    assert_eq!(net.told(BOB), [stop()]);
    net.types(ALICE, conversation, true);
    net.hold(BOB, "alice");
    net.push_seen(BOB, "alice", false);
    assert_eq!(net.told(BOB), [start(), stop()]);
    net.pass(120_000);
    assert_eq!(net.told(BOB), []);
}

/// docs/protocol.md, 7.4: what the relay repeats, holds back or reorders does nothing.
#[test]
fn replayed_reordered_and_old_typing_does_nothing() {
    let (mut net, conversation) = talked();
    net.types(ALICE, conversation, true);
    net.pass(4_000);
    net.types(ALICE, conversation, false);
    assert_eq!(net.told(BOB), [start(), stop()]);
    let passed = net.passed.clone();
    for envelope in passed.iter().cycle().take(100) {
        net.hand_over(BOB, envelope.clone());
    }
    assert_eq!(net.told(BOB), []);
    assert_eq!(net.transients(BOB, "repeated"), 100);
    net.pass(60_001);
    for envelope in passed {
        net.hand_over(BOB, envelope);
    }
    assert_eq!(net.told(BOB), []);
    assert_eq!(net.transients(BOB, "stale"), 2);
    // One that the relay held back for too long.
    net.command(ALICE, Command::Typing(conversation, true));
    let held = net.passing.pop().unwrap();
    net.now += 60_001;
    net.hand_over(BOB, held);
    assert_eq!((net.told(BOB), net.transients(BOB, "stale")), (vec![], 3));
    assert_eq!(net.nodes[BOB].alerts, []);
}

/// What is not typing or presence does not come this way, and damage does not get through.
#[test]
fn forged_transients_are_refused_without_a_trace() {
    let (mut net, conversation) = talked();
    net.command(ALICE, Command::Typing(conversation, true));
    let genuine = net.passing.pop().unwrap();
    let receipt = Receipt {
        conversation: ConversationId::direct(
            net.nodes[ALICE].keys().0.public(),
            net.nodes[BOB].keys().0.public(),
        ),
        session: net.nodes[ALICE].engine.own_session(),
        n: 0,
        core_hash: None,
        later: Vec::new(),
        state: ReceiptState::Read,
    };
    let receipt = net.forge(Kind::Receipt, receipt.encode());
    let content = net.stored[0].2.clone();
    let malformed = net.forge(Kind::Typing, vec![0xa0]);
    let group = Typing {
        active: true,
        group: Some(waxwire_shared::ids::GroupId::from_bytes([3; 32])),
    };
    let unshared = net.forge(Kind::Typing, group.encode());
    for envelope in [receipt, malformed, unshared, vec![], vec![0; 5_000]] {
        net.hand_over(ALICE, envelope);
    }
    net.hand_over(BOB, content);
    for at in 0..genuine.len() {
        let mut damaged = genuine.clone();
        damaged[at] ^= 1;
        net.hand_over(BOB, damaged);
    }
    assert_eq!(net.told(ALICE), []);
    assert_eq!(net.told(BOB), []);
    assert_eq!(net.transients(ALICE, "refused"), 4);
    assert_eq!(net.transients(ALICE, "unknown_sender"), 1);
    assert_eq!(net.transients(BOB, "refused"), 1 + genuine.len() as u64);
    assert_eq!(net.nodes[ALICE].alerts, []);
    assert_eq!(net.nodes[BOB].alerts, []);
    // The genuine one behind all that still counts.
    net.hand_over(BOB, genuine);
    assert_eq!(net.told(BOB), [start()]);
}

/// One that comes out of a queue was stored, and is not acted upon.
#[test]
fn stored_typing_is_not_shown() {
    let (mut net, _) = talked();
    let body = Typing {
        active: true,
        group: None,
    };
    net.control(ALICE, "bob", Kind::Typing, body.encode());
    net.run();
    assert_eq!(net.told(BOB), []);
}

#[test]
fn strangers_and_blocked_peers_are_neither_told_nor_believed() {
    let careful = Settings {
        inbox_mode: InboxMode::ContactsOnly,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, careful),
    ]);
    net.send(ALICE, "bob", "may I");
    net.run();
    let conversation = net.nodes[ALICE].shown[0].conversation;
    net.types(ALICE, conversation, true);
    net.types(BOB, conversation, true);
    assert_eq!((net.told(ALICE), net.told(BOB)), (vec![], vec![]));
    net.command(BOB, Command::AcceptRequest("alice".parse().unwrap()));
    net.pass(3_000);
    net.types(ALICE, conversation, true);
    assert_eq!(net.told(BOB), [start()]);
    let alice = waxwire_shared::fingerprint::Fingerprint::of(net.nodes[ALICE].keys().0.public());
    let block = Command::SetTrust("alice".parse().unwrap(), TrustDecision::Blocked, alice, false);
    net.command(BOB, block);
    net.pass(3_000);
    net.types(ALICE, conversation, true);
    let passed = net.passed.len();
    net.types(BOB, conversation, true);
    assert_eq!(net.told(BOB), []);
    assert_eq!(net.passed.len(), passed, "bob tells alice nothing");
}

/// docs/protocol.md, 7.4: in a group every member is told by an envelope of its own; nothing of the
/// group's keys is used up.
#[test]
fn typing_in_a_group_reaches_every_member() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "one").unwrap();
    net.types(ALICE, group, true);
    for index in [BOB, CAROL] {
        assert_eq!(net.nodes[index].typing.last().unwrap().0, group);
        assert_eq!(net.told(index), [start()]);
    }
    assert_eq!(net.passed.len(), 2);
    net.types(ALICE, group, false);
    net.say(ALICE, group, "two").unwrap();
    for index in [BOB, CAROL] {
        assert_eq!(net.told(index), [stop()]);
        let gaps = net.nodes[index]
            .shown
            .iter()
            .filter(|message| message.security.gap.is_some());
        assert_eq!(gaps.count(), 0);
    }
}

/// Only members by the verified log: who was removed is not told, and not believed.
#[test]
fn former_member_is_neither_told_nor_believed() {
    let (mut net, group) = Net::group_of(3);
    net.nodes[CAROL].online = false;
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    net.nodes[CAROL].online = true;
    // Carol does not know yet, and tells all whom she takes for members.
    net.types(CAROL, group, true);
    assert_eq!((net.told(ALICE), net.told(BOB)), (vec![], vec![]));
    assert_eq!(net.transients(BOB, "unknown_sender"), 1);
    net.settle();
    net.types(BOB, group, true);
    assert_eq!(net.told(CAROL), []);
    assert_eq!(net.told(ALICE), [(NAMES[BOB].to_owned(), true)]);
}
