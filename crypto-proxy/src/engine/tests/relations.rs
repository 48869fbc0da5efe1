//! Contacts and blocks: what holds here at once, and how the relay comes to know of it.

use waxwire_shared::{
    api::{
        problem::{Limit, Problem, ProblemType},
        rest::BlockRequest,
    },
    fingerprint::Fingerprint,
};

use super::net::{Net, Node};
use crate::{
    engine::{Command, ContactCommand, Declaration, GroupCommand, InboxMode, LookupError, Reply, Settings},
    model::{GroupProfile, InvitePolicy, NewGroup, OwnProfileChange, Refusal, Trust, TrustDecision},
};

const ALICE: usize = 0;
const BOB: usize = 1;

fn ask(net: &mut Net, index: usize, command: ContactCommand) -> u64 {
    net.command(index, Command::Contact(command))
}

fn block(net: &mut Net, index: usize, whom: &str) -> u64 {
    ask(net, index, ContactCommand::Block(whom.parse().unwrap()))
}

#[track_caller]
fn assert_declared(net: &Net, index: usize, id: u64, expected: bool) {
    let answer = net.answer(index, id);
    assert!(
        matches!(answer, Some(Ok(Reply::Declared(told))) if *told == expected),
        "{answer:?}"
    );
}

fn blocked(whom: &str, known: Option<bool>) -> Declaration {
    Declaration::Block(whom.parse().unwrap(), known.map(|known| BlockRequest { known }))
}

#[test]
fn block_holds_at_once_and_is_told_to_the_relay() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m1");
    net.run();
    let id = block(&mut net, BOB, "alice");
    assert_declared(&net, BOB, id, true);
    assert_eq!(net.declared, [(BOB, blocked("alice", Some(true)))]);
    let refused = net.send(BOB, "alice", "r1");
    assert!(matches!(net.answer(BOB, refused), Some(Err(Refusal::Blocked))));
    // A relay that lets it through all the same.
    net.send(ALICE, "bob", "m2");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    let alerts = net.nodes[ALICE].alerts.len() + net.nodes[BOB].alerts.len();
    assert_eq!(alerts, 0, "a block tells nobody");
}

#[test]
fn block_of_somebody_without_a_conversation_is_not_to_be_told() {
    let mut net = Net::pair();
    let id = block(&mut net, BOB, "alice");
    assert_declared(&net, BOB, id, true);
    assert_eq!(net.declared, [(BOB, blocked("alice", Some(false)))]);
    let unknown = block(&mut net, BOB, "nobody");
    assert!(matches!(
        net.answer(BOB, unknown),
        Some(Err(Refusal::AgentNotFound))
    ));
    let itself = block(&mut net, BOB, "bob");
    assert!(matches!(net.answer(BOB, itself), Some(Err(Refusal::Invalid(_)))));
}

#[test]
fn unblock_restores_the_trust_of_before() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m1");
    net.run();
    let fingerprint = Fingerprint::of(net.nodes[ALICE].keys().0.public());
    let trust = |decision| Command::SetTrust("alice".parse().unwrap(), decision, fingerprint, false);
    net.command(BOB, trust(TrustDecision::Verified));
    block(&mut net, BOB, "alice");
    block(&mut net, BOB, "alice");
    let id = ask(&mut net, BOB, ContactCommand::Unblock("alice".parse().unwrap()));
    assert_declared(&net, BOB, id, true);
    assert_eq!(net.declared.last(), Some(&(BOB, blocked("alice", None))));
    let state = |net: &mut Net| {
        let id = net.command(BOB, Command::LookUp("alice".parse().unwrap()));
        match net.answer(BOB, id) {
            Some(Ok(Reply::Peer(peer))) => peer.trust,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(state(&mut net), Trust::Verified);
    // By the other call it is the same block, and a decision lifts it.
    net.command(BOB, trust(TrustDecision::Blocked));
    assert_eq!(net.declared.last(), Some(&(BOB, blocked("alice", Some(true)))));
    net.command(BOB, trust(TrustDecision::Pinned));
    assert_eq!(net.declared.last(), Some(&(BOB, blocked("alice", None))));
    assert_eq!(state(&mut net), Trust::Pinned);
    let nobody = ask(&mut net, BOB, ContactCommand::Unblock("nobody".parse().unwrap()));
    assert_declared(&net, BOB, nobody, true);
}

#[test]
fn relay_that_is_away_is_told_when_it_is_back() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m1");
    net.run();
    net.declare_fails = Some(LookupError::Unreachable);
    let id = block(&mut net, BOB, "alice");
    assert_declared(&net, BOB, id, false);
    net.send(ALICE, "bob", "m2");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    assert!(net.declared.is_empty());
    net.declare_fails = None;
    net.pass(5_000);
    assert_eq!(net.declared, [(BOB, blocked("alice", Some(true)))]);
    net.pass(60_000);
    net.disconnect(BOB);
    net.connect(BOB);
    assert_eq!(net.declared.len(), 1, "told once");
}

