//! A state that cannot be written: nothing is lost, and nothing spins.

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    wire::Lane,
};

use super::net::{Net, START};
use crate::engine::{Event, LinkEvent, Now};

const ALICE: usize = 0;
const BOB: usize = 1;

/// Ticks of alice until a time, each when her engine says that it is due.
fn ticks_until(net: &mut Net, end: u64) -> usize {
    let mut ticks = 0;
    while let Some(due) = net.nodes[ALICE].engine.next_deadline()
        && due <= end
    {
        net.now = net.now.max(due);
        let now = Now {
            unix: net.now,
            running: net.now - START,
        };
        net.nodes[ALICE]
            .engine
            .handle_batch(std::iter::once(Event::Tick), now);
        ticks += 1;
        assert!(ticks < 1_000, "the engine spins");
    }
    net.now = net.now.max(end);
    ticks
}

#[test]
fn overdue_deadline_does_not_spin_while_the_disk_is_full() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    net.disconnect(ALICE);
    net.send(ALICE, "bob", "second");
    let deadline = net.nodes[ALICE]
        .engine
        .store()
        .next_outbox_deadline()
        .unwrap()
        .unwrap()
        .0;
    net.nodes[ALICE].engine.store().execute("PRAGMA query_only = ON");
    ticks_until(&mut net, deadline);
    // The message is overdue for ten minutes, and giving it up cannot be written.
    let ticks = ticks_until(&mut net, deadline + 600_000);
    assert!((30..100).contains(&ticks), "{ticks}");
    net.nodes[ALICE].engine.store().execute("PRAGMA query_only = OFF");
    // As soon as it can, it is.
    let soon = net.now + 10_000;
    ticks_until(&mut net, soon);
    let left = net.nodes[ALICE].engine.store().next_outbox_deadline();
    assert_eq!(left.unwrap(), None);
    assert!(
        net.nodes[ALICE].engine.next_deadline().unwrap() > net.now,
        "it goes on as before"
    );
}

/// docs/protocol.md, 5.7, step 9: what a socket delivers behind an object that could not be written is not taken before
/// it. It comes again by the next socket, all in order.
#[test]
fn nothing_is_taken_behind_what_could_not_be_written() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    let sent = net.stored.len();
    // It waits in the socket.
    net.nodes[BOB].online = false;
    for id in ["second", "third"] {
        net.send(ALICE, "bob", id);
        net.run();
    }
    let mail = net.stored[sent..]
        .iter()
        .filter(|(.., lane, _)| *lane == Lane::Mail);
    let mail: Vec<_> = mail.map(|(.., envelope)| envelope.clone()).collect();
    assert_eq!(mail.len(), 2);
    let engine = &mut net.nodes[BOB].engine;
    let queue = Queue::Mail;
    let first = engine.store().cursor(&queue).unwrap();
    for (position, (object, full)) in (first + 1..).zip(mail.into_iter().zip(["ON", "OFF"])) {
        engine.store().execute(&format!("PRAGMA query_only = {full}"));
        let cursor = Cursor { queue, position };
        let now = Now {
            unix: net.now,
            running: net.now - START,
        };
        let event = Event::Link(LinkEvent::Delivered { cursor, object });
        engine.handle_batch(std::iter::once(event), now);
    }
    assert_eq!(engine.store().cursor(&queue).unwrap(), first);
    net.connect(BOB);
    net.run();
    let heard = net.nodes[BOB].inbound();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(!net.nodes[BOB].alerted("poison"));
}
