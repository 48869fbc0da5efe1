//! Bundles that a relay serves: which are accepted, which stop sends, which are used how long
//! (docs/protocol.md, 4.3).

use waxwire_shared::{
    fingerprint::Fingerprint,
    hash::sha256,
    ids::RelayId,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, DirectHeader, Document as _, Envelope},
};

use super::net::{Net, Node, START};
use crate::{
    engine::{Command, Reply, Settings},
    model::{Refusal, TrustDecision},
};

const ALICE: usize = 0;
const BOB: usize = 1;
const MINUTE: u64 = 60 * 1_000;
const HOUR: u64 = 60 * MINUTE;

/// A fault by name, and how it comes into a bundle.
type Fault<'a> = (&'a str, &'a dyn Fn(&mut Bundle));

/// The relay serves bob's bundle with changes that bob has signed.
fn serve(net: &mut Net, change: impl FnOnce(&mut Bundle)) {
    let handle = net.nodes[BOB].handle.clone();
    let signed = SignedBytes::decode(&net.bundles[&handle]).unwrap();
    let mut bundle = Bundle::decode(&signed.body).unwrap();
    change(&mut bundle);
    let signed = net.nodes[BOB].keys().0.sign_document(&bundle);
    net.bundles.insert(handle, signed);
}

/// Bob's key that the newest message to him is sealed to.
fn key_of_last(net: &Net) -> u64 {
    let (_, _, envelope) = net.stored.last().unwrap();
    let header = Envelope::split(envelope).unwrap().header;
    DirectHeader::decode(header).unwrap().key_number
}

fn refused(net: &mut Net, client_msg_id: &str) -> bool {
    let id = net.send(ALICE, "bob", client_msg_id);
    matches!(net.answer(ALICE, id), Some(Err(Refusal::RelayLied { .. })))
}

/// docs/protocol.md, 4.3, steps 1 to 4: one fault each, and nothing is sealed.
#[test]
fn bundle_with_one_fault_is_refused() {
    let now = Net::pair().now;
    let changes: [Fault<'_>; 9] = [
        ("relay", &|b| b.relay = RelayId::from_bytes([1; 32])),
        ("handle", &|b| b.handle = "carol".parse().unwrap()),
        ("number", &|b| b.number = 0),
        ("span", &|b| b.not_after = b.not_before),
        ("keys", &|b| b.keys.push(b.keys[0].clone())),
        ("weak key", &|b| b.keys[0].public = vec![0; 32]),
        ("start", &|b| b.not_before = now + 24 * HOUR + 1),
        ("far number", &|b| b.number = now + 24 * HOUR + 1),
        ("signer", &|b| {
            b.identity = Node::new("eve", 7, Settings::default()).keys().0.public().clone();
        }),
    ];
    for (fault, change) in changes {
        let mut net = Net::pair();
        serve(&mut net, change);
        assert!(refused(&mut net, "refused"), "{fault}");
        assert!(net.nodes[ALICE].alerted("invalid_bundle"), "{fault}");
        assert!(net.stored.is_empty(), "{fault}");
    }
    let mut net = Net::pair();
    serve(&mut net, |bundle| {
        (bundle.not_before, bundle.number) = (now + 24 * HOUR, now + 24 * HOUR);
    });
    net.send(ALICE, "bob", "at the bound");
    assert_eq!(net.stored.len(), 1);
}

/// docs/protocol.md, 4.3, step 5: `BUNDLE_FORK` stops, `KEY_HISTORY_GAP` is told and stops nothing.
#[test]
fn history_of_bundles_is_compared() {
    for (number, follows, alert) in [
        (START, true, Some("bundle_fork")),
        (START + 1, false, Some("key_history_gap")),
        (START + 1, true, None),
    ] {
        let mut net = Net::pair();
        net.send(ALICE, "bob", "first");
        let before = sha256(&net.bundles[&net.nodes[BOB].handle]);
        net.now += 25 * HOUR;
        serve(&mut net, |bundle| {
            bundle.number = number;
            bundle.previous = Some(if follows { before } else { sha256(b"other") });
        });
        let stops = number == START;
        assert_eq!(refused(&mut net, "second"), stops, "{alert:?}");
        let alerts = net.nodes[ALICE].alerts.iter().map(|alert| alert.kind.as_str());
        assert_eq!(alerts.collect::<Vec<_>>(), Vec::from_iter(alert));
        assert_eq!(net.stored.len(), if stops { 1 } else { 2 });
    }
}

/// docs/protocol.md, 4.3, using one: a bundle is asked for anew after 24 h, and not before.
#[test]
fn cached_bundle_is_asked_for_anew_after_a_day() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    serve(&mut net, |bundle| {
        bundle.number = START + 1;
        bundle.keys[0].number = START + 1;
    });
    net.now += 24 * HOUR;
    net.send(ALICE, "bob", "within the day");
    assert_eq!((net.stored.len(), key_of_last(&net)), (2, START));
    net.now += 1;
    net.send(ALICE, "bob", "after the day");
    assert_eq!((net.stored.len(), key_of_last(&net)), (3, START + 1));
}

