//! One connection: TLS if asked for, HTTP/1.1, upgrades.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::patience::Patient;
use crate::{api, metrics::Metrics, relay::Relay};

/// How long a request's head may take, the rest between two requests included.
const HEAD: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a peer may take to read anything of what is written.
const WRITE: Duration = Duration::from_secs(30);
/// Largest head of a request.
const HEAD_BYTES: usize = 16 * 1024;

/// What a listener speaks.
pub(super) struct Protocol {
    metrics: Arc<Metrics>,
    serves: Serves,
    tls: Option<TlsAcceptor>,
}

enum Serves {
    Relay(Arc<Relay>, Router),
    Metrics,
}

impl Protocol {
    pub(super) fn relay(relay: Arc<Relay>, tls: Option<TlsAcceptor>) -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::clone(&relay.delivery.metrics),
            serves: Serves::Relay(Arc::clone(&relay), api::router(relay)),
            tls,
        })
    }

    pub(super) fn metrics(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            serves: Serves::Metrics,
            tls: None,
        })
    }

    pub(super) async fn serve_tcp(self: Arc<Self>, stream: TcpStream, shutdown: CancellationToken) {
        let Some(acceptor) = self.tls.clone() else {
            return self.serve(stream, shutdown).await;
        };
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    pub(super) async fn serve<S>(self: Arc<Self>, stream: S, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.metrics.connections.add(1);
        let protocol = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&protocol).answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Patient::new(stream, WRITE)), service)
            .with_upgrades();
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "connection failed");
        }
        self.metrics.connections.add(-1);
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        match &self.serves {
            Serves::Relay(relay, router) => api::service(Arc::clone(relay), router.clone(), request).await,
            Serves::Metrics => api::metrics_service(Arc::clone(&self.metrics), request).await,
        }
    }
}
