//! How people and scripts compare identity keys (docs/protocol.md, 4).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    hash::labelled,
    identity::IdentityKey,
    ids::{Handle, Hash, IdError},
    labels::Label,
};

/// The fingerprint of one identity key: 32 bytes, shown as 64 hexadecimal digits.
///
/// Unlike other ids it is typed by people: parsing folds case and skips spaces, hyphens and colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Hash);

impl Fingerprint {
    /// `SHA-256(label || algorithm u16 || key)`.
    #[must_use]
    pub fn of(identity: &IdentityKey) -> Self {
        Self(labelled(Label::HashFingerprint, &[&identity.to_prefixed()]))
    }

    /// A fingerprint that was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Hash::from_bytes(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fingerprint {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | ':'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        digits.parse().map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The safety number of a pair of identity keys, the same on both sides: 12 groups of 5 digits.
///
/// `h = SHA-256(label || lower fingerprint || higher fingerprint)` expanded once more by
/// `SHA-256(label || h)`; the first 60 of these 64 bytes are read as twelve 5-byte big-endian
/// numbers, each modulo 100,000.
#[must_use]
pub fn safety_number(a: &IdentityKey, b: &IdentityKey) -> String {
    let (a, b) = (Fingerprint::of(a), Fingerprint::of(b));
    let (low, high) = if a.as_bytes() <= b.as_bytes() {
        (a, b)
    } else {
        (b, a)
    };
    let first = labelled(Label::HashSafetyNumber, &[low.as_bytes(), high.as_bytes()]);
    let second = labelled(Label::HashSafetyNumber, &[first.as_bytes()]);
    let bytes = [*first.as_bytes(), *second.as_bytes()].concat();
    let group = |five: &[u8]| five.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b)) % 100_000;
    let groups: Vec<String> = bytes
        .chunks_exact(5)
        .take(12)
        .map(|five| format!("{:05}", group(five)))
        .collect();
    groups.join(" ")
}

/// Whom to write to: `handle` or `handle#fingerprint`, with or without a leading `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The handle, lower case.
    pub handle: Handle,
    /// The fingerprint that the handle's identity must have.
    pub fingerprint: Option<Fingerprint>,
}

impl FromStr for Address {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.strip_prefix('@').unwrap_or(text);
        let (handle, fingerprint) = match text.split_once('#') {
            Some((handle, fingerprint)) => (handle, Some(fingerprint.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            handle: handle.to_ascii_lowercase().parse()?,
            fingerprint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (IdentityKey, IdentityKey) {
        (IdentityKey::ed25519([1; 32]), IdentityKey::ed25519([2; 32]))
    }

    /// docs/protocol.md, 4.1: the safety number is the same at both ends.
    #[test]
    fn safety_number_is_symmetric_and_sixty_digits() {
        let (a, b) = keys();
        let number = safety_number(&a, &b);
        assert_eq!(number, safety_number(&b, &a));
        assert_eq!(number.len(), 71);
        assert_eq!(number.chars().filter(char::is_ascii_digit).count(), 60);
        assert_ne!(number, safety_number(&a, &a));
    }

    /// docs/protocol.md, 4.1: an address, with or without a fingerprint, however it is typed.
    #[test]
    fn address_parses_handle_and_fingerprint() {
        let fingerprint = Fingerprint::of(&keys().0);
        let address: Address = format!("@Alice#{fingerprint}").parse().unwrap();
        assert_eq!(address.handle.as_str(), "alice");
        assert_eq!(address.fingerprint, Some(fingerprint));
        assert!("alice#12".parse::<Address>().is_err());
        assert!("@".parse::<Address>().is_err());
    }
}
