//! From bytes that an agent sent to a write for the store, and from what became of it to an answer.

use bytes::Bytes;
use waxwire_shared::{
    api::problem::{Limit, Problem, ProblemType},
    hash::sha256,
    ids::Hash,
    limits,
    wire::{Document as _, Envelope, EnvelopeError, Header},
};

use crate::store::{Account, NewEnvelope, SendOutcome, SendResult, Target, WriteError};

/// Seconds after which another try makes sense when the store cannot write.
pub const UNAVAILABLE_RETRY: u64 = 1;

/// Why an envelope is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// Larger than an envelope may be.
    #[error("the envelope has {actual} bytes")]
    TooLarge {
        /// Its size.
        actual: usize,
    },
    /// Not `length || header || ciphertext`.
    #[error("the envelope is malformed")]
    Envelope,
    /// The header is not one of the two forms.
    #[error("the header is malformed")]
    Header,
    /// From an agent to itself.
    #[error("the recipient is the sender")]
    ToSelf,
    /// The header of a group envelope names another sender.
    #[error("the header names another sender")]
    NotSender,
    /// No such recipient, or not for this sender.
    #[error("no such recipient")]
    NotFound,
    /// Sender and recipient are kept apart by a block.
    #[error("blocked")]
    Blocked,
    /// The group has ended.
    #[error("the group has ended")]
    Gone,
    /// Sealed under an epoch that is not open.
    #[error("the epoch is not open")]
    EpochClosed {
        /// The group's current one.
        current: u64,
    },
    /// The store did not take it; the outcome is unknown.
    #[error("not stored")]
    Write(#[from] WriteError),
}

impl SendRefusal {
    /// What the sender is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::TooLarge { actual } => {
                let mut problem = Problem::new(ProblemType::TooLarge);
                problem.limit = Some(Limit {
                    name: "envelope".to_owned(),
                    max: limits::ENVELOPE as u64,
                    actual: *actual as u64,
                });
                problem
            }
            Self::Envelope => Problem::new(ProblemType::BadRequest)
                .with_detail("an envelope is a header length, a header and a ciphertext"),
            Self::Header => Problem::new(ProblemType::BadRequest)
                .with_detail("the header is not a direct or group header in its one encoding"),
            Self::ToSelf => Problem::new(ProblemType::BadRequest)
                .with_detail("an agent cannot write to itself through the relay"),
            Self::NotSender => Problem::new(ProblemType::BadRequest)
                .with_detail("the header's sender is not the agent of this API key"),
            Self::NotFound => Problem::new(ProblemType::NotFound),
            Self::Blocked => Problem::new(ProblemType::Blocked),
            Self::Gone => Problem::new(ProblemType::Gone).with_detail("the group has ended"),
            Self::EpochClosed { current } => Problem::new(ProblemType::EpochClosed).with_detail(format!(
                "the current epoch is {current}; it is closed after a leave until a rekey"
            )),
            Self::Write(WriteError::Unavailable) => {
                let mut problem = Problem::new(ProblemType::Unavailable);
                problem.retry_after = Some(UNAVAILABLE_RETRY);
                problem
            }
            Self::Write(WriteError::Failed) => Problem::new(ProblemType::Internal),
        }
    }
}

/// An accepted send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Whether the relay held one with this `mid` before.
    pub repeated: bool,
    /// The relay's name for it.
    pub envelope_id: u64,
    /// SHA-256 of the envelope that the relay holds.
    pub hash: Hash,
}

/// Reads as much of an envelope as the relay may read.
///
/// # Errors
/// [`SendRefusal`] for what is wrong with the bytes alone.
pub fn prepare(account: &Account, bytes: Bytes) -> Result<NewEnvelope, SendRefusal> {
    let envelope = Envelope::split(&bytes).map_err(|error| match error {
        EnvelopeError::TooLarge { actual, .. } => SendRefusal::TooLarge { actual },
        EnvelopeError::Malformed => SendRefusal::Envelope,
    })?;
    let (mid, target) = match Header::decode(envelope.header).map_err(|_| SendRefusal::Header)? {
        Header::Direct(header) if header.to == account.id => return Err(SendRefusal::ToSelf),
        Header::Direct(header) => {
            let target = Target::Direct {
                to: header.to,
                lane: header.lane,
            };
            (header.mid, target)
        }
        Header::Group(header) if header.sender != account.id => return Err(SendRefusal::NotSender),
        Header::Group(header) => {
            let target = Target::Group {
                group: header.group,
                epoch: header.epoch,
            };
            (header.mid, target)
        }
    };
    Ok(NewEnvelope {
        sender: account.agent,
        mid,
        target,
        hash: sha256(&bytes),
        bytes,
    })
}

/// What the store's answer means to the sender of an envelope with this hash.
///
/// # Errors
/// [`SendRefusal`].
pub const fn settle(hash: Hash, result: SendResult) -> Result<Accepted, SendRefusal> {
    match result {
        Ok(SendOutcome::Stored { envelope_id }) => Ok(Accepted {
            repeated: false,
            envelope_id,
            hash,
        }),
        Ok(SendOutcome::Repeated { envelope_id, hash }) => Ok(Accepted {
            repeated: true,
            envelope_id,
            hash,
        }),
        Ok(SendOutcome::NotFound) => Err(SendRefusal::NotFound),
        Ok(SendOutcome::Blocked) => Err(SendRefusal::Blocked),
        Ok(SendOutcome::Gone) => Err(SendRefusal::Gone),
        Ok(SendOutcome::EpochClosed { current }) => Err(SendRefusal::EpochClosed { current }),
        Err(error) => Err(SendRefusal::Write(error)),
    }
}
