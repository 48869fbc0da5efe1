//! For tests: a relay on a free port with a database of its own, agents, and a small HTTP client.

pub(crate) mod groups;
mod mute_socket;
mod socket;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use waxwire_outbound::logs::{LogFilter, LogFormat};
use waxwire_shared::{
    api::{
        problem::{Problem, ProblemType},
        rest::{
            Base64Bytes, ChallengeAnswer, ChallengeRequest, Purpose, RegisterRequest, Registered,
            Registration,
        },
    },
    identity::{IdentityKey, Signature, signing_input},
    ids::{AgentId, Handle, Hash, Mid, Nonce32, RelayId},
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, DirectHeader, Document as _, Envelope, Lane, VERSION},
};

pub(crate) use self::{
    mute_socket::MuteSocket,
    socket::{Got, TestSocket},
};
use crate::{
    blobs::BlobsConfig,
    clock::Clock,
    config::{Config, Limits, Listen, MasterKey, RedisUrl},
    delivery::Timing,
    hooks::HookAllow,
    limits::{SendLimits, TierLimits, Tiers},
    relay::Relay,
    rng::{Random, RandomError},
    server::{Server, Surroundings},
    store::DatabaseUrl,
};

/// 2026-11-22T00:00:00Z in Unix milliseconds.
pub(crate) const NOW: u64 = 1_795_305_600_000;
pub(crate) const MASTER_KEY: &str = "a master key of some forty characters, for tests";

/// Randomness that is the same in every run.
#[derive(Debug)]
pub(crate) struct SeededRandom(std::sync::Mutex<ChaCha20Rng>);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(std::sync::Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.lock().unwrap().fill_bytes(bytes);
        Ok(())
    }
}

/// A relay under test.
pub(crate) struct TestRelay {
    pub(crate) address: String,
    pub(crate) relay: Arc<Relay>,
    pub(crate) now: Arc<AtomicU64>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    folder: Arc<TempDir>,
}

/// Tests of limits of sends set their own.
pub(crate) const UNLIMITED: SendLimits = SendLimits {
    sends_per_minute: 0,
    control_per_minute: 0,
    org_sends_per_hour: 0,
    backlog: 0,
    control_backlog: 0,
};

/// What a test may set.
pub(crate) struct Setup {
    pub(crate) registration: Registration,
    pub(crate) limits: Limits,
    pub(crate) sends: SendLimits,
    pub(crate) timing: Timing,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) seed: u64,
    pub(crate) hook_allow: Vec<HookAllow>,
    /// The database and the Redis of a relay of several nodes; without them a file of its own.
    pub(crate) among: Option<(DatabaseUrl, RedisUrl)>,
    /// Off unless a test is about it: every agent costs a computation.
    pub(crate) transparency: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            registration: Registration::Open,
            // Tests of quotas set their own.
            limits: Limits {
                joins_and_leaves_per_hour: 0,
                commits_per_minute: 0,
                ..Limits::default()
            },
            sends: UNLIMITED,
            timing: Timing::default(),
            folder: Arc::new(TempDir::new().unwrap()),
            seed: 1,
            hook_allow: Vec::new(),
            among: None,
            transparency: None,
        }
    }
}

impl TestRelay {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// A relay with other random numbers, hence another identity.
    pub(crate) async fn start_seeded(seed: u64) -> Self {
        Self::start_with(Setup {
            seed,
            ..Setup::default()
        })
        .await
    }

