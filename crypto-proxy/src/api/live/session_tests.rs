use std::sync::Arc;

use axum::body::Body;
use futures_util::StreamExt as _;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, ClientRequestBuilder,
        protocol::{CloseFrame as Close, Message as Frame},
    },
};

use super::*;
use crate::{
    api::testing::{Api, HOST, TOKEN, message},
    engine::Command,
    model::{ConversationKind, LocalConversation},
};

type Client = WebSocketStream<DuplexStream>;

/// Opens a socket over a pipe that holds `buffer` bytes; the status if it is refused.
async fn open_over(api: &Api, path: &str, headers: &[(&str, &str)], buffer: usize) -> Result<Client, u16> {
    let (near, far) = tokio::io::duplex(buffer);
    let router = api.router();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let service = TowerToHyperService::new(router.clone());
        async move { hyper::service::Service::call(&service, request.map(Body::new)).await }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(far), service)
        .with_upgrades();
    tokio::spawn(serving);
    let address = format!("ws://{HOST}{path}").parse().unwrap();
    let mut request = ClientRequestBuilder::new(address);
    for (name, value) in headers {
        request = request.with_header(*name, *value);
    }
    match client_async(request, near).await {
        Ok((client, _)) => Ok(client),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn open(api: &Api, path: &str, headers: &[(&str, &str)]) -> Result<Client, u16> {
    open_over(api, path, headers, 64 * 1024).await
}

/// A socket of who has shown the token.
async fn known(api: &Api, capabilities: &str) -> Client {
    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", token.as_str()),
        ("x-agentchat-capabilities", capabilities),
    ];
    let mut client = open(api, "/v1/ws", &headers).await.unwrap();
    let hello = next(&mut client).await;
    let expected: &[&str] = if capabilities == "ack" { &["ack"] } else { &[] };
    assert_eq!(hello, json!({"type": "hello.ok", "capabilities": expected}));
    client
}

async fn say(client: &mut Client, frame: &Value) {
    client.send(Frame::text(frame.to_string())).await.unwrap();
}

