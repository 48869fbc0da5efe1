//! Under which lease this instance keeps a socket (docs/protocol.md, 8.5).

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use waxwire_shared::api::problem::ProblemType;

use super::{http::CallError, status::LinkFault};

/// How this instance stands, as the engine has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds this signed lease.
    Under(Bytes),
    /// It keeps no socket, for this reason.
    Down(LinkFault),
}

/// How this instance stands, for whoever asks.
#[derive(Debug)]
pub(super) struct Lease(Mutex<Standing>);

impl Lease {
    pub(super) fn new(lease: Vec<u8>) -> Self {
        Self(Mutex::new(Standing::Under(lease.into())))
    }

    pub(super) fn get(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// The lease that the relay holds instead of one that was offered.
pub(super) fn newer_lease(error: &CallError) -> Option<Vec<u8>> {
    match error {
        CallError::Problem(problem) if problem.problem_type() == Some(ProblemType::Stale) => {
            problem.held.as_ref().map(|held| held.0.clone())
        }
        _ => None,
    }
}
