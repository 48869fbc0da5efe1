//! What agents hold of one another: contacts and blocks.

use std::collections::HashMap;

use super::{AgentNo, SendOutcome};

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

impl Block {
    /// The block of a row.
    pub(in crate::store) const fn of(told: bool) -> Self {
        if told { Self::Told } else { Self::Hidden }
    }
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

/// Blocks that a writer decides sends by without a statement: all there are, or those that a batch may meet.
#[derive(Default)]
pub(in crate::store) struct Blocks(HashMap<Pair, Block>);

impl Blocks {
    /// Rows of `(by, blocked, told)`.
    pub(in crate::store) fn of(rows: impl IntoIterator<Item = (i64, i64, bool)>) -> Self {
        let entry = |(by, blocked, told)| ((AgentNo(by), AgentNo(blocked)), Block::of(told));
        Self(rows.into_iter().map(entry).collect())
    }

    pub(in crate::store) fn insert(&mut self, pair: Pair, block: Block) {
        self.0.insert(pair, block);
    }

    pub(in crate::store) fn remove(&mut self, pair: Pair) {
        self.0.remove(&pair);
    }

    /// Why `from` may not write to `to`. Of two blocks the recipient's counts: by one of its own, nobody
    /// shall learn whether an agent exists that hides.
    pub(in crate::store) fn refusal(&self, from: AgentNo, to: AgentNo) -> Option<SendOutcome> {
        if self.0.is_empty() {
            return None;
        }
        match (self.0.get(&(to, from)), self.0.get(&(from, to))) {
            (None, None) => None,
            (Some(Block::Hidden), _) => Some(SendOutcome::NotFound),
            _ => Some(SendOutcome::Blocked),
        }
    }

    pub(in crate::store) fn between(&self, one: AgentNo, other: AgentNo) -> bool {
        self.refusal(one, other).is_some()
    }
}
