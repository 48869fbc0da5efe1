//! Which inboxes serve which queues and agents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use waxwire_shared::ids::{AgentId, Hash};

use super::{Full, SocketLimits};
use crate::{
    delivery::inbox::{Bounds, Inbox, MembershipNews},
    nodes::{Nodes, Topic},
    store::{AgentNo, Appended, Membership, MembershipChange, QueueNo},
};

/// A socket of an agent.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: AgentId,
    /// SHA-256 of the API key that opened it.
    pub(super) key: Hash,
    pub(super) inbox: Arc<Inbox>,
    /// What it watches.
    pub(super) queues: HashSet<QueueNo>,
    /// Whether it makes its agent count as online.
    pub(super) shown: bool,
}

/// A long poll of an agent.
#[derive(Debug)]
pub(super) struct Poll {
    key: Hash,
    inbox: Arc<Inbox>,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) queues: HashMap<QueueNo, Vec<Arc<Inbox>>>,
    pub(super) agents: HashMap<AgentNo, Vec<Socket>>,
    pub(super) polls: HashMap<AgentNo, Vec<Poll>>,
    /// Sockets of all agents.
    pub(super) sockets: u64,
    pub(super) ids: HashMap<AgentId, AgentNo>,
    /// Agents that may have come or gone.
    pub(super) moved: HashSet<AgentNo>,
    /// Learns what is served.
    pub(super) nodes: Option<Arc<Nodes>>,
}

impl Tables {
    /// Nothing happens if it does so already, or is no socket any more.
    pub(super) fn watch(&mut self, agent: AgentNo, inbox: &Arc<Inbox>, queue: QueueNo) {
        let sockets = self.agents.get_mut(&agent).into_iter().flatten();
        let mut sockets = sockets.filter(|socket| Arc::ptr_eq(&socket.inbox, inbox));
        if sockets.any(|socket| socket.queues.insert(queue)) {
            self.enter(queue, inbox);
        }
    }

    pub(super) fn enter(&mut self, queue: QueueNo, inbox: &Arc<Inbox>) {
        let inboxes = self.queues.entry(queue).or_default();
        inboxes.push(Arc::clone(inbox));
        if inboxes.len() == 1 {
            self.note_interest(Topic::Queue(queue));
        }
    }

    /// Something is served for the first time or no more.
    fn note_interest(&self, topic: Topic) {
        if let Some(nodes) = &self.nodes {
            nodes.note_interest(topic);
        }
    }

    pub(super) fn show(&mut self, agent: AgentNo, inbox: &Arc<Inbox>, shown: bool) {
        let sockets = self.agents.get_mut(&agent).into_iter().flatten();
        for socket in sockets.filter(|socket| Arc::ptr_eq(&socket.inbox, inbox)) {
            if socket.shown != shown {
                socket.shown = shown;
                self.moved.insert(agent);
            }
        }
    }

    pub(super) fn leave(&mut self, queue: &QueueNo, inbox: &Arc<Inbox>) {
        if let Some(inboxes) = self.queues.get_mut(queue) {
            inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
            if inboxes.is_empty() {
                self.queues.remove(queue);
                self.note_interest(Topic::Queue(*queue));
            }
        }
    }

    pub(super) fn add_socket(
        &mut self,
        agent: AgentNo,
        (id, key): (AgentId, Hash),
        inbox: &Arc<Inbox>,
        limits: SocketLimits,
    ) -> Result<(), Full> {
        let actual = self.agents.get(&agent).map_or(0, Vec::len) as u64;
        check_room(actual, limits.agent)?;
        if limits.node != 0 && self.sockets >= limits.node {
            return Err(Full::Node);
        }
        if actual == 0 {
            self.note_interest(Topic::Agent(agent));
        }
        self.sockets += 1;
        self.agents.entry(agent).or_default().push(Socket {
            id,
            key,
            inbox: Arc::clone(inbox),
            queues: HashSet::new(),
            shown: false,
        });
        self.ids.insert(id, agent);
        Ok(())
    }

    pub(super) fn remove_socket(&mut self, agent: &AgentNo, id: &AgentId, inbox: &Arc<Inbox>) {
        let Some(sockets) = self.agents.get_mut(agent) else {
            return;
        };
        let index = sockets
            .iter()
            .position(|socket| Arc::ptr_eq(&socket.inbox, inbox));
        let gone = index.map(|index| sockets.swap_remove(index));
        if sockets.is_empty() {
            self.agents.remove(agent);
            self.ids.remove(id);
            self.note_interest(Topic::Agent(*agent));
        }
        let Some(gone) = gone else {
            return;
        };
        self.sockets -= 1;
        if gone.shown {
            self.moved.insert(*agent);
        }
        for queue in gone.queues {
            self.leave(&queue, inbox);
        }
    }

    pub(super) fn add_poll(
        &mut self,
        agent: AgentNo,
        key: Hash,
        inbox: &Arc<Inbox>,
        (queue, max): (QueueNo, u64),
    ) -> Result<(), Full> {
        let actual = self.polls.get(&agent).map_or(0, Vec::len) as u64;
        check_room(actual, max)?;
        let inbox = Arc::clone(inbox);
        self.enter(queue, &inbox);
        self.polls.entry(agent).or_default().push(Poll { key, inbox });
        Ok(())
    }

