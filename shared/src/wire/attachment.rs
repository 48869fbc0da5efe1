//! How a core cites an attachment (docs/protocol.md, 7).

use super::{DecodeError, rules, wire_map};
use crate::{
    ids::{BlobId, Hash, Nonce32},
    limits,
};

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK: u64 = 64 * 1024;
/// Bytes that a sealed chunk is longer than its plaintext.
const TAG: u64 = 16;

wire_map! {
    /// Everything that a recipient needs to fetch, verify and open an attachment.
    pub struct AttachmentRef, rule(Self::check_lengths), debug(redacted) {
        /// The stored blob; chosen at random by whoever uploads it.
        1 => blob: BlobId,
        /// Random key of this attachment.
        2 => key: Nonce32,
        /// First 19 bytes of every chunk's nonce.
        3 => nonce_prefix: Vec<u8> where rules::length(19..=19),
        /// SHA-256 of the whole ciphertext.
        4 => ciphertext_hash: Hash,
        /// Length of the ciphertext, in bytes: [`sealed_length`] of the next field.
        5 => ciphertext_length: u64,
        /// Length of the plaintext before padding, in bytes.
        6 => length: u64,
        /// File name, 1 to 255 bytes, without a path or control characters.
        7 => filename: String where rules::filename,
        /// MIME type, 1 to 128 bytes.
        8 => content_type: String where rules::length(1..=limits::CONTENT_TYPE),
    }
}

impl AttachmentRef {
    fn check_lengths(&self) -> Result<(), DecodeError> {
        rules::holds(
            sealed_length(self.length) == Some(self.ciphertext_length),
            "ciphertext_length",
        )
    }
}

/// Whether text may name an attachment's file: 1 to 255 bytes, without a path or control characters.
#[must_use]
pub fn is_filename(text: &str) -> bool {
    rules::filename(&text.to_owned(), "filename").is_ok()
}

/// The length to which an attachment of `length` bytes is padded with zeros: at least 512, above
/// that with at most `log2(log2(length))` significant bits, so that sizes leak little and cost at
/// most 12 percent. `None` above 2^63.
#[must_use]
pub const fn padme(length: u64) -> Option<u64> {
    if length > 1 << 63 {
        return None;
    }
    if length <= 512 {
        return Some(512);
    }
    let exponent = length.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1_u64 << (exponent - significant)) - 1;
    Some((length + mask) & !mask)
}

/// Length of the ciphertext of an attachment of `length` bytes: padded, in chunks of [`CHUNK`] bytes
/// with a tag of 16 bytes each.
#[must_use]
pub const fn sealed_length(length: u64) -> Option<u64> {
    match padme(length) {
        Some(padded) => padded.checked_add(TAG * padded.div_ceil(CHUNK)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 7: a name leads nowhere.
    #[test]
    fn filename_is_one_name() {
        for name in ["a", "a.txt", "..a", "\u{e9} x"] {
            assert!(is_filename(name), "{name}");
        }
        let long = "a".repeat(256);
        for name in ["", ".", "..", "a/b", "a\\b", "a\nb", &long] {
            assert!(!is_filename(name), "{name}");
        }
    }

    /// docs/protocol.md, 7.2: sizes of attachments fall into few classes.
    #[test]
    fn padme_is_monotonic_idempotent_and_cheap() {
        assert_eq!(padme(0), Some(512));
        assert_eq!(padme(512), Some(512));
        assert_eq!(padme(513), Some(544));
        assert_eq!(padme(1_000_000), Some(1_015_808));
        assert_eq!(padme(u64::MAX), None);
        let mut last = 0;
        for length in (513..200_000).chain((1 << 40) - 10..(1 << 40) + 10) {
            let padded = padme(length).unwrap();
            assert!(padded >= length && padded >= last && (padded - length) * 100 <= 12 * length);
            assert_eq!(padme(padded), Some(padded));
            last = padded;
        }
    }

    /// docs/protocol.md, 7.2: the length of the ciphertext.
    #[test]
    fn sealed_length_counts_one_tag_a_chunk() {
        assert_eq!(sealed_length(0), Some(528));
        assert_eq!(sealed_length(65_536), Some(65_552));
        assert_eq!(sealed_length(65_537), Some(67_584 + 32));
    }
}
