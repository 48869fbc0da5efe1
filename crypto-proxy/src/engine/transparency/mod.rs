//! The relay's transparency log (docs/protocol.md, 10): what is shown of it is verified, compared and kept.
//!
//! Nothing else depends on it. No send waits for an answer about the log or fails because of one; what does
//! not hold is an alert.
//!
//! - `proofs`: the bundle that a lookup shows is in the log
//! - `heads`: every head continues the highest one that is known
//! - `audit`: all leaves are read, and those under the own handle are one's own doing

mod audit;
mod heads;
mod proofs;

use std::collections::{BTreeMap, HashMap};

use waxwire_shared::ids::{Handle, Hash};

use super::{Effect, Engine, LookupError, RelayCall};
use crate::{model::UnixMs, state::StateError};

/// What an agent's operator can ask about the log. All are answered by [`super::Reply::Audit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditCommand {
    /// What is known.
    Show,
    /// Read the leaves on to the newest head, unless that is under way.
    Start,
    /// This log is right from now on: another than before, or the one of which a fork was found. Everything about it
    /// is learned anew.
    Accept(Hash),
}

/// A question about the log. An answer is a list of encoded documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCall {
    /// The newest signed head, alone.
    Head,
    /// A proof that the head of one size continues that of another, alone.
    Consistency {
        /// The smaller size.
        from: u64,
        /// The larger.
        to: u64,
    },
    /// Leaves in their order.
    Leaves {
        /// The place of the first.
        from: u64,
        /// Most leaves.
        limit: u64,
    },
}

/// What may be lost at any moment.
#[derive(Debug, Default)]
pub(super) struct LogWatch {
    /// Proofs that wait for the tag of their handle.
    proofs: HashMap<Handle, proofs::Proof>,
    /// Peers whose bundles were shown without proof, and when the relay is asked again.
    again: BTreeMap<Handle, UnixMs>,
    heads: heads::Heads,
    audit: Option<audit::Scan>,
}

impl LogWatch {
    pub(super) fn deadline(&self) -> Option<UnixMs> {
        let times = [
            self.again.values().copied().min(),
            self.heads.deadline(),
            self.audit.as_ref().and_then(audit::Scan::deadline),
        ];
        times.into_iter().flatten().min()
    }
}

impl Engine {
    /// The relay's answer to a [`LogCall`].
    pub(super) fn log_answered(
        &mut self,
        call: LogCall,
        answer: Result<Vec<Vec<u8>>, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        match call {
            LogCall::Head => self.newest_head_shown(answer, now)?,
            LogCall::Consistency { from, to } => self.consistency_shown((from, to), answer, now)?,
            LogCall::Leaves { from, .. } => self.leaves_shown(from, answer, now)?,
        }
        self.advance_audit(now)
    }

    /// The tag of a handle was computed; without memory it was not.
    pub(super) fn handle_tag(
        &mut self,
        handle: &Handle,
        tag: Option<Hash>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if *handle == self.account.handle {
            self.own_tag_computed(tag, now)?;
            return self.advance_audit(now);
        }
        let waiting = self.volatile.log.proofs.remove(handle);
        let Some(tag) = tag else {
            return Ok(());
        };
        self.store.put_log_tag(Some(handle), &tag)?;
        match waiting {
            Some(proof) => self.judge_proof(handle, tag, &proof, now),
            None => Ok(()),
        }
    }

    pub(super) fn tick_log(&mut self, now: UnixMs) -> Result<(), StateError> {
        self.look_again_for_proofs(now);
        self.settle_heads(now)?;
        self.advance_audit(now)
    }

    fn ask_log_of_relay(&mut self, call: LogCall) {
        self.effects.push(Effect::Call(RelayCall::Transparency(call)));
    }
}
