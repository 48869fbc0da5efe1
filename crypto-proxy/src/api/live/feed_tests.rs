use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{super::value, *};
use crate::{
    api::testing::{Api, NOW, group_id, message},
    model::GroupEnd,
};

fn own(place: u8) -> Message {
    Message {
        own: true,
        sender: "alice".parse().unwrap(),
        delivery: None,
        ..message(place)
    }
}

fn settled(place: u8) -> Message {
    Message {
        delivered_at: Some(NOW),
        ..message(place)
    }
}

/// A state that holds these messages.
fn holding(messages: impl IntoIterator<Item = Message>) -> Arc<Api> {
    let api = Api::new();
    api.backend.messages.lock().unwrap().extend(messages);
    Arc::new(api)
}

fn feed(api: &Api) -> Feed {
    let notices = Feed::subscribe(&api.state);
    let beginning = api.state.backend().beginning().unwrap();
    let scope = Scope {
        live_after: beginning.last,
        backlog: api.state.live().leases().free(),
    };
    Feed::new(api.state.clone(), notices, &beginning, scope)
}

/// The places of what is told until there is nothing for a second.
async fn places(feed: &mut Feed) -> Vec<u64> {
    let mut places = Vec::new();
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), feed.next()).await {
        places.extend(frame.unwrap().place);
    }
    places
}

#[tokio::test(start_paused = true)]
async fn the_backlog_comes_before_what_happens() {
    let api = holding((1..=3).map(message));
    let mut feed = feed(&api);
    api.backend.arrives(message(4));
    assert_eq!(places(&mut feed).await, [1, 2, 3, 4]);
    api.backend.arrives(own(5));
    api.backend.arrives(message(6));
    assert_eq!(places(&mut feed).await, [5, 6]);
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_what_is_not_settled_and_own_messages_between() {
    let mut elsewhere = own(4);
    elsewhere.conversation = group_id(7);
    let api = holding([
        own(1),
        message(2),
        own(3),
        elsewhere,
        settled(5),
        message(6),
        own(7),
    ]);
    let mut feed = feed(&api);
    assert_eq!(places(&mut feed).await, [2, 3, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn what_became_visible_since_the_beginning_is_told_though_it_is_settled() {
    let api = holding([settled(1)]);
    let mut feed = feed(&api);
    api.backend.messages.lock().unwrap().push(settled(2));
    api.backend.arrives(message(3));
    assert_eq!(places(&mut feed).await, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_many_pages_keeps_its_order() {
    let api = holding((1..=250).map(|place| {
        if place % 3 == 0 {
            settled(place)
        } else {
            message(place)
        }
    }));
    let mut feed = feed(&api);
    let expected: Vec<u64> = (1..=250).filter(|place| place % 3 != 0).collect();
    assert_eq!(places(&mut feed).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_another_socket_carries_is_not_told() {
    let api = holding((1..=2).map(message));
    let (_lease, _) = api.state.live().leases().take(2);
    api.backend.messages.lock().unwrap().push(message(3));
    let mut feed = feed(&api);
    assert_eq!(places(&mut feed).await, [] as [u64; 0]);
    api.backend.arrives(message(4));
    assert_eq!(places(&mut feed).await, [4]);
}

#[tokio::test(start_paused = true)]
async fn the_message_that_comes_next_is_told_from_its_notice() {
    let api = holding([]);
    let mut feed = feed(&api);
    assert!(places(&mut feed).await.is_empty());
    api.backend.breaks();
    api.backend.arrives(message(1));
    assert_eq!(feed.next().await.unwrap().place, Some(1));
    api.backend.arrives(message(3));
    assert_eq!(feed.next().await.unwrap_err(), Ended::Unreadable);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_lags_reads_the_rows() {
    let api = holding([]);
    let mut feed = feed(&api);
    assert!(places(&mut feed).await.is_empty());
    (1..=40).for_each(|place| api.backend.arrives(message(place)));
    assert_eq!(places(&mut feed).await, (1..=40).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_loses_nothing() {
    let api = holding((1..=250).map(message));
    let mut feed = feed(&api);
    let mut told = Vec::new();
    while told.len() < 250 {
        // Dropped at its first wait, again and again.
        if let Some(frame) = feed.next().now_or_never() {
            told.push(frame.unwrap().place.unwrap());
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(told, (1..=250).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_a_feed_that_fell_behind() {
    let api = holding([]);
    let mut feed = feed(&api);
    assert!(places(&mut feed).await.is_empty());
    feed.fall_behind();
    assert_eq!(api.backend.notices.receiver_count(), 0);
    (1..=3).for_each(|place| api.backend.arrives(message(place)));
    assert_eq!(places(&mut feed).await, [1, 2, 3]);
    api.backend.arrives(message(4));
    assert_eq!(places(&mut feed).await, [4]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_group_is_told_after_its_last_message() {
    let api = holding([]);
    let mut feed = feed(&api);
    assert!(places(&mut feed).await.is_empty());
    // The first of the two has been missed: the feed has to read before it goes on.
    api.backend.messages.lock().unwrap().push(message(1));
    api.backend.arrives(message(2));
    let end = GroupEnd {
        id: group_id(1),
        by: "bob".parse().unwrap(),
        at: NOW,
    };
    let sent = api.backend.notices.send(Notice::GroupEnded(Box::new(end)));
    sent.unwrap();
    let mut types = Vec::new();
    for _ in 0..3 {
        let frame = feed.next().await.unwrap();
        types.push(value(&frame.text)["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["message.new", "message.new", "group.deleted"]);
}

/// What the agent has muted waits in sync; own messages are echoed all the same.
#[tokio::test(start_paused = true)]
async fn what_is_muted_is_passed_over() {
    let muted = |message: Message| Message {
        muted_until: u64::MAX,
        ..message
    };
    let api = holding([message(1), muted(message(2)), message(3)]);
    let mut feed = feed(&api);
    api.backend.arrives(muted(message(4)));
    api.backend.arrives(muted(own(5)));
    api.backend.arrives(message(6));
    assert_eq!(places(&mut feed).await, [1, 3, 5, 6]);
}
