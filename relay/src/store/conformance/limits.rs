//! Limits of sends and of what waits.

use std::collections::BTreeMap;

use waxwire_shared::{
    api::frames::{Allowance, Notice},
    wire::Lane,
};

use super::{
    super::{OrgOutcome, QueueNo, SendOutcome, View},
    Backend, World,
    groups::{Log, joined},
    key, to_lane, unlimited,
};
use crate::{
    limits::{Due, SendLimits, TierLimits, Tiers},
    testing::UNLIMITED,
};

fn tier(sends: SendLimits) -> TierLimits {
    TierLimits {
        sends,
        ..TierLimits::default()
    }
}

fn tiers(default: SendLimits) -> Tiers {
    Tiers {
        default: tier(default),
        ..unlimited()
    }
}

fn notice(outcome: SendOutcome) -> Option<Notice> {
    match outcome {
        SendOutcome::Stored { notice, .. } => notice.map(|notice| *notice),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_stored(outcome: &SendOutcome) {
    assert!(matches!(outcome, SendOutcome::Stored { .. }), "{outcome:?}");
}

#[track_caller]
fn assert_due(outcome: &SendOutcome, limit: &str, wait_ms: u64) {
    let due = |due: &Due| (due.limit == limit, due.retry_after_ms) == (true, wait_ms);
    assert!(
        matches!(outcome, SendOutcome::TooOften(found) if due(found)),
        "{outcome:?}"
    );
}

async fn ack<B: Backend>(world: &World<B>, queue: QueueNo, position: u64) {
    world
        .store
        .ack(vec![(View::Whole(queue), position)])
        .await
        .unwrap();
}

pub(crate) async fn sends_of_an_agent_are_counted_in_each_lane<B: Backend>() {
    let world = World::<B>::with(tiers(SendLimits {
        sends_per_minute: 2,
        control_per_minute: 1,
        ..UNLIMITED
    }))
    .await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..2 {
        assert_stored(&world.send(&a, &b, mid).await);
    }
    assert_due(&world.send(&a, &b, 2).await, "sends_per_minute", 30_000);
    let control = |mid| world.store.send(to_lane(&a, b.id, Lane::Control, mid));
    assert_stored(&control(10).await.unwrap());
    assert_due(&control(11).await.unwrap(), "control_per_minute", 60_000);
    assert_stored(&world.send(&b, &a, 1).await);
    world.advance(30_000);
    assert_stored(&world.send(&a, &b, 2).await);
    assert_eq!(
        world.positions(b.mail).await,
        [1, 2, 3],
        "nothing of what was refused is there"
    );
}

pub(crate) async fn organisation_is_counted_and_its_tier_counts<B: Backend>() {
    let gold = TierLimits {
        group_members: 3,
        ..tier(SendLimits {
            org_sends_per_hour: 4,
            ..UNLIMITED
        })
    };
    let world = World::<B>::with(Tiers {
        default: tier(SendLimits {
            org_sends_per_hour: 2,
            ..UNLIMITED
        }),
        named: BTreeMap::from([("gold".to_owned(), gold)]),
    })
    .await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let (store, handle) = (
        &world.store,
        world.store.agent(a.agent).await.unwrap().unwrap().handle,
    );
    assert_stored(&world.send(&a, &b, 1).await);
    assert_stored(&world.send(&b, &a, 1).await);
    assert_due(&world.send(&a, &b, 2).await, "org_sends_per_hour", 1_800_000);

    let put = |tier: &str| store.put_org("acme".to_owned(), tier.to_owned());
    assert_eq!(put("gold").await, Ok(OrgOutcome::Created));
    assert_eq!(put("gold").await, Ok(OrgOutcome::Same));
    assert_eq!(
        store.move_agent(handle.clone(), "acme".to_owned()).await,
        Ok(Some(true))
    );
    assert_eq!(
        store.move_agent(handle, "nobody".to_owned()).await,
        Ok(Some(false))
    );
    let stranger = "nobody".parse().unwrap();
    assert_eq!(store.move_agent(stranger, "acme".to_owned()).await, Ok(None));
    let limits = async |number| {
        let account = store.account_by_key(&key(number, 0)).await.unwrap();
        account.unwrap().limits
    };
    assert_eq!((limits(1).await, limits(2).await.group_members), (gold, 256));
    let orgs = store.orgs().await.unwrap();
    let rows: Vec<_> = orgs
        .iter()
        .map(|org| (&*org.name, &*org.tier, org.agents))
        .collect();
    assert_eq!(rows, [("acme", "gold", 1), ("default", "default", 1)]);
    assert_eq!(store.auth_events(Some(0)).await.unwrap().len(), 1);

    store.forget_agents().await.unwrap();
    for mid in 2..6 {
        assert_stored(&world.send(&a, &b, mid).await);
    }
    assert_due(&world.send(&a, &b, 6).await, "org_sends_per_hour", 900_000);
    assert_eq!(put("unheard-of").await, Ok(OrgOutcome::Changed));
    assert_eq!(store.auth_events(Some(1)).await.unwrap().len(), 1);
}

pub(crate) async fn full_backlog_refuses_until_it_is_fetched<B: Backend>() {
    let world = World::<B>::with(tiers(SendLimits {
        backlog: 3,
        control_backlog: 1,
        ..UNLIMITED
    }))
    .await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let full = |waiting, cap| SendOutcome::Backlogged { waiting, cap };
    // In one batch, too.
    let sends = (0..5).map(|mid| world.send(&a, &b, mid));
    let outcomes = futures_util::future::join_all(sends).await;
    let refused = outcomes.iter().filter(|outcome| **outcome == full(3, 3)).count();
    assert_eq!((refused, world.positions(b.mail).await.len()), (2, 3));
    // The other lane has a cap of its own.
    let control = |mid| world.store.send(to_lane(&a, b.id, Lane::Control, mid));
    assert_stored(&control(10).await.unwrap());
    assert_eq!(control(11).await, Ok(full(1, 1)));
    assert_stored(&world.send(&b, &a, 1).await);
    ack(&world, b.mail, 1).await;
    assert_stored(&world.send(&a, &b, 5).await);
    assert_eq!(world.send(&a, &b, 6).await, full(3, 3));
    let world = world.crash().await;
    assert_eq!(world.send(&a, &b, 6).await, full(3, 3));
    ack(&world, b.mail, 100).await;
    for mid in 6..9 {
        assert_stored(&world.send(&a, &b, mid).await);
    }
}

pub(crate) async fn half_a_backlog_and_an_almost_empty_bucket_are_told<B: Backend>() {
    let world = World::<B>::with(tiers(SendLimits {
        backlog: 6,
        sends_per_minute: 5,
        ..UNLIMITED
    }))
    .await;
    let (a, b, c) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    for mid in 0..2 {
        assert_eq!(notice(world.send(&a, &b, mid).await), None);
    }
    let half = Notice {
        backlog: 3,
        ..Notice::default()
    };
    assert_eq!(notice(world.send(&a, &b, 2).await), Some(half));
    assert_eq!(notice(world.send(&a, &c, 3).await), None);
    let last = Notice {
        allowance: Some(Allowance {
            limit: 5,
            remaining: 0,
        }),
        ..Notice::default()
    };
    assert_eq!(notice(world.send(&a, &c, 4).await), Some(last));
}

pub(crate) async fn repeat_is_found_before_a_limit_and_costs_nothing<B: Backend>() {
    let world = World::<B>::with(tiers(SendLimits {
        backlog: 1,
        sends_per_minute: 2,
        ..UNLIMITED
    }))
    .await;
    let (a, b, c) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    assert_stored(&world.send(&a, &b, 1).await);
    for _ in 0..3 {
        let again = world.send(&a, &b, 1).await;
        assert!(matches!(again, SendOutcome::Repeated { .. }), "{again:?}");
    }
    assert_stored(&world.send(&a, &c, 2).await);
    assert_due(&world.send(&a, &c, 3).await, "sends_per_minute", 30_000);
    let again = world.send(&a, &c, 2).await;
    assert!(matches!(again, SendOutcome::Repeated { .. }), "{again:?}");
}

pub(crate) async fn member_that_is_far_behind_is_named_and_loses_nothing<B: Backend>() {
    let world = World::<B>::with(tiers(SendLimits {
        backlog: 4,
        ..UNLIMITED
    }))
    .await;
    let (founder, away, there) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, joined(&[&away, &there]));
    log.append(&world, commit).await;
    let mut named = Vec::new();
    for mid in 1..=70 {
        let outcome = world.store.send(log.message(&founder, 1, mid)).await.unwrap();
        named.push(notice(outcome).map(|notice| notice.skipped));
        let acks = [&founder, &there].map(|agent| (log.record.messages_for(agent.agent), mid));
        world.store.ack(acks.to_vec()).await.unwrap();
    }
    assert!(named[..4].iter().all(Option::is_none), "{named:?}");
    assert!(
        named[4..].iter().all(|named| *named == Some(vec![away.id])),
        "{named:?}"
    );
    let view = log.record.messages_for(away.agent);
    assert_eq!(
        super::groups::positions(&world, view).await,
        Some((1..=70).collect())
    );
    // It is not named for longer than it takes to look again.
    world.store.ack(vec![(view, 70)]).await.unwrap();
    let mut last = None;
    for mid in 71..=140 {
        last = notice(world.store.send(log.message(&founder, 1, mid)).await.unwrap());
        let acks = [&founder, &there, &away].map(|agent| (log.record.messages_for(agent.agent), mid));
        world.store.ack(acks.to_vec()).await.unwrap();
    }
    assert_eq!(last, None);
}
