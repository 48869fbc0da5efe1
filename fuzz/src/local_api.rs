//! The local API of a proxy, from a request's first byte to the engine: hosts, tokens, paths, queries, bodies; and what
//! a client says over its socket.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use axum::Router;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;
use waxwire_proxy::{
    api::{self, ApiConfig, ApiState, ApiToken, Checks, Hosts},
    attachments::{Attachments, Bounds},
    clock::Clock,
    crypto::secret::StateMasterKey,
    engine::{Engine, InboxMode, Settings},
    keeper::Keeper,
    link::{Client, LinkCommand, RelayUrl},
    model::Me,
    shell,
    state::{ColumnKeys, Reader, Store},
    webhooks::Allowed,
};
use waxwire_shared::fingerprint::Fingerprint;

use crate::{engine::account, files, http};

table! {
    "local_api" => local_api,
    "local_socket" => local_socket,
}

const HOST: &str = "127.0.0.1:7700";

/// Paths that answer whoever knows the host.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

fn token() -> String {
    format!("wx_{}", "Ab-_".repeat(11).get(..43).unwrap_or_default())
}

/// A proxy without a link.
struct Face {
    runtime: Runtime,
    router: Router,
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    _folder: TempDir,
}

impl Face {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let state = folder.path().join("state");
        let keeper = Keeper::new(files::new_store(&state));
        let keys = Arc::new(ColumnKeys::new(StateMasterKey::from_slice(&[1; 32]).unwrap()));
        Store::create(&state, Arc::clone(&keys), [1; 8], 1).unwrap();
        let store = Store::open(&state, Arc::clone(&keys)).unwrap();
        let (account, bundle) = account("alice", 1);
        store.put_own_bundle(&bundle).unwrap();
        let me = Me {
            handle: account.handle.clone(),
            agent_id: account.agent_id.to_string(),
            fingerprint: Fingerprint::of(account.identity.public()),
            relay: Fingerprint::of(&account.relay_identity),
            created_at: 1,
        };
        let rng = ChaCha20Rng::from_seed([0x66; 32]);
        let engine = Engine::new(account, Settings::default(), store, Box::new(rng));
        let (link, commands) = mpsc::unbounded_channel();
        let running = shell::start(engine, Clock::resume(0), link, keeper).unwrap();
        let relay = RelayUrl::parse("http://127.0.0.1:1", false).unwrap();
        let bounds = Bounds {
            attachment: 100_000,
            space: 1_000_000,
        };
        let client = Arc::new(Client::new(relay).unwrap());
        let config = ApiConfig {
            me,
            inbox_mode: InboxMode::ContactsOnly,
            hosts: Hosts::tcp(HOST.parse().unwrap()),
            place: format!("http://{HOST}"),
            token: ApiToken::parse(&token()).unwrap(),
            readiness: Arc::new(|| Checks::new(false, true, true)),
            metrics: None,
            attachments: Arc::new(Attachments::open(client, &state, bounds, &[]).unwrap()),
            max_sockets: 2,
            webhook_hosts: Arc::new(Allowed::new(vec!["localhost:9".parse().unwrap()])),
            stopping: CancellationToken::new(),
        };
        let reader = Reader::open(&state, keys).unwrap();
        let router = api::router(ApiState::new(running.handle, reader, config));
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            router,
            commands,
            _folder: folder,
        }
    }

    fn ask(&mut self, request: ::http::Request<http_body_util::Full<bytes::Bytes>>) -> Option<http::Answer> {
        let answer = self
            .runtime
            .block_on(http::ask(&self.router, request, http::PATIENCE));
        while self.commands.try_recv().is_ok() {}
        answer
    }
}

thread_local! {
    static FACE: std::cell::OnceCell<std::cell::RefCell<Face>> = const { std::cell::OnceCell::new() };
}

/// Whoever is answered has shown the token and named the host, and every refusal has its form.
fn local_api(bytes: &[u8]) -> bool {
    let usual = [
        ("host", HOST.to_owned()),
        ("authorization", format!("Bearer {}", token())),
        ("content-type", "application/json".to_owned()),
    ];
    let Some(request) = http::request(bytes, &usual) else {
        return false;
    };
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let head = request.method() == ::http::Method::HEAD;
    let answer = FACE.with(|face| {
        let face = face.get_or_init(|| std::cell::RefCell::new(Face::new()));
        face.borrow_mut().ask(request)
    });
    let Some(answer) = answer else {
        return false;
    };
    assert_ne!(answer.status, 500, "{path}");
    let cors = |name: &::http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!answer.headers.keys().any(cors));
    if answer.status >= 400 {
        if !head && path != "/readyz" {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(body["code"].is_string() && body["message"].is_string(), "{body}");
        }
        return false;
    }
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).cloned()
    };
    assert!(only("host").is_some_and(|host| host.as_bytes().ends_with(b":7700")));
    let shown = only("authorization").is_some_and(|shown| shown.as_bytes().ends_with(token().as_bytes()));
    assert!(shown || OPEN.contains(&path.as_str()), "{path}");
    true
}

/// What a client says over its socket.
fn local_socket(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(api::is_frame)
}
