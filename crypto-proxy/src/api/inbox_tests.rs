use axum::body::Body;
use serde_json::{Value, json};

use super::*;
use crate::api::testing::{Api, NOW, message};

fn with_messages() -> Api {
    let api = Api::new();
    api.backend.messages.lock().unwrap().extend((1..=3).map(message));
    api
}

#[tokio::test]
async fn inbox_is_a_page_newest_first() {
    let api = with_messages();
    let body = api.get("/v1/inbox").await.json();
    assert_eq!(
        (&body["total"], &body["limit"], &body["offset"]),
        (&json!(3), &json!(50), &json!(0))
    );
    assert_eq!(
        body["messages"][0]["delivery_id"],
        message(3).delivery.unwrap().to_string()
    );
    let body = api.get("/v1/inbox?limit=1&offset=2").await.json();
    assert_eq!(
        (&body["total"], &body["limit"], &body["offset"]),
        (&json!(3), &json!(1), &json!(2))
    );
    assert_eq!(body["messages"][0]["seq"], 1);
    assert_eq!(api.get("/v1/inbox?limit=100000").await.json()["limit"], 100);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn filters_reach_the_state() {
    let delivery = message(2).delivery.unwrap();
    let none = InboxFilter {
        limit: 50,
        offset: 0,
        from: None,
        message_type: None,
        unread: false,
        since: None,
    };
    let since = |since| InboxFilter {
        since: Some(since),
        ..none.clone()
    };
    for (query, filter) in [
        (String::new(), none.clone()),
        (
            "from=%40Bob".to_owned(),
            InboxFilter {
                from: Some("bob".parse().unwrap()),
                ..none.clone()
            },
        ),
        (
            "type=trade.offer".to_owned(),
            InboxFilter {
                message_type: Some("trade.offer".to_owned()),
                ..none.clone()
            },
        ),
        (
            "unread=true".to_owned(),
            InboxFilter {
                unread: true,
                ..none.clone()
            },
        ),
        (
            "unread=1".to_owned(),
            InboxFilter {
                unread: true,
                ..none.clone()
            },
        ),
        ("unread=false&clear=0".to_owned(), none.clone()),
        (
            "since=1795369148".to_owned(),
            since(Since::Time(1_795_369_148_000)),
        ),
        ("since=1795369148.0079".to_owned(), since(Since::Time(NOW))),
        ("since=0".to_owned(), since(Since::Time(0))),
        (
            "since=99999999999999999999".to_owned(),
            since(Since::Time(u64::MAX)),
        ),
        (
            "since=2026-11-22T17:39:08.007Z".to_owned(),
            since(Since::Time(NOW)),
        ),
        (
            "since=2026-11-22T19:39:08.007%2B02:00".to_owned(),
            since(Since::Time(NOW)),
        ),
        (
            "since=2026-11-22T19:39:08.007+02:00".to_owned(),
            since(Since::Time(NOW)),
        ),
        (format!("since={delivery}"), since(Since::Delivery(delivery))),
    ] {
        let api = with_messages();
        assert_eq!(
            api.get(&format!("/v1/inbox?{query}")).await.status,
            200,
            "{query}"
        );
        assert_eq!(*api.backend.filters.lock().unwrap(), [filter], "{query}");
    }
}

#[tokio::test]
async fn inbox_refuses_wrong_queries() {
    let api = with_messages();
    for query in [
        "limit=0",
        "limit=x",
        "offset=-1",
        "from=",
        "from=no_body",
        "type=",
        "type=A",
        "type=a%20b",
        "unread=yes",
        "unread=",
        "clear=2",
        "since=",
        "since=-1",
        "since=yesterday",
        "since=1e9",
        "since=del_1",
        "since=1.2.3",
        "clear=true&clear=true",
    ] {
        let answer = api.get(&format!("/v1/inbox?{query}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{query}"
        );
    }
    assert!(api.backend.filters.lock().unwrap().is_empty());
}

/// Waits for the command that an answer leaves behind.
async fn settled(api: &Api) -> Vec<DeliveryId> {
    while api.backend.commands.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    match api.backend.command() {
        Command::Settle(deliveries) => deliveries,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn clear_settles_what_is_listed_and_only_that() {
    let api = with_messages();
    let body = api.get("/v1/inbox?clear=true&limit=2").await.json();
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(2));
    let listed: Vec<DeliveryId> = [3, 2].map(|number| message(number).delivery.unwrap()).to_vec();
    assert_eq!(settled(&api).await, listed);
}

#[tokio::test]
async fn clear_settles_nothing_before_the_body_was_taken() {
    let api = with_messages();
    let request = || {
        Api::request("GET", "/v1/inbox?clear=true")
            .body(Body::empty())
            .unwrap()
    };
    let response = api.raw(request()).await;
    drop(response);
    let head = Api::request("HEAD", "/v1/inbox?clear=true")
        .body(Body::empty())
        .unwrap();
    assert_eq!(api.raw(head).await.status(), 200);
    tokio::task::yield_now().await;
    assert!(api.backend.commands.lock().unwrap().is_empty());
    let empty = Api::new();
    let answer = empty.get("/v1/inbox?clear=true").await;
    assert_eq!(answer.json()["messages"], Value::Array(Vec::new()));
    assert!(empty.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unread_count_counts() {
    let api = with_messages();
    assert_eq!(
        api.get("/v1/inbox/unread-count").await.json(),
        json!({ "unread": 3 })
    );
    api.backend.breaks();
    assert_eq!(api.get("/v1/inbox/unread-count").await.status, 503);
}
