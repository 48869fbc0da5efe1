//! The bearer credential of this agent at its relay.

use std::fmt;

use zeroize::ZeroizeOnDrop;

/// Longest API key, in bytes.
const MAX: usize = 256;

/// What authorises this agent's transport at the relay. It proves nothing to peers.
#[derive(ZeroizeOnDrop)]
pub struct ApiKey(Box<str>);

/// Text that cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct ApiKeyError;

impl ApiKey {
    /// Wraps the text.
    ///
    /// # Errors
    /// [`ApiKeyError`] if it is empty, too long or not printable ASCII.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, ApiKeyError> {
        let key = Self(text.into());
        let printable = key.0.bytes().all(|b| b.is_ascii_graphic());
        if printable && (1..=MAX).contains(&key.0.len()) {
            Ok(key)
        } else {
            Err(ApiKeyError)
        }
    }

    /// The text, for the key store and for the relay's `Authorization` header.
    #[must_use]
    pub const fn expose_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_no_header_can_carry_is_refused() {
        for bad in ["", "two words", "line\n", "ümlaut", &"x".repeat(257)] {
            assert!(ApiKey::new(bad).is_err(), "{bad}");
        }
        assert_eq!(ApiKey::new("wax_1").unwrap().expose_text(), "wax_1");
    }
}
