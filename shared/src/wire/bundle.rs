//! Key bundles and successions (docs/protocol.md, 4).

use super::{DecodeError, Document as _, VERSION, rules, wire_map};
use crate::{
    hash::labelled,
    identity::{IdentityKey, Signature, VerifyError},
    ids::{Handle, Hash, RelayId},
    labels::Label,
    limits,
    sign::{SignedDocument, SignedError},
    suite::Suite,
};

wire_map! {
    /// One encryption key of an agent.
    pub struct BundleKey {
        /// Suite of boxes to this key.
        1 => suite: Suite,
        /// Number of the key, grows with every rotation.
        2 => number: u64,
        /// The public key; 32 bytes in suite 1.
        3 => public: Vec<u8> where rules::length(1..=limits::PUBLIC_KEY),
    }
}

wire_map! {
    /// What an agent's identity says of its encryption keys. Signed under [`Label::SigBundle`].
    pub struct Bundle, max(limits::BUNDLE) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay that the agent is registered at.
        2 => relay: RelayId,
        /// The agent's handle there.
        3 => handle: Handle,
        /// The identity that signs.
        4 => identity: IdentityKey,
        /// `max(highest known + 1, Unix milliseconds)`.
        5 => number: u64,
        /// Valid from, Unix milliseconds.
        6 => not_before: u64,
        /// Senders refuse after, Unix milliseconds.
        7 => not_after: u64,
        /// Hash of the previous signed bundle; absent in the first.
        8 => previous: Option<Hash>,
        /// Least suite that the agent accepts.
        9 => min_suite: Suite,
        /// 1 to 8 encryption keys, no suite and number twice.
        10 => keys: Vec<BundleKey> where rules::items(1..=limits::BUNDLE_KEYS),
        /// `SHA-256(label || recovery public key)`, see [`Bundle::recovery_hash`].
        11 => recovery: Hash,
    }
}

impl SignedDocument for Bundle {
    const LABEL: Label = Label::SigBundle;
}

/// A field of a bundle that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bundle: {0} is not allowed")]
pub struct BundleRule(pub &'static str);

impl Bundle {
    /// `SHA-256(label || algorithm u16 || recovery public key)`.
    #[must_use]
    pub fn recovery_hash(recovery: &IdentityKey) -> Hash {
        labelled(Label::HashRecovery, &[&recovery.to_prefixed()])
    }

    /// The key that a sender must use: the highest known suite at or above `min_suite`, in it the
    /// highest number. `None` if there is none.
    #[must_use]
    pub fn best_key(&self) -> Option<&BundleKey> {
        self.keys
            .iter()
            .filter(|key| key.suite.is_known() && key.suite >= self.min_suite)
            .max_by_key(|key| (key.suite, key.number))
    }

    /// The highest suite that the agent has a key of, whether this version knows it or not: what a later
    /// bundle must not fall behind.
    #[must_use]
    pub fn highest_suite(&self) -> Suite {
        self.keys.iter().map(|key| key.suite).max().unwrap_or(Suite(0))
    }

    /// Rules that need neither a clock nor earlier bundles.
    ///
    /// # Errors
    /// [`BundleRule`] with the field that breaks one.
    pub fn check(&self) -> Result<(), BundleRule> {
        let keys = &self.keys;
        let twice = keys.iter().enumerate().any(|(i, a)| {
            keys[..i]
                .iter()
                .any(|b| (a.suite, a.number) == (b.suite, b.number))
        });
        let rules = [
            (self.version == VERSION, "version"),
            (self.number > 0, "number"),
            (self.not_before < self.not_after, "not_after"),
            ((1..=limits::BUNDLE_KEYS).contains(&keys.len()) && !twice, "keys"),
            (
                keys.iter().all(|key| key.public.len() <= limits::PUBLIC_KEY),
                "public key",
            ),
            (keys.iter().all(is_contributory), "public key"),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, what)| Err(BundleRule(what)))
    }
}

/// Whether a suite 1 key is a canonical Montgomery u-coordinate outside the small subgroups
/// (RFC 7748, 6.1); keys of unknown suites are carried unchecked and never used.
fn is_contributory(key: &BundleKey) -> bool {
    if key.suite != Suite::CLASSIC {
        return true;
    }
    <&[u8; 32]>::try_from(key.public.as_slice()).is_ok_and(is_contributory_x25519)
}

