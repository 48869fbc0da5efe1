use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, NOW},
    model::MessageId,
};

fn id(number: u8) -> WebhookId {
    WebhookId([number; 16])
}

fn registered(api: &Api) {
    api.backend.webhooks.lock().unwrap().push(Webhook {
        id: id(1),
        url: "http://127.0.0.1:9/hook".to_owned(),
        events: vec![HookEvent::MessageNew],
        secret: HookSecret::new("secret-of-a-webhook".to_owned()),
        created_at: NOW,
    });
}

#[tokio::test]
async fn registration_shows_the_secret_once() {
    let api = Api::new();
    let events = r#"["presence.update","message.new","message.new"]"#;
    let body = format!(r#"{{"url":"http://localhost:9/hook","events":{events}}}"#);
    let answer = api.post("/v1/webhooks", body).await;
    let expected = json!({
        "id": format!("whk_{}", "06".repeat(16)), "url": "http://localhost:9/hook",
        "events": ["message.new", "presence.update"], "active": true,
        "created_at": "2026-11-22T17:39:08.007Z", "secret": "whsec_made",
    });
    assert_eq!((answer.status, answer.json()), (201, expected));

    let api = Api::new();
    let body = r#"{"url":"http://[::1]/","events":["message.read"],"secret":"0123456789abcdef"}"#;
    let answer = api.post("/v1/webhooks", body).await;
    assert_eq!(answer.json()["secret"], "0123456789abcdef");

    let api = Api::new();
    registered(&api);
    for path in ["/v1/webhooks".to_owned(), format!("/v1/webhooks/{}", id(1))] {
        let answer = api.get(&path).await;
        assert!(answer.status == 200 && answer.text.contains("127.0.0.1:9/hook"));
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_refused() {
    let api = Api::new();
    for url in [
        "http://example.com/hook",
        "http://hooks.example/hook",
        "https://hooks.example:8444/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://localhost./",
        "http://localhost.example/",
        "http://user@127.0.0.1/",
        "http://user:word@localhost/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "unix:/run/hook",
        "127.0.0.1:80",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/#part",
        "",
    ] {
        let body = json!({ "url": url, "events": ["message.new"] });
        let answer = api.post("/v1/webhooks", body.to_string()).await;
        assert_eq!(answer.status, 400, "{url}");
        answer.assert_invalid(&["url"]);
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
    for url in [
        "http://127.9.9.9:80/a?b=c",
        "https://hooks.example:8443/",
        "https://LOCALHOST/",
    ] {
        let body = json!({ "url": url, "events": ["message.new"] });
        assert_eq!(
            api.post("/v1/webhooks", body.to_string()).await.status,
            201,
            "{url}"
        );
    }
}

#[tokio::test]
async fn events_and_secrets_that_make_no_sense_are_refused() {
    let api = Api::new();
    let url = "http://127.0.0.1/";
    for (body, path) in [
        (json!({ "events": ["message.new"] }), "url"),
        (json!({ "url": url }), "events"),
        (json!({ "url": url, "events": [] }), "events"),
        (json!({ "url": url, "events": "message.new" }), "events"),
        (json!({ "url": url, "events": ["message.deleted"] }), "events"),
        (
            json!({ "url": url, "events": ["message.new"], "secret": "short" }),
            "secret",
        ),
        (
            json!({ "url": url, "events": ["message.new"], "secret": "x".repeat(257) }),
            "secret",
        ),
        (
            json!({ "url": url, "events": ["message.new"], "secret": "0123456789abcdef\n" }),
            "secret",
        ),
    ] {
        api.post("/v1/webhooks", body.to_string())
            .await
            .assert_invalid(&[path]);
    }
    api.backend.refuses(Refusal::TooManyWebhooks(5));
    let body = json!({ "url": url, "events": ["message.new"] });
    let answer = api.post("/v1/webhooks", body.to_string()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "TOO_MANY_WEBHOOKS")
    );
}

#[tokio::test]
async fn webhook_that_is_not_there_is_404() {
    let api = Api::new();
    for name in [id(1).to_string(), "whk_0".to_owned()] {
        let path = format!("/v1/webhooks/{name}");
        assert_eq!(api.get(&path).await.code(), "WEBHOOK_NOT_FOUND");
        let answer = api.get(&format!("{path}/dead-letters")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "WEBHOOK_NOT_FOUND")
        );
    }
    registered(&api);
    assert_eq!(
        api.bare("DELETE", &format!("/v1/webhooks/{}", id(1)))
            .await
            .status,
        200
    );
    let path = format!("/v1/webhooks/{}/dead-letters/x/redeliver", id(1));
    assert_eq!(api.bare("POST", &path).await.code(), "DEAD_LETTER_NOT_FOUND");
}

#[tokio::test]
async fn dead_letters_are_listed_and_tried_again() {
    let api = Api::new();
    registered(&api);
    let delivery = HookDeliveryId([2; 16]);
    api.backend.dead.lock().unwrap().push(DeadLetter {
        delivery,
        event: HookEvent::MessageNew,
        message: Some(MessageId([3; 16])),
        attempts: 6,
        reason: "status 500".to_owned(),
        created_at: NOW,
        dead_at: NOW,
    });
    let path = format!("/v1/webhooks/{}/dead-letters", id(1));
    let at = "2026-11-22T17:39:08.007Z";
    let letter = json!({
        "delivery_id": delivery.to_string(), "event": "message.new", "message_id": MessageId([3; 16]).to_string(),
        "attempts": 6, "reason": "status 500", "created_at": at, "dead_at": at,
    });
    let page = |letters: &[serde_json::Value], limit: u64, offset: u64| json!({ "dead_letters": letters, "total": 1, "limit": limit, "offset": offset });
    assert_eq!(api.get(&path).await.json(), page(&[letter], 50, 0));
    let rest = api.get(&format!("{path}?limit=7&offset=1")).await;
    assert_eq!(rest.json(), page(&[], 7, 1));
    let answer = api.bare("POST", &format!("{path}/{delivery}/redeliver")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    assert!(matches!(
        api.backend.command(),
        Command::Webhook(WebhookCommand::Redeliver(webhook, found)) if webhook == id(1) && found == delivery
    ));
}
