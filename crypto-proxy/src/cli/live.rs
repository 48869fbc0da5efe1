//! Makes an instance the live one: a higher incarnation, a new session, an API key of its own, a bundle
//! with a key that it holds (flow 10, steps 2, 4 and 5). `restore` and `take-over` do it.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use rand_core::Rng as _;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{ApiKeyRequest, Base64Bytes, Purpose},
    },
    hash::sha256,
    ids::SessionId,
    sign::Verified,
    wire::{Bundle, Lease, VERSION},
};

use super::init::{nonce, note_bundle, sign_current_bundle};
use crate::{
    clock,
    credential::ApiKey,
    keystore::{EncryptionRecord, KeyStore, Keys},
    link::{CallError, Client, Possession, VerifiedRelay},
    rng::OsRng,
};

/// How often a lease may turn out to be older than another: two that do this at once must end.
const TRIES: usize = 5;

/// Begins a new incarnation and has the relay take its lease. It is durable before the relay hears of it.
pub(super) async fn become_live(
    client: &Client,
    relay: &VerifiedRelay,
    store: &mut KeyStore,
) -> anyhow::Result<ApiKey> {
    ensure!(
        relay.identity == store.keys().relay.identity,
        "another relay answers: its fingerprint is {}",
        relay.fingerprint()
    );
    let mut known = store.keys().incarnation;
    for _ in 0..TRIES {
        let mut session = [0; SessionId::LENGTH];
        OsRng.fill_bytes(&mut session);
        let keys = store.keys_mut();
        keys.session = SessionId::from_bytes(session);
        keys.incarnation = (known + 1).max(clock::unix());
        store.save(&mut OsRng)?;
        match take_key(client, store.keys()).await? {
            Ok(key) => {
                store.keys_mut().api_key = Some(ApiKey::new(key.clone())?);
                store.save(&mut OsRng)?;
                return Ok(ApiKey::new(key)?);
            }
            Err(held) => known = incarnation_of(&held, store.keys())?.max(known),
        }
    }
    bail!("other instances of this agent go on taking its place: stop them first")
}

/// A new API key on proof of the identity, or the lease that stands in the way.
async fn take_key(client: &Client, keys: &Keys) -> anyhow::Result<Result<String, Vec<u8>>> {
    let possession = Possession {
        purpose: Purpose::ApiKey,
        handle: &keys.handle,
        identity: &keys.identity,
        relay: &keys.relay.identity,
    };
    let nonce = nonce();
    let challenge = client.challenge(&possession.request(nonce)).await?.challenge;
    let lease = keys.identity.sign_document(&Lease {
        version: VERSION,
        relay: keys.relay_id(),
        identity: keys.identity.public().clone(),
        incarnation: keys.incarnation,
        session: keys.session,
        time: clock::unix(),
    });
    let request = ApiKeyRequest {
        proof: possession.answer(&challenge.0, &nonce)?,
        challenge,
        lease: Some(Base64Bytes(lease)),
    };
    match client.api_key(&request).await {
        Ok(registered) => {
            ensure!(
                registered.agent_id == keys.agent_id(),
                "the relay answered with the id of another agent"
            );
            Ok(Ok(registered.api_key))
        }
        Err(CallError::Problem(problem)) => match (problem.problem_type(), problem.held) {
            (Some(ProblemType::Stale), Some(held)) => Ok(Err(held.0)),
            (Some(ProblemType::NotFound), _) => {
                bail!(
                    "the relay does not know this identity under the handle {}",
                    keys.handle
                )
            }
            (Some(ProblemType::Suspended), _) => bail!("the relay's operator has suspended this agent"),
            _ => bail!(
                "the relay refuses an API key: {}",
                problem.detail.unwrap_or(problem.title)
            ),
        },
        Err(error) => Err(error).context("the relay cannot be reached; the command can be run again"),
    }
}

/// The incarnation of a lease that this identity has signed.
fn incarnation_of(held: &[u8], keys: &Keys) -> anyhow::Result<u64> {
    let lease = Verified::<Lease>::from_bytes(held, |lease| &lease.identity);
    let lease = lease.ok().map(Verified::into_body);
    let own =
        lease.filter(|lease| lease.identity == *keys.identity.public() && lease.relay == keys.relay_id());
    Ok(own
        .context("the relay shows a lease that this agent has not signed")?
        .incarnation)
}

/// Flow 10, steps 2 and 5: a new encryption key in a bundle that follows the newest one, whoever published
/// that. Durable before the relay hears of it.
pub(super) async fn publish(client: &Client, folder: &Path, store: &mut KeyStore) -> anyhow::Result<()> {
    let answer = client
        .bundle(&store.keys().handle)
        .await
        .context("the own bundle cannot be looked up")?;
    let held = answer.bundle.0;
    let verified = Verified::<Bundle>::from_bytes(&held, |bundle| &bundle.identity)?;
    let (bundle, now, keys) = (verified.body(), clock::unix(), store.keys_mut());
    ensure!(
        bundle.identity == *keys.identity.public()
            && bundle.handle == keys.handle
            && bundle.relay == keys.relay_id(),
        "the relay shows another identity under the handle {}",
        keys.handle
    );
    let newest_key = bundle.keys.iter().map(|key| key.number).max().unwrap_or(0);
    let number = keys.bundle_number.max(bundle.number).max(newest_key) + 1;
    keys.bundle_number = number.max(now);
    keys.bundle = Some(sha256(&held));
    keys.encryption
        .push(EncryptionRecord::generate(&mut OsRng, keys.bundle_number, now));
    store.save(&mut OsRng)?;
    let signed = sign_current_bundle(store.keys())?;
    client
        .put_bundle(signed.clone())
        .await
        .context("the relay does not take the new bundle")?;
    note_bundle(folder, store.keys(), &signed)?;
    store.keys_mut().bundle = Some(sha256(&signed));
    store.save(&mut OsRng)?;
    Ok(())
}
