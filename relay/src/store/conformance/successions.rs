//! Rules about handles that go to another identity (docs/protocol.md, 4.6).

use waxwire_shared::{
    api::profile::ProfileRequest,
    identity::Signature,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, Document as _, VERSION},
};

use super::*;
use crate::store::{Block, NewSuccession, Relation, SuccessionOutcome};

/// Carries the recovery hash of a number; stores do not look at signatures.
fn bundle_with(recovery: u8) -> BundleBytes {
    let body = Bundle {
        version: VERSION,
        relay: RelayId::from_bytes([0; 32]),
        handle: handle(1),
        identity: identity(1),
        number: NOW,
        not_before: 1,
        not_after: 2,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: Suite::CLASSIC,
            number: NOW,
            public: vec![9; 32],
        }],
        recovery: Hash::from_bytes([recovery; 32]),
    }
    .encode();
    let signature = Signature::new([0; 64]);
    bundle(NOW, &SignedBytes { body, signature }.encode())
}

/// The agent 1, whose bundle names recovery key 50.
async fn first<B: Backend>(world: &World<B>) -> Account {
    let asked = Registration {
        bundle: bundle_with(50),
        ..registration(1)
    };
    world.store.register(asked).await.unwrap();
    world.store.account_by_key(&key(1, 0)).await.unwrap().unwrap()
}

fn asked(number: u8) -> Registration {
    Registration {
        handle: handle(1),
        ..registration(number)
    }
}

fn succession(old: u8, recovery: Option<u8>) -> NewSuccession {
    NewSuccession {
        old: id(old),
        recovery: recovery.map(|number| Hash::from_bytes([number; 32])),
        bytes: vec![old],
    }
}

async fn succeed<B: Backend>(
    world: &World<B>,
    new: Registration,
    succession: NewSuccession,
) -> SuccessionOutcome {
    world.store.succeed(new, succession).await.unwrap()
}

