//! A state that cannot be written: nothing is lost, and nothing spins.

use super::net::{Net, START};
use crate::engine::{Event, Now};

const ALICE: usize = 0;

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
