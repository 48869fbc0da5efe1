//! Accounts at a relay: what an agent does once before it can send (docs/relay-api.md).

use anyhow::{Context as _, ensure};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Serialize, de::DeserializeOwned};
use waxwire_shared::{
    api::rest::{Base64Bytes, ChallengeAnswer, ChallengeRequest, Purpose, RegisterRequest, Registered},
    hash::sha256,
    identity::{IdentityKey, Signature, signing_input},
    ids::{AgentId, Handle, Hash, Nonce32},
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, Challenge, Document as _, VERSION},
};

use crate::{clock, http_client::Connection};

/// How long the encryption keys are said to be valid, milliseconds.
const VALIDITY: u64 = 30 * 24 * 3_600 * 1_000;

/// The curve's base point: a valid public key. Nobody opens what a benchmark sends.
const PUBLIC_KEY: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// A registered agent.
pub(crate) struct Account {
    /// Its id.
    pub(crate) id: AgentId,
    /// Value of the header `authorization`.
    pub(crate) authorization: String,
}

/// Registers an agent whose identity follows from its handle.
///
/// # Errors
/// The relay refuses, or speaks another version of the interface.
pub(crate) async fn register(relay: &mut Connection, handle: &str) -> anyhow::Result<Account> {
    let handle: Handle = handle.parse().context("a handle")?;
    let secret = SigningKey::from_bytes(sha256(handle.as_str().as_bytes()).as_bytes());
    let identity = IdentityKey::ed25519(secret.verifying_key().to_bytes());
    let asked = ChallengeRequest {
        purpose: Purpose::Register,
        handle: handle.clone(),
        identity: Base64Bytes(identity.to_prefixed()),
        nonce: Nonce32::from_bytes([7; 32]),
    };
    let given: ChallengeAnswer = post(relay, "/v1/challenges", &asked).await?;
    let body = SignedBytes::decode(&given.challenge.0)?.body;
    let challenge = Challenge::decode(&body)?;
    let request = RegisterRequest {
        challenge: given.challenge,
        proof: Base64Bytes(sign(&secret, Label::SigProof, &body)),
        bundle: Base64Bytes(bundle(&secret, &identity, handle, &challenge)),
        invite: None,
    };
    let registered: Registered = post(relay, "/v1/agents", &request).await?;
    Ok(Account {
        id: registered.agent_id,
        authorization: format!("Bearer {}", registered.api_key),
    })
}

/// The first signed bundle of an agent.
fn bundle(secret: &SigningKey, identity: &IdentityKey, handle: Handle, challenge: &Challenge) -> Vec<u8> {
    let now = clock::unix_millis().unsigned_abs();
    let bundle = Bundle {
        version: VERSION,
        relay: challenge.relay,
        handle,
        identity: identity.clone(),
        number: now,
        not_before: now,
        not_after: now + VALIDITY,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: Suite::CLASSIC,
            number: now,
            public: PUBLIC_KEY.to_vec(),
        }],
        recovery: Hash::from_bytes([5; 32]),
    };
    let body = bundle.encode();
    let signature = Signature::new(sign(secret, Label::SigBundle, &body));
    SignedBytes { body, signature }.encode()
}

fn sign(secret: &SigningKey, label: Label, body: &[u8]) -> Vec<u8> {
    secret.sign(&signing_input(label, &[body])).to_bytes().to_vec()
}

/// Posts JSON and requires 201.
async fn post<T: DeserializeOwned>(
    relay: &mut Connection,
    path: &str,
    body: &impl Serialize,
) -> anyhow::Result<T> {
    let body = serde_json::to_vec(body)?;
    let headers = "content-type: application/json\r\n";
    let answer = relay.post(path, headers, &body).await?;
    ensure!(
        answer.status == 201,
        "{path}: status {}, {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(serde_json::from_slice(&answer.body)?)
}
