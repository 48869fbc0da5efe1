use serde_json::{Value, json};
use waxwire_shared::{fingerprint::Fingerprint, identity::IdentityKey};

use super::*;
use crate::{
    api::testing::{Api, peer},
    model::Refusal,
};

fn file(api: &Api) -> Value {
    json!({"waxwire_pins": 1, "relay": api.state.me().relay.to_string(), "pins": [
        {"handle": "bob", "fingerprint": peer().fingerprint.to_string(), "state": "verified"},
    ]})
}

#[tokio::test]
async fn export_begins_with_the_agent_itself() {
    let api = Api::new();
    let bob = PinEntry {
        handle: "bob".parse().unwrap(),
        fingerprint: peer().fingerprint,
        verified: true,
    };
    api.backend.pins.lock().unwrap().push(bob);
    for (query, handles) in [
        ("", &["alice", "bob"][..]),
        ("?include=own", &["alice"]),
        ("?include=pinned", &["alice", "bob"]),
    ] {
        let answer = api.get(&format!("/v1/pins{query}")).await.json();
        let pins = answer["pins"].as_array().unwrap();
        let found: Vec<&str> = pins.iter().map(|pin| pin["handle"].as_str().unwrap()).collect();
        assert_eq!(found, handles, "{query}");
        assert_eq!(answer["waxwire_pins"], 1);
    }
    assert_eq!(api.get("/v1/pins?include=all").await.status, 400);
}

#[tokio::test]
async fn import_takes_all_as_the_operator_says() {
    for (query, verified) in [("", false), ("?verified=true", true)] {
        let api = Api::new();
        let answer = api
            .post(&format!("/v1/pins{query}"), file(&api).to_string())
            .await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({ "known": 0, "expected": 1 }))
        );
        match api.backend.command() {
            Command::ImportPins(pins) => assert!(pins.len() == 1 && pins[0].verified == verified),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn import_is_strict_and_reaches_nothing_otherwise() {
    let api = Api::new();
    let mut elsewhere = file(&api);
    elsewhere["relay"] = json!("0".repeat(64));
    let mut unknown = file(&api);
    unknown["pins"][0]["note"] = json!("friend");
    for body in [elsewhere, unknown, json!({}), json!({ "pins": [] })] {
        let answer = api.post("/v1/pins", body.to_string()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{body}"
        );
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn contradiction_is_told() {
    let api = Api::new();
    let actual = Fingerprint::of(&IdentityKey::ed25519([7; 32]));
    api.backend.refuses(Refusal::FingerprintMismatch {
        handle: "bob".parse().unwrap(),
        actual,
    });
    let answer = api.post("/v1/pins", file(&api).to_string()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "FINGERPRINT_MISMATCH")
    );
    assert_eq!(answer.json()["details"]["actual"], actual.to_string());
}
