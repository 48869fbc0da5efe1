//! Headers and envelopes: what the relay may read (docs/protocol.md, 5).
//!
//! An envelope is `header length u32 big-endian || header || ciphertext`. The header is one opaque
//! byte string: relay and proxy decode the same bytes and they are signed and authenticated
//! verbatim.

use super::{DecodeError, Document, Reader, Wire, Writer, rules, wire_enum, wire_map};
use crate::{
    ids::{AgentId, GroupId, Hash, Mid},
    limits,
    suite::Suite,
};

wire_enum! {
    /// The queue of a direct envelope at its recipient.
    pub enum Lane {
        /// Content, under the backlog cap.
        1 => Mail,
        /// Receipts, repair, invites and presence, under a cap of their own.
        2 => Control,
    }
}

wire_map! {
    /// Header of a direct envelope. Its sender is known to the relay by authentication only.
    pub struct DirectHeader, max(limits::HEADER) {
        /// Suite of the box.
        1 => suite: Suite,
        /// Which queue of the recipient.
        2 => lane: Lane,
        /// The recipient.
        3 => to: AgentId,
        /// Number of the recipient's encryption key.
        4 => key_number: u64,
        /// The sender's idempotency key.
        5 => mid: Mid,
    }
}

wire_map! {
    /// Header of a group envelope. Its exact bytes are the associated data of the ciphertext.
    pub struct GroupHeader, max(limits::HEADER) {
        /// Suite of the epoch.
        1 => suite: Suite,
        /// The sender's idempotency key.
        5 => mid: Mid,
        /// The group.
        6 => group: GroupId,
        /// Epoch of the key.
        7 => epoch: u64 where rules::within(1..=u64::MAX),
        /// Hash of the commit that the sender's roster stands at.
        8 => roster_head: Hash,
        /// The sender.
        9 => sender: AgentId,
        /// Index of the sender's ciphertext in the epoch, from 0.
        10 => i: u64 where rules::within(0..=limits::CHAIN_LENGTH - 1),
    }
}

/// Either header. The forms share no required field set: key 2 is in direct ones only, key 6 in
/// group ones only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Of a direct envelope.
    Direct(DirectHeader),
    /// Of a group envelope.
    Group(GroupHeader),
}

impl Header {
    /// The sender's idempotency key.
    #[must_use]
    pub const fn mid(&self) -> &Mid {
        match self {
            Self::Direct(header) => &header.mid,
            Self::Group(header) => &header.mid,
        }
    }
}

impl Wire for Header {
    fn put(&self, w: &mut Writer) {
        match self {
            Self::Direct(header) => header.put(w),
            Self::Group(header) => header.put(w),
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.second_key_is(2)? {
            DirectHeader::take(r).map(Self::Direct)
        } else {
            GroupHeader::take(r).map(Self::Group)
        }
    }
}

impl Document for Header {
    const MAX: usize = limits::HEADER;
}

/// An envelope, borrowed from the bytes that travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The header, verbatim.
    pub header: &'a [u8],
    /// The ciphertext.
    pub ciphertext: &'a [u8],
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`limits::ENVELOPE`].
    #[error("envelope of {actual} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The limit, in bytes.
        max: usize,
        /// Length found.
        actual: usize,
    },
    /// The header is cut or longer than [`limits::HEADER`], or no ciphertext follows it.
    #[error("malformed envelope")]
    Malformed,
}

impl<'a> Envelope<'a> {
    /// Splits `header length u32 || header || ciphertext`.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn split(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > limits::ENVELOPE {
            return Err(EnvelopeError::TooLarge {
                max: limits::ENVELOPE,
                actual: bytes.len(),
            });
        }
        let (length, rest) = bytes.split_first_chunk().ok_or(EnvelopeError::Malformed)?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > limits::HEADER {
            return Err(EnvelopeError::Malformed);
        }
        match rest.split_at_checked(length) {
            Some((header, ciphertext)) if !ciphertext.is_empty() => Ok(Self { header, ciphertext }),
            _ => Err(EnvelopeError::Malformed),
        }
    }

    /// The bytes that travel.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.header.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes(), self.header, self.ciphertext].concat()
    }
}
