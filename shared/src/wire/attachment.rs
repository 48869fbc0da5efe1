//! How a core cites an attachment (docs/protocol.md, 7).

use super::wire_map;
use crate::ids::{BlobId, Hash, Nonce32};

wire_map! {
    /// Everything that a recipient needs to fetch, verify and open an attachment.
    pub struct AttachmentRef {
        /// The stored blob.
        1 => blob: BlobId,
        /// Random key of this attachment.
        2 => key: Nonce32,
        /// First 19 bytes of every chunk's nonce.
        3 => nonce_prefix: Vec<u8>,
        /// SHA-256 of the whole ciphertext.
        4 => ciphertext_hash: Hash,
        /// Length of the ciphertext, in bytes.
        5 => ciphertext_length: u64,
        /// Length of the plaintext before padding, in bytes.
        6 => length: u64,
        /// File name, at most 255 bytes, without a path.
        7 => filename: String,
        /// MIME type, at most 128 bytes.
        8 => content_type: String,
    }
}