#[test]
fn relay_that_does_not_answer_keeps_nobody_waiting_and_hears_the_last_word() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m1");
    net.run();
    net.calls_wait = true;
    let (first, lifted) = (
        block(&mut net, BOB, "alice"),
        ask(&mut net, BOB, ContactCommand::Unblock("alice".parse().unwrap())),
    );
    assert!(net.answer(BOB, first).is_none());
    net.pass(Settings::default().answer_within);
    assert_declared(&net, BOB, first, false);
    assert_declared(&net, BOB, lifted, false);
    net.release_calls();
    assert_eq!(net.declared.last(), Some(&(BOB, blocked("alice", None))));
}

#[test]
fn what_the_relay_refuses_for_good_is_told_to_the_operator_once() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "m1");
    net.run();
    let mut problem = Problem::new(ProblemType::Forbidden);
    problem.limit = Some(Limit {
        name: "blocks".to_owned(),
        max: 1,
        actual: 2,
    });
    net.declare_fails = Some(LookupError::Refused(Box::new(problem)));
    let id = block(&mut net, BOB, "alice");
    assert_declared(&net, BOB, id, false);
    assert!(net.nodes[BOB].alerted("declaration_refused"));
    net.declare_fails = None;
    net.pass(120_000);
    assert!(net.declared.is_empty());
    net.send(ALICE, "bob", "m2");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["m1"], "it holds here all the same");
}

fn careful() -> Net {
    let settings = Settings {
        inbox_mode: InboxMode::ContactsOnly,
        ..Settings::default()
    };
    Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, settings),
    ])
}

#[test]
fn contact_is_let_in_and_is_a_stranger_again_when_removed() {
    let mut net = careful();
    net.send(ALICE, "bob", "m1");
    net.run();
    assert!(net.nodes[BOB].inbound().is_empty());
    let id = ask(&mut net, BOB, ContactCommand::Add("alice".parse().unwrap()));
    match net.answer(BOB, id) {
        Some(Ok(Reply::Contact(contact))) => assert_eq!(contact.handle.as_str(), "alice"),
        other => panic!("{other:?}"),
    }
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    let alice = || "alice".parse().unwrap();
    ask(&mut net, BOB, ContactCommand::Remove(alice()));
    ask(&mut net, BOB, ContactCommand::Remove(alice()));
    net.send(ALICE, "bob", "m2");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    let told = [
        (BOB, Declaration::Contact(alice(), true)),
        (BOB, Declaration::Contact(alice(), false)),
    ];
    assert_eq!(net.declared, told);
    block(&mut net, BOB, "alice");
    ask(&mut net, BOB, ContactCommand::Unblock(alice()));
    net.command(BOB, Command::AcceptRequest(alice()));
    assert_eq!(net.nodes[BOB].inbound(), ["m1"], "a block drops what waits");
}

/// What does not find room among the requests is asked for once its author is let in.
#[test]
fn stranger_fills_no_more_than_its_share_of_the_requests() {
    let mut net = careful();
    for number in 0..105 {
        net.send(ALICE, "bob", &format!("m{number}"));
    }
    net.run();
    assert!(net.nodes[BOB].alerted("requests_overflow"));
    net.command(BOB, Command::AcceptRequest("alice".parse().unwrap()));
    assert_eq!(net.nodes[BOB].inbound().len(), 100);
    net.send(ALICE, "bob", "after");
    for _ in 0..20 {
        net.pass(10_000);
    }
    assert_eq!(net.nodes[BOB].inbound().len(), 106);
}

