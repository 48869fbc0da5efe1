//! How keys and channels are called. All of them begin with the relay's id, and lie in one slot of a cluster.

use std::fmt;

use waxwire_shared::ids::RelayId;

use super::Topic;
use crate::store::{AgentNo, GroupNo, OrgNo, QueueNo};

/// Bytes of the relay's id in a name.
const ID: usize = 8;

/// The beginning of every name.
#[derive(Debug)]
pub(super) struct Names(String);

/// What a channel is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// A queue or an agent.
    Of(Topic),
    /// All nodes.
    Nodes,
}

/// A bucket that all nodes have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Messages of an agent.
    Mail(AgentNo),
    /// Control envelopes of an agent.
    Control(AgentNo),
    /// Envelopes of an organisation.
    Org(OrgNo),
    /// Envelopes of an agent that are stored nowhere.
    Transients(AgentNo),
    /// Something dear that an agent asks for, in a minute.
    Minute(&'static str, AgentNo),
    /// The same on a day.
    Day(&'static str, AgentNo),
    /// Commits of an agent in a group.
    Commits(GroupNo, AgentNo),
    /// Groups that an agent founds or joins.
    Groups(AgentNo),
    /// Joins and leaves of an agent in a group.
    Moves(GroupNo, AgentNo),
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(agent) => write!(f, "mail:{}", agent.number()),
            Self::Control(agent) => write!(f, "control:{}", agent.number()),
            Self::Org(org) => write!(f, "org:{}", org.number()),
            Self::Transients(agent) => write!(f, "transients:{}", agent.number()),
            Self::Minute(what, agent) => write!(f, "{what}:minute:{}", agent.number()),
            Self::Day(what, agent) => write!(f, "{what}:day:{}", agent.number()),
            Self::Commits(group, agent) => write!(f, "commits:{}:{}", group.number(), agent.number()),
            Self::Groups(agent) => write!(f, "groups:{}", agent.number()),
            Self::Moves(group, agent) => write!(f, "moves:{}:{}", group.number(), agent.number()),
        }
    }
}

impl Names {
    pub(super) fn new(relay: &RelayId) -> Self {
        Self(format!("waxwire:{{{}}}:", hex::encode(&relay.as_bytes()[..ID])))
    }

    /// The channel of a queue or an agent.
    pub(super) fn channel(&self, topic: Topic) -> String {
        match topic {
            Topic::Queue(queue) => format!("{}queue:{}", self.0, queue.number()),
            Topic::Agent(agent) => format!("{}agent:{}", self.0, agent.number()),
        }
    }

    /// The channel of all nodes, and the key that counts them.
    pub(super) fn nodes(&self) -> String {
        format!("{}nodes", self.0)
    }

    /// Where an agent is online.
    pub(super) fn online(&self, agent: AgentNo) -> String {
        format!("{}online:{}", self.0, agent.number())
    }

    /// A bucket.
    pub(super) fn bucket(&self, bucket: &Bucket) -> String {
        format!("{}bucket:{bucket}", self.0)
    }

    /// What a channel of this name is about.
    pub(super) fn parse(&self, channel: &str) -> Option<Channel> {
        let name = channel.strip_prefix(&self.0)?;
        match name.split_once(':') {
            None => (name == "nodes").then_some(Channel::Nodes),
            Some(("queue", number)) => Some(Channel::Of(Topic::Queue(QueueNo::of(number.parse().ok()?)))),
            Some(("agent", number)) => Some(Channel::Of(Topic::Agent(AgentNo::of(number.parse().ok()?)))),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_found_again_and_those_of_another_relay_are_not() {
        let names = Names::new(&RelayId::from_bytes([7; 32]));
        let other = Names::new(&RelayId::from_bytes([8; 32]));
        for topic in [Topic::Queue(QueueNo::of(5)), Topic::Agent(AgentNo::of(6))] {
            let channel = names.channel(topic);
            assert_eq!(names.parse(&channel), Some(Channel::Of(topic)));
            assert_eq!(other.parse(&channel), None);
        }
        assert_eq!(names.parse(&names.nodes()), Some(Channel::Nodes));
        for bad in ["queue:x", "queue:", "agent", "", "online:1"] {
            assert_eq!(names.parse(&format!("{}{bad}", names.0)), None, "{bad}");
        }
    }
}
