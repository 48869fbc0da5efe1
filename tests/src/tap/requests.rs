//! Requests through the tap: read whole, decided upon, forwarded on a connection of their own.

use std::{convert::Infallible, io, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame as BodyFrame, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Shared, sockets};
use crate::http::Answer;

/// A request on its way to the relay.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; empty for a socket.
    pub body: Bytes,
}

impl Asked {
    /// Whether it opens the socket.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.headers.contains_key(header::UPGRADE)
    }
}

/// Changes an answer of the relay.
pub type Rewrite = Box<dyn FnOnce(&mut Answer) + Send>;

/// What becomes of a request.
pub enum Outcome {
    /// It passes, and so does its answer.
    Pass,
    /// The connection breaks before the relay sees it.
    Cut,
    /// The relay answers, and the connection breaks instead.
    LoseAnswer,
    /// The connection breaks in the middle of the answer's body.
    CutAnswer,
    /// The answer is changed.
    Rewrite(Rewrite),
    /// The relay never sees it; this is the answer.
    Answer {
        /// Status code.
        status: u16,
        /// Content type.
        media_type: &'static str,
        /// Body.
        body: Vec<u8>,
    },
}

type Body = BoxBody<Bytes, io::Error>;

/// Serves one connection of the proxy.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { forward(request, &shared).await }
    });
    let connection = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A proxy that hangs up, and a script that cuts, both end here.
    let _ended = connection.with_upgrades().await;
}

async fn forward(request: Request<Incoming>, shared: &Arc<Shared>) -> anyhow::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = Asked {
        method: head.method.clone(),
        path: head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        headers: head.headers.clone(),
        body,
    };
    shared.note(format!("{} {} {:?}\n", asked.method, asked.path, asked.headers).as_bytes());
    shared.note(&asked.body);
    shared.passage().await;
    let outcome = shared.outcome(&asked);
    match outcome {
        Outcome::Cut => anyhow::bail!("cut"),
        Outcome::Answer {
            status,
            media_type,
            body,
        } => {
            let response = Response::builder().status(status);
            return Ok(response
                .header(header::CONTENT_TYPE, media_type)
                .body(whole(body.into()))?);
        }
        _ => {}
    }
    let response = ask(shared, &asked).await?;
    shared.passage().await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let proxy = hyper::upgrade::on(Request::from_parts(head, ()));
        return switch(response, proxy, shared);
    }
    answer(response, outcome, shared).await
}

/// Asks the relay on a connection of its own.
async fn ask(shared: &Shared, asked: &Asked) -> anyhow::Result<Response<Incoming>> {
    let relay = shared.relay.get().context("the relay does not run")?;
    let stream = TcpStream::connect(relay).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(&asked.method).uri(&asked.path);
    if let Some(headers) = request.headers_mut() {
        headers.extend(asked.headers.clone());
    }
    Ok(sender
        .send_request(request.body(Full::new(asked.body.clone()))?)
        .await?)
}

/// Hands both ends of a socket over to the pump.
fn switch(
    mut response: Response<Incoming>,
    proxy: hyper::upgrade::OnUpgrade,
    shared: &Arc<Shared>,
) -> anyhow::Result<Response<Body>> {
    let relay = hyper::upgrade::on(&mut response);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let mut cuts = shared.cuts.subscribe();
        tokio::select! {
            () = sockets::pump(proxy, relay, &shared) => {}
            _ = cuts.changed() => {}
        }
    });
    let (head, _) = response.into_parts();
    let mut switched = Response::new(whole(Bytes::new()));
    *switched.status_mut() = head.status;
    *switched.headers_mut() = head.headers;
    Ok(switched)
}

async fn answer(
    response: Response<Incoming>,
    outcome: Outcome,
    shared: &Shared,
) -> anyhow::Result<Response<Body>> {
    let (head, body) = response.into_parts();
    let mut answer = Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    };
    shared.note(&answer.body);
    let halved = matches!(outcome, Outcome::CutAnswer);
    match outcome {
        Outcome::LoseAnswer => anyhow::bail!("the answer is lost"),
        Outcome::Rewrite(rewrite) => rewrite(&mut answer),
        _ => {}
    }
    let body = if halved {
        half(&answer.body)
    } else {
        answer.headers.remove(header::CONTENT_LENGTH);
        answer.headers.remove(header::TRANSFER_ENCODING);
        whole(answer.body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status)?;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

fn whole(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// The first half of a body, then an error.
fn half(body: &Bytes) -> Body {
    let first = body.slice(..body.len() / 2);
    let broken = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let frames = futures_util::stream::iter([Ok(BodyFrame::data(first)), broken]);
    BoxBody::new(StreamBody::new(frames))
}
