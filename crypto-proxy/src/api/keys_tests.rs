use serde_json::json;

use super::*;
use crate::api::testing::{Api, group, group_id};

fn with_groups(count: u8) -> Api {
    let api = Api::new();
    let mut groups = api.backend.groups.lock().unwrap();
    groups.extend((1..=count).map(|n| crate::model::GroupLookup::Member(Box::new(group(n)))));
    drop(groups);
    api
}

#[tokio::test]
async fn rotation_tells_key_and_epochs() {
    let api = with_groups(2);
    let answer = api.bare("POST", "/v1/keys/rotate").await;
    let rekeyed = |n| json!({ "group_id": group_id(n).to_string(), "epoch": 8, "code": null });
    let expected = json!({ "key_number": 9, "groups": [rekeyed(1), rekeyed(2)] });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let commands = api.backend.commands.lock().unwrap();
    assert!(
        matches!(commands[0], Command::RotateKey),
        "the key comes first: {commands:?}"
    );
    assert_eq!(commands.len(), 3);
}

#[tokio::test]
async fn group_that_is_not_rekeyed_has_its_code() {
    let api = with_groups(1);
    api.backend.answers(|command| match command {
        Command::RotateKey => Ok(Reply::Rotated(9)),
        _ => Err(Refusal::RateLimited { retry_after: 5 }),
    });
    let answer = api.bare("POST", "/v1/keys/rotate").await;
    let group = json!({ "group_id": group_id(1).to_string(), "epoch": null, "code": "RATE_LIMITED" });
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "key_number": 9, "groups": [group] }))
    );
}

#[tokio::test]
async fn key_that_is_not_published_is_a_refusal() {
    let api = with_groups(1);
    api.backend.refuses(Refusal::RateLimited { retry_after: 600 });
    let answer = api.bare("POST", "/v1/keys/rotate").await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(
        api.backend.commands.lock().unwrap().len(),
        1,
        "no group was touched"
    );
}

#[tokio::test(start_paused = true)]
async fn groups_that_take_too_long_are_pending() {
    let api = with_groups(1);
    let body = rekey(api.state.clone(), group_id(1), Instant::now()).await;
    // An answer that is there at once is taken, however late it is.
    assert_eq!((body.epoch, body.code), (Some(8), None));
    api.backend.hangs();
    let body = rekey(api.state.clone(), group_id(1), Instant::now() + GROUPS).await;
    assert_eq!((body.epoch, body.code), (None, Some("EPOCH_PENDING")));
}
