//! The two routes of the yardstick.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{
        Path, State,
        ws::{Message as Frame, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
    serve::ListenerExt as _,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

use super::{
    hub::{Hub, Seat},
    writer::{Job, Message},
};
use futures_util::SinkExt as _;

/// Bytes of a socket's read and write buffer each.
const SOCKET_BUFFER: usize = 4096;

/// Frames taken from the hub before the socket is flushed.
const FRAMES: usize = 64;

#[derive(Clone)]
struct App {
    jobs: mpsc::Sender<Job>,
    hub: Arc<Hub>,
}

/// Serves until the task is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    jobs: mpsc::Sender<Job>,
    hub: Arc<Hub>,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/send/{recipient}", post(send))
        .route("/socket/{recipient}", get(socket))
        .with_state(App { jobs, hub });
    axum::serve(listener.tap_io(no_delay), router).await?;
    Ok(())
}

fn no_delay(stream: &mut TcpStream) {
    // A connection that is already gone refuses the option and is dropped at its first read.
    let _ = stream.set_nodelay(true);
}

/// Body: the message. 201 with its id as decimal text once it is durable.
async fn send(
    State(app): State<App>,
    Path(recipient): Path<i64>,
    body: Bytes,
) -> Result<(StatusCode, String), StatusCode> {
    let (done, stored) = oneshot::channel();
    let message = Message {
        recipient,
        body,
        done,
    };
    let sent = app.jobs.send(Job::Send(message)).await;
    sent.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let id = stored.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((StatusCode::CREATED, id.to_string()))
}

async fn socket(State(app): State<App>, Path(recipient): Path<i64>, upgrade: WebSocketUpgrade) -> Response {
    // Joined before the answer goes out: a recipient that saw it misses nothing.
    let seat = app.hub.join(recipient);
    upgrade
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .on_upgrade(move |socket| async move {
            // An error is a recipient that went away, which is how every socket ends.
            let _ = listen(socket, seat, &app.jobs).await;
        })
}

/// Frames out, acks (the highest id, 8 bytes, big-endian) in, until either side closes.
async fn listen(mut socket: WebSocket, mut seat: Seat, jobs: &mpsc::Sender<Job>) -> Result<(), axum::Error> {
    let recipient = seat.recipient;
    let mut ready = Vec::with_capacity(FRAMES);
    loop {
        tokio::select! {
            count = seat.frames.recv_many(&mut ready, FRAMES) => {
                if count == 0 {
                    return Ok(());
                }
                for frame in ready.drain(..) {
                    socket.feed(Frame::Binary(frame)).await?;
                }
                socket.flush().await?;
            }
            incoming = socket.recv() => {
                let Some(incoming) = incoming else { return Ok(()) };
                if let Some(id) = ack(&incoming?) {
                    let _ = jobs.send(Job::Ack { recipient, id }).await;
                }
            }
        }
    }
}

fn ack(frame: &Frame) -> Option<i64> {
    match frame {
        Frame::Binary(bytes) => Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        _ => None,
    }
}