#[test]
fn notes_are_of_contacts_only() {
    let mut net = Net::pair();
    let note = |net: &mut Net| {
        let notes = Some("owes us a crate".to_owned());
        let id = ask(net, BOB, ContactCommand::Note("alice".parse().unwrap(), notes));
        net.answer(BOB, id).unwrap().is_ok()
    };
    assert!(!note(&mut net));
    net.command(BOB, Command::LookUp("alice".parse().unwrap()));
    assert!(!note(&mut net));
    ask(&mut net, BOB, ContactCommand::Add("alice".parse().unwrap()));
    assert!(note(&mut net));
    let contact = net.nodes[BOB].engine.store().contact(&"alice".parse().unwrap());
    assert_eq!(
        contact.unwrap().unwrap().notes.as_deref(),
        Some("owes us a crate")
    );
}

#[test]
fn contact_needs_what_a_first_contact_needs() {
    let mut net = Net::pair();
    let stranger = Fingerprint::of(net.nodes[BOB].keys().0.public());
    let add = |net: &mut Net, whom: String| {
        let id = ask(net, BOB, ContactCommand::Add(whom.parse().unwrap()));
        net.answer(BOB, id).unwrap().clone()
    };
    let wrong = add(&mut net, format!("alice#{stranger}"));
    assert!(matches!(wrong, Err(Refusal::FingerprintMismatch { .. })));
    assert!(matches!(
        add(&mut net, "bob".to_owned()),
        Err(Refusal::Invalid(_))
    ));
    assert!(matches!(
        add(&mut net, "nobody".to_owned()),
        Err(Refusal::AgentNotFound)
    ));
    block(&mut net, BOB, "alice");
    assert!(matches!(add(&mut net, "alice".to_owned()), Err(Refusal::Blocked)));
}

#[test]
fn policies_hold_from_the_moment_they_are_set() {
    let mut net = Net::pair();
    let set = |net: &mut Net, change: OwnProfileChange| {
        let id = ask(net, BOB, ContactCommand::SetProfile(Box::new(change)));
        assert_declared(net, BOB, id, true);
    };
    set(
        &mut net,
        OwnProfileChange {
            inbox_mode: Some(InboxMode::ContactsOnly),
            invite_policy: Some(InvitePolicy::ContactsOnly),
            display_name: Some("Bob".to_owned()),
            ..OwnProfileChange::default()
        },
    );
    let Some((_, Declaration::Profile(profile))) = net.declared.last() else {
        panic!("{:?}", net.declared);
    };
    assert_eq!(
        (profile.display_name.as_deref(), profile.listed),
        (Some("Bob"), false)
    );
    net.send(ALICE, "bob", "m1");
    let invite = |net: &mut Net| {
        let new = NewGroup {
            profile: GroupProfile {
                name: "plans".into(),
                ..GroupProfile::default()
            },
            members: vec!["bob".parse().unwrap()],
            channel: None,
        };
        net.command(ALICE, Command::Group(GroupCommand::Create(Box::new(new))));
        for _ in 0..4 {
            net.run();
        }
    };
    invite(&mut net);
    assert!(net.nodes[BOB].inbound().is_empty());
    assert!(net.nodes[BOB].invited.is_empty());
    ask(&mut net, BOB, ContactCommand::Add("alice".parse().unwrap()));
    invite(&mut net);
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
    assert_eq!(net.nodes[BOB].invited.len(), 1);
    // What is not named stays.
    set(&mut net, OwnProfileChange::default());
    let own = net.nodes[BOB].engine.store().own_profile().unwrap();
    assert_eq!(own.inbox_mode, Some(InboxMode::ContactsOnly));
    assert_eq!(own.profile.display_name.as_deref(), Some("Bob"));
    set(
        &mut net,
        OwnProfileChange {
            display_name: Some(String::new()),
            ..OwnProfileChange::default()
        },
    );
    let own = net.nodes[BOB].engine.store().own_profile().unwrap();
    assert_eq!(own.profile.display_name, None);
}

#[test]
fn blocked_member_is_heard_in_the_group() {
    let (mut net, group) = Net::group_of(3);
    block(&mut net, 2, "bob");
    net.say(BOB, group, "to all").unwrap();
    net.say(2, group, "me too").unwrap();
    assert_eq!(net.heard(2), ["to all"]);
    assert_eq!(net.heard(BOB), ["me too"]);
    let shown = net.nodes[2].shown.iter().find(|message| !message.own).unwrap();
    assert_eq!(shown.security.trust, Trust::Blocked);
}
