//! Opens a socket: upgrade of a connection to the pinned relay, resume, welcome (docs/relay-api.md).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rand_core::CryptoRng;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use waxwire_outbound::trust::CertificateFault;
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, RelayFrame},
        problem::{Problem, ProblemType},
    },
    ids::RelayId,
};

use super::{
    dial::Stream,
    http::{CALL, CallError, Client, Connection, PROBLEM, parse_problem, read_answer},
    lease::newer_lease,
    status::LinkFault,
};

/// Largest message from the relay: the largest object that it may deliver, with room to spare.
const MESSAGE: usize = 128 * 1024;
/// How long one step of writing or of opening may take.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// A WebSocket to the relay.
pub(super) type Socket = WebSocketStream<Stream>;

/// What the relay says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Welcome {
    /// Its time, Unix milliseconds.
    pub(super) time: u64,
    /// Which course of events its database holds.
    pub(super) lineage: u64,
    /// Up to when that is the one before, Unix milliseconds.
    pub(super) reaches: u64,
}

/// Why no socket came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// No connection or no answer.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// The relay does not say who it is, or not in a way that can be verified.
    #[error("the relay breaks the protocol")]
    Malformed,
    /// Whoever answers has no certificate that this machine trusts.
    #[error("the relay's certificate is not trusted: {0}")]
    Untrusted(CertificateFault),
    /// It is another relay.
    #[error("the relay's identity is not the pinned one")]
    RelayChanged {
        /// Which one.
        shown: RelayId,
    },
    /// The relay does not accept our API key.
    #[error("the relay does not authorise this agent")]
    Unauthorized {
        /// Because the agent is suspended.
        suspended: bool,
    },
    /// Another instance of the agent holds a lease that ours does not replace.
    #[error("another instance of this agent is the live one")]
    Outdated,
    /// The relay does not accept the socket now.
    #[error("the relay refuses the socket with status {status}")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// The socket ended or stayed silent before the welcome.
    #[error("the relay does not welcome the socket")]
    NoWelcome(LinkFault),
}

impl OpenError {
    /// The same as the status shows it.
    pub(super) const fn fault(self) -> LinkFault {
        match self {
            Self::Unreachable => LinkFault::Unreachable,
            Self::Malformed => LinkFault::Malformed,
            Self::Untrusted(_) => LinkFault::Untrusted,
            Self::RelayChanged { .. } => LinkFault::RelayChanged,
            Self::Unauthorized { .. } => LinkFault::Unauthorized,
            Self::Outdated => LinkFault::Superseded,
            Self::Refused { .. } => LinkFault::Refused,
            Self::NoWelcome(fault) => fault,
        }
    }
}

impl From<CallError> for OpenError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable => Self::Unreachable,
            CallError::Malformed => Self::Malformed,
            CallError::Untrusted(fault) => Self::Untrusted(fault),
            CallError::RelayChanged(changed) => Self::RelayChanged { shown: changed.shown },
            CallError::Problem(problem) if matches!(problem.status, 401 | 403) => Self::Unauthorized {
                suspended: problem.problem_type() == Some(ProblemType::Suspended),
            },
            CallError::Problem(problem) => Self::Refused {
                status: problem.status,
            },
        }
    }
}

/// Connects to the pinned relay, offers the lease, and makes the connection a WebSocket: nothing is sent
/// or taken by an instance that is not the live one.
///
/// # Errors
/// [`OpenError`] but for `NoWelcome`. With `Outdated` the lease that stands in the way is in `held`.
pub(super) async fn open(
    client: &Client,
    lease: &Bytes,
    held: &mut Option<Vec<u8>>,
    rng: &mut impl CryptoRng,
) -> Result<Socket, OpenError> {
    let mut key = [0; 16];
    rng.fill_bytes(&mut key);
    let key = STANDARD.encode(key);
    let upgraded = timeout(CALL, async {
        let mut connection = client.connect().await?;
        if let Err(error) = client.put_lease_on(&mut connection, lease.clone()).await {
            *held = newer_lease(&error);
            return Err(held.as_ref().map_or(error.into(), |_| OpenError::Outdated));
        }
        upgrade(client, connection, &key).await
    });
    upgraded.await.map_err(|_| OpenError::Unreachable)?
}

