//! Matrix as a target: a Synapse on SQLite, and a pantalaimon for each of two users of an encrypted room. Plaintext in at one,
//! plaintext out at the other's `/sync`.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{Receiver, Sender, Target, Transport};
use crate::{
    clock,
    http_client::{Answer, Connection},
    process::{self, Server},
    programs,
};

/// Characters of each message, and digits of the tag that it begins with.
const TEXT: usize = 500;
const DIGITS: usize = 16;
/// Where the API of clients is.
const API: &str = "/_matrix/client/v3";
/// Waits for what comes; the default of ten messages at a time would leave out some of a burst.
const SYNC: &str = "timeout=10000&filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:1000%7D%7D%7D";
/// How long the users may take until one can read what the other writes, and how often that is tried.
const MEETING: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(500);

/// Two users and their server.
pub(crate) struct Matrix {
    alice: User,
    bob: User,
    /// Path of the room.
    room: String,
    _synapse: Server,
}

/// A user's pantalaimon, and headers of requests to it.
struct User {
    pantalaimon: Server,
    headers: String,
}

impl Target for Matrix {
    const NAME: &'static str = "Matrix Synapse and two pantalaimons";
    type Sender = Author;
    type Receiver = Timeline;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        let synapse = synapse(folder).await?;
        let (alice, bob) = (
            User::start(folder, &synapse, "alice").await?,
            User::start(folder, &synapse, "bob").await?,
        );
        let room = json!({"preset": "trusted_private_chat", "invite": ["@bob:bench"]});
        let made = alice.post("/createRoom", &room).await?;
        let room = format!("/rooms/{}", made["room_id"].as_str().context("no room")?);
        bob.post(&format!("{room}/join"), &json!({})).await?;
        let matrix = Self {
            alice,
            bob,
            room,
            _synapse: synapse,
        };
        matrix.encrypt().await?;
        Ok(matrix)
    }

    fn server(&self) -> &Server {
        &self.alice.pantalaimon
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<Author> {
        ensure!(transport == Transport::Http, "there is no other way than HTTP");
        Ok(Author {
            connection: self.alice.connect().await?,
            headers: self.alice.headers.clone(),
            room: self.room.clone(),
        })
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<Timeline> {
        ensure!(agent == 0, "there is one user who receives");
        let mut sync = Sync {
            connection: self.bob.connect().await?,
            headers: self.bob.headers.clone(),
            since: String::new(),
        };
        sync.ask("timeout=0").await?;
        let (tags, received) = mpsc::unbounded_channel();
        let mut syncing = JoinSet::new();
        syncing.spawn_local(sync.follow(tags));
        Ok(Timeline {
            received,
            _syncing: syncing,
        })
    }
}

impl Matrix {
    /// Encrypts the room, once both are in it: a pantalaimon that knows of the one knows of the other, too. Returns when
    /// the first message was decrypted.
    async fn encrypt(&self) -> anyhow::Result<()> {
        let path = format!("{API}{}/state/m.room.encryption/", self.room);
        let settings = json!({"algorithm": "m.megolm.v1.aes-sha2"}).to_string();
        let mut alice = self.alice.connect().await?;
        parse(&alice.put(&path, &self.alice.headers, settings.as_bytes()).await?)?;
        let mut author = self.sender(0, Transport::Http).await?;
        let mut timeline = self.receiver(0).await?;
        let begin = clock::now();
        loop {
            // Until her pantalaimon knows the room it refuses to send.
            let sent = author.send(0, 0).await;
            if let Ok(tag) = timeout(STEP, timeline.next()).await {
                return tag.map(drop);
            }
            if begin.elapsed() > MEETING {
                sent?;
                bail!("no message was decrypted");
            }
        }
    }
}

/// A server without limits; JSON is YAML.
async fn synapse(folder: &Path) -> anyhow::Result<Server> {
    let address = process::free_address()?;
    let log = folder.join("synapse.json");
    let logging = json!({"version": 1, "handlers": {"all": {"class": "logging.StreamHandler"}},
        "root": {"level": "WARNING", "handlers": ["all"]}});
    fs::write(&log, logging.to_string())?;
    let unlimited = json!({"per_second": 1_000_000, "burst_count": 1_000_000});
    let configuration = json!({
        "server_name": "bench",
        "listeners": [{"port": address.port(), "bind_addresses": [address.ip()], "type": "http",
            "resources": [{"names": ["client"]}]}],
        "database": {"name": "sqlite3", "args": {"database": folder.join("synapse.db")}},
        "media_store_path": folder.join("media"),
        "log_config": log,
        "report_stats": false,
        "trusted_key_servers": [],
        "enable_registration": true,
        "enable_registration_without_verification": true,
        "rc_message": unlimited,
        // A receiver begins with what is new, not with what another one began with.
        "caches": {"sync_response_cache_duration": 0},
        "filter_timeline_limit": -1,
        // Any will do: it meets nobody else.
        "signing_key": format!("ed25519 bench {}", "A".repeat(43)),
        "macaroon_secret_key": "bench",
        "form_secret": "bench",
    });
    let path = folder.join("homeserver.yaml");
    fs::write(&path, configuration.to_string())?;
    let mut command = programs::peer("synapse_homeserver")?;
    command.arg("--config-path").arg(path).current_dir(folder);
    Server::start_at(&mut command, address, &folder.join("synapse.log")).await
}

impl User {
    /// A new user of the server, logged in at a pantalaimon that asks nobody to verify devices.
    async fn start(folder: &Path, synapse: &Server, name: &str) -> anyhow::Result<Self> {
        let password = "a password of the bench";
        let mut user = Self {
            pantalaimon: pantalaimon(&folder.join(name), synapse).await?,
            headers: String::new(),
        };
        let account = json!({"username": name, "password": password, "inhibit_login": true,
            "auth": {"type": "m.login.dummy"}});
        user.post("/register", &account).await?;
        let login = json!({"type": "m.login.password", "password": password,
            "identifier": {"type": "m.id.user", "user": name}});
        let logged_in = user.post("/login", &login).await?;
        let token = logged_in["access_token"].as_str().context("no token")?;
        user.headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        user.has_keys(&format!("@{name}:bench")).await?;
        Ok(user)
    }

    /// Returns when the pantalaimon has published the keys of its device. A room that is encrypted earlier stays unreadable.
    async fn has_keys(&self, id: &str) -> anyhow::Result<()> {
        let begin = clock::now();
        let query = json!({"device_keys": {id: []}});
        loop {
            let devices = self.post("/keys/query", &query).await?;
            if devices["device_keys"][id]
                .as_object()
                .is_some_and(|devices| !devices.is_empty())
            {
                return Ok(());
            }
            ensure!(begin.elapsed() < MEETING, "{id} has no keys");
            tokio::time::sleep(STEP).await;
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.pantalaimon.address).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut connection = self.connect().await?;
        let answer = connection
            .post(
                &format!("{API}{path}"),
                &self.headers,
                body.to_string().as_bytes(),
            )
            .await?;
        parse(&answer).with_context(|| format!("POST {path}"))
    }
}

async fn pantalaimon(folder: &Path, synapse: &Server) -> anyhow::Result<Server> {
    fs::create_dir(folder)?;
    let address = process::free_address()?;
    let path = folder.join("pantalaimon.conf");
    let configuration = format!(
        "[bench]\nHomeserver = http://{}\nListenAddress = {}\nListenPort = {}\nSSL = False\nUseKeyring = no\n\
        IgnoreVerification = True\n",
        synapse.address,
        address.ip(),
        address.port()
    );
    fs::write(&path, configuration)?;
    let mut command = programs::peer("pantalaimon")?;
    command.arg("--config").arg(path).arg("--data-path").arg(folder);
    // Its working folder is the user's home.
    command.env("HOME", folder);
    Server::start_at(&mut command, address, &folder.join("pantalaimon.log")).await
}

fn parse(answer: &Answer) -> anyhow::Result<Value> {
    let text = || String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "status {}: {}", answer.status, text());
    Ok(serde_json::from_slice(&answer.body)?)
}