/// Whether 32 bytes are a canonical X25519 public key that contributes to the shared secret:
/// `u < 2^255 - 19` and not of small order, on the curve or its twist.
#[must_use]
pub fn is_contributory_x25519(public: &[u8; 32]) -> bool {
    use curve25519_dalek::MontgomeryPoint;
    let point = MontgomeryPoint(*public);
    let canonical = is_below_p(public);
    // Multiplying by the cofactor 8 sends exactly the small-order points to zero; four steps of the
    // ladder, not 255.
    canonical && point.mul_bits_be([true, false, false, false].into_iter()).0 != [0; 32]
}

/// Whether a little-endian number is below `2^255 - 19`.
fn is_below_p(bytes: &[u8; 32]) -> bool {
    let high = bytes[31] & 0x80 != 0;
    let near_top = bytes[31] == 0x7f && bytes[1..31].iter().all(|b| *b == 0xff);
    !(high || near_top && bytes[0] >= 0xed)
}

wire_map! {
    /// A statement that one identity follows another. Signed by the new identity and by the old
    /// one or the recovery key.
    pub struct Succession, max(2 * 1024), rule(Self::check_identities) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay.
        2 => relay: RelayId,
        /// The handle that moves.
        3 => handle: Handle,
        /// The identity that ends.
        4 => old: IdentityKey,
        /// The identity that follows.
        5 => new: IdentityKey,
        /// Unix milliseconds.
        6 => time: u64,
    }
}

wire_map! {
    /// A succession as it travels, with its signatures over the body: one by the new identity and at
    /// least one by the old identity or the recovery key.
    pub struct SuccessionBytes, max(4 * 1024), rule(Self::check_proofs) {
        /// The body's bytes.
        1 => body: Vec<u8>,
        /// By the new identity.
        2 => by_new: Signature,
        /// By the old identity.
        3 => by_old: Option<Signature>,
        /// The recovery public key, whose hash the old identity's bundles carry.
        4 => recovery: Option<IdentityKey>,
        /// By the recovery key.
        5 => by_recovery: Option<Signature>,
    }
}

impl Succession {
    fn check_identities(&self) -> Result<(), DecodeError> {
        rules::holds(self.old != self.new, "new")
    }
}

impl SuccessionBytes {
    fn check_proofs(&self) -> Result<(), DecodeError> {
        rules::holds(
            self.recovery.is_some() == self.by_recovery.is_some(),
            "by_recovery",
        )?;
        rules::holds(self.by_old.is_some() || self.by_recovery.is_some(), "by_old")
    }

    /// Decodes the body and verifies every signature that is there; `recovery` is the hash in the
    /// old identity's last pinned bundle.
    ///
    /// # Errors
    /// [`SignedError::Verify`] unless the new identity and the old one or the recovery key signed, or
    /// if any signature given does not verify.
    pub fn verify(&self, recovery: &Hash) -> Result<Succession, SignedError> {
        let other = |key| Bundle::recovery_hash(key) != *recovery;
        if self.recovery.as_ref().is_some_and(other) {
            return Err(VerifyError::Signature.into());
        }
        self.verify_signatures()
    }

    /// Decodes the body and verifies every signature that is there. Whose the recovery key is, if one
    /// signed, stays open.
    ///
    /// # Errors
    /// As [`Self::verify`], but for another recovery key.
    pub fn verify_signatures(&self) -> Result<Succession, SignedError> {
        let succession = Succession::decode(&self.body)?;
        let body: &[&[u8]] = &[&self.body];
        let mut proven = false;
        succession
            .new
            .verify(Label::SigSuccessionNew, body, &self.by_new)?;
        if let Some(by_old) = &self.by_old {
            succession.old.verify(Label::SigSuccessionOld, body, by_old)?;
            proven = true;
        }
        if let (Some(key), Some(by_recovery)) = (&self.recovery, &self.by_recovery) {
            key.verify(Label::SigSuccessionRecovery, body, by_recovery)?;
            proven = true;
        }
        if proven {
            Ok(succession)
        } else {
            Err(VerifyError::Signature.into())
        }
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
