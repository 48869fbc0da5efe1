//! Rules about agents and their credentials (docs/relay-api.md, Agents).

use waxwire_shared::ids::SessionId;
use zeroize::Zeroizing;

use super::*;
use crate::store::{AuthEvent, BundleOutcome, KeyOutcome, LeaseOutcome, NewLease};

async fn has_account<B: Backend>(world: &World<B>, key: Hash) -> bool {
    world.store.account_by_key(&key).await.unwrap().is_some()
}

pub(crate) async fn registration_is_unique_by_handle_and_identity<B: Backend>() {
    let world = World::<B>::new().await;
    world.agent(1).await;
    let other_identity = Registration {
        handle: handle(1),
        ..registration(2)
    };
    assert_eq!(
        world.store.register(other_identity).await,
        Ok(RegisterOutcome::HandleTaken)
    );
    let other_handle = Registration {
        id: id(1),
        identity: identity(1),
        ..registration(2)
    };
    assert_eq!(
        world.store.register(other_handle).await,
        Ok(RegisterOutcome::IdentityTaken)
    );
    assert!(!has_account(&world, key(2, 0)).await);
    // Neither used its challenge up.
    world.agent(2).await;
    let both = [7, 7].map(|number| {
        let store = world.store.clone();
        tokio::spawn(async move { store.register(registration(number)).await.unwrap() })
    });
    let mut created = 0;
    for task in both {
        created += usize::from(matches!(task.await.unwrap(), RegisterOutcome::Created(_)));
    }
    assert_eq!(created, 1);
}

pub(crate) async fn registration_again_replaces_the_key<B: Backend>() {
    let world = World::<B>::new().await;
    let first = world.agent(1).await;
    let again = Registration {
        api_key_hash: key(1, 1),
        challenge: challenge(101),
        ..registration(1)
    };
    let outcome = world.store.register(again.clone()).await;
    assert_eq!(outcome, Ok(RegisterOutcome::Repeated(first.agent)));
    assert!(!has_account(&world, key(1, 0)).await);
    let account = world.store.account_by_key(&key(1, 1)).await.unwrap().unwrap();
    let expected = Account {
        key: key(1, 1),
        ..first
    };
    assert_eq!(account, expected);
    let stale = Registration {
        challenge: challenge(102),
        bundle: bundle(NOW - 1, b"older"),
        api_key_hash: key(1, 2),
        ..again
    };
    assert_eq!(
        world.store.register(stale).await,
        Ok(RegisterOutcome::StaleBundle)
    );
    assert!(has_account(&world, key(1, 1)).await);
}

pub(crate) async fn challenge_is_used_once<B: Backend>() {
    let world = World::<B>::new().await;
    world.agent(1).await;
    assert_eq!(
        world.store.register(registration(1)).await,
        Ok(RegisterOutcome::ChallengeUsed)
    );
    let replace = |challenge| world.store.replace_key(handle(1), id(1), key(1, 1), challenge);
    assert_eq!(replace(challenge(1)).await, Ok(KeyOutcome::ChallengeUsed));
    assert!(matches!(
        replace(challenge(101)).await,
        Ok(KeyOutcome::Replaced(_))
    ));
    assert_eq!(replace(challenge(101)).await, Ok(KeyOutcome::ChallengeUsed));
}

pub(crate) async fn invite_is_used_once_and_in_time<B: Backend>() {
    let world = World::<B>::new().await;
    let code = |number| Hash::from_bytes([number; 32]);
    world.store.add_invite(code(1), NOW + 10).await.unwrap();
    world.store.add_invite(code(2), NOW + 10).await.unwrap();
    let try_with = async |number, invite| {
        let asked = Registration {
            admission: Admission::Invite(invite),
            ..registration(number)
        };
        world.store.register(asked).await.unwrap()
    };
    assert_eq!(try_with(1, None).await, RegisterOutcome::InviteRefused);
    assert_eq!(try_with(1, Some(code(9))).await, RegisterOutcome::InviteRefused);
    assert!(matches!(
        try_with(1, Some(code(1))).await,
        RegisterOutcome::Created(_)
    ));
    assert_eq!(try_with(2, Some(code(1))).await, RegisterOutcome::InviteRefused);
    world.advance(11);
    assert_eq!(try_with(2, Some(code(2))).await, RegisterOutcome::InviteRefused);
    // Whoever is known needs none.
    let again = Registration {
        challenge: challenge(101),
        admission: Admission::Invite(None),
        ..registration(1)
    };
    assert!(matches!(
        world.store.register(again).await,
        Ok(RegisterOutcome::Repeated(_))
    ));
}

