//! Every derivation: HKDF-SHA-256 (RFC 5869) without salt, info = NUL-terminated label and then
//! fields of fixed width (docs/protocol.md, 2.2).
//!
//! "Without salt" is RFC 5869's: 32 zero bytes. The input keys are uniformly random, so a salt
//! would add nothing; the labels keep the outputs apart. Integers are big-endian.

use hkdf::Hkdf;
use sha2::Sha256;
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{ConversationId, GroupId, Hash, Mid},
    labels::Label,
};

use super::secret::{
    AttachmentChunkKey, AttachmentKey, BackupKey, ChainKey, EpochKey, MessageKey, SendIdKey, StateKey,
    StateMasterKey, StoreKek, StoreWrapKey,
};
use crate::harden::abort;

/// The sender's idempotency key at the relay, 16 bytes (docs/protocol.md, 2.2):
/// `HKDF(key, KdfSendId || conversation 32 || attempt u32 || SHA-256(client_msg_id) 32)`.
///
/// The same message asked for twice, also after a restore, has the same `mid`; `attempt` grows only
/// after a verified report that the recipient could not read it. `client_msg_id` is of any length.
///
/// # Security
/// Without the key the relay learns nothing of `client_msg_id`, not even by guessing.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn mid(key: &SendIdKey, conversation: &ConversationId, client_msg_id: &str, attempt: u32) -> Mid {
    let name = sha256(client_msg_id.as_bytes());
    let fields: [&[u8]; 3] = [conversation.as_bytes(), &attempt.to_be_bytes(), name.as_bytes()];
    let mut mid = [0; Mid::LENGTH];
    derive(key.expose_bytes(), Label::KdfSendId, &fields, &mut mid);
    Mid::from_bytes(mid)
}

/// What a rekey commits to, 32 bytes (docs/protocol.md, 2.2): `HKDF(key, KdfEpochCommit)`.
///
/// Bound to no group, so that a key used twice is seen.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn epoch_commitment(key: &EpochKey) -> Hash {
    let mut commitment = [0; Hash::LENGTH];
    derive(key.expose_bytes(), Label::KdfEpochCommit, &[], &mut commitment);
    Hash::from_bytes(commitment)
}

/// A sender's first chain key in an epoch, 32 bytes (docs/protocol.md, 2.2):
/// `HKDF(key, KdfChain || group 32 || epoch u64 || rekey commit 32 || SHA-256(algorithm u16 || sender) 32)`.
///
/// `rekey_commit` is the hash of the signed commit that carries the rekey.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn first_chain_key(
    key: &EpochKey,
    group: &GroupId,
    epoch: u64,
    rekey_commit: &Hash,
    sender: &IdentityKey,
) -> ChainKey {
    let sender = sha256(&sender.to_prefixed());
    let fields: [&[u8]; 4] = [
        group.as_bytes(),
        &epoch.to_be_bytes(),
        rekey_commit.as_bytes(),
        sender.as_bytes(),
    ];
    ChainKey::filled_by(|out| derive(key.expose_bytes(), Label::KdfChain, &fields, out))
}

/// The key of the message that a chain stands at, 32 bytes (docs/protocol.md, 2.2):
/// `HKDF(chain, KdfMessageKey)`.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn message_key(chain: &ChainKey) -> MessageKey {
    MessageKey::filled_by(|out| derive(chain.expose_bytes(), Label::KdfMessageKey, &[], out))
}

/// The chain one message on, 32 bytes (docs/protocol.md, 2.2): `HKDF(chain, KdfChainNext)`.
///
/// The chain given stays as it is: an open is tried on the next one and the old is dropped when it
/// succeeded.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn next_chain_key(chain: &ChainKey) -> ChainKey {
    ChainKey::filled_by(|out| derive(chain.expose_bytes(), Label::KdfChainNext, &[], out))
}

