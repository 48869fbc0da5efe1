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

fn events(net: &Net) -> Vec<Event> {
    let mail = net.stored.iter().filter(|(_, lane, _)| *lane == Lane::Mail);
    let delivered = |(position, object): (u64, Vec<u8>)| {
        let queue = Queue::Mail;
        let cursor = Cursor { queue, position };
        Event::Link(LinkEvent::Delivered { cursor, object })
    };
    (1..)
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
    let events = events(&net);
    let opened = engine.open_ahead(&events);
    assert_eq!((events.len(), opened.len()), (COUNT + 1, COUNT));
    assert!(engine.open_ahead(&events[..4]).is_empty(), "not worth a thread");
}
