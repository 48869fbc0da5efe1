//! Rules about presence (docs/relay-api.md, Presence).

use super::*;
use crate::store::{Block, Relation};

async fn seen<B: Backend>(world: &World<B>, by: &Account, of: u8) -> Option<Option<u64>> {
    let seen = world.store.in_sight(by.agent, &[handle(of)]).await.unwrap();
    seen.first().map(|(_, _, at)| *at)
}

pub(crate) async fn last_seen_only_grows_and_survives_a_crash<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    assert_eq!(seen(&world, &a, 2).await, Some(None));
    let note = async |at| world.store.put_last_seen(vec![(b.agent, at)]).await.unwrap();
    note(NOW).await;
    note(NOW - 60_000).await;
    assert_eq!(seen(&world, &a, 2).await, Some(Some(NOW)));
    let world = world.crash().await;
    assert_eq!(seen(&world, &a, 2).await, Some(Some(NOW)));
    assert_eq!(seen(&world, &a, 1).await, Some(None), "nobody else was noted");
}

pub(crate) async fn blocked_pair_is_out_of_sight_both_ways<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let c = world.agent(3).await;
    let relate = async |by: &Account, other, relation| {
        world
            .store
            .relate(by.agent, handle(other), relation, 0)
            .await
            .unwrap();
    };
    relate(&a, 2, Relation::Contact).await;
    relate(&b, 1, Relation::Contact).await;
    assert_eq!(
        world.store.contacts(a.agent).await.unwrap(),
        [(b.agent, handle(2))]
    );
    assert_eq!(seen(&world, &a, 9).await, None);
    for block in [Block::Told, Block::Hidden] {
        relate(&a, 2, Relation::Block(block)).await;
        for (one, other, name) in [(&a, &b, 2), (&b, &a, 1)] {
            assert_eq!(seen(&world, one, name).await, None);
            assert!(world.store.has_block(one.agent, other.agent).await.unwrap());
            assert_eq!(world.store.contacts(one.agent).await.unwrap(), []);
        }
        assert!(!world.store.has_block(a.agent, c.agent).await.unwrap());
    }
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    assert_eq!(seen(&world, &b, 1).await, Some(None));
}
