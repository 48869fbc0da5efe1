//! Own keys and bundles (docs/protocol.md, 4.3).

use waxwire_shared::{
    api::{
        frames::{Cursor, Queue},
        problem::ProblemType,
    },
    hash::sha256,
    sign::Verified,
    wire::{Bundle, DirectHeader, Document as _, Envelope},
};

use super::net::{Net, Node, Offered, START};
use crate::engine::{Event, KeyChange, LinkEvent, Settings};

const MINUTE: u64 = 60 * 1_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The relay says that both queues of an agent are delivered to their ends.
fn emptied(net: &mut Net, index: usize) {
    let head = |queue| Event::Link(LinkEvent::Head(Cursor { queue, position: 0 }));
    net.feed(index, vec![head(Queue::Mail), head(Queue::Control)]);
}

/// Lets running time pass in steps, as the shell's timer does.
fn run_for(net: &mut Net, time: u64) {
    let end = net.now + time;
    while net.now < end {
        net.pass(HOUR.min(end - net.now));
    }
}

fn last_bundle(net: &Net) -> Bundle {
    let signed = net.nodes[1].offered.last().unwrap();
    Verified::<Bundle>::from_bytes(signed, |bundle| &bundle.identity)
        .unwrap()
        .into_body()
}

/// Number of the key that an envelope at the relay was sealed to.
fn sealed_to(net: &Net, place: usize) -> u64 {
    let (_, _, envelope) = &net.stored[place];
    let header = Envelope::split(envelope).unwrap().header;
    DirectHeader::decode(header).unwrap().key_number
}

fn held(net: &Net, index: usize) -> Vec<u64> {
    let keys = &net.nodes[index].engine.account.encryption_keys;
    keys.iter().map(|key| key.number).collect()
}

/// A bob whose key has just been replaced, after seven days of running.
fn rotated() -> Net {
    let mut net = Net::pair();
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY);
    assert_eq!(net.nodes[1].offered.len(), 1);
    net
}

/// docs/protocol.md, 4.3: a new key every 7 days of running time; `previous` is the bundle before.
#[test]
fn key_is_replaced_after_a_week_of_running_and_the_bundle_names_its_predecessor() {
    let mut net = Net::pair();
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY - 2 * HOUR);
    assert!(net.nodes[1].offered.is_empty());
    run_for(&mut net, 2 * HOUR);
    let bundle = last_bundle(&net);
    assert_eq!(bundle.previous, Some(sha256(&net.nodes[1].bundle)));
    assert!(bundle.number > START && bundle.keys[0].number > START);
    assert!(bundle.not_after > net.now + 89 * DAY);
    let KeyChange::Published {
        number,
        hash,
        key_number,
        ..
    } = net.nodes[1].changes[0]
    else {
        panic!("{:?}", net.nodes[1].changes)
    };
    assert_eq!((number, key_number), (bundle.number, bundle.keys[0].number));
    assert_eq!(hash, sha256(&net.nodes[1].offered[0]));
    assert_eq!(net.nodes[1].engine.account.bundle_hash, hash);
    // A sender that knows the old bundle still reaches the agent, and so does one that asks anew.
    assert_eq!(held(&net, 1), [START, key_number]);
    net.send(0, "bob", "m1");
    net.run();
    assert_eq!(sealed_to(&net, 0), key_number);
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
}

#[test]
fn attack_32_what_was_sealed_to_the_old_key_opens_until_that_is_erased() {
    let mut net = Net::pair();
    net.send(0, "bob", "m0");
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY - HOUR);
    // Looked up just before the key changes: the cached bundle is used for a day.
    net.send(0, "bob", "m1");
    run_for(&mut net, HOUR);
    assert_eq!(net.nodes[1].offered.len(), 1);
    net.send(0, "bob", "m2");
    net.run();
    let last = net.stored.len() - 1;
    assert_eq!(sealed_to(&net, last), START);
    assert_eq!(net.nodes[1].inbound(), ["m0", "m1", "m2"]);
    // A copy of it that comes after the erasure is refused.
    let copy = net.stored[last].clone();
    emptied(&mut net, 1);
    run_for(&mut net, 49 * HOUR);
    net.stored.push(copy);
    net.run();
    assert!(net.nodes[1].alerted("key_erased"));
}

/// docs/protocol.md, 4.3: (a) published, (b) queues emptied, (c) 48 h of running.
#[test]
fn erasure_waits_for_empty_queues_after_the_publication_and_then_48_hours() {
    let mut net = rotated();
    let new = last_bundle(&net).keys[0].number;
    run_for(&mut net, 3 * DAY);
    assert_eq!(held(&net, 1), [START, new], "the queues were emptied before only");
    emptied(&mut net, 1);
    let running = net.now - START;
    let key_number = START;
    assert!(
        net.nodes[1]
            .changes
            .contains(&KeyChange::Emptied { key_number, running })
    );
    run_for(&mut net, 47 * HOUR);
    assert_eq!(held(&net, 1), [START, new]);
    // Nothing that a relay does postpones it.
    net.disconnect(1);
    run_for(&mut net, 2 * HOUR);
    assert_eq!(held(&net, 1), [new]);
    assert_eq!(
        net.nodes[1].changes.last(),
        Some(&KeyChange::Erased { key_number })
    );
}

/// docs/protocol.md, 4.3: the 48 h are of running time.
#[test]
fn time_in_which_the_proxy_did_not_run_erases_nothing() {
    let mut net = rotated();
    emptied(&mut net, 1);
    let before = held(&net, 1);
    net.disconnect(1);
    net.suspend(30 * DAY);
    net.restart(1, |_| false);
    net.pass(HOUR);
    assert_eq!(held(&net, 1), before);
}

