//! A WebSocket of an agent to its crypto proxy.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message as Frame},
};

use crate::{
    agent::{Agent, Message},
    clock::{patience, within},
    http::{Stream, connect, host},
};

/// How long a frame may take that has to come.
const FRAME: Duration = Duration::from_secs(10);

/// An open socket; dropped, it breaks off without a goodbye.
pub struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Socket")
    }
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code; none if the connection just ended.
    pub code: Option<u16>,
    /// Types of the frames that still came.
    pub types: Vec<String>,
}

impl Agent {
    /// Opens a socket with the token in a header; waits for `hello.ok`.
    ///
    /// # Errors
    /// It is refused, or something else comes first.
    pub async fn socket(&self, acknowledges: bool) -> anyhow::Result<Socket> {
        let bearer = format!("Bearer {}", self.token());
        let capabilities = if acknowledges { "ack" } else { "" };
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-agentchat-capabilities", capabilities),
        ];
        let mut socket = self
            .upgrade("/v1/ws", &headers)
            .await?
            .map_err(|status| anyhow::anyhow!("the socket is refused with {status}"))?;
        socket.expect_hello(acknowledges).await?;
        Ok(socket)
    }

    /// Upgrades a connection; gives the status if that is refused.
    ///
    /// # Errors
    /// Nobody listens, or the answer is none.
    pub async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Result<Socket, u16>> {
        let address = self.http().address()?;
        let stream = connect(&address).await?;
        let mut request = ClientRequestBuilder::new(format!("ws://{}{path}", host(&address)).parse()?);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        match within("the upgrade", FRAME, client_async(request, stream)).await? {
            Ok((stream, _)) => Ok(Ok(Socket { stream })),
            Err(tungstenite::Error::Http(answer)) => Ok(Err(answer.status().as_u16())),
            Err(error) => Err(error.into()),
        }
    }
}

impl Socket {
    /// Waits for `hello.ok` as the next frame.
    ///
    /// # Errors
    /// Another frame comes.
    pub async fn expect_hello(&mut self, acknowledges: bool) -> anyhow::Result<()> {
        let capabilities: &[&str] = if acknowledges { &["ack"] } else { &[] };
        let hello = self.next().await?;
        ensure!(
            hello == json!({"type": "hello.ok", "capabilities": capabilities}),
            "not a hello: {hello}"
        );
        Ok(())
    }

    /// The next frame.
    ///
    /// # Errors
    /// None comes in time, or the socket ends.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        within("the next frame", FRAME, self.receive()).await?
    }

    /// The next frame, however long it takes.
    ///
    /// # Errors
    /// The socket ends, or the frame is no JSON.
    pub async fn receive(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.stream.next().await.context("the socket ended")?? {
                Frame::Text(text) => return Ok(serde_json::from_str(&text)?),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => bail!("not a frame: {other:?}"),
            }
        }
    }

    /// The payload of the next frame, which has to be of this type, with the same facts at the top.
    ///
    /// # Errors
    /// It is not.
    pub async fn event(&mut self, kind: &str) -> anyhow::Result<Value> {
        let frame = self.next().await?;
        ensure!(frame["type"] == kind, "expected {kind}, got {frame}");
        let facts = frame["payload"].as_object().context("a payload")?;
        let copied = kind == "message.new" || facts.iter().all(|(name, fact)| frame[name] == *fact);
        ensure!(copied, "not at the top: {frame}");
        Ok(frame["payload"].clone())
    }

    /// The message that the next frame tells.
    ///
    /// # Errors
    /// It tells none.
    pub async fn message(&mut self) -> anyhow::Result<Message> {
        let payload = self.event("message.new").await?;
        Ok(serde_json::from_value(payload)?)
    }

    /// The messages that the next frames tell.
    ///
    /// # Errors
    /// One tells none.
    pub async fn messages(&mut self, count: usize) -> anyhow::Result<Vec<Message>> {
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(self.message().await?);
        }
        Ok(messages)
    }

    /// Requires that nothing is told for a while.
    ///
    /// # Errors
    /// Something is.
    pub async fn quiet(&mut self, length: Duration) -> anyhow::Result<()> {
        match timeout(length, self.receive()).await {
            Err(_) => Ok(()),
            Ok(frame) => bail!("nothing should be told, but {frame:?}"),
        }
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn say(&mut self, frame: &Value) -> anyhow::Result<()> {
        self.write(Frame::text(frame.to_string())).await
    }

    /// Writes a frame of any kind.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write(&mut self, frame: Frame) -> anyhow::Result<()> {
        Ok(self.stream.send(frame).await?)
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn ack(&mut self, message: &str) -> anyhow::Result<()> {
        self.say(&json!({"type": "ack", "message_id": message})).await
    }

    /// Closes it in order.
    ///
    /// # Errors
    /// The proxy does not answer the goodbye.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.stream.close(None).await?;
        within("the goodbye", FRAME, self.ended()).await?;
        Ok(())
    }

    /// Reads until the proxy ends it, for at most `limit`.
    ///
    /// # Errors
    /// It does not.
    pub async fn closed(&mut self, limit: Duration) -> anyhow::Result<Closed> {
        within("the socket ends", limit, self.ended()).await
    }

    async fn ended(&mut self) -> Closed {
        let (mut types, mut code) = (Vec::new(), None);
        while let Some(Ok(frame)) = self.stream.next().await {
            match frame {
                Frame::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                    types.push(frame["type"].as_str().unwrap_or_default().to_owned());
                }
                Frame::Close(close) => code = close.map(|close| close.code.into()),
                _ => {}
            }
        }
        Closed { code, types }
    }

    /// Reads for a while and gives what was told.
    pub async fn listen(&mut self, length: Duration) -> Vec<Value> {
        let mut frames = Vec::new();
        let listening = async {
            while let Ok(frame) = self.receive().await {
                frames.push(frame);
            }
        };
        // It ends with the time, or with the socket.
        drop(timeout(patience(length), listening).await);
        frames
    }
}
