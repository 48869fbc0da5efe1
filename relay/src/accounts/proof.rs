//! Challenges and the proofs that answer them, and the rules for bundles and leases that the relay
//! enforces.
//!
//! A challenge is kept nowhere: the relay signs it and recognises its own signature. What is
//! remembered is which challenges were used.

use waxwire_shared::{
    hash::sha256,
    identity::{IdentityKey, Signature, VerifyError},
    ids::{AgentId, Handle, Hash, Nonce32},
    labels::Label,
    limits,
    sign::{SignedBytes, SignedError, Verified},
    wire::{
        Bundle, BundleRule, Challenge, ChallengePurpose, DecodeError, Document as _, Lease, SuccessionBytes,
        VERSION,
    },
};

use crate::{
    identity::RelayIdentity,
    store::{BundleBytes, NewLease, NewSuccession, UsedChallenge},
};

/// How long a challenge may be answered, in milliseconds.
pub const CHALLENGE_LIFE_MS: u64 = 5 * 60 * 1_000;

/// Makes a signed challenge.
///
/// # Errors
/// [`VerifyError`] if the identity could answer none.
pub fn challenge(
    relay: &RelayIdentity,
    purpose: ChallengePurpose,
    handle: Handle,
    identity: IdentityKey,
    nonces: (Nonce32, Nonce32),
    now_ms: u64,
) -> Result<Vec<u8>, VerifyError> {
    identity.check()?;
    let (relay_nonce, agent_nonce) = nonces;
    Ok(relay.sign_challenge(&Challenge {
        version: VERSION,
        relay: *relay.id(),
        purpose,
        handle,
        identity,
        relay_nonce,
        agent_nonce,
        time: now_ms,
    }))
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The challenge is not well-formed.
    #[error("malformed challenge")]
    Decode(#[from] DecodeError),
    /// The challenge is not this relay's.
    #[error("the challenge is not this relay's")]
    Foreign,
    /// The challenge was made for something else.
    #[error("the challenge was made for something else")]
    Purpose,
    /// The challenge is too old.
    #[error("the challenge has expired")]
    Expired,
    /// The proof does not verify.
    #[error("the proof does not verify")]
    Proof(#[from] VerifyError),
}

/// Possession of an identity key, proved to this relay.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The handle that the proof is for.
    pub handle: Handle,
    /// The identity that answered.
    pub identity: IdentityKey,
    /// The agent id that follows from it.
    pub id: AgentId,
    /// The challenge, which is used up by this.
    pub challenge: UsedChallenge,
}

/// Checks a challenge and its proof, the cheap parts first.
///
/// # Errors
/// [`ProofError`].
pub fn check_proof(
    relay: &RelayIdentity,
    purpose: ChallengePurpose,
    challenge: &[u8],
    proof: &[u8],
    now_ms: u64,
) -> Result<Proven, ProofError> {
    let signed = SignedBytes::decode(challenge)?;
    let body = Challenge::decode(&signed.body)?;
    if body.relay != *relay.id() || body.version != VERSION {
        return Err(ProofError::Foreign);
    }
    if body.purpose != purpose {
        return Err(ProofError::Purpose);
    }
    let expires_at = body.time.saturating_add(CHALLENGE_LIFE_MS);
    if now_ms > expires_at {
        return Err(ProofError::Expired);
    }
    if !relay.signed_challenge(&signed.body, &signed.signature) {
        return Err(ProofError::Foreign);
    }
    body.identity
        .verify(Label::SigProof, &[&signed.body], &Signature::new(proof))?;
    Ok(Proven {
        id: AgentId::of(relay.id(), &body.identity),
        handle: body.handle,
        identity: body.identity,
        challenge: UsedChallenge {
            hash: sha256(&signed.body),
            expires_at,
        },
    })
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Malformed or not authentic.
    #[error("malformed bundle or wrong signature")]
    Signed(#[from] SignedError),
    /// A field breaks a rule of the format.
    #[error(transparent)]
    Rule(#[from] BundleRule),
    /// Relay, handle or identity are not those of the agent.
    #[error("the bundle is for another relay, handle or identity")]
    Foreign,
    /// The number lies too far in the future.
    #[error("the bundle's number is more than 24 hours in the future")]
    Future,
    /// No key has a suite that this version knows.
    #[error("no key of the bundle has a known suite")]
    Suite,
}

/// Checks a bundle of a known agent.
///
/// # Errors
/// [`BundleError`].
pub fn check_bundle(
    relay: &RelayIdentity,
    handle: &Handle,
    identity: &IdentityKey,
    bytes: Vec<u8>,
    now_ms: u64,
) -> Result<BundleBytes, BundleError> {
    let verified = Verified::<Bundle>::from_bytes(&bytes, |bundle| &bundle.identity)?;
    let bundle = verified.body();
    if bundle.relay != *relay.id() || bundle.handle != *handle || bundle.identity != *identity {
        return Err(BundleError::Foreign);
    }
    bundle.check()?;
    if bundle.number > now_ms.saturating_add(limits::NUMBER_FUTURE_MS) {
        return Err(BundleError::Future);
    }
    if bundle.best_key().is_none() {
        return Err(BundleError::Suite);
    }
    let number = bundle.number;
    Ok(BundleBytes { number, bytes })
}

/// What a bundle that was verified before it was stored says of the recovery key.
#[must_use]
pub fn recovery_hash(bundle: &[u8]) -> Option<Hash> {
    let signed = SignedBytes::decode(bundle).ok()?;
    Some(Bundle::decode(&signed.body).ok()?.recovery)
}

/// Why a succession is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// Malformed or not authentic.
    #[error("malformed succession or wrong signature")]
    Signed(#[from] SignedError),
    /// Relay, handle or new identity are not those of the request.
    #[error("the succession is for another relay, handle or identity")]
    Foreign,
}

/// Checks a succession as far as it needs nothing that is stored: every signature that is there holds.
/// Whether `old` holds the handle, and whether the recovery key is its, is for the store to say.
///
/// # Errors
/// [`SuccessionError`].
pub fn check_succession(
    relay: &RelayIdentity,
    handle: &Handle,
    new: &IdentityKey,
    bytes: Vec<u8>,
) -> Result<NewSuccession, SuccessionError> {
    let signed = SuccessionBytes::decode(&bytes).map_err(SignedError::from)?;
    let body = signed.verify_signatures()?;
    if body.relay != *relay.id() || body.handle != *handle || body.new != *new {
        return Err(SuccessionError::Foreign);
    }
    Ok(NewSuccession {
        old: AgentId::of(relay.id(), &body.old),
        recovery: signed.recovery.as_ref().map(Bundle::recovery_hash),
        bytes,
    })
}

/// Why a lease is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Malformed or not authentic.
    #[error("malformed lease or wrong signature")]
    Signed(#[from] SignedError),
    /// Relay or identity are not those of the agent.
    #[error("the lease is for another relay or identity")]
    Foreign,
    /// Incarnation or time lie too far in the future.
    #[error("the lease is more than 24 hours in the future")]
    Future,
}

/// Checks a lease of a known agent.
///
/// # Errors
/// [`LeaseError`].
pub fn check_lease(
    relay: &RelayIdentity,
    identity: &IdentityKey,
    bytes: Vec<u8>,
    now_ms: u64,
) -> Result<NewLease, LeaseError> {
    let verified = Verified::<Lease>::from_bytes(&bytes, |lease| &lease.identity)?;
    let lease = verified.body();
    if lease.relay != *relay.id() || lease.identity != *identity {
        return Err(LeaseError::Foreign);
    }
    if lease.incarnation.max(lease.time) > now_ms.saturating_add(limits::NUMBER_FUTURE_MS) {
        return Err(LeaseError::Future);
    }
    Ok(NewLease {
        incarnation: lease.incarnation,
        session: lease.session,
        time: lease.time,
        bytes,
    })
}
