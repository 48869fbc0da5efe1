//! Receipts (docs/protocol.md, 7.3): by themselves, inside messages, in groups; and what nobody gets to
//! know by them.

use waxwire_shared::{
    api::problem::ProblemType,
    fingerprint::Fingerprint,
    ids::{ConversationId, SessionId},
    limits,
    wire::{Document as _, Kind, Lane, NRange, Receipt, ReceiptState},
};

use super::{
    groups::{ALICE, BOB, CAROL},
    net::{Fault, Net, Node},
};
use crate::{
    engine::{Command, GroupCommand, InboxMode, Reply, Settings},
    model::{LocalConversation, Message, MessageId, Status, TrustDecision},
};

const DELAY: u64 = 250;
const MINUTE: u64 = 60_000;

impl Net {
    /// The message of this name, as an agent sees it now.
    fn seen(&self, index: usize, client_msg_id: &str) -> Message {
        let node = &self.nodes[index];
        let mut shown = node.shown.iter();
        let found = shown.find(|message| message.client_msg_id == client_msg_id);
        let id = found.expect("it was shown").id;
        let store = node.engine.store();
        let row = store.message_by_id(&id).unwrap().unwrap().message_row;
        store.view(row).unwrap()
    }

    pub(super) fn status(&self, index: usize, client_msg_id: &str) -> Status {
        self.seen(index, client_msg_id).status
    }

    /// An agent acknowledges everything up to a message.
    fn take(&mut self, index: usize, client_msg_id: &str) {
        let delivery = self.seen(index, client_msg_id).delivery.unwrap();
        self.command(index, Command::Ack(delivery));
    }

    fn read(&mut self, index: usize, client_msg_id: &str) {
        let id: MessageId = self.seen(index, client_msg_id).id;
        self.command(index, Command::MarkRead(id));
    }

    /// Control envelopes that the relay has stored for an agent.
    fn control_to(&self, index: usize) -> usize {
        let to = self.nodes[index].agent_id;
        let control = |(recipient, lane, _): &&_| (*recipient, *lane) == (to, Lane::Control);
        self.stored.iter().filter(control).count()
    }

    /// Time passes until receipts that are owed have come, in direct conversations and in groups.
    fn wait_for_receipts(&mut self) {
        self.pass(2 * DELAY);
        self.pass(14 * DELAY);
        self.settle();
    }

    fn recipients(&self, index: usize, client_msg_id: &str) -> Vec<(String, Status)> {
        let recipients = self.seen(index, client_msg_id).recipients.into_iter();
        recipients
            .map(|recipient| (recipient.handle.to_string(), recipient.status))
            .collect()
    }
}

/// Alice has written to bob and bob to alice, so that they know one another.
fn acquainted() -> Net {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m0");
    net.run();
    net.send(BOB, "alice", "r0");
    net.run();
    net
}

/// docs/protocol.md, 7.3: in an active conversation a message says what its sender has, and no receipt is
/// sent for that.
#[test]
fn message_that_follows_soon_confirms_what_came_before() {
    for (read, status) in [(false, Status::Delivered), (true, Status::Read)] {
        let mut net = acquainted();
        net.take(BOB, "m0");
        if read {
            net.read(BOB, "m0");
        }
        net.send(BOB, "alice", "r1");
        net.run();
        assert_eq!(net.status(ALICE, "m0"), status);
        net.wait_for_receipts();
        assert_eq!(net.control_to(ALICE), 0);
    }
}

/// What a message cannot say, because it holds one state only, is said by a receipt.
#[test]
fn message_confirms_one_state_and_a_receipt_the_other() {
    let mut net = acquainted();
    net.send(ALICE, "bob", "m1");
    net.run();
    net.take(BOB, "m1");
    net.read(BOB, "m0");
    net.send(BOB, "alice", "r1");
    net.run();
    assert_eq!(net.status(ALICE, "m1"), Status::Delivered);
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), 1);
    assert_eq!(net.status(ALICE, "m0"), Status::Read);
    assert_eq!(net.status(ALICE, "m1"), Status::Delivered);
}

/// Read implies delivered: one receipt says both, and nothing is said twice.
#[test]
fn receipts_are_collected_and_say_nothing_twice() {
    let mut net = acquainted();
    for name in ["m1", "m2", "m3"] {
        net.send(ALICE, "bob", name);
        net.run();
        net.take(BOB, name);
        net.read(BOB, name);
    }
    net.read(BOB, "m0");
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), 1);
    let all = ["m0", "m1", "m2", "m3"].map(|name| net.status(ALICE, name));
    assert_eq!(all, [Status::Read; 4]);
    net.take(BOB, "m3");
    net.read(BOB, "m3");
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), 1, "no news");
}

