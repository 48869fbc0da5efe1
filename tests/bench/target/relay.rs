//! The relay as a target: the real program with its default store, over its own interface.

use std::{cell::Cell, path::Path, rc::Rc};

use anyhow::{Context as _, bail, ensure};
use waxwire_shared::{
    api::frames::{ClientFrame, Cursor, Queue, RelayFrame},
    hash::sha256,
    ids::{AgentId, Mid},
    suite::Suite,
    wire::{DirectHeader, Document as _, Envelope, Lane},
};

use super::{
    Receiver, Sender, Target, Transport,
    accounts::{self, Account},
};
use crate::{http_client::Connection, process::Server, programs, socket::Socket};

/// Bytes of ciphertext that 500 bytes of text become: the 1 KiB bucket in a sealed box.
const CIPHERTEXT: usize = 1024 + 48;

/// A relay with two accounts for each agent of the load generator: one sends, one receives, so
/// that a sender's own socket is not pushed anything. A clone is the same relay.
#[derive(Clone)]
pub(crate) struct Relay {
    /// At least one.
    nodes: Rc<[Server]>,
    entry: Entry,
    senders: Rc<[Account]>,
    recipients: Rc<[AgentId]>,
    receivers: Rc<[(Account, Rc<Cell<u64>>)]>,
    connections: Rc<Cell<u64>>,
}

/// Which of a relay's nodes agents connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// All to the first.
    First,
    /// Those that send to the first, those that receive to the last.
    Apart,
    /// To one after the other, so that of two nodes half of the messages go to the other.
    Around,
}

impl Relay {
    /// A relay that runs, with new accounts.
    ///
    /// # Errors
    /// It refuses them.
    pub(crate) async fn on(server: Server, agents: usize) -> anyhow::Result<Self> {
        Self::of(vec![server], agents).await
    }

    /// The same of several nodes.
    ///
    /// # Errors
    /// They refuse the accounts, or there is none.
    pub(crate) async fn of(nodes: Vec<Server>, agents: usize) -> anyhow::Result<Self> {
        let first = nodes.first().context("a relay without nodes")?;
        let mut connection = Connection::open(first.address).await?;
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for agent in 0..agents {
            senders.push(accounts::register(&mut connection, &format!("sender-{agent}")).await?);
            let account = accounts::register(&mut connection, &format!("receiver-{agent}")).await?;
            receivers.push((account, Rc::new(Cell::new(0))));
        }
        Ok(Self {
            nodes: nodes.into(),
            entry: Entry::First,
            senders: senders.into(),
            recipients: receivers.iter().map(|(account, _)| account.id).collect(),
            receivers: receivers.into(),
            connections: Rc::default(),
        })
    }

    /// The same relay, to whose nodes agents connect in another way.
    pub(crate) fn entered(&self, entry: Entry) -> Self {
        Self {
            entry,
            ..self.clone()
        }
    }

    /// Its processes.
    pub(crate) fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    fn node(&self, agent: usize, receives: bool) -> &Server {
        let last = self.nodes.len() - 1;
        match self.entry {
            Entry::Apart if receives => &self.nodes[last],
            Entry::First | Entry::Apart => &self.nodes[0],
            Entry::Around => &self.nodes[agent % self.nodes.len()],
        }
    }
}

impl Target for Relay {
    const NAME: &'static str = "relay";
    type Sender = RelaySender;
    type Receiver = RelayReceiver;

    async fn start(folder: &Path, agents: usize) -> anyhow::Result<Self> {
        Self::on(programs::relay(folder, &programs::sqlite(folder))?, agents).await
    }

    fn server(&self) -> &Server {
        &self.nodes[0]
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.nodes.iter().map(Server::cpu_seconds).sum()
    }

