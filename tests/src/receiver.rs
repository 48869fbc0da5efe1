//! A receiver of webhooks: a small HTTP server that remembers every call and answers as it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use waxwire_shared::hash::sha256;

use crate::{
    certificate,
    clock::{eventually, unix_ms},
    http::Stream,
};

/// How it answers.
#[derive(Debug, Clone)]
pub enum Manner {
    /// With this status line, such as `204 No Content`.
    Status(&'static str),
    /// Elsewhere.
    Redirect(String),
    /// Not at all.
    Silence,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it was read.
    pub at: Instant,
    /// First line of its head.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub text: String,
    /// The same, parsed.
    pub body: Value,
}

impl Call {
    /// The value of a header; empty without it.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Verifies its signature as AgentChat's SDKs do.
    ///
    /// # Errors
    /// It is not signed by this secret, now.
    pub fn verify(&self, secret: &str) -> anyhow::Result<()> {
        self.verify_in("x-agentchat-signature", secret)
    }

    /// The same of a signature in another header.
    ///
    /// # Errors
    /// It is not signed by this secret, now.
    pub fn verify_in(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let header = self.header(name);
        let (mut time, mut digest) = ("", "");
        for part in header.split(',') {
            match part.split_once('=') {
                Some(("t", value)) => time = value,
                Some(("v1", value)) => digest = value,
                _ => {}
            }
        }
        let seconds: u64 = time.parse().with_context(|| format!("no time in {header}"))?;
        ensure!(
            (unix_ms() / 1_000).abs_diff(seconds) < 300,
            "an old signature: {header}"
        );
        let signed = format!("{seconds}.{}", self.text);
        let expected = hex::encode(hmac_sha256(secret.as_bytes(), signed.as_bytes()));
        ensure!(digest == expected, "a wrong signature: {header}");
        Ok(())
    }
}

/// RFC 2104.
#[must_use]
pub fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(sha256(key).as_bytes());
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36), text].concat());
    let outer = [&block.map(|byte| byte ^ 0x5c), inner.as_bytes().as_slice()].concat();
    *sha256(&outer).as_bytes()
}

struct Shared {
    tls: Option<TlsAcceptor>,
    manner: Mutex<Manner>,
    calls: Mutex<Vec<Call>>,
}

/// A receiver on a port of its own.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    /// A receiver that answers so.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start(manner: Manner) -> anyhow::Result<Self> {
        Self::start_over(None, manner).await
    }

    /// A receiver over TLS, with the certificate of the tests.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start_tls(manner: Manner) -> anyhow::Result<Self> {
        Self::start_over(Some(certificate::acceptor()?), manner).await
    }

    async fn start_over(tls: Option<TlsAcceptor>, manner: Manner) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            tls,
            manner: Mutex::new(manner),
            calls: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = Some(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where it is called.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/hook", self.address)
    }

    /// It answers so from now on.
    pub fn answers(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// Nobody listens any more.
    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// It listens again, at the same place.
    ///
    /// # Errors
    /// It cannot.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        let listener = eventually("the port is free", Duration::from_secs(10), async || {
            Ok(TcpListener::bind(self.address).await.ok())
        })
        .await?;
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
        Ok(())
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Waits until there were so many calls; gives all of them.
    ///
    /// # Errors
    /// There were too few within `limit`.
    pub async fn until(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<Call>> {
        let what = format!("the receiver is called {count} times");
        eventually(&what, limit, async || {
            let calls = self.calls();
            Ok((calls.len() >= count).then_some(calls))
        })
        .await
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receiver({})", self.url())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let stream: Box<dyn Stream> = match &shared.tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            // Whoever hangs up is no failure of the receiver.
            drop(answer(stream, &shared).await);
        });
    }
}

async fn answer(stream: Box<dyn Stream>, shared: &Shared) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let call = read(&mut stream).await?;
    let manner = lock(&shared.manner).clone();
    lock(&shared.calls).push(call);
    let head = match manner {
        Manner::Status(line) => format!("HTTP/1.1 {line}\r\n"),
        Manner::Redirect(to) => format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\n"),
        Manner::Silence => return std::future::pending().await,
    };
    let text = format!("{head}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    Ok(())
}

async fn read(stream: &mut BufReader<Box<dyn Stream>>) -> anyhow::Result<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "no whole head");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.context("no length")?.1.parse()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let text = String::from_utf8(body)?;
    Ok(Call {
        at: Instant::now(),
        line: lines.first().cloned().unwrap_or_default(),
        headers,
        body: serde_json::from_str(&text)?,
        text,
    })
}
