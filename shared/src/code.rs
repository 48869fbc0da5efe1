//! What one agent shows and another scans: an identity with its handle and relay, in one line
//! (docs/protocol.md, 4.1).

use std::{fmt, str::FromStr};

use crate::{
    fingerprint::Fingerprint,
    ids::{Handle, IdError},
};

const PREFIX: &str = "waxwire:v1:";

/// Which identity has which handle at which relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityCode {
    /// Fingerprint of the relay's identity.
    pub relay: Fingerprint,
    /// The handle.
    pub handle: Handle,
    /// Fingerprint of the agent's identity.
    pub fingerprint: Fingerprint,
}

/// Why a text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It does not begin as one, or has not its three parts.
    #[error("a code is waxwire:v1:RELAY:HANDLE:FINGERPRINT")]
    Form,
    /// A part is not what it should be.
    #[error("a part of the code is malformed")]
    Part(#[from] IdError),
}

impl fmt::Display for IdentityCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}:{}", self.relay, self.handle, self.fingerprint)
    }
}

impl FromStr for IdentityCode {
    type Err = CodeError;

    /// Folds case, for a code is drawn in capitals: so it takes less room. Space around it is skipped.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        if !text.is_ascii() {
            return Err(CodeError::Form);
        }
        let text = text.trim().to_ascii_lowercase();
        let parts: Vec<&str> = text
            .strip_prefix(PREFIX)
            .ok_or(CodeError::Form)?
            .split(':')
            .collect();
        let [relay, handle, fingerprint] = parts[..] else {
            return Err(CodeError::Form);
        };
        let digits = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits(relay) || !digits(fingerprint) {
            return Err(CodeError::Form);
        }
        Ok(Self {
            relay: relay.parse()?,
            handle: handle.parse()?,
            fingerprint: fingerprint.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;

    fn code() -> IdentityCode {
        IdentityCode {
            relay: Fingerprint::of(&IdentityKey::ed25519([1; 32])),
            handle: "bob-2".parse().unwrap(),
            fingerprint: Fingerprint::of(&IdentityKey::ed25519([2; 32])),
        }
    }

    /// docs/protocol.md, 4.1: read back in either case.
    #[test]
    fn code_is_read_as_it_is_shown_and_drawn() {
        let text = code().to_string();
        let form = format!("waxwire:v1:{}:bob-2:{}", code().relay, code().fingerprint);
        assert_eq!(text, form);
        assert_eq!(text.parse(), Ok(code()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(code()));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let text = code().to_string();
        for wrong in [
            String::new(),
            text.replace("v1", "v2"),
            text[1..].to_owned(),
            format!("{text}:"),
            format!("{text}0"),
            text.replace(":bob-2:", ":"),
            text.replace("bob-2", "bob_2"),
            text.replace("bob-2", ""),
            format!("{}g", &text[..text.len() - 1]),
            text.replace("bob", "b\u{212a}b"),
        ] {
            assert!(wrong.parse::<IdentityCode>().is_err(), "{wrong}");
        }
    }
}
