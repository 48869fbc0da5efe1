//! Rules about members: what each may see of a group, and its acks (docs/relay-api.md, Groups).

use super::{
    groups::{Log, departed, head, invited, joined, positions},
    *,
};
use crate::store::{Effect, Standing};

pub(crate) async fn log_is_seen_by_members_and_the_invited_and_by_the_departed_up_to_their_end<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, invited(other.id));
    log.append(&world, commit).await;
    assert_eq!(log.commits(&world, &other).await, Some(vec![1, 2]));
    assert_eq!(log.messages(&world, &other).await, None);
    let effect = Effect {
        uninvited: vec![other.id],
        ..joined(&[&other])
    };
    let commit = log.commit(0, effect);
    log.append(&world, commit).await;
    let commit = log.commit(0, Effect::default());
    log.append(&world, commit).await;
    assert_eq!(log.commits(&world, &other).await, Some(vec![1, 2, 3, 4]));
    let commit = log.rekey(departed(&other));
    log.append(&world, commit).await;
    let commit = log.commit(0, Effect::default());
    log.append(&world, commit).await;
    assert_eq!(log.commits(&world, &other).await, Some(vec![1, 2, 3, 4, 5]));
    assert_eq!(log.commits(&world, &founder).await, Some(vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(log.commits(&world, &stranger).await, None);
    // A second invite opens the log again, and its withdrawal closes it where it was closed.
    let commit = log.commit(0, invited(other.id));
    log.append(&world, commit).await;
    assert_eq!(log.commits(&world, &other).await, Some((1..=7).collect()));
    let commit = log.commit(
        0,
        Effect {
            uninvited: vec![other.id],
            ..Effect::default()
        },
    );
    log.append(&world, commit).await;
    assert_eq!(log.commits(&world, &other).await, Some(vec![1, 2, 3, 4, 5]));
}

pub(crate) async fn marks_change_with_every_joining_and_departure<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let agents = [founder.agent, other.agent, stranger.agent];
    let marks = async || {
        let mut marks = world.store.membership_marks(&agents).await.unwrap();
        marks.sort_by_key(|(agent, _)| *agent);
        let marks = marks
            .into_iter()
            .map(|(agent, mark)| (agent, mark.all, mark.over));
        marks.collect::<Vec<_>>()
    };
    assert_eq!(marks().await, []);
    let mut log = Log::create(&world, 1, &founder).await;
    assert_eq!(marks().await, [(founder.agent, 1, 0)]);
    for (effect, mark) in [
        (joined(&[&other]), (1, 0)),
        (departed(&other), (1, 1)),
        (joined(&[&other]), (2, 1)),
    ] {
        let commit = log.commit(0, effect);
        log.append(&world, commit).await;
        assert_eq!(marks().await[1], (other.agent, mark.0, mark.1));
    }
    let queues = [log.record.log, founder.mail];
    let mut heads = world.store.heads(&queues).await.unwrap();
    heads.sort_by_key(|(queue, _)| *queue != log.record.log);
    assert_eq!(heads, [(log.record.log, 4), (founder.mail, 0)]);
    assert_eq!(world.store.agent_no(&other.id).await.unwrap(), Some(other.agent));
    assert_eq!(world.store.agent_no(&id(9)).await.unwrap(), None);
}

pub(crate) async fn invite_is_too_old_after_a_thousand_commits<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, invited(other.id));
    log.append(&world, commit).await;
    for _ in 0..999 {
        let commit = log.commit(0, Effect::default());
        log.append(&world, commit).await;
    }
    // Position 1 was invited at; a commit at position 1,001 could still accept it.
    let standing = world.store.standing(&log.record, other.agent).await;
    assert_eq!(standing.unwrap(), Standing::Invited);
    let commit = log.commit(0, Effect::default());
    log.append(&world, commit).await;
    let standing = world.store.standing(&log.record, other.agent).await;
    assert_eq!(standing.unwrap(), Standing::Stranger);
}

pub(crate) async fn invite_waits_for_who_is_not_registered<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let mut log = Log::create(&world, 1, &founder).await;
    let effect = Effect {
        joined: vec![id(8)],
        departed: vec![id(9)],
        ..invited(id(7))
    };
    let commit = log.commit(0, effect);
    log.append(&world, commit).await;
    let late = world.agent(7).await;
    assert_eq!(log.commits(&world, &late).await, Some(vec![1, 2]));
    // Who was not registered when it joined has no membership.
    let other = world.agent(8).await;
    assert_eq!(log.commits(&world, &other).await, None);
}

pub(crate) async fn messages_are_seen_by_members_of_their_time<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    for mid in 1..=3 {
        log.say(&world, &founder, mid).await;
    }
    let commit = log.commit(0, joined(&[&other]));
    log.append(&world, commit).await;
    assert_eq!(log.messages(&world, &other).await, Some(vec![]));
    for mid in 4..=6 {
        log.say(&world, &other, mid).await;
    }
    let commit = log.rekey(departed(&other));
    log.append(&world, commit).await;
    for mid in 7..=8 {
        log.say(&world, &founder, mid).await;
    }
    assert_eq!(log.messages(&world, &founder).await, Some((1..=8).collect()));
    assert_eq!(log.messages(&world, &other).await, Some(vec![4, 5, 6]));
    assert_eq!(log.messages(&world, &stranger).await, None);
    // Who comes back sees both times of its membership and not what lies between.
    let commit = log.commit(0, joined(&[&other]));
    log.append(&world, commit).await;
    for mid in 9..=10 {
        log.say(&world, &founder, mid).await;
    }
    assert_eq!(log.messages(&world, &other).await, Some(vec![4, 5, 6, 9, 10]));
    let view = log.record.messages_for(other.agent);
    let at = async |after, limit| {
        let range = Range { after, limit, ..ALL };
        let page = world.store.read(view, range).await.unwrap().unwrap();
        let positions: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.position).collect();
        (positions, page.more)
    };
    assert_eq!(at(5, 2).await, (vec![6, 9], true));
    assert_eq!(at(6, 5).await, (vec![9, 10], false));
    assert_eq!(at(0, 1).await, (vec![4], true));
}

