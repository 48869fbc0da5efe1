//! Keys and proofs: who may not register.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_shared::{
    api::problem::ProblemType,
    suite::Suite,
    wire::{Bundle, BundleKey},
};
use waxwire_tests::{Stranger, scenario, stranger::base64};

use crate::{post, still_works};

/// Points of small order and encodings that are not canonical, by RFC 7748 and RFC 8032.
fn weak_keys() -> Vec<[u8; 32]> {
    let below = |low: u8| {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, 0x7f);
        key
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut high = [9; 32];
    high[31] = 0x89;
    // p - 1, p, p + 1, and two with the unused bit set.
    vec![
        [0; 32],
        one,
        below(0xec),
        below(0xed),
        below(0xee),
        [0xff; 32],
        high,
    ]
}

#[test]
fn weak_and_foreign_keys_cannot_register() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let stranger = Stranger::new(http, "stranger").await?;
        // Identity: small order, not canonical, unknown algorithm, wrong length.
        let mut identities: Vec<Vec<u8>> = weak_keys()
            .iter()
            .filter(|key| key[31] != 0x89)
            .map(|key| [&[0, 1], key.as_slice()].concat())
            .collect();
        identities.push([&[0, 9], [7; 32].as_slice()].concat());
        identities.push(stranger.identity().to_prefixed()[..33].to_vec());
        identities.push(vec![0]);
        identities.push(vec![]);
        identities.push([&[0, 1], vec![7; 8_000].as_slice()].concat());
        for identity in &identities {
            let body = stranger.challenge_request("register", identity)?;
            let answer = post(&stranger, "/v1/challenges", &body).await?;
            answer
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(&identity[..identity.len().min(40)]))?;
        }
        // Encryption key: contributory and canonical, of a suite that is known.
        let challenge = stranger.challenge("register").await?;
        let good = stranger.bundle()?;
        let key = |public: Vec<u8>| BundleKey {
            suite: Suite::CLASSIC,
            number: 1,
            public,
        };
        for public in weak_keys()
            .into_iter()
            .map(Vec::from)
            .chain([vec![9; 31], vec![9; 33], vec![]])
        {
            let bundle = Bundle {
                keys: vec![key(public.clone())],
                ..good.clone()
            };
            stranger
                .register(&challenge, &bundle)
                .await?
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(&public))?;
        }
        let mut foreign_relay = good.clone();
        foreign_relay.relay = waxwire_shared::ids::RelayId::from_bytes([3; 32]);
        let wrong = [
            ("another relay", foreign_relay),
            (
                "another handle",
                Bundle {
                    handle: "somebody".parse()?,
                    ..good.clone()
                },
            ),
            (
                "another identity",
                Bundle {
                    identity: Stranger::new(http, "other").await?.identity(),
                    ..good.clone()
                },
            ),
            (
                "no key",
                Bundle {
                    keys: vec![],
                    ..good.clone()
                },
            ),
            (
                "the same key twice",
                Bundle {
                    keys: vec![good.keys[0].clone(), good.keys[0].clone()],
                    ..good.clone()
                },
            ),
            (
                "an unknown suite",
                Bundle {
                    keys: vec![BundleKey {
                        suite: Suite(99),
                        ..good.keys[0].clone()
                    }],
                    ..good.clone()
                },
            ),
            (
                "expired before it began",
                Bundle {
                    not_after: good.not_before,
                    ..good.clone()
                },
            ),
            (
                "number 0",
                Bundle {
                    number: 0,
                    ..good.clone()
                },
            ),
            (
                "from the far future",
                Bundle {
                    number: good.number + 25 * 3_600_000,
                    ..good.clone()
                },
            ),
            (
                "version 2",
                Bundle {
                    version: 2,
                    ..good.clone()
                },
            ),
        ];
        for (what, bundle) in wrong {
            stranger
                .register(&challenge, &bundle)
                .await?
                .problem(ProblemType::InvalidObject)
                .context(what)?;
        }
        // What was refused used nothing up.
        stranger.register(&challenge, &good).await?.expect(201)?;
        stranger
            .register(&challenge, &good)
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        still_works(&pair).await
    });
}

#[test]
fn attack_25_proofs_are_bound_to_relay_purpose_handle_and_identity() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let (stranger, other) = (
            Stranger::new(http, "stranger").await?,
            Stranger::new(http, "other").await?,
        );
        let bundle = stranger.bundle()?;
        let challenge = stranger.challenge("register").await?;
        let request = |challenge: &[u8], proof: &[u8]| json!({ "challenge": base64(challenge), "proof": base64(proof), "bundle": base64(&stranger.signed(&bundle)) });
        let proof = stranger.proof(&challenge)?;
        let register = async |body: &Value| post(&stranger, "/v1/agents", body).await;
        register(&request(&challenge, &other.proof(&challenge)?))
            .await?
            .problem(ProblemType::InvalidObject)?;
        register(&request(&challenge, &[0; 64]))
            .await?
            .problem(ProblemType::InvalidObject)?;
        register(&request(&challenge, &proof[..63]))
            .await?
            .problem(ProblemType::InvalidObject)?;
        let other_purpose = stranger.challenge("api_key").await?;
        register(&request(&other_purpose, &stranger.proof(&other_purpose)?))
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        // A challenge that the relay did not make, for each byte that is not its own.
        for at in (0..challenge.len()).step_by(7) {
            let mut forged = challenge.clone();
            forged[at] ^= 1;
            let answer = register(&request(&forged, &proof)).await?;
            ensure!(matches!(answer.status, 400 | 409), "byte {at}: {}", answer.text());
        }
        // Another relay's challenge is no good here.
        let mut elsewhere = world.new_relay("elsewhere")?;
        elsewhere.start().await?;
        let there = Stranger::new(elsewhere.http(), "stranger").await?;
        let foreign = there.challenge("register").await?;
        register(&request(&foreign, &stranger.proof(&foreign)?))
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        // Handles belong to whoever came first.
        let thief = Stranger::new(http, "alice").await?;
        let challenge = thief.challenge("register").await?;
        thief
            .register(&challenge, &thief.bundle()?)
            .await?
            .problem(ProblemType::HandleTaken)?;
        // An API key goes to nobody who is unknown.
        let challenge = thief.challenge("api_key").await?;
        let body = json!({ "challenge": base64(&challenge), "proof": base64(&thief.proof(&challenge)?) });
        post(&thief, "/v1/agents/api-key", &body)
            .await?
            .problem(ProblemType::NotFound)?;
        still_works(&pair).await
    });
}