/// The next frame.
async fn next(client: &mut Client) -> Value {
    loop {
        match client.next().await.unwrap().unwrap() {
            Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
            Frame::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Types of the frames until the socket is closed, and the close code.
async fn closed(client: &mut Client) -> (Vec<String>, u16) {
    let mut types = Vec::new();
    while let Some(message) = client.next().await {
        match message.unwrap() {
            Frame::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                types.push(frame["type"].as_str().unwrap().to_owned());
            }
            Frame::Close(Some(Close { code, .. })) => return (types, code.into()),
            _ => {}
        }
    }
    panic!("no close frame after {types:?}");
}

/// Waits until commands were given, and takes them.
async fn commands(api: &Api, count: usize) -> Vec<Command> {
    loop {
        {
            let mut given = api.backend.commands.lock().unwrap();
            if given.len() >= count {
                return std::mem::take(&mut *given);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn until_in_sync(api: &Api, count: usize) {
    while api
        .get("/v1/messages/sync?limit=500")
        .await
        .json()
        .as_array()
        .unwrap()
        .len()
        != count
    {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hello_lets_in_with_either_name_of_the_token() {
    for path in ["/v1/ws", "//v1/ws"] {
        for (name, capabilities) in [("api_key", json!(["ack"])), ("token", json!([]))] {
            let api = Api::new();
            let mut client = open(&api, path, &[]).await.unwrap();
            // What is not understood is passed over.
            say(&mut client, &json!({"type": "ack", "message_id": "x"})).await;
            client.send(Frame::text("{")).await.unwrap();
            client.send(Frame::binary(vec![0; 9])).await.unwrap();
            say(
                &mut client,
                &json!({"type": "hello", name: TOKEN, "capabilities": capabilities, "client": "python_sdk"}),
            )
            .await;
            assert_eq!(
                next(&mut client).await,
                json!({"type": "hello.ok", "capabilities": capabilities})
            );
            say(&mut client, &json!({"type": "hello", name: "wrong"})).await;
            api.backend.arrives(message(1));
            assert_eq!(next(&mut client).await["type"], "message.new");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_or_late_hello_ends_the_socket() {
    let api = Api::new();
    let mut client = open(&api, "/v1/ws", &[]).await.unwrap();
    say(&mut client, &json!({"type": "hello", "api_key": "wx_wrong"})).await;
    assert_eq!(
        closed(&mut client).await,
        (vec!["session.expired".to_owned()], 1008)
    );

    let begin = Instant::now();
    let mut client = open(&api, "/v1/ws", &[]).await.unwrap();
    assert_eq!(
        closed(&mut client).await,
        (vec!["session.expired".to_owned()], 1008)
    );
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_header_or_ticket_is_refused_before_the_upgrade() {
    let api = Api::new();
    assert_eq!(
        open(&api, "/v1/ws", &[("authorization", "Bearer wx_wrong")])
            .await
            .err(),
        Some(401)
    );
    assert_eq!(
        open(&api, "/v1/ws", &[("origin", "http://evil.example")])
            .await
            .err(),
        Some(403)
    );
    assert_eq!(open(&api, "/v1/ws?ticket=wst_1", &[]).await.err(), Some(401));
    let ticket = api.bare("POST", "/v1/ws/ticket").await.json();
    assert_eq!(ticket["expires_in"], 300);
    let path = format!(
        "/v1/ws?ticket={}&capabilities=ack",
        ticket["ticket"].as_str().unwrap()
    );
    let mut client = open(&api, &path, &[]).await.unwrap();
    assert_eq!(
        next(&mut client).await,
        json!({"type": "hello.ok", "capabilities": ["ack"]})
    );
    assert_eq!(open(&api, &path, &[]).await.err(), Some(401));
    let answer = api.get("/v1/ws").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "VALIDATION_ERROR"));
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_message_is_leased_and_then_settled() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().push(message(1));
    let mut client = known(&api, "ack").await;
    let frame = next(&mut client).await;
    assert_eq!(frame["payload"]["id"], frame["message"]["id"]);
    assert_eq!(frame["payload"]["sender"], "bob");
    assert_eq!(
        (&frame["message"]["from"], &frame["message"]["to"]),
        (&json!("bob"), &json!("alice"))
    );
    assert_eq!(
        frame["payload"]["delivery_id"],
        message(1).delivery.unwrap().to_string()
    );
    assert_eq!(api.get("/v1/messages/sync").await.text, "[]");
    assert!(api.backend.commands.lock().unwrap().is_empty());
    say(
        &mut client,
        &json!({"type": "ack", "message_id": frame["payload"]["id"]}),
    )
    .await;
    let asked = commands(&api, 1).await;
    assert!(
        matches!(&asked[..], [Command::SettleMessages(ids)] if *ids == [message(1).id]),
        "{asked:?}"
    );
    client.close(None).await.unwrap();
    until_in_sync(&api, 1).await;
}

#[tokio::test(start_paused = true)]
async fn without_acknowledging_what_was_written_is_settled() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().extend((1..=2).map(message));
    let mut client = known(&api, "").await;
    next(&mut client).await;
    let mut settled = Vec::new();
    while settled.len() < 2 {
        for command in commands(&api, 1).await {
            let Command::Settle(deliveries) = command else {
                panic!("{command:?}")
            };
            settled.extend(deliveries);
        }
    }
    assert_eq!(
        settled,
        [message(1).delivery.unwrap(), message(2).delivery.unwrap()]
    );
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_marked_read() {
    let api = Api::new();
    let mut client = known(&api, "ack").await;
    let conversation = LocalConversation {
        kind: ConversationKind::Direct,
        id: [1; 16],
    };
    let facts = json!({"conversation_id": conversation.to_string(), "through_seq": 3});
    say(
        &mut client,
        &json!({"type": "message.read_ack", "payload": facts}),
    )
    .await;
    let asked = commands(&api, 1).await;
    assert!(
        matches!(&asked[..], [Command::MarkReadUpTo(of, 3)] if *of == conversation),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_hears_that_a_socket_is_gone() {
    let api = Arc::new(Api::new());
    api.backend.messages.lock().unwrap().push(message(1));
    let mut client = known(&api, "ack").await;
    next(&mut client).await;
    let asking = Arc::clone(&api);
    let poll = tokio::spawn(async move { asking.get("/v1/messages/sync?wait=60").await.json() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!poll.is_finished());
    drop(client);
    assert_eq!(poll.await.unwrap().as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_closed_and_its_lease_ends() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().push(message(1));
    // It is not read: nobody answers pings.
    let mut client = known(&api, "ack").await;
    tokio::time::sleep(Duration::from_secs(39)).await;
    assert_eq!(api.get("/v1/messages/sync").await.text, "[]");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(closed(&mut client).await, (vec!["message.new".to_owned()], 1001));
    until_in_sync(&api, 1).await;
}

#[tokio::test(start_paused = true)]
async fn who_answers_pings_stays() {
    let api = Api::new();
    let mut client = known(&api, "ack").await;
    let listening = timeout(Duration::from_secs(300), next(&mut client));
    assert!(listening.await.is_err(), "nothing was told");
    api.backend.arrives(message(1));
    assert_eq!(next(&mut client).await["type"], "message.new");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_closed_and_nothing_is_kept_for_it() {
    let api = Api::new();
    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", token.as_str()),
        ("x-agentchat-capabilities", "ack"),
    ];
    let mut client = open_over(&api, "/v1/ws", &headers, 4_096).await.unwrap();
    api.backend
        .messages
        .lock()
        .unwrap()
        .extend((1..=200).map(message));
    api.backend.arrives(message(201));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(api.backend.notices.receiver_count(), 0, "it keeps no notices");
    assert_eq!(api.get("/v1/messages/sync").await.text, "[]", "its lease holds");
    until_in_sync(&api, 201).await;
    let (types, code) = closed(&mut client).await;
    assert_eq!(code, 1013);
    assert!(types.len() < 100, "{} frames were kept", types.len());
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_sockets_and_no_more() {
    let api = Api::new();
    let (mut first, _second) = (known(&api, "").await, known(&api, "").await);
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str())];
    assert_eq!(open(&api, "/v1/ws", &headers).await.err(), Some(429));
    let mut client = open(&api, "/v1/ws", &[]).await.unwrap();
    say(&mut client, &json!({"type": "hello", "token": TOKEN})).await;
    assert_eq!(closed(&mut client).await, (vec![], 1013));
    first.close(None).await.unwrap();
    while let Some(message) = first.next().await {
        message.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    known(&api, "").await;
}

#[tokio::test(start_paused = true)]
async fn strangers_have_few_places() {
    let api = Api::new();
    let mut strangers = Vec::new();
    for _ in 0..16 {
        strangers.push(open(&api, "/v1/ws", &[]).await.unwrap());
    }
    assert_eq!(open(&api, "/v1/ws", &[]).await.err(), Some(429));
    known(&api, "").await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(open(&api, "/v1/ws", &[]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn floods_and_oddities_do_not_disturb() {
    let api = Api::new();
    let mut client = known(&api, "ack").await;
    for number in 0..2_000 {
        let frame = match number % 4 {
            0 => Frame::text("{\"type\":\"ack\""),
            1 => Frame::binary(vec![0xff; 100]),
            2 => Frame::text(json!({"type": "message.send", "payload": number}).to_string()),
            _ => Frame::text(format!("\"{}\"", "a".repeat(20_000))),
        };
        client.send(frame).await.unwrap();
    }
    api.backend.arrives(message(1));
    assert_eq!(next(&mut client).await["payload"]["seq"], 1);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_acks_waits_for_the_engine() {
    let api = Api::new();
    let mut client = known(&api, "ack").await;
    api.backend.hangs();
    let ack = json!({"type": "ack", "message_id": message(1).id.to_string()});
    let flood = async {
        for _ in 0..5_000 {
            say(&mut client, &ack).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), flood).await.is_err(),
        "it is held up"
    );
    assert_eq!(api.backend.commands.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_large_ends_the_socket() {
    let api = Api::new();
    let client = known(&api, "ack").await;
    let huge = Frame::text("a".repeat(1024 * 1024 + 1));
    // The other end may be gone before all of it is written.
    let (mut write, mut read) = client.split();
    let writing = tokio::spawn(async move { drop(write.send(huge).await) });
    let mut code = None;
    while let Some(Ok(message)) = read.next().await {
        if let Frame::Close(Some(Close { code: told, .. })) = message {
            code = Some(u16::from(told));
        }
    }
    assert_eq!(code, Some(1008));
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_says_goodbye_and_still_takes_acks() {
    let api = Api::new();
    api.backend.messages.lock().unwrap().push(message(1));
    let mut client = known(&api, "ack").await;
    let mut stranger = open(&api, "/v1/ws", &[]).await.unwrap();
    next(&mut client).await;
    api.stopping.cancel();
    tokio::task::yield_now().await;
    say(
        &mut client,
        &json!({"type": "ack", "message_id": message(1).id.to_string()}),
    )
    .await;
    assert_eq!(closed(&mut client).await, (vec![], 1001));
    assert_eq!(closed(&mut stranger).await, (vec![], 1001));
    assert_eq!(commands(&api, 1).await.len(), 1);
    api.state.sockets_closed().await;
    let token = format!("Bearer {TOKEN}");
    assert_eq!(
        open(&api, "/v1/ws", &[("authorization", &token)]).await.err(),
        Some(503)
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_told() {
    let api = Api::new();
    let mut client = known(&api, "ack").await;
    api.backend.breaks();
    api.backend.arrives(message(2));
    assert_eq!(closed(&mut client).await, (vec![], 1011));
}