/// A connection of the user who sends.
pub(crate) struct Author {
    connection: Connection,
    headers: String,
    room: String,
}

impl Sender for Author {
    async fn send(&mut self, _to: usize, tag: u64) -> anyhow::Result<()> {
        let text = format!("{tag:016x}{:x<filling$}", "", filling = TEXT - DIGITS);
        let content = json!({"msgtype": "m.text", "body": text}).to_string();
        // Without an id of a transaction, which would have to be a new one.
        let path = format!("/_matrix/client/r0{}/send/m.room.message", self.room);
        let sent = self.connection.post(&path, &self.headers, content.as_bytes());
        parse(&sent.await?).map(drop)
    }
}

/// The messages that the other user gets. A sync that is under way goes on in a task of its own, so that no caller can cancel it.
pub(crate) struct Timeline {
    received: mpsc::UnboundedReceiver<anyhow::Result<u64>>,
    _syncing: JoinSet<()>,
}

impl Receiver for Timeline {
    async fn next(&mut self) -> anyhow::Result<u64> {
        self.received.recv().await.context("there are no more syncs")?
    }

    /// The next sync says so.
    async fn ack(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// One sync after the other.
struct Sync {
    connection: Connection,
    headers: String,
    since: String,
}

impl Sync {
    async fn follow(mut self, tags: mpsc::UnboundedSender<anyhow::Result<u64>>) {
        if let Err(error) = self.forward(&tags).await {
            // Nobody listens any more when the receiver is gone.
            let _ = tags.send(Err(error));
        }
    }

    async fn forward(&mut self, tags: &mpsc::UnboundedSender<anyhow::Result<u64>>) -> anyhow::Result<()> {
        loop {
            let query = format!("{SYNC}&since={}", self.since);
            for tag in decrypted(&self.ask(&query).await?)? {
                tags.send(Ok(tag))?;
            }
        }
    }

    async fn ask(&mut self, query: &str) -> anyhow::Result<Value> {
        let path = format!("{API}/sync?{query}");
        let answer = parse(&self.connection.get(&path, &self.headers).await?)?;
        let next = answer["next_batch"].as_str().context("no end of a sync")?;
        next.clone_into(&mut self.since);
        Ok(answer)
    }
}

/// Tags of the messages that were encrypted and have been decrypted.
fn decrypted(sync: &Value) -> anyhow::Result<Vec<u64>> {
    let rooms = sync["rooms"]["join"].as_object();
    let rooms = rooms.into_iter().flat_map(serde_json::Map::values);
    let events = rooms.filter_map(|room| room["timeline"]["events"].as_array());
    let decrypted = events.flatten().filter(|event| event["decrypted"] == true);
    let texts = decrypted.filter_map(|event| event["content"]["body"].as_str());
    texts
        .map(|text| {
            Ok(u64::from_str_radix(
                text.get(..DIGITS).context("a short tag")?,
                16,
            )?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_decrypted_counts() {
        let event = |body: &str, decrypted| json!({"content": {"body": body}, "decrypted": decrypted});
        let events = [
            event("000000000000000fxx", true),
            event("0000000000000001xx", false),
            json!({"type": "m.room.encrypted", "content": {"ciphertext": "x"}}),
        ];
        let sync = json!({"rooms": {"join": {"!room": {"timeline": {"events": events}}}}});
        assert_eq!(decrypted(&sync).unwrap(), [15]);
        assert!(decrypted(&json!({"next_batch": "s1"})).unwrap().is_empty());
    }
}
