//! Rules about named channels: slugs, and what everybody may see of an open group (docs/relay-api.md, Channels).

use super::{
    groups::{Log, departed, first, joined},
    relations::block,
    *,
};
use crate::store::{AppendOutcome, Block, ChannelRecord, Effect, GroupRecord, Naming, NewCommit, Standing};

fn slug(text: &str) -> Handle {
    text.parse().unwrap()
}

fn naming(text: &str, open: bool) -> Naming {
    Naming {
        slug: Some(slug(text)),
        open,
    }
}

/// What a commit does that changes nothing but the policy.
fn renamed(naming: Naming) -> Effect {
    Effect {
        naming: Some(naming),
        ..Effect::default()
    }
}

async fn create<B: Backend>(world: &World<B>, number: u8, founder: &Account, text: &str, open: bool) -> Log {
    Log::create_by(world, first(number, founder, Some(naming(text, open)))).await
}

/// Slugs of open channels after one, with their members.
async fn listed<B: Backend>(world: &World<B>, after: &str, limit: u64) -> Vec<(String, u64)> {
    let channels = world.store.open_channels(after, limit).await.unwrap();
    assert!(channels.iter().all(|channel| channel.open));
    let row = |channel: &ChannelRecord| (channel.slug.to_string(), channel.members);
    channels.iter().map(row).collect()
}

async fn holder<B: Backend>(world: &World<B>, text: &str) -> Option<(GroupRecord, bool)> {
    let channel = world.store.channel(&slug(text)).await.unwrap()?;
    assert_eq!(world.store.group(&channel.id).await.unwrap(), Some(channel.group));
    Some((channel.group, channel.open))
}

pub(crate) async fn slug_belongs_to_one_group_until_it_is_given_up<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    // Open or not, a slug is taken.
    for (number, open) in [(1, true), (2, false)] {
        let text = format!("channel-{number}");
        let mut log = create(&world, number, &founder, &text, open).await;
        assert_eq!(holder(&world, &text).await, Some((log.record, open)));
        let second = || first(10 + number, &founder, Some(naming(&text, true)));
        assert_eq!(world.store.append(second()).await, Ok(AppendOutcome::SlugTaken));
        // The same group may name it again.
        log.append(&world, log.commit(0, renamed(naming(&text, !open))))
            .await;
        assert_eq!(holder(&world, &text).await, Some((log.record, !open)));
        log.append(&world, log.commit(0, renamed(Naming::default())))
            .await;
        assert_eq!(holder(&world, &text).await, None);
        let mut log = Log::create_by(&world, second()).await;
        assert_eq!(holder(&world, &text).await, Some((log.record, true)));
        let end = Effect {
            ended: true,
            ..departed(&founder)
        };
        log.append(&world, log.commit(0, end)).await;
        assert_eq!(holder(&world, &text).await, None);
        assert!(!world.store.is_open(&log.record).await.unwrap());
        create(&world, 20 + number, &founder, &text, false).await;
    }
}

pub(crate) async fn refused_claim_of_a_slug_leaves_no_trace<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    create(&world, 1, &founder, "taken", true).await;
    let mut log = create(&world, 2, &other, "free", true).await;
    let claim = Effect {
        closed: true,
        ended: true,
        naming: Some(naming("taken", false)),
        ..departed(&other)
    };
    let refused = world.store.append(log.rekey(claim)).await;
    assert_eq!(refused, Ok(AppendOutcome::SlugTaken));
    assert_eq!(holder(&world, "free").await, Some((log.record, true)));
    log.say(&world, &other, 1).await;
    log.append(&world, log.commit(0, Effect::default())).await;
    // What is in the log already is found whatever has become of its slug since.
    let claim = log.commit(0, renamed(naming("later", true)));
    log.append(&world, claim.clone()).await;
    log.append(&world, log.commit(0, renamed(Naming::default())))
        .await;
    create(&world, 3, &founder, "later", true).await;
    let again = world.store.append(claim).await;
    assert_eq!(again, Ok(AppendOutcome::Repeated { position: 2 }));
}

