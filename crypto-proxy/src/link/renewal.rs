//! A new API key in place of one that the relay does not accept any more (docs/protocol.md, 4.7).

use rand_core::CryptoRng;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{ApiKeyRequest, Base64Bytes, ChallengeRequest, Registered},
    },
    ids::{AgentId, Nonce32},
};

use super::{
    http::{CallError, Client},
    lease::newer_lease,
    possession::PossessionError,
};
use crate::credential::ApiKey;

/// What the link cannot do itself: sign with the identity, keep the API key.
pub trait Credentials: Send + Sync {
    /// The agent's id at the relay.
    fn agent_id(&self) -> AgentId;

    /// The request for a challenge, see [`super::Possession::request`].
    fn request(&self, nonce: Nonce32) -> ChallengeRequest;

    /// The answer to a challenge, see [`super::Possession::answer`].
    ///
    /// # Errors
    /// [`PossessionError`].
    fn answer(&self, challenge: &[u8], nonce: &Nonce32) -> Result<Base64Bytes, PossessionError>;

    /// Makes the key durable, now or later: a key that is lost is replaced again. May block for a
    /// moment.
    fn keep(&self, key: ApiKey);
}

/// Why there is no new API key.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    /// Another instance of the agent holds this lease, which ours does not replace.
    #[error("another instance of this agent is the live one")]
    Outdated(Vec<u8>),
    /// The agent is suspended.
    #[error("the agent is suspended")]
    Suspended,
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The challenge was not answered.
    #[error(transparent)]
    Challenge(#[from] PossessionError),
    /// The answer names another agent, or holds no key.
    #[error("the relay's answer is not for this agent")]
    Foreign,
}

/// Proves possession of the identity; uses and keeps the new key from now on. The relay gives none to an
/// instance that is not the live one.
pub(super) async fn renew(
    client: &Client,
    credentials: &dyn Credentials,
    lease: Vec<u8>,
    rng: &mut (impl CryptoRng + Send),
) -> Result<(), RenewalError> {
    let mut nonce = [0; Nonce32::LENGTH];
    rng.fill_bytes(&mut nonce);
    let nonce = Nonce32::from_bytes(nonce);
    let challenge = client.challenge(&credentials.request(nonce)).await?.challenge;
    let proof = credentials.answer(&challenge.0, &nonce)?;
    let request = ApiKeyRequest {
        challenge,
        proof,
        lease: Some(Base64Bytes(lease)),
    };
    let registered = match client.api_key(&request).await {
        Err(CallError::Problem(problem)) if problem.problem_type() == Some(ProblemType::Suspended) => {
            return Err(RenewalError::Suspended);
        }
        Err(error) => return Err(newer_lease(&error).map_or(error.into(), RenewalError::Outdated)),
        Ok(registered) => registered,
    };
    let Registered { agent_id, api_key } = registered;
    let key = ApiKey::new(api_key).map_err(|_| RenewalError::Foreign)?;
    if agent_id != credentials.agent_id() {
        return Err(RenewalError::Foreign);
    }
    client.replace_key(&key);
    credentials.keep(key);
    Ok(())
}
