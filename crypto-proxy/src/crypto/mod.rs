//! Secret keys and what is done with them: pure functions, randomness passed in.
//!
//! One newtype per key role ([`secret`]), one module per act. Nothing here knows a database, a
//! connection or a clock. docs/protocol.md is normative; the modules cite its sections.
//!
//! - [`secret`]: the keys; [`recovery`]: the one that is printed
//! - [`sealed_box`]: a box to a public key; [`leaf`]: an epoch key in such a box
//! - [`kdf`]: every derivation
//! - [`group`], [`aead`]: XChaCha20-Poly1305 for groups and for data at rest
//! - [`attachment`]: the chunks of an attachment
//! - [`message`]: signing, padding and sealing of whole messages

pub mod aead;
pub mod attachment;
mod error;
pub mod group;
pub mod kdf;
pub mod leaf;
pub mod message;
pub mod recovery;
pub mod sealed_box;
pub mod secret;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod wycheproof_tests;

pub use error::{OpenError, PublicKeyError, SecretLengthError};
