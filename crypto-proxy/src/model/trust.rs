//! What an operator says of keys.

use waxwire_shared::{fingerprint::Fingerprint, ids::Handle};

/// The identity that a handle has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinEntry {
    /// The handle.
    pub handle: Handle,
    /// Fingerprint of its identity.
    pub fingerprint: Fingerprint,
    /// Whether somebody has compared it.
    pub verified: bool,
}

/// Whose confirmation of the current epoch is required before something is sent in a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Required {
    /// Nobody's.
    #[default]
    Nobody,
    /// That of every other member.
    Everybody,
    /// That of these, as far as they are members.
    Listed(Vec<Handle>),
}

/// What holds in a group about confirmations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirmation {
    /// Whose is required.
    pub required: Required,
    /// Whether this agent confirms each epoch by itself.
    pub confirms: bool,
}
