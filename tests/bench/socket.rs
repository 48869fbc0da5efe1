//! WebSocket connections of the load generator.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue, protocol::WebSocketConfig},
};

use crate::http_client::connect;

/// Bytes of a socket's read and write buffer each.
const BUFFER: usize = 4096;

/// A socket.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connects; `authorization`: value of that header, if any.
    ///
    /// # Errors
    /// Nobody listens, or the server refuses.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        authorization: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(value) = authorization {
            let headers = request.headers_mut();
            headers.insert("authorization", HeaderValue::from_str(value)?);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER);
        let stream = connect(address).await?;
        let (socket, _) = client_async_with_config(request, stream, Some(config))
            .await
            .with_context(|| format!("no socket at {path}"))?;
        Ok(Self(socket))
    }

    /// The next message; pings are answered meanwhile. Cancel safe.
    ///
    /// # Errors
    /// The connection ended.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let message = self.0.next().await.context("the server closed the socket")??;
            match message {
                Message::Binary(bytes) => return Ok(bytes),
                Message::Text(text) => return Ok(text.into()),
                Message::Close(reason) => anyhow::bail!("the server closed the socket: {reason:?}"),
                _ => {}
            }
        }
    }

    /// Writes a binary message and flushes.
    ///
    /// # Errors
    /// The connection ended.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Binary(bytes.into())).await?)
    }

    /// The same with text.
    ///
    /// # Errors
    /// The connection ended.
    pub(crate) async fn say(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Text(text.into())).await?)
    }
}
