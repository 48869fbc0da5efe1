//! Doing something only after an answer has left this process whole.
//!
//! A handler has done its part long before the last byte of a large answer is written. What an
//! answer settles must not be settled if the connection breaks in between, so the act is hung on
//! the connection and runs when its writer was flushed behind the answer's end.

use std::{
    convert::Infallible,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Act = Box<dyn FnOnce() + Send>;

/// What a connection does when all that was written has left. Lost with the connection.
#[derive(Clone, Default)]
pub(super) struct AfterFlush(Arc<Mutex<Vec<Act>>>);

impl AfterFlush {
    fn add(&self, act: Act) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(act);
    }

    fn run(&self) {
        let acts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for act in acts {
            act();
        }
    }
}

impl fmt::Debug for AfterFlush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterFlush")
    }
}

/// A body, and what to do once it was written whole: on the connection's next flush behind it, or,
/// without a connection to hang it on, when its end is taken.
pub(super) fn body_then(
    bytes: Vec<u8>,
    after: Option<AfterFlush>,
    act: impl FnOnce() + Send + 'static,
) -> Body {
    let mut act: Option<Act> = Some(Box::new(act));
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(bytes))]);
    // Of no announced length: the server asks on until it is told that nothing follows.
    let end = stream::poll_fn(move |_| {
        if let Some(act) = act.take() {
            match &after {
                Some(after) => after.add(act),
                None => act(),
            }
        }
        Poll::Ready(None)
    });
    Body::from_stream(first.chain(end))
}

/// A connection that tells when it was flushed.
#[derive(Debug)]
pub(super) struct Flushing<C> {
    connection: C,
    after: AfterFlush,
}

impl<C> Flushing<C> {
    pub(super) fn new(connection: C) -> (Self, AfterFlush) {
        let after = AfterFlush::default();
        (
            Self {
                connection,
                after: after.clone(),
            },
            after,
        )
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Flushing<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Flushing<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    /// The server calls this when it has nothing left in its own buffers.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.connection).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.after.run();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn flag() -> (Arc<AtomicBool>, impl FnOnce() + Send + 'static) {
        let done = Arc::new(AtomicBool::new(false));
        let act = Arc::clone(&done);
        (done, move || act.store(true, Ordering::Relaxed))
    }

    #[tokio::test]
    async fn an_act_waits_for_the_flush_behind_the_body() {
        let (near, far) = tokio::io::duplex(8);
        let (mut connection, after) = Flushing::new(near);
        let (done, act) = flag();
        let mut body = body_then(b"whole".to_vec(), Some(after), act);

        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "whole");
        connection.flush().await.unwrap();
        assert!(!done.load(Ordering::Relaxed), "the end was not taken yet");
        assert!(body.frame().await.is_none());
        assert!(
            !done.load(Ordering::Relaxed),
            "nothing was flushed behind the end"
        );
        connection.flush().await.unwrap();
        assert!(done.load(Ordering::Relaxed));
        drop(far);
    }

    #[tokio::test]
    async fn an_act_is_lost_with_its_connection() {
        let (near, far) = tokio::io::duplex(8);
        let (connection, after) = Flushing::new(near);
        let (done, act) = flag();
        let body = body_then(b"whole".to_vec(), Some(after), act);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
        drop((connection, far));
        assert!(!done.load(Ordering::Relaxed));
    }
}
