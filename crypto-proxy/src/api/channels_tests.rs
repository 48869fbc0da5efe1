use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Answer, Api, channel, group_id, listed_channel},
    engine::Command,
};

fn with_channels(channels: Vec<Channel>) -> Api {
    let api = Api::new();
    *api.backend.channels.lock().unwrap() = channels;
    api
}

fn body(number: u8, slug: &str, joined: bool) -> Value {
    json!({
        "id": group_id(number).to_string(),
        "slug": slug,
        "name": joined.then_some("Freight"),
        "join": "open",
        "joined": joined,
        "member_count": if joined { 2 } else { 7 },
        "source": if joined { "log" } else { "relay" },
    })
}

fn slugs(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let rows = page["channels"].as_array().unwrap();
    rows.iter()
        .map(|row| row["slug"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn create_founds_a_group_with_slug_and_join_policy() {
    for (asked, name, open) in [
        (
            json!({ "slug": "freight", "name": "Freight", "join": "open" }),
            "Freight",
            true,
        ),
        (json!({ "slug": "freight", "join": "invite" }), "freight", false),
        (
            json!({ "slug": "freight", "name": null, "join": null }),
            "freight",
            false,
        ),
    ] {
        let api = with_channels(vec![channel(1, "freight")]);
        let answer = api.post("/v1/channels", asked.to_string()).await;
        assert_eq!((answer.status, answer.json()), (201, body(1, "freight", true)));
        let GroupCommand::Create(new) = api.backend.group_command() else {
            panic!("another command")
        };
        let slug = "freight".parse().unwrap();
        assert_eq!(new.channel, Some(NewChannel { slug, open }));
        assert_eq!((new.profile.name.as_str(), new.members.len()), (name, 0));
    }
}

#[tokio::test]
async fn create_refuses_what_is_no_channel() {
    for (asked, field) in [
        (json!({}), "slug"),
        (json!({ "slug": "" }), "slug"),
        (json!({ "slug": "ab" }), "slug"),
        (json!({ "slug": "Freight" }), "slug"),
        (json!({ "slug": "-freight" }), "slug"),
        (json!({ "slug": "freight--1" }), "slug"),
        (json!({ "slug": "freight/1" }), "slug"),
        (json!({ "slug": "1freight" }), "slug"),
        (json!({ "slug": "fr\u{e9}ight" }), "slug"),
        (json!({ "slug": "a".repeat(31) }), "slug"),
        (json!({ "slug": 7 }), "slug"),
        (json!({ "slug": "freight", "join": "closed" }), "join"),
        (json!({ "slug": "freight", "join": true }), "join"),
        (json!({ "slug": "freight", "name": " " }), "name"),
        (json!({ "slug": "freight", "name": "n".repeat(257) }), "name"),
    ] {
        let api = Api::new();
        let answer = api.post("/v1/channels", asked.to_string()).await;
        assert_eq!(answer.status, 400, "{asked}");
        assert_eq!(
            answer.json()["details"]["issues"][0]["path"],
            json!([field]),
            "{asked}"
        );
        assert!(api.backend.commands.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn join_tells_the_engine_and_shows_the_channel() {
    for (sent, expected) in [
        (None, None),
        (Some(json!({})), None),
        (Some(json!({ "id": null })), None),
        (Some(json!({ "id": group_id(1).to_string() })), Some(group_id(1))),
    ] {
        let api = with_channels(vec![channel(1, "freight")]);
        let path = "/v1/channels/freight/join";
        let answer = match &sent {
            Some(sent) => api.post(path, sent.to_string()).await,
            None => api.bare("POST", path).await,
        };
        assert_eq!((answer.status, answer.json()), (200, body(1, "freight", true)));
        let GroupCommand::Join(joining) = api.backend.group_command() else {
            panic!("another command")
        };
        let slug = "freight".parse().unwrap();
        assert_eq!(joining, Joining { slug, expected });
    }
}

#[tokio::test]
async fn join_refuses_what_names_nothing() {
    let api = Api::new();
    for slug in ["Freight", "x", "a--b", "%00"] {
        let answer = api.bare("POST", &format!("/v1/channels/{slug}/join")).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (404, json!("CHANNEL_NOT_FOUND"))
        );
    }
    for id in [json!("grp_x"), json!("freight"), json!(7)] {
        let sent = json!({ "id": id }).to_string();
        let answer = api.post("/v1/channels/freight/join", sent).await;
        assert_eq!(answer.status, 400, "{id}");
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
    api.backend.refuses(Refusal::InviteRequired);
    let answer = api.bare("POST", "/v1/channels/freight/join").await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (403, json!("INVITE_REQUIRED"))
    );
}

#[tokio::test]
async fn list_has_what_is_known_before_what_the_relay_says() {
    let left = Channel {
        joined: false,
        ..channel(4, "left")
    };
    let api = with_channels(vec![channel(1, "anchor"), channel(2, "freight"), left]);
    let answer = api.get("/v1/channels").await;
    let expected = json!({
        "channels": [body(1, "anchor", true), body(2, "freight", true)],
        "next": null,
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let api = with_channels(vec![channel(1, "anchor")]);
    let answer = api.get("/v1/channels").await;
    assert_eq!(
        answer.json()["channels"],
        json!([body(1, "anchor", true), body(9, "freight", false)])
    );
    let GroupCommand::Channels {
        after: None,
        limit: 50,
    } = api.backend.group_command()
    else {
        panic!("another command")
    };
}

#[tokio::test]
async fn list_has_pages_that_miss_nothing() {
    let api = with_channels(vec![channel(1, "boat"), channel(2, "dock"), channel(3, "fish")]);
    let all = ["anchor", "cargo", "dock", "eel", "gull"];
    api.backend.answers(move |command| match command {
        Command::Group(GroupCommand::Channels { after, limit }) => {
            let after = after.as_ref().map_or("", Handle::as_str);
            let page = all.into_iter().filter(|slug| *slug > after);
            let page = page.take(usize::try_from(*limit).unwrap());
            Ok(Reply::Channels(
                page.map(|slug| listed_channel(9, slug)).collect(),
            ))
        }
        other => panic!("{other:?}"),
    });
    for limit in 1..=9 {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let answer = api.get(&format!("/v1/channels?limit={limit}{after}")).await;
            let page = slugs(&answer);
            assert!(page.len() <= limit);
            found.extend(page);
            match answer.json()["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(
            found,
            ["anchor", "boat", "cargo", "dock", "eel", "fish", "gull"],
            "{limit}"
        );
    }
}

/// A relay that repeats itself, or lists out of order, makes nobody turn the same page for ever.
#[tokio::test]
async fn list_believes_no_order_of_the_relay() {
    let api = Api::new();
    api.backend.answers(|_| {
        let slugs = ["zebra", "anchor", "anchor", "mole", "cargo"];
        Ok(Reply::Channels(slugs.map(|slug| listed_channel(9, slug)).into()))
    });
    let answer = api.get("/v1/channels?after=cargo&limit=3").await;
    assert_eq!(
        (slugs(&answer), answer.json()["next"].clone()),
        (vec!["mole".into(), "zebra".into()], Value::Null)
    );
}

#[tokio::test]
async fn list_of_what_was_joined_asks_no_relay() {
    let api = with_channels(vec![channel(1, "anchor"), channel(2, "freight")]);
    api.backend.refuses(Refusal::RelayUnreachable { queued: false });
    assert_eq!(api.get("/v1/channels").await.status, 503);
    let answer = api.get("/v1/channels?joined=true&after=anchor").await;
    assert_eq!(slugs(&answer), ["freight"]);
    for query in ["after=A", "limit=0", "joined=x"] {
        assert_eq!(
            api.get(&format!("/v1/channels?{query}")).await.status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn message_goes_to_the_group_that_the_slug_names() {
    let sent = json!({ "client_msg_id": "m1", "content": { "text": "x" } });
    let api = with_channels(vec![channel(1, "freight")]);
    let answer = api.post("/v1/channels/freight/messages", sent.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(api.backend.sent().to, Destination::Conversation(group_id(1)));
    let api = with_channels(vec![channel(1, "freight")]);
    let answer = api.post("/v1/channels/other/messages", sent.to_string()).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (404, json!("CHANNEL_NOT_FOUND"))
    );
    for field in ["to", "conversation_id"] {
        let mut sent = sent.clone();
        sent[field] = json!("bob");
        let answer = api.post("/v1/channels/freight/messages", sent.to_string()).await;
        assert_eq!(answer.json()["details"]["issues"][0]["path"], json!([field]));
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
