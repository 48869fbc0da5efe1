//! A relay in this process: the test decides what it answers, frame by frame.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Path, Query, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::{get, post, put},
    serve::Listener,
};
use ed25519_dalek::{Signer, SigningKey};
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    time::{Duration, Instant, timeout},
};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, RelayFrame},
        problem::{Problem, ProblemType},
        rest::{
            ApiKeyRequest, Base64Bytes, BundleAnswer, ChallengeAnswer, ChallengeRequest, LeaseAnswer,
            Purpose, Registered, Registration, RelayInfo, RelayLimits,
        },
    },
    identity::{IdentityKey, Signature, signing_input},
    ids::{AgentId, Handle, Nonce32, RelayId},
    labels::Label,
    sign::SignedBytes,
    wire::{Challenge, ChallengePurpose, Document, RelayDescription, VERSION},
};

use crate::{
    credential::ApiKey,
    crypto::secret::IdentitySecret,
    link::{Credentials, Possession, PossessionError},
};

pub(super) const API_KEY: &str = "key-of-the-agent";
/// What the database of the fake holds.
pub(super) const LINEAGE: u64 = 1;

/// A welcome at a time.
pub(super) const fn greeting(time: u64) -> RelayFrame<'static> {
    RelayFrame::Welcome {
        time,
        lineage: LINEAGE,
        reaches: 0,
    }
}

/// What the fake does; each test turns the knobs that it needs.
pub(super) struct Knobs {
    /// Seed of the relay's identity.
    pub(super) identity: Mutex<u8>,
    /// Status of the upgrade, when it is refused.
    pub(super) refuse: AtomicU16,
    /// The API key that is accepted.
    pub(super) key: Mutex<String>,
    /// The API key that a proof is given; none are given otherwise.
    pub(super) new_key: Mutex<Option<String>>,
    /// What a challenge says instead of what was asked for.
    pub(super) forge: Mutex<Option<fn(&mut Challenge)>>,
    /// The lease that stands in the way of every other.
    pub(super) held: Mutex<Option<Vec<u8>>>,
    /// Leases that were taken.
    pub(super) leases: Mutex<Vec<Vec<u8>>>,
    /// Connections are refused.
    pub(super) away: AtomicBool,
    /// Bundle lookups wait for ever.
    pub(super) hang: AtomicBool,
    /// When connections were made or tried.
    pub(super) dials: Mutex<Vec<Instant>>,
    /// Requests that carried the API key.
    pub(super) authorized: AtomicUsize,
    sockets: mpsc::UnboundedSender<WebSocket>,
}

pub(super) struct FakeRelay {
    /// Of the agent that is registered there.
    pub(super) credentials: Arc<FakeCredentials>,
    pub(super) knobs: Arc<Knobs>,
    pub(super) dialer: mpsc::UnboundedSender<DuplexStream>,
    sockets: mpsc::UnboundedReceiver<WebSocket>,
}

struct Door {
    arrivals: mpsc::UnboundedReceiver<DuplexStream>,
    knobs: Arc<Knobs>,
}

