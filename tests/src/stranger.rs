//! An agent without a crypto proxy: raw keys, raw requests to the relay. For what no proxy would do.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use waxwire_shared::{
    api::rest::{ChallengeAnswer, Registered, RelayInfo, StoredAnswer},
    hash::sha256,
    identity::{IdentityKey, Signature, signing_input},
    ids::{AgentId, Hash, Mid, RelayId},
    labels::Label,
    sign::{SignedBytes, SignedDocument, Verified},
    suite::Suite,
    wire::{Bundle, BundleKey, DirectHeader, Document as _, Envelope, Lane, RelayDescription, VERSION},
};

use crate::{
    canary::{Canaries, random},
    clock::unix_ms,
    http::{Answer, Ask, Http},
};

/// Keys and whatever else a registration is made of.
#[derive(Debug)]
pub struct Stranger {
    /// Its handle.
    pub handle: String,
    secret: SigningKey,
    relay: RelayId,
    http: Http,
    api_key: String,
}

/// Bytes as JSON carries them.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Stranger {
    /// Fresh keys for a relay, not registered.
    ///
    /// # Errors
    /// The relay does not say who it is.
    pub async fn new(http: &Http, handle: &str) -> anyhow::Result<Self> {
        let path = format!("/v1/relay?nonce={}", hex::encode(random::<32>()?));
        let info: RelayInfo = http.ask(Ask::new("GET", path)).await?.ok()?;
        let description =
            Verified::<RelayDescription>::from_bytes(&info.description.0, |body| &body.identity)?;
        Ok(Self {
            handle: handle.to_owned(),
            secret: SigningKey::from_bytes(&random()?),
            relay: RelayId::of(description.signer()),
            http: http.clone(),
            api_key: String::new(),
        })
    }

    /// Fresh keys, registered.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn registered(http: &Http, handle: &str, canaries: &Canaries) -> anyhow::Result<Self> {
        Self::registered_with(http, handle, canaries, |_| ()).await
    }

    /// The same with a bundle that was changed before it is signed.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn registered_with(
        http: &Http,
        handle: &str,
        canaries: &Canaries,
        change: impl FnOnce(&mut Bundle),
    ) -> anyhow::Result<Self> {
        let mut stranger = Self::new(http, handle).await?;
        let challenge = stranger.challenge("register").await?;
        let mut bundle = stranger.bundle()?;
        change(&mut bundle);
        let answer = stranger.register(&challenge, &bundle).await?;
        stranger.api_key = answer.ok::<Registered>()?.api_key;
        canaries.forbid(&stranger.api_key);
        Ok(stranger)
    }

    /// Its public identity.
    #[must_use]
    pub fn identity(&self) -> IdentityKey {
        IdentityKey::ed25519(self.secret.verifying_key().to_bytes())
    }

    /// Its id at this relay.
    #[must_use]
    pub fn id(&self) -> AgentId {
        AgentId::of(&self.relay, &self.identity())
    }

    /// The id of another identity at this relay.
    #[must_use]
    pub fn id_of(&self, identity: &IdentityKey) -> AgentId {
        AgentId::of(&self.relay, identity)
    }

    /// Its API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// A request with its API key.
    #[must_use]
    pub fn request(&self, method: &str, path: impl Into<String>) -> Ask {
        Ask::new(method, path).bearer(&self.api_key)
    }

    /// Makes a request.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        self.http.ask(ask).await
    }

    /// Signs `label || body`.
    #[must_use]
    pub fn sign(&self, label: Label, body: &[u8]) -> Vec<u8> {
        let input = signing_input(label, &[body]);
        self.secret.sign(&input).to_bytes().to_vec()
    }

    /// A document signed as it travels.
    #[must_use]
    pub fn signed<T: SignedDocument>(&self, document: &T) -> Vec<u8> {
        let body = document.encode();
        let signature = Signature::new(self.sign(T::LABEL, &body));
        SignedBytes { body, signature }.encode()
    }

    /// The body of `POST /v1/challenges` for an identity as it is prefixed.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn challenge_request(&self, purpose: &str, identity: &[u8]) -> anyhow::Result<Value> {
        Ok(json!({
            "purpose": purpose,
            "handle": self.handle,
            "identity": base64(identity),
            "nonce": hex::encode(random::<32>()?),
        }))
    }

    /// A challenge of the relay.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn challenge(&self, purpose: &str) -> anyhow::Result<Vec<u8>> {
        let body = self.challenge_request(purpose, &self.identity().to_prefixed())?;
        let answer = self.ask(Ask::new("POST", "/v1/challenges").json(&body)).await?;
        Ok(answer.ok::<ChallengeAnswer>()?.challenge.0)
    }

    /// The proof that answers a challenge.
    ///
    /// # Errors
    /// The challenge is not one.
    pub fn proof(&self, challenge: &[u8]) -> anyhow::Result<Vec<u8>> {
        let body = SignedBytes::decode(challenge)
            .context("the relay's challenge")?
            .body;
        Ok(self.sign(Label::SigProof, &body))
    }

    /// A good bundle with a fresh key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn bundle(&self) -> anyhow::Result<Bundle> {
        let mut public = random::<32>()?;
        // Canonical; every such value is a point of the curve or of its twist.
        public[31] &= 0x3f;
        let now = unix_ms();
        Ok(Bundle {
            version: VERSION,
            relay: self.relay,
            handle: self.handle.parse()?,
            identity: self.identity(),
            number: now,
            not_before: now,
            not_after: now + 90 * 24 * 3_600_000,
            previous: None,
            min_suite: Suite::CLASSIC,
            keys: vec![BundleKey {
                suite: Suite::CLASSIC,
                number: now,
                public: public.to_vec(),
            }],
            recovery: Hash::from_bytes(random()?),
        })
    }

    /// Asks for registration with a bundle, whatever comes of it.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn register(&self, challenge: &[u8], bundle: &Bundle) -> anyhow::Result<Answer> {
        let body = json!({
            "challenge": base64(challenge),
            "proof": base64(&self.proof(challenge)?),
            "bundle": base64(&self.signed(bundle)),
        });
        self.ask(Ask::new("POST", "/v1/agents").json(&body)).await
    }

    /// An envelope for an agent that the relay accepts and that nobody can open.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn envelope(&self, to: AgentId, ciphertext: &[u8]) -> anyhow::Result<Vec<u8>> {
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: Lane::Mail,
            to,
            key_number: 1,
            mid: Mid::from_bytes(random()?),
        }
        .encode();
        let envelope = Envelope {
            header: &header,
            ciphertext,
        };
        Ok(envelope.to_bytes())
    }

    /// `POST /v1/envelopes`, whatever comes of it.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn post_envelope(&self, envelope: &[u8]) -> anyhow::Result<Answer> {
        let ask = self.request("POST", "/v1/envelopes").body(envelope.to_vec());
        self.ask(ask.header("content-type", "application/octet-stream"))
            .await
    }

    /// Stores an envelope and requires that the relay holds these bytes.
    ///
    /// # Errors
    /// It does not.
    pub async fn store(&self, envelope: &[u8]) -> anyhow::Result<()> {
        let stored: StoredAnswer = self.post_envelope(envelope).await?.ok()?;
        anyhow::ensure!(stored.hash == sha256(envelope), "the relay holds other bytes");
        Ok(())
    }
}
