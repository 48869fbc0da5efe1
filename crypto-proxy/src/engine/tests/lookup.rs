//! Flow 2 and trust: pins, fingerprints, changed identities, strangers.

use waxwire_shared::fingerprint::Fingerprint;

use super::net::{Net, Node, START, bundle, request};
use crate::{
    crypto::secret::{EncryptionSecret, IdentitySecret},
    engine::{Command, InboxMode, Reply, Settings, TrustPolicy},
    model::{Destination, Refusal, Trust, TrustDecision},
};

fn rng(seed: u8) -> rand_chacha::ChaCha20Rng {
    use rand_core::SeedableRng as _;
    rand_chacha::ChaCha20Rng::from_seed([seed; 32])
}

/// Somebody else's keys under bob's handle.
fn impostor(net: &mut Net, number: u64) -> IdentitySecret {
    let mut rng = rng(77);
    let identity = IdentitySecret::generate(&mut rng);
    let secret = EncryptionSecret::generate(&mut rng);
    let bob = "bob".parse().unwrap();
    let forged = bundle(&identity, &bob, number, secret.public().as_bytes());
    net.bundles.insert(bob, forged);
    identity
}

#[test]
fn unknown_recipient_is_not_found() {
    let mut net = Net::pair();
    net.bundles.remove(&"bob".parse().unwrap());
    let id = net.send(0, "bob", "m1");
    assert!(matches!(net.answer(0, id), Some(Err(Refusal::AgentNotFound))));
}

#[test]
fn agent_cannot_write_to_itself() {
    let mut net = Net::pair();
    let id = net.send(0, "alice", "m1");
    assert!(matches!(net.answer(0, id), Some(Err(Refusal::Invalid(_)))));
}

/// docs/protocol.md, 4.4: a fingerprint that is given must match.
/// Attack 22: with a fingerprint given out of band, a substituted key is refused before use.
#[test]
fn wrong_fingerprint_at_first_contact_is_refused() {
    let mut net = Net::pair();
    let real = Fingerprint::of(net.nodes[1].keys().0.public());
    impostor(&mut net, START);
    let id = net.send(0, &format!("bob#{real}"), "m1");
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::FingerprintMismatch { .. }))
    ));
    assert!(net.stored.is_empty());
}

/// docs/protocol.md, 4.4: what a lookup has shown is no pin. A relay that lied once does not keep whoever
/// names the right key from its owner for as long as a bundle is young.
#[test]
fn contradicted_lookup_is_asked_for_anew() {
    let mut net = Net::pair();
    let real = Fingerprint::of(net.nodes[1].keys().0.public());
    let address = format!("bob#{real}");
    let genuine = net.bundles.get(&net.nodes[1].handle).cloned();
    impostor(&mut net, START);
    net.send(0, &address, "m1");
    if let Some(genuine) = genuine {
        net.bundles.insert(net.nodes[1].handle.clone(), genuine);
    }
    net.now += 1;
    let id = net.send(0, &address, "m2");
    net.run();
    assert!(matches!(net.answer(0, id), Some(Ok(_))));
    assert_eq!(net.nodes[1].inbound(), ["m2"]);
}

/// docs/protocol.md, 4.4: `IDENTITY_CHANGED` before any plaintext is sealed.
/// Attack 23: a key that changes after first contact stops sends before any plaintext leaves.
#[test]
fn changed_identity_stops_sends_until_decided() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    let other = impostor(&mut net, START + 5);
    net.now += 25 * 3_600 * 1_000;
    let stored = net.stored.len();
    let id = net.send(0, "bob", "m2");
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::IdentityChanged { .. }))
    ));
    assert!(net.nodes[0].alerted("identity_changed"));
    assert_eq!(net.stored.len(), stored);
    let fingerprint = Fingerprint::of(other.public());
    let decision = Command::SetTrust(
        "bob".parse().unwrap(),
        TrustDecision::Verified,
        fingerprint,
        false,
    );
    let id = net.command(0, decision);
    match net.answer(0, id) {
        Some(Ok(Reply::Peer(peer))) => assert_eq!(peer.trust, Trust::Verified),
        other => panic!("{other:?}"),
    }
    let id = net.send(0, "bob", "m3");
    assert!(matches!(net.answer(0, id), Some(Ok(Reply::Sent(_)))));
}

