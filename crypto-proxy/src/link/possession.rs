//! Proof to the pinned relay that this agent holds its identity key (docs/protocol.md, 4.7).

use waxwire_shared::{
    api::rest::{Base64Bytes, ChallengeRequest, Purpose},
    identity::IdentityKey,
    ids::{Handle, Nonce32, RelayId},
    labels::Label,
    sign::{SignedBytes, SignedError, Unverified},
    wire::{Challenge, ChallengePurpose, Document as _},
};

use crate::crypto::secret::IdentitySecret;

/// Asks for a challenge and answers it.
#[derive(Debug, Clone, Copy)]
pub struct Possession<'a> {
    /// What the proof is for.
    pub purpose: Purpose,
    /// The handle.
    pub handle: &'a Handle,
    /// The identity that is proved.
    pub identity: &'a IdentitySecret,
    /// The pinned relay.
    pub relay: &'a IdentityKey,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionError {
    /// Not well-formed, or not signed by the pinned relay.
    #[error("the relay's challenge is not authentic")]
    Signed(#[from] SignedError),
    /// Made for another purpose, agent or nonce.
    #[error("the relay's challenge is not for this request")]
    Foreign,
}

impl Possession<'_> {
    /// The request for a challenge.
    #[must_use]
    pub fn request(&self, nonce: Nonce32) -> ChallengeRequest {
        ChallengeRequest {
            purpose: self.purpose,
            handle: self.handle.clone(),
            identity: Base64Bytes(self.identity.public().to_prefixed()),
            nonce,
        }
    }

    /// Signs a challenge after making sure that this relay made it for this very request.
    ///
    /// # Errors
    /// [`PossessionError`]; then nothing was signed.
    pub fn answer(&self, challenge: &[u8], nonce: &Nonce32) -> Result<Base64Bytes, PossessionError> {
        let verified = Unverified::<Challenge>::decode(challenge)
            .map_err(SignedError::from)?
            .verify_by(self.relay)
            .map_err(SignedError::from)?;
        let body = verified.body();
        let purpose = match self.purpose {
            Purpose::Register => ChallengePurpose::Register,
            Purpose::ApiKey => ChallengePurpose::ApiKey,
        };
        let expected = body.relay == RelayId::of(self.relay)
            && body.purpose == purpose
            && body.handle == *self.handle
            && body.identity == *self.identity.public()
            && body.agent_nonce == *nonce;
        if !expected {
            return Err(PossessionError::Foreign);
        }
        let signed = SignedBytes::decode(challenge).map_err(SignedError::from)?;
        let proof = self.identity.sign(Label::SigProof, &[&signed.body]);
        Ok(Base64Bytes(proof.as_bytes().to_vec()))
    }
}
