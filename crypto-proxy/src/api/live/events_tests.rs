use http_body_util::BodyExt as _;

use super::*;
use crate::{
    api::testing::{Api, message},
    model::Message,
};

/// Reads events until nothing comes: their ids, and the types of their frames.
async fn read(body: &mut Body) -> Vec<(String, String)> {
    let mut text = String::new();
    while let Ok(frame) = timeout(Duration::from_secs(1), body.frame()).await {
        let Some(frame) = frame else { break };
        text += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
    }
    let events = text
        .split("\n\n")
        .filter(|event| !event.is_empty() && *event != ":");
    let event = |event: &str| {
        let id = event.lines().find_map(|line| line.strip_prefix("id: "));
        let data = event
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let frame: serde_json::Value = serde_json::from_str(data).unwrap();
        (
            id.unwrap_or_default().to_owned(),
            frame["type"].as_str().unwrap().to_owned(),
        )
    };
    events.map(event).collect()
}

async fn open(api: &Api, last: Option<&str>) -> Response {
    let mut request = Api::request("GET", "/v1/events");
    if let Some(last) = last {
        request = request.header(LAST_EVENT_ID, last);
    }
    api.raw(request.body(Body::empty()).unwrap()).await
}

fn id(place: u8) -> String {
    message(place).delivery.unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn events_are_the_frames_and_settle_nothing() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().extend((1..=2).map(message));
    let response = open(&api, None).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    let new = |place| (id(place), "message.new".to_owned());
    let hello = (String::new(), "hello.ok".to_owned());
    assert_eq!(read(&mut body).await, [hello, new(1), new(2)]);
    api.backend.arrives(Message {
        own: true,
        delivery: None,
        ..message(3)
    });
    assert_eq!(read(&mut body).await, [new(3)]);
    assert!(api.backend.commands.lock().unwrap().is_empty());
    assert_eq!(
        api.get("/v1/messages/sync")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn events_go_on_after_the_last_that_was_seen() {
    let api = Api::new();
    let settled = Message {
        delivered_at: Some(1),
        ..message(2)
    };
    api.backend
        .messages
        .lock()
        .unwrap()
        .extend([message(1), settled, message(3)]);
    let mut body = open(&api, Some(&id(1))).await.into_body();
    let told: Vec<String> = read(&mut body).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, [String::new(), id(2), id(3)]);
    // An id of another store, of the future, or none at all says nothing.
    for last in ["del_00000000000000000000000000000002", &id(9), "7"] {
        let mut body = open(&api, Some(last)).await.into_body();
        let told: Vec<String> = read(&mut body).await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(told, [String::new(), id(1), id(3)], "{last}");
        drop(body);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_end_with_the_proxy_and_when_nobody_reads() {
    let api = Api::new();
    let mut stopped = open(&api, None).await.into_body();
    let unread = open(&api, None).await.into_body();
    assert_eq!(open(&api, None).await.status().as_u16(), 429);
    api.backend
        .messages
        .lock()
        .unwrap()
        .extend((1..=100).map(message));
    api.backend.arrives(message(101));
    assert_eq!(read(&mut stopped).await.len(), 102);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(
        open(&api, None).await.status().is_success(),
        "whoever did not read has lost its place"
    );
    api.stopping.cancel();
    let ended = timeout(Duration::from_secs(1), stopped.frame()).await;
    assert!(ended.unwrap().is_none());
    drop(unread);
}
