//! Repair (docs/protocol.md, 9): what is lost comes back, to whom it was meant for and nobody else.

use rand_core::SeedableRng as _;
use waxwire_shared::{
    api::frames::Queue,
    ids::ConversationId,
    suite::Suite,
    wire::{Document as _, Kind, NRange, ResendRequest},
};

use super::net::{Net, Node, START, bundle};
use crate::{
    crypto::secret::EncryptionSecret,
    engine::{EncryptionKey, Settings},
    model::Refusal,
};

const ALICE: usize = 0;
const BOB: usize = 1;

/// Bob loses his encryption keys and publishes a new one, as after a restore.
fn lose_keys(net: &mut Net) {
    let (identity, _) = net.nodes[BOB].keys();
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([77; 32]);
    let secret = EncryptionSecret::generate(&mut rng);
    let number = START + 5;
    let handle = net.nodes[BOB].handle.clone();
    let new = bundle(&identity, &handle, number, secret.public().as_bytes());
    net.bundles.insert(handle, new);
    let keys = net.nodes[BOB].engine.encryption_keys();
    *keys = vec![EncryptionKey {
        number,
        suite: Suite::CLASSIC,
        secret,
        superseded: None,
        emptied: None,
    }];
}

/// docs/protocol.md, 9: an `unreadable` is answered by the same core under `attempt + 1`.
#[test]
fn message_to_a_lost_key_is_sealed_again_to_the_new_one() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    net.send(BOB, "alice", "back");
    net.run();
    lose_keys(&mut net);
    net.send(ALICE, "bob", "second");
    net.run();
    net.pass(2_000);
    net.run();
    assert!(net.nodes[BOB].alerted("key_erased"));
    assert_eq!(net.nodes[BOB].inbound(), ["first", "second"]);
    // Sealed again under another mid, shown once at the sender.
    let own = net.nodes[ALICE]
        .shown
        .iter()
        .filter(|message| message.own)
        .count();
    assert_eq!(own, 2);
}

/// docs/protocol.md, 9: a resend request is answered verbatim.
#[test]
fn dropped_message_is_asked_for_and_comes_verbatim() {
    let mut net = Net::with_hole();
    net.pass(2_000);
    net.pass(2_000);
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["one", "three", "two"]);
    let three = &net.nodes[BOB].shown[1];
    assert_eq!(
        three.security.gap.map(|gap| (gap.after, gap.missing)),
        Some((1, 1))
    );
    assert!(net.nodes[BOB].shown[2].security.gap.is_none());
    // Healed: nothing is asked for again.
    assert_eq!(net.nodes[BOB].engine.store().waiting().unwrap().missing, None);
}

/// docs/protocol.md, 9: messages in a group do not tell that their author has another key. Whoever misses one asks under
/// the new key in the end.
#[test]
fn author_with_a_new_key_is_asked_under_it() {
    const CAROL: usize = 2;
    let (mut net, group) = Net::group_of(3);
    net.say(BOB, group, "one").unwrap();
    net.now += 25 * 3_600 * 1_000;
    lose_keys(&mut net);
    net.disconnect(CAROL);
    net.say(BOB, group, "two").unwrap();
    let id = net.only_group();
    let position = net.groups.groups[&id].messages.len() as u64;
    net.skip(CAROL, Queue::Group(id), position);
    net.connect(CAROL);
    net.say(BOB, group, "three").unwrap();
    for _ in 0..3 {
        net.pass(31_000);
        net.settle();
    }
    assert_eq!(net.heard(CAROL), ["one", "three", "two"]);
}

/// docs/protocol.md, 9: only to the identity that the message was for.
#[test]
fn request_for_what_was_meant_for_somebody_else_is_not_answered() {
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, Settings::default()),
        Node::new("carol", 3, Settings::default()),
    ]);
    net.send(ALICE, "bob", "for bob");
    net.send(ALICE, "carol", "for carol");
    net.send(2, "alice", "hello");
    net.run();
    let identities: Vec<_> = (0..3)
        .map(|index| net.nodes[index].keys().0.public().clone())
        .collect();
    let request = ResendRequest {
        conversation: ConversationId::direct(&identities[ALICE], &identities[BOB]),
        session: net.nodes[ALICE].engine.own_session(),
        ranges: vec![NRange { first: 1, last: 1 }],
    };
    let before = net.stored.len();
    net.control(2, "alice", Kind::ResendRequest, request.encode());
    net.run();
    net.pass(2_000);
    // The request itself, and no answer.
    let after = net.stored[before..]
        .iter()
        .filter(|(to, ..)| *to == net.nodes[2].agent_id);
    assert_eq!(after.count(), 0);
}

/// docs/protocol.md, 9: never to a changed key.
/// Attack 37: whoever pretends that nothing could be read gets nothing under another key.
#[test]
fn repair_ends_when_the_identity_changes() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    net.send(BOB, "alice", "back");
    net.run();
    // The relay shows somebody else under bob's name; what bob cannot open stays with alice.
    let stranger = Node::new("bob", 9, Settings::default());
    net.bundles
        .insert(stranger.handle.clone(), stranger.bundle.clone());
    net.nodes[BOB].engine.encryption_keys().clear();
    net.send(ALICE, "bob", "second");
    net.run();
    net.pass(2_000);
    net.run();
    assert!(net.nodes[ALICE].alerted("identity_changed"));
    let id = net.send(ALICE, "bob", "third");
    assert!(matches!(
        net.answer(ALICE, id),
        Some(Err(Refusal::IdentityChanged { .. }))
    ));
    let to_bob = net
        .stored
        .iter()
        .filter(|(to, lane, _)| *to == net.nodes[BOB].agent_id && *lane == waxwire_shared::wire::Lane::Mail);
    assert_eq!(to_bob.count(), 2);
}

/// docs/protocol.md, 9: answers come after a random delay, and one message is sent again once, however
/// often it is asked for meanwhile.
#[test]
fn answer_comes_once_after_a_random_delay() {
    let mut net = Net::pair();
    for text in ["one", "two"] {
        net.send(ALICE, "bob", text);
    }
    net.send(BOB, "alice", "back");
    net.run();
    let identities: Vec<_> = (0..2)
        .map(|index| net.nodes[index].keys().0.public().clone())
        .collect();
    let request = ResendRequest {
        conversation: ConversationId::direct(&identities[ALICE], &identities[BOB]),
        session: net.nodes[ALICE].engine.own_session(),
        ranges: vec![NRange { first: 1, last: 2 }],
    };
    net.pass(10_000);
    let to_bob = |net: &Net| {
        let bob = net.nodes[BOB].agent_id;
        net.stored.iter().filter(|(to, ..)| *to == bob).count()
    };
    let mut delays = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let before = to_bob(&net);
        for _ in 0..3 {
            net.control(BOB, "alice", Kind::ResendRequest, request.encode());
        }
        net.run();
        let due = net.nodes[ALICE].engine.store().waiting().unwrap().answer.unwrap();
        assert!((net.now..net.now + 2_000).contains(&due));
        delays.insert(due - net.now);
        let short = (due - net.now).saturating_sub(1);
        net.pass(short);
        assert_eq!(to_bob(&net), before, "not before its time");
        net.pass(2_000 - short);
        assert_eq!(to_bob(&net), before + 1, "both in one answer, once");
        assert_eq!(net.nodes[ALICE].engine.store().waiting().unwrap().answer, None);
    }
    assert!(delays.len() > 4, "{delays:?}");
}
