//! A transparency log of the relay's making that is not the one that it keeps: whatever the test puts in, signed by
//! the relay's own key.

use anyhow::{Context as _, ensure};
use ed25519_dalek::{Signer as _, SigningKey};
use waxwire_shared::{
    api::{
        problem::{Problem, ProblemType},
        rest::{Base64Bytes, BundleAnswer, LogConsistencyAnswer, LogHeadAnswer, LogLeavesAnswer},
    },
    hash::sha256,
    identity::{IdentityKey, Signature, signing_input},
    ids::{Hash, RelayId},
    merkle::{consistency_path, inclusion_path, leaf_hash, root},
    sign::{SignedBytes, SignedDocument as _, Unverified},
    wire::{Document as _, LogConsistency, LogHead, LogLeaf, LogProof, VERSION},
};

use crate::{
    clock::unix_ms,
    relay::Relay,
    stranger::Stranger,
    tap::{Asked, Outcome, Tap},
};

/// What is said of the log: a signed head with the leaves below it.
#[derive(Debug, Clone)]
pub struct FalseLog {
    secret: SigningKey,
    /// Names the log.
    pub id: Hash,
    /// Its leaves.
    pub leaves: Vec<LogLeaf>,
}

impl FalseLog {
    /// The log as the relay keeps it in its database, as far as its newest head covers it.
    ///
    /// # Errors
    /// The relay keeps none or has signed no head yet.
    pub async fn genuine(relay: &Relay, asker: &Stranger) -> anyhow::Result<Self> {
        let secret = relay
            .store()
            .only_bytes("SELECT secret FROM relay_identity")
            .await?;
        let secret: [u8; 32] = secret.try_into().ok().context("no Ed25519 key")?;
        let head: LogHeadAnswer = asker.ask(asker.request("GET", "/v1/log/head")).await?.ok()?;
        let mut log = Self {
            secret: SigningKey::from_bytes(&secret),
            id: Hash::from_bytes([0; 32]),
            leaves: Vec::new(),
        };
        let head = log.verify(&head.head.0)?;
        log.id = head.log;
        while (log.leaves.len() as u64) < head.size {
            let path = format!("/v1/log/leaves?from={}&limit=1000", log.leaves.len());
            let page: LogLeavesAnswer = asker.ask(asker.request("GET", path)).await?.ok()?;
            ensure!(!page.leaves.is_empty(), "leaves are missing");
            for leaf in page.leaves {
                log.leaves.push(LogLeaf::decode(&leaf.0)?);
            }
        }
        log.leaves.truncate(usize::try_from(head.size)?);
        Ok(log)
    }

    /// The relay's id.
    #[must_use]
    pub fn relay(&self) -> RelayId {
        RelayId::of(&self.identity())
    }

    fn identity(&self) -> IdentityKey {
        IdentityKey::ed25519(self.secret.verifying_key().to_bytes())
    }

    /// A head that the relay has signed.
    ///
    /// # Errors
    /// It is none.
    pub fn verify(&self, signed: &[u8]) -> anyhow::Result<LogHead> {
        let head = Unverified::<LogHead>::decode(signed)?;
        Ok(head.verify_by(&self.identity())?.into_body())
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn hashes(&self, size: u64) -> Vec<Hash> {
        let leaves = self.leaves.iter().zip(0..size);
        leaves.map(|(leaf, _)| leaf_hash(&leaf.encode())).collect()
    }

    /// The signed head over the first leaves.
    #[must_use]
    pub fn head(&self, size: u64) -> Vec<u8> {
        let body = LogHead {
            version: VERSION,
            relay: self.relay(),
            log: self.id,
            size,
            root: root(&self.hashes(size)),
            time: unix_ms(),
            map_root: None,
            co_signatures: None,
        }
        .encode();
        let signature = self.secret.sign(&signing_input(LogHead::LABEL, &[&body]));
        let signature = Signature::new(signature.to_bytes());
        SignedBytes { body, signature }.encode()
    }

    /// A proof of the leaf at a place under the newest head.
    #[must_use]
    pub fn proof(&self, index: u64) -> Vec<u8> {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        LogProof {
            head: self.head(self.size()),
            index,
            path: inclusion_path(&self.hashes(self.size()), place),
        }
        .encode()
    }

    /// The same of the leaf of a signed bundle, if there is one.
    #[must_use]
    pub fn proof_of(&self, bundle: &[u8]) -> Option<Vec<u8>> {
        let hash = sha256(bundle);
        let place = self.leaves.iter().position(|leaf| leaf.bundle == hash)?;
        Some(self.proof(place as u64))
    }

    fn consistency(&self, from: u64, to: u64) -> Vec<u8> {
        let first = usize::try_from(from).unwrap_or(usize::MAX);
        LogConsistency {
            earlier: self.head(from),
            later: self.head(to),
            path: consistency_path(&self.hashes(to), first),
        }
        .encode()
    }

    /// The answer to a request about the log; nothing if it is about something else.
    fn answer(&self, asked: &Asked) -> Option<Outcome> {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.parse::<u64>());
            value.and_then(Result::ok).unwrap_or(0)
        };
        let size = self.size();
        Some(match path {
            "/v1/log/head" => json(&LogHeadAnswer {
                head: Base64Bytes(self.head(size)),
            }),
            "/v1/log/consistency" if number("to") > size => absent(),
            "/v1/log/consistency" => json(&LogConsistencyAnswer {
                consistency: Base64Bytes(self.consistency(number("from"), number("to"))),
            }),
            "/v1/log/leaves" => {
                let from = usize::try_from(number("from")).unwrap_or(usize::MAX);
                let page = self.leaves.iter().skip(from).take(1_000);
                let leaves = page.map(|leaf| Base64Bytes(leaf.encode())).collect();
                json(&LogLeavesAnswer { leaves, size })
            }
            _ => return None,
        })
    }
}

impl Tap {
    /// Shows the proxy this log in place of the relay's, and every bundle with a proof out of it.
    pub fn show_log(&self, log: &FalseLog) {
        let log = log.clone();
        self.on_request(move |asked| {
            if is_lookup(asked) {
                let log = log.clone();
                return with_proof(move |shown| log.proof_of(&shown.bundle.0));
            }
            log.answer(asked).unwrap_or(Outcome::Pass)
        });
    }
}

/// Whether somebody's bundle is asked for.
#[must_use]
pub fn is_lookup(asked: &Asked) -> bool {
    asked.method == http::Method::GET && asked.path.ends_with("/bundle")
}

/// The relay's answer to a lookup, with another proof or none.
#[must_use]
pub fn with_proof(proof: impl FnOnce(&BundleAnswer) -> Option<Vec<u8>> + Send + 'static) -> Outcome {
    Outcome::Rewrite(Box::new(move |answer| {
        let Ok(mut shown) = serde_json::from_slice::<BundleAnswer>(&answer.body) else {
            return;
        };
        shown.log = proof(&shown).map(Base64Bytes);
        if let Ok(body) = serde_json::to_vec(&shown) {
            answer.body = body.into();
        }
    }))
}

fn json(body: &impl serde::Serialize) -> Outcome {
    Outcome::Answer {
        status: 200,
        media_type: "application/json",
        body: serde_json::to_vec(body).unwrap_or_default(),
    }
}

fn absent() -> Outcome {
    let problem = Problem::new(ProblemType::NotFound);
    Outcome::Answer {
        status: 404,
        media_type: "application/problem+json",
        body: serde_json::to_vec(&problem).unwrap_or_default(),
    }
}
