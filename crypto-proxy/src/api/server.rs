//! Serves the router on a listener until it is told to stop, then lets what is under way finish.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    listen::{Connection, Listener},
    written::Flushing,
};

/// How long requests under way may take after the stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Largest head of a request, and how much is buffered of a connection.
const BUFFER: usize = 64 * 1024;
/// Connections at one time; more wait in the system's queue.
const CONNECTIONS: usize = 1_024;
/// Pause after the system refused to accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `cancel`, then takes no new connection and gives what is under way ten seconds.
pub async fn serve(listener: Listener, router: Router, cancel: CancellationToken) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (listener.accept().await, slot)
        };
        let (connection, slot) = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (router, cancel) = (router.clone(), cancel.clone());
        match connection {
            Ok(Connection::Tcp(stream)) => connections.spawn(async move {
                connection_task(stream, router, cancel).await;
                drop(slot);
            }),
            Ok(Connection::Unix(stream)) => connections.spawn(async move {
                connection_task(stream, router, cancel).await;
                drop(slot);
            }),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection_task<C>(stream: C, router: Router, cancel: CancellationToken)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, after_flush) = Flushing::new(stream);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(after_flush.clone());
        let service = TowerToHyperService::new(router.clone());
        async move { answer(service, request.map(Body::new)).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return tracing::warn!("a request was not done in time and is dropped"),
            }
        }
    };
    if let Err(error) = ended {
        // The caller hung up or spoke no HTTP.
        tracing::debug!(%error, "a connection broke");
    }
}

async fn answer(
    router: TowerToHyperService<Router>,
    request: hyper::Request<Body>,
) -> Result<Response, Infallible> {
    hyper::service::Service::call(&router, request).await
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
