//! Of which queues and agents this node wants to hear.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::store::{AgentNo, QueueNo};

/// What other nodes may have news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A queue.
    Queue(QueueNo),
    /// An agent.
    Agent(AgentNo),
}

/// Topics that the hub has begun or ceased to serve since the last time. Bounded by what it serves.
#[derive(Debug, Default)]
pub(super) struct Interest {
    changed: Mutex<HashSet<Topic>>,
    stir: Notify,
}

impl Interest {
    pub(super) fn note(&self, topic: Topic) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(topic);
        drop(changed);
        self.stir.notify_one();
    }

    pub(super) fn take(&self) -> HashSet<Topic> {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something has changed since the last time.
    pub(super) async fn changed(&self) -> HashSet<Topic> {
        loop {
            let changed = self.take();
            if !changed.is_empty() {
                return changed;
            }
            self.stir.notified().await;
        }
    }
}
