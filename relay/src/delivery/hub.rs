//! Who is connected, by queue and by agent.

mod tables;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;
use waxwire_outbound::traces;
use waxwire_shared::{
    api::frames::{Cursor, Delivery, Queue, RelayFrame},
    ids::{AgentId, Hash},
};

use self::tables::Tables;
use super::inbox::{Closing, Inbox, Push};
use crate::{
    clock::Stopwatch,
    hooks::Grown,
    metrics::Metrics,
    nodes::{Nodes, Topic},
    store::{AgentNo, Appended, CommitListener, Membership, QueueNo, Stored},
};

/// How many sockets there may be; 0 is unlimited.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketLimits {
    /// Of an agent.
    pub agent: u64,
    /// Of all agents at this node.
    pub node: u64,
}

/// There is no room for another socket or long poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The agent has as many as it may have.
    #[error("the agent has {actual} of {max}")]
    Agent {
        /// The limit.
        max: u64,
        /// How many it has.
        actual: u64,
    },
    /// So has this node.
    #[error("this node has as many sockets as it may have")]
    Node,
}

/// The sockets and long polls of this process.
#[derive(Debug)]
pub struct Hub {
    tables: Mutex<Tables>,
    /// Some agent may have come or gone.
    stir: Notify,
    grown: Grown,
    metrics: Arc<Metrics>,
    nodes: Option<Arc<Nodes>>,
}

/// Whose inbox it is.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Agent(AgentNo, AgentId),
    Poll(AgentNo, QueueNo),
}

/// An inbox that the hub delivers to until this is dropped.
#[derive(Debug)]
pub struct Attached {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    reader: Reader,
}

impl Attached {
    /// The inbox.
    #[must_use]
    pub const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Lets a socket watch further queues.
    pub fn watch(&self, queues: impl IntoIterator<Item = QueueNo>) {
        if let Reader::Agent(agent, _) = self.reader {
            let mut tables = self.hub.tables();
            for queue in queues {
                tables.watch(agent, &self.inbox, queue);
            }
        }
    }

    /// Whether this socket makes its agent count as online; at first it does not.
    pub fn show(&self, shown: bool) {
        if let Reader::Agent(agent, _) = self.reader {
            self.hub.tables().show(agent, &self.inbox, shown);
            self.hub.stir.notify_one();
        }
    }
}

