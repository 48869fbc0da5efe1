//! Queues and places in them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{ids::GroupId, wire::Lane};

/// Names a queue from the point of view of the agent that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// The agent's own direct messages.
    Mail,
    /// The agent's own control messages.
    Control,
    /// The messages of a group.
    Group(GroupId),
    /// The commits of a group.
    Log(GroupId),
}

impl From<Lane> for Queue {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Mail => Self::Mail,
            Lane::Control => Self::Control,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail => f.write_str("mail"),
            Self::Control => f.write_str("control"),
            Self::Group(group) => write!(f, "group-{group}"),
            Self::Log(group) => write!(f, "log-{group}"),
        }
    }
}

/// Text that names no queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue is mail, control, group-<id> or log-<id>")]
pub struct QueueError;

impl FromStr for Queue {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        match (text, text.split_once('-')) {
            ("mail", _) => Ok(Self::Mail),
            ("control", _) => Ok(Self::Control),
            (_, Some(("group", id))) => id.parse().map(Self::Group).map_err(|_| QueueError),
            (_, Some(("log", id))) => id.parse().map(Self::Log).map_err(|_| QueueError),
            _ => Err(QueueError),
        }
    }
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A place in a queue; positions start at 1 and have no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The queue.
    pub queue: Queue,
    /// The position.
    pub position: u64,
}
