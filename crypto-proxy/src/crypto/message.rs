//! Whole messages: sign, pad, seal, and back (docs/protocol.md, 3.4 and 5).

use rand_core::CryptoRng;
use waxwire_shared::wire::{
    Context, DecodeError, Document as _, Kind, MessageBytes, PaddingError, pad, unpad,
};
use zeroize::Zeroizing;

use super::{
    OpenError, group, sealed_box,
    secret::{EncryptionPublic, EncryptionSecret, IdentitySecret, MessageKey},
};

/// Why a message cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealMessageError {
    /// It does not fit into the largest bucket.
    #[error("message does not fit")]
    Padding(#[from] PaddingError),
    /// The kind has no place in this form of envelope.
    #[error("kind {} has no place in this envelope", kind.number())]
    Kind {
        /// The kind.
        kind: Kind,
    },
}

/// Why a ciphertext is no message. Towards the relay all of them look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenMessageError {
    /// It does not open.
    #[error("message does not open")]
    Open(#[from] OpenError),
    /// Its plaintext is not padded as it must be.
    #[error("message is not padded as it must be")]
    Padding(#[from] PaddingError),
    /// Its signed object is malformed.
    #[error("signed object of the message is malformed")]
    Decode(#[from] DecodeError),
    /// The kind has no place in this form of envelope.
    #[error("kind {} has no place in this envelope", kind.number())]
    Kind {
        /// The kind.
        kind: Kind,
    },
}

/// Signs a core or control body for one audience: `{1: context, 2: core, 3: signature}` with the
/// signature over `label || SHA-256(context) || SHA-256(core)` (docs/protocol.md, 5).
///
/// The label is that of `kind`: content or control. `core` is carried verbatim; a re-seal signs the
/// same core under a new context. Ed25519 (RFC 8032), no randomness.
///
/// # Security
/// That the core's own kind is `kind`, and its identity the signer's, is the caller's to see to.
///
/// # Vectors
/// `vectors/message.json`
#[must_use]
pub fn sign_message(identity: &IdentitySecret, kind: Kind, context: &Context, core: &[u8]) -> MessageBytes {
    let context = context.encode();
    let hashes = MessageBytes::signed_hashes(&context, core);
    let signature = identity.sign(MessageBytes::label(kind), &[&hashes]);
    MessageBytes {
        context,
        core: core.to_vec(),
        signature,
    }
}

/// A signed head of the relay's transparency log that is to travel with a message (docs/protocol.md, 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedHead {
    /// The head.
    pub signed: Vec<u8>,
    /// Whether the padded message may become longer for it.
    pub may_lengthen: bool,
}

/// The same with a head in the context, if there is one and room for it; and whether it is in it.
///
/// # Security
/// Unless the message may become longer, what the relay sees of it does not depend on the head.
#[must_use]
pub fn sign_with_head(
    identity: &IdentitySecret,
    kind: Kind,
    context: Context,
    core: &[u8],
    head: Option<CarriedHead>,
) -> (MessageBytes, bool) {
    let plain = sign_message(identity, kind, &context, core);
    let Some(CarriedHead { signed, may_lengthen }) = head else {
        return (plain, false);
    };
    let context = Context {
        log_head: Some(signed),
        ..context
    };
    let carrying = sign_message(identity, kind, &context, core);
    let length = |message: &MessageBytes| padded(kind, message).map(|plaintext| plaintext.len());
    let fits = match length(&carrying) {
        Ok(with) => may_lengthen || length(&plain) == Ok(with),
        Err(_) => false,
    };
    if fits { (carrying, true) } else { (plain, false) }
}

/// The ciphertext of a direct envelope: pads `"waxwire" 7 || kind u8 || length u32 || message ||
/// zeros` to its bucket (docs/protocol.md, 3.4) and seals it by [`sealed_box::seal`], which says what
/// `rng` is for. Bucket and 48 bytes long.
///
/// The header is not associated data: the signed context carries its exact bytes.
///
/// # Errors
/// [`SealMessageError::Padding`] if the message is longer than 65,524 bytes;
/// [`SealMessageError::Kind`] for a kind without a direct lane, see [`Kind::direct_lane`].
///
/// # Vectors
/// `vectors/message.json`
pub fn seal_direct(
    rng: &mut (impl CryptoRng + ?Sized),
    recipient: &EncryptionPublic,
    kind: Kind,
    message: &MessageBytes,
) -> Result<Vec<u8>, SealMessageError> {
    if !is_direct(kind) {
        return Err(SealMessageError::Kind { kind });
    }
    Ok(sealed_box::seal(rng, recipient, &padded(kind, message)?))
}

/// Opens the ciphertext of a direct envelope: kind and message, nothing of it verified.
///
/// # Errors
/// [`OpenMessageError`].
///
/// # Security
/// Anyone can seal: signature, context and pin come next, see [`MessageBytes::verify`].
///
/// # Vectors
/// `vectors/message.json`
pub fn open_direct(
    secret: &EncryptionSecret,
    ciphertext: &[u8],
) -> Result<(Kind, MessageBytes), OpenMessageError> {
    let (kind, message) = unpadded(&sealed_box::open(secret, ciphertext)?)?;
    if is_direct(kind) {
        Ok((kind, message))
    } else {
        Err(OpenMessageError::Kind { kind })
    }
}

/// The ciphertext of a group envelope: padded as in [`seal_direct`], sealed by [`group::seal`]
/// under the key of one message, with the exact header bytes as associated data. Bucket and
/// 40 bytes long.
///
/// # Errors
/// [`SealMessageError::Padding`] if the message is longer than 65,524 bytes;
/// [`SealMessageError::Kind`] for a kind that has no place in a group, see [`Kind::is_for_groups`].
///
/// # Vectors
/// `vectors/message.json`
pub fn seal_group(
    rng: &mut (impl CryptoRng + ?Sized),
    key: MessageKey,
    header: &[u8],
    kind: Kind,
    message: &MessageBytes,
) -> Result<Vec<u8>, SealMessageError> {
    if !kind.is_for_groups() {
        return Err(SealMessageError::Kind { kind });
    }
    Ok(group::seal(rng, key, header, &padded(kind, message)?))
}

/// Opens the ciphertext of a group envelope: kind and message, nothing of it verified.
///
/// # Errors
/// [`OpenMessageError`].
///
/// # Security
/// Any member can seal under any sender's chain: signature, context and roster come next.
///
/// # Vectors
/// `vectors/message.json`
pub fn open_group(
    key: &MessageKey,
    header: &[u8],
    ciphertext: &[u8],
) -> Result<(Kind, MessageBytes), OpenMessageError> {
    let (kind, message) = unpadded(&group::open(key, header, ciphertext)?)?;
    if kind.is_for_groups() {
        Ok((kind, message))
    } else {
        Err(OpenMessageError::Kind { kind })
    }
}

const fn is_direct(kind: Kind) -> bool {
    kind.direct_lane().is_some()
}

fn padded(kind: Kind, message: &MessageBytes) -> Result<Zeroizing<Vec<u8>>, PaddingError> {
    let object = Zeroizing::new(message.encode());
    pad(kind, &object).map(Zeroizing::new)
}

fn unpadded(plaintext: &[u8]) -> Result<(Kind, MessageBytes), OpenMessageError> {
    let (kind, object) = unpad(plaintext)?;
    Ok((kind, MessageBytes::decode(object)?))
}

#[cfg(test)]
mod tests;
