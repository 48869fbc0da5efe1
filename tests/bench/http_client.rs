//! A keep-alive HTTP/1.1 connection that costs next to nothing.
//!
//! The load generator shares the machine's cores with the server under test, so each microsecond
//! here is taken from the result. It speaks to known servers: answers must carry a `content-length`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// Bytes of head and body that an answer may have.
const ANSWER: usize = 1 << 20;

/// One connection, one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    request: Vec<u8>,
    received: BytesMut,
}

/// An answer.
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: Bytes,
}

/// Connections from one address of this machine: fewer than it has ports.
const FROM_ONE: u32 = 20_000;

/// Connects with TCP_NODELAY. After many connections, from another loopback address.
///
/// # Errors
/// Nobody listens.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let further = u8::try_from(MADE.fetch_add(1, Ordering::Relaxed) / FROM_ONE % 200)?;
    let socket = TcpSocket::new_v4()?;
    if further > 0 {
        let source = Ipv4Addr::new(127, 0, 0, 1 + further);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    let stream = socket
        .connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    /// Connects with TCP_NODELAY.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            stream: connect(address).await?,
            host: address,
            request: Vec::new(),
            received: BytesMut::with_capacity(4096),
        })
    }

    /// Sends a request and waits for the answer. `headers`: complete lines, each ended by `\r\n`.
    ///
    /// # Errors
    /// The connection broke, or the answer is not HTTP/1.1 with a `content-length`.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.ask("POST", path, headers, body).await
    }

    /// The same by PUT.
    ///
    /// # Errors
    /// See [`Self::post`].
    pub(crate) async fn put(&mut self, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.ask("PUT", path, headers, body).await
    }

    /// The same by GET, without a body.
    ///
    /// # Errors
    /// See [`Self::post`].
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, headers, &[]).await
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.request.clear();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{headers}\r\n",
            self.host,
            body.len()
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            if let Some(head) = Head::parse(&self.received)?
                && self.received.len() >= head.length + head.body
            {
                self.received.advance(head.length);
                let body = self.received.split_to(head.body).freeze();
                return Ok(Answer {
                    status: head.status,
                    body,
                });
            }
            ensure!(self.received.len() < ANSWER, "the answer is too long");
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// What matters of an answer's head; lengths in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    body: usize,
}

impl Head {
    /// `None`: more bytes are needed.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = bytes.windows(END.len()).position(|window| window == END) else {
            return Ok(None);
        };
        let head = str::from_utf8(&bytes[..end]).context("the answer's head is not text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(status).context("not an HTTP/1.1 answer")?;
        let body = lines
            .find_map(content_length)
            .context("an answer without content-length")?;
        Ok(Some(Self {
            status,
            length: end + END.len(),
            body,
        }))
    }
}

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length")
        .then(|| value.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_waits_for_its_end() {
        assert_eq!(
            Head::parse(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n").unwrap(),
            None
        );
    }

    #[test]
    fn head_finds_status_and_lengths() {
        let bytes = b"HTTP/1.1 201 Created\r\nx: y\r\nContent-Length: 2\r\n\r\n42";
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.body), (201, bytes.len() - 2, 2));
    }

    #[test]
    fn answer_without_length_is_refused() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