    /// With limits of its own.
    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::start_with(Setup {
            limits,
            ..Setup::default()
        })
        .await
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("relay.db")
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        let own = DatabaseUrl::Sqlite(setup.folder.path().join("relay.db"));
        let (database, redis) = setup
            .among
            .map_or((own, None), |(database, redis)| (database, Some(redis)));
        let config = Config {
            listen: "127.0.0.1:0".parse::<Listen>().unwrap(),
            database,
            blobs: BlobsConfig {
                folder: setup.folder.path().join("blobs"),
                bucket: None,
            },
            worker: None,
            redis,
            public_url: None,
            tls: None,
            registration: setup.registration,
            master_key: Some(MasterKey::new(MASTER_KEY).unwrap()),
            metrics_listen: None,
            hook_allow: setup.hook_allow,
            transparency: setup.transparency,
            traces: None,
            log: LogFilter::default(),
            log_format: LogFormat::Text,
            limits: setup.limits,
            tiers: Tiers {
                default: TierLimits {
                    sends: setup.sends,
                    group_members: setup.limits.group_members,
                    attachment: setup.limits.attachment,
                    blob_bytes: setup.limits.blob_bytes,
                    unfinished_blobs: setup.limits.unfinished_blobs,
                },
                ..Tiers::default()
            },
        };
        let now = Arc::new(AtomicU64::new(NOW));
        let shutdown = CancellationToken::new();
        let surroundings = Surroundings {
            clock: Clock::Manual(Arc::clone(&now)),
            random: Arc::new(SeededRandom::new(setup.seed)),
            timing: setup.timing,
            shutdown: shutdown.clone(),
        };
        let server = Server::start(config, surroundings).await.unwrap();
        Self {
            address: server.address().strip_prefix("http://").unwrap().to_owned(),
            relay: Arc::clone(server.relay()),
            now,
            shutdown,
            running: tokio::spawn(server.run()),
            folder: setup.folder,
        }
    }

    /// Stops in good order; the database stays.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.folder
    }

    /// Begins to stop.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn set_back(&self, ms: u64) {
        self.now.fetch_sub(ms, Ordering::Relaxed);
    }

    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// A request with a key, a content type and a body, each if given.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<(&str, Vec<u8>)>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relay");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type);
            bytes = body;
        }
        self.request(request.body(Full::from(bytes)).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, key: Option<&str>) -> Answer {
        self.call(Method::GET, path, key, None).await
    }

    pub(crate) async fn post_json(&self, path: &str, key: Option<&str>, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.call(Method::POST, path, key, Some(("application/json", body)))
            .await
    }

    pub(crate) async fn post_octets(&self, path: &str, key: &str, body: &[u8]) -> Answer {
        let body = Some(("application/octet-stream", body.to_vec()));
        self.call(Method::POST, path, Some(key), body).await
    }

    pub(crate) async fn send(&self, key: &str, envelope: &[u8]) -> Answer {
        self.post_octets("/v1/envelopes", key, envelope).await
    }

    /// Registers an agent whose keys follow from its handle.
    pub(crate) async fn register(&self, handle: &str) -> TestAgent {
        let mut agent = TestAgent::new(self, handle);
        let answer = self.try_register(&agent, None).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        agent.key = answer.json::<Registered>().api_key;
        agent
    }

    pub(crate) async fn try_register(&self, agent: &TestAgent, invite: Option<&str>) -> Answer {
        let challenge = self.challenge(agent, Purpose::Register).await;
        let request = agent.registration(&challenge, invite);
        self.post_json("/v1/agents", None, &request).await
    }

    pub(crate) async fn challenge(&self, agent: &TestAgent, purpose: Purpose) -> Vec<u8> {
        let request = ChallengeRequest {
            purpose,
            handle: agent.handle.clone(),
            identity: Base64Bytes(agent.identity().to_prefixed()),
            nonce: Nonce32::from_bytes([7; 32]),
        };
        let answer = self.post_json("/v1/challenges", None, &request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        answer.json::<ChallengeAnswer>().challenge.0
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// Asserts that this is a complete problem document of a kind.
    #[track_caller]
    pub(crate) fn assert_problem(&self, kind: ProblemType) -> Problem {
        let problem: Problem = self.json();
        assert_eq!(problem.problem_type(), Some(kind), "{problem:?}");
        assert_eq!(self.status.as_u16(), kind.status());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(
            problem.instance.as_deref(),
            Some(self.headers["x-request-id"].to_str().unwrap())
        );
        if matches!(kind.status(), 429 | 503) {
            let seconds: u64 = self.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert_eq!(problem.retry_after, Some(seconds));
        }
        problem
    }
}

/// An agent with its keys.
pub(crate) struct TestAgent {
    pub(crate) handle: Handle,
    pub(crate) secret: SigningKey,
    pub(crate) id: AgentId,
    pub(crate) key: String,
    relay: Arc<Relay>,
}

impl TestAgent {
    pub(crate) fn new(test: &TestRelay, handle: &str) -> Self {
        Self::with_secret(
            test,
            handle,
            handle
                .bytes()
                .map(u64::from)
                .fold(7, |a: u64, b| a.wrapping_mul(131) + b),
        )
    }

    pub(crate) fn with_secret(test: &TestRelay, handle: &str, seed: u64) -> Self {
        let mut bytes = [0; 32];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let secret = SigningKey::from_bytes(&bytes);
        let identity = IdentityKey::ed25519(secret.verifying_key().to_bytes());
        Self {
            handle: handle.parse().unwrap(),
            id: AgentId::of(test.relay.identity.id(), &identity),
            secret,
            key: String::new(),
            relay: Arc::clone(&test.relay),
        }
    }

    pub(crate) fn relay_id(&self) -> RelayId {
        *self.relay.identity.id()
    }

    pub(crate) fn identity(&self) -> IdentityKey {
        IdentityKey::ed25519(self.secret.verifying_key().to_bytes())
    }

    /// The signature over a challenge's body.
    pub(crate) fn prove(&self, challenge: &[u8]) -> Vec<u8> {
        let body = SignedBytes::decode(challenge).unwrap().body;
        let input = signing_input(Label::SigProof, &[&body]);
        self.secret.sign(&input).to_bytes().to_vec()
    }

    pub(crate) fn bundle(&self, number: u64) -> Bundle {
        let mut public = vec![0; 32];
        public[0] = 9;
        Bundle {
            version: VERSION,
            relay: *self.relay.identity.id(),
            handle: self.handle.clone(),
            identity: self.identity(),
            number,
            not_before: NOW,
            not_after: NOW + 90 * 24 * 3_600_000,
            previous: None,
            min_suite: Suite::CLASSIC,
            keys: vec![BundleKey {
                suite: Suite::CLASSIC,
                number,
                public,
            }],
            recovery: Hash::from_bytes([5; 32]),
        }
    }

    pub(crate) fn sign_bundle(&self, bundle: &Bundle) -> Vec<u8> {
        let body = bundle.encode();
        let signature = self.secret.sign(&signing_input(Label::SigBundle, &[&body]));
        SignedBytes {
            body,
            signature: Signature::new(signature.to_bytes()),
        }
        .encode()
    }

    pub(crate) fn registration(&self, challenge: &[u8], invite: Option<&str>) -> RegisterRequest {
        RegisterRequest {
            challenge: Base64Bytes(challenge.to_vec()),
            proof: Base64Bytes(self.prove(challenge)),
            bundle: Base64Bytes(self.sign_bundle(&self.bundle(NOW))),
            invite: invite.map(str::to_owned),
        }
    }
}

/// An envelope to an agent's mail.
pub(crate) fn envelope(to: AgentId, mid: u8, ciphertext: &[u8]) -> Vec<u8> {
    envelope_in(to, Lane::Mail, mid, ciphertext)
}

pub(crate) fn envelope_in(to: AgentId, lane: Lane, mid: u8, ciphertext: &[u8]) -> Vec<u8> {
    let header = DirectHeader {
        suite: Suite::CLASSIC,
        lane,
        to,
        key_number: 1,
        mid: Mid::from_bytes([mid; 16]),
    }
    .encode();
    Envelope {
        header: &header,
        ciphertext,
    }
    .to_bytes()
}