pub(crate) async fn racing_claims_of_a_slug_have_one_winner<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let claims = (1..=8).map(|number| first(number, &founder, Some(naming("raced", true))));
    let append = |claim: NewCommit| {
        let store = world.store.clone();
        tokio::spawn(async move { store.append(claim).await.unwrap() })
    };
    let racing: Vec<_> = claims.map(append).collect();
    let mut won = Vec::new();
    for outcome in racing {
        match outcome.await.unwrap() {
            AppendOutcome::Appended(group) => won.push(group),
            outcome => assert_eq!(outcome, AppendOutcome::SlugTaken),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(holder(&world, "raced").await, Some((won[0], true)));
}

pub(crate) async fn log_of_an_open_group_is_seen_by_everybody_while_it_is_open<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, former, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = create(&world, 1, &founder, "plaza", true).await;
    log.append(&world, log.rekey(joined(&[&former]))).await;
    log.say(&world, &founder, 1).await;
    log.append(&world, log.rekey(departed(&former))).await;
    log.say(&world, &founder, 2).await;
    log.append(&world, log.commit(0, Effect::default())).await;
    assert!(world.store.is_open(&log.record).await.unwrap());
    for agent in [&founder, &former, &stranger] {
        assert_eq!(log.commits(&world, agent).await, Some((1..=4).collect()));
    }
    // Of messages everybody sees those of its own time only, and a reader is no member.
    assert_eq!(log.messages(&world, &former).await, Some(vec![1]));
    assert_eq!(log.messages(&world, &stranger).await, None);
    let standing = world.store.standing(&log.record, stranger.agent).await;
    assert_eq!(standing.unwrap(), Standing::Stranger);
    world
        .store
        .ack(vec![(log.record.log_for(stranger.agent), 4)])
        .await
        .unwrap();
    assert_eq!(world.store.memberships(stranger.agent).await.unwrap(), []);
    log.append(&world, log.commit(0, renamed(naming("plaza", false))))
        .await;
    assert!(!world.store.is_open(&log.record).await.unwrap());
    assert_eq!(log.commits(&world, &founder).await, Some((1..=5).collect()));
    assert_eq!(log.commits(&world, &former).await, Some((1..=3).collect()));
    assert_eq!(log.commits(&world, &stranger).await, None);
    log.append(&world, log.commit(0, renamed(naming("plaza", true))))
        .await;
    assert_eq!(log.commits(&world, &stranger).await, Some((1..=6).collect()));
}

pub(crate) async fn open_channels_are_listed_by_slug_with_their_members<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let names = [
        ("cherry", true),
        ("apple", true),
        ("secret", false),
        ("banana", true),
    ];
    let mut logs = Vec::new();
    for (number, (text, open)) in (1..).zip(names) {
        logs.push(create(&world, number, &founder, text, open).await);
    }
    // An open group without a slug is no channel.
    let nameless = Naming {
        slug: None,
        open: true,
    };
    Log::create_by(&world, first(9, &founder, Some(nameless))).await;
    let log = &mut logs[1];
    log.append(&world, log.commit(0, joined(&[&other]))).await;
    let row = |text: &str, members| (text.to_owned(), members);
    let all = [row("apple", 2), row("banana", 1), row("cherry", 1)];
    assert_eq!(listed(&world, "", 10).await, all);
    assert_eq!(listed(&world, "", 2).await, all[..2]);
    assert_eq!(listed(&world, "apple", 2).await, all[1..]);
    assert_eq!(listed(&world, "cherry", 2).await, []);
    let log = &mut logs[1];
    log.append(&world, log.commit(0, departed(&other))).await;
    assert_eq!(listed(&world, "", 1).await, [row("apple", 1)]);
    assert_eq!(holder(&world, "secret").await, Some((logs[2].record, false)));
}

pub(crate) async fn member_of_an_open_group_is_sealed_to_across_a_block<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    block(&world, &a, 2, Block::Hidden).await;
    let sees = async || {
        let bundle = world.store.bundle(b.agent, &handle(1)).await.unwrap();
        matches!(bundle, Sight::Visible(_))
    };
    assert!(!sees().await);
    let mut log = create(&world, 1, &a, "square", false).await;
    assert!(!sees().await);
    log.append(&world, log.commit(0, renamed(naming("square", true))))
        .await;
    assert!(sees().await, "whoever may join has to seal to every member");
    log.append(&world, log.commit(0, renamed(naming("square", false))))
        .await;
    assert!(!sees().await);
}

pub(crate) async fn channels_survive_a_crash<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let log = create(&world, 1, &founder, "kept", true).await;
    let world = world.crash().await;
    assert_eq!(holder(&world, "kept").await, Some((log.record, true)));
    let second = first(2, &founder, Some(naming("kept", true)));
    assert_eq!(world.store.append(second).await, Ok(AppendOutcome::SlugTaken));
}