/// A key of a suite that this version does not know.
fn later_key(number: u64) -> BundleKey {
    BundleKey {
        suite: Suite::HYBRID,
        number,
        public: vec![7; 1_216],
    }
}

/// docs/protocol.md, 2.1: a suite that was shown and is not any more stops sends until the operator
/// decides, also if nobody here knows it and also while the relay does not answer.
/// Attack 53: a relay, or a peer's thief, that offers only the old suite gets nothing.
#[test]
fn attack_53_suite_that_is_not_shown_any_more_stops_sends_until_decided() {
    let mut net = Net::pair();
    serve(&mut net, |bundle| bundle.keys.push(later_key(START)));
    net.send(ALICE, "bob", "to the suite that is known");
    assert_eq!((net.stored.len(), key_of_last(&net)), (1, START));

    net.now += 25 * HOUR;
    serve(&mut net, |bundle| {
        bundle.number = START + 1;
        bundle.keys.truncate(1);
    });
    for (client_msg_id, relay_down) in [("asked", false), ("cached", false), ("not asked", true)] {
        net.relay_down = relay_down;
        if relay_down {
            net.now += 25 * HOUR;
        }
        let id = net.send(ALICE, "bob", client_msg_id);
        net.pass(11_000);
        let answer = net.answer(ALICE, id);
        let downgraded = matches!(answer, Some(Err(Refusal::SuiteDowngrade { .. })));
        assert!(downgraded, "{client_msg_id}: {answer:?}");
    }
    assert!(net.nodes[ALICE].alerted("suite_downgrade"));
    assert_eq!(net.stored.len(), 1);

    net.relay_down = false;
    let bob = Fingerprint::of(net.nodes[BOB].keys().0.public());
    let decision = Command::SetTrust("bob".parse().unwrap(), TrustDecision::Pinned, bob, false);
    net.command(ALICE, decision);
    let id = net.send(ALICE, "bob", "decided");
    assert!(matches!(net.answer(ALICE, id), Some(Ok(Reply::Sent(_)))));
}

/// docs/protocol.md, 2.1: what a program cannot use it refuses by name.
#[test]
fn peer_with_unknown_suites_only_is_refused_by_name() {
    let mut net = Net::pair();
    serve(&mut net, |bundle| bundle.keys = vec![later_key(START)]);
    let id = net.send(ALICE, "bob", "refused");
    assert!(matches!(net.answer(ALICE, id), Some(Err(Refusal::Suite { .. }))));
    assert!(net.stored.is_empty());
}

/// docs/protocol.md, 5.7: a message names its author's newest key, and the relay that does not show it is
/// caught: `BUNDLE_WITHHELD`. What nobody can have published is no reason to suspect it.
#[test]
fn bundle_that_the_relay_withholds_is_alerted() {
    let tomorrow = Net::pair().now + 25 * HOUR;
    for (number, shown, alerts) in [
        (START + 1, true, &[][..]),
        (START + 1, false, &["bundle_withheld"][..]),
        (tomorrow, false, &[][..]),
    ] {
        let mut net = Net::pair();
        net.send(ALICE, "bob", "first");
        net.run();
        if shown {
            let before = sha256(&net.bundles[&net.nodes[BOB].handle]);
            serve(&mut net, |bundle| {
                (bundle.number, bundle.keys[0].number) = (number, number);
                bundle.previous = Some(before);
            });
        }
        net.nodes[BOB].engine.account.key_number = number;
        net.now += 2 * MINUTE;
        net.send(BOB, "alice", "names a newer key");
        net.run();
        let found = net.nodes[ALICE].alerts.iter().map(|alert| alert.kind.as_str());
        assert_eq!(found.collect::<Vec<_>>(), alerts, "{number}, {shown}");
        assert_eq!(net.nodes[ALICE].inbound().len(), 1, "nothing is held up");
        net.send(ALICE, "bob", "second");
        assert_eq!(key_of_last(&net), if shown { number } else { START });
    }
}

/// docs/protocol.md, 5.7: a relay that did not answer is asked when the next message names the key.
#[test]
fn key_that_could_not_be_looked_up_is_looked_up_again() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    serve(&mut net, |bundle| {
        (bundle.number, bundle.keys[0].number) = (START + 1, START + 1);
    });
    net.nodes[BOB].engine.account.key_number = START + 1;
    net.now += 2 * MINUTE;
    net.relay_down = true;
    net.send(BOB, "alice", "while no lookup is answered");
    net.run();
    net.relay_down = false;
    net.send(BOB, "alice", "afterwards");
    net.run();
    assert_eq!(net.nodes[ALICE].inbound().len(), 2);
    net.send(ALICE, "bob", "second");
    assert_eq!(key_of_last(&net), START + 1);
}