/// docs/protocol.md, 7.3: numbers beyond a hole, and what was read out of order, are ranges.
#[test]
fn what_is_read_out_of_order_is_confirmed_exactly() {
    let mut net = acquainted();
    for name in ["m1", "m2", "m3", "m4"] {
        net.send(ALICE, "bob", name);
    }
    net.run();
    net.read(BOB, "m2");
    net.read(BOB, "m4");
    net.wait_for_receipts();
    let statuses = ["m0", "m1", "m2", "m3", "m4"].map(|name| net.status(ALICE, name));
    let (stored, read) = (Status::Stored, Status::Read);
    assert_eq!(statuses, [stored, stored, read, stored, read]);
    net.read(BOB, "m1");
    net.take(BOB, "m4");
    net.wait_for_receipts();
    let statuses = ["m0", "m1", "m2", "m3", "m4"].map(|name| net.status(ALICE, name));
    assert_eq!(statuses, [Status::Delivered, read, read, Status::Delivered, read]);
}

/// A message that the relay refuses takes what it would have confirmed with it: that is owed again.
#[test]
fn confirmation_in_a_message_that_was_refused_is_made_again() {
    let mut net = acquainted();
    net.take(BOB, "m0");
    net.faults.push_back(Fault::Refuse(ProblemType::RateLimited));
    net.send(BOB, "alice", "r1");
    net.pass(2 * MINUTE);
    net.run();
    assert_eq!(net.status(ALICE, "m0"), Status::Delivered);
}

/// Without the relay receipts are collected, and one that was given up or refused for now is made again.
#[test]
fn receipt_that_did_not_get_out_is_made_again() {
    for fault in [Fault::LoseSend, Fault::Refuse(ProblemType::RateLimited)] {
        let mut net = acquainted();
        net.take(BOB, "m0");
        net.faults.push_back(fault);
        net.pass(2 * DELAY);
        assert_eq!(net.control_to(ALICE), 0);
        net.disconnect(BOB);
        net.pass(11 * MINUTE);
        assert!(net.nodes[BOB].alerts.is_empty(), "nobody is told of receipts");
        net.connect(BOB);
        net.wait_for_receipts();
        assert_eq!(net.status(ALICE, "m0"), Status::Delivered, "{fault:?}");
    }
    let mut net = acquainted();
    net.disconnect(BOB);
    net.take(BOB, "m0");
    net.pass(60 * MINUTE);
    net.connect(BOB);
    net.wait_for_receipts();
    assert_eq!(net.status(ALICE, "m0"), Status::Delivered);
}

/// docs/protocol.md, 7.3 and 4.5: strangers who wait for acceptance learn nothing, nor does who is blocked.
/// Attack 65: what somebody probes with gets no receipt.
#[test]
fn attack_65_strangers_and_blocked_peers_get_no_receipts() {
    let settings = Settings {
        inbox_mode: InboxMode::ContactsOnly,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, settings),
    ]);
    net.send(ALICE, "bob", "probe");
    net.run();
    let probe = receipt(&net, ALICE, BOB, SessionId::from_bytes([2; 16]), 7);
    net.control(ALICE, "bob", Kind::Receipt, probe.encode());
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), 0);
    net.command(BOB, Command::AcceptRequest("alice".parse().unwrap()));
    net.take(BOB, "probe");
    net.wait_for_receipts();
    assert_eq!(net.status(ALICE, "probe"), Status::Delivered);

    let mut net = acquainted();
    net.take(BOB, "m0");
    let alice = Fingerprint::of(net.nodes[ALICE].keys().0.public());
    let block = Command::SetTrust("alice".parse().unwrap(), TrustDecision::Blocked, alice, false);
    net.command(BOB, block);
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), 0);
}

/// docs/protocol.md, 7.3: receipts are delayed by chance.
/// Attack 66: when a receipt comes does not tell when the agent took the message, within the delay.
#[test]
fn attack_66_receipts_come_after_a_delay_that_varies() {
    let mut delays = Vec::new();
    let mut net = acquainted();
    net.take(BOB, "m0");
    net.wait_for_receipts();
    for round in 0..10 {
        let name = format!("m{}", round + 1);
        net.send(ALICE, "bob", &name);
        net.run();
        net.take(BOB, &name);
        let (before, taken) = (net.control_to(ALICE), net.now);
        while net.control_to(ALICE) == before && net.now < taken + MINUTE {
            net.pass(1);
        }
        delays.push(net.now - taken);
    }
    assert!(
        delays.iter().all(|delay| (DELAY..=2 * DELAY).contains(delay)),
        "{delays:?}"
    );
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 3, "{delays:?}");
}