impl Hub {
    /// A hub without sockets.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Self::among(None, metrics)
    }

    /// The same among other nodes, which hear of what is stored here.
    #[must_use]
    pub fn among(nodes: Option<Arc<Nodes>>, metrics: Arc<Metrics>) -> Arc<Self> {
        let tables = Tables {
            nodes: nodes.clone(),
            ..Tables::default()
        };
        Arc::new(Self {
            tables: Mutex::new(tables),
            stir: Notify::new(),
            grown: Grown::default(),
            metrics,
            nodes,
        })
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which queues have grown.
    #[must_use]
    pub const fn grown(&self) -> &Grown {
        &self.grown
    }

    /// The agent with this id, if it has a socket.
    #[must_use]
    pub fn connected(&self, id: &AgentId) -> Option<AgentNo> {
        self.tables().ids.get(id).copied()
    }

    /// The agent of this number, if it has a socket.
    #[must_use]
    pub fn id_of(&self, agent: AgentNo) -> Option<AgentId> {
        let tables = self.tables();
        tables.agents.get(&agent)?.first().map(|socket| socket.id)
    }

    /// Every queue and agent that is served here.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let tables = self.tables();
        let queues = tables.queues.keys().map(|queue| Topic::Queue(*queue));
        let agents = tables.agents.keys().map(|agent| Topic::Agent(*agent));
        queues.chain(agents).collect()
    }

    /// Whether a queue or an agent is served here.
    #[must_use]
    pub fn serves(&self, topic: &Topic) -> bool {
        let tables = self.tables();
        match topic {
            Topic::Queue(queue) => tables.queues.contains_key(queue),
            Topic::Agent(agent) => tables.agents.contains_key(agent),
        }
    }

    /// There may be something in a queue up to `head`: whoever serves it looks.
    pub fn look(&self, queue: QueueNo, head: u64) {
        for inbox in self.tables().queues.get(&queue).into_iter().flatten() {
            inbox.look(queue, head);
        }
    }

    /// Lets the sockets of an agent watch the groups that it is in, and no others. What they missed they read.
    pub fn reseat(&self, agent: AgentNo, memberships: &[Membership]) {
        let tables = &mut *self.tables();
        for membership in memberships {
            if membership.current {
                tables.sit_down(agent, membership);
            } else {
                tables.stand_up(agent, membership);
            }
        }
    }

    /// Whether an agent counts as online.
    #[must_use]
    pub fn is_shown(&self, agent: AgentNo) -> bool {
        let tables = self.tables();
        let mut sockets = tables.agents.get(&agent).into_iter().flatten();
        sockets.any(|socket| socket.shown)
    }

    /// Waits until some agent may have come or gone, and names all that may have since the last time.
    pub async fn moved(&self) -> HashSet<AgentNo> {
        loop {
            let moved = std::mem::take(&mut self.tables().moved);
            if !moved.is_empty() {
                return moved;
            }
            self.stir.notified().await;
        }
    }

    /// Those of some agents that have a socket.
    #[must_use]
    pub fn with_sockets(&self, mut agents: Vec<AgentNo>) -> Vec<AgentNo> {
        let tables = self.tables();
        agents.retain(|agent| tables.agents.contains_key(agent));
        agents
    }

    /// Tells all sockets of some agents that a contact came or went.
    pub fn push_presence(&self, agents: &[AgentNo], contact: AgentNo, frame: &Bytes) {
        let tables = self.tables();
        for agent in agents {
            for socket in tables.agents.get(agent).into_iter().flatten() {
                socket.inbox.push_presence(contact, frame.clone());
            }
        }
    }

    /// Hands a frame to all sockets of an agent; true if one of them has room for it.
    #[must_use]
    pub fn pass_on(&self, agent: AgentNo, frame: &Bytes) -> bool {
        let tables = self.tables();
        let sockets = tables.agents.get(&agent).into_iter().flatten();
        let taken = sockets.filter(|socket| socket.inbox.pass_on(frame)).count();
        taken > 0
    }

    /// Attaches a socket of an agent.
    ///
    /// # Errors
    /// [`Full`].
    pub fn attach_socket(
        self: &Arc<Self>,
        agent: AgentNo,
        (id, key): (AgentId, Hash),
        queues: impl IntoIterator<Item = QueueNo>,
        limits: SocketLimits,
    ) -> Result<Attached, Full> {
        let inbox = Arc::new(Inbox::default());
        self.tables().add_socket(agent, (id, key), &inbox, limits)?;
        self.metrics.sockets.add(1);
        let attached = Attached {
            hub: Arc::clone(self),
            inbox,
            reader: Reader::Agent(agent, id),
        };
        attached.watch(queues);
        Ok(attached)
    }

    /// Attaches a long poll of one queue; an agent may have `max` of them, 0 is unlimited.
    ///
    /// # Errors
    /// [`Full`].
    pub fn attach_poll(
        self: &Arc<Self>,
        agent: AgentNo,
        key: Hash,
        queue: QueueNo,
        max: u64,
    ) -> Result<Attached, Full> {
        let inbox = Arc::new(Inbox::default());
        self.tables().add_poll(agent, key, &inbox, (queue, max))?;
        self.metrics.polls.add(1);
        Ok(Attached {
            hub: Arc::clone(self),
            inbox,
            reader: Reader::Poll(agent, queue),
        })
    }

    /// Ends all sockets and long polls of an agent.
    pub fn close_agent(&self, agent: AgentNo, closing: Closing) {
        for (_, inbox) in self.tables().readers(agent) {
            inbox.close(closing);
        }
    }

    /// Ends those that came with another API key than the one of this hash, which is the agent's now.
    pub fn close_other_keys(&self, agent: AgentNo, key: &Hash) {
        for (_, inbox) in self.tables().readers(agent).filter(|(shown, _)| *shown != key) {
            inbox.close(Closing::KeyReplaced);
        }
    }

    /// Shows the sockets of an agent a lease that was offered for it.
    pub fn show_lease(&self, agent: AgentNo, signed: &[u8]) {
        let frame = Bytes::from(RelayFrame::Lease(signed).encode());
        if let Some(sockets) = self.tables().agents.get(&agent) {
            for socket in sockets {
                socket.inbox.show_lease(frame.clone());
            }
        }
    }

    fn push(&self, tables: &Tables, stored: &Stored) {
        let Some(inboxes) = tables.queues.get(&stored.queue_no) else {
            return;
        };
        let frame = deliver_frame(stored);
        for inbox in inboxes {
            inbox.push(Push {
                queue: stored.queue_no,
                position: stored.position,
                frame: frame.clone(),
            });
        }
        let pushed = inboxes.len() as u64;
        self.metrics.pushed.add(pushed);
        if matches!(stored.queue, Queue::Group(_) | Queue::Log(_)) {
            self.metrics.group_deliveries.add(pushed);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut tables = self.hub.tables();
        match &self.reader {
            Reader::Agent(agent, id) => {
                tables.remove_socket(agent, id, &self.inbox);
                self.hub.stir.notify_one();
                self.hub.metrics.sockets.add(-1);
            }
            Reader::Poll(agent, queue) => {
                tables.remove_poll(agent, queue, &self.inbox);
                self.hub.metrics.polls.add(-1);
            }
        }
    }
}

