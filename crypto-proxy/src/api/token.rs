//! The bearer token of the local API.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::crypto::kdf;

/// Text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is wx_ and 43 base64url characters")]
pub struct TokenError;

/// What a caller has to show. Only its hash is kept.
pub struct ApiToken([u8; 32]);

impl ApiToken {
    const PREFIX: &'static str = "wx_";
    const DIGITS: usize = 43;

    /// Takes the token from the line that `init` wrote.
    ///
    /// # Errors
    /// [`TokenError`] if it is not `wx_` and 43 base64url characters.
    pub fn parse(line: &str) -> Result<Self, TokenError> {
        let token = line.trim_end_matches(['\r', '\n']);
        let digits = token.strip_prefix(Self::PREFIX).ok_or(TokenError)?;
        let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if digits.len() != Self::DIGITS || !digits.bytes().all(base64url) {
            return Err(TokenError);
        }
        Ok(Self(hash(token.as_bytes())))
    }

    /// Proves to whoever knows the token that this API does, see [`kdf::local_proof`].
    pub(super) fn proof(&self, nonce: &[u8; 32], place: &str) -> [u8; 32] {
        kdf::local_proof(&self.0, nonce, place)
    }

    /// Whether this is the token. Hashes are compared in constant time, so neither a matching
    /// beginning nor a matching length shows.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        bool::from(self.0.ct_eq(&hash(shown)))
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches() {
        let text = format!("wx_{}", "aZ9-_".repeat(9).get(..43).unwrap());
        let token = ApiToken::parse(&format!("{text}\n")).unwrap();
        assert!(token.matches(text.as_bytes()));
        for other in [
            "",
            "wx_",
            &text[..45],
            &format!("{text}a"),
            &format!("{text} "),
            &text.to_uppercase(),
        ] {
            assert!(!token.matches(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "ApiToken");
    }

    #[test]
    fn parse_refuses_weak_tokens() {
        for bad in [
            "",
            "wx_",
            "wx_short",
            &format!("ac_{}", "a".repeat(43)),
            &format!("wx_{}", "a".repeat(44)),
        ] {
            assert!(ApiToken::parse(bad).is_err(), "{bad}");
        }
        assert!(ApiToken::parse(&format!("wx_{}!", "a".repeat(42))).is_err());
    }
}
