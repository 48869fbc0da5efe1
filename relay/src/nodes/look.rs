//! Looking into the table for what may have been missed: everything once whenever Redis is back, every second while it is
//! lost, and now and then in any case, for a hint that nobody heard leaves no trace.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::MissedTickBehavior};

use super::{Nodes, Topic};
use crate::{
    delivery::Delivery,
    logging,
    store::{AgentNo, MembershipMark, QueueNo, ReadError},
};

/// Between looks while Redis is lost.
const LOST: Duration = Duration::from_secs(1);
/// Looks in a row of which one is made while Redis answers.
const ONE_IN: u32 = 10;
/// Agents whose memberships are looked at in one statement, and with one look at all queues.
const AGENTS: usize = 1_000;

#[derive(Debug, Default)]
struct Asked {
    all: bool,
    topics: HashSet<Topic>,
}

/// What is to be looked at soon. Bounded by what the hub serves.
#[derive(Debug, Default)]
pub(super) struct Looks {
    asked: Mutex<Asked>,
    stir: Notify,
}

impl Looks {
    pub(super) fn ask_all(&self) {
        self.with(|asked| asked.all = true);
    }

    pub(super) fn ask(&self, topics: impl IntoIterator<Item = Topic>) {
        self.with(|asked| asked.topics.extend(topics));
    }

    fn with(&self, ask: impl FnOnce(&mut Asked)) {
        ask(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.stir.notify_one();
    }

    fn take(&self) -> Asked {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What earlier looks have found.
#[derive(Debug, Default)]
struct Seen {
    heads: HashMap<QueueNo, u64>,
    marks: HashMap<AgentNo, MembershipMark>,
    /// Whose memberships are looked at next, of all agents in order.
    next: usize,
}

/// Looks until the relay stops.
pub(super) async fn follow(nodes: &Nodes, delivery: &Delivery) {
    let mut tick = tokio::time::interval(LOST);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut ticks) = (Seen::default(), 0_u32);
    let mut told = false;
    loop {
        let asked = tokio::select! {
            () = delivery.shutdown.cancelled() => return,
            () = nodes.looks.stir.notified() => nodes.looks.take(),
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                if nodes.is_up() && !ticks.is_multiple_of(ONE_IN) {
                    continue;
                }
                seen.next_round(delivery)
            }
        };
        match seen.look(nodes, delivery, &asked).await {
            Ok(()) => told = false,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(error = %logging::chain(&error), "cannot look for what other nodes stored");
                }
                tokio::time::sleep(LOST).await;
                nodes.looks.ask_all();
            }
        }
    }
}

impl Seen {
    /// All queues, and the next of the agents.
    fn next_round(&mut self, delivery: &Delivery) -> Asked {
        let mut topics = delivery.hub.topics();
        self.forget_all_but(&topics);
        let mut agents: Vec<AgentNo> = topics.iter().filter_map(agent).collect();
        agents.sort_unstable();
        let start = if self.next < agents.len() { self.next } else { 0 };
        self.next = start + AGENTS;
        let turn: HashSet<AgentNo> = agents.into_iter().skip(start).take(AGENTS).collect();
        topics.retain(|topic| agent(topic).is_none_or(|agent| turn.contains(&agent)));
        Asked {
            all: false,
            topics: topics.into_iter().collect(),
        }
    }

    async fn look(&mut self, nodes: &Nodes, delivery: &Delivery, asked: &Asked) -> Result<(), ReadError> {
        let topics = if asked.all {
            let topics = delivery.hub.topics();
            self.forget_all_but(&topics);
            topics
        } else {
            asked.topics.iter().copied().collect()
        };
        // Memberships first: with them come queues that were not served.
        let agents: Vec<AgentNo> = topics.iter().filter_map(agent).collect();
        for chunk in agents.chunks(AGENTS) {
            self.look_at_memberships(delivery, chunk).await?;
        }
        let queues: Vec<QueueNo> = topics.iter().filter_map(queue).collect();
        if !queues.is_empty() {
            for (queue, head) in delivery.store.heads(&queues).await? {
                if self.heads.insert(queue, head) != Some(head) {
                    nodes.metrics.hints_polled.add(1);
                    delivery.hub.look(queue, head);
                }
            }
        }
        Ok(())
    }

    /// What is served no more is remembered no more.
    fn forget_all_but(&mut self, topics: &[Topic]) {
        let served: HashSet<&Topic> = topics.iter().collect();
        self.heads
            .retain(|queue, _| served.contains(&Topic::Queue(*queue)));
        self.marks
            .retain(|agent, _| served.contains(&Topic::Agent(*agent)));
    }

    async fn look_at_memberships(
        &mut self,
        delivery: &Delivery,
        agents: &[AgentNo],
    ) -> Result<(), ReadError> {
        let marks: HashMap<AgentNo, MembershipMark> = delivery
            .store
            .membership_marks(agents)
            .await?
            .into_iter()
            .collect();
        for agent in agents {
            // Whoever was never in a group has none.
            let mark = marks.get(agent).copied().unwrap_or_default();
            if self.marks.get(agent).copied().unwrap_or_default() == mark {
                continue;
            }
            let memberships = delivery.store.memberships(*agent).await?;
            delivery.hub.reseat(*agent, &memberships);
            self.marks.insert(*agent, mark);
        }
        Ok(())
    }
}

const fn agent(topic: &Topic) -> Option<AgentNo> {
    match topic {
        Topic::Agent(agent) => Some(*agent),
        Topic::Queue(_) => None,
    }
}

const fn queue(topic: &Topic) -> Option<QueueNo> {
    match topic {
        Topic::Queue(queue) => Some(*queue),
        Topic::Agent(_) => None,
    }
}