/// What a key store's header carries, 32 bytes (docs/protocol.md, 2.2): `HKDF(kek, KdfStoreCommit)`.
/// Compared before any AEAD, so that a file with ciphertexts for many keys tells nothing.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn store_commitment(kek: &StoreKek) -> [u8; 32] {
    let mut commitment = [0; 32];
    derive(kek.expose_bytes(), Label::KdfStoreCommit, &[], &mut commitment);
    commitment
}

/// The key that seals the slots of a key store, 32 bytes (docs/protocol.md, 2.2):
/// `HKDF(kek, KdfStoreWrap)`.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn store_wrap_key(kek: &StoreKek) -> StoreWrapKey {
    StoreWrapKey::filled_by(|out| derive(kek.expose_bytes(), Label::KdfStoreWrap, &[], out))
}

/// The key of one generation of the local database's sealed columns, 32 bytes (docs/protocol.md, 2.2):
/// `HKDF(master, KdfStateKey || generation u64)`.
///
/// # Security
/// A generation bounds how much is sealed under one key; as long as the master exists, none is lost.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn state_key(master: &StateMasterKey, generation: u64) -> StateKey {
    let fields: [&[u8]; 1] = [&generation.to_be_bytes()];
    StateKey::filled_by(|out| derive(master.expose_bytes(), Label::KdfStateKey, &fields, out))
}

/// The key of an attachment's chunks, 32 bytes (docs/protocol.md, 2.2): `HKDF(key, KdfAttachment)`.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn attachment_chunk_key(key: &AttachmentKey) -> AttachmentChunkKey {
    AttachmentChunkKey::filled_by(|out| derive(key.expose_bytes(), Label::KdfAttachment, &[], out))
}

/// The key that seals a backup archive, 32 bytes (docs/protocol.md, 2.2): `HKDF(kek, KdfBackup)`.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn backup_key(kek: &StoreKek) -> BackupKey {
    BackupKey::filled_by(|out| derive(kek.expose_bytes(), Label::KdfBackup, &[], out))
}

/// A keyed hash by which the local database finds a value that must not lie there in clear, 16
/// bytes (docs/protocol.md, 2.2): `HKDF(key, KdfColumnTag || SHA-256(column 0x00 value))`.
///
/// # Security
/// Equal values of a column have equal tags. `key` must be of a generation that seals nothing.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn column_tag(key: &StateKey, column: &'static str, value: &[u8]) -> [u8; 16] {
    let name = sha256(&[column.as_bytes(), &[0], value].concat());
    let mut tag = [0; 16];
    derive(
        key.expose_bytes(),
        Label::KdfColumnTag,
        &[name.as_bytes()],
        &mut tag,
    );
    tag
}

/// What the local API shows to prove that it knows its bearer token, 32 bytes (docs/protocol.md, 2.2):
/// `HKDF(SHA-256(token), KdfLocalToken || nonce 32 || SHA-256(place))`.
///
/// `place` is where the API listens, as it prints it at start; a process that passes the question on to
/// an API elsewhere gets a proof for that place.
///
/// # Security
/// Proves who answered, not who answers next: it belongs to one connection.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn local_proof(token_hash: &[u8; 32], nonce: &[u8; 32], place: &str) -> [u8; 32] {
    let place = sha256(place.as_bytes());
    let mut proof = [0; 32];
    derive(
        token_hash,
        Label::KdfLocalToken,
        &[nonce, place.as_bytes()],
        &mut proof,
    );
    proof
}

fn derive<const N: usize>(key: &[u8; 32], label: Label, fields: &[&[u8]], out: &mut [u8; N]) {
    let info = [&[label.bytes()], fields].concat();
    expand(None, key, &info, out);
}

/// HKDF-SHA-256 with `info` in pieces.
fn expand<const N: usize>(salt: Option<&[u8]>, key: &[u8], info: &[&[u8]], out: &mut [u8; N]) {
    // The one failure of RFC 5869's expansion, ruled out here.
    const { assert!(N <= 255 * 32) };
    if Hkdf::<Sha256>::new(salt, key)
        .expand_multi_info(info, out)
        .is_err()
    {
        abort("key derivation refused its output length");
    }
}

#[cfg(test)]
mod tests;