/// docs/protocol.md, 4.3, step 5: the number is not below the highest seen.
/// Attack 31: an older bundle than one seen before is refused.
#[test]
fn older_bundle_is_refused() {
    let mut net = Net::pair();
    let earlier = net.bundles[&"bob".parse().unwrap()].clone();
    let (identity, public) = net.nodes[1].keys();
    let bob = "bob".parse().unwrap();
    net.bundles.insert(
        "bob".parse().unwrap(),
        bundle(&identity, &bob, START + 10, &public),
    );
    net.send(0, "bob", "m1");
    net.bundles.insert(bob, earlier);
    net.now += 25 * 3_600 * 1_000;
    let id = net.send(0, "bob", "m2");
    assert!(matches!(net.answer(0, id), Some(Err(Refusal::RelayLied { .. }))));
    assert!(net.nodes[0].alerted("stale_bundle"));
}

/// docs/protocol.md, 4.3: `RECIPIENT_KEY_EXPIRED` after `not_after`.
/// Attack 33: a bundle past its end stops sends.
#[test]
fn attack_33_expired_bundle_stops_sends() {
    let mut net = Net::pair();
    net.now = START + 91 * 24 * 3_600 * 1_000;
    let id = net.send(0, "bob", "m1");
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::RecipientKeyExpired { .. }))
    ));
}

/// docs/protocol.md, 4.4: the policy `pinned`.
#[test]
fn pinned_policy_needs_a_fingerprint_at_first_contact() {
    let settings = Settings {
        trust_policy: TrustPolicy::Pinned,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, settings),
        Node::new("bob", 2, Settings::default()),
    ]);
    let id = net.send(0, "bob", "m1");
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::FingerprintRequired))
    ));
    let fingerprint = Fingerprint::of(net.nodes[1].keys().0.public());
    let id = net.send(0, &format!("bob#{fingerprint}"), "m1");
    assert!(matches!(net.answer(0, id), Some(Ok(Reply::Sent(_)))));
}

/// docs/protocol.md, 4.4: the policy `verified`.
#[test]
fn verified_policy_needs_the_word_of_the_operator() {
    let settings = Settings {
        trust_policy: TrustPolicy::Verified,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, settings),
        Node::new("bob", 2, Settings::default()),
    ]);
    let fingerprint = Fingerprint::of(net.nodes[1].keys().0.public());
    let id = net.send(0, "bob", "m1");
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::FingerprintRequired))
    ));
    let decide = |decision| Command::SetTrust("bob".parse().unwrap(), decision, fingerprint, false);
    for index in 0..2 {
        let id = net.send(0, &format!("bob#{fingerprint}"), "m1");
        assert!(
            matches!(net.answer(0, id), Some(Err(Refusal::NotVerified { .. }))),
            "{index}"
        );
        net.command(0, decide(TrustDecision::Pinned));
    }
    net.command(0, decide(TrustDecision::Verified));
    let id = net.send(0, "bob", "m1");
    assert!(matches!(net.answer(0, id), Some(Ok(Reply::Sent(_)))));
}

/// The relay does not answer: the agent is told after ten seconds, nothing is pinned.
#[test]
fn lookup_without_answer_is_unreachable() {
    let mut net = Net::pair();
    net.relay_down = true;
    let id = net.send(0, "bob", "m1");
    net.pass(5_000);
    assert!(net.answer(0, id).is_none());
    net.pass(5_001);
    assert!(matches!(
        net.answer(0, id),
        Some(Err(Refusal::RelayUnreachable { queued: false }))
    ));
    net.relay_down = false;
    let id = net.send(0, "bob", "m1");
    assert!(matches!(net.answer(0, id), Some(Ok(Reply::Sent(_)))));
}

/// docs/protocol.md, 5.7, step 7: an unknown handle is looked up, the envelope is held.
/// A message whose sender cannot be looked up waits and appears when the relay answers.
#[test]
fn message_of_an_unknown_sender_waits_for_the_lookup() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.relay_down = true;
    net.run();
    assert!(net.nodes[1].inbound().is_empty());
    net.relay_down = false;
    net.disconnect(1);
    net.connect(1);
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