pub(crate) async fn closed_registration_lets_the_known_back<B: Backend>() {
    let world = World::<B>::new().await;
    world.agent(1).await;
    let closed = |number, challenge| Registration {
        challenge,
        admission: Admission::Closed,
        ..registration(number)
    };
    assert_eq!(
        world.store.register(closed(2, challenge(2))).await,
        Ok(RegisterOutcome::Closed)
    );
    let back = world.store.register(closed(1, challenge(101))).await;
    assert!(matches!(back, Ok(RegisterOutcome::Repeated(_))));
}

pub(crate) async fn key_that_was_replaced_or_revoked_is_unknown<B: Backend>() {
    let world = World::<B>::new().await;
    let account = world.agent(1).await;
    let replaced = world
        .store
        .replace_key(handle(1), id(1), key(1, 1), challenge(101))
        .await;
    assert_eq!(replaced, Ok(KeyOutcome::Replaced(account.agent)));
    assert!(!has_account(&world, key(1, 0)).await);
    assert!(has_account(&world, key(1, 1)).await);
    assert_eq!(
        world.store.revoke_key(handle(1)).await,
        Ok(Some((account.agent, true)))
    );
    assert_eq!(
        world.store.revoke_key(handle(1)).await,
        Ok(Some((account.agent, false)))
    );
    assert_eq!(world.store.revoke_key(handle(9)).await, Ok(None));
    assert!(!has_account(&world, key(1, 1)).await);
    assert!(
        world
            .store
            .agent(account.agent)
            .await
            .unwrap()
            .unwrap()
            .api_key
            .is_none()
    );
    let foreign = world
        .store
        .replace_key(handle(1), id(2), key(1, 2), challenge(102))
        .await;
    assert_eq!(foreign, Ok(KeyOutcome::Unknown));
    let again = world
        .store
        .replace_key(handle(1), id(1), key(1, 2), challenge(103))
        .await;
    assert_eq!(again, Ok(KeyOutcome::Replaced(account.agent)));
    assert!(has_account(&world, key(1, 2)).await);
}

pub(crate) async fn suspension_shows_in_the_account_and_stops_new_keys<B: Backend>() {
    let world = World::<B>::new().await;
    let (account, peer) = (world.agent(1).await, world.agent(2).await);
    assert_eq!(
        world.store.set_suspended(handle(1), true).await,
        Ok(Some((account.agent, true)))
    );
    assert_eq!(
        world.store.set_suspended(handle(1), true).await,
        Ok(Some((account.agent, false)))
    );
    assert_eq!(world.store.set_suspended(handle(9), true).await, Ok(None));
    let suspended = world.store.account_by_key(&key(1, 0)).await.unwrap().unwrap();
    assert!(suspended.suspended);
    let replaced = world
        .store
        .replace_key(handle(1), id(1), key(1, 1), challenge(101))
        .await;
    assert_eq!(replaced, Ok(KeyOutcome::Suspended));
    let again = Registration {
        challenge: challenge(102),
        ..registration(1)
    };
    assert_eq!(world.store.register(again).await, Ok(RegisterOutcome::Suspended));
    // Its mail waits for it.
    assert!(matches!(
        world.send(&peer, &account, 1).await,
        SendOutcome::Stored { .. }
    ));
    assert_eq!(
        world.store.set_suspended(handle(1), false).await,
        Ok(Some((account.agent, true)))
    );
    let account = world.store.account_by_key(&key(1, 0)).await.unwrap().unwrap();
    assert!(!account.suspended);
}

pub(crate) async fn every_change_of_a_credential_is_an_event<B: Backend>() {
    let world = World::<B>::new().await;
    let account = world.agent(1).await;
    assert!(world.store.auth_events(None).await.unwrap().is_empty());
    world
        .store
        .replace_key(handle(1), id(1), key(1, 1), challenge(101))
        .await
        .unwrap();
    world.store.set_suspended(handle(1), true).await.unwrap();
    world.store.set_suspended(handle(1), true).await.unwrap();
    world.store.set_suspended(handle(1), false).await.unwrap();
    world.store.revoke_key(handle(1)).await.unwrap();
    let events = world.store.auth_events(Some(0)).await.unwrap();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.agent == account.agent));
    assert!(events.windows(2).all(|pair| pair[0].number < pair[1].number));
    let after = events[2].number;
    assert_eq!(world.store.auth_events(Some(after)).await.unwrap(), [events[3]]);
    let last: Vec<AuthEvent> = world.store.auth_events(None).await.unwrap();
    assert_eq!(last, [events[3]]);
}

