//! Names of things: fixed-length byte strings, handles and Snowflakes (docs/protocol.md, 3).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    hash::labelled,
    identity::IdentityKey,
    labels::Label,
    limits,
    wire::{DecodeError, Reader, Wire, Writer},
};

/// Text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not lower-case hexadecimal of the right length.
    #[error("expected {expected} lower-case hexadecimal digits")]
    NotHex {
        /// Digits that the id has.
        expected: usize,
    },
    /// A slice of the wrong length.
    #[error("expected {expected} bytes, got {actual}")]
    Length {
        /// Bytes that the id has.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// Not a handle.
    #[error(
        "a handle has 3 to 30 characters: lower-case letters and digits, single hyphens between them, a letter first"
    )]
    Handle,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $len;

            /// Wraps the bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Copies a slice of exactly [`Self::LENGTH`] bytes.
            ///
            /// # Errors
            /// [`IdError::Length`] if the slice is longer or shorter.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError::Length {
                    expected: $len,
                    actual: bytes.len(),
                })
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let not_hex = IdError::NotHex { expected: 2 * $len };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(not_hex);
                }
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| not_hex)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Wire for $name {
            fn put(&self, w: &mut Writer) {
                w.bytes(&self.0);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let bytes = r.bytes()?;
                Self::from_slice(bytes).map_err(|_| DecodeError::Length {
                    expected: $len,
                    actual: bytes.len(),
                })
            }
        }
    };
}

byte_id!(
    /// A SHA-256 value.
    Hash, 32
);
byte_id!(
    /// Names a relay: the hash of its identity key.
    RelayId, 32
);
byte_id!(
    /// Names an agent on one relay towards the relay: opaque, derived from its identity key.
    AgentId, 16
);
byte_id!(
    /// Names a group: the hash of its signed create commit.
    GroupId, 32
);
byte_id!(
    /// Names a conversation inside messages: a direct one by both identities, a group by its id.
    ConversationId, 32
);
byte_id!(
    /// A sender's idempotency key for one envelope at the relay.
    Mid, 16
);
byte_id!(
    /// One run of numbering of one proxy: new at `init`, restore and roll-back.
    SessionId, 16
);
byte_id!(
    /// Names a stored attachment.
    BlobId, 16
);
byte_id!(
    /// A nonce of a challenge, or the 32 random bytes of a group.
    Nonce32, 32
);

impl RelayId {
    /// `SHA-256(label || algorithm u16 || key)`.
    #[must_use]
    pub fn of(identity: &IdentityKey) -> Self {
        Self(*labelled(Label::HashRelayId, &[&identity.to_prefixed()]).as_bytes())
    }
}

impl AgentId {
    /// The first 16 bytes of `SHA-256(label || relay id || algorithm u16 || key)`: everybody can
    /// check which identity a header means without asking the relay.
    #[must_use]
    pub fn of(relay: &RelayId, identity: &IdentityKey) -> Self {
        let hash = labelled(Label::HashAgentId, &[relay.as_bytes(), &identity.to_prefixed()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Self(bytes)
    }
}

impl ConversationId {
    /// The direct conversation of two identities, the same whoever asks:
    /// `SHA-256(label || SHA-256(lower) || SHA-256(higher))` over `algorithm u16 || key`, lower and
    /// higher by comparison of those two hashes.
    #[must_use]
    pub fn direct(a: &IdentityKey, b: &IdentityKey) -> Self {
        let (a, b) = (
            crate::hash::sha256(&a.to_prefixed()),
            crate::hash::sha256(&b.to_prefixed()),
        );
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self(*labelled(Label::HashConversation, &[low.as_bytes(), high.as_bytes()]).as_bytes())
    }

    /// The conversation of a group.
    #[must_use]
    pub const fn group(group: &GroupId) -> Self {
        Self(group.0)
    }
}

/// A public name of an agent: `^[a-z][a-z0-9]*(-[a-z0-9]+)*$`, 3 to 30 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(String);

impl Handle {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Handle {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let length = limits::HANDLE_MIN..=limits::HANDLE;
        let words = || text.split('-');
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if length.contains(&text.len()) && first && words().all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Handle)
        }
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Wire for Handle {
    fn put(&self, w: &mut Writer) {
        w.text(&self.0);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.text()?
            .parse()
            .map_err(|_| DecodeError::Value { what: "handle" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 1: the grammar of handles.
    #[test]
    fn handle_accepts_the_grammar_and_nothing_else() {
        for good in ["abc", "a-1", "alice", "billing-bot-2", &"a".repeat(30)] {
            assert!(good.parse::<Handle>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "1ab",
            "-ab",
            "ab-",
            "a--b",
            "Abc",
            "a_b",
            "a b",
            "ab\0",
            "äbc",
            &"a".repeat(31),
        ] {
            assert_eq!(bad.parse::<Handle>(), Err(IdError::Handle), "{bad}");
        }
    }

    #[test]
    fn byte_ids_are_lower_case_hex_of_exact_length() {
        let id = Mid::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse::<Mid>(), Ok(id));
        assert!("AB".repeat(16).parse::<Mid>().is_err());
        assert!("ab".repeat(15).parse::<Mid>().is_err());
        assert_eq!(
            Mid::from_slice(&[0; 15]),
            Err(IdError::Length {
                expected: 16,
                actual: 15
            })
        );
    }

    /// docs/protocol.md, 5.2: one conversation whoever of the two asks.
    #[test]
    fn direct_conversation_is_symmetric() {
        let a = IdentityKey::ed25519([1; 32]);
        let b = IdentityKey::ed25519([2; 32]);
        assert_eq!(ConversationId::direct(&a, &b), ConversationId::direct(&b, &a));
        assert_ne!(ConversationId::direct(&a, &b), ConversationId::direct(&a, &a));
    }
}
