//! The bare yardstick as a target.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::{Receiver, Sender, Target, Transport};
use crate::{http_client::Connection, process::Server, socket::Socket};

/// Bytes of a message: the plaintext alone, since what sealing adds is a price of the relay.
const BODY: usize = 500;

/// The yardstick with group commit.
pub(crate) struct Yardstick {
    server: Server,
}

/// The yardstick in its mode of one commit a message.
pub(crate) struct OneCommit {
    inner: Yardstick,
}

impl Yardstick {
    fn spawn(folder: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let program = env::current_exe().context("the path of this program")?;
        let mut command = Command::new(program);
        command
            .args(["yardstick", "--database"])
            .arg(folder.join("yardstick.db"));
        let server = Server::start(command.args(flags))?;
        Ok(Self { server })
    }
}

impl Target for Yardstick {
    const NAME: &'static str = "yardstick";
    type Sender = YardstickSender;
    type Receiver = YardstickReceiver;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        Self::spawn(folder, &[])
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<YardstickSender> {
        ensure!(
            transport == Transport::Http,
            "the yardstick takes messages by POST only"
        );
        YardstickSender::open(&self.server).await
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<YardstickReceiver> {
        YardstickReceiver::open(&self.server, agent).await
    }
}

impl Target for OneCommit {
    const NAME: &'static str = "yardstick, one commit a message";
    type Sender = YardstickSender;
    type Receiver = YardstickReceiver;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        let inner = Yardstick::spawn(folder, &["--no-batch"])?;
        Ok(Self { inner })
    }

    fn server(&self) -> &Server {
        &self.inner.server
    }

    async fn sender(&self, agent: usize, transport: Transport) -> anyhow::Result<YardstickSender> {
        self.inner.sender(agent, transport).await
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<YardstickReceiver> {
        self.inner.receiver(agent).await
    }
}

/// Posts bodies whose first 8 bytes are the tag.
pub(crate) struct YardstickSender {
    connection: Connection,
    body: Vec<u8>,
}

impl YardstickSender {
    /// Connects to a server that speaks as the yardstick does.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn open(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(server.address).await?,
            body: vec![0x5a; BODY],
        })
    }
}

impl Sender for YardstickSender {
    async fn send(&mut self, to: usize, tag: u64) -> anyhow::Result<()> {
        self.body[..8].copy_from_slice(&tag.to_be_bytes());
        let answer = self
            .connection
            .post(&format!("/send/{to}"), "", &self.body)
            .await?;
        ensure!(
            answer.status == 201 && !answer.body.is_empty(),
            "status {}",
            answer.status
        );
        Ok(())
    }
}

/// Reads frames of id (8 bytes, big-endian) and body.
pub(crate) struct YardstickReceiver {
    socket: Socket,
    last: Option<Bytes>,
}

impl YardstickReceiver {
    /// Connects to a server that speaks as the yardstick does.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn open(server: &Server, agent: usize) -> anyhow::Result<Self> {
        let socket = Socket::open(server.address, &format!("/socket/{agent}"), None).await?;
        Ok(Self { socket, last: None })
    }
}

impl Receiver for YardstickReceiver {
    async fn next(&mut self) -> anyhow::Result<u64> {
        let mut frame = self.socket.next().await?;
        ensure!(frame.len() == 8 + BODY, "a frame of {} bytes", frame.len());
        self.last = Some(frame.split_to(8));
        Ok(u64::from_be_bytes(frame[..8].try_into()?))
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        if let Some(id) = self.last.take() {
            self.socket.send(id).await?;
        }
        Ok(())
    }
}
