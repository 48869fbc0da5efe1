//! A small HTTP/1.1 client over TCP or a Unix socket, which shows answers as they are.

use std::{
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use waxwire_shared::api::problem::{Problem, ProblemType};

use crate::{clock::within, program::Address};

/// How long an answer may take if nothing else is said.
const ANSWER: Duration = Duration::from_secs(30);

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to a program.
///
/// # Errors
/// Nobody listens.
pub async fn connect(address: &Address) -> std::io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// A client of one program; clones share its address and its idle connections.
#[derive(Debug, Clone)]
pub struct Http(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    address: Option<Address>,
    idle: Vec<SendRequest<Full<Bytes>>>,
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
    limit: Duration,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Ask {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self {
            method: Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET),
            path: path.into(),
            headers: Vec::new(),
            body: None,
            limit: ANSWER,
        }
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With a JSON body and its content type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// With a body as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With another time limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn request(&self, address: &Address) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        if !self.has("host") {
            request = request.header(header::HOST, host(address));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(self.body.clone().unwrap_or_default()))?)
    }
}

/// What a well-behaved client writes into its host header.
#[must_use]
pub fn host(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

impl Http {
    /// A client of a program that does not run yet.
    #[must_use]
    pub fn new(address: Option<Address>) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            address,
            idle: Vec::new(),
        })))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program listens elsewhere now, or nowhere.
    pub fn moved(&self, address: Option<Address>) {
        let mut shared = self.shared();
        shared.idle.clear();
        shared.address = address;
    }

    /// Where the program listens.
    ///
    /// # Errors
    /// It does not run.
    pub fn address(&self) -> anyhow::Result<Address> {
        self.shared().address.clone().context("the program does not run")
    }

    /// Makes a request and reads the whole answer.
    ///
    /// # Errors
    /// Nobody listens, the connection broke or the answer did not come in time. Whether the program
    /// acted is not known then.
    pub async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        let what = format!("{} {}", ask.method, ask.path);
        within(&what, ask.limit, self.exchange(&ask))
            .await?
            .with_context(|| what.clone())
    }

    async fn exchange(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let address = self.address()?;
        loop {
            let idle = self.shared().idle.pop();
            let reused = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => open(&address).await?,
            };
            if let Err(error) = sender.ready().await {
                if reused {
                    continue;
                }
                return Err(error.into());
            }
            match sender.send_request(ask.request(&address)?).await {
                Ok(response) => {
                    let answer = read(response).await?;
                    // A program that refuses before it has read everything hangs up afterwards.
                    if answer.status < 400 {
                        self.keep(sender, &address);
                    }
                    return Ok(answer);
                }
                // Closed by the program before it saw the request.
                Err(error) if reused && error.is_canceled() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>, address: &Address) {
        let mut shared = self.shared();
        if shared.address.as_ref() == Some(address) && !sender.is_closed() {
            shared.idle.push(sender);
        }
    }

    /// Writes bytes as they are on a connection of their own and reads until the program closes it,
    /// or stops answering for a second.
    ///
    /// # Errors
    /// Nobody listens, or the connection broke otherwise than by being closed.
    pub async fn raw(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = connect(&self.address()?).await?;
        // A program that refuses early may close while the rest is written.
        if let Err(error) = stream.write_all(bytes).await
            && !is_hang_up(&error)
        {
            return Err(error.into());
        }
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
            match read {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) if is_hang_up(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answer)
    }
}

fn is_hang_up(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

async fn open(address: &Address) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = connect(address).await.context("cannot connect")?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its errors come back through the sender as well.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("the answer broke off")?;
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
    })
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without parameters.
    #[must_use]
    pub fn media_type(&self) -> &str {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Requires a status and gives the JSON body as a value (`null` if it is empty).
    ///
    /// # Errors
    /// Another status, or no JSON.
    pub fn expect(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(
            self.status == status,
            "expected {status}, got {}: {}",
            self.status,
            self.text()
        );
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        self.parse()
    }

    /// Requires a status, whatever the body.
    ///
    /// # Errors
    /// Another status.
    pub fn expect_status(&self, status: u16) -> anyhow::Result<()> {
        ensure!(
            self.status == status,
            "expected {status}, got {}: {}",
            self.status,
            self.text()
        );
        Ok(())
    }

    /// The JSON body as a type.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn parse<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        ensure!(
            self.media_type() == "application/json",
            "not JSON but '{}': {}",
            self.media_type(),
            self.text()
        );
        serde_json::from_slice(&self.body).with_context(|| format!("unexpected body: {}", self.text()))
    }

    /// Requires success and gives the body as a type.
    ///
    /// # Errors
    /// Another status than 2xx, or not of that type.
    pub fn ok<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        if !(200..300).contains(&self.status) {
            bail!("refused with {}: {}", self.status, self.text());
        }
        self.parse()
    }

    /// Requires a refusal of the relay: a complete problem document of a kind; gives it.
    ///
    /// # Errors
    /// Anything else.
    pub fn problem(&self, kind: ProblemType) -> anyhow::Result<Problem> {
        let shown = format!("{} {}: {}", self.status, self.media_type(), self.text());
        ensure!(
            self.status == kind.status() && self.media_type() == "application/problem+json",
            "expected {kind:?}, got {shown}"
        );
        let problem: Problem = serde_json::from_slice(&self.body).with_context(|| shown.clone())?;
        ensure!(
            problem.problem_type() == Some(kind),
            "expected {kind:?}, got {shown}"
        );
        ensure!(
            problem.status == self.status && problem.instance.is_some(),
            "incomplete: {shown}"
        );
        if matches!(self.status, 429 | 503) {
            ensure!(self.header("retry-after").is_some(), "no Retry-After: {shown}");
        }
        Ok(problem)
    }

    /// Requires a refusal of the local API: status, code, both strings, media type; gives the details.
    ///
    /// # Errors
    /// Anything else.
    pub fn refused(&self, status: u16, code: &str) -> anyhow::Result<Value> {
        ensure!(
            self.status == status,
            "expected {status} {code}, got {}: {}",
            self.status,
            self.text()
        );
        let body: Value = self.parse()?;
        ensure!(body["code"] == code, "expected {code}, got {body}");
        ensure!(
            body["message"].as_str().is_some_and(|text| !text.is_empty()),
            "no message: {body}"
        );
        let details = &body["details"];
        ensure!(details.is_null() || details.is_object(), "details: {body}");
        if matches!(status, 429 | 503) {
            let seconds = self
                .header("retry-after")
                .and_then(|text| text.parse::<u64>().ok());
            ensure!(seconds.is_some(), "{status} without Retry-After");
        }
        Ok(details.clone())
    }
}
