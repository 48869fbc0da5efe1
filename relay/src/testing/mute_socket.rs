//! A connection that speaks as little WebSocket as it can.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::TestRelay;

/// A socket whose client answers no ping: it speaks WebSocket by hand.
pub(crate) struct MuteSocket(TcpStream);

impl MuteSocket {
    pub(crate) async fn open(test: &TestRelay, key: &str) -> Self {
        let mut stream = TcpStream::connect(&test.address).await.unwrap();
        let head = format!(
            "GET /v1/link HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {key}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        // A masked binary message of one byte: resume.
        stream.write_all(&[0x82, 0x81, 0, 0, 0, 0, 0x03]).await.unwrap();
        Self(stream)
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&mut self) -> bool {
        let mut rest = Vec::new();
        let end = self.0.read_to_end(&mut rest);
        tokio::time::timeout(Duration::from_secs(20), end).await.is_ok()
    }
}
