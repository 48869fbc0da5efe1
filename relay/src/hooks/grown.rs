//! Which queues have grown since the task looked. Costs the path of a send one look at a flag while no
//! agent has a hook.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;
use waxwire_shared::api::frames::Cursor;

use crate::store::{QueueNo, Stored};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Grown {
    watched: AtomicBool,
    queues: Mutex<HashMap<QueueNo, Cursor>>,
    stir: Notify,
}

impl Grown {
    /// Some agent has a hook: from now on everything is noted.
    pub fn watch(&self) {
        self.watched.store(true, Ordering::Release);
        self.stir.notify_one();
    }

    /// Whether any agent has a hook.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Notes that something was stored.
    pub fn note(&self, stored: &Stored) {
        if !self.is_watched() {
            return;
        }
        let cursor = Cursor {
            queue: stored.queue,
            position: stored.position,
        };
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert(stored.queue_no, cursor);
        drop(queues);
        self.stir.notify_one();
    }

    /// What has grown since the last time.
    pub fn take(&self) -> HashMap<QueueNo, Cursor> {
        std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was taken and not dealt with; what has grown since is newer.
    pub fn put_back(&self, taken: HashMap<QueueNo, Cursor>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for (queue_no, cursor) in taken {
            queues.entry(queue_no).or_insert(cursor);
        }
    }

    /// Waits until something has grown since the last time.
    pub async fn stirred(&self) {
        self.stir.notified().await;
    }
}
