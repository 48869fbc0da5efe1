//! What retention is told and what it tells.

use super::{ReadError, WriteError};

/// How long things are kept, as the oldest time that stays, in Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Idempotency keys stored before this go.
    pub sent_before: u64,
    /// Acknowledged envelopes stored before this go.
    pub envelopes_before: u64,
    /// Used challenges that expired before this go.
    pub now: u64,
}

/// Where a pass of retention stands.
#[derive(Debug, Clone, Default)]
pub struct RetentionCursor {
    /// Last idempotency key looked at.
    pub sent: Option<(i64, Vec<u8>)>,
    /// Last queue looked at.
    pub queue: i64,
    /// Last group looked at.
    pub group: i64,
    /// Whether the idempotency keys are done.
    pub sent_done: bool,
    /// Whether the agents' queues are done.
    pub queues_done: bool,
}

/// What one step of retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainStep {
    /// Rows deleted.
    pub deleted: usize,
    /// Whether the pass is over.
    pub done: bool,
}

/// Why a step of retention failed.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// Looking for what may go.
    #[error("retention cannot read")]
    Read(#[from] ReadError),
    /// Deleting it.
    #[error("retention cannot delete")]
    Write(#[from] WriteError),
}
