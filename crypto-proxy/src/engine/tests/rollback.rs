//! A state that is an old copy (docs/protocol.md, 8.4; flow 10, step 3): what proves it, and what follows.

use waxwire_shared::{
    ids::{ConversationId, Hash, SessionId},
    wire::{Document as _, Kind, Receipt, ReceiptState},
};

use super::{
    groups::{ALICE, BOB, CAROL},
    net::*,
};
use crate::{
    crypto::secret::{EncryptionSecret, IdentitySecret},
    engine::{
        BundleDraft, Command, ContactCommand, Declaration, Event, GroupCommand, LinkEvent, Reply, sign_bundle,
    },
    model::{Refusal, Severity, Status},
};

const HOUR: u64 = 3_600 * 1_000;

fn begun(net: &Net) -> usize {
    net.nodes[0].begun.len()
}

fn is_sent(net: &mut Net, id: &str) -> bool {
    let request = net.send(0, "bob", id);
    net.run();
    matches!(net.answer(0, request), Some(Ok(Reply::Sent(_))))
}

/// What bob signs about alice's messages.
fn receipt(net: &Net, session: SessionId, n: u64) -> Vec<u8> {
    let (alice, bob) = (net.nodes[0].keys().0, net.nodes[1].keys().0);
    Receipt {
        conversation: ConversationId::direct(alice.public(), bob.public()),
        session,
        n,
        core_hash: Some(Hash::from_bytes([3; 32])),
        later: Vec::new(),
        state: ReceiptState::Delivered,
    }
    .encode()
}

fn own_bundle(net: &Net, signer: &IdentitySecret, number: u64) -> Vec<u8> {
    let key = EncryptionSecret::from_slice(&[5; 32]).unwrap();
    let draft = BundleDraft {
        relay: relay_id(),
        handle: &net.nodes[0].handle,
        recovery: Hash::from_bytes([0; 32]),
        number,
        previous: None,
        suite: waxwire_shared::suite::Suite::CLASSIC,
        key_number: number,
        key: &key,
    };
    sign_bundle(signer, &draft, net.now)
}

#[test]
fn peers_receipt_ahead_of_the_state_begins_a_new_session() {
    let mut net = Net::pair();
    assert!(is_sent(&mut net, "one"));
    net.pass(HOUR);
    let before = net.nodes[0].engine.own_session();
    let ahead = receipt(&net, before, 5);
    net.control(1, "alice", Kind::Receipt, ahead);
    net.run();
    assert_eq!(begun(&net), 1);
    let after = net.nodes[0].engine.own_session();
    assert_ne!(before, after);
    assert!(net.nodes[0].begun[0].incarnation > START);
    let alerts: Vec<_> = net.nodes[0]
        .alerts
        .iter()
        .filter(|alert| alert.kind == "rolled_back")
        .collect();
    assert_eq!((alerts.len(), alerts[0].severity), (1, Severity::Critical));
    // Numbers begin at 1 in the new session, and bob is told once.
    assert!(is_sent(&mut net, "two"));
    assert!(is_sent(&mut net, "three"));
    let resets = net.nodes[1]
        .alerts
        .iter()
        .filter(|alert| alert.kind == "session_reset");
    assert_eq!(resets.count(), 1);
    assert_eq!(net.nodes[1].shown.len(), 3);
    assert!(
        net.nodes[1]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
    // Receipts for the old session prove nothing about the new one.
    net.pass(2 * HOUR);
    let old = receipt(&net, before, 50);
    net.control(1, "alice", Kind::Receipt, old);
    net.run();
    assert_eq!(begun(&net), 1);
}

/// A peer can sign what it likes: it gets one new session an hour at most.
#[test]
fn peers_receipts_begin_no_session_soon_after_the_last() {
    let mut net = Net::pair();
    assert!(is_sent(&mut net, "one"));
    for round in 0..5 {
        let session = net.nodes[0].engine.own_session();
        let ahead = receipt(&net, session, 5 + round);
        net.control(1, "alice", Kind::Receipt, ahead);
        net.pass(1_000);
    }
    assert_eq!(begun(&net), 0);
    assert!(is_sent(&mut net, "two"));
}

#[test]
fn own_bundle_that_is_newer_than_the_state_begins_a_new_session_and_is_followed() {
    let mut net = Net::pair();
    let (alice, _) = net.nodes[0].keys();
    let newer = own_bundle(&net, &alice, net.now + 5);
    net.disconnect(0);
    net.bundles.insert(net.nodes[0].handle.clone(), newer.clone());
    let handle = net.nodes[0].handle.clone();
    let show = |net: &mut Net, bundle: Vec<u8>| {
        let answer = waxwire_shared::api::rest::BundleAnswer {
            agent_id: net.nodes[0].agent_id,
            bundle: waxwire_shared::api::rest::Base64Bytes(bundle),
            successions: Vec::new(),
            log: None,
        };
        net.feed(
            0,
            vec![Event::Link(LinkEvent::Bundle(handle.clone(), Ok(answer)))],
        );
    };
    let mallory = IdentitySecret::from_slice(&[66; 32]).unwrap();
    let forged = own_bundle(&net, &mallory, net.now + 9);
    show(&mut net, forged);
    assert_eq!(begun(&net), 0);
    assert!(
        net.nodes[0]
            .alerts
            .iter()
            .any(|alert| alert.kind == "own_bundle_foreign")
    );
    net.connect(0);
    show(&mut net, newer);
    assert_eq!(begun(&net), 1);
    assert!(is_sent(&mut net, "one"));
}

/// What waited in the outbox belongs to the old session: it is given up, and its id can be used again.
#[test]
fn what_was_on_its_way_is_given_up_and_meets_the_first_outcome_when_it_is_repeated() {
    let mut net = Net::pair();
    assert!(is_sent(&mut net, "one"));
    net.pass(HOUR);
    // The relay has it, and the answer is lost.
    net.faults.push_back(Fault::LoseAnswer);
    let waiting = net.send(0, "bob", "two");
    let session = net.nodes[0].engine.own_session();
    let ahead = receipt(&net, session, 9);
    net.control(1, "alice", Kind::Receipt, ahead);
    net.run();
    assert_eq!(begun(&net), 1);
    assert!(matches!(
        net.answer(0, waiting),
        Some(Err(Refusal::RelayUnreachable { queued: false }))
    ));
    let stored = net.stored.len();
    let repeated = net.send(0, "bob", "two");
    net.run();
    let Some(Ok(Reply::Sent(sent))) = net.answer(0, repeated) else {
        panic!("{:?}", net.answer(0, repeated));
    };
    assert_eq!(sent.message.status, Status::Stored);
    assert!(sent.repeated && sent.earlier, "bob has the first one");
    assert_eq!(net.stored.len(), stored, "the relay holds it already");
}

/// What could not be written when numbering began anew is begun again: no number of the new run comes twice.
#[test]
fn beginning_that_could_not_be_written_is_begun_again() {
    let mut net = Net::pair();
    assert!(is_sent(&mut net, "one"));
    net.pass(HOUR);
    let session = net.nodes[0].engine.own_session();
    net.disk_full_at_beginning = true;
    net.nodes[0].may_fail = true;
    let ahead = receipt(&net, session, 9);
    net.control(1, "alice", Kind::Receipt, ahead);
    net.run();
    net.pass(20_000);
    net.disconnect(0);
    net.connect(0);
    net.run();
    assert_ne!(net.nodes[0].engine.own_session(), session);
    assert_eq!(begun(&net), 2, "the same, twice");
    assert!(is_sent(&mut net, "two"));
    let shown = net.nodes[1].shown.last().unwrap();
    assert_eq!((shown.client_msg_id.as_str(), shown.security.gap), ("two", None));
}

/// Whoever this agent was before may have used every key that it knows: nothing is sealed to a group
/// before a rekey of its own, and messages of others are read all the while.
#[test]
fn new_incarnation_replaces_the_key_of_a_group_before_it_seals() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "one").unwrap();
    net.say(BOB, group, "two").unwrap();
    assert!(is_sent(&mut net, "direct"));
    net.pass(HOUR);
    let epoch = net.epoch();
    let session = net.nodes[ALICE].engine.own_session();
    let ahead = receipt(&net, session, 50);
    net.control(BOB, "alice", Kind::Receipt, ahead);
    net.run();
    assert_eq!(begun(&net), 1);
    net.say(BOB, group, "three").unwrap();
    assert_eq!(net.heard(ALICE), ["two", "three"]);
    net.say(ALICE, group, "four").unwrap();
    assert_eq!(net.epoch(), epoch + 1);
    net.say(ALICE, group, "five").unwrap();
    assert_eq!(net.epoch(), epoch + 1, "once is enough");
    for reader in [BOB, CAROL] {
        assert!(
            net.heard(reader)
                .ends_with(&["four".to_owned(), "five".to_owned()])
        );
        let kinds: Vec<&str> = net.nodes[reader]
            .alerts
            .iter()
            .map(|alert| alert.kind.as_str())
            .collect();
        assert_eq!(kinds, ["session_reset"]);
    }
}

