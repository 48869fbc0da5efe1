//! NATS JetStream as a target: a stream on disk that flushes before it acknowledges, a push consumer for each recipient.

use std::{
    cell::Cell,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Receiver, Sender, Target, Transport};
use crate::process::Server;

/// Bytes of a message.
const TEXT: usize = 500;
/// Subscriptions of a connection.
const ANSWERS: u8 = 1;
const DELIVERIES: u8 = 2;
/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// A server with one stream.
pub(crate) struct Jetstream {
    server: Server,
    connections: Cell<u64>,
}

/// The program, as `scripts/peers` installs it.
fn program() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let target = bench
        .ancestors()
        .nth(2)
        .context("the program is in no target folder")?;
    let program = target.join("peers/bin/nats-server");
    ensure!(
        program.exists(),
        "no {}: scripts/peers installs it",
        program.display()
    );
    Ok(program)
}

impl Target for Jetstream {
    const NAME: &'static str = "NATS JetStream";
    type Sender = Publisher;
    type Receiver = Consumer;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        // It announces no port of its own choice.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = folder.join("nats.conf");
        let store = folder.join("jetstream");
        fs::write(
            &configuration,
            format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n"),
        )?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo listening on http://$0; exec \"$1\" --config \"$2\""])
            .arg(address.to_string())
            .arg(program()?)
            .arg(configuration)
            .stderr(Stdio::null());
        let jetstream = Self {
            server: Server::start(&mut command)?,
            connections: Cell::new(0),
        };
        let mut client = jetstream.connect().await?;
        let stream = json!({"name": "bench", "subjects": ["m.*"], "storage": "file"});
        client
            .ask("$JS.API.STREAM.CREATE.bench", &stream.to_string().into_bytes())
            .await?;
        Ok(jetstream)
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn sender(&self, _agent: usize, transport: Transport) -> anyhow::Result<Publisher> {
        ensure!(
            transport == Transport::Socket,
            "there is one protocol, over a socket"
        );
        Ok(Publisher(self.connect().await?))
    }

    async fn receiver(&self, agent: usize) -> anyhow::Result<Consumer> {
        let mut client = self.connect().await?;
        let name = format!("r{agent}-{}", client.number);
        client.subscribe(&format!("d.{name}"), DELIVERIES).await?;
        let consumer = json!({"stream_name": "bench", "config": {
            "durable_name": name, "deliver_subject": format!("d.{name}"), "filter_subject": format!("m.{agent}"),
            "ack_policy": "all", "deliver_policy": "new", "max_ack_pending": -1,
        }});
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.bench.{name}");
        client.ask(&subject, &consumer.to_string().into_bytes()).await?;
        Ok(Consumer { client, last: None })
    }
}

impl Jetstream {
    async fn connect(&self) -> anyhow::Result<Client> {
        let number = self.connections.get();
        self.connections.set(number + 1);
        let connecting = async {
            loop {
                match Client::open(self.server.address, number).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(START, connecting)
            .await
            .context("it does not answer")
    }
}

/// What came: where an answer goes, and the bytes.
struct Message {
    subject: String,
    reply: Option<String>,
    payload: Vec<u8>,
}

/// A connection that speaks as much of the protocol as is needed.
struct Client {
    stream: TcpStream,
    read: BytesMut,
    number: u64,
}

impl Client {
    async fn open(address: SocketAddr, number: u64) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            read: BytesMut::new(),
            number,
        };
        client
            .stream
            .write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\n")
            .await?;
        client.subscribe(&client.inbox(), ANSWERS).await?;
        // It has answered once the server has read all of it.
        client.stream.write_all(b"PING\r\n").await?;
        while client.line().await? != "PONG" {}
        Ok(client)
    }

    fn inbox(&self) -> String {
        format!("i.{}", self.number)
    }

    async fn subscribe(&mut self, subject: &str, id: u8) -> anyhow::Result<()> {
        Ok(self
            .stream
            .write_all(format!("SUB {subject} {id}\r\n").as_bytes())
            .await?)
    }

    /// `to`: the subject, and where an answer is wanted if anywhere.
    async fn publish(&mut self, to: &str, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = format!("PUB {to} {}\r\n", payload.len()).into_bytes();
        frame.extend_from_slice(payload);
        frame.extend_from_slice(b"\r\n");
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Publishes and waits for the server's word.
    async fn ask(&mut self, subject: &str, payload: &[u8]) -> anyhow::Result<()> {
        let inbox = self.inbox();
        self.publish(&format!("{subject} {inbox}"), payload).await?;
        loop {
            let message = self.message().await?;
            if message.subject == inbox {
                let answer: Value = serde_json::from_slice(&message.payload)?;
                ensure!(answer.get("error").is_none(), "{subject}: {answer}");
                return Ok(());
            }
        }
    }

    /// The next message. Cancel safe: bytes that were read stay.
    async fn message(&mut self) -> anyhow::Result<Message> {
        loop {
            if let Some((head, rest)) = split(&self.read) {
                if head == "PING" {
                    self.read.advance(rest);
                    self.stream.write_all(b"PONG\r\n").await?;
                    continue;
                }
                let Some(words) = head.strip_prefix("MSG ") else {
                    ensure!(!head.starts_with("-ERR"), "{head}");
                    self.read.advance(rest);
                    continue;
                };
                let words: Vec<&str> = words.split(' ').collect();
                let (subject, reply, size) = match words[..] {
                    [subject, _, size] => (subject, None, size),
                    [subject, _, reply, size] => (subject, Some(reply.to_owned()), size),
                    _ => bail!("not a message: {head}"),
                };
                let (subject, size) = (subject.to_owned(), size.parse::<usize>()?);
                if let Some(payload) = self.read.get(rest..rest + size) {
                    let payload = payload.to_vec();
                    if self.read.len() >= rest + size + 2 {
                        self.read.advance(rest + size + 2);
                        return Ok(Message {
                            subject,
                            reply,
                            payload,
                        });
                    }
                }
            }
            self.fill().await?;
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some((head, rest)) = split(&self.read) {
                let head = head.to_owned();
                self.read.advance(rest);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.stream.read_buf(&mut self.read).await? > 0,
            "the server has hung up"
        );
        Ok(())
    }
}

/// The first line, and where it ends.
fn split(read: &[u8]) -> Option<(&str, usize)> {
    let end = read.windows(2).position(|two| two == b"\r\n")?;
    Some((str::from_utf8(&read[..end]).ok()?, end + 2))
}

/// Publishes, and waits until each message is on the disk.
pub(crate) struct Publisher(Client);

impl Sender for Publisher {
    async fn send(&mut self, to: usize, tag: u64) -> anyhow::Result<()> {
        let mut text = [0x5a; TEXT];
        text[..8].copy_from_slice(&tag.to_be_bytes());
        self.0.ask(&format!("m.{to}"), &text).await
    }
}

/// Is pushed what comes for one recipient.
pub(crate) struct Consumer {
    client: Client,
    last: Option<String>,
}

impl Receiver for Consumer {
    async fn next(&mut self) -> anyhow::Result<u64> {
        loop {
            let message = self.client.message().await?;
            if message.subject.starts_with("m.") {
                self.last = message.reply;
                let tag = message.payload.first_chunk().context("a short message")?;
                return Ok(u64::from_be_bytes(*tag));
            }
        }
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        if let Some(reply) = self.last.take() {
            self.client.publish(&reply, b"+ACK").await?;
        }
        Ok(())
    }
}
