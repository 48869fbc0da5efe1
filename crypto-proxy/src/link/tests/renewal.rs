//! A new API key on proof of identity (docs/protocol.md, 4.7).

use tokio::time::{Duration, Instant, sleep};
use waxwire_shared::{
    ids::{Nonce32, RelayId},
    wire::{Challenge, ChallengePurpose},
};

use super::{World, fake::FakeRelay};
use crate::engine::LinkEvent;

/// A relay that does not know the agent's API key and gives `key` on proof of identity.
fn revoked(key: &str) -> FakeRelay {
    let relay = FakeRelay::start();
    *relay.knobs.key.lock().unwrap() = "revoked".to_owned();
    *relay.knobs.new_key.lock().unwrap() = Some(key.to_owned());
    relay
}

#[tokio::test(start_paused = true)]
async fn refused_api_key_is_replaced_kept_and_used_at_once() {
    let begin = Instant::now();
    let mut world = World::with(revoked("another-key"), Vec::new(), 1_000);
    let event = world.event().await;
    assert!(matches!(event, LinkEvent::KeyReplaced), "{event:?}");
    let _peer = world.next_up().await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(*world.relay.credentials.kept.lock().unwrap(), ["another-key"]);
}

/// Two instances of one agent take the key from one another; neither hammers the relay.
#[tokio::test(start_paused = true)]
async fn key_that_is_taken_again_is_replaced_minutes_later_only() {
    let mut world = World::with(revoked("first-key"), Vec::new(), 1_000);
    assert!(matches!(world.event().await, LinkEvent::KeyReplaced));
    let peer = world.next_up().await;
    *world.relay.knobs.key.lock().unwrap() = "the-other-instance".to_owned();
    let taken = Instant::now();
    drop(peer);
    world.expect_down().await;
    let event = world.event().await;
    assert!(
        matches!(event, LinkEvent::Unauthorized { suspended: false }),
        "{event:?}"
    );
    let event = world.event().await;
    assert!(matches!(event, LinkEvent::KeyReplaced), "{event:?}");
    assert!(
        taken.elapsed() > Duration::from_secs(200),
        "{:?}",
        taken.elapsed()
    );
    assert_eq!(world.relay.credentials.kept.lock().unwrap().len(), 2);
}

/// docs/protocol.md, 4.7, step 3: what a challenge says is checked before it is signed.
/// Nothing is signed that this relay did not make for this agent, this purpose and this request.
#[tokio::test(start_paused = true)]
async fn attack_30_challenge_for_something_else_is_not_answered() {
    let forgeries: [fn(&mut Challenge); 4] = [
        |challenge| challenge.purpose = ChallengePurpose::Register,
        |challenge| challenge.relay = RelayId::from_bytes([1; 32]),
        |challenge| challenge.handle = "mallory".parse().unwrap(),
        |challenge| challenge.agent_nonce = Nonce32::from_bytes([0; 32]),
    ];
    for forge in forgeries {
        let relay = revoked("another-key");
        *relay.knobs.forge.lock().unwrap() = Some(forge);
        let mut world = World::with(relay, Vec::new(), 1_000);
        let event = world.event().await;
        assert!(
            matches!(event, LinkEvent::Unauthorized { suspended: false }),
            "{event:?}"
        );
        assert!(world.relay.credentials.kept.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn relay_that_gives_no_key_is_asked_again_with_each_refusal() {
    let relay = revoked("another-key");
    let key = relay.knobs.new_key.lock().unwrap().take();
    let mut world = World::with(relay, Vec::new(), 1_000);
    let event = world.event().await;
    assert!(
        matches!(event, LinkEvent::Unauthorized { suspended: false }),
        "{event:?}"
    );
    sleep(Duration::from_secs(60)).await;
    *world.relay.knobs.new_key.lock().unwrap() = key;
    assert!(matches!(world.event().await, LinkEvent::KeyReplaced));
    let _peer = world.next_up().await;
}
