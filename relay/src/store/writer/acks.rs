//! Acks wait in memory for a transaction to ride along with. Nobody waits for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

use super::ops::Op;
use crate::store::View;

/// How long an ack waits for company.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// The same after a failure, so that acks do not hammer a database that is at fault.
const ACK_RETRY: Duration = Duration::from_secs(1);

/// What the writer shares with those who submit.
pub(super) struct Shared {
    acks: Mutex<HashMap<View, u64>>,
    acks_noted: Notify,
    healthy: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            acks: Mutex::default(),
            acks_noted: Notify::new(),
            healthy: AtomicBool::new(true),
        }
    }
}

impl Shared {
    pub(super) fn note_ack(&self, view: View, position: u64) {
        let first = {
            let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
            let first = acks.is_empty();
            let held = acks.entry(view).or_default();
            *held = position.max(*held);
            first
        };
        if first {
            self.acks_noted.notify_one();
        }
    }

    pub(super) fn take_acks(&self) -> HashMap<View, u64> {
        std::mem::take(&mut *self.acks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Whether it was otherwise before.
    pub(super) fn turn_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::AcqRel) != healthy
    }
}

/// Gives the writer a reason to write acks when nothing else does.
pub(super) async fn flush_acks<J: ?Sized>(ops: mpsc::Sender<Op<J>>, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.acks_noted.notified() => {}
            () = ops.closed() => return,
        }
        tokio::time::sleep(if shared.is_healthy() { ACK_DELAY } else { ACK_RETRY }).await;
        let waiting = !shared
            .acks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if waiting && ops.send(Op::Acks).await.is_err() {
            return;
        }
    }
}
