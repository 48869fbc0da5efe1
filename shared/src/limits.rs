//! Bounds that both sides enforce, in bytes unless said otherwise (docs/protocol.md, 3; docs/relay-api.md).
//!
//! Limits that an operator may change live in the configuration of the relay or the proxy; these
//! here are part of the formats.

/// Longest text of a message, in Unicode scalar values.
pub const TEXT_SCALARS: usize = 10_000;
/// Largest content of a message, as compact JSON.
pub const CONTENT: usize = 48 * 1024;
/// Largest metadata of a message, as compact JSON.
pub const METADATA: usize = 4_096;
/// Longest `client_msg_id`, in Unicode scalar values.
pub const CLIENT_MSG_ID: usize = 128;
/// Longest message type.
pub const MESSAGE_TYPE: usize = 32;
/// Longest handle.
pub const HANDLE: usize = 30;
/// Shortest handle.
pub const HANDLE_MIN: usize = 3;
/// Longest display name of an agent, in Unicode scalar values.
pub const DISPLAY_NAME: usize = 64;
/// Longest description of an agent, in Unicode scalar values.
pub const DESCRIPTION: usize = 500;

/// Smallest padded plaintext.
pub const BUCKET_MIN: usize = 512;
/// Largest padded plaintext.
pub const BUCKET_MAX: usize = 64 * 1024;
/// Magic and length in front of a padded plaintext.
pub const PLAINTEXT_PREFIX: usize = 12;
/// Largest signed message inside a plaintext.
pub const OBJECT: usize = BUCKET_MAX - PLAINTEXT_PREFIX;
/// Largest core: with its context it fits, whole and signed, into a resend or a history grant.
pub const CORE: usize = 56 * 1024;
/// Largest context.
pub const CONTEXT: usize = 3 * 1024;
/// Most attachments that one core cites.
pub const ATTACHMENTS: usize = 16;
/// Largest attachment unless the relay's or the proxy's operator says otherwise.
pub const ATTACHMENT: u64 = 25 * 1024 * 1024;
/// Longest MIME type of an attachment.
pub const CONTENT_TYPE: usize = 128;
/// Longest name of an attachment.
pub const FILENAME: usize = 255;
/// Most ranges of numbers in one list.
pub const RANGES: usize = 64;
/// Longest name of a group.
pub const GROUP_NAME: usize = 256;
/// Longest topic of a group.
pub const GROUP_TOPIC: usize = 4_096;
/// Longest URL of a group's avatar.
pub const GROUP_AVATAR: usize = 2_048;
/// Longest presence text, in Unicode scalar values.
pub const PRESENCE_SCALARS: usize = 200;

/// Largest header of an envelope.
pub const HEADER: usize = 512;
/// Largest envelope: header, ciphertext and their lengths.
pub const ENVELOPE: usize = 80 * 1024;
/// Largest envelope that is passed on without being stored.
pub const TRANSIENT: usize = 4 * 1024;
/// Most agents in one question for presence.
pub const PRESENCES: usize = 100;
/// Largest signed bundle.
pub const BUNDLE: usize = 8 * 1024;
/// Most successions that are looked at between a pinned identity and the one that is shown.
pub const SUCCESSIONS: usize = 16;
/// Most encryption keys in a bundle.
pub const BUNDLE_KEYS: usize = 8;
/// Largest encryption public key.
pub const PUBLIC_KEY: usize = 2_048;
/// Largest signed commit (without its leaves).
pub const COMMIT: usize = 64 * 1024;
/// Largest leaf of a rekey.
pub const LEAF: usize = 8 * 1024;
/// Largest sealed key in a leaf.
pub const SEALED_LEAF: usize = 4 * 1024;
/// Largest list of leaves of one rekey.
pub const REKEY: usize = 4 * 1024 * 1024;
/// Most members a group can have.
pub const GROUP_MEMBERS: usize = 10_000;
/// Most members of a group in which messages are confirmed by receipts.
pub const RECEIPT_MEMBERS: usize = 32;
/// Most changes in one commit.
pub const COMMIT_CHANGES: usize = 64;
/// Commits after which an unused invite dies.
pub const INVITE_LIFE: u64 = 1_000;
/// Roster size up to which an accept carries its own rekey.
pub const ACCEPT_REKEY_MEMBERS: usize = 256;

/// Messages per sender and epoch.
pub const CHAIN_LENGTH: u64 = 65_536;
/// Skipped message keys kept per sender and epoch.
pub const SKIPPED_KEYS: usize = 2_048;

/// Deepest nesting of a CBOR document.
pub const CBOR_DEPTH: usize = 8;
/// Most items in any list.
pub const LIST: usize = GROUP_MEMBERS;
/// Largest signed head of a transparency log.
pub const LOG_HEAD: usize = 1_280;
/// Most leaves of a transparency log in one answer.
pub const LOG_LEAVES: usize = 1_000;
/// Most hashes in a Merkle path: trees have less than 2^64 leaves.
pub const MERKLE_PATH: usize = 64;

/// Milliseconds that a bundle's `not_before` may lie in the future.
pub const NOT_BEFORE_TOLERANCE_MS: u64 = 24 * 3_600 * 1_000;
/// Milliseconds that a number derived from a clock may lie in the future.
pub const NUMBER_FUTURE_MS: u64 = 24 * 3_600 * 1_000;
