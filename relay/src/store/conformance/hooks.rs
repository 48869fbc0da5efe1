//! Rules about hooks and wake-ups (docs/relay-api.md, Wake-ups).

use waxwire_shared::api::frames::{Cursor, Queue};

use super::*;
use crate::store::WakeupFailure;

const SECRET: &str = "a secret of a hook";
const LONGEST: u64 = 16_000;

async fn hooked<B: Backend>(world: &World<B>, number: u8) -> Account {
    let account = world.agent(number).await;
    let url = format!("https://hooks.example/{number}");
    world
        .store
        .put_hook(account.agent, url, SECRET.to_owned())
        .await
        .unwrap();
    account
}

const fn mail(position: u64) -> Cursor {
    Cursor {
        queue: Queue::Mail,
        position,
    }
}

/// What is owed at a time: whose, how far, how often it was tried.
async fn due<B: Backend>(world: &World<B>, now: u64) -> Vec<(AgentNo, u64, u32)> {
    let due = world.store.due_wakeups(now, LONGEST, 100).await.unwrap();
    due.iter()
        .map(|wakeup| (wakeup.agent, wakeup.cursor.position, wakeup.attempts))
        .collect()
}

pub(crate) async fn an_agent_is_owed_one_wake_up_however_much_grows<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (hooked(&world, 1).await, world.agent(2).await);
    assert_eq!(world.store.hooked_readers(a.mail).await.unwrap(), [a.agent]);
    assert_eq!(world.store.hooked_readers(a.control).await.unwrap(), [a.agent]);
    assert_eq!(world.store.hooked_readers(b.mail).await.unwrap(), []);
    let owe = async |agent, position, at| {
        let owed = vec![(agent, mail(position), at)];
        world.store.owe_wakeups(owed, NOW).await.unwrap();
    };
    owe(a.agent, 1, NOW + 5).await;
    owe(a.agent, 2, NOW).await;
    // Who has no hook is owed nothing.
    owe(b.agent, 1, NOW).await;
    assert_eq!(due(&world, NOW + 4).await, []);
    assert_eq!(due(&world, NOW + 5).await, [(a.agent, 2, 0)]);
    let wakeup = world
        .store
        .due_wakeups(NOW + 5, LONGEST, 100)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (wakeup.url.as_str(), wakeup.secret.as_str()),
        ("https://hooks.example/1", SECRET)
    );
    assert_eq!(wakeup.id, a.id);

    // What grew during the call is owed another one.
    owe(a.agent, 3, NOW).await;
    let settle = async |serial| world.store.settle_wakeup(a.agent, serial, NOW + 9).await.unwrap();
    settle(wakeup.serial).await;
    assert_eq!(due(&world, NOW + 8).await, []);
    assert_eq!(due(&world, NOW + 9).await, [(a.agent, 3, 0)]);
    let world = world.crash().await;
    let wakeup = world
        .store
        .due_wakeups(NOW + 9, LONGEST, 100)
        .await
        .unwrap()
        .remove(0);
    world
        .store
        .settle_wakeup(a.agent, wakeup.serial, NOW)
        .await
        .unwrap();
    assert_eq!(due(&world, u64::MAX >> 1).await, []);
}

pub(crate) async fn wake_up_that_failed_waits_dies_and_is_revived<B: Backend>() {
    let world = World::<B>::new().await;
    let a = hooked(&world, 1).await;
    let fail = async |due_at| {
        let failure = WakeupFailure {
            agent: a.agent,
            due_at,
            reason: "status 500".to_owned(),
        };
        world.store.fail_wakeup(failure, NOW + 7).await.unwrap();
    };
    let owe = async || {
        let owed = vec![(a.agent, mail(1), NOW)];
        world.store.owe_wakeups(owed, NOW).await.unwrap();
    };
    owe().await;
    fail(Some(NOW + 1_000)).await;
    assert_eq!(due(&world, NOW + 999).await, []);
    assert_eq!(due(&world, NOW + 1_000).await, [(a.agent, 1, 1)]);
    let redeliver = async || world.store.redeliver_wakeup(handle(1)).await.unwrap();
    assert!(!redeliver().await, "it is not dead");
    fail(None).await;
    assert_eq!(due(&world, u64::MAX >> 1).await, []);
    let dead = world.store.dead_wakeups("", 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].handle, dead[0].attempts), (&handle(1), 2));
    assert_eq!(
        (dead[0].reason.as_str(), dead[0].dead_at),
        ("status 500", NOW + 7)
    );
    assert_eq!(
        world.store.dead_wakeups(handle(1).as_str(), 10).await.unwrap(),
        []
    );
    assert!(redeliver().await);
    assert_eq!(due(&world, NOW).await, [(a.agent, 1, 0)]);
    // What grows revives a dead one, too; who registers anew is owed nothing.
    fail(None).await;
    owe().await;
    assert_eq!(due(&world, NOW).await, [(a.agent, 1, 0)]);
    let url = "https://hooks.example/other".to_owned();
    world
        .store
        .put_hook(a.agent, url, SECRET.to_owned())
        .await
        .unwrap();
    assert_eq!(due(&world, NOW).await, []);
    world.store.remove_hook(a.agent).await.unwrap();
    owe().await;
    assert_eq!(due(&world, NOW).await, []);
}

pub(crate) async fn backlogs_are_owed_a_wake_up_after_a_start<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, _) = (hooked(&world, 1).await, hooked(&world, 2).await);
    let c = world.agent(3).await;
    assert_eq!(world.store.owe_backlogs(NOW).await.unwrap(), 2);
    assert_eq!(due(&world, NOW).await, []);
    world.send(&c, &a, 1).await;
    world.send(&a, &c, 2).await;
    world.store.owe_backlogs(NOW).await.unwrap();
    assert_eq!(due(&world, NOW).await, [(a.agent, 1, 0)]);
    world.store.owe_backlogs(NOW + 1).await.unwrap();
    assert_eq!(due(&world, NOW).await, [(a.agent, 1, 0)]);
}

pub(crate) async fn wake_up_that_a_clock_ahead_has_put_off_is_due<B: Backend>() {
    let world = World::<B>::new().await;
    let a = hooked(&world, 1).await;
    let owe = async |at| {
        let owed = vec![(a.agent, mail(1), at)];
        world.store.owe_wakeups(owed, NOW).await.unwrap();
    };
    owe(NOW + LONGEST).await;
    assert_eq!(due(&world, NOW).await, []);
    owe(NOW + LONGEST + 1).await;
    assert_eq!(due(&world, NOW).await, [(a.agent, 1, 0)]);
}
