//! The sockets that are connected, by recipient.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::writer::Stored;

type Sockets = HashMap<i64, Vec<(u64, mpsc::UnboundedSender<Bytes>)>>;

/// Who is connected. Several sockets may listen for one recipient; each gets every frame.
#[derive(Default)]
pub(super) struct Hub {
    sockets: Mutex<Sockets>,
    next: AtomicU64,
}

/// A socket's place in the hub, given up when dropped.
pub(super) struct Seat {
    hub: Arc<Hub>,
    number: u64,
    /// Whose messages these are.
    pub(super) recipient: i64,
    /// What is to be written to the socket.
    pub(super) frames: mpsc::UnboundedReceiver<Bytes>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(self.recipient, self.number);
    }
}

impl Hub {
    /// From now on every frame for the recipient is kept for this socket.
    pub(super) fn join(self: &Arc<Self>, recipient: i64) -> Seat {
        let (sender, frames) = mpsc::unbounded_channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(recipient).or_default().push((number, sender));
        Seat {
            hub: Arc::clone(self),
            number,
            recipient,
            frames,
        }
    }

    fn leave(&self, recipient: i64, number: u64) {
        let mut sockets = self.lock();
        if let Some(listeners) = sockets.get_mut(&recipient) {
            listeners.retain(|(other, _)| *other != number);
            if listeners.is_empty() {
                sockets.remove(&recipient);
            }
        }
    }

    /// Hands a frame to all sockets of the recipient. One that is closing misses it.
    pub(super) fn push(&self, recipient: i64, frame: &Bytes) {
        for (_, socket) in self.lock().get(&recipient).into_iter().flatten() {
            let _ = socket.send(frame.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the senders of each committed batch, then pushes it. Returns when the writer has ended.
///
/// A batch crosses from the writer's thread as one message, since each crossing wakes the runtime
/// by a system call.
pub(super) async fn deliver(hub: &Hub, mut stored: mpsc::UnboundedReceiver<Vec<Stored>>) {
    while let Some(batch) = stored.recv().await {
        for Stored { id, message } in batch {
            // A sender that hung up no longer wants its answer; the message is stored all the same.
            let _ = message.done.send(id);
            hub.push(message.recipient, &frame(id, &message.body));
        }
    }
}

/// `id` (8 bytes, big-endian), body.
pub(super) fn frame(id: i64, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_i64(id);
    frame.put_slice(body);
    frame.freeze()
}