pub(crate) async fn acks_of_members_are_their_own<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    for mid in 1..=4 {
        log.say(&world, &founder, mid).await;
    }
    let commit = log.commit(0, joined(&[&other]));
    log.append(&world, commit).await;
    log.say(&world, &founder, 5).await;
    let (mine, theirs) = (
        log.record.messages_for(founder.agent),
        log.record.messages_for(other.agent),
    );
    // Who joins has nothing to catch up on, but its own commit.
    assert_eq!(head(&world, mine).await, (5, 0));
    assert_eq!(head(&world, theirs).await, (5, 4));
    assert_eq!(head(&world, log.record.log_for(other.agent)).await, (2, 1));
    for (position, expected) in [(2, 2), (1, 2), (u64::MAX, 5), (3, 5)] {
        world.store.ack(vec![(mine, position)]).await.unwrap();
        assert_eq!(head(&world, mine).await, (5, expected));
        assert_eq!(head(&world, theirs).await, (5, 4));
    }
    world
        .store
        .ack(vec![(log.record.log_for(other.agent), 2)])
        .await
        .unwrap();
    assert_eq!(head(&world, log.record.log_for(other.agent)).await, (2, 2));
    assert_eq!(head(&world, log.record.log_for(founder.agent)).await, (2, 0));
    // An ack beyond the end of a membership tells nothing of what came after it.
    let commit = log.rekey(departed(&other));
    log.append(&world, commit).await;
    log.say(&world, &founder, 6).await;
    let views = [
        theirs,
        log.record.log_for(other.agent),
        log.record.log_for(stranger.agent),
    ];
    world
        .store
        .ack(views.map(|view| (view, u64::MAX)).to_vec())
        .await
        .unwrap();
    assert_eq!(head(&world, theirs).await, (5, 5));
    assert_eq!(head(&world, log.record.log_for(other.agent)).await, (3, 3));
    world.store.note_ack(mine, 6);
    let world = world.restart().await;
    assert_eq!(head(&world, mine).await, (6, 6));
}

pub(crate) async fn memberships_are_listed_with_what_may_be_seen<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let mut first = Log::create(&world, 1, &founder).await;
    let second = Log::create(&world, 2, &founder).await;
    let commit = first.commit(0, joined(&[&other]));
    first.append(&world, commit).await;
    first.say(&world, &founder, 1).await;
    let list = async || world.store.memberships(other.agent).await.unwrap();
    let groups = world.store.memberships(founder.agent).await.unwrap();
    assert_eq!(
        groups.iter().map(|group| group.id).collect::<Vec<_>>(),
        [first.id, second.id]
    );
    let only = list().await;
    assert_eq!(only.len(), 1);
    assert!(only[0].current && only[0].is_open());
    assert_eq!((only[0].messages.head, only[0].log.head), (1, 2));
    let commit = first.rekey(departed(&other));
    first.append(&world, commit).await;
    first.say(&world, &founder, 2).await;
    let left = list().await[0];
    assert!(!left.current && left.is_open());
    assert_eq!((left.messages.head, left.log.head), (1, 3));
    let views = [
        first.record.messages_for(other.agent),
        first.record.log_for(other.agent),
    ];
    world
        .store
        .ack(views.map(|view| (view, 9)).to_vec())
        .await
        .unwrap();
    assert!(!list().await[0].is_open());
    // Whoever comes back is listed once, with the new membership.
    let commit = first.commit(0, joined(&[&other]));
    first.append(&world, commit).await;
    let again = list().await;
    assert_eq!(again.len(), 1);
    assert!(again[0].current);
    assert_eq!((again[0].messages.head, again[0].messages.acked), (2, 2));
    assert_eq!((again[0].log.head, again[0].log.acked), (4, 3));
}

pub(crate) async fn thousand_members_share_one_row_a_message<B: Backend>() {
    const MEMBERS: u64 = 1_000;
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let mut log = Log::create(&world, 1, &founder).await;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(world.numbered_agent(1_000 + number).await);
    }
    for chunk in members.chunks(64) {
        let commit = log.commit(0, joined(&chunk.iter().collect::<Vec<_>>()));
        log.append(&world, commit).await;
    }
    let sends = (0..100).map(|mid| log.say(&world, &founder, mid));
    futures_util::future::join_all(sends).await;
    let whole = View::Whole(log.record.messages);
    assert_eq!(positions(&world, whole).await, Some((1..=100).collect()));
    assert_eq!(world.heard.0.lock().unwrap()[&log.record.messages].len(), 100);
    let acks = (0..).zip(&members).map(|(number, member)| {
        let view = log.record.messages_for(member.agent);
        (view, number % 101)
    });
    let acks: Vec<_> = acks.collect();
    world.store.ack(acks.clone()).await.unwrap();
    for (view, position) in acks {
        assert_eq!(head(&world, view).await, (100, position));
        assert_eq!(positions(&world, view).await, Some((1..=100).collect()));
    }
}