/// A receipt of one agent about what another has sent it.
fn receipt(net: &Net, from: usize, author: usize, session: SessionId, n: u64) -> Receipt {
    let identity = |index: usize| net.nodes[index].keys().0.public().clone();
    Receipt {
        conversation: ConversationId::direct(&identity(from), &identity(author)),
        session,
        n,
        core_hash: (n > 0).then(|| waxwire_shared::ids::Hash::from_bytes([1; 32])),
        later: Vec::new(),
        state: ReceiptState::Read,
    }
}

/// docs/protocol.md, 7.3: only the recipient's signature moves a status.
/// Attack 46: a message that the relay drops at the end of a conversation shows as unconfirmed.
/// Attack 67: neither the relay nor a third party can say that a message was delivered or read.
/// Attack 84: a relay that acknowledges on behalf of the recipient, and drops the message, deceives nobody: it
/// stays unconfirmed, and is sent again once the recipient misses it.
#[test]
fn nobody_but_the_recipient_confirms_a_message() {
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, Settings::default()),
        Node::new("carol", 3, Settings::default()),
    ]);
    net.send(ALICE, "bob", "m0");
    net.run();
    net.send(BOB, "alice", "r0");
    net.send(CAROL, "alice", "c0");
    net.run();
    // The relay takes the message, says that it stored it, and shows it to nobody.
    net.send(ALICE, "bob", "m1");
    net.stored.pop();
    net.run();
    let session = net.nodes[ALICE].engine.own_session();
    let hash = net.nodes[ALICE]
        .engine
        .store()
        .message_by_id(&net.seen(ALICE, "m1").id);
    let forged = Receipt {
        core_hash: Some(hash.unwrap().unwrap().core_hash),
        ..receipt(&net, BOB, ALICE, session, 2)
    };
    net.control(CAROL, "alice", Kind::Receipt, forged.encode());
    net.run();
    assert!(net.nodes[ALICE].alerted("receipt_mismatch"));
    let own = net.seen(ALICE, "m1");
    assert_eq!(own.status, Status::Stored);
    assert!(own.is_unconfirmed(net.now + 7 * 24 * 60 * MINUTE));
    net.send(ALICE, "bob", "m2");
    net.run();
    net.pass(2_000);
    net.pass(MINUTE);
    net.run();
    let mut heard = net.nodes[BOB].inbound();
    heard.sort();
    assert_eq!(heard, ["m0", "m1", "m2"]);
}

/// docs/protocol.md, 7.3: a receipt for what was not sent, or with another core's hash, is an alarm and moves
/// nothing.
#[test]
fn receipt_that_does_not_fit_is_refused() {
    for (n, later) in [(1, vec![]), (2, vec![]), (0, vec![NRange { first: 2, last: 9 }])] {
        let mut net = acquainted();
        let session = net.nodes[ALICE].engine.own_session();
        let false_one = Receipt {
            later,
            ..receipt(&net, BOB, ALICE, session, n)
        };
        net.control(BOB, "alice", Kind::Receipt, false_one.encode());
        net.run();
        assert!(net.nodes[ALICE].alerted("receipt_mismatch"), "{n}");
        assert_eq!(net.status(ALICE, "m0"), Status::Stored);
    }
}

/// docs/protocol.md, 5.6 and 7.3: what the recipient has proved to have was stored, whatever became of the
/// relay's answer; and a number that was withdrawn and came all the same may be confirmed.
#[test]
fn receipt_stands_for_an_answer_that_was_lost() {
    let mut net = acquainted();
    net.faults.push_back(Fault::LoseAnswer);
    let id = net.send(ALICE, "bob", "m1");
    net.run();
    assert!(net.answer(ALICE, id).is_none());
    net.take(BOB, "m1");
    net.wait_for_receipts();
    assert!(matches!(net.answer(ALICE, id), Some(Ok(Reply::Sent(_)))));
    assert_eq!(net.status(ALICE, "m1"), Status::Delivered);
    assert_eq!(net.seen(ALICE, "m1").seq, 3);

    let mut net = acquainted();
    net.faults.push_back(Fault::LoseAnswer);
    net.send(ALICE, "bob", "given up");
    net.disconnect(ALICE);
    net.pass(11 * MINUTE);
    net.run();
    net.take(BOB, "given up");
    net.wait_for_receipts();
    net.connect(ALICE);
    net.run();
    assert!(!net.nodes[ALICE].alerted("receipt_mismatch"));
    assert_eq!(net.status(ALICE, "m0"), Status::Delivered);
}

