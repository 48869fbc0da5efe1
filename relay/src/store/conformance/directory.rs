//! Rules about profiles and the directory (docs/relay-api.md, Profiles and directory).

use waxwire_shared::api::profile::ProfileRequest;

use super::*;
use crate::store::{Block, DirectoryPage, Profile, Relation};

async fn set<B: Backend>(world: &World<B>, agent: &Account, name: Option<&str>, listed: bool) {
    let profile = ProfileRequest {
        display_name: name.map(str::to_owned),
        description: None,
        listed,
    };
    world.store.set_profile(agent.agent, profile).await.unwrap();
}

async fn found<B: Backend>(world: &World<B>, viewer: &Account, prefix: &str) -> (Vec<String>, u64) {
    let DirectoryPage { agents, total } = world.store.directory(viewer.agent, prefix, 100, 0).await.unwrap();
    (
        agents.iter().map(|agent| agent.handle.to_string()).collect(),
        total,
    )
}

pub(crate) async fn search_finds_the_listed_by_prefix_and_anybody_by_handle<B: Backend>() {
    let world = World::<B>::new().await;
    let mut agents = Vec::new();
    for number in [1, 2, 3, 10, 11] {
        agents.push(world.agent(number).await);
    }
    let [one, two, _, ten, _] = agents.as_slice() else {
        panic!("not five");
    };
    assert_eq!(found(&world, one, "agent-").await, (vec![], 0));
    assert_eq!(found(&world, one, "agent-2").await, (vec!["agent-2".into()], 1));
    for agent in [two, ten] {
        set(&world, agent, Some("name"), true).await;
    }
    let listed = (vec!["agent-10".to_owned(), "agent-2".to_owned()], 2);
    assert_eq!(found(&world, one, "agent-").await, listed);
    assert_eq!(found(&world, one, "ag").await, listed);
    assert_eq!(found(&world, one, "agent-1").await, (vec!["agent-10".into()], 1));
    for nobody in ["agent-4", "agent-22", "AGENT", "%", "_gent", "{", "\u{10ffff}x"] {
        assert_eq!(found(&world, one, nobody).await, (vec![], 0), "{nobody}");
    }
    // Nobody finds itself.
    assert_eq!(found(&world, two, "agent-2").await, (vec![], 0));
    set(&world, ten, None, false).await;
    assert_eq!(found(&world, one, "agent-").await, (vec!["agent-2".into()], 1));
}

pub(crate) async fn directory_hides_the_blocked_and_the_suspended<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    for agent in [&a, &b] {
        set(&world, agent, None, true).await;
    }
    for told in [Block::Told, Block::Hidden] {
        let relation = Relation::Block(told);
        world.store.relate(a.agent, handle(2), relation, 0).await.unwrap();
        for (viewer, other) in [(&a, "agent-2"), (&b, "agent-1")] {
            for prefix in ["agent-", other] {
                assert_eq!(found(&world, viewer, prefix).await, (vec![], 0));
            }
        }
    }
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    assert_eq!(found(&world, &b, "agent-").await.1, 1);
    world.store.set_suspended(handle(1), true).await.unwrap();
    assert_eq!(found(&world, &b, "agent-").await.1, 0);
}

pub(crate) async fn pages_of_the_directory_are_in_order_of_handles<B: Backend>() {
    let world = World::<B>::new().await;
    let viewer = world.agent(1).await;
    for number in 0..25 {
        let agent = world.numbered_agent(number).await;
        set(&world, &agent, None, true).await;
    }
    let mut seen = Vec::new();
    loop {
        let offset = seen.len() as u64;
        let page = world
            .store
            .directory(viewer.agent, "numbered-", 10, offset)
            .await
            .unwrap();
        assert_eq!(page.total, 25);
        if page.agents.is_empty() {
            break;
        }
        seen.extend(page.agents.into_iter().map(|agent| agent.handle));
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    let beyond = world
        .store
        .directory(viewer.agent, "numbered-", 10, u64::MAX)
        .await
        .unwrap();
    assert!(beyond.agents.is_empty());
}

pub(crate) async fn profile_is_replaced_whole_and_hides_behind_a_block<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let see = async || world.store.profile(b.agent, &handle(1)).await.unwrap();
    let plain = Profile {
        handle: handle(1),
        display_name: None,
        description: None,
        registered_at: NOW,
    };
    assert_eq!(see().await, Sight::Visible(plain.clone()));
    let full = ProfileRequest {
        display_name: Some("Ann".to_owned()),
        description: Some("two\nlines".to_owned()),
        listed: true,
    };
    world.store.set_profile(a.agent, full).await.unwrap();
    let named = Profile {
        display_name: Some("Ann".to_owned()),
        description: Some("two\nlines".to_owned()),
        ..plain.clone()
    };
    assert_eq!(see().await, Sight::Visible(named));
    for (block, sight) in [(Block::Told, Sight::Blocked), (Block::Hidden, Sight::Unknown)] {
        let relation = Relation::Block(block);
        world.store.relate(a.agent, handle(2), relation, 0).await.unwrap();
        assert_eq!(see().await, sight);
    }
    world.store.remove_block(a.agent, handle(2)).await.unwrap();
    world
        .store
        .set_profile(a.agent, ProfileRequest::default())
        .await
        .unwrap();
    let world = world.crash().await;
    let seen = world.store.profile(b.agent, &handle(1)).await.unwrap();
    assert_eq!(seen, Sight::Visible(plain));
    let nobody = world.store.profile(b.agent, &handle(9)).await.unwrap();
    assert_eq!(nobody, Sight::Unknown);
}
