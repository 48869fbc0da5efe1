//! Who is connected, by queue and by agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use waxwire_shared::api::frames::{Cursor, Delivery, RelayFrame};

use super::inbox::{Closing, Inbox, Push};
use crate::{
    clock::Stopwatch,
    metrics::Metrics,
    store::{AgentNo, Appended, CommitListener, QueueNo, Stored},
};

/// The agent has as many sockets as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent has {actual} sockets of {max}")]
pub struct Full {
    /// The limit.
    pub max: u64,
    /// Sockets that it has.
    pub actual: u64,
}

#[derive(Debug, Default)]
struct Tables {
    queues: HashMap<QueueNo, Vec<Arc<Inbox>>>,
    agents: HashMap<AgentNo, Vec<Arc<Inbox>>>,
}

/// The sockets and long polls of this process.
#[derive(Debug)]
pub struct Hub {
    tables: Mutex<Tables>,
    metrics: Arc<Metrics>,
}

/// An inbox that the hub delivers to until this is dropped.
#[derive(Debug)]
pub struct Attached {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    agent: Option<AgentNo>,
    queues: Vec<QueueNo>,
}

impl Attached {
    /// The inbox.
    #[must_use]
    pub const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

impl Hub {
    /// A hub without sockets.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            tables: Mutex::default(),
            metrics,
        })
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches a socket of an agent; at most `max` of them, 0 is unlimited.
    ///
    /// # Errors
    /// [`Full`].
    pub fn attach_socket(
        self: &Arc<Self>,
        agent: AgentNo,
        queues: Vec<QueueNo>,
        max: u64,
    ) -> Result<Attached, Full> {
        let inbox = Arc::new(Inbox::default());
        {
            let mut tables = self.tables();
            let sockets = tables.agents.entry(agent).or_default();
            let actual = sockets.len() as u64;
            if max != 0 && actual >= max {
                return Err(Full { max, actual });
            }
            sockets.push(Arc::clone(&inbox));
            tables.watch(&queues, &inbox);
        }
        self.metrics.sockets.add(1);
        Ok(Attached {
            hub: Arc::clone(self),
            inbox,
            agent: Some(agent),
            queues,
        })
    }

    /// Attaches a long poll of one queue.
    #[must_use]
    pub fn attach_poll(self: &Arc<Self>, queue: QueueNo) -> Attached {
        let inbox = Arc::new(Inbox::default());
        let queues = vec![queue];
        self.tables().watch(&queues, &inbox);
        self.metrics.polls.add(1);
        Attached {
            hub: Arc::clone(self),
            inbox,
            agent: None,
            queues,
        }
    }

    /// Ends all sockets of an agent.
    pub fn close_agent(&self, agent: AgentNo, closing: Closing) {
        let sockets = self.tables().agents.get(&agent).cloned().unwrap_or_default();
        for socket in sockets {
            socket.close(closing);
        }
    }
}

impl Tables {
    fn watch(&mut self, queues: &[QueueNo], inbox: &Arc<Inbox>) {
        for queue in queues {
            self.queues.entry(*queue).or_default().push(Arc::clone(inbox));
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut tables = self.hub.tables();
        for queue in &self.queues {
            remove(&mut tables.queues, queue, &self.inbox);
        }
        if let Some(agent) = &self.agent {
            remove(&mut tables.agents, agent, &self.inbox);
            self.hub.metrics.sockets.add(-1);
        } else {
            self.hub.metrics.polls.add(-1);
        }
    }
}

fn remove<K: Eq + std::hash::Hash>(table: &mut HashMap<K, Vec<Arc<Inbox>>>, key: &K, inbox: &Arc<Inbox>) {
    if let Some(inboxes) = table.get_mut(key) {
        inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
        if inboxes.is_empty() {
            table.remove(key);
        }
    }
}

impl CommitListener for Hub {
    fn stored(&self, appended: &[Appended], batch: &[Stored]) {
        let start = Stopwatch::start();
        let mut pushed = 0;
        let tables = self.tables();
        for stored in appended.iter().map(|appended| &appended.commit).chain(batch) {
            let Some(inboxes) = tables.queues.get(&stored.queue_no) else {
                continue;
            };
            let frame = deliver_frame(stored);
            for inbox in inboxes {
                inbox.push(Push {
                    queue: stored.queue_no,
                    position: stored.position,
                    frame: frame.clone(),
                });
                pushed += 1;
            }
        }
        drop(tables);
        self.metrics.pushed.add(pushed);
        self.metrics.push.observe(start.elapsed());
    }
}

fn deliver_frame(stored: &Stored) -> Bytes {
    let delivery = Delivery {
        cursor: Cursor {
            queue: stored.queue,
            position: stored.position,
        },
        envelope_id: stored.envelope_id,
        stored_at: stored.stored_at,
        object: &stored.bytes,
    };
    RelayFrame::Deliver(delivery).encode().into()
}