async fn holder<B: Backend>(world: &World<B>, viewer: &Account) -> AgentId {
    match world.store.bundle(viewer.agent, &handle(1)).await.unwrap() {
        Sight::Visible((id, _)) => id,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn handle_goes_to_the_new_identity_with_what_others_hold_of_it<B: Backend>() {
    let world = World::<B>::new().await;
    let (old, friend, foe) = (first(&world).await, world.agent(7).await, world.agent(8).await);
    let profile = ProfileRequest {
        display_name: Some("Alice".to_owned()),
        description: None,
        listed: true,
    };
    world.store.set_profile(old.agent, profile).await.unwrap();
    let relate = async |who: &Account, relation| {
        let done = world.store.relate(who.agent, handle(1), relation, 0).await;
        done.unwrap()
    };
    relate(&friend, Relation::Contact).await;
    relate(&foe, Relation::Block(Block::Told)).await;

    let done = succeed(&world, asked(2), succession(1, Some(50))).await;
    assert!(matches!(done, SuccessionOutcome::Done { old: no, .. } if no == old.agent));
    assert_eq!(holder(&world, &friend).await, id(2));
    assert_eq!(
        world.store.successions(&handle(1), 16).await.unwrap(),
        [vec![1_u8]]
    );
    let found = world
        .store
        .directory(friend.agent, "agent-1", 9, 0)
        .await
        .unwrap();
    assert_eq!(found.agents[0].display_name.as_deref(), Some("Alice"));
    // The old key is void, the old queues take nothing, and nobody reads them.
    assert_eq!(world.store.account_by_key(&key(1, 0)).await.unwrap(), None);
    assert_eq!(world.store.agent(old.agent).await.unwrap(), None);
    assert_eq!(world.send(&friend, &old, 1).await, SendOutcome::Succeeded);
    // A contact stays one; a succession is no way round a block.
    let new = world.store.account_by_key(&key(2, 0)).await.unwrap().unwrap();
    assert_eq!(
        world.store.contact_holders(new.agent).await.unwrap(),
        [friend.agent]
    );
    assert_eq!(world.send(&new, &foe, 2).await, SendOutcome::Blocked);
    assert!(matches!(
        world.send(&friend, &new, 3).await,
        SendOutcome::Stored { .. }
    ));
    let events = world.store.auth_events(Some(0)).await.unwrap();
    assert!(events.iter().any(|event| event.agent == old.agent));
    let world = world.crash().await;
    assert_eq!(holder(&world, &friend).await, id(2));
    assert_eq!(world.send(&friend, &old, 4).await, SendOutcome::Succeeded);
}

pub(crate) async fn succession_is_idempotent_for_the_same_new_identity<B: Backend>() {
    let world = World::<B>::new().await;
    let old = first(&world).await;
    succeed(&world, asked(2), succession(1, Some(50))).await;
    let again = |challenge, generation| Registration {
        challenge,
        api_key_hash: key(2, generation),
        ..asked(2)
    };
    let used = succeed(&world, again(challenge(2), 1), succession(1, Some(50))).await;
    assert_eq!(used, SuccessionOutcome::ChallengeUsed);
    let repeated = succeed(&world, again(challenge(102), 1), succession(1, Some(50))).await;
    assert!(matches!(repeated, SuccessionOutcome::Repeated(no) if no != old.agent));
    assert!(world.store.account_by_key(&key(2, 0)).await.unwrap().is_none());
    assert!(world.store.account_by_key(&key(2, 1)).await.unwrap().is_some());
    assert_eq!(world.store.successions(&handle(1), 16).await.unwrap().len(), 1);
}

pub(crate) async fn succession_follows_who_holds_the_handle<B: Backend>() {
    let world = World::<B>::new().await;
    first(&world).await;
    let viewer = world.agent(7).await;
    let refused = |new, succession| succeed(&world, new, succession);
    let nobody = Registration {
        handle: handle(99),
        ..asked(2)
    };
    assert_eq!(
        refused(nobody, succession(1, None)).await,
        SuccessionOutcome::Unknown
    );
    assert_eq!(
        refused(asked(2), succession(9, None)).await,
        SuccessionOutcome::Refused,
        "another old identity"
    );
    assert_eq!(
        refused(asked(2), succession(1, Some(51))).await,
        SuccessionOutcome::Refused,
        "another recovery key"
    );
    let registered = Registration {
        challenge: challenge(107),
        ..asked(7)
    };
    assert_eq!(
        refused(registered, succession(1, None)).await,
        SuccessionOutcome::IdentityTaken
    );
    world.store.set_suspended(handle(1), true).await.unwrap();
    assert_eq!(
        refused(asked(2), succession(1, Some(50))).await,
        SuccessionOutcome::Suspended
    );
    world.store.set_suspended(handle(1), false).await.unwrap();
    assert_eq!(holder(&world, &viewer).await, id(1));
    // None of it used the challenge up. What is over is over: neither back nor on from there.
    let done = refused(asked(2), succession(1, None)).await;
    assert!(matches!(done, SuccessionOutcome::Done { .. }));
    assert_eq!(
        refused(asked(3), succession(1, None)).await,
        SuccessionOutcome::Refused,
        "replayed from the past"
    );
    let back = Registration {
        challenge: challenge(101),
        ..asked(1)
    };
    assert_eq!(
        refused(back, succession(2, None)).await,
        SuccessionOutcome::IdentityTaken
    );
}

pub(crate) async fn planned_change_waits_until_the_mail_is_taken<B: Backend>() {
    let world = World::<B>::new().await;
    let (old, friend) = (first(&world).await, world.agent(7).await);
    world.send(&friend, &old, 1).await;
    let planned = succeed(&world, asked(2), succession(1, None)).await;
    assert_eq!(planned, SuccessionOutcome::NotDrained);
    world.store.ack(vec![(View::Whole(old.mail), 1)]).await.unwrap();
    let planned = succeed(&world, asked(2), succession(1, None)).await;
    assert!(matches!(planned, SuccessionOutcome::Done { .. }));
    // Lost keys read nothing any more: nothing is waited for.
    let new = world.store.account_by_key(&key(2, 0)).await.unwrap().unwrap();
    world.send(&friend, &new, 2).await;
    let lost = Registration {
        bundle: bundle_with(50),
        ..asked(3)
    };
    let wrong = succeed(&world, lost.clone(), succession(2, Some(50))).await;
    assert_eq!(wrong, SuccessionOutcome::Refused, "no bundle of 2 names it");
    let number = NOW + 1;
    let bundle = BundleBytes {
        number,
        ..bundle_with(50)
    };
    world.store.put_bundle(new.agent, bundle).await.unwrap();
    let done = succeed(&world, lost, succession(2, Some(50))).await;
    assert!(matches!(done, SuccessionOutcome::Done { .. }));
    assert_eq!(
        world.store.successions(&handle(1), 16).await.unwrap(),
        [vec![1_u8], vec![2]]
    );
    assert_eq!(
        world.store.successions(&handle(1), 1).await.unwrap(),
        [vec![2_u8]]
    );
}
