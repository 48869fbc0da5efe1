//! A relay and two crypto proxies as a target: plaintext in at one, plaintext out at the other.

use std::{cell::Cell, path::Path};

use anyhow::{Context as _, ensure};
use tokio::task::spawn_local;

use super::{Receiver, Sender, Target, Transport};
use crate::{
    http_client::Connection,
    process::Server,
    programs::{self, Sidecar},
    socket::Socket,
};

/// Characters of each message.
const TEXT: usize = 500;
/// What its tag comes after.
const TAG: &str = "tag-";
/// Sends that wait for their answers at the same time.
const AT_ONCE: usize = 64;
/// Digits of a tag.
const DIGITS: usize = 16;

/// One sending and one receiving agent.
pub(crate) struct Pair {
    /// Between them.
    pub(crate) relay: Server,
    /// The agent that sends.
    pub(crate) alice: Sidecar,
    /// The agent that receives.
    pub(crate) bob: Sidecar,
    connections: Cell<u64>,
}

impl Pair {
    /// Sends so many messages over several connections at the same time.
    ///
    /// # Errors
    /// One is refused.
    pub(crate) async fn send_all(&self, messages: usize) -> anyhow::Result<()> {
        let mut senders = Vec::with_capacity(AT_ONCE);
        for first in 0..AT_ONCE {
            let mut agent = self.sender(0, Transport::Http).await?;
            senders.push(spawn_local(async move {
                for tag in (first..messages).step_by(AT_ONCE) {
                    agent.send(0, tag as u64).await?;
                }
                anyhow::Ok(())
            }));
        }
        for sender in senders {
            sender.await??;
        }
        Ok(())
    }

    /// Messages that the agent that receives has not taken.
    ///
    /// # Errors
    /// Its proxy does not answer.
    pub(crate) async fn unread(&self) -> anyhow::Result<usize> {
        #[derive(serde::Deserialize)]
        struct Count {
            unread: usize,
        }
        let headers = format!("authorization: {}\r\n", self.bob.authorization);
        let mut connection = Connection::open(self.bob.server.address).await?;
        let answer = connection.get("/v1/inbox/unread-count", &headers).await?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(serde_json::from_slice::<Count>(&answer.body)?.unread)
    }
}

impl Target for Pair {
    const NAME: &'static str = "relay and two crypto proxies";
    type Sender = Agent;
    type Receiver = Feed;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        let relay = programs::relay(folder, &programs::sqlite(folder))?;
        Ok(Self {
            alice: Sidecar::start(folder, &relay, "alice")?,
            bob: Sidecar::start(folder, &relay, "bob")?,
            relay,
            connections: Cell::new(0),
        })
    }

    fn server(&self) -> &Server {
        &self.alice.server
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<Agent> {
        ensure!(
            transport == Transport::Http,
            "a crypto proxy takes messages by POST only"
        );
        let number = self.connections.get();
        self.connections.set(number + 1);
        Ok(Agent {
            connection: Connection::open(self.alice.server.address).await?,
            headers: format!(
                "authorization: {}\r\ncontent-type: application/json\r\n",
                self.alice.authorization
            ),
            number,
            sent: 0,
        })
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<Feed> {
        ensure!(agent == 0, "there is one agent that receives");
        let bob = &self.bob;
        let mut socket = Socket::open(bob.server.address, "/v1/ws", Some(&bob.authorization)).await?;
        let hello = socket.next().await?;
        ensure!(find(&hello, b"hello.ok").is_some(), "the first frame is no hello");
        Ok(Feed(socket))
    }
}

/// A connection of the agent that sends.
pub(crate) struct Agent {
    connection: Connection,
    headers: String,
    /// Of this connection; with `sent` it makes each id a new one.
    number: u64,
    sent: u64,
}

impl Sender for Agent {
    async fn send(&mut self, _to: usize, tag: u64) -> anyhow::Result<()> {
        self.sent += 1;
        let id = format!("{}-{}", self.number, self.sent);
        let filling = TEXT - TAG.len() - DIGITS;
        let body = format!(
            r#"{{"to":"bob","client_msg_id":"{id}","content":{{"text":"{TAG}{tag:016x}{:x<filling$}"}}}}"#,
            ""
        );
        let answer = self
            .connection
            .post("/v1/messages", &self.headers, body.as_bytes())
            .await?;
        let text = || String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 201, "status {}: {}", answer.status, text());
        Ok(())
    }
}

/// The socket of the agent that receives. What was written to it counts as settled: it needs no acks.
pub(crate) struct Feed(Socket);

impl Receiver for Feed {
    async fn next(&mut self) -> anyhow::Result<u64> {
        loop {
            let frame = self.0.next().await?;
            if let Some(place) = find(&frame, TAG.as_bytes()) {
                let digits = frame.get(place + TAG.len()..).unwrap_or_default();
                let digits = digits.get(..DIGITS).context("a short tag")?;
                return Ok(u64::from_str_radix(str::from_utf8(digits)?, 16)?);
            }
        }
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn find(frame: &[u8], what: &[u8]) -> Option<usize> {
    frame.windows(what.len()).position(|window| window == what)
}