/// docs/protocol.md, 4.3: nothing that a relay says postpones erasure past the next successor.
#[test]
fn relay_that_never_empties_the_queues_holds_up_neither_rotation_nor_erasure_for_ever() {
    let mut net = Net::pair();
    run_for(&mut net, 7 * DAY + HOUR / 2);
    assert!(net.nodes[1].offered.is_empty(), "the queues may not be empty");
    run_for(&mut net, HOUR);
    assert_eq!(net.nodes[1].offered.len(), 1);
    let first = last_bundle(&net).keys[0].number;
    run_for(&mut net, 6 * DAY);
    assert_eq!(held(&net, 1), [START, first]);
    run_for(&mut net, DAY + 2 * HOUR);
    assert_eq!(net.nodes[1].offered.len(), 2);
    run_for(&mut net, 49 * HOUR);
    let second = last_bundle(&net).keys[0].number;
    assert_eq!(held(&net, 1), [first, second]);
}

#[test]
fn bundle_is_renewed_with_the_same_key_when_half_of_its_life_is_over() {
    let settings = Settings {
        key_rotation: 1_000 * DAY,
        ..Settings::default()
    };
    let mut net = Net::new(vec![
        Node::new("alice", 1, settings),
        Node::new("bob", 2, settings),
    ]);
    emptied(&mut net, 1);
    run_for(&mut net, 44 * DAY);
    assert!(net.nodes[1].offered.is_empty());
    run_for(&mut net, 2 * DAY);
    let bundle = last_bundle(&net);
    assert_eq!((net.nodes[1].offered.len(), bundle.keys[0].number), (1, START));
    assert_eq!(held(&net, 1), [START]);
    run_for(&mut net, 20 * DAY);
    assert_eq!(net.nodes[1].offered.len(), 1);
}

/// docs/protocol.md, 4.3: an agent that was away empties its queues first.
/// An agent that was away empties its queues first: what waits there is sealed to the old key.
#[test]
fn expired_bundle_is_replaced_after_the_queues_were_emptied() {
    let mut net = Net::pair();
    net.disconnect(1);
    net.send(0, "bob", "m1");
    net.suspend(100 * DAY);
    let expired = net.send(0, "bob", "m2");
    assert!(net.answer(0, expired).unwrap().is_err());
    net.restart(1, |_| false);
    net.run();
    assert!(net.nodes[1].offered.is_empty());
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    emptied(&mut net, 1);
    assert_eq!(net.nodes[1].offered.len(), 1);
    assert_eq!(
        last_bundle(&net).keys[0].number,
        START,
        "it has not run for a week"
    );
    let sent = net.send(0, "bob", "m2");
    net.run();
    assert!(net.answer(0, sent).unwrap().is_ok());
    assert_eq!(net.nodes[1].inbound(), ["m1", "m2"]);
}

#[test]
fn bundle_whose_answer_was_lost_is_offered_again_byte_for_byte_also_after_a_restart() {
    let mut net = Net::pair();
    net.nodes[1].offers.extend([Offered::LoseAnswer, Offered::Lose]);
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY);
    assert_eq!(net.nodes[1].offered.len(), 1);
    assert!(net.nodes[1].changes.is_empty());
    // Whoever asks now seals to a key that the agent cannot know to be published.
    net.send(0, "bob", "m1");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["m1"]);
    net.pass(MINUTE);
    net.pass(5 * MINUTE);
    assert_eq!(net.nodes[1].offered.len(), 2);
    net.restart(1, |_| false);
    assert_eq!(net.nodes[1].offered.len(), 3);
    assert!(net.nodes[1].offered.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(matches!(net.nodes[1].changes[0], KeyChange::Published { .. }));
}

/// The process ended after the state was written and before the key store was.
#[test]
fn bundle_whose_key_is_not_held_is_never_offered() {
    let mut net = Net::pair();
    net.nodes[1].offers.push_back(Offered::Lose);
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY);
    let lost = last_bundle(&net).keys[0].number;
    net.now += 1;
    net.restart(1, |number| number == lost);
    emptied(&mut net, 1);
    net.pass(10 * MINUTE);
    assert_eq!(net.nodes[1].offered.len(), 2);
    assert_ne!(last_bundle(&net).keys[0].number, lost);
    assert_eq!(net.nodes[1].engine.account.encryption_keys.len(), 2);
}

/// docs/protocol.md, 4.3: a number is above the highest that the agent knows of itself.
#[test]
fn newer_bundle_at_the_relay_is_told_and_the_next_one_has_another_number() {
    let mut net = Net::pair();
    net.nodes[1].offers.push_back(Offered::Refuse(ProblemType::Stale));
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY);
    assert!(net.nodes[1].alerted("own_bundle_stale"));
    let first = last_bundle(&net);
    net.pass(MINUTE);
    assert_eq!(net.nodes[1].offered.len(), 1);
    net.pass(HOUR);
    let second = last_bundle(&net);
    assert_eq!(net.nodes[1].offered.len(), 2);
    assert!(second.number > first.number);
    assert_eq!(second.keys, first.keys);
    assert_eq!(held(&net, 1).len(), 2);
}

#[test]
fn refused_bundle_is_told() {
    let mut net = Net::pair();
    net.nodes[1]
        .offers
        .push_back(Offered::Refuse(ProblemType::InvalidObject));
    emptied(&mut net, 1);
    run_for(&mut net, 7 * DAY);
    assert!(net.nodes[1].alerted("own_bundle_refused"));
    net.pass(2 * HOUR);
    assert_eq!(net.nodes[1].offered.len(), 2);
}
