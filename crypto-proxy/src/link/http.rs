//! HTTP/1.1 to the relay: connections that are reused once the pinned relay has proved itself on them,
//! requests with the API key, answers that are bounded. What is asked is in [`super::resources`].

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HOST, RANGE},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use rand_core::CryptoRng;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::AbortOnDropHandle;
use waxwire_outbound::trust::CertificateFault;
use waxwire_shared::{
    api::problem::Problem,
    ids::{Nonce32, RelayId},
};
use zeroize::Zeroizing;

use super::{
    dial::{DialError, Dialer, TlsError},
    identity::{RelayChanged, verify_relay},
    resources::relay_info_call,
    url::RelayUrl,
};
use crate::credential::ApiKey;

/// How long a call may take, connecting included.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// Largest answer in JSON: a signed bundle as base64url with room to spare.
pub(super) const ANSWER: usize = 32 * 1024;
/// Largest answer in bytes: a part of a group's log.
const OCTETS: usize = 4 * 1024 * 1024 + 128 * 1024;
/// Largest problem document.
pub(super) const PROBLEM: usize = 8 * 1024;
/// Largest head of an answer.
const HEAD: usize = 16 * 1024;
/// Connections that are kept open for the next call.
const IDLE: usize = 2;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, no answer in time, or a failure in between (5xx without a problem document).
    /// Whether the relay acted is not known; every call may be repeated.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// Whoever answers has no certificate that this machine trusts; it was told nothing.
    #[error("the relay's certificate is not trusted: {0}")]
    Untrusted(CertificateFault),
    /// The relay refuses.
    #[error("the relay refuses with status {}", .0.status)]
    Problem(Box<Problem>),
    /// The answer makes no sense.
    #[error("the relay's answer is malformed")]
    Malformed,
    /// Another relay answers; it was told nothing.
    #[error(transparent)]
    RelayChanged(#[from] RelayChanged),
}

/// Calls one relay. Every call may be repeated: the relay answers a repetition like the first.
pub struct Client {
    dialer: Dialer,
    host: HeaderValue,
    agent: Option<Agent>,
    idle: Mutex<Vec<Connection>>,
}

/// What a client knows once the agent is registered.
struct Agent {
    bearer: Mutex<HeaderValue>,
    pinned: RelayId,
    nonces: Mutex<Box<dyn CryptoRng + Send>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.dialer.relay())
    }
}

/// One HTTP/1.1 connection; dropping it closes it, whatever it was doing.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// A request that can be made more than once.
pub(super) struct Call {
    method: Method,
    path: String,
    body: Option<(&'static str, Bytes)>,
    /// The part of an object that is asked for, as `Range` says it.
    range: Option<HeaderValue>,
}

impl Call {
    pub(super) const fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
            range: None,
        }
    }

    pub(super) fn post(path: &str, body: &impl Serialize) -> Result<Self, CallError> {
        Self::json(Method::POST, path, body)
    }

    pub(super) fn json(method: Method, path: &str, body: &impl Serialize) -> Result<Self, CallError> {
        let json = serde_json::to_vec(body).map_err(|_| CallError::Malformed)?;
        let body = Some(("application/json", json.into()));
        Ok(Self {
            method,
            path: path.to_owned(),
            body,
            range: None,
        })
    }

    pub(super) const fn bare(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            body: None,
            range: None,
        }
    }

    pub(super) const fn octets(method: Method, path: String, body: Bytes) -> Self {
        Self {
            method,
            path,
            body: Some(("application/octet-stream", body)),
            range: None,
        }
    }

    /// `count` bytes of an object from `start` on.
    pub(super) fn part(path: String, start: u64, count: u64) -> Result<Self, CallError> {
        let last = start.saturating_add(count).saturating_sub(1);
        let range = HeaderValue::try_from(format!("bytes={start}-{last}"));
        Ok(Self {
            range: Some(range.map_err(|_| CallError::Malformed)?),
            ..Self::get(path)
        })
    }
}

impl Client {
    /// A client of whatever relay answers there, without an API key; connects at the first call.
    ///
    /// # Errors
    /// [`TlsError`], for `https` only.
    pub fn new(relay: RelayUrl) -> Result<Self, TlsError> {
        let host = HeaderValue::try_from(relay.authority()).map_err(|_| TlsError::HostName)?;
        Ok(Self {
            dialer: Dialer::new(relay)?,
            host,
            agent: None,
            idle: Mutex::default(),
        })
    }