fn group_of_three() -> (Net, LocalConversation) {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "m1").unwrap();
    net.settle();
    (net, group)
}

/// docs/protocol.md, 4.3: the author may have erased the key that was looked up long ago.
#[test]
fn receipt_is_sealed_to_a_key_that_was_looked_up_lately() {
    let (mut net, group) = Net::group_of(2);
    net.pass(3 * 24 * 60 * MINUTE);
    let seen = |net: &Net| {
        let peer = net.nodes[BOB].engine.store().peer(&"alice".parse().unwrap());
        peer.unwrap().unwrap().fetched_at
    };
    let before = seen(&net);
    net.say(ALICE, group, "m1").unwrap();
    net.take(BOB, "m1");
    net.wait_for_receipts();
    net.pass(MINUTE);
    net.run();
    assert_eq!(net.status(ALICE, "m1"), Status::Delivered);
    assert!(seen(&net) > before, "the old key was used unasked");
}

/// docs/protocol.md, 7.3: in groups receipts go to the author alone, and a message has the least status of
/// those whom it was for.
#[test]
fn message_to_a_group_is_delivered_when_all_have_proved_it() {
    let (mut net, _) = group_of_three();
    let (stored, delivered, read) = (Status::Stored, Status::Delivered, Status::Read);
    let both = |bob, carol| vec![("bob".to_owned(), bob), ("carol".to_owned(), carol)];
    assert_eq!(net.recipients(ALICE, "m1"), both(stored, stored));
    let control = [BOB, CAROL].map(|index| net.control_to(index));
    net.take(BOB, "m1");
    net.wait_for_receipts();
    assert_eq!(net.recipients(ALICE, "m1"), both(delivered, stored));
    assert_eq!(net.status(ALICE, "m1"), stored);
    net.read(CAROL, "m1");
    net.wait_for_receipts();
    assert_eq!(net.recipients(ALICE, "m1"), both(delivered, read));
    assert_eq!(net.status(ALICE, "m1"), delivered);
    net.read(BOB, "m1");
    net.wait_for_receipts();
    assert_eq!(net.status(ALICE, "m1"), read);
    assert_eq!([BOB, CAROL].map(|index| net.control_to(index)), control);
    assert!(net.seen(BOB, "m1").recipients.is_empty(), "none of its business");
}

/// Who leaves before it has confirmed is not waited for; who joined later is not asked.
#[test]
fn departed_and_later_members_are_not_counted() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "m1").unwrap();
    net.settle();
    net.take(BOB, "m1");
    net.wait_for_receipts();
    assert_eq!(net.status(ALICE, "m1"), Status::Stored);
    net.ask(CAROL, GroupCommand::Leave(group)).unwrap();
    net.settle();
    assert_eq!(net.status(ALICE, "m1"), Status::Delivered);
    assert_eq!(
        net.recipients(ALICE, "m1"),
        [("bob".to_owned(), Status::Delivered)]
    );
    // What carol says of it now is nobody's business any more.
    net.take(CAROL, "m1");
    net.wait_for_receipts();
    assert!(net.nodes[ALICE].alerts.is_empty());
}

/// docs/protocol.md, 7.3: above 32 members there are no receipts.
#[test]
fn large_groups_confirm_nothing() {
    let names: Vec<String> = (0..=limits::RECEIPT_MEMBERS)
        .map(|i| format!("agent{i}"))
        .collect();
    let nodes = names
        .iter()
        .zip(1..)
        .map(|(name, seed)| Node::new(name, seed, Settings::default()));
    let mut net = Net::new(nodes.collect());
    let others: Vec<&str> = names[1..].iter().map(String::as_str).collect();
    let group = net.found(ALICE, &others).id;
    for index in 1..names.len() {
        net.accept(index);
    }
    net.say(ALICE, group, "to 32 others").unwrap();
    net.settle();
    net.take(BOB, "to 32 others");
    let before = net.control_to(ALICE);
    net.wait_for_receipts();
    assert_eq!(net.control_to(ALICE), before);
    assert!(net.seen(ALICE, "to 32 others").recipients.is_empty());

    net.ask(names.len() - 1, GroupCommand::Leave(group)).unwrap();
    net.settle();
    net.say(ALICE, group, "to 31 others").unwrap();
    net.settle();
    net.take(BOB, "to 31 others");
    net.wait_for_receipts();
    let recipients = net.recipients(ALICE, "to 31 others");
    assert_eq!(recipients.len(), limits::RECEIPT_MEMBERS - 1);
    assert!(recipients.contains(&("agent1".to_owned(), Status::Delivered)));
}
