//! Presence (docs/protocol.md, 7.4): the relay's word, the peer's word, and who hears the own one.

use waxwire_shared::ids::Handle;

use super::{
    groups::{ALICE, BOB},
    net::{Net, Node, START},
};
use crate::{
    engine::{Command, LinkEvent, LookupError, Reply, Settings, ShowPresence},
    model::{PeerPresence, PresenceStatus, Refusal},
};

use PresenceStatus::{Busy, Offline, Online};

impl Net {
    fn says(&mut self, index: usize, status: PresenceStatus, text: Option<&str>) {
        let command = Command::SetPresence(status, text.map(str::to_owned));
        let id = self.command(index, command);
        let Some(Ok(Reply::Presences(own))) = self.answer(index, id) else {
            panic!("no own presence");
        };
        assert_eq!(own[0].status, status);
        self.pass(2_000);
    }

    /// What was shown since the last look.
    fn noticed(&mut self, index: usize) -> Vec<(PresenceStatus, Option<String>)> {
        let noticed = std::mem::take(&mut self.nodes[index].presences);
        noticed
            .into_iter()
            .map(|presence| (presence.status, presence.custom_message))
            .collect()
    }

    fn presence_of(&mut self, index: usize, handles: &[&str]) -> Vec<PeerPresence> {
        let handles = handles.iter().map(|handle| handle.parse().unwrap()).collect();
        let id = self.command(index, Command::Presences(handles));
        match self.answer(index, id).cloned() {
            Some(Ok(Reply::Presences(presences))) => presences,
            other => panic!("{other:?}"),
        }
    }
}

/// Alice and bob, who have talked and each hold the other as a contact.
fn contacts() -> Net {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "hello");
    net.run();
    net.send(BOB, "alice", "hello, too");
    net.run();
    net.pass(1_000);
    net.hold(ALICE, "bob");
    net.hold(BOB, "alice");
    net.push_seen(ALICE, "bob", true);
    net.push_seen(BOB, "alice", true);
    assert_eq!(net.noticed(BOB), [(Online, None)]);
    net
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn relays_word_is_shown_and_told_once() {
    let mut net = contacts();
    net.push_seen(BOB, "alice", true);
    assert_eq!(net.noticed(BOB), []);
    net.push_seen(BOB, "alice", false);
    let gone = net.nodes[BOB].presences[0].clone();
    assert_eq!(gone.last_seen, Some(START));
    assert_eq!(net.noticed(BOB), [(Offline, None)]);
    // Nobody whom the agent does not know.
    net.push_seen(BOB, "mallory", true);
    assert_eq!(net.noticed(BOB), []);
}

/// docs/protocol.md, 7.4: what the agent says is sealed to contacts that are there, and stored nowhere.
#[test]
fn own_word_reaches_contacts_that_are_there() {
    let mut net = contacts();
    let stored = net.stored.len();
    net.says(ALICE, Busy, Some("in a call"));
    assert_eq!(net.noticed(BOB), [(Busy, text("in a call"))]);
    assert_eq!(net.stored.len(), stored);
    net.says(ALICE, Online, None);
    assert_eq!(net.noticed(BOB), [(Online, None)]);
    net.push_seen(ALICE, "bob", false);
    net.says(ALICE, Busy, None);
    assert_eq!(net.noticed(BOB), []);
    // It is told when it comes.
    net.push_seen(ALICE, "bob", true);
    net.run();
    assert_eq!(net.noticed(BOB), [(Busy, None)]);
}

/// The relay can name whom it likes: the agent speaks to those that it holds itself.
#[test]
fn relay_cannot_make_the_agent_speak_to_others() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "hello");
    net.run();
    net.push_seen(ALICE, "bob", true);
    net.says(ALICE, Busy, Some("in a call"));
    assert_eq!((net.noticed(ALICE), net.passed.len()), (vec![], 0));
}

/// It is renewed while it holds, and fades without.
#[test]
fn word_of_a_peer_fades_without_renewal() {
    let mut net = contacts();
    net.says(ALICE, Busy, Some("in a call"));
    for _ in 0..10 {
        net.pass(120_000);
    }
    assert_eq!(net.noticed(BOB), [(Busy, text("in a call"))]);
    net.disconnect(ALICE);
    net.pass(299_999);
    assert_eq!(net.noticed(BOB), []);
    net.pass(1);
    assert_eq!(net.noticed(BOB), [(Online, None)]);
}

#[test]
fn word_of_a_peer_ends_when_the_relay_says_that_it_is_gone() {
    let mut net = contacts();
    net.says(ALICE, Busy, Some("in a call"));
    net.push_seen(BOB, "alice", false);
    assert_eq!(net.noticed(BOB), [(Busy, text("in a call")), (Offline, None)]);
    // What the relay plays again does not bring it back.
    let passed = net.passed.last().unwrap().clone();
    net.hand_over(BOB, passed);
    assert_eq!(net.noticed(BOB), []);
    assert_eq!(net.transients(BOB, "repeated"), 1);
}