async fn upgrade(client: &Client, mut connection: Connection, key: &str) -> Result<Socket, OpenError> {
    let key_value = HeaderValue::try_from(key).map_err(|_| OpenError::Malformed)?;
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (SEC_WEBSOCKET_KEY, key_value),
    ];
    let answer = client.send_on(&mut connection, "/v1/link", headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(answer).await);
    }
    let is = |name: HeaderName, wanted: &str| {
        answer
            .headers()
            .get(name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let accept = answer.headers().get(SEC_WEBSOCKET_ACCEPT);
    let accepted =
        accept.is_some_and(|value| value.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    let unasked = answer.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS)
        || answer.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    if !is(UPGRADE, "websocket") || !accepted || unasked {
        return Err(OpenError::Malformed);
    }
    let upgraded = hyper::upgrade::on(answer)
        .await
        .map_err(|_| OpenError::Unreachable)?;
    let parts = upgraded
        .downcast::<TokioIo<Stream>>()
        .map_err(|_| OpenError::Malformed)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
        .read_buffer_size(64 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(1024 * 1024);
    let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
    Ok(WebSocketStream::from_partially_read(stream, read, Role::Client, Some(config)).await)
}

async fn refused(answer: http::Response<Incoming>) -> OpenError {
    let status = answer.status().as_u16();
    if !matches!(status, 401 | 403) {
        return OpenError::Refused { status };
    }
    // Only to tell the operator why; the status alone decides.
    let problem = read_answer(answer, PROBLEM)
        .await
        .ok()
        .and_then(|answer| parse_problem(status, &answer.body));
    let suspended = problem.as_ref().and_then(Problem::problem_type) == Some(ProblemType::Suspended);
    OpenError::Unauthorized { suspended }
}

/// Says from where on to deliver and waits for the relay's first frame.
///
/// # Returns
/// What the relay says of itself.
///
/// # Errors
/// [`OpenError::NoWelcome`].
pub(super) async fn resume(socket: &mut Socket, cursors: Vec<Cursor>) -> Result<Welcome, OpenError> {
    let resumed = async {
        let frame = Message::binary(ClientFrame::Resume(cursors).encode());
        socket.send(frame).await.map_err(|error| fault_of(&error))?;
        loop {
            match heard(socket.next().await)? {
                Heard::Frame(bytes) => match RelayFrame::decode(&bytes) {
                    Ok(RelayFrame::Welcome {
                        time,
                        lineage,
                        reaches,
                    }) => {
                        return Ok(Welcome {
                            time,
                            lineage,
                            reaches,
                        });
                    }
                    _ => return Err(LinkFault::Malformed),
                },
                Heard::Alive => {}
            }
        }
    };
    match timeout(STEP, resumed).await {
        Ok(result) => result.map_err(OpenError::NoWelcome),
        Err(_) => Err(OpenError::NoWelcome(LinkFault::Silent)),
    }
}

/// What one message of the relay is.
pub(super) enum Heard {
    /// A frame.
    Frame(Bytes),
    /// A ping or a pong; tungstenite answers pings.
    Alive,
}

/// Sorts what the socket gives.
///
/// # Errors
/// Why the socket is over.
pub(super) fn heard(message: Option<Result<Message, tungstenite::Error>>) -> Result<Heard, LinkFault> {
    match message {
        Some(Ok(Message::Binary(bytes))) => Ok(Heard::Frame(bytes)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Heard::Alive),
        Some(Ok(Message::Close(Some(CloseFrame {
            code: CloseCode::Policy,
            ..
        })))) => Err(LinkFault::Expelled),
        Some(Ok(Message::Close(_))) => Err(LinkFault::Closed),
        Some(Ok(Message::Text(_) | Message::Frame(_))) => Err(LinkFault::Malformed),
        Some(Err(error)) => Err(fault_of(&error)),
        None => Err(LinkFault::Unreachable),
    }
}

/// Whether the way or the relay is at fault.
pub(super) fn fault_of(error: &tungstenite::Error) -> LinkFault {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | tungstenite::Error::Io(_)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed => LinkFault::Unreachable,
        _ => LinkFault::Malformed,
    }
}
