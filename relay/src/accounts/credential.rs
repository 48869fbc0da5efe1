//! API keys and invite codes: random text, shown once, stored as a hash.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use waxwire_shared::{hash::labelled, ids::Hash, labels::Label};
use zeroize::Zeroizing;

use crate::rng::{self, Random, RandomError};

/// What an API key begins with.
pub const API_KEY_PREFIX: &str = "wxa_";
/// What an invite code begins with.
pub const INVITE_PREFIX: &str = "wxi_";

/// A credential in clear, on its way to whom it is for. Wiped when dropped.
pub struct Credential(Zeroizing<String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

impl Credential {
    /// `wxa_` and 43 characters of base64url: 32 random bytes.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn new_api_key(random: &dyn Random) -> Result<Self, RandomError> {
        Self::make(API_KEY_PREFIX, random)
    }

    /// `wxi_` and 43 characters of base64url: 32 random bytes.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn new_invite(random: &dyn Random) -> Result<Self, RandomError> {
        Self::make(INVITE_PREFIX, random)
    }

    fn make(prefix: &str, random: &dyn Random) -> Result<Self, RandomError> {
        let bytes = Zeroizing::new(rng::array::<32>(random)?);
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 43));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Ok(Self(text))
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.0
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }
}

/// `SHA-256(label || credential)`. A plain hash does: the credential has 256 random bits.
#[must_use]
pub fn hash(credential: &str) -> Hash {
    labelled(Label::HashCredential, &[credential.as_bytes()])
}

/// Whether text has the form of an API key; what has not is never looked up.
#[must_use]
pub fn is_api_key(text: &str) -> bool {
    text.strip_prefix(API_KEY_PREFIX).is_some_and(|rest| {
        rest.len() == 43
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SystemRandom;

    #[test]
    fn api_key_has_its_form_and_a_hash_of_its_own() {
        let a = Credential::new_api_key(&SystemRandom).unwrap();
        let b = Credential::new_api_key(&SystemRandom).unwrap();
        assert!(is_api_key(a.expose_text()));
        assert_eq!(a.expose_text().len(), 47);
        assert_ne!(a.hash(), b.hash());
        assert_eq!(hash(a.expose_text()), a.hash());
    }

    #[test]
    fn is_api_key_refuses_other_text() {
        let key = Credential::new_api_key(&SystemRandom).unwrap();
        let text = key.expose_text();
        for bad in [
            "",
            "wxa_",
            &text[1..],
            &text[..46],
            &format!("{text}x"),
            &text.replace("wxa", "wxi"),
        ] {
            assert!(!is_api_key(bad), "{bad}");
        }
    }
}
