//! One call of a hook: resolve, check, connect to exactly the address that was checked, post, and look at
//! the status of the answer. Redirects are not followed. Somebody else has chosen the URL: each is taken for
//! an attempt to reach what only this program can.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderName, Request, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1::Builder};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_util::task::AbortOnDropHandle;

use waxwire_shared::target::{Host, Target};

use crate::trust::tls_config;

/// How long a call may take, resolving and connecting included.
const CALL: Duration = Duration::from_secs(10);
/// How much of an answer's body is read, and for how long: only so that its writer is not cut off.
const ANSWER: usize = 64 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Largest head of an answer.
const HEAD: usize = 16 * 1024;

/// Why a call was no success. Says nothing that came in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// The URL is not allowed, or its host has an address that is not.
    #[error("address not allowed")]
    NotAllowed,
    /// The host has no address.
    #[error("name not resolved")]
    Unresolved,
    /// No connection.
    #[error("unreachable")]
    Unreachable,
    /// No TLS, or a certificate that this machine does not trust.
    #[error("tls failed")]
    Tls,
    /// The connection broke, or what came was no HTTP.
    #[error("no answer")]
    Broken,
    /// Ten seconds.
    #[error("timeout")]
    Timeout,
    /// The hook sends elsewhere.
    #[error("redirect refused")]
    Redirect,
    /// The hook answers, but not with success.
    #[error("status {0}")]
    Status(u16),
}

/// Turns a name into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// Asks the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Whom a program may call. Both are asked at every call.
pub trait Rules: Send + Sync {
    /// Whether a URL may be called, as far as it tells by itself.
    fn permits(&self, target: &Target) -> bool;

    /// Whether it may be called at this address of its host.
    fn permits_at(&self, target: &Target, address: IpAddr) -> bool;
}

/// What is posted, as JSON.
#[derive(Debug, Clone)]
pub struct Post {
    /// Headers besides those of every call; their values are no secrets.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
}

/// Calls hooks.
pub struct Caller {
    program: &'static str,
    rules: Arc<dyn Rules>,
    resolver: Box<dyn Resolve>,
    /// Made with the first call over TLS; none if this machine trusts nobody.
    tls: OnceLock<Option<TlsConnector>>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Caller {
    /// Calls whom these rules permit. `program` is the name and version that the hooks see.
    #[must_use]
    pub fn new(program: &'static str, rules: Arc<dyn Rules>, resolver: impl Resolve + 'static) -> Self {
        Self {
            program,
            rules,
            resolver: Box::new(resolver),
            tls: OnceLock::new(),
        }
    }

    /// Makes one call.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn call(&self, url: &str, post: Post) -> Result<(), CallFault> {
        let called = tokio::time::timeout(CALL, self.call_untimed(url, post)).await;
        called.unwrap_or(Err(CallFault::Timeout))
    }

    async fn call_untimed(&self, url: &str, post: Post) -> Result<(), CallFault> {
        let target = Target::parse(url).map_err(|_| CallFault::NotAllowed)?;
        let request = self.request(&target, post).map_err(|_| CallFault::NotAllowed)?;
        let stream = self.connect(&target).await?;
        let stream: Box<dyn Io> = if target.is_tls() {
            Box::new(self.secure(&target, stream).await?)
        } else {
            Box::new(stream)
        };
        let (mut sender, driver) = Builder::new()
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| CallFault::Broken)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(async { drop(driver.await) }));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|_| CallFault::Broken)?;
        let status = answer.status();
        drain(answer.into_body()).await;
        judge(status)
    }

    /// Connects to an address of the host, all of which have to be allowed.
    async fn connect(&self, target: &Target) -> Result<TcpStream, CallFault> {
        if !self.rules.permits(target) {
            return Err(CallFault::NotAllowed);
        }
        let addresses = match target.host() {
            Host::Address(address) => vec![SocketAddr::new(*address, target.port())],
            Host::Name(name) => self
                .resolver
                .resolve(name, target.port())
                .await
                .map_err(|_| CallFault::Unresolved)?,
        };
        if addresses.is_empty() {
            return Err(CallFault::Unresolved);
        }
        let allowed = |address: &SocketAddr| self.rules.permits_at(target, address.ip());
        if !addresses.iter().all(allowed) {
            return Err(CallFault::NotAllowed);
        }
        for address in addresses {
            if let Ok(stream) = TcpStream::connect(address).await {
                return Ok(stream);
            }
        }
        Err(CallFault::Unreachable)
    }

    async fn secure(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, CallFault> {
        let connector = self.tls.get_or_init(|| {
            let config = tls_config().inspect_err(|error| {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "no hook can be called over tls"
                );
            });
            config.ok().map(|config| TlsConnector::from(Arc::new(config)))
        });
        let connector = connector.as_ref().ok_or(CallFault::Tls)?;
        let name = ServerName::try_from(target.host().unbracketed()).map_err(|_| CallFault::Tls)?;
        connector.connect(name, stream).await.map_err(|_| CallFault::Tls)
    }

    fn request(&self, target: &Target, post: Post) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(target.path())
            .header(HOST, target.authority())
            .header(CONNECTION, "close")
            .header(USER_AGENT, self.program)
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(post.body))
    }
}

async fn drain(body: Incoming) {
    let read = Limited::new(body, ANSWER).collect();
    // Whatever it is, the status has decided.
    drop(tokio::time::timeout(ANSWER_TIME, read).await);
}

fn judge(status: StatusCode) -> Result<(), CallFault> {
    if status.is_success() {
        Ok(())
    } else if status.is_redirection() {
        Err(CallFault::Redirect)
    } else {
        Err(CallFault::Status(status.as_u16()))
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
