use serde_json::json;
use waxwire_shared::{fingerprint::Fingerprint, identity::IdentityKey};

use crate::{
    api::testing::{Answer, Api, peer},
    engine::Command,
    model::TrustDecision,
};

async fn verify(api: &Api, code: &str) -> Answer {
    api.post(
        "/v1/agents/bob/identity/verify",
        json!({ "code": code }).to_string(),
    )
    .await
}

fn decided(api: &Api) -> bool {
    let commands = api.backend.commands.lock().unwrap();
    commands.iter().any(|command| match command {
        Command::SetTrust(handle, decision, fingerprint, resend) => {
            assert_eq!((handle.as_str(), *decision), ("bob", TrustDecision::Verified));
            *fingerprint == peer().fingerprint && !resend
        }
        _ => false,
    })
}

#[tokio::test]
async fn code_of_the_peer_verifies_it_in_either_case() {
    let api = Api::new();
    let identity = api.get("/v1/agents/bob/identity").await.json();
    let code = identity["code"].as_str().unwrap();
    let form = format!("waxwire:v1:{}:bob:{}", api.state.me().relay, peer().fingerprint);
    assert_eq!(code, form);
    for code in [code.to_owned(), format!(" {} ", code.to_uppercase())] {
        let api = Api::new();
        assert_eq!(verify(&api, &code).await.status, 200);
        assert!(decided(&api));
    }
}

#[tokio::test]
async fn safety_number_verifies_if_it_is_the_one_that_is_seen_here() {
    let api = Api::new();
    assert_eq!(verify(&api, &peer().safety_number).await.status, 200);
    assert!(decided(&api));
    let api = Api::new();
    let other = peer().safety_number.replace(|c: char| c.is_ascii_digit(), "7");
    let answer = verify(&api, &other).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "FINGERPRINT_MISMATCH")
    );
    assert!(!decided(&api));
}

#[tokio::test]
async fn code_of_somebody_else_or_none_decides_nothing() {
    let api = Api::new();
    let (relay, fingerprint) = (api.state.me().relay, peer().fingerprint);
    let other = Fingerprint::of(&IdentityKey::ed25519([9; 32]));
    for code in [
        format!("waxwire:v1:{relay}:carol:{fingerprint}"),
        format!("waxwire:v1:{other}:bob:{fingerprint}"),
        format!("waxwire:v1:{relay}:bob"),
        "12345".to_owned(),
        "x".repeat(600),
    ] {
        let answer = verify(&api, &code).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{code}"
        );
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
