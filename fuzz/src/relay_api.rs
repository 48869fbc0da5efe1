//! The relay's interface as an agent of it, and whoever has the master key, may use it: a whole relay behind its router, so that paths, queries, ranges,
//! headers and bodies are read by what reads them, and meet a database.

use std::{
    cell::OnceCell,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use clap::Parser as _;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use waxwire_relay::{
    api,
    cli::{Cli, Command},
    clock::Clock,
    config::Config,
    delivery::Timing,
    rng::{Random, RandomError},
    server::{Server, Surroundings},
};
use waxwire_shared::{
    api::rest::{Base64Bytes, ChallengeAnswer, Registered},
    ids::RelayId,
    labels::Label,
    sign::SignedBytes,
    wire::Document as _,
};

use crate::{
    http::{self, Answer, PATIENCE},
    relay::{NOW, alice, bundle_for},
};

table! {
    "relay_api" => relay_api,
    "relay_admin" => relay_admin,
}

/// A blob that is whole, and one that is half there.
pub(crate) const WHOLE: &str = "11111111111111111111111111111111";
pub(crate) const HALF: &str = "22222222222222222222222222222222";

#[derive(Debug)]
struct Seeded(std::sync::Mutex<ChaCha20Rng>);

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.lock().unwrap().fill_bytes(bytes);
        Ok(())
    }
}

/// A relay with one agent, and the key with which it is asked: the agent's, or its own.
struct World {
    runtime: Runtime,
    router: Router,
    key: String,
    _server: Server,
    _folder: TempDir,
}

const MASTER_KEY: &str = "a master key of thirty-two bytes, and some more";

const CONFIG: &str = r#"
registration = "open"
transparency = { enabled = false }
[limits]
sends_per_minute = 0
org_sends_per_hour = 0
control_per_minute = 0
transients_per_minute = 0
groups = 0
groups_per_hour = 0
joins_and_leaves_per_hour = 0
commits_per_minute = 0
directory_per_minute = 0
directory_per_day = 0
lookup_misses_per_minute = 0
lookup_misses_per_day = 0
"#;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let path = folder.path().join("relay.toml");
        let master = folder.path().join("master");
        fs::write(&master, MASTER_KEY).unwrap();
        fs::set_permissions(&master, Permissions::from_mode(0o600)).unwrap();
        let place = format!(
            "listen = \"unix:{at}/relay\"\ndatabase = \"sqlite://{at}/relay.db\"\nmaster_key_file = \"{at}/master\"\n"
        );
        fs::write(&path, place + CONFIG).unwrap();
        let arguments = ["waxwire-relay", "serve", "--config", path.to_str().unwrap()];
        let Command::Serve(arguments) = Cli::parse_from(arguments).command else {
            unreachable!("serve was asked for");
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let surroundings = Surroundings {
            clock: Clock::Manual(Arc::new(NOW.into())),
            random: Arc::new(Seeded(ChaCha20Rng::from_seed([0x67; 32]).into())),
            timing: Timing::default(),
            shutdown: CancellationToken::new(),
        };
        let config = Config::resolve(*arguments).unwrap();
        let server = runtime.block_on(Server::start(config, surroundings)).unwrap();
        let relay = *server.relay().identity.id();
        let mut world = Self {
            router: api::router(Arc::clone(server.relay())),
            runtime,
            key: String::new(),
            _server: server,
            _folder: folder,
        };
        world.key = world.register(&relay);
        let octets = "content-type: application/octet-stream";
        for (blob, length) in [(WHOLE, 9), (HALF, 20)] {
            world.must(&format!(
                "POST /v1/blobs\n\n{{\"blob_id\":\"{blob}\",\"length\":{length}}}"
            ));
            world.must(&format!("PATCH /v1/blobs/{blob}?offset=0\n{octets}\n\nall of it"));
        }
        world
    }

    fn administered() -> Self {
        Self {
            key: MASTER_KEY.to_owned(),
            ..Self::new()
        }
    }

    fn ask(&self, bytes: &[u8], patience: Duration) -> Option<Answer> {
        let usual = [
            ("authorization", format!("Bearer {}", self.key)),
            ("content-type", "application/json".to_owned()),
        ];
        let request = http::request(bytes, &usual)?;
        self.runtime.block_on(http::ask(&self.router, request, patience))
    }

    /// What must not fail, however busy the machine is.
    fn must(&self, request: &str) -> Answer {
        let answer = self.ask(request.as_bytes(), Duration::from_secs(60)).unwrap();
        assert!(answer.status < 300, "{request}: {}", answer.status);
        answer
    }

    fn register(&self, relay: &RelayId) -> String {
        let identity = alice();
        let asked = json!({
            "purpose": "register",
            "handle": "alice",
            "identity": Base64Bytes(identity.public().to_prefixed()),
            "nonce": "07".repeat(32),
        });
        let answer = self.must(&format!("POST /v1/challenges\n\n{asked}"));
        let challenge: ChallengeAnswer = serde_json::from_slice(&answer.body).unwrap();
        let body = SignedBytes::decode(&challenge.challenge.0).unwrap().body;
        let proof = identity.sign(Label::SigProof, &[&body]);
        let asked = json!({
            "challenge": challenge.challenge,
            "proof": Base64Bytes(proof.as_bytes().to_vec()),
            "bundle": Base64Bytes(bundle_for(relay)),
        });
        let answer = self.must(&format!("POST /v1/agents\n\n{asked}"));
        let registered: Registered = serde_json::from_slice(&answer.body).unwrap();
        registered.api_key
    }
}

thread_local! {
    static OF_AGENT: OnceCell<World> = const { OnceCell::new() };
    static OF_ADMINISTRATOR: OnceCell<World> = const { OnceCell::new() };
}

fn relay_api(bytes: &[u8]) -> bool {
    OF_AGENT.with(|world| is_taken(bytes, world.get_or_init(World::new)))
}

fn relay_admin(bytes: &[u8]) -> bool {
    OF_ADMINISTRATOR.with(|world| is_taken(bytes, world.get_or_init(World::administered)))
}

/// Nothing that somebody asks for is a fault of the relay's, and what is answered is as long as it says.
fn is_taken(bytes: &[u8], world: &World) -> bool {
    let Some(answer) = world.ask(bytes, PATIENCE) else {
        return false;
    };
    assert_ne!(answer.status, 500);
    if let Some(length) = answer.headers.get(::http::header::CONTENT_LENGTH)
        && !bytes.starts_with(b"HEAD")
    {
        let length: usize = length.to_str().unwrap().parse().unwrap();
        assert_eq!(answer.body.len(), length);
    }
    answer.status < 300
}
