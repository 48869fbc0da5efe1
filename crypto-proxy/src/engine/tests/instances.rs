//! Two instances of one agent (docs/protocol.md, 8.5): what each believes and does.

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    ids::{RelayId, SessionId},
    sign::Verified,
    wire::{Lease, VERSION},
};

use super::net::*;
use crate::{
    crypto::secret::IdentitySecret,
    engine::{Event, LinkEvent, Reply, Settings},
    model::{Refusal, Severity},
};

/// When the tests begin.
const NOW: u64 = START + 1_000;

fn alice() -> IdentitySecret {
    Node::new("alice", 1, Settings::default()).keys().0
}

/// What alice signs unless a test says otherwise: another instance in another session.
fn lease(incarnation: u64, time: u64) -> Lease {
    let identity = alice();
    Lease {
        version: VERSION,
        relay: relay_id(),
        identity: identity.public().clone(),
        incarnation,
        session: SessionId::from_bytes([77; 16]),
        time,
    }
}

/// A pair; alice holds a lease of now.
fn leased() -> Net {
    let mut net = Net::pair();
    net.nodes[0].engine.lease(NOW);
    net
}

fn show(net: &mut Net, lease: &Lease) {
    show_signed(net, alice().sign_document(lease));
}

fn show_signed(net: &mut Net, lease: Vec<u8>) {
    net.feed(0, vec![Event::Link(LinkEvent::Lease(lease))]);
}

fn alerts<'a>(net: &'a Net, kind: &'a str) -> impl Iterator<Item = Severity> + 'a {
    let alerts = net.nodes[0].alerts.iter();
    alerts
        .filter(move |alert| alert.kind == kind)
        .map(|alert| alert.severity)
}

fn is_live(net: &mut Net) -> bool {
    let id = net.send(0, "bob", &format!("probe-{}", net.nodes[0].answers.len()));
    net.run();
    matches!(net.answer(0, id), Some(Ok(Reply::Sent(_))))
}

#[test]
fn instance_that_sees_a_later_incarnation_sends_and_takes_nothing() {
    let mut net = leased();
    assert!(is_live(&mut net));
    net.faults.push_back(Fault::LoseSend);
    let waiting = net.send(0, "bob", "on its way");
    show(&mut net, &lease(START + 1, NOW));
    assert!(matches!(net.answer(0, waiting), Some(Err(Refusal::Superseded))));
    assert_eq!(
        alerts(&net, "superseded").collect::<Vec<_>>(),
        [Severity::Critical]
    );
    let stored = net.stored.len();
    let refused = net.send(0, "bob", "later");
    assert!(matches!(net.answer(0, refused), Some(Err(Refusal::Superseded))));
    // A socket that came up meanwhile changes nothing, nor does what it brings.
    net.connect(0);
    net.pass(60_000);
    assert_eq!(net.stored.len(), stored);
    let queue = Queue::Mail;
    let object = b"for the live instance".to_vec();
    let cursor = Cursor { queue, position: 1 };
    net.feed(0, vec![Event::Link(LinkEvent::Delivered { cursor, object })]);
    assert_eq!(net.acked(0, queue), 0);
    show(&mut net, &lease(START + 2, NOW));
    assert_eq!(alerts(&net, "superseded").count(), 1);
}

#[test]
fn two_sessions_of_one_incarnation_are_clones_and_each_tells_the_other() {
    let mut net = leased();
    let other = lease(START, NOW + 5);
    show(&mut net, &other);
    let refused = net.send(0, "bob", "one");
    assert!(matches!(net.answer(0, refused), Some(Err(Refusal::Clone))));
    assert_eq!(alerts(&net, "clone").collect::<Vec<_>>(), [Severity::Critical]);
    // What is offered in answer is later than what was seen, whatever the clocks say.
    let [answer] = &net.leases[..] else {
        panic!("{} leases", net.leases.len());
    };
    let answer = Verified::<Lease>::from_bytes(answer, |lease| &lease.identity).unwrap();
    assert!(answer.body().time > other.time);
    show(&mut net, &lease(START, NOW + 50));
    assert_eq!(net.leases.len(), 1);
}

/// A folder that was copied: the same session in both.
#[test]
fn lease_of_the_same_session_is_a_clones_if_it_is_later() {
    let mut net = leased();
    let session = net.nodes[0].engine.own_session();
    let of = |time| Lease {
        session,
        ..lease(START, time)
    };
    let (earlier, later) = (of(NOW - 1), of(NOW + 1));
    show(&mut net, &earlier);
    assert!(is_live(&mut net), "an earlier run of this instance");
    show(&mut net, &later);
    let refused = net.send(0, "bob", "one");
    assert!(matches!(net.answer(0, refused), Some(Err(Refusal::Clone))));
}

#[test]
fn older_incarnation_that_was_started_again_is_reported_and_old_leases_are_not() {
    let mut net = leased();
    show(&mut net, &lease(START - 1, START));
    assert_eq!(
        alerts(&net, "clone").count(),
        0,
        "the relay repeats what it holds"
    );
    show(&mut net, &lease(START - 1, START + 1));
    assert_eq!(alerts(&net, "clone").collect::<Vec<_>>(), [Severity::Critical]);
    assert!(is_live(&mut net));
}

/// The relay is believed nothing: only a lease of the agent's own identity for this relay counts.
#[test]
fn lease_that_the_agent_did_not_sign_stops_nothing() {
    let mut net = leased();
    let genuine = lease(START + 1, NOW);
    let mallory = IdentitySecret::from_slice(&[66; 32]).unwrap();
    let identity = alice();
    let elsewhere = Lease {
        relay: RelayId::from_bytes([1; 32]),
        ..genuine.clone()
    };
    let hers = Lease {
        identity: mallory.public().clone(),
        ..genuine.clone()
    };
    let mut flipped = identity.sign_document(&genuine);
    *flipped.last_mut().unwrap() ^= 1;
    for forged in [
        mallory.sign_document(&genuine),
        mallory.sign_document(&hers),
        identity.sign_document(&elsewhere),
        flipped,
        Vec::new(),
        vec![0xff; 5_000],
    ] {
        show_signed(&mut net, forged);
    }
    assert!(is_live(&mut net));
    assert_eq!(alerts(&net, "lease_forged").count(), 1);
}