impl CommitListener for Hub {
    fn stored(&self, appended: &[Appended], batch: &[Stored]) {
        let span =
            tracing::info_span!(target: traces::TARGET, "push", objects = appended.len() + batch.len());
        let _span = span.entered();
        let start = Stopwatch::start();
        let mut tables = self.tables();
        for appended in appended {
            tables.seat(appended);
            self.push(&tables, &appended.commit);
            self.grown.note(&appended.commit);
            tables.unseat(appended);
        }
        for stored in batch {
            self.push(&tables, stored);
            self.grown.note(stored);
        }
        drop(tables);
        if let Some(nodes) = &self.nodes {
            nodes.tell_stored(appended, batch);
        }
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

#[cfg(test)]
mod tests {
    use waxwire_shared::ids::GroupId;

    use super::*;
    use crate::{
        delivery::inbox::Bounds,
        store::{GroupRecord, MembershipChange, QueueHead, test_agent, test_group, test_queue},
    };

    fn stored(queue_no: QueueNo, queue: Queue, position: u64) -> Stored {
        Stored {
            queue_no,
            queue,
            position,
            envelope_id: position,
            stored_at: 0,
            bytes: Bytes::from_static(b"object"),
        }
    }

    fn id() -> GroupId {
        GroupId::from_bytes([1; 32])
    }

    fn commit(position: u64, changes: &[(i64, MembershipChange)]) -> Appended {
        let group = test_group(1);
        let changes = changes
            .iter()
            .map(|(agent, change)| (test_agent(*agent), *change));
        Appended {
            commit: stored(group.log, Queue::Log(id()), position),
            id: id(),
            group,
            leaves_length: 0,
            message_head: 7,
            changes: changes.collect(),
        }
    }

    fn message(group: &GroupRecord, position: u64) -> Stored {
        stored(group.messages, Queue::Group(id()), position)
    }

    const KEY: Hash = Hash::from_bytes([1; 32]);

    fn agent_id(number: u8) -> AgentId {
        AgentId::from_bytes([number; 16])
    }

    fn pushed(socket: &Attached) -> Vec<(QueueNo, u64)> {
        let pushes = socket.inbox().take().pushes;
        pushes.iter().map(|push| (push.queue, push.position)).collect()
    }

    #[test]
    fn socket_watches_a_group_from_the_joining_to_the_departure() {
        use MembershipChange::{Departed, Joined};
        let hub = Hub::new(Arc::new(Metrics::default()));
        let group = test_group(1);
        let socket = hub
            .attach_socket(
                test_agent(1),
                (agent_id(1), KEY),
                [test_queue(1)],
                SocketLimits::default(),
            )
            .unwrap();
        let other = hub
            .attach_socket(test_agent(2), (agent_id(2), KEY), [], SocketLimits::default())
            .unwrap();
        hub.stored(&[commit(1, &[])], &[message(&group, 7)]);
        assert_eq!(pushed(&socket), []);
        hub.stored(&[commit(2, &[(1, Joined)])], &[message(&group, 8)]);
        assert_eq!(pushed(&socket), [(group.log, 2), (group.messages, 8)]);
        hub.stored(
            &[commit(3, &[(1, Departed)]), commit(4, &[])],
            &[message(&group, 9)],
        );
        assert_eq!(pushed(&socket), [(group.log, 3)]);
        // Whoever leaves and joins in one commit misses nothing.
        hub.stored(&[commit(5, &[(1, Joined)])], &[]);
        hub.stored(
            &[commit(6, &[(1, Departed), (1, Joined)])],
            &[message(&group, 10)],
        );
        assert_eq!(
            pushed(&socket),
            [(group.log, 5), (group.log, 6), (group.messages, 10)]
        );
        assert_eq!(pushed(&other), []);
        drop((socket, other));
        let tables = hub.tables();
        assert!(tables.queues.is_empty() && tables.agents.is_empty() && tables.ids.is_empty());
    }

    #[test]
    fn reseated_socket_watches_what_the_table_shows_and_looks() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let group = test_group(1);
        let socket = hub
            .attach_socket(test_agent(1), (agent_id(1), KEY), [], SocketLimits::default())
            .unwrap();
        let membership = |current| {
            let place = |acked| QueueHead { head: 9, acked };
            Membership {
                id: id(),
                group,
                current,
                messages: place(5),
                log: place(4),
            }
        };
        hub.reseat(test_agent(1), &[membership(true)]);
        hub.reseat(test_agent(1), &[membership(true)]);
        let mail = socket.inbox().take();
        let bounds = Bounds { messages: 5, log: 4 };
        assert_eq!((mail.news[0].begin, mail.news[0].end), (Some(bounds), None));
        assert_eq!(mail.looks.len(), 2);
        hub.stored(&[], &[message(&group, 10)]);
        assert_eq!(pushed(&socket), [(group.messages, 10)]);
        hub.reseat(test_agent(1), &[membership(false)]);
        let mail = socket.inbox().take();
        assert_eq!(mail.news[0].end, Some(Bounds { messages: 9, log: 9 }));
        hub.stored(&[], &[message(&group, 11)]);
        hub.look(group.messages, 11);
        let mail = socket.inbox().take();
        assert!(mail.pushes.is_empty() && mail.looks.is_empty());
    }

    #[test]
    fn news_says_from_where_and_up_to_where() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let socket = hub
            .attach_socket(test_agent(1), (agent_id(1), KEY), [], SocketLimits::default())
            .unwrap();
        let at = |log| Bounds { messages: 7, log };
        hub.stored(&[commit(2, &[(1, MembershipChange::Joined)])], &[]);
        let news = socket.inbox().take().news[0];
        assert_eq!((news.begin, news.end), (Some(at(1)), None));
        hub.stored(&[commit(3, &[(1, MembershipChange::Departed)])], &[]);
        let news = socket.inbox().take().news[0];
        assert_eq!((news.begin, news.end), (None, Some(at(3))));
    }

