//! Sockets through the tap, frame by frame. Pings are answered by the tap itself.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{Fate, Frame, Shared, Side};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

struct Pump<'a> {
    shared: &'a Shared,
    socket: u64,
    proxy: Socket,
    relay: Socket,
}

/// Moves frames both ways until one side ends or a script cuts.
pub(super) async fn pump(proxy: OnUpgrade, relay: OnUpgrade, shared: &Shared) {
    let (Ok(proxy), Ok(relay)) = tokio::join!(proxy, relay) else {
        return;
    };
    let mut pump = Pump {
        shared,
        socket: shared.sockets.fetch_add(1, Ordering::SeqCst) + 1,
        proxy: WebSocketStream::from_raw_socket(TokioIo::new(proxy), Role::Server, None).await,
        relay: WebSocketStream::from_raw_socket(TokioIo::new(relay), Role::Client, None).await,
    };
    // Whatever ended it, dropping both ends tells both sides.
    let _ended = pump.run().await;
}

/// The socket has ended.
struct Ended;

impl Pump<'_> {
    async fn run(&mut self) -> Result<(), Ended> {
        let mut injected = self.shared.injected.subscribe();
        loop {
            self.shared.passage().await;
            let (from, message) = tokio::select! {
                message = self.proxy.next() => (Side::Proxy, message.ok_or(Ended)?.map_err(|_| Ended)?),
                message = self.relay.next() => (Side::Relay, message.ok_or(Ended)?.map_err(|_| Ended)?),
                burst = injected.recv() => match burst {
                    Ok((from, frames)) => {
                        for bytes in frames {
                            self.pass(from, Message::Binary(bytes)).await?;
                        }
                        continue;
                    }
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return Err(Ended),
                },
            };
            // It was read while the way was open, and may have been closed since.
            self.shared.passage().await;
            match message {
                Message::Binary(bytes) => self.decide(from, bytes).await?,
                Message::Ping(_) | Message::Pong(_) => {}
                other => self.pass(from, other).await?,
            }
        }
    }

    async fn decide(&mut self, from: Side, bytes: Bytes) -> Result<(), Ended> {
        let frame = Frame {
            from,
            socket: self.socket,
            bytes: &bytes,
        };
        match self.shared.fate(frame) {
            Fate::Pass => self.pass(from, Message::Binary(bytes)).await,
            Fate::Drop => Ok(()),
            Fate::Cut => Err(Ended),
            Fate::PassThenCut => {
                self.pass(from, Message::Binary(bytes)).await?;
                Err(Ended)
            }
            Fate::Replace(frames) => {
                for frame in frames {
                    self.pass(from, Message::Binary(frame.into())).await?;
                }
                Ok(())
            }
        }
    }

    async fn pass(&mut self, from: Side, message: Message) -> Result<(), Ended> {
        let to = match from {
            Side::Proxy => &mut self.relay,
            Side::Relay => &mut self.proxy,
        };
        to.send(message).await.map_err(|_| Ended)
    }
}
