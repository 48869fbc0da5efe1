//! What has come while a proxy was away is opened on several cores, and taken in its order all the same.

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    wire::Lane,
};

use super::net::Net;
use crate::engine::{Event, LinkEvent};

const ALICE: usize = 0;
const BOB: usize = 1;
const COUNT: usize = 40;

/// Bob was away while Alice wrote, and the relay has put a damaged copy of one message among them.
fn away() -> Net {
    let mut net = Net::pair();
    net.disconnect(BOB);
    for number in 0..COUNT {
        net.send(ALICE, "bob", &format!("{number:02}"));
    }
    let (to, lane, mut damaged) = net.stored[COUNT / 2].clone();
    *damaged.last_mut().unwrap() ^= 1;
    net.stored.insert(COUNT / 3, (to, lane, damaged));
    net
}

/// Deliveries of what was sent to bob, at these positions.
fn events(net: &Net, positions: impl Iterator<Item = u64>) -> Vec<Event> {
    let mail = net.stored.iter().filter(|(_, lane, _)| *lane == Lane::Mail);
    let delivered = |(position, object): (u64, Vec<u8>)| {
        let queue = Queue::Mail;
        let cursor = Cursor { queue, position };
        Event::Link(LinkEvent::Delivered { cursor, object })
    };
    positions
        .zip(mail.map(|(_, _, envelope)| envelope.clone()))
        .map(delivered)
        .collect()
}

#[test]
fn a_large_batch_is_taken_in_order_and_what_is_damaged_is_told() {
    let mut net = away();
    net.connect(BOB);
    net.run();
    let wanted: Vec<String> = (0..COUNT).map(|number| format!("{number:02}")).collect();
    assert_eq!(net.nodes[BOB].inbound(), wanted);
    assert!(net.nodes[BOB].alerted("envelope_does_not_open"));
}

#[test]
fn all_that_opens_of_a_large_batch_is_opened_ahead() {
    let net = away();
    let engine = &net.nodes[BOB].engine;
    let opened = |events: &[Event]| engine.open_ahead(events).iter().flatten().count();
    let events = events(&net, 1..);
    assert_eq!((events.len(), opened(&events)), (COUNT + 1, COUNT));
    assert_eq!(opened(&events[..4]), 0, "not worth a thread");
}

/// What is opened ahead belongs to its event, also where the relay gives several objects one position.
#[test]
fn objects_at_one_position_are_not_taken_for_each_other() {
    let net = away();
    let opened = |events: &[Event]| {
        let opened = net.nodes[BOB].engine.open_ahead(events);
        opened.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    let apart = opened(&events(&net, 1..));
    assert_eq!(opened(&events(&net, std::iter::repeat(1))), apart);
    assert!(!apart[COUNT / 3], "the damaged one");
}