impl Listener for Door {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        loop {
            let Some(stream) = self.arrivals.recv().await else {
                std::future::pending().await
            };
            self.knobs.dials.lock().unwrap().push(Instant::now());
            if !self.knobs.away.load(Ordering::Relaxed) {
                return (stream, ());
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn relay_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(super) fn relay_identity(seed: u8) -> IdentityKey {
    IdentityKey::ed25519(relay_key(seed).verifying_key().to_bytes())
}

pub(super) fn relay_id(seed: u8) -> RelayId {
    RelayId::of(&relay_identity(seed))
}

/// What a relay says of itself, signed by `signer`.
pub(super) fn describe(signer: u8, identity: u8, version: u16, nonce: Nonce32) -> RelayInfo {
    let body = RelayDescription {
        version,
        identity: relay_identity(identity),
        nonce,
        time: 1_000,
    }
    .encode();
    let signature = relay_key(signer).sign(&signing_input(Label::SigRelay, &[&body]));
    let signed = SignedBytes {
        body,
        signature: Signature::new(signature.to_bytes()),
    };
    RelayInfo {
        description: Base64Bytes(signed.encode()),
        registration: Registration::Open,
        version: "0".to_owned(),
        limits: RelayLimits { envelope: 80 * 1024 },
    }
}

pub(super) fn problem(kind: ProblemType) -> Response {
    let status = StatusCode::from_u16(kind.status()).unwrap();
    (status, Json(Problem::new(kind))).into_response()
}

pub(super) fn bundle_of(handle: &str) -> BundleAnswer {
    BundleAnswer {
        agent_id: AgentId::from_bytes([7; 16]),
        bundle: Base64Bytes(handle.as_bytes().to_vec()),
        successions: Vec::new(),
        log: None,
    }
}

impl FakeRelay {
    pub(super) fn start() -> Self {
        let (sockets, accepted) = mpsc::unbounded_channel();
        let (dialer, arrivals) = mpsc::unbounded_channel();
        let knobs = Arc::new(Knobs {
            identity: Mutex::new(1),
            refuse: AtomicU16::new(0),
            key: Mutex::new(API_KEY.to_owned()),
            new_key: Mutex::default(),
            forge: Mutex::default(),
            held: Mutex::default(),
            leases: Mutex::default(),
            away: AtomicBool::new(false),
            hang: AtomicBool::new(false),
            dials: Mutex::default(),
            authorized: AtomicUsize::new(0),
            sockets,
        });
        let router = Router::new()
            .route("/v1/relay", get(relay_info))
            .route("/v1/link", get(link))
            .route("/v1/agents", post(register))
            .route("/v1/challenges", post(challenge))
            .route("/v1/agents/api-key", post(api_key))
            .route("/v1/agents/me/bundle", put(put_bundle))
            .route("/v1/agents/me/lease", put(put_lease))
            .route("/v1/agents/{handle}/bundle", get(bundle))
            .with_state(Arc::clone(&knobs));
        let door = Door {
            arrivals,
            knobs: Arc::clone(&knobs),
        };
        tokio::spawn(async move { axum::serve(door, router).await });
        Self {
            credentials: Arc::new(FakeCredentials::new()),
            knobs,
            dialer,
            sockets: accepted,
        }
    }

    /// The next socket, after its resume and our welcome.
    pub(super) async fn welcome(&mut self) -> (Peer, Vec<Cursor>) {
        let mut peer = self.accept().await;
        let resume = peer.receive().await;
        let ClientFrame::Resume(cursors) = ClientFrame::decode(&resume).unwrap() else {
            panic!("the first frame is a resume")
        };
        peer.send(greeting(2_000)).await;
        (peer, cursors)
    }

    /// The next socket as it is after the upgrade.
    pub(super) async fn accept(&mut self) -> Peer {
        let socket = timeout(Duration::from_secs(3_600), self.sockets.recv()).await;
        Peer(socket.expect("a socket within an hour").unwrap())
    }

    /// Waits between attempts to connect, from now on, until there were `count`.
    pub(super) async fn waits(&self, count: usize) -> Vec<Duration> {
        self.knobs.dials.lock().unwrap().clear();
        while self.knobs.dials.lock().unwrap().len() <= count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let dials = self.knobs.dials.lock().unwrap();
        dials.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// Holds an identity, and the keys that it was told to keep.
pub(super) struct FakeCredentials {
    handle: Handle,
    identity: IdentitySecret,
    pub(super) kept: Mutex<Vec<String>>,
}

impl FakeCredentials {
    fn new() -> Self {
        Self {
            handle: "alice".parse().unwrap(),
            identity: IdentitySecret::from_slice(&[8; 32]).unwrap(),
            kept: Mutex::default(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(Possession<'_>) -> T) -> T {
        work(Possession {
            purpose: Purpose::ApiKey,
            handle: &self.handle,
            identity: &self.identity,
            relay: &relay_identity(1),
        })
    }
}

impl Credentials for FakeCredentials {
    fn agent_id(&self) -> AgentId {
        AgentId::of(&relay_id(1), self.identity.public())
    }

    fn request(&self, nonce: Nonce32) -> ChallengeRequest {
        self.with(|possession| possession.request(nonce))
    }

    fn answer(&self, challenge: &[u8], nonce: &Nonce32) -> Result<Base64Bytes, PossessionError> {
        self.with(|possession| possession.answer(challenge, nonce))
    }

    fn keep(&self, key: ApiKey) {
        self.kept.lock().unwrap().push(key.expose_text().to_owned());
    }
}

/// The relay's end of a socket.
pub(super) struct Peer(pub(super) WebSocket);

impl Peer {
    pub(super) async fn send(&mut self, frame: RelayFrame<'_>) {
        self.message(Message::Binary(frame.encode().into())).await;
    }

    pub(super) async fn message(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// The next binary message.
    pub(super) async fn receive(&mut self) -> Bytes {
        loop {
            match self.0.recv().await {
                Some(Ok(Message::Binary(bytes))) => return bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// The next `Send`: its request number and envelope.
    pub(super) async fn receive_send(&mut self) -> (u32, Vec<u8>) {
        loop {
            match ClientFrame::decode(&self.receive().await).unwrap() {
                ClientFrame::Send { request, envelope } => return (request, envelope.to_vec()),
                ClientFrame::Ack(_) => {}
                ClientFrame::Resume(_) => panic!("a second resume"),
                other => panic!("not a send: {other:?}"),
            }
        }
    }

    /// The next `Ack`.
    pub(super) async fn receive_ack(&mut self) -> Vec<Cursor> {
        match ClientFrame::decode(&self.receive().await).unwrap() {
            ClientFrame::Ack(cursors) => cursors,
            other => panic!("expected an ack, got {other:?}"),
        }
    }

    /// Reads until the proxy closes; the code if it said one.
    pub(super) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.0.recv().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

type Knob = State<Arc<Knobs>>;

#[derive(serde::Deserialize)]
struct NonceQuery {
    nonce: Nonce32,
}

fn authorized(knobs: &Knobs, headers: &HeaderMap) -> bool {
    let wanted = format!("Bearer {}", knobs.key.lock().unwrap());
    let is = headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == wanted.as_bytes());
    knobs.authorized.fetch_add(usize::from(is), Ordering::Relaxed);
    is
}

async fn relay_info(State(knobs): Knob, headers: HeaderMap, Query(query): Query<NonceQuery>) -> Response {
    assert!(
        !headers.contains_key(AUTHORIZATION),
        "the key is not for whoever answers"
    );
    let seed = *knobs.identity.lock().unwrap();
    Json(describe(seed, seed, VERSION, query.nonce)).into_response()
}

async fn link(State(knobs): Knob, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !authorized(&knobs, &headers) {
        return problem(ProblemType::Unauthorized);
    }
    match knobs.refuse.load(Ordering::Relaxed) {
        0 => upgrade.on_upgrade(async move |socket| knobs.sockets.send(socket).unwrap()),
        403 => problem(ProblemType::Suspended),
        status => StatusCode::from_u16(status).unwrap().into_response(),
    }
}

async fn register() -> Json<Registered> {
    Json(Registered {
        agent_id: AgentId::from_bytes([7; 16]),
        api_key: API_KEY.to_owned(),
    })
}

async fn challenge(State(knobs): Knob, Json(asked): Json<ChallengeRequest>) -> Response {
    if knobs.new_key.lock().unwrap().is_none() {
        return problem(ProblemType::NotFound);
    }
    let seed = *knobs.identity.lock().unwrap();
    let mut challenge = Challenge {
        version: VERSION,
        relay: relay_id(seed),
        purpose: ChallengePurpose::ApiKey,
        handle: asked.handle,
        identity: IdentityKey::from_prefixed(&asked.identity.0).unwrap(),
        relay_nonce: Nonce32::from_bytes([4; 32]),
        agent_nonce: asked.nonce,
        time: 1_000,
    };
    assert_eq!(asked.purpose, Purpose::ApiKey);
    if let Some(forge) = *knobs.forge.lock().unwrap() {
        forge(&mut challenge);
    }
    let body = challenge.encode();
    let signature = relay_key(seed).sign(&signing_input(Label::SigChallenge, &[&body]));
    let signed = SignedBytes {
        body,
        signature: Signature::new(signature.to_bytes()),
    };
    let challenge = Base64Bytes(signed.encode());
    Json(ChallengeAnswer { challenge }).into_response()
}

async fn api_key(State(knobs): Knob, Json(asked): Json<ApiKeyRequest>) -> Response {
    if let Some(refusal) = asked.lease.as_ref().and_then(|lease| outdated(&knobs, &lease.0)) {
        return refusal;
    }
    let signed = SignedBytes::decode(&asked.challenge.0).unwrap();
    let body = Challenge::decode(&signed.body).unwrap();
    let proof = Signature::new(asked.proof.0);
    body.identity
        .verify(Label::SigProof, &[&signed.body], &proof)
        .unwrap();
    let key = knobs.new_key.lock().unwrap().clone().unwrap();
    key.clone_into(&mut knobs.key.lock().unwrap());
    Json(Registered {
        agent_id: AgentId::of(&body.relay, &body.identity),
        api_key: key,
    })
    .into_response()
}

async fn put_bundle(State(knobs): Knob, headers: HeaderMap, body: Bytes) -> Response {
    if !authorized(&knobs, &headers) {
        return problem(ProblemType::Unauthorized);
    }
    assert_eq!(headers["content-type"], "application/octet-stream");
    Json(bundle_of(std::str::from_utf8(&body).unwrap())).into_response()
}

async fn put_lease(State(knobs): Knob, headers: HeaderMap, body: Bytes) -> Response {
    if !authorized(&knobs, &headers) {
        return problem(ProblemType::Unauthorized);
    }
    if let Some(refusal) = outdated(&knobs, &body) {
        return refusal;
    }
    knobs.leases.lock().unwrap().push(body.to_vec());
    let lease = Base64Bytes(body.to_vec());
    Json(LeaseAnswer { lease }).into_response()
}

/// The refusal of a lease that another one stands in the way of.
fn outdated(knobs: &Knobs, lease: &[u8]) -> Option<Response> {
    let held = knobs.held.lock().unwrap().clone()?;
    (held != lease).then(|| {
        let stale = Problem {
            held: Some(Base64Bytes(held)),
            ..Problem::new(ProblemType::Stale)
        };
        (StatusCode::CONFLICT, Json(stale)).into_response()
    })
}

async fn bundle(State(knobs): Knob, headers: HeaderMap, Path(handle): Path<Handle>) -> Response {
    if !authorized(&knobs, &headers) {
        return problem(ProblemType::Unauthorized);
    }
    if knobs.hang.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    match handle.as_str() {
        "nobody" => problem(ProblemType::NotFound),
        "limited" => problem(ProblemType::RateLimited),
        "broken" => StatusCode::BAD_GATEWAY.into_response(),
        "teapot" => StatusCode::IM_A_TEAPOT.into_response(),
        "garbage" => "{}".into_response(),
        // Valid but for its length.
        "flood" => {
            let answer = serde_json::to_string(&bundle_of("flood")).unwrap();
            (answer + &" ".repeat(64 * 1024)).into_response()
        }
        handle => Json(bundle_of(handle)).into_response(),
    }
}
