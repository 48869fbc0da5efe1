//! What the relay reads besides the common formats: settings, proofs of identity, bundles, leases.

use std::{fs, str::FromStr as _};

use clap::Parser as _;
use waxwire_outbound::logs::LogFilter;
use waxwire_proxy::crypto::secret::{EncryptionSecret, IdentitySecret};
use waxwire_relay::{
    accounts::proof,
    blobs::Place,
    cli::{Cli, Command},
    config::{Config, Listen, RedisUrl},
    hooks::HookAllow,
    identity::RelayIdentity,
    nodes::Word,
    snowflake::WorkerId,
    store::DatabaseUrl,
};
use waxwire_shared::{
    ids::{AgentId, Handle, Hash, Nonce32, RelayId, SessionId},
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{
        Bundle, BundleKey, Challenge, ChallengePurpose, Document as _, Lease, Succession, SuccessionBytes,
        VERSION,
    },
};
use zeroize::Zeroizing;

use crate::feed::Feed;

table! {
    "relay_config" => config,
    "relay_settings" => settings,
    "relay_proof" => identity_proof,
    "relay_bundle" => bundle,
    "relay_lease" => lease,
    "relay_succession" => succession,
    "node_word" => node_word,
}

pub(crate) const NOW: u64 = 1_800_000_000_000;

pub(crate) fn relay() -> RelayIdentity {
    RelayIdentity::from_secret(&Zeroizing::new([7; 32]))
}

/// A configuration file.
fn config(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    fs::write(&path, bytes).unwrap();
    let arguments = ["waxwire-relay", "serve", "--config", path.to_str().unwrap()];
    let Command::Serve(arguments) = Cli::parse_from(arguments).command else {
        return false;
    };
    Config::resolve(*arguments).is_ok()
}

/// Values of single settings.
fn settings(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let listen = Listen::from_str(text);
    if let Ok(listen) = &listen {
        assert_eq!(listen.to_string().parse().as_ref(), Ok(listen));
    }
    let worker = WorkerId::from_str(text);
    if let Ok(worker) = &worker {
        assert_eq!(worker.to_string().parse(), Ok(*worker));
    }
    let accepted = [
        listen.is_ok(),
        worker.is_ok(),
        Place::from_str(text).is_ok(),
        HookAllow::from_str(text).is_ok(),
        LogFilter::from_str(text).is_ok(),
        DatabaseUrl::from_str(text).is_ok(),
        RedisUrl::from_str(text).is_ok(),
    ];
    accepted.contains(&true)
}

/// A challenge and a proof: no challenge counts that this relay did not sign.
fn identity_proof(bytes: &[u8]) -> bool {
    let mut feed = Feed(bytes);
    let (challenge, signature) = (feed.part(), feed.part());
    let relay = relay();
    let judged = [ChallengePurpose::Register, ChallengePurpose::ApiKey]
        .map(|purpose| proof::check_proof(&relay, purpose, challenge, signature, NOW));
    for proven in judged.iter().flatten() {
        let signed = SignedBytes::decode(challenge).unwrap();
        assert!(relay.signed_challenge(&signed.body, &signed.signature));
        assert_eq!(proven.id, AgentId::of(relay.id(), &proven.identity));
    }
    judged.iter().filter(|judged| judged.is_ok()).count() == 1
}

/// A bundle of the agent that it names.
fn bundle(bytes: &[u8]) -> bool {
    let named = SignedBytes::decode(bytes).and_then(|signed| Bundle::decode(&signed.body));
    let Ok(named) = named else {
        return false;
    };
    let checked = proof::check_bundle(&relay(), &named.handle, &named.identity, bytes.to_vec(), NOW);
    let Ok(checked) = checked else {
        return false;
    };
    assert_eq!((checked.number, checked.bytes.as_slice()), (named.number, bytes));
    assert_eq!(named.relay, *relay().id());
    true
}

fn lease(bytes: &[u8]) -> bool {
    let named = SignedBytes::decode(bytes).and_then(|signed| Lease::decode(&signed.body));
    let Ok(named) = named else {
        return false;
    };
    proof::check_lease(&relay(), &named.identity, bytes.to_vec(), NOW).is_ok()
}

/// A word of another node.
fn node_word(bytes: &[u8]) -> bool {
    let Some((by, word)) = Word::decode(bytes) else {
        return false;
    };
    assert_eq!(word.encode(by), bytes);
    true
}

fn succession(bytes: &[u8]) -> bool {
    let handle: Handle = "alice".parse().unwrap();
    let Ok(signed) = SuccessionBytes::decode(bytes) else {
        return false;
    };
    let Ok(body) = Succession::decode(&signed.body) else {
        return false;
    };
    proof::check_succession(&relay(), &handle, &body.new, bytes.to_vec()).is_ok()
}

pub(crate) fn alice() -> IdentitySecret {
    IdentitySecret::from_slice(&[1; 32]).unwrap()
}

pub(crate) fn sample_bundle() -> Vec<u8> {
    bundle_for(relay().id())
}

/// Alice's bundle at a relay.
pub(crate) fn bundle_for(relay: &RelayId) -> Vec<u8> {
    let secret = EncryptionSecret::from_slice(&[0x81; 32]).unwrap();
    alice().sign_document(&Bundle {
        version: VERSION,
        relay: *relay,
        handle: "alice".parse().unwrap(),
        identity: alice().public().clone(),
        number: NOW,
        not_before: NOW,
        not_after: NOW + 1_000_000,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: Suite::CLASSIC,
            number: NOW,
            public: secret.public().as_bytes().to_vec(),
        }],
        recovery: Hash::from_bytes([0; 32]),
    })
}

pub(crate) fn sample_lease() -> Vec<u8> {
    alice().sign_document(&Lease {
        version: VERSION,
        relay: *relay().id(),
        identity: alice().public().clone(),
        incarnation: NOW,
        session: SessionId::from_bytes([1; 16]),
        time: NOW,
    })
}

pub(crate) fn sample_proof() -> Vec<u8> {
    let challenge = relay().sign_challenge(&Challenge {
        version: VERSION,
        relay: *relay().id(),
        purpose: ChallengePurpose::Register,
        handle: "alice".parse().unwrap(),
        identity: alice().public().clone(),
        relay_nonce: Nonce32::from_bytes([1; 32]),
        agent_nonce: Nonce32::from_bytes([2; 32]),
        time: NOW,
    });
    let body = SignedBytes::decode(&challenge).unwrap().body;
    let proof = alice().sign(Label::SigProof, &[&body]);
    crate::feed::parts([challenge.as_slice(), proof.as_bytes()])
}

pub(crate) fn sample_succession() -> Vec<u8> {
    let old = IdentitySecret::from_slice(&[3; 32]).unwrap();
    let body = Succession {
        version: VERSION,
        relay: *relay().id(),
        handle: "alice".parse().unwrap(),
        old: old.public().clone(),
        new: alice().public().clone(),
        time: NOW,
    }
    .encode();
    SuccessionBytes {
        by_old: Some(old.sign(Label::SigSuccessionOld, &[&body])),
        by_new: alice().sign(Label::SigSuccessionNew, &[&body]),
        by_recovery: None,
        recovery: None,
        body,
    }
    .encode()
}
