//! One call of a hook: resolve, check, connect to exactly the address that was checked, post, look at the
//! status. Redirects are not followed, and nothing else of an answer is looked at.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderName, Request, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::Full;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_util::task::AbortOnDropHandle;
use waxwire_shared::{
    api::hooks::WakeupBody,
    hook,
    target::{Host, Target},
};

use super::HookRules;
use crate::store::Wakeup;

/// How long a call may take, resolving and connecting included.
const CALL: Duration = Duration::from_secs(10);
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

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Calls hooks.
pub struct Caller {
    rules: Arc<HookRules>,
    resolver: Box<dyn Resolve>,
    /// Made with the first call over TLS; none if this machine trusts nobody.
    tls: OnceLock<Option<TlsConnector>>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl Caller {
    /// Calls whom these rules allow.
    #[must_use]
    pub fn new(rules: Arc<HookRules>, resolver: impl Resolve + 'static) -> Self {
        Self {
            rules,
            resolver: Box::new(resolver),
            tls: OnceLock::new(),
        }
    }

    /// Makes one call, signed at this time.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn call(&self, wakeup: &Wakeup, seconds: u64) -> Result<(), CallFault> {
        let called = tokio::time::timeout(CALL, self.call_untimed(wakeup, seconds)).await;
        called.unwrap_or(Err(CallFault::Timeout))
    }

    async fn call_untimed(&self, wakeup: &Wakeup, seconds: u64) -> Result<(), CallFault> {
        let target = Target::parse(&wakeup.url).map_err(|_| CallFault::NotAllowed)?;
        let request = request(&target, wakeup, seconds).map_err(|_| CallFault::NotAllowed)?;
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
        judge(answer.status())
    }

    /// Connects to an address of the host, all of which have to be allowed.
    async fn connect(&self, target: &Target) -> Result<TcpStream, CallFault> {
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
            if let Some(config) = tls_config() {
                return Some(TlsConnector::from(Arc::new(config)));
            }
            tracing::error!("this machine trusts no certificate: no hook can be called over TLS");
            None
        });
        let connector = connector.as_ref().ok_or(CallFault::Tls)?;
        let name = ServerName::try_from(target.host().unbracketed()).map_err(|_| CallFault::Tls)?;
        connector.connect(name, stream).await.map_err(|_| CallFault::Tls)
    }
}

/// Trusts what this machine trusts.
fn tls_config() -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(native.certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .inspect_err(|error: &rustls::Error| tracing::error!(%error, "TLS cannot be configured"))
        .ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (usable > 0).then_some(config)
}

fn request(target: &Target, wakeup: &Wakeup, seconds: u64) -> Result<Request<Full<Bytes>>, http::Error> {
    let body = WakeupBody {
        agent: wakeup.id,
        queue: wakeup.cursor.queue,
        head: wakeup.cursor.position,
    };
    // Three texts and numbers always have a JSON form.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let signature = hook::sign(wakeup.secret.as_bytes(), seconds, &body);
    Request::post(target.path())
        .header(HOST, target.authority())
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("waxwire-relay/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(HeaderName::from_static(hook::HEADER), signature)
        .body(Full::from(body))
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
#[path = "call_tests.rs"]
mod tests;