    /// A client of a relay in this process.
    #[cfg(test)]
    pub(super) fn memory(listener: tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>) -> Self {
        let relay = RelayUrl::parse("http://localhost", false).unwrap();
        let host = HeaderValue::from_static("localhost");
        let dialer = Dialer::memory(relay, listener);
        Self {
            dialer,
            host,
            agent: None,
            idle: Mutex::default(),
        }
    }

    /// The same with an API key in every call, for the pinned relay only: on every connection the
    /// relay proves its identity first, for a nonce of `rng`.
    #[must_use]
    pub fn authorized(mut self, key: &ApiKey, pinned: RelayId, rng: impl CryptoRng + Send + 'static) -> Self {
        let nonces = Mutex::new(Box::new(rng) as Box<dyn CryptoRng + Send>);
        self.agent = bearer(key).map(|bearer| Agent {
            bearer: Mutex::new(bearer),
            pinned,
            nonces,
        });
        self
    }

    /// Another API key in every call from now on.
    pub(super) fn replace_key(&self, key: &ApiKey) {
        if let (Some(agent), Some(bearer)) = (&self.agent, bearer(key)) {
            *lock(&agent.bearer) = bearer;
        }
    }

    /// The relay's address.
    #[must_use]
    pub const fn relay(&self) -> &RelayUrl {
        self.dialer.relay()
    }

    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        let Answer { status, body, .. } = self.exchange_in_time(&call, ANSWER).await?;
        parse(status, &body)
    }

    /// The body of an answer that is not JSON, and the head of the queue that it tells of.
    pub(super) async fn octets(&self, call: Call) -> Result<(Option<u64>, Bytes), CallError> {
        let Answer {
            status, head, body, ..
        } = self.exchange_in_time(&call, OCTETS).await?;
        if status.is_success() {
            Ok((head, body))
        } else {
            Err(refusal(status, &body))
        }
    }

    /// A part of an object that is not JSON, and the length of the whole.
    pub(super) async fn part(&self, call: Call) -> Result<(Option<u64>, Bytes), CallError> {
        let answer = self.exchange_in_time(&call, OCTETS).await?;
        if answer.status.is_success() {
            Ok((answer.total, answer.body))
        } else {
            Err(refusal(answer.status, &answer.body))
        }
    }

    async fn exchange_in_time(&self, call: &Call, limit: usize) -> Result<Answer, CallError> {
        let answer = tokio::time::timeout(CALL, self.exchange(call, limit)).await;
        answer.map_err(|_| CallError::Unreachable)?
    }

    /// On a connection that was kept open, which the relay may have closed; then on a fresh one.
    async fn exchange(&self, call: &Call, limit: usize) -> Result<Answer, CallError> {
        let kept = lock(&self.idle).pop();
        if let Some(connection) = kept {
            match self.exchange_on(connection, call, limit).await {
                Err(CallError::Unreachable) => {}
                answer => return answer,
            }
        }
        self.exchange_on(self.connect().await?, call, limit).await
    }

    async fn exchange_on(
        &self,
        mut connection: Connection,
        call: &Call,
        limit: usize,
    ) -> Result<Answer, CallError> {
        let answer = self.ask(&mut connection, call, limit).await?;
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE && !connection.sender.is_closed() {
            idle.push(connection);
        }
        Ok(answer)
    }

    pub(super) async fn ask(
        &self,
        connection: &mut Connection,
        call: &Call,
        limit: usize,
    ) -> Result<Answer, CallError> {
        connection.sender.ready().await.map_err(unreachable)?;
        let answer = connection.sender.send_request(self.request(call)?).await;
        read_answer(answer.map_err(unreachable)?, limit).await
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.path)
            .header(HOST, &self.host);
        if let Some(agent) = self.agent.as_ref().filter(|_| !call.path.starts_with(RELAY_INFO)) {
            request = request.header(AUTHORIZATION, lock(&agent.bearer).clone());
        }
        if let Some(range) = &call.range {
            request = request.header(RANGE, range.clone());
        }
        let body = match &call.body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, *kind);
                body.clone()
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(|_| CallError::Malformed)
    }

    /// A fresh connection, to the pinned relay if there is a pin; the caller sets the time limit.
    pub(super) async fn connect(&self) -> Result<Connection, CallError> {
        let stream = self.dialer.dial().await.map_err(|error| {
            tracing::info!(%error, "no connection to the relay");
            match error {
                DialError::Io(_) => CallError::Unreachable,
                DialError::Certificate(fault) => CallError::Untrusted(fault),
            }
        })?;
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD).max_headers(64);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the relay ended");
            }
        });
        let mut connection = Connection {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        };
        if let Some(agent) = &self.agent {
            self.identify(&mut connection, agent).await?;
        }
        Ok(connection)
    }

    /// Makes sure that the pinned relay is at the other end. No API key is sent.
    async fn identify(&self, connection: &mut Connection, agent: &Agent) -> Result<(), CallError> {
        let mut nonce = [0; 32];
        lock(&agent.nonces).fill_bytes(&mut nonce);
        let nonce = Nonce32::from_bytes(nonce);
        let Answer { status, body, .. } = self.ask(connection, &relay_info_call(&nonce), ANSWER).await?;
        let relay = verify_relay(&parse(status, &body)?, &nonce).map_err(|error| {
            tracing::warn!(%error, "the relay did not prove its identity");
            CallError::Malformed
        })?;
        Ok(relay.require(&agent.pinned)?)
    }

    /// Sends a request with host and API key on one connection and leaves the answer unread.
    pub(super) async fn send_on(
        &self,
        connection: &mut Connection,
        path: &str,
        headers: impl IntoIterator<Item = (http::HeaderName, HeaderValue)>,
    ) -> Result<http::Response<Incoming>, CallError> {
        let mut request = self.request(&Call::get(path.to_owned()))?;
        request.headers_mut().extend(headers);
        connection.sender.ready().await.map_err(unreachable)?;
        connection.sender.send_request(request).await.map_err(unreachable)
    }
}

