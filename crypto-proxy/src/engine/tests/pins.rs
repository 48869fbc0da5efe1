//! Pins that were brought along (docs/protocol.md, 4.4).

use waxwire_shared::fingerprint::{Address, Fingerprint};

use super::{
    groups::{ALICE, BOB},
    net::{Net, Node},
};
use crate::{
    engine::{Command, Reply, Settings, TrustPolicy},
    model::{PinEntry, Refusal, Trust, TrustDecision},
};

fn fingerprint(net: &Net, index: usize) -> Fingerprint {
    Fingerprint::of(net.nodes[index].keys().0.public())
}

fn pin(handle: &str, fingerprint: Fingerprint, verified: bool) -> PinEntry {
    PinEntry {
        handle: handle.parse().unwrap(),
        fingerprint,
        verified,
    }
}

fn import(net: &mut Net, pins: Vec<PinEntry>) -> Result<(u64, u64), Refusal> {
    let id = net.command(ALICE, Command::ImportPins(pins));
    match net.answer(ALICE, id).cloned() {
        Some(Ok(Reply::Pinned { known, expected })) => Ok((known, expected)),
        Some(Err(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn trust(net: &mut Net) -> Result<Trust, Refusal> {
    let address: Address = "bob".parse().unwrap();
    let id = net.command(ALICE, Command::LookUp(address));
    net.run();
    match net.answer(ALICE, id).cloned() {
        Some(Ok(Reply::Peer(peer))) => Ok(peer.trust),
        Some(Err(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn send(net: &mut Net, id: &str) -> Result<(), Refusal> {
    let sent = net.send(ALICE, "bob", id);
    net.run();
    net.answer(ALICE, sent).cloned().expect("an answer").map(drop)
}

/// docs/protocol.md, 4.4: what was given beforehand is a fingerprint as good as one in an address.
#[test]
fn expected_agent_is_pinned_by_its_first_bundle_and_as_it_was_said() {
    for (policy, verified, known) in [
        (TrustPolicy::Tofu, false, Trust::Pinned),
        (TrustPolicy::Pinned, false, Trust::Pinned),
        (TrustPolicy::Verified, true, Trust::Verified),
    ] {
        let settings = Settings {
            trust_policy: policy,
            ..Settings::default()
        };
        let mut net = Net::new(vec![
            Node::new("alice", 1, settings),
            Node::new("bob", 2, Settings::default()),
        ]);
        let bob = pin("bob", fingerprint(&net, BOB), verified);
        assert_eq!(import(&mut net, vec![bob.clone()]), Ok((0, 1)));
        send(&mut net, "m1").unwrap();
        assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
        assert_eq!(trust(&mut net), Ok(known));
        // The same file again changes nothing.
        assert_eq!(import(&mut net, vec![bob]), Ok((1, 0)));
        assert_eq!(trust(&mut net), Ok(known));
    }
}

/// docs/protocol.md, 4.4: the first bundle that does not match is refused and told, whoever asked for it.
#[test]
fn another_key_than_the_expected_one_is_refused_and_told() {
    let mut net = Net::pair();
    let (theirs, expected) = (fingerprint(&net, BOB), fingerprint(&net, ALICE));
    import(&mut net, vec![pin("bob", expected, true)]).unwrap();
    let handle: waxwire_shared::ids::Handle = "bob".parse().unwrap();
    let mismatch = Refusal::FingerprintMismatch {
        handle: handle.clone(),
        actual: theirs,
    };
    assert_eq!(send(&mut net, "m1"), Err(mismatch.clone()));
    assert!(net.nodes[ALICE].alerted("pin_mismatch"));
    assert_eq!(trust(&mut net), Err(mismatch.clone()));
    let decision = Command::SetTrust(handle.clone(), TrustDecision::Verified, theirs, false);
    let decided = net.command(ALICE, decision);
    net.run();
    assert!(matches!(net.answer(ALICE, decided), Some(Err(refusal)) if *refusal == mismatch));
    // What the other one writes is not shown.
    net.send(BOB, "alice", "hello");
    net.run();
    assert!(net.nodes[ALICE].inbound().is_empty());
    assert!(net.nodes[ALICE].engine.store().peer(&handle).unwrap().is_none());
    // The operator was wrong, and says so.
    import(&mut net, vec![pin("bob", theirs, false)]).unwrap();
    send(&mut net, "m2").unwrap();
    assert_eq!(trust(&mut net), Ok(Trust::Pinned));
}

/// A key that only a lookup has shown is nobody's: the relay may have lied then.
#[test]
fn what_a_lookup_has_shown_gives_way_to_what_is_expected() {
    let mut net = Net::pair();
    assert_eq!(trust(&mut net), Ok(Trust::New));
    let wrong = fingerprint(&net, ALICE);
    assert_eq!(import(&mut net, vec![pin("bob", wrong, false)]), Ok((0, 1)));
    assert!(matches!(
        send(&mut net, "m1"),
        Err(Refusal::FingerprintMismatch { .. })
    ));
    let right = fingerprint(&net, BOB);
    import(&mut net, vec![pin("bob", right, true)]).unwrap();
    assert_eq!(trust(&mut net), Ok(Trust::Verified));
}

/// All or nothing, and never against a key that is relied on.
#[test]
fn file_that_contradicts_a_pin_is_refused_as_a_whole() {
    let mut net = Net::pair();
    send(&mut net, "m1").unwrap();
    let (me, bob) = (fingerprint(&net, ALICE), fingerprint(&net, BOB));
    let carol = pin("carol", me, true);
    let refused = import(&mut net, vec![carol.clone(), pin("bob", me, true)]);
    let handle = "bob".parse().unwrap();
    assert_eq!(refused, Err(Refusal::FingerprintMismatch { handle, actual: bob }));
    let refused = import(&mut net, vec![carol, pin("alice", bob, true)]);
    let handle = "alice".parse().unwrap();
    assert_eq!(refused, Err(Refusal::FingerprintMismatch { handle, actual: me }));
    assert_eq!(net.nodes[ALICE].engine.store().count_expected().unwrap(), 0);
    // The own identity in a file is no contradiction, and a weaker word takes nothing back.
    let file = vec![pin("alice", me, true), pin("bob", bob, true)];
    assert_eq!(import(&mut net, file), Ok((2, 0)));
    assert_eq!(import(&mut net, vec![pin("bob", bob, false)]), Ok((1, 0)));
    assert_eq!(trust(&mut net), Ok(Trust::Verified));
}

#[test]
fn pins_lift_no_block() {
    let mut net = Net::pair();
    let bob = fingerprint(&net, BOB);
    let block = Command::SetTrust("bob".parse().unwrap(), TrustDecision::Blocked, bob, false);
    net.command(ALICE, block);
    net.run();
    assert_eq!(import(&mut net, vec![pin("bob", bob, true)]), Ok((1, 0)));
    assert_eq!(send(&mut net, "m1"), Err(Refusal::Blocked));
}

#[test]
fn expected_agents_are_bounded() {
    let mut net = Net::pair();
    let key = fingerprint(&net, BOB);
    let many = |from: usize, count: usize| -> Vec<PinEntry> {
        (from..from + count)
            .map(|n| pin(&format!("agent-{n}"), key, false))
            .collect()
    };
    import(&mut net, many(0, 9_999)).unwrap();
    let refused = import(&mut net, many(20_000, 2));
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    assert_eq!(net.nodes[ALICE].engine.store().count_expected().unwrap(), 9_999);
    import(&mut net, many(20_000, 1)).unwrap();
    // What is expected already takes no more room.
    import(&mut net, many(0, 9_999)).unwrap();
}
