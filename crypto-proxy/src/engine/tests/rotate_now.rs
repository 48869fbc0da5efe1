//! Keys are replaced because somebody asks (docs/protocol.md, 4.3 and 11).

use waxwire_shared::api::frames::{Cursor, Queue};

use super::{
    groups::{ALICE, BOB},
    net::{Net, Offered, START},
};
use crate::{
    engine::{Command, Event, GroupCommand, LinkEvent, Reply},
    model::Refusal,
    state::EpochState,
};

const MINUTE: u64 = 60 * 1_000;
const HOUR: u64 = 60 * MINUTE;

fn newest(net: &Net, index: usize) -> u64 {
    net.nodes[index].engine.account.key_number
}

fn rotate(net: &mut Net, index: usize) -> Result<u64, Refusal> {
    let id = net.command(index, Command::RotateKey);
    net.settle();
    match net.answer(index, id).cloned() {
        Some(Ok(Reply::Rotated(number))) => Ok(number),
        Some(Err(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// docs/protocol.md, 4.3: the successor does not wait for queues; the former key is held on.
#[test]
fn new_key_is_published_at_once_and_the_former_one_is_kept_for_its_time() {
    let mut net = Net::pair();
    net.now += MINUTE;
    let number = rotate(&mut net, BOB).unwrap();
    assert!(number > START && newest(&net, BOB) == number);
    assert_eq!(net.nodes[BOB].offered.len(), 1);
    let held: Vec<u64> = net.nodes[BOB]
        .engine
        .account
        .encryption_keys
        .iter()
        .map(|key| key.number)
        .collect();
    assert_eq!(held, [START, number]);
    // A sender with the old bundle is still read.
    net.send(ALICE, "bob", "m1");
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["m1"]);
}

/// A key that was made earlier and never published may be known to whoever is to be shut out.
#[test]
fn key_that_waited_to_be_published_does_not_count() {
    let mut net = Net::pair();
    net.now += MINUTE;
    net.nodes[BOB].offers.push_back(Offered::Lose);
    assert_eq!(
        rotate(&mut net, BOB),
        Err(Refusal::RelayUnreachable { queued: true })
    );
    let waiting = net.nodes[BOB]
        .engine
        .account
        .encryption_keys
        .last()
        .unwrap()
        .number;
    net.now += MINUTE;
    let number = rotate(&mut net, BOB).unwrap();
    assert!(number > waiting);
    let keys = net.nodes[BOB].engine.account.encryption_keys.len();
    assert_eq!(keys, 3);
}

#[test]
fn requests_at_the_same_time_share_one_key() {
    let mut net = Net::pair();
    net.disconnect(BOB);
    let first = net.command(BOB, Command::RotateKey);
    let second = net.command(BOB, Command::RotateKey);
    net.connect(BOB);
    net.settle();
    let number = newest(&net, BOB);
    for id in [first, second] {
        let answer = net.answer(BOB, id);
        assert!(
            matches!(answer, Some(Ok(Reply::Rotated(key))) if *key == number),
            "{answer:?}"
        );
    }
    assert_eq!(net.nodes[BOB].offered.len(), 1);
}

#[test]
fn without_a_relay_it_is_told_and_nothing_is_left_behind() {
    let mut net = Net::pair();
    net.disconnect(BOB);
    let id = net.command(BOB, Command::RotateKey);
    net.pass(20_000);
    let answer = net.answer(BOB, id).cloned();
    assert!(
        matches!(answer, Some(Err(Refusal::RelayUnreachable { queued: false }))),
        "{answer:?}"
    );
    net.connect(BOB);
    net.settle();
    assert!(net.nodes[BOB].offered.is_empty());
}

#[test]
fn seventh_key_in_an_hour_is_refused_and_told_when() {
    let mut net = Net::pair();
    for _ in 0..6 {
        net.now += MINUTE;
        rotate(&mut net, BOB).unwrap();
    }
    let refused = rotate(&mut net, BOB);
    assert!(
        matches!(refused, Err(Refusal::RateLimited { retry_after: 3_300 })),
        "{refused:?}"
    );
    net.now += HOUR;
    rotate(&mut net, BOB).unwrap();
}

/// docs/protocol.md, 11: healing is the rotation and then a rekey. Nothing is sealed in a group before it, also if
/// nobody asks for the group's key.
#[test]
fn groups_are_rekeyed_before_anything_is_sealed_in_them() {
    let (mut net, group) = Net::group_of(2);
    let before = net.nodes[BOB]
        .engine
        .store()
        .group_security(&group)
        .unwrap()
        .epoch;
    net.now += MINUTE;
    rotate(&mut net, BOB).unwrap();
    let message = net.say(BOB, group, "healed").unwrap();
    assert!(
        message.security.epoch.unwrap() > before,
        "{:?}",
        message.security.epoch
    );
    assert!(net.heard(ALICE).contains(&"healed".to_owned()));
    // It is done with that: the next message needs no other key.
    let epoch = message.security.epoch;
    assert_eq!(net.say(BOB, group, "again").unwrap().security.epoch, epoch);
}

/// A commit that was on its way when the key was replaced seals the group's key to the former one.
#[test]
fn rekey_that_was_on_its_way_does_not_count() {
    let (mut net, group) = Net::group_of(2);
    net.now += MINUTE;
    let before = net.nodes[BOB]
        .engine
        .store()
        .group_security(&group)
        .unwrap()
        .epoch;
    let store = net.nodes[BOB].engine.store();
    let row = store.live_groups().unwrap().remove(0);
    store.execute(&format!(
        "INSERT INTO grp_pending(group_row, hash, position, signed, leaves, made_at) VALUES ({}, x'{}', 9, x'', x'', 0)",
        row.group_row,
        "00".repeat(32)
    ));
    store.renew_groups().unwrap();
    store.execute("DELETE FROM grp_pending");
    let asked = net.ask(BOB, GroupCommand::Rekey(group));
    assert!(
        matches!(asked, Ok(Reply::Epoch(epoch)) if epoch == before + 2),
        "{asked:?}"
    );
}

/// docs/protocol.md, 6.7: the relay says once on a socket that a queue is empty. Chains of former epochs go all the same
/// where the link stays up, and not before their time.
#[test]
fn chains_of_former_epochs_are_erased_while_the_link_stays_up() {
    let (mut net, group) = Net::group_of(2);
    let row = net.nodes[BOB].engine.store().live_groups().unwrap().remove(0);
    let queue = Queue::Group(row.group_id);
    net.feed(
        BOB,
        vec![Event::Link(LinkEvent::Head(Cursor { queue, position: 0 }))],
    );
    let epoch = net.nodes[BOB]
        .engine
        .store()
        .group_security(&group)
        .unwrap()
        .epoch;
    let state = |net: &Net| {
        let store = net.nodes[BOB].engine.store();
        store.epoch(row.group_row, epoch).unwrap().unwrap().state
    };
    net.ask(ALICE, GroupCommand::Rekey(group)).unwrap();
    net.settle();
    for _ in 0..47 {
        net.pass(HOUR);
    }
    assert_eq!(state(&net), EpochState::Adopted);
    for _ in 0..2 {
        net.pass(HOUR);
    }
    assert_eq!(state(&net), EpochState::Erased);
}
