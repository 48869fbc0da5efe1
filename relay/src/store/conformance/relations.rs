//! Rules about contacts and blocks (docs/relay-api.md, Contacts and blocks).

use super::{
    groups::{Log, departed, invited, joined},
    *,
};
use crate::store::{AppendOutcome, Block, Effect, RelateOutcome, Relation};

async fn relate<B: Backend>(world: &World<B>, by: &Account, other: u8, relation: Relation) {
    let outcome = world.store.relate(by.agent, handle(other), relation, 0).await;
    assert_eq!(outcome, Ok(RelateOutcome::Done));
}

pub(super) async fn block<B: Backend>(world: &World<B>, by: &Account, other: u8, block: Block) {
    relate(world, by, other, Relation::Block(block)).await;
}

pub(crate) async fn block_refuses_sends_both_ways_in_both_lanes<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b, c) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    // Whoever keeps blocks in memory has read them by now.
    world.send(&a, &b, 1).await;
    block(&world, &a, 2, Block::Told).await;
    for lane in [Lane::Mail, Lane::Control] {
        for (from, to) in [(&a, &b), (&b, &a)] {
            let outcome = world.store.send(to_lane(from, to.id, lane, 2)).await;
            assert_eq!(outcome, Ok(SendOutcome::Blocked), "{lane:?}");
        }
    }
    for (mid, (from, to)) in (3..).zip([(&a, &c), (&c, &a), (&b, &c), (&c, &b)]) {
        assert!(matches!(
            world.send(from, to, mid).await,
            SendOutcome::Stored { .. }
        ));
    }
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert!(matches!(
            world.send(from, to, 2).await,
            SendOutcome::Stored { .. }
        ));
    }
}

pub(crate) async fn block_without_a_conversation_looks_like_nobody<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let sight =
        async |viewer: &Account, other| world.store.sight(viewer.agent, &handle(other)).await.unwrap();
    assert_eq!(sight(&b, 1).await, Sight::Visible(a.agent));
    block(&world, &a, 2, Block::Hidden).await;
    assert_eq!(world.send(&b, &a, 1).await, SendOutcome::NotFound);
    assert_eq!(sight(&b, 1).await, sight(&b, 9).await);
    // Who blocks knows, and goes on seeing.
    assert_eq!(world.send(&a, &b, 1).await, SendOutcome::Blocked);
    assert_eq!(sight(&a, 2).await, Sight::Visible(b.agent));
    // By a block of one's own nobody finds out more.
    block(&world, &b, 1, Block::Told).await;
    assert_eq!(world.send(&b, &a, 1).await, SendOutcome::NotFound);
    block(&world, &a, 2, Block::Told).await;
    assert_eq!(world.send(&b, &a, 1).await, SendOutcome::Blocked);
    assert_eq!(sight(&b, 1).await, Sight::Blocked);
}

pub(crate) async fn repeat_is_found_before_a_block<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let SendOutcome::Stored { envelope_id, .. } = world.send(&b, &a, 1).await else {
        panic!("not stored");
    };
    block(&world, &a, 2, Block::Hidden).await;
    let again = world.send(&b, &a, 1).await;
    assert!(matches!(again, SendOutcome::Repeated { envelope_id: id, .. } if id == envelope_id));
    assert_eq!(world.positions(a.mail).await, [1]);
}

pub(crate) async fn blocks_survive_a_crash_and_failed_writes<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    world.send(&b, &a, 1).await;
    // What was kept in memory of a write that came to nothing does not count.
    let (blocked, bad) = tokio::join!(block(&world, &a, 2, Block::Told), B::bad_write(&world.store));
    assert_eq!((blocked, bad), ((), Err(WriteError::Failed)));
    assert_eq!(world.send(&b, &a, 2).await, SendOutcome::Blocked);
    let world = world.crash().await;
    assert_eq!(world.send(&b, &a, 2).await, SendOutcome::Blocked);
    let world = world.restart().await;
    assert_eq!(world.send(&a, &b, 2).await, SendOutcome::Blocked);
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    let world = world.crash().await;
    assert!(matches!(world.send(&b, &a, 2).await, SendOutcome::Stored { .. }));
}