    pub(super) fn remove_poll(&mut self, agent: &AgentNo, queue: &QueueNo, inbox: &Arc<Inbox>) {
        self.leave(queue, inbox);
        if let Some(polls) = self.polls.get_mut(agent) {
            polls.retain(|poll| !Arc::ptr_eq(&poll.inbox, inbox));
            if polls.is_empty() {
                self.polls.remove(agent);
            }
        }
    }

    /// The sockets and long polls of an agent, and of which API key each is.
    pub(super) fn readers(&self, agent: AgentNo) -> impl Iterator<Item = (&Hash, &Arc<Inbox>)> {
        let sockets = self.agents.get(&agent).into_iter().flatten();
        let polls = self.polls.get(&agent).into_iter().flatten();
        let sockets = sockets.map(|socket| (&socket.key, &socket.inbox));
        sockets.chain(polls.map(|poll| (&poll.key, &poll.inbox)))
    }

    /// Lets the sockets of those who join watch the group before the commit is pushed.
    pub(super) fn seat(&mut self, appended: &Appended) {
        for (agent, change) in &appended.changes {
            for inbox in self.inboxes(*agent) {
                if *change == MembershipChange::Joined {
                    self.watch(*agent, &inbox, appended.group.log);
                    self.watch(*agent, &inbox, appended.group.messages);
                }
                inbox.tell(news(appended, *change));
            }
        }
    }

    fn inboxes(&self, agent: AgentNo) -> Vec<Arc<Inbox>> {
        let sockets = self.agents.get(&agent).into_iter().flatten();
        sockets.map(|socket| Arc::clone(&socket.inbox)).collect()
    }

    fn watches(&self, agent: AgentNo, inbox: &Arc<Inbox>, queue: QueueNo) -> bool {
        let mut sockets = self.agents.get(&agent).into_iter().flatten();
        sockets.any(|socket| Arc::ptr_eq(&socket.inbox, inbox) && socket.queues.contains(&queue))
    }

    /// A membership that the table shows: sockets that do not watch the group begin where the agent has acknowledged.
    pub(super) fn sit_down(&mut self, agent: AgentNo, membership: &Membership) {
        let group = membership.group;
        for inbox in self.inboxes(agent) {
            if self.watches(agent, &inbox, group.log) {
                continue;
            }
            self.watch(agent, &inbox, group.log);
            self.watch(agent, &inbox, group.messages);
            inbox.tell(MembershipNews {
                id: membership.id,
                group,
                begin: Some(Bounds {
                    messages: membership.messages.acked,
                    log: membership.log.acked,
                }),
                end: None,
            });
            inbox.look(group.log, membership.log.head);
            inbox.look(group.messages, membership.messages.head);
        }
    }

    /// A membership that the table shows as over.
    pub(super) fn stand_up(&mut self, agent: AgentNo, membership: &Membership) {
        let queues = [membership.group.log, membership.group.messages];
        for inbox in self.inboxes(agent) {
            if !self.watches(agent, &inbox, queues[0]) {
                continue;
            }
            inbox.tell(MembershipNews {
                id: membership.id,
                group: membership.group,
                begin: None,
                end: Some(Bounds {
                    messages: membership.messages.head,
                    log: membership.log.head,
                }),
            });
        }
        self.unwatch(agent, queues);
    }

    /// Takes the sockets of those who have departed off the group after the commit was pushed.
    pub(super) fn unseat(&mut self, appended: &Appended) {
        let joined = |agent: &AgentNo| appended.changes.contains(&(*agent, MembershipChange::Joined));
        let queues = [appended.group.log, appended.group.messages];
        for (agent, _) in appended.changes.iter().filter(|(agent, _)| !joined(agent)) {
            self.unwatch(*agent, queues);
        }
    }

    fn unwatch(&mut self, agent: AgentNo, queues: [QueueNo; 2]) {
        let mut inboxes = Vec::new();
        for socket in self.agents.get_mut(&agent).into_iter().flatten() {
            socket.queues.retain(|queue| !queues.contains(queue));
            inboxes.push(Arc::clone(&socket.inbox));
        }
        for inbox in inboxes {
            self.leave(&queues[0], &inbox);
            self.leave(&queues[1], &inbox);
        }
    }
}

const fn check_room(actual: u64, max: u64) -> Result<(), Full> {
    if max != 0 && actual >= max {
        return Err(Full::Agent { max, actual });
    }
    Ok(())
}

fn news(appended: &Appended, change: MembershipChange) -> MembershipNews {
    let at = |log| Bounds {
        messages: appended.message_head,
        log,
    };
    let position = appended.commit.position;
    let (begin, end) = match change {
        // The commit itself is the first that is served, and the last.
        MembershipChange::Joined => (Some(at(position - 1)), None),
        MembershipChange::Departed => (None, Some(at(position))),
    };
    MembershipNews {
        id: appended.id,
        group: appended.group,
        begin,
        end,
    }
}