/// Never shown in logs of the libraries.
fn bearer(key: &ApiKey) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", key.expose_text()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where the relay proves its identity.
pub(super) const RELAY_INFO: &str = "/v1/relay?";
/// Tells the head of a queue.
const HEAD_OF_QUEUE: &str = "x-waxwire-head";

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The head of the queue that the answer is about.
    head: Option<u64>,
    /// The length of the object that the answer is a part of.
    total: Option<u64>,
    pub(super) body: Bytes,
}

/// Reads an answer of at most `limit` bytes, or a problem document.
pub(super) async fn read_answer(answer: http::Response<Incoming>, limit: usize) -> Result<Answer, CallError> {
    let status = answer.status();
    let limit = if status.is_success() { limit } else { PROBLEM };
    let head = answer.headers().get(HEAD_OF_QUEUE);
    let head = head.and_then(|head| head.to_str().ok()?.parse().ok());
    let range = answer.headers().get(CONTENT_RANGE);
    let total = range.and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
    match Limited::new(answer.into_body(), limit).collect().await {
        Ok(body) => Ok(Answer {
            status,
            head,
            total,
            body: body.to_bytes(),
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::Malformed),
        Err(_) => Err(CallError::Unreachable),
    }
}

pub(super) fn parse<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, CallError> {
    if status.is_success() {
        serde_json::from_slice(body).map_err(|_| CallError::Malformed)
    } else {
        Err(refusal(status, body))
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> CallError {
    match parse_problem(status.as_u16(), body) {
        Some(problem) => CallError::Problem(Box::new(problem)),
        None if status.is_server_error() => CallError::Unreachable,
        None => CallError::Malformed,
    }
}

/// A problem document that goes with its status.
pub(super) fn parse_problem(status: u16, body: &[u8]) -> Option<Problem> {
    let fits = (400..=599).contains(&status) && body.len() <= PROBLEM;
    let problem: Problem = fits.then(|| serde_json::from_slice(body).ok()).flatten()?;
    (problem.status == status).then_some(problem)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreachable(error: hyper::Error) -> CallError {
    tracing::debug!(%error, "the relay did not answer");
    // An answer that is no HTTP is a fault of the other side, everything else one of the way.
    if error.is_parse() {
        CallError::Malformed
    } else {
        CallError::Unreachable
    }
}
