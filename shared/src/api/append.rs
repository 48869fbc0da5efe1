//! The body that appends a commit to a group's log (docs/relay-api.md):
//! `commit length u32 big-endian || signed commit || leaves`, the leaves (an encoded
//! [`Leaves`](crate::wire::Leaves)) exactly if the commit has a rekey.
//!
//! Commit number `p` of a log stands at position `p + 1` of the queue `log-<group>`, for queues count
//! from 1.

use crate::limits;

/// A signed commit and the leaves of its rekey, borrowed from the bytes that travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append<'a> {
    /// The signed commit, verbatim.
    pub commit: &'a [u8],
    /// The encoded leaves; empty without a rekey.
    pub leaves: &'a [u8],
}

/// Longest body, in bytes.
pub const APPEND: usize = 4 + limits::COMMIT + limits::REKEY + 16 * 1024;

/// Bytes that are no body of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an append is a length, a commit and its leaves")]
pub struct AppendError;

impl<'a> Append<'a> {
    /// Splits a body; neither part is decoded.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn split(bytes: &'a [u8]) -> Result<Self, AppendError> {
        let (length, rest) = bytes.split_first_chunk().ok_or(AppendError)?;
        let length = u32::from_be_bytes(*length) as usize;
        match rest.split_at_checked(length) {
            Some((commit, leaves)) if !commit.is_empty() => Ok(Self { commit, leaves }),
            _ => Err(AppendError),
        }
    }

    /// The bytes that travel.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.commit.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes(), self.commit, self.leaves].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_is_split_where_its_length_says() {
        let append = Append {
            commit: b"commit",
            leaves: b"leaves",
        };
        let bytes = append.to_bytes();
        assert_eq!(bytes, b"\0\0\0\x06commitleaves");
        assert_eq!(Append::split(&bytes), Ok(append));
        let bare = Append {
            commit: b"commit",
            leaves: b"",
        };
        assert_eq!(Append::split(&bare.to_bytes()), Ok(bare));
    }

    #[test]
    fn append_with_a_false_length_is_refused() {
        for bytes in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0leaves",
            b"\0\0\0\x07commit",
            b"\xff\xff\xff\xffcommit",
        ] {
            assert_eq!(Append::split(bytes), Err(AppendError));
        }
    }
}
