//! Is this the relay that was pinned? (docs/protocol.md, 4)

use waxwire_shared::{
    api::rest::RelayInfo,
    fingerprint::Fingerprint,
    identity::IdentityKey,
    ids::{Nonce32, RelayId},
    sign::{SignedError, Verified},
    wire::RelayDescription,
};

/// A relay that proved its identity for a nonce of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRelay {
    /// Its identity key.
    pub identity: IdentityKey,
    /// The hash of that key.
    pub relay_id: RelayId,
    /// Unix milliseconds by its clock; only displayed.
    pub time: u64,
}

/// Why a relay's description of itself is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayIdentityError {
    /// Not well-formed, of another version of the protocol, or not signed by the identity in it.
    #[error("the relay's description is not authentic")]
    Signed(#[from] SignedError),
    /// Made for another nonce: a replay.
    #[error("the relay's description is not fresh")]
    Nonce,
}

/// The relay is not the one that was pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay's identity is not the pinned one")]
pub struct RelayChanged {
    /// The relay that answers.
    pub shown: RelayId,
}

/// Checks what a relay says of itself: the signature of the identity in it, and our nonce.
///
/// # Errors
/// [`RelayIdentityError`].
///
/// # Security
/// Says that whoever answers holds this identity key, or passes the question on to who does. That
/// it is the right one says [`VerifiedRelay::require`] or [`VerifiedRelay::require_fingerprint`].
pub fn verify_relay(info: &RelayInfo, nonce: &Nonce32) -> Result<VerifiedRelay, RelayIdentityError> {
    let verified = Verified::<RelayDescription>::from_bytes(&info.description.0, |body| &body.identity)?;
    let description = verified.into_body();
    if description.nonce != *nonce {
        return Err(RelayIdentityError::Nonce);
    }
    Ok(VerifiedRelay {
        relay_id: RelayId::of(&description.identity),
        time: description.time,
        identity: description.identity,
    })
}

impl VerifiedRelay {
    /// The fingerprint of the relay's identity, as people compare it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.identity)
    }

    /// Compares with a pin.
    ///
    /// # Errors
    /// [`RelayChanged`].
    pub fn require(&self, pinned: &RelayId) -> Result<(), RelayChanged> {
        if self.relay_id == *pinned {
            Ok(())
        } else {
            Err(RelayChanged { shown: self.relay_id })
        }
    }

    /// Compares with a fingerprint that came with the relay's URL.
    ///
    /// # Errors
    /// [`RelayChanged`].
    pub fn require_fingerprint(&self, given: &Fingerprint) -> Result<(), RelayChanged> {
        if self.fingerprint() == *given {
            Ok(())
        } else {
            Err(RelayChanged { shown: self.relay_id })
        }
    }
}
