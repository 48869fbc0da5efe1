//! The link keeps sockets for the live instance only (docs/protocol.md, 8.5).

use tokio::time::{Duration, sleep};
use waxwire_shared::api::frames::RelayFrame;

use super::{LEASE, World, fake::FakeRelay};
use crate::{
    engine::{LinkEvent, RelayCall},
    link::{LinkCommand, LinkFault},
};

fn held(relay: &FakeRelay, lease: Option<&[u8]>) {
    *relay.knobs.held.lock().unwrap() = lease.map(<[u8]>::to_vec);
}

fn assert_lease(event: &LinkEvent, wanted: &[u8]) {
    assert!(
        matches!(event, LinkEvent::Lease(lease) if lease == wanted),
        "{event:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn lease_is_offered_before_every_socket() {
    let (mut world, peer) = World::up().await;
    assert_eq!(*world.relay.knobs.leases.lock().unwrap(), [LEASE]);
    drop(peer);
    world.expect_down().await;
    let _peer = world.next_up().await;
    assert_eq!(*world.relay.knobs.leases.lock().unwrap(), [LEASE, LEASE]);
}

#[tokio::test(start_paused = true)]
async fn lease_that_stands_in_the_way_is_reported_and_no_socket_is_opened() {
    let relay = FakeRelay::start();
    held(&relay, Some(b"newer"));
    let mut world = World::with(relay, Vec::new(), 1_000);
    assert_lease(&world.event().await, b"newer");
    world.command(LinkCommand::StandDown(LinkFault::Superseded));
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Superseded));
    world.relay.knobs.dials.lock().unwrap().clear();
    sleep(Duration::from_secs(3_600)).await;
    assert!(world.relay.knobs.dials.lock().unwrap().is_empty());

    held(&world.relay, None);
    world.command(LinkCommand::Lease(b"the newest".to_vec()));
    let _peer = world.next_up().await;
    assert_eq!(*world.relay.knobs.leases.lock().unwrap(), [b"the newest"]);
}

/// A relay that refuses without a lease that the engine acts on keeps the link down, and that is all.
#[tokio::test(start_paused = true)]
async fn link_goes_on_trying_until_the_engine_has_it_stand_down() {
    let relay = FakeRelay::start();
    held(&relay, Some(b"forged"));
    let mut world = World::with(relay, Vec::new(), 1_000);
    for _ in 0..3 {
        assert_lease(&world.event().await, b"forged");
    }
    held(&world.relay, None);
    let (_peer, _) = world.relay.welcome().await;
    while !matches!(world.event().await, LinkEvent::Up { .. }) {}
}

#[tokio::test(start_paused = true)]
async fn lease_that_the_relay_shows_is_reported_and_a_stand_down_ends_the_socket() {
    let (mut world, mut peer) = World::up().await;
    peer.send(RelayFrame::Lease(b"another")).await;
    assert_lease(&world.event().await, b"another");
    world.send(1);
    peer.receive_send().await;
    world.command(LinkCommand::StandDown(LinkFault::Clone));
    world.expect_unknown(&[1]).await;
    world.expect_down().await;
    peer.closed().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.status.borrow().last_fault, Some(LinkFault::Clone));
    // Questions are still carried to the relay.
    world.command(LinkCommand::Call(RelayCall::Lease(b"answer".to_vec())));
    assert_lease(&world.event().await, b"answer");
}

/// An instance that was replaced does not take the API key back.
#[tokio::test(start_paused = true)]
async fn api_key_of_the_live_instance_is_not_taken() {
    let relay = FakeRelay::start();
    *relay.knobs.key.lock().unwrap() = "of the live instance".to_owned();
    *relay.knobs.new_key.lock().unwrap() = Some("another".to_owned());
    held(&relay, Some(b"of the live instance"));
    let mut world = World::with(relay, Vec::new(), 1_000);
    assert_lease(&world.event().await, b"of the live instance");
    assert!(world.relay.credentials.kept.lock().unwrap().is_empty());
    assert_eq!(*world.relay.knobs.key.lock().unwrap(), "of the live instance");
}