    async fn sender(&self, agent: usize, transport: Transport) -> anyhow::Result<RelaySender> {
        let account = self.senders.get(agent).context("no such agent")?;
        let (node, authorization) = (self.node(agent, false), &account.authorization);
        let link = match transport {
            Transport::Http => Link::Http {
                connection: Connection::open(node.address).await?,
                headers: format!(
                    "authorization: {authorization}\r\ncontent-type: application/octet-stream\r\n"
                ),
            },
            Transport::Socket => Link::Socket(link(node, authorization, Vec::new()).await?),
        };
        let number = self.connections.get();
        self.connections.set(number + 1);
        Ok(RelaySender {
            link,
            recipients: Rc::clone(&self.recipients),
            number,
            sent: 0,
        })
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<RelayReceiver> {
        let (account, seen) = self.receivers.get(agent).context("no such agent")?;
        // From what was seen last, not from what was acked: an ack is written when the relay likes.
        let cursor = mail(seen.get());
        Ok(RelayReceiver {
            socket: link(self.node(agent, true), &account.authorization, vec![cursor]).await?,
            seen: Rc::clone(seen),
        })
    }
}

fn mail(position: u64) -> Cursor {
    Cursor {
        queue: Queue::Mail,
        position,
    }
}

/// The socket of an agent, after its first frames.
///
/// # Errors
/// The relay refuses it.
pub(crate) async fn link(
    server: &Server,
    authorization: &str,
    cursors: Vec<Cursor>,
) -> anyhow::Result<Socket> {
    let mut socket = Socket::open(server.address, "/v1/link", Some(authorization)).await?;
    socket.send(ClientFrame::Resume(cursors).encode()).await?;
    let first = socket.next().await?;
    ensure!(
        matches!(RelayFrame::decode(&first)?, RelayFrame::Welcome { .. }),
        "the relay's first frame is no welcome"
    );
    Ok(socket)
}

enum Link {
    Http { connection: Connection, headers: String },
    Socket(Socket),
}

/// Sends envelopes whose ciphertext begins with the tag.
pub(crate) struct RelaySender {
    link: Link,
    recipients: Rc<[AgentId]>,
    /// Of this connection; with `sent` it makes each `mid` a new one.
    number: u64,
    sent: u64,
}

impl RelaySender {
    fn envelope(&mut self, to: usize, tag: u64) -> anyhow::Result<Vec<u8>> {
        self.sent += 1;
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: Lane::Mail,
            to: *self.recipients.get(to).context("no such agent")?,
            key_number: 1,
            mid: mid(self.number, self.sent)?,
        };
        let mut ciphertext = [0x5a; CIPHERTEXT];
        ciphertext[..8].copy_from_slice(&tag.to_be_bytes());
        let envelope = Envelope {
            header: &header.encode(),
            ciphertext: &ciphertext,
        };
        Ok(envelope.to_bytes())
    }
}

/// As good as random, as real ones are: their order in the relay's index is part of the price.
fn mid(connection: u64, number: u64) -> anyhow::Result<Mid> {
    let hash = sha256(&[connection.to_be_bytes(), number.to_be_bytes()].concat());
    Ok(Mid::from_slice(&hash.as_bytes()[..16])?)
}

impl Sender for RelaySender {
    async fn send(&mut self, to: usize, tag: u64) -> anyhow::Result<()> {
        let envelope = self.envelope(to, tag)?;
        match &mut self.link {
            Link::Http { connection, headers } => {
                let answer = connection.post("/v1/envelopes", headers, &envelope).await?;
                let text = || String::from_utf8_lossy(&answer.body).into_owned();
                ensure!(answer.status == 201, "status {}: {}", answer.status, text());
                Ok(())
            }
            Link::Socket(socket) => send_frame(socket, self.sent, &envelope).await,
        }
    }
}

/// Sends one envelope as a frame and waits for its answer.
async fn send_frame(socket: &mut Socket, number: u64, envelope: &[u8]) -> anyhow::Result<()> {
    let expected = u32::try_from(number & u64::from(u32::MAX))?;
    let frame = ClientFrame::Send {
        request: expected,
        envelope,
    };
    socket.send(frame.encode()).await?;
    loop {
        match RelayFrame::decode(&socket.next().await?)? {
            RelayFrame::Stored {
                request,
                repeated: false,
                ..
            } if request == expected => return Ok(()),
            RelayFrame::Head(_) => {}
            other => bail!("not the answer: {other:?}"),
        }
    }
}

/// Reads what is delivered to an agent's mail queue.
pub(crate) struct RelayReceiver {
    socket: Socket,
    seen: Rc<Cell<u64>>,
}

impl Receiver for RelayReceiver {
    async fn next(&mut self) -> anyhow::Result<u64> {
        loop {
            let bytes = self.socket.next().await?;
            match RelayFrame::decode(&bytes)? {
                RelayFrame::Deliver(delivery) => {
                    ensure!(
                        delivery.cursor == mail(self.seen.get() + 1),
                        "{:?} after position {}",
                        delivery.cursor,
                        self.seen.get()
                    );
                    self.seen.set(delivery.cursor.position);
                    let ciphertext = Envelope::split(delivery.object)?.ciphertext;
                    let tag = ciphertext.first_chunk().context("a short ciphertext")?;
                    return Ok(u64::from_be_bytes(*tag));
                }
                RelayFrame::Head(_) => {}
                other => bail!("not a delivery: {other:?}"),
            }
        }
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        let ack = ClientFrame::Ack(vec![mail(self.seen.get())]);
        self.socket.send(ack.encode()).await
    }
}