/// Whoever went while the link was down is not named by the relay when it is up again.
#[test]
fn contact_that_is_not_named_after_a_reconnection_is_gone() {
    let mut net = contacts();
    net.disconnect(BOB);
    net.connect(BOB);
    net.push_seen(BOB, "alice", true);
    net.pass(5_000);
    assert_eq!(net.noticed(BOB), []);
    net.disconnect(BOB);
    net.connect(BOB);
    net.pass(4_999);
    assert_eq!(net.noticed(BOB), []);
    net.pass(1);
    assert_eq!(net.noticed(BOB), [(Offline, None)]);
}

/// Who wants to be taken for absent is so at the relay, after a reconnection, and after a failure of
/// the store.
#[test]
fn absent_agent_is_not_shown_and_says_nothing() {
    let mut net = contacts();
    assert!(net.nodes[ALICE].is_shown);
    net.says(ALICE, Offline, Some("gone fishing"));
    assert!(!net.nodes[ALICE].is_shown);
    assert_eq!(net.passed, Vec::<Vec<u8>>::new());
    net.disconnect(ALICE);
    net.connect(ALICE);
    assert!(!net.nodes[ALICE].is_shown);
    let seen = &net.presence_of(BOB, &["alice"])[0];
    assert_eq!((seen.status, &seen.custom_message), (Offline, &None));
    net.says(ALICE, Online, None);
    assert!(net.nodes[ALICE].is_shown);
}

#[test]
fn agent_that_shows_itself_to_nobody_is_not_shown() {
    let hidden = Settings {
        show_presence: ShowPresence::Nobody,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, hidden),
        Node::new("bob", 2, Settings::default()),
    ]);
    net.send(ALICE, "bob", "hello");
    net.run();
    net.hold(ALICE, "bob");
    net.push_seen(ALICE, "bob", true);
    net.says(ALICE, Busy, Some("in a call"));
    assert!(!net.nodes[ALICE].is_shown);
    assert_eq!(net.passed, Vec::<Vec<u8>>::new());
}

/// A burst of changes is told as one.
#[test]
fn own_word_is_told_at_most_every_two_seconds() {
    let mut net = contacts();
    net.says(ALICE, Busy, Some("first"));
    let before = net.passed.len();
    for n in 0..50 {
        let command = Command::SetPresence(Busy, Some(format!("{n}")));
        net.command(ALICE, command);
    }
    net.pass(2_000);
    assert_eq!(net.passed.len(), before + 1);
    assert_eq!(net.noticed(BOB).last().unwrap(), &(Busy, text("49")));
}

#[test]
fn answer_leaves_out_who_is_unknown_and_tells_the_own_presence() {
    let mut net = contacts();
    net.says(ALICE, Busy, Some("in a call"));
    net.says(BOB, Busy, Some("here"));
    let presences = net.presence_of(BOB, &["alice", "nobody", "bob", "alice"]);
    let shown: Vec<_> = presences
        .iter()
        .map(|presence| {
            (
                presence.handle.as_str(),
                presence.status,
                presence.custom_message.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("alice", Busy, Some("in a call")), ("bob", Busy, Some("here"))]
    );
    assert_eq!(net.presence_of(BOB, &["nobody"]), []);
    net.disconnect(ALICE);
    let presences = net.presence_of(BOB, &["alice"]);
    assert_eq!(
        (presences[0].status, presences[0].last_seen),
        (Offline, Some(START))
    );
}

/// What the relay answers beside the question is not taken.
#[test]
fn relay_that_does_not_answer_or_answers_otherwise_is_no_presence() {
    let mut net = contacts();
    net.calls_wait = true;
    let alice: Handle = "alice".parse().unwrap();
    let id = net.command(BOB, Command::Presences(vec![alice.clone()]));
    let unreachable = LinkEvent::Presences(id, Err(LookupError::Unreachable));
    net.feed(BOB, vec![crate::engine::Event::Link(unreachable)]);
    assert!(matches!(
        net.answer(BOB, id),
        Some(Err(Refusal::RelayUnreachable { queued: false }))
    ));
    let id = net.command(BOB, Command::Presences(vec![alice]));
    let other = waxwire_shared::api::frames::Seen {
        handle: "mallory".parse().unwrap(),
        online: true,
        last_seen: None,
    };
    let answer = LinkEvent::Presences(id, Ok(vec![other]));
    net.feed(BOB, vec![crate::engine::Event::Link(answer)]);
    assert!(matches!(net.answer(BOB, id), Some(Ok(Reply::Presences(none))) if none.is_empty()));
}