pub(crate) async fn group_goes_on_across_a_block_but_for_invites<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &a).await;
    log.append(&world, log.rekey(joined(&[&b]))).await;
    for (by, other) in [(&a, 2), (&b, 1)] {
        block(&world, by, other, Block::Told).await;
        log.say(&world, &a, u64::from(other)).await;
        log.say(&world, &b, u64::from(other)).await;
        for told in [Block::Told, Block::Hidden] {
            block(&world, by, other, told).await;
            let mut second = Log::create(&world, 10 + other + 2 * u8::from(told == Block::Told), &a).await;
            let refused = world.store.append(second.commit(0, invited(b.id))).await;
            assert_eq!(refused, Ok(AppendOutcome::Blocked));
            // Nothing of it happened.
            second.append(&world, second.commit(1, Effect::default())).await;
        }
        world.store.remove_block(by.agent, handle(other)).await.unwrap();
    }
    let mut third = Log::create(&world, 20, &a).await;
    third.append(&world, third.commit(0, invited(b.id))).await;
}

pub(crate) async fn bundle_hides_behind_a_block_unless_a_group_needs_it<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let bundle = async |viewer: &Account, other| {
        let bundle = world.store.bundle(viewer.agent, &handle(other)).await.unwrap();
        match bundle {
            Sight::Visible((id, _)) => Sight::Visible(id),
            Sight::Blocked => Sight::Blocked,
            Sight::Unknown => Sight::Unknown,
        }
    };
    block(&world, &a, 2, Block::Hidden).await;
    assert_eq!(bundle(&b, 1).await, Sight::Unknown);
    assert_eq!(bundle(&a, 2).await, Sight::Visible(b.id));
    block(&world, &a, 2, Block::Told).await;
    assert_eq!(bundle(&b, 1).await, Sight::Blocked);
    // An agent that joins seals to every member, and every member to it.
    let c = world.agent(3).await;
    let mut log = Log::create(&world, 1, &c).await;
    log.append(&world, log.commit(0, joined(&[&a]))).await;
    assert_eq!(bundle(&b, 1).await, Sight::Blocked);
    log.append(&world, log.commit(0, invited(b.id))).await;
    assert_eq!(bundle(&b, 1).await, Sight::Visible(a.id));
    let entered = Effect {
        uninvited: vec![b.id],
        ..joined(&[&b])
    };
    log.append(&world, log.commit(0, entered)).await;
    assert_eq!(bundle(&b, 1).await, Sight::Visible(a.id));
    log.append(&world, log.commit(0, departed(&a))).await;
    assert_eq!(bundle(&b, 1).await, Sight::Blocked);
}

pub(crate) async fn contacts_have_their_holders_but_not_across_a_block<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b, c) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let holders = async || {
        let mut holders = world.store.contact_holders(a.agent).await.unwrap();
        holders.sort_unstable();
        holders
    };
    assert!(holders().await.is_empty());
    relate(&world, &b, 1, Relation::Contact).await;
    relate(&world, &c, 1, Relation::Contact).await;
    assert_eq!(holders().await, [b.agent, c.agent]);
    block(&world, &a, 2, Block::Hidden).await;
    assert_eq!(holders().await, [c.agent]);
    block(&world, &c, 1, Block::Told).await;
    assert!(holders().await.is_empty());
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    assert_eq!(holders().await, [b.agent]);
    world.store.remove_contact(b.agent, handle(1)).await.unwrap();
    world.store.remove_contact(b.agent, handle(9)).await.unwrap();
    assert!(holders().await.is_empty());
}

pub(crate) async fn relations_are_bounded_and_may_be_repeated<B: Backend>() {
    let world = World::<B>::new().await;
    let a = world.agent(1).await;
    for number in 2..5 {
        world.agent(number).await;
    }
    for relation in [Relation::Contact, Relation::Block(Block::Told)] {
        let put = async |other, max| world.store.relate(a.agent, handle(other), relation, max).await;
        assert_eq!(put(2, 2).await, Ok(RelateOutcome::Done));
        assert_eq!(put(3, 2).await, Ok(RelateOutcome::Done));
        assert_eq!(put(4, 2).await, Ok(RelateOutcome::Full { max: 2, actual: 3 }));
        // Whoever has no place left does not learn by that who exists.
        assert_eq!(put(99, 2).await, put(4, 2).await);
        // What is there already, oneself and nobody take no place.
        for other in [2, 3, 1] {
            assert_eq!(put(other, 2).await, Ok(RelateOutcome::Done), "{other}");
        }
        assert_eq!(put(99, 3).await, Ok(RelateOutcome::Done));
        assert_eq!(put(4, 3).await, Ok(RelateOutcome::Done));
        assert_eq!(put(4, 0).await, Ok(RelateOutcome::Done));
    }
    let holders = world.store.contact_holders(a.agent).await.unwrap();
    assert!(holders.is_empty(), "an agent holds itself: {holders:?}");
}
