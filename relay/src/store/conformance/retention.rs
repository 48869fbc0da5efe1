//! Rules about what is deleted, and when (docs/data-model.md, Retention).

use super::{
    groups::{Log, departed, joined},
    *,
};
use crate::store::{Effect, Retention, RetentionCursor};

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
    world
        .store
        .ack(vec![(View::Whole(to.mail), 1_150)])
        .await
        .unwrap();
    assert_eq!(pass(&world).await, 1_150);
    assert_eq!(
        world.positions(to.mail).await,
        (1_151..=1_210).collect::<Vec<_>>()
    );
    world
        .store
        .ack(vec![(View::Whole(to.mail), 1_210)])
        .await
        .unwrap();
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

pub(crate) async fn group_messages_go_once_every_member_has_them<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, slow, gone) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, joined(&[&slow, &gone]));
    log.append(&world, commit).await;
    for mid in 0..10 {
        log.say(&world, &founder, mid).await;
    }
    let commit = log.rekey(departed(&gone));
    log.append(&world, commit).await;
    let ack = async |agent: &Account, position| {
        let view = log.record.messages_for(agent.agent);
        world.store.ack(vec![(view, position)]).await.unwrap();
    };
    ack(&founder, 10).await;
    ack(&slow, 10).await;
    assert_eq!(pass(&world).await, 0);
    world.advance(31 * DAY);
    log.say(&world, &founder, 10).await;
    ack(&founder, 11).await;
    // Who has departed keeps nothing; commits stay, however old.
    assert_eq!(pass(&world).await, 10);
    assert_eq!(world.positions(log.record.messages).await, [11]);
    assert_eq!(world.positions(log.record.log).await, [1, 2, 3]);
    world.advance(31 * DAY);
    assert_eq!(pass(&world).await, 10, "idempotency keys only");
    ack(&slow, 11).await;
    assert_eq!(pass(&world).await, 1);
    log.say(&world, &slow, 11).await;
    assert_eq!(world.positions(log.record.messages).await, [12]);
}

pub(crate) async fn leaves_of_the_last_epochs_stay_and_older_ones_while_they_are_needed<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, slow) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, joined(&[&slow]));
    log.append(&world, commit).await;
    for _ in 2..=100 {
        let commit = log.rekey(Effect::default());
        log.append(&world, commit).await;
    }
    let held = async |epoch| {
        let position = world.store.rekey_position(log.record.no, epoch).await;
        position.unwrap().is_some()
    };
    let ack = async |agent: &Account, position| {
        let view = log.record.log_for(agent.agent);
        world.store.ack(vec![(view, position)]).await.unwrap();
    };
    ack(&founder, 1_000).await;
    // Epoch 1 was opened before the slow member joined.
    assert_eq!(pass(&world).await, 1);
    assert!(!held(1).await && held(2).await);
    // Epoch e is opened by commit e, at position e + 1 of the queue.
    ack(&slow, 11).await;
    assert_eq!(pass(&world).await, 9);
    assert!(!held(10).await && held(11).await);
    ack(&slow, 1_000).await;
    assert_eq!(pass(&world).await, 26);
    assert!(!held(36).await && held(37).await && held(100).await);
    assert_eq!(pass(&world).await, 0);
}