    /// A node that did not give the new key itself has sockets and long polls of the old one.
    #[test]
    fn sockets_and_long_polls_of_another_key_are_ended() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let attach = |agent, key| {
            let limits = SocketLimits::default();
            let socket = hub.attach_socket(test_agent(agent), (agent_id(1), key), [], limits);
            let poll = hub.attach_poll(test_agent(agent), key, test_queue(1), 0);
            [socket.unwrap(), poll.unwrap()]
        };
        let new = Hash::from_bytes([2; 32]);
        let (old, kept, other) = (attach(1, KEY), attach(1, new), attach(2, KEY));
        hub.close_other_keys(test_agent(1), &new);
        let closing = |two: &[Attached; 2]| two.each_ref().map(|attached| attached.inbox().take().closing);
        assert_eq!(closing(&old), [Some(Closing::KeyReplaced); 2]);
        assert_eq!((closing(&kept), closing(&other)), ([None; 2], [None; 2]));
        hub.close_agent(test_agent(1), Closing::Suspended);
        assert_eq!(closing(&kept), [Some(Closing::Suspended); 2]);
    }

    #[test]
    fn queue_that_is_watched_twice_is_pushed_once() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let group = test_group(1);
        let socket = hub
            .attach_socket(
                test_agent(1),
                (agent_id(1), KEY),
                [group.messages],
                SocketLimits::default(),
            )
            .unwrap();
        socket.watch([group.messages, group.messages]);
        hub.stored(&[], &[message(&group, 1)]);
        assert_eq!(pushed(&socket), [(group.messages, 1)]);
    }

    #[test]
    fn long_polls_of_an_agent_are_bounded() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let attach = |number, queue| hub.attach_poll(test_agent(number), KEY, test_queue(queue), 2);
        let polls = (attach(1, 1).unwrap(), attach(1, 1).unwrap());
        let full = attach(1, 2).unwrap_err();
        assert_eq!(full, Full::Agent { max: 2, actual: 2 });
        let other = attach(2, 2).unwrap();
        drop(polls.0);
        drop((attach(1, 1).unwrap(), polls.1, other));
        let tables = hub.tables();
        assert!(tables.queues.is_empty() && tables.polls.is_empty());
    }

    #[tokio::test]
    async fn agent_is_there_while_one_of_its_sockets_says_so() {
        let hub = Hub::new(Arc::new(Metrics::default()));
        let attach = || {
            hub.attach_socket(test_agent(1), (agent_id(1), KEY), [], SocketLimits::default())
                .unwrap()
        };
        let moved = HashSet::from([test_agent(1)]);
        let (first, second) = (attach(), attach());
        assert!(!hub.is_shown(test_agent(1)), "being connected is not being shown");
        first.show(true);
        second.show(true);
        assert_eq!(hub.moved().await, moved);
        first.show(false);
        assert!(hub.is_shown(test_agent(1)));
        drop(second);
        assert_eq!(hub.moved().await, moved);
        assert!(!hub.is_shown(test_agent(1)));
        first.show(false);
        assert!(hub.tables().moved.is_empty(), "nothing has changed");
        assert_eq!(hub.connected(&agent_id(1)), Some(test_agent(1)));
        drop(first);
        assert_eq!(hub.connected(&agent_id(1)), None);
    }
}
