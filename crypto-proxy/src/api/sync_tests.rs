use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    api::testing::{Api, message},
    model::{Alert, Message, Severity},
};

fn del(position: u8) -> String {
    message(position).delivery.unwrap().to_string()
}

#[tokio::test]
async fn sync_lists_rows_with_their_delivery() {
    let api = Api::new();
    assert_eq!(api.get("/v1/messages/sync").await.text, "[]");
    api.backend.messages.lock().unwrap().extend((1..=3).map(message));
    let rows = api.get("/v1/messages/sync").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["delivery_id"], del(1));
    let rows = api
        .get(&format!("/v1/messages/sync?after={}&limit=1", del(1)))
        .await
        .json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["delivery_id"], del(2));
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn sync_refuses_wrong_queries() {
    let api = Api::new();
    for query in [
        "after=1",
        "after=",
        "after=msg_00",
        "limit=0",
        "limit=x",
        "wait=-1",
        "wait=soon",
        "wait=1&wait=2",
    ] {
        let answer = api.get(&format!("/v1/messages/sync?{query}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{query}"
        );
    }
}

/// Polls a request until it waits.
async fn waiting(api: &Arc<Api>, path: &'static str) -> tokio::task::JoinHandle<Vec<serde_json::Value>> {
    let receivers = api.backend.notices.receiver_count();
    let asking = Arc::clone(api);
    let task = tokio::spawn(async move { asking.get(path).await.json().as_array().unwrap().clone() });
    while api.backend.notices.receiver_count() == receivers {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_the_first_message() {
    let api = Arc::new(Api::new());
    let poll = waiting(&api, "/v1/messages/sync?wait=60").await;
    let own = Message {
        own: true,
        delivery: None,
        ..message(9)
    };
    api.backend.notices.send(Notice::Message(Box::new(own))).unwrap();
    let alert = Alert {
        id: 1,
        at: 0,
        kind: "gap".to_owned(),
        severity: Severity::Info,
        conversation: None,
        peer: None,
        reason: String::new(),
    };
    api.backend.notices.send(Notice::Alert(Box::new(alert))).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!poll.is_finished());
    api.backend.arrives(message(1));
    let rows = poll.await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["delivery_id"], del(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_that_lags_reads_again() {
    let api = Arc::new(Api::new());
    let poll = waiting(&api, "/v1/messages/sync?wait=60").await;
    api.backend.messages.lock().unwrap().push(message(1));
    for number in 1..=20 {
        let own = Message {
            own: true,
            ..message(number)
        };
        api.backend.notices.send(Notice::Message(Box::new(own))).unwrap();
    }
    assert_eq!(poll.await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_empty_in_time() {
    let api = Api::new();
    for (query, seconds) in [("wait=7", 7), ("wait=60", 60), ("wait=3600", 60), ("wait=0", 0)] {
        let begin = Instant::now();
        let answer = api.get(&format!("/v1/messages/sync?{query}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "[]"));
        assert_eq!(begin.elapsed().as_secs(), seconds, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_the_proxy_stops() {
    let api = Arc::new(Api::new());
    let poll = waiting(&api, "/v1/messages/sync?wait=60").await;
    api.stopping.cancel();
    let begin = Instant::now();
    assert!(poll.await.unwrap().is_empty());
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn ack_settles_up_to_a_delivery() {
    let api = Api::new();
    let body = format!(r#"{{"last_delivery_id":"{}"}}"#, del(3));
    let answer = api.post("/v1/messages/sync/ack", body).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"acked":1}"#));
    assert!(matches!(api.backend.command(), Command::Ack(last) if last.to_string() == del(3)));
}

#[tokio::test]
async fn ack_of_an_unknown_cursor_is_0() {
    let api = Api::new();
    for cursor in [
        "",
        "del_",
        "3",
        "msg_00112233445566778899aabbccddeeff",
        "\u{1f600}",
    ] {
        let body = serde_json::json!({ "last_delivery_id": cursor }).to_string();
        let answer = api.post("/v1/messages/sync/ack", body).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, r#"{"acked":0}"#),
            "{cursor}"
        );
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn ack_refuses_wrong_bodies() {
    let api = Api::new();
    for body in [
        "{}",
        r#"{"last_delivery_id":null}"#,
        r#"{"last_delivery_id":3}"#,
        r#"{"last_delivery_id":["a"]}"#,
    ] {
        api.post("/v1/messages/sync/ack", body)
            .await
            .assert_invalid(&["last_delivery_id"]);
    }
    for body in ["", "[]", "nonsense"] {
        api.post("/v1/messages/sync/ack", body).await.assert_invalid(&[]);
    }
}
