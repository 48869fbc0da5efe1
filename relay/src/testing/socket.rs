//! A connection that speaks the frames of the link.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, Notice, Queue, RelayFrame, Seen},
        problem::Problem,
    },
    ids::Hash,
};

use super::TestRelay;

/// A socket of an agent.
pub(crate) struct TestSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// A frame of the relay, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Stored {
        request: u32,
        repeated: bool,
        hash: Hash,
    },
    Refused {
        request: u32,
        problem: Problem,
    },
    Deliver {
        cursor: Cursor,
        object: Vec<u8>,
    },
    Head(Cursor),
    Welcome {
        time: u64,
    },
    Transient(Vec<u8>),
    Seen(Seen),
    Lease(Vec<u8>),
    Notice {
        request: u32,
        notice: Notice,
    },
    Ping,
    Closed {
        code: u16,
        reason: String,
    },
}

impl TestSocket {
    /// Connects without a first frame.
    pub(crate) async fn connect(test: &TestRelay, key: &str) -> Self {
        Self::try_connect(test, key).await.unwrap()
    }

    pub(crate) async fn try_connect(test: &TestRelay, key: &str) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{}/v1/link", test.address)
            .into_client_request()
            .unwrap();
        let value = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        Ok(Self(socket))
    }

    /// Connects and resumes from cursors.
    pub(crate) async fn resume(test: &TestRelay, key: &str, cursors: Vec<Cursor>) -> Self {
        let mut socket = Self::connect(test, key).await;
        socket.write(&ClientFrame::Resume(cursors)).await;
        assert!(matches!(socket.next().await, Got::Welcome { .. }));
        socket
    }

    /// Resumes from the last acks, expecting empty queues.
    pub(crate) async fn open(test: &TestRelay, key: &str) -> Self {
        let mut socket = Self::resume(test, key, Vec::new()).await;
        for _ in 0..2 {
            assert!(matches!(socket.next().await, Got::Head(_)));
        }
        socket
    }

    pub(crate) async fn write(&mut self, frame: &ClientFrame<'_>) {
        self.write_message(Message::Binary(frame.encode().into())).await;
    }

    pub(crate) async fn write_message(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    pub(crate) async fn send(&mut self, request: u32, envelope: &[u8]) {
        self.write(&ClientFrame::Send { request, envelope }).await;
    }

    pub(crate) async fn ack(&mut self, queue: Queue, position: u64) {
        self.write(&ClientFrame::Ack(vec![Cursor { queue, position }]))
            .await;
    }

    /// The next frame; a test that gets none fails.
    pub(crate) async fn next(&mut self) -> Got {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await;
        match message.expect("a frame in time") {
            Some(Ok(Message::Binary(bytes))) => Got::of(&RelayFrame::decode(&bytes).unwrap()),
            Some(Ok(Message::Ping(_))) => Got::Ping,
            Some(Ok(Message::Close(Some(frame)))) => Got::Closed {
                code: frame.code.into(),
                reason: frame.reason.as_str().to_owned(),
            },
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The next frame if one comes within a moment.
    pub(crate) async fn next_soon(&mut self) -> Option<Got> {
        let message = tokio::time::timeout(Duration::from_millis(100), self.0.next()).await;
        match message.ok()? {
            Some(Ok(Message::Binary(bytes))) => Some(Got::of(&RelayFrame::decode(&bytes).unwrap())),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn next_delivery(&mut self) -> (Cursor, Vec<u8>) {
        match self.next().await {
            Got::Deliver { cursor, object } => (cursor, object),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Waits for the end of the connection, whatever comes before it.
    pub(crate) async fn ended(&mut self) -> bool {
        let end = async { while let Some(Ok(_)) = self.0.next().await {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.is_ok()
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.0.next())
            .await
            .is_err()
    }
}

impl Got {
    fn of(frame: &RelayFrame<'_>) -> Self {
        match frame {
            RelayFrame::Stored {
                request,
                repeated,
                hash,
                ..
            } => Self::Stored {
                request: *request,
                repeated: *repeated,
                hash: *hash,
            },
            RelayFrame::Refused { request, problem, .. } => Self::Refused {
                request: *request,
                problem: serde_json::from_slice(problem).unwrap(),
            },
            RelayFrame::Deliver(delivery) => Self::Deliver {
                cursor: delivery.cursor,
                object: delivery.object.to_vec(),
            },
            RelayFrame::Head(cursor) => Self::Head(*cursor),
            RelayFrame::Welcome { time, .. } => Self::Welcome { time: *time },
            RelayFrame::Transient(envelope) => Self::Transient(envelope.to_vec()),
            RelayFrame::Presence(seen) => Self::Seen(seen.clone()),
            RelayFrame::Lease(lease) => Self::Lease(lease.to_vec()),
            RelayFrame::Notice { request, notice } => Self::Notice {
                request: *request,
                notice: notice.clone(),
            },
        }
    }
}
