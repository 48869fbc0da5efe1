//! What `recover` and `new-identity` have in common: a signed succession goes to the relay, which gives the
//! handle to the new identity (flow 11; docs/protocol.md, 4.6).

use anyhow::{bail, ensure};
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, Purpose, SuccessionRequest},
    },
    identity::{IdentityKey, Signature},
    ids::{AgentId, Handle, RelayId},
    labels::Label,
    wire::{Document as _, Succession, SuccessionBytes, VERSION},
};

use super::init::nonce;
use crate::{
    clock,
    credential::ApiKey,
    crypto::{recovery::RecoverySecret, secret::IdentitySecret},
    link::{CallError, Client, Possession, VerifiedRelay},
};

/// Who signs that the new identity follows the old one.
pub(super) enum By<'a> {
    Old(&'a IdentitySecret),
    Recovery(&'a RecoverySecret, &'a IdentityKey),
}

/// A change of identity.
pub(super) struct Change<'a> {
    pub(super) relay: &'a VerifiedRelay,
    pub(super) handle: &'a Handle,
    pub(super) new: &'a IdentitySecret,
    /// The first bundle of the new identity, signed.
    pub(super) bundle: Vec<u8>,
}

/// Why the relay did not give the handle to the new identity.
pub(super) enum NotDone {
    /// Not before what came for the old one was taken.
    NotDrained,
    /// It will not.
    Refused(String),
    /// Nobody knows whether it did: the command can be run again.
    Unknown(CallError),
}

impl Change<'_> {
    fn sign(&self, by: &By<'_>) -> Vec<u8> {
        let old = match by {
            By::Old(secret) => secret.public(),
            By::Recovery(_, old) => *old,
        };
        let body = Succession {
            version: VERSION,
            relay: RelayId::of(&self.relay.identity),
            handle: self.handle.clone(),
            old: old.clone(),
            new: self.new.public().clone(),
            time: clock::unix(),
        }
        .encode();
        let by_new: Signature = self.new.sign(Label::SigSuccessionNew, &[&body]);
        let (by_old, recovery, by_recovery) = match by {
            By::Old(secret) => (Some(secret.sign(Label::SigSuccessionOld, &[&body])), None, None),
            By::Recovery(secret, _) => (
                None,
                Some(secret.public().clone()),
                Some(secret.sign_succession(&body)),
            ),
        };
        SuccessionBytes {
            by_new,
            by_old,
            recovery,
            by_recovery,
            body,
        }
        .encode()
    }

    /// Proves possession of the new identity, publishes succession and bundle; gives the API key.
    pub(super) async fn publish(
        &self,
        client: &Client,
        by: &By<'_>,
    ) -> anyhow::Result<Result<ApiKey, NotDone>> {
        let possession = Possession {
            purpose: Purpose::Register,
            handle: self.handle,
            identity: self.new,
            relay: &self.relay.identity,
        };
        let nonce = nonce();
        let challenge = match client.challenge(&possession.request(nonce)).await {
            Ok(answer) => answer.challenge,
            Err(error) => return Ok(Err(not_done(error))),
        };
        let request = SuccessionRequest {
            proof: possession.answer(&challenge.0, &nonce)?,
            challenge,
            bundle: Base64Bytes(self.bundle.clone()),
            succession: Base64Bytes(self.sign(by)),
        };
        let registered = match client.succeed(self.handle, &request).await {
            Ok(registered) => registered,
            Err(error) => return Ok(Err(not_done(error))),
        };
        let relay = RelayId::of(&self.relay.identity);
        ensure!(
            registered.agent_id == AgentId::of(&relay, self.new.public()),
            "the relay answered with the id of another agent"
        );
        Ok(Ok(ApiKey::new(registered.api_key)?))
    }
}

fn not_done(error: CallError) -> NotDone {
    match error {
        CallError::Problem(problem) => match problem.problem_type() {
            Some(ProblemType::NotDrained) => NotDone::NotDrained,
            Some(ProblemType::Internal | ProblemType::Unavailable) => {
                NotDone::Unknown(CallError::Problem(problem))
            }
            _ => NotDone::Refused(problem.detail.unwrap_or(problem.title)),
        },
        error => NotDone::Unknown(error),
    }
}

/// Ends the command when nobody knows what the relay has done.
pub(super) fn unknown<T>(error: CallError) -> anyhow::Result<T> {
    match error {
        CallError::Problem(problem) => bail!(
            "the relay cannot do it now ({}); the command can be run again",
            problem.title
        ),
        error => Err(anyhow::Error::new(error).context("the command can be run again")),
    }
}
