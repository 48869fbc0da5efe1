//! Rules about what is deleted, and when (docs/data-model.md, Retention).

use super::*;
use crate::store::{Retention, RetentionCursor};

const DAY: u64 = 24 * 3_600 * 1_000;

async fn pass<B: Backend>(world: &World<B>) -> usize {
    let now = world.now.load(Ordering::Relaxed);
    let policy = Retention {
        sent_before: now - 35 * DAY,
        envelopes_before: now - 30 * DAY,
        now,
    };
    let mut cursor = RetentionCursor::default();
    let mut deleted = 0;
    loop {
        let step = world.store.retain(&mut cursor, &policy).await.unwrap();
        deleted += step.deleted;
        if step.done {
            return deleted;
        }
    }
}

async fn send_many<B: Backend>(world: &World<B>, from: &Account, to: &Account, mids: std::ops::Range<u64>) {
    let sends = mids.map(|mid| world.store.send(mail(from, to, mid)));
    for outcome in futures_util::future::join_all(sends).await {
        assert!(matches!(outcome, Ok(SendOutcome::Stored { .. })));
    }
}

pub(crate) async fn retention_deletes_old_acknowledged_envelopes_only<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    send_many(&world, &from, &to, 0..1_200).await;
    world.advance(31 * DAY);
    send_many(&world, &from, &to, 1_200..1_210).await;
    // Never acknowledged, never deleted.
    assert_eq!(pass(&world).await, 0);
    world.store.ack(vec![(to.mail, 1_150)]).await.unwrap();
    assert_eq!(pass(&world).await, 1_150);
    assert_eq!(
        world.positions(to.mail).await,
        (1_151..=1_210).collect::<Vec<_>>()
    );
    world.store.ack(vec![(to.mail, 1_210)]).await.unwrap();
    assert_eq!(pass(&world).await, 50);
    // The numbers go on where they were.
    send_many(&world, &from, &to, 1_210..1_211).await;
    assert_eq!(
        world.positions(to.mail).await,
        (1_201..=1_211).collect::<Vec<_>>()
    );
}

pub(crate) async fn retention_deletes_old_idempotency_keys_in_steps<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    send_many(&world, &from, &to, 0..1_200).await;
    world.advance(34 * DAY);
    send_many(&world, &from, &to, 1_200..1_300).await;
    assert_eq!(pass(&world).await, 0);
    let again = world.send(&from, &to, 0).await;
    assert!(matches!(again, SendOutcome::Repeated { .. }));
    world.advance(2 * DAY);
    assert_eq!(pass(&world).await, 1_200);
    assert_eq!(pass(&world).await, 0);
    let again = world.send(&from, &to, 1_250).await;
    assert!(matches!(again, SendOutcome::Repeated { .. }));
    let new = world.send(&from, &to, 0).await;
    assert!(matches!(new, SendOutcome::Stored { .. }));
}
