//! HTTP of the bucket: hyper and rustls, as everywhere else here.

use std::{
    fmt::{self, Debug},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use tower_http::timeout::TimeoutBody;
use waxwire_outbound::trust::{TrustError, tls_config};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a request may take until its answer begins, the body that is put included.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the body of an answer may pause.
const PAUSE: Duration = Duration::from_secs(20);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// Connections to the bucket, and to whoever gives out what opens it.
pub(super) struct Connector(HttpClient);

impl Connector {
    /// Without TLS.
    pub(super) fn plain() -> Self {
        Self(client(tcp()))
    }

    /// With it, to whom this machine trusts.
    pub(super) fn tls() -> Result<Self, TrustError> {
        let mut config = tls_config()?;
        // The builder says what is spoken inside.
        config.alpn_protocols.clear();
        let mut tcp = tcp();
        tcp.enforce_http(false);
        let connector: HttpsConnector<HttpConnector> = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(client(connector)))
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    tcp
}

fn client<C>(connector: C) -> HttpClient
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector);
    HttpClient::new(Service(client))
}

impl Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl object_store::client::HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

struct Service<C>(Client<C, HttpRequestBody>);

impl<C> Debug for Service<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl<C> HttpService for Service<C>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER, self.0.request(request)).await;
            let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
            let answer = answer.map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Interrupted
                };
                HttpError::new(kind, error)
            })?;
            let broken = |error| HttpError::new_boxed(HttpErrorKind::Interrupted, error);
            Ok(answer.map(|body| HttpResponseBody::new(TimeoutBody::new(PAUSE, body).map_err(broken))))
        })
    }
}
