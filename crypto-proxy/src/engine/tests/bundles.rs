//! Bundles that a relay serves: which are accepted, which stop sends, which are used how long
//! (docs/protocol.md, 4.3).

use waxwire_shared::{
    hash::sha256,
    ids::RelayId,
    sign::SignedBytes,
    wire::{Bundle, DirectHeader, Document as _, Envelope},
};

use super::net::{Net, Node, START};
use crate::{engine::Settings, model::Refusal};

const ALICE: usize = 0;
const BOB: usize = 1;
const HOUR: u64 = 3_600 * 1_000;

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