/// docs/protocol.md, 4.5: a stranger's messages wait in the requests until it is let in.
#[test]
fn strangers_wait_for_acceptance_where_only_contacts_may_write() {
    let settings = Settings {
        inbox_mode: InboxMode::ContactsOnly,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, settings),
    ]);
    net.send(0, "bob", "m1");
    net.send(0, "bob", "m2");
    net.run();
    assert!(net.nodes[1].inbound().is_empty());
    net.command(1, Command::AcceptRequest("alice".parse().unwrap()));
    assert_eq!(net.nodes[1].inbound(), ["m1", "m2"]);
    net.send(0, "bob", "m3");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m1", "m2", "m3"]);
}

/// docs/protocol.md, 5.4: what strangers sent has its holes, too.
#[test]
fn hole_in_what_a_stranger_sent_is_shown_once_it_is_let_in() {
    let settings = Settings {
        inbox_mode: InboxMode::ContactsOnly,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, Settings::default()),
        Node::new("bob", 2, settings),
    ]);
    for name in ["m1", "dropped", "m3"] {
        net.send(0, "bob", name);
    }
    net.stored.remove(1);
    net.run();
    net.command(1, Command::AcceptRequest("alice".parse().unwrap()));
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    net.pass(2_000);
    // The author answers after up to two seconds.
    net.pass(2_000);
    // Shown with the hole named, asked for, and healed.
    assert_eq!(net.nodes[1].inbound(), ["m1", "m3", "dropped"]);
    let gap = net.nodes[1].shown[1].security.gap.unwrap();
    assert_eq!((gap.after, gap.missing), (1, 1));
}

#[test]
fn blocked_peer_is_neither_written_to_nor_heard() {
    let mut net = Net::pair();
    net.send(0, "bob", "m1");
    net.run();
    let fingerprint = Fingerprint::of(net.nodes[0].keys().0.public());
    net.command(
        1,
        Command::SetTrust(
            "alice".parse().unwrap(),
            TrustDecision::Blocked,
            fingerprint,
            false,
        ),
    );
    net.send(0, "bob", "m2");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    let id = net.send(1, "alice", "r1");
    assert!(matches!(net.answer(1, id), Some(Err(Refusal::Blocked))));
}

/// docs/protocol.md, 4.4: under `pinned`, a message makes its sender known and no more.
/// Attack 22: a relay that plays an unknown agent, and writes first, is not answered without a fingerprint.
#[test]
fn sender_that_wrote_first_is_not_answered_without_a_fingerprint() {
    let settings = Settings {
        trust_policy: TrustPolicy::Pinned,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, settings),
        Node::new("bob", 2, Settings::default()),
    ]);
    net.send(1, "alice", "hello");
    net.run();
    assert_eq!(net.nodes[0].inbound(), ["hello"]);
    let conversation = Destination::Conversation(net.nodes[0].shown[0].conversation);
    for to in [Destination::Peer("bob".parse().unwrap()), conversation] {
        let id = net.command(0, Command::Send(request(to, "answer")));
        assert!(matches!(
            net.answer(0, id),
            Some(Err(Refusal::FingerprintRequired))
        ));
    }
    let fingerprint = Fingerprint::of(net.nodes[1].keys().0.public());
    net.send(0, &format!("bob#{fingerprint}"), "compared");
    let id = net.send(0, "bob", "answer");
    assert!(matches!(net.answer(0, id), Some(Ok(Reply::Sent(_)))));
}

/// Messages of an agent that cannot be looked up cost one question to the relay, which is repeated until
/// it answers.
#[test]
fn unknown_sender_is_asked_for_once_and_until_the_relay_answers() {
    let mut net = Net::pair();
    for name in ["m1", "m2", "m3"] {
        net.send(0, "bob", name);
    }
    net.relay_down = true;
    net.calls_wait = true;
    net.run();
    assert_eq!(net.waiting_calls(), 1);
    net.release_calls();
    assert!(net.nodes[1].inbound().is_empty());
    net.relay_down = false;
    net.pass(10_000);
    assert_eq!(net.nodes[1].inbound(), ["m1", "m2", "m3"]);
}
