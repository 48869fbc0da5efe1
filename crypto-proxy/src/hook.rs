//! Where a relay wakes this proxy: a listener with one route, `POST /hook`, and the registration of its
//! address at the relay (docs/operations/running.md, Wake-ups).
//!
//! A call is a hint and says nothing that is believed: it only has the link try at once. Who does not know
//! the secret is refused, and so is a call that was recorded earlier.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{body::Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use waxwire_shared::hook::{self, TOLERANCE};
use zeroize::Zeroizing;

use crate::{
    clock,
    link::{CallError, Client, LinkCommand, LinkStatus},
};

/// Largest body of a call.
const BODY: usize = 4 * 1024;
/// Largest head of a call.
const HEAD: usize = 16 * 1024;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// Connections at one time.
const CONNECTIONS: usize = 64;
/// Calls that are remembered, so that none is heeded twice.
const REMEMBERED: usize = 4_096;
/// Pause after the system refused to accept, and after the relay did not take the registration.
const PAUSE: Duration = Duration::from_secs(1);
/// In the state folder: the address that the relay was told last.
const REGISTERED: &str = "hook-url";

/// What signs the calls of the relay.
pub struct HookSecret(Zeroizing<String>);

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret")
    }
}

/// Text that is no secret of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret of a hook has 16 to 256 bytes in one line")]
pub struct HookSecretError;

impl HookSecret {
    /// Takes the text of a file, without the end of its line.
    ///
    /// # Errors
    /// [`HookSecretError`].
    pub fn parse(text: &str) -> Result<Self, HookSecretError> {
        let line = text.trim_end_matches(['\r', '\n']);
        if hook::SECRET_LENGTHS.contains(&line.len()) && !line.chars().any(char::is_control) {
            Ok(Self(Zeroizing::new(line.to_owned())))
        } else {
            Err(HookSecretError)
        }
    }
}

/// What a call is judged by.
struct Door {
    secret: Arc<HookSecret>,
    /// Digests of calls that were heeded, with the time until which they could be repeated.
    seen: Mutex<HashMap<[u8; 32], u64>>,
    link: mpsc::UnboundedSender<LinkCommand>,
}

impl Door {
    /// Heeds a call; gives the status of the answer.
    fn knock(&self, signature: &str, body: &[u8], now: u64) -> StatusCode {
        let Ok(digest) = hook::verify(self.secret.0.as_bytes(), signature, body, now) else {
            return StatusCode::UNAUTHORIZED;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, until| *until >= now);
        if seen.contains_key(&digest) {
            return StatusCode::CONFLICT;
        }
        if seen.len() >= REMEMBERED {
            return StatusCode::TOO_MANY_REQUESTS;
        }
        seen.insert(digest, now + 2 * TOLERANCE);
        drop(seen);
        if self.link.send(LinkCommand::Wake).is_err() {
            tracing::debug!("the link has ended");
        }
        StatusCode::NO_CONTENT
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Empty<Bytes>>
    where
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let status = if request.uri().path() != "/hook" {
            StatusCode::NOT_FOUND
        } else if request.method() != Method::POST {
            StatusCode::METHOD_NOT_ALLOWED
        } else {
            self.hear(request).await
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }

    async fn hear<B>(&self, request: Request<B>) -> StatusCode
    where
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let mut signatures = request.headers().get_all(hook::HEADER).iter();
        let (Some(signature), None) = (signatures.next().cloned(), signatures.next()) else {
            return StatusCode::UNAUTHORIZED;
        };
        let Ok(signature) = signature.to_str() else {
            return StatusCode::UNAUTHORIZED;
        };
        match Limited::new(request.into_body(), BODY).collect().await {
            Ok(body) => self.knock(signature, &body.to_bytes(), clock::unix() / 1_000),
            Err(error) if error.is::<LengthLimitError>() => StatusCode::PAYLOAD_TOO_LARGE,
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// A listener for calls of the relay, and nothing else.
#[derive(Debug)]
pub struct HookListener(TcpListener);

impl HookListener {
    /// Listens.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not know.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `cancel`.
    pub async fn serve(
        self,
        secret: Arc<HookSecret>,
        link: mpsc::UnboundedSender<LinkCommand>,
        cancel: CancellationToken,
    ) {
        let door = Arc::new(Door {
            secret,
            seen: Mutex::default(),
            link,
        });
        let (slots, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
        loop {
            let accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (self.0.accept().await, slot)
            };
            let (accepted, slot) = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let door = Arc::clone(&door);
                    connections.spawn(async move {
                        serve_one(stream, door).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the hook could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

/// One call for a connection.
async fn serve_one(stream: TcpStream, door: Arc<Door>) {
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CALL)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if !matches!(tokio::time::timeout(CALL, connection).await, Ok(Ok(()))) {
        tracing::debug!("a call of the hook broke off");
    }
}

/// Tells the relay where to wake this proxy, or that it is not to, once the link is up.
#[derive(Debug)]
pub struct Registration {
    /// Where; none takes an earlier registration back.
    pub url: Option<String>,
    /// What signs the calls.
    pub secret: Option<Arc<HookSecret>>,
    /// The state folder, in which it is remembered.
    pub folder: PathBuf,
}

impl Registration {
    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.url.is_some() || self.marker().exists()
    }

    fn marker(&self) -> PathBuf {
        self.folder.join(REGISTERED)
    }

    /// Tells the relay, until it has taken it, refused it for good, or `cancel`.
    pub async fn run(
        self,
        client: Arc<Client>,
        mut link: watch::Receiver<LinkStatus>,
        cancel: CancellationToken,
    ) {
        loop {
            let up = async {
                drop(link.wait_for(|status| status.connected).await);
            };
            tokio::select! {
                () = up => {}
                () = cancel.cancelled() => return,
            }
            match self.tell(&client).await {
                Ok(()) => return self.remember(),
                Err(CallError::Problem(problem)) if problem.status == 400 => {
                    let detail = problem.detail.as_deref().unwrap_or_default();
                    return tracing::error!(
                        detail,
                        "the relay refuses the hook: it will not wake this proxy"
                    );
                }
                Err(error) => tracing::warn!(%error, "the relay was not told of the hook"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    async fn tell(&self, client: &Client) -> Result<(), CallError> {
        match (&self.url, &self.secret) {
            (Some(url), Some(secret)) => client.put_hook(url, &secret.0).await,
            _ => client.delete_hook().await,
        }
    }

    fn remember(&self) {
        let marker = self.marker();
        let kept = match &self.url {
            Some(url) => write(&marker, url),
            None => std::fs::remove_file(&marker),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot remember what the relay was told of the hook");
        }
        tracing::info!(registered = self.url.is_some(), "the relay was told of the hook");
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
