//! What the load generator drives: anything that stores a message durably and pushes it on.
//!
//! A new target is one file with one implementation of [`Target`]; the load generator, the runs and
//! the report are generic over it. Agents are numbered from 0. Everything runs on one thread.

pub(crate) mod accounts;
pub(crate) mod bare;
pub(crate) mod jetstream;
pub(crate) mod matrix;
pub(crate) mod nostr;
pub(crate) mod pair;
pub(crate) mod relay;
pub(crate) mod yardstick;

use std::path::Path;

use crate::process::Server;

/// How a sender reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// One request a message on a keep-alive HTTP/1.1 connection.
    Http,
    /// Frames on the sender's WebSocket.
    Socket,
}

/// A server under test: a process of its own with a fresh database.
pub(crate) trait Target: Sized {
    /// Its name in reports.
    const NAME: &'static str;
    /// A connected sender.
    type Sender: Sender + 'static;
    /// A connected recipient.
    type Receiver: Receiver + 'static;

    /// Starts it with its files below `folder`, ready for agents `0..agents` to connect; accounts
    /// that it needs for that are made here.
    async fn start(folder: &Path, agents: usize) -> anyhow::Result<Self>;

    /// Its process; the first, if it has several.
    fn server(&self) -> &Server;

    /// See [`Server::cpu_seconds`]; of all its processes.
    ///
    /// # Errors
    /// One has ended.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.server().cpu_seconds()
    }

    /// A new connection over which `agent` sends; refuses a transport that the target has not.
    async fn sender(&self, agent: usize, transport: Transport) -> anyhow::Result<Self::Sender>;

    /// A new connection that receives what is sent to `agent` from now on.
    async fn receiver(&self, agent: usize) -> anyhow::Result<Self::Receiver>;
}

/// Sends one message at a time.
pub(crate) trait Sender {
    /// Sends a message that carries the tag and returns once the server said that it is durable.
    /// Anything other than that is an error: a benchmark of refusals measures nothing.
    async fn send(&mut self, to: usize, tag: u64) -> anyhow::Result<()>;
}

/// Receives what the server pushes.
pub(crate) trait Receiver {
    /// The tag of the next message. Cancel safe: a call that is dropped loses no message.
    async fn next(&mut self) -> anyhow::Result<u64>;

    /// Tells the server that everything returned so far has arrived; waits for no answer.
    async fn ack(&mut self) -> anyhow::Result<()>;
}
