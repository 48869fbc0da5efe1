//! What agents hold of one another: contacts and blocks.

use super::AgentNo;

/// Something that one agent may hold of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// A contact.
    Contact,
    /// A block.
    Block(Block),
}

/// What a blocked agent learns of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// That it is there: the two had a conversation before.
    Told,
    /// Nothing: the other one looks like an agent that does not exist.
    Hidden,
}

/// What became of a wish to hold something of another agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelateOutcome {
    /// It is so; or there is no such agent, which is not told.
    Done,
    /// The agent holds as many as it may.
    Full {
        /// How many it may hold.
        max: u64,
        /// How many it would hold.
        actual: u64,
    },
}

/// Another agent, or something of it, as far as one agent may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<T> {
    /// There it is.
    Visible(T),
    /// It has blocked the one who looks, who is told so.
    Blocked,
    /// There is none, or the one who looks is to believe so.
    Unknown,
}

impl<T> Sight<T> {
    /// What a block leaves to be seen.
    pub(in crate::store) fn behind(block: Option<Block>, thing: T) -> Self {
        match block {
            None => Self::Visible(thing),
            Some(Block::Told) => Self::Blocked,
            Some(Block::Hidden) => Self::Unknown,
        }
    }
}

/// Who has blocked whom: `(by, blocked)`.
pub type Pair = (AgentNo, AgentNo);
