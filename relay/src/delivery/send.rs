//! From bytes that an agent sent to a write for the store, and from what became of it to an answer.

use bytes::Bytes;
use waxwire_shared::{
    api::{
        frames::Notice,
        problem::{Limit, Problem, ProblemType},
    },
    hash::sha256,
    ids::Hash,
    limits,
    wire::{Document as _, Envelope, EnvelopeError, Header},
};

use crate::{
    limits::Due,
    store::{Account, NewEnvelope, SendOutcome, SendResult, Target, WriteError},
};

/// Seconds after which another try makes sense when the store cannot write.
pub const UNAVAILABLE_RETRY: u64 = 1;
/// The same while too much waits for the recipient: it has to fetch first, whenever that is.
const BACKLOGGED_RETRY: u64 = 30;

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
    /// The recipient's handle went to another identity.
    #[error("the recipient has another identity now")]
    Succeeded,
    /// Sealed under an epoch that is not open.
    #[error("the epoch is not open")]
    EpochClosed {
        /// The group's current one.
        current: u64,
    },
    /// Too much waits for the recipient already.
    #[error("{waiting} envelopes wait for the recipient")]
    Backlogged {
        /// How much.
        waiting: u64,
        /// How much may.
        cap: u64,
    },
    /// The sender or its organisation sends too much.
    #[error("{} is used up", .0.limit)]
    TooOften(Due),
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
                let max = limits::ENVELOPE as u64;
                limited(ProblemType::TooLarge, "envelope", max, *actual as u64)
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
            Self::Succeeded => Problem::new(ProblemType::Gone)
                .with_detail("the recipient has another identity now: look its handle up"),
            Self::EpochClosed { current } => Problem::new(ProblemType::EpochClosed).with_detail(format!(
                "the current epoch is {current}; it is closed after a leave until a rekey"
            )),
            Self::Backlogged { waiting, cap } => {
                let mut problem = limited(ProblemType::Backlogged, "backlog", *cap, *waiting);
                problem.retry_after = Some(BACKLOGGED_RETRY);
                problem
            }
            Self::TooOften(due) => {
                let mut problem = limited(ProblemType::RateLimited, due.limit, due.max, due.max + 1);
                problem.retry_after = Some(due.retry_after_ms.div_ceil(1_000));
                problem
            }
            Self::Write(WriteError::Unavailable) => {
                let mut problem = Problem::new(ProblemType::Unavailable);
                problem.retry_after = Some(UNAVAILABLE_RETRY);
                problem
            }
            Self::Write(WriteError::Failed) => Problem::new(ProblemType::Internal),
        }
    }
}

fn limited(kind: ProblemType, name: &str, max: u64, actual: u64) -> Problem {
    let mut problem = Problem::new(kind);
    problem.limit = Some(Limit {
        name: name.to_owned(),
        max,
        actual,
    });
    problem
}

/// An accepted send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Whether the relay held one with this `mid` before.
    pub repeated: bool,
    /// The relay's name for it.
    pub envelope_id: u64,
    /// SHA-256 of the envelope that the relay holds.
    pub hash: Hash,
    /// What its sender should know besides.
    pub notice: Option<Box<Notice>>,
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
pub fn settle(hash: Hash, result: SendResult) -> Result<Accepted, SendRefusal> {
    match result {
        Ok(SendOutcome::Stored { envelope_id, notice }) => Ok(Accepted {
            repeated: false,
            envelope_id,
            hash,
            notice,
        }),
        Ok(SendOutcome::Repeated { envelope_id, hash }) => Ok(Accepted {
            repeated: true,
            envelope_id,
            hash,
            notice: None,
        }),
        Ok(SendOutcome::NotFound) => Err(SendRefusal::NotFound),
        Ok(SendOutcome::Blocked) => Err(SendRefusal::Blocked),
        Ok(SendOutcome::Gone) => Err(SendRefusal::Gone),
        Ok(SendOutcome::Succeeded) => Err(SendRefusal::Succeeded),
        Ok(SendOutcome::EpochClosed { current }) => Err(SendRefusal::EpochClosed { current }),
        Ok(SendOutcome::Backlogged { waiting, cap }) => Err(SendRefusal::Backlogged { waiting, cap }),
        Ok(SendOutcome::TooOften(due)) => Err(SendRefusal::TooOften(due)),
        Err(error) => Err(SendRefusal::Write(error)),
    }
}