pub(crate) async fn bundle_numbers_only_grow<B: Backend>() {
    let world = World::<B>::new().await;
    let account = world.agent(1).await;
    let put = |number, content: &'static [u8]| world.store.put_bundle(account.agent, bundle(number, content));
    assert_eq!(put(NOW, b"bundle").await, Ok(BundleOutcome::Repeated));
    assert_eq!(put(NOW, b"fork").await, Ok(BundleOutcome::Stale));
    assert_eq!(put(NOW + 1, b"second").await, Ok(BundleOutcome::Stored));
    assert_eq!(put(NOW, b"bundle").await, Ok(BundleOutcome::Stale));
    assert_eq!(put(NOW + 1, b"second").await, Ok(BundleOutcome::Repeated));
    let held = world.store.bundle(account.agent, &handle(1)).await.unwrap();
    assert_eq!(held, Sight::Visible((id(1), b"second".to_vec())));
    for number in 2..40 {
        assert_eq!(put(NOW + number, b"later").await, Ok(BundleOutcome::Stored));
    }
    let held = world.store.bundle(account.agent, &handle(1)).await.unwrap();
    assert_eq!(held, Sight::Visible((id(1), b"later".to_vec())));
    let unknown = world.store.bundle(account.agent, &handle(9)).await.unwrap();
    assert_eq!(unknown, Sight::Unknown);
}

pub(crate) async fn newest_lease_is_kept<B: Backend>() {
    let world = World::<B>::new().await;
    let agent = world.agent(1).await.agent;
    let lease = |incarnation, session, time| NewLease {
        incarnation,
        session: SessionId::from_bytes([session; 16]),
        time,
        bytes: vec![incarnation as u8, session, time as u8],
    };
    let put = async |lease| world.store.put_lease(id(1), lease).await.unwrap();
    let stale = |held: NewLease| LeaseOutcome::Stale {
        agent,
        held: held.bytes,
    };
    assert_eq!(world.store.lease(agent).await.unwrap(), None);
    let unknown = world.store.put_lease(id(9), lease(1, 1, 1)).await;
    assert_eq!(unknown, Ok(LeaseOutcome::Unknown));
    assert_eq!(put(lease(5, 1, 1)).await, LeaseOutcome::Stored(agent));
    assert_eq!(put(lease(5, 1, 1)).await, LeaseOutcome::Repeated);
    assert_eq!(put(lease(5, 1, 2)).await, LeaseOutcome::Stored(agent));
    for older in [lease(5, 1, 1), lease(5, 2, 9), lease(4, 1, 9), lease(4, 3, 9)] {
        assert_eq!(put(older).await, stale(lease(5, 1, 2)));
    }
    assert_eq!(put(lease(6, 2, 1)).await, LeaseOutcome::Stored(agent));
    let world = world.restart().await;
    let held = world.store.lease(agent).await.unwrap();
    assert_eq!(held, Some(lease(6, 2, 1).bytes));
}

pub(crate) async fn agents_are_listed_in_order<B: Backend>() {
    let world = World::<B>::new().await;
    for number in [3, 1, 2] {
        world.agent(number).await;
    }
    let listed = async |after: &str, limit| {
        let agents = world.store.agents(after, limit).await.unwrap();
        agents
            .iter()
            .map(|agent| agent.handle.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("", 2).await, ["agent-1", "agent-2"]);
    assert_eq!(listed("agent-2", 2).await, ["agent-3"]);
    assert!(listed("agent-3", 2).await.is_empty());
    let record = world.store.agents("", 1).await.unwrap().remove(0);
    assert_eq!((record.id, record.identity), (id(1), identity(1)));
    assert_eq!((record.registered_at, record.suspended_at), (NOW, None));
}

pub(crate) async fn relay_secret_is_made_once<B: Backend>() {
    let world = World::<B>::new().await;
    let first = world.store.relay_secret(Zeroizing::new([1; 32])).await.unwrap();
    assert!(first.created);
    let world = world.restart().await;
    let second = world.store.relay_secret(Zeroizing::new([2; 32])).await.unwrap();
    assert!(!second.created);
    assert_eq!(*second.secret, [1; 32]);
}

/// docs/protocol.md, 8.6.
pub(crate) async fn lineage_goes_on_until_the_database_was_set_back<B: Backend>() {
    let mut world = World::<B>::new().await;
    world.store.relay_secret(Zeroizing::new([1; 32])).await.unwrap();
    let first = world.store.lineage(7).await.unwrap();
    assert_eq!((first.id, first.reaches, first.is_new), (7, 0, false));
    let agents = [world.agent(1).await, world.agent(2).await];
    world.store.send(mail(&agents[0], &agents[1], 1)).await.unwrap();
    world = world.restart().await;
    assert_eq!(world.store.lineage(8).await.unwrap(), first);
    world.store.end_lineage().await.unwrap();
    assert_eq!(world.store.current_lineage().await.unwrap(), first);
    world = world.restart().await;
    let second = world.store.lineage(9).await.unwrap();
    assert_eq!((second.id, second.is_new), (9, true));
    assert!((NOW..NOW + 60_000).contains(&second.reaches), "{second:?}");
    let goes_on = world.store.lineage(10).await.unwrap();
    assert_eq!(
        (goes_on.id, goes_on.reaches, goes_on.is_new),
        (9, second.reaches, false)
    );
    assert_eq!(world.store.current_lineage().await.unwrap(), goes_on);
}