fn queued(net: &Net, id: u64) -> bool {
    let answer = net.answer(ALICE, id);
    matches!(answer, Some(Err(Refusal::RelayUnreachable { queued: true })))
}

/// The relay goes away, a day passes, and alice writes to bob, whose bundle is old by then.
fn write_while_away(net: &mut Net) -> Vec<u64> {
    net.send(ALICE, "bob", "before");
    net.run();
    net.disconnect(ALICE);
    net.now += 25 * HOUR;
    let ids = ["m1", "m2"].map(|client_msg_id| net.send(ALICE, "bob", client_msg_id));
    net.pass(11_000);
    for id in ids {
        assert!(queued(net, id), "{:?}", net.answer(ALICE, id));
    }
    ids.to_vec()
}

/// docs/protocol.md, 4.3, using one: while the relay cannot be asked, the cached bundle serves. What is
/// queued so is durable, and goes out by itself, in order, to the newest key that the relay shows then.
#[test]
fn message_to_an_old_bundle_is_queued_while_the_relay_is_away() {
    for rotated in [false, true] {
        let mut net = Net::pair();
        write_while_away(&mut net);
        if rotated {
            serve(&mut net, |bundle| {
                bundle.number = START + 1;
                bundle.keys[0].number = START + 1;
            });
        }
        assert_eq!(net.stored.len(), 1, "nothing is sent before the relay was asked");
        net.connect(ALICE);
        assert_eq!(net.stored.len(), 3);
        assert_eq!(key_of_last(&net), if rotated { START + 1 } else { START });
        let again = net.send(ALICE, "bob", "m1");
        assert!(matches!(net.answer(ALICE, again), Some(Ok(Reply::Sent(sent))) if sent.repeated));
        if !rotated {
            net.run();
            assert_eq!(net.nodes[BOB].inbound(), ["before", "m1", "m2"]);
        }
    }
}

/// The relay takes envelopes and answers no lookup: what was queued, and what is new, goes out to the
/// bundle that is known.
#[test]
fn lookup_without_answer_holds_up_nothing_that_can_be_sealed() {
    let mut net = Net::pair();
    write_while_away(&mut net);
    net.relay_down = true;
    net.connect(ALICE);
    assert_eq!((net.stored.len(), key_of_last(&net)), (3, START));
    let id = net.send(ALICE, "bob", "m3");
    assert!(matches!(net.answer(ALICE, id), Some(Ok(Reply::Sent(_)))));
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["before", "m1", "m2", "m3"]);
}

/// docs/protocol.md, 4.3 and 4.4: past its end no bundle serves, and what waits is never sealed to an
/// identity that the relay shows instead.
#[test]
fn postponed_message_is_not_sent_if_its_recipient_is_another_or_has_expired() {
    let mut net = Net::pair();
    write_while_away(&mut net);
    let eve = Node::new("eve", 7, Settings::default()).keys();
    let bob = net.nodes[BOB].handle.clone();
    let forged = super::net::bundle(&eve.0, &bob, START + 1, &eve.1);
    net.bundles.insert(bob, forged);
    net.connect(ALICE);
    assert_eq!(net.stored.len(), 1);
    assert!(net.nodes[ALICE].alerted("identity_changed"));
    // It waits for a decision; whoever asks is told, and nothing of it is left.
    assert!(!net.nodes[ALICE].alerted("send_refused"));
    let again = net.send(ALICE, "bob", "m1");
    assert!(matches!(
        net.answer(ALICE, again),
        Some(Err(Refusal::IdentityChanged { .. }))
    ));

    let mut net = Net::pair();
    net.send(ALICE, "bob", "before");
    net.disconnect(ALICE);
    net.now += 91 * 24 * HOUR;
    let id = net.send(ALICE, "bob", "m1");
    net.pass(11_000);
    assert!(matches!(
        net.answer(ALICE, id),
        Some(Err(Refusal::RelayUnreachable { queued: false }))
    ));
}

/// docs/protocol.md, 5.6: a postponed message is given up like any other, with an alert, and its number is
/// withdrawn.
#[test]
fn postponed_message_is_given_up_at_its_deadline() {
    let mut net = Net::pair();
    write_while_away(&mut net);
    net.pass(600_001);
    assert!(net.nodes[ALICE].alerted("send_given_up"));
    net.connect(ALICE);
    net.send(ALICE, "bob", "m3");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["before", "m3"]);
    let gaps = net.nodes[BOB]
        .shown
        .iter()
        .filter(|message| message.security.gap.is_some());
    assert_eq!(gaps.count(), 0);
}
