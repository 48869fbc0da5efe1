//! A machine's clock that is set (docs/operations/running.md, Clocks): everybody's alike here.

use super::net::{Fault, Net};
use crate::{engine::Event, model::Refusal};

const ALICE: usize = 0;
const BOB: usize = 1;
const HOUR: u64 = 3_600_000;
const GRACE: u64 = 60_000;

impl Net {
    fn set_forward(&mut self, by: u64) {
        self.suspend(by);
        self.look_at_clocks();
    }

    /// All clocks are set back by what they were set forward before.
    fn set_back(&mut self, by: u64) {
        self.now -= by;
        self.away -= by;
        self.look_at_clocks();
    }

    fn look_at_clocks(&mut self) {
        for index in 0..self.nodes.len() {
            self.feed(index, vec![Event::Tick]);
        }
    }

    fn deadline(&self, index: usize) -> Option<u64> {
        let next = self.nodes[index].engine.store().next_outbox_deadline();
        next.unwrap().map(|(at, _)| at)
    }

    /// Alice and bob have met, and a message of alice's waits for the relay, which is not there.
    fn with_waiting_message() -> Self {
        let mut net = Self::pair();
        net.send(ALICE, "bob", "first");
        net.run();
        net.disconnect(ALICE);
        net.send(ALICE, "bob", "second");
        net
    }
}

#[test]
fn clock_that_is_set_forward_gives_nothing_up_untried() {
    let mut net = Net::with_waiting_message();
    net.set_forward(2 * HOUR);
    net.connect(ALICE);
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["first", "second"]);
    assert!(!net.nodes[ALICE].alerted("send_given_up"));
}

/// While no proxy runs nobody sees that the clock was set, or how much time has passed.
#[test]
fn message_that_is_overdue_when_the_proxy_starts_is_tried() {
    let mut net = Net::with_waiting_message();
    net.suspend(2 * HOUR);
    net.faults.push_back(Fault::LoseSend);
    net.restart(ALICE, |_| false);
    net.look_at_clocks();
    net.disconnect(ALICE);
    net.connect(ALICE);
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["first", "second"]);
    assert!(!net.nodes[ALICE].alerted("send_given_up"));
}

#[test]
fn message_that_is_overdue_is_given_up_after_a_minute_of_trying() {
    let mut net = Net::with_waiting_message();
    net.set_forward(2 * HOUR);
    net.pass(GRACE - 1);
    assert!(!net.nodes[ALICE].alerted("send_given_up"));
    net.pass(1);
    assert!(net.nodes[ALICE].alerted("send_given_up"));
    assert_eq!(net.deadline(ALICE), None);
}

/// A month is the longest that anything is offered to the relay, however far ahead the clock was.
#[test]
fn deadline_of_a_clock_that_was_far_ahead_is_bounded() {
    let mut net = Net::with_waiting_message();
    let store = net.nodes[ALICE].engine.store();
    store.execute("UPDATE outbox SET deadline = deadline * 2");
    net.faults.push_back(Fault::LoseSend);
    net.restart(ALICE, |_| false);
    assert_eq!(net.deadline(ALICE), Some(net.now + 30 * 24 * HOUR));
}

/// What was put off while the clock was ahead is done as soon as it is right again.
#[test]
fn clock_that_is_set_right_leaves_nothing_that_waits_for_hours() {
    let mut net = Net::with_hole();
    net.set_forward(2 * HOUR);
    net.pass(2_000);
    net.nodes[ALICE].online = false;
    let waiting = |net: &Net, index: usize| net.nodes[index].engine.store().waiting().unwrap();
    let put_off = (waiting(&net, ALICE).answer, waiting(&net, BOB).missing);
    assert!(
        put_off.0 > Some(net.now) && put_off.1 > Some(net.now),
        "{put_off:?}"
    );
    net.set_back(2 * HOUR);
    for index in [ALICE, BOB] {
        let due = net.nodes[index].engine.next_deadline().unwrap();
        assert!(due <= net.now + HOUR, "nothing happens for {} ms", due - net.now);
    }
    net.connect(ALICE);
    net.look_at_clocks();
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["one", "three", "two"]);
}

/// A hole is a hole when nothing has come for a while, not when the clock says so.
#[test]
fn clock_that_is_set_forward_shows_no_holes() {
    let mut net = Net::with_hole();
    net.set_forward(2 * HOUR);
    net.pass(1_999);
    assert_eq!(net.nodes[BOB].inbound(), ["one"]);
    net.pass(1);
    assert_eq!(net.nodes[BOB].inbound(), ["one", "three"]);
}

/// Who waits is told, for the time until which it waited is none any more.
#[test]
fn request_that_waits_is_answered_when_the_clock_is_set() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    net.faults.push_back(Fault::LoseSend);
    let waiting = net.send(ALICE, "bob", "second");
    assert!(net.answer(ALICE, waiting).is_none());
    net.set_forward(HOUR);
    let answer = net.answer(ALICE, waiting).unwrap().as_ref();
    assert_eq!(answer.err(), Some(&Refusal::RelayUnreachable { queued: true }));
    net.run();
    assert_eq!(net.nodes[BOB].inbound(), ["first", "second"]);
}

/// A clock that is slewed, or ticks unlike another, is followed and nothing else.
#[test]
fn clock_that_drifts_resets_nothing() {
    let mut net = Net::pair();
    net.send(ALICE, "bob", "first");
    net.run();
    net.faults.push_back(Fault::LoseSend);
    let waiting = net.send(ALICE, "bob", "second");
    for _ in 0..3 {
        net.suspend(4_000);
        net.feed(ALICE, Vec::new());
    }
    assert!(net.answer(ALICE, waiting).is_none());
}
