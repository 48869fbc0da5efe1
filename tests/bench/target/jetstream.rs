//! NATS JetStream as a target: a stream on disk that flushes before it acknowledges, a push consumer for each recipient.

use std::{cell::Cell, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Receiver, Sender, Target, Transport};
use crate::{
    process::{self, Server},
    programs,
};

/// Bytes of a message.
const TEXT: usize = 500;
/// Subscriptions of a connection.
const ANSWERS: u8 = 1;
const DELIVERIES: u8 = 2;
/// Of a line, and of a payload.
const END: &[u8] = b"\r\n";

/// A server with one stream.
pub(crate) struct Jetstream {
    server: Server,
    connections: Cell<u64>,
}

impl Target for Jetstream {
    const NAME: &'static str = "NATS JetStream";
    type Sender = Publisher;
    type Receiver = Consumer;

    async fn start(folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        let address = process::free_address()?;
        let configuration = folder.join("nats.conf");
        let store = folder.join("jetstream");
        fs::write(
            &configuration,
            format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n"),
        )?;
        let mut command = programs::peer("nats-server")?;
        command.arg("--config").arg(configuration);
        let jetstream = Self {
            server: Server::start_at(&mut command, address, &folder.join("nats.log")).await?,
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
        Client::open(self.server.address, number).await
    }
}

/// What the server says.
enum Frame {
    /// `PING`, `PONG` and the like.
    Line(String),
    Message {
        subject: String,
        /// Where an answer goes.
        reply: Option<String>,
        payload: Vec<u8>,
    },
}

impl Frame {
    /// Takes the first one off what was read; none if it is not whole yet.
    fn take(read: &mut BytesMut) -> anyhow::Result<Option<Self>> {
        let Some(end) = read.windows(2).position(|two| two == END) else {
            return Ok(None);
        };
        let head = str::from_utf8(&read[..end])?;
        ensure!(!head.starts_with("-ERR"), "{head}");
        let body = end + END.len();
        let Some(words) = head.strip_prefix("MSG ") else {
            let line = Self::Line(head.to_owned());
            read.advance(body);
            return Ok(Some(line));
        };
        let words: Vec<&str> = words.split(' ').collect();
        let (subject, reply, size) = match words[..] {
            [subject, _, size] => (subject.to_owned(), None, size),
            [subject, _, reply, size] => (subject.to_owned(), Some(reply.to_owned()), size),
            _ => bail!("not a message: {head}"),
        };
        let size: usize = size.parse()?;
        if read.len() < body + size + END.len() {
            return Ok(None);
        }
        let payload = read[body..body + size].to_vec();
        read.advance(body + size + END.len());
        Ok(Some(Self::Message {
            subject,
            reply,
            payload,
        }))
    }
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
        while !matches!(client.next().await?, Frame::Line(line) if line == "PONG") {}
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
            if let Frame::Message {
                subject: at, payload, ..
            } = self.next().await?
                && at == inbox
            {
                let answer: Value = serde_json::from_slice(&payload)?;
                ensure!(answer.get("error").is_none(), "{subject}: {answer}");
                return Ok(());
            }
        }
    }

    /// The next frame. Cancel safe: bytes that were read stay.
    async fn next(&mut self) -> anyhow::Result<Frame> {
        loop {
            match Frame::take(&mut self.read)? {
                Some(Frame::Line(line)) if line == "PING" => self.stream.write_all(b"PONG\r\n").await?,
                Some(frame) => return Ok(frame),
                None => {
                    let read = self.stream.read_buf(&mut self.read).await?;
                    ensure!(read > 0, "the server has hung up");
                }
            }
        }
    }
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
            if let Frame::Message {
                subject,
                reply,
                payload,
            } = self.client.next().await?
                && subject.starts_with("m.")
            {
                self.last = reply;
                let tag = payload.first_chunk().context("a short message")?;
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