/// The key is replaced soon also where the agent does not write.
#[test]
fn group_that_is_not_written_to_gets_its_key_after_a_random_delay() {
    let (mut net, _) = Net::group_of(2);
    assert!(is_sent(&mut net, "direct"));
    net.pass(HOUR);
    let (epoch, session) = (net.epoch(), net.nodes[ALICE].engine.own_session());
    let ahead = receipt(&net, session, 50);
    net.control(BOB, "alice", Kind::Receipt, ahead);
    net.run();
    net.pass(30_000);
    net.settle();
    assert_eq!(net.epoch(), epoch + 1);
}

/// A commit of this identity that the state does not know, signed after the incarnation began.
#[test]
fn own_commit_that_is_not_known_begins_a_new_session() {
    let (mut net, group) = Net::group_of(2);
    net.say(ALICE, group, "one").unwrap();
    let unknown = net.epoch() + 1;
    // The state forgets that the commit was its own, as an old copy would.
    net.calls_wait = true;
    net.command(ALICE, Command::Group(GroupCommand::Rekey(group)));
    net.nodes[ALICE].engine.store().execute("DELETE FROM grp_pending");
    net.release_calls();
    net.settle();
    assert_eq!(begun(&net), 1);
    net.say(ALICE, group, "two").unwrap();
    assert_eq!(net.epoch(), unknown + 1);
    assert_eq!(net.heard(BOB), ["one", "two"]);
}

/// What was changed since the copy was made, the relay may hold otherwise than this state.
#[test]
fn new_incarnation_tells_the_relay_again_whom_it_holds() {
    let mut net = Net::pair();
    assert!(is_sent(&mut net, "one"));
    let add = ContactCommand::Add("bob".parse().unwrap());
    net.command(0, Command::Contact(add));
    net.run();
    net.declared.clear();
    net.pass(HOUR);
    let ahead = receipt(&net, net.nodes[0].engine.own_session(), 5);
    net.control(1, "alice", Kind::Receipt, ahead);
    net.run();
    let bob = Declaration::Contact("bob".parse().unwrap(), true);
    assert_eq!((begun(&net), &*net.declared), (1, &[(0, bob)][..]));
}
