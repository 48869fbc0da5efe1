//! An agent that the relay's operator has suspended is told so, whatever it asks of the relay.

use super::net::Net;
use crate::{
    engine::{Command, Event, GroupCommand, LinkEvent, Reply},
    model::{GroupProfile, NewGroup, Refusal},
};

fn suspend(net: &mut Net, index: usize, suspended: bool) {
    net.disconnect(index);
    net.feed(index, vec![Event::Link(LinkEvent::Unauthorized { suspended })]);
}

fn is_refused(net: &Net, id: u64) -> bool {
    matches!(net.answer(0, id), Some(Err(Refusal::Suspended)))
}

#[test]
fn everything_that_needs_the_relay_is_refused_by_name() {
    let mut net = Net::pair();
    net.send(0, "bob", "before");
    suspend(&mut net, 0, true);
    let send = net.send(0, "bob", "m1");
    let look = net.command(0, Command::LookUp("carol".parse().unwrap()));
    let found = GroupCommand::Create(Box::new(NewGroup {
        profile: GroupProfile::default(),
        members: Vec::new(),
        channel: None,
    }));
    let found = net.command(0, Command::Group(found));
    for id in [send, look, found] {
        assert!(is_refused(&net, id), "{:?}", net.answer(0, id));
    }
    assert!(net.nodes[0].alerted("relay_unauthorized"));
    // What had succeeded is still known.
    let again = net.send(0, "bob", "before");
    assert!(matches!(net.answer(0, again), Some(Ok(Reply::Sent(sent))) if sent.repeated));
    // Once the suspension has ended, the same id is sent.
    net.connect(0);
    let sent = net.send(0, "bob", "m1");
    assert!(matches!(net.answer(0, sent), Some(Ok(Reply::Sent(sent))) if !sent.repeated));
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["before", "m1"]);
}

/// A request that waited is answered, and what it was told was refused does not go out later.
#[test]
fn requests_that_wait_are_refused_and_their_messages_given_up() {
    let mut net = Net::pair();
    net.send(0, "bob", "before");
    net.disconnect(0);
    let waiting = net.send(0, "bob", "m1");
    assert!(net.answer(0, waiting).is_none());
    suspend(&mut net, 0, true);
    assert!(is_refused(&net, waiting));
    assert!(!net.nodes[0].alerted("send_given_up"));
    net.connect(0);
    net.send(0, "bob", "after");
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["before", "after"]);
    assert!(
        net.nodes[1]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
}

/// Asking for the outcome of a message that waits is answered in the same way.
#[test]
fn queued_message_is_given_up_when_its_agent_asks() {
    let mut net = Net::pair();
    net.send(0, "bob", "before");
    net.disconnect(0);
    let first = net.send(0, "bob", "m1");
    net.pass(10_001);
    assert_eq!(
        net.answer(0, first).unwrap().as_ref().unwrap_err(),
        &Refusal::RelayUnreachable { queued: true }
    );
    suspend(&mut net, 0, true);
    let again = net.send(0, "bob", "m1");
    assert!(is_refused(&net, again));
    net.connect(0);
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["before"]);
}

/// A key that is not accepted is no suspension: the message waits for a new one.
#[test]
fn refused_key_is_an_outage() {
    let mut net = Net::pair();
    net.send(0, "bob", "before");
    suspend(&mut net, 0, false);
    let waiting = net.send(0, "bob", "m1");
    assert!(net.answer(0, waiting).is_none());
    net.connect(0);
    net.run();
    assert_eq!(net.nodes[1].inbound(), ["before", "m1"]);
}
