//! Lookups with and without a proof of the relay's log (docs/protocol.md, 10).

use waxwire_shared::api::rest::{Base64Bytes, BundleAnswer};

use super::{
    log_relay::leaf_of,
    net::{Net, tag},
};
use crate::{
    engine::{Event, LinkEvent, LookupError, Settings},
    state::HeadRole,
    transparency::testing::leaf,
};

const ALERTS: [&str; 4] = ["log_proof_false", "log_withheld", "log_fork", "log_replaced"];

fn unalarmed(net: &Net, index: usize) -> bool {
    ALERTS.iter().all(|kind| !net.nodes[index].alerted(kind))
}

/// What the relay would answer alice about bob, changed.
fn show_bob(net: &mut Net, change: impl FnOnce(&mut BundleAnswer)) {
    let bundle = net.bundles[&"bob".parse().unwrap()].clone();
    let shown = BundleAnswer {
        agent_id: net.nodes[1].agent_id,
        bundle: Base64Bytes(bundle),
        successions: Vec::new(),
        log: None,
    };
    let mut shown = net.with_proof(0, shown);
    change(&mut shown);
    let event = LinkEvent::Bundle("bob".parse().unwrap(), Ok(shown));
    net.feed(0, vec![Event::Link(event)]);
}

/// docs/protocol.md, 10: a proof is verified for tag, number and hash; the tag is computed once.
#[test]
fn proof_with_a_lookup_is_verified_and_the_tag_kept() {
    let mut net = Net::pair();
    net.keep_log();
    net.send(0, "bob", "one");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["one"]);
    let bob = "bob".parse().unwrap();
    let store = net.nodes[0].engine.store();
    assert_eq!(store.log_tag(Some(&bob)).unwrap(), Some(tag(&bob)));
    assert_eq!(
        store.log_head(HeadRole::Highest).unwrap(),
        Some(net.logs[0].newest())
    );
    let asked = net.nodes[0].tags_asked;
    show_bob(&mut net, |_| ());
    assert_eq!((asked, net.nodes[0].tags_asked), (1, 1));
    assert!(unalarmed(&net, 0));
}

/// docs/protocol.md, 10: what proves another bundle proves nothing, and sends go on.
#[test]
fn proof_of_another_bundle_is_told_and_stops_no_send() {
    let alice = "alice".parse().unwrap();
    for case in 0..4 {
        let mut net = Net::pair();
        net.keep_log();
        let log = &net.logs[0];
        let size = log.leaves.len() as u64;
        let mut foreign = log.proof(0, size);
        match case {
            // A leaf of somebody else.
            0 => {}
            // The same bundle under another handle's tag.
            1 => {
                let bundle = net.bundles[&"bob".parse().unwrap()].clone();
                net.logs[0].leaves = vec![leaf_of(&alice, &bundle), leaf(7)];
                foreign = net.logs[0].proof(0, 2);
            }
            // The head of another relay's log.
            2 => {
                net.logs[0].relay = waxwire_shared::ids::RelayId::from_bytes([8; 32]);
                let place = net.logs[0].leaves.len() as u64 - 1;
                foreign = net.logs[0].proof(place, size);
            }
            _ => foreign = b"no proof".to_vec(),
        }
        show_bob(&mut net, |shown| shown.log = Some(Base64Bytes(foreign)));
        assert!(net.nodes[0].alerted("log_proof_false"), "{case}");
        let store = net.nodes[0].engine.store();
        assert_eq!(store.log_head(HeadRole::Highest).unwrap(), None, "{case}");
        net.logs.clear();
        net.send(0, "bob", "all the same");
        net.run();
        assert_eq!(net.nodes[1].inbound(), ["all the same"], "{case}");
    }
}

/// docs/protocol.md, 10: a relay that keeps a log has two hours until a bundle is proved; it is asked once more.
#[test]
fn bundle_that_stays_without_proof_is_told() {
    let mut net = Net::pair();
    show_bob(&mut net, |shown| shown.log = None);
    net.pass(3 * 3_600 * 1_000);
    show_bob(&mut net, |shown| shown.log = None);
    assert!(unalarmed(&net, 0), "no log is known, so none is missing");
    net.keep_log();
    show_bob(&mut net, |_| ());
    let within = Settings::default().log_within;
    // A bundle that was just published is not in the log yet.
    net.logs[0].leaves.pop();
    let look = |net: &mut Net| show_bob(net, |shown| shown.log = None);
    look(&mut net);
    net.pass(within - 1);
    look(&mut net);
    assert!(unalarmed(&net, 0));
    // Nobody asks, but the proxy itself.
    net.logs.clear();
    net.pass(1);
    assert!(net.nodes[0].alerted("log_withheld"));
    net.send(0, "bob", "all the same");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["all the same"]);
}

/// docs/protocol.md, 10: once the proof is there, nothing is missing any more.
#[test]
fn proof_that_comes_late_is_in_time() {
    let mut net = Net::pair();
    net.keep_log();
    show_bob(&mut net, |_| ());
    show_bob(&mut net, |shown| shown.log = None);
    net.pass(Settings::default().log_within - 1);
    show_bob(&mut net, |_| ());
    net.pass(2 * Settings::default().log_within);
    show_bob(&mut net, |shown| shown.log = None);
    assert!(unalarmed(&net, 0));
}

/// Without the memory for a tag the proof waits for the next lookup.
#[test]
fn tag_that_cannot_be_computed_is_asked_for_again() {
    let mut net = Net::pair();
    net.keep_log();
    let bob: waxwire_shared::ids::Handle = "bob".parse().unwrap();
    net.feed(0, vec![Event::HandleTag(bob.clone(), None)]);
    net.feed(
        0,
        vec![Event::HandleTag("nobody".parse().unwrap(), Some(tag(&bob)))],
    );
    show_bob(&mut net, |_| ());
    assert!(net.nodes[0].engine.store().log_tag(Some(&bob)).unwrap().is_some());
    let unreached = LinkEvent::Bundle(bob, Err(LookupError::Unreachable));
    net.feed(0, vec![Event::Link(unreached)]);
    assert!(unalarmed(&net, 0));
}
