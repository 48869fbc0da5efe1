//! `waxwire-proxy new-identity`: a planned change, while the old keys are at hand (flow 11, step 1).
//!
//! What came for the old identity is taken before: the relay refuses otherwise. The new identity is in the key
//! store beside the old one before anything is published; interrupted at any step, running the command again
//! finishes it. The old private key is destroyed at the end.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rand_core::Rng as _;
use waxwire_shared::{
    api::{frames::Queue, problem::ProblemType},
    fingerprint::Fingerprint,
    hash::sha256,
    ids::{RelayId, SessionId},
};

use super::{
    StateArgs,
    init::{column_keys, meet},
    succession::{By, Change, NotDone, unknown},
    with_keys,
};
use crate::{
    clock,
    crypto::secret::IdentitySecret,
    engine::{BundleDraft, sign_bundle},
    fault,
    keystore::{EncryptionRecord, KeyStore, Keys, Status},
    link::{CallError, Client, RelayUrl},
    rng::OsRng,
    state::Store,
};

const NOT_DRAINED: &str = "mail waits at the relay that the old identity has to take first: \
                           run the proxy until it has, stop it, and run this again";

#[derive(Debug, Args)]
pub(super) struct NewIdentityArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Give up messages that were queued and have not been sent.
    #[arg(long)]
    give_up_unsent: bool,
}

pub(super) fn run(args: &NewIdentityArgs) -> anyhow::Result<()> {
    with_keys(change(args))
}

async fn change(args: &NewIdentityArgs) -> anyhow::Result<()> {
    let folder = &args.state.state;
    let (unlock, _) = args.state.unlock_sources().find(folder)?;
    // The lock is the running proxy's.
    let mut store = KeyStore::open(folder, &unlock)?;
    ensure!(store.keys().status == Status::Active, "the agent is not set up");
    let url = RelayUrl::parse(&store.keys().relay.url, true)?;
    let client = Client::new(url.clone())?;
    let relay = meet(&client, &url).await?;
    ensure!(
        relay.identity == store.keys().relay.identity,
        "another relay answers: its fingerprint is {}",
        relay.fingerprint()
    );
    if store.keys().next_identity.is_none() {
        check_sent(args, store.keys())?;
        check_drained(url, store.keys()).await?;
    }
    prepare(&mut store)?;
    fault::point("succession.prepared");
    let keys = store.keys();
    let next = next_identity(keys)?;
    let bundle = first_bundle(keys, next)?;
    let change = Change {
        relay: &relay,
        handle: &keys.handle,
        new: next,
        bundle: bundle.clone(),
    };
    let key = match change.publish(&client, &By::Old(&keys.identity)).await? {
        Ok(key) => key,
        Err(NotDone::NotDrained) => bail!(NOT_DRAINED),
        Err(NotDone::Refused(reason)) => bail!("the relay refuses the succession: {reason}"),
        Err(NotDone::Unknown(error)) => return unknown(error),
    };
    fault::point("succession.published");
    move_state(folder, keys, next, &bundle)?;
    fault::point("succession.moved");
    store.keys_mut().api_key = Some(key);
    let former = become_next(&mut store, &bundle)?;
    report(store.keys(), &former);
    Ok(())
}

/// What the old identity has signed and not sent cannot be sent any more.
fn check_sent(args: &NewIdentityArgs, keys: &Keys) -> anyhow::Result<()> {
    let unsent = Store::open(&args.state.state, column_keys(keys)?)?.unsent()?;
    ensure!(
        unsent == 0 || args.give_up_unsent,
        "{unsent} messages wait to be sent: run the proxy until they are, or give them up with --give-up-unsent"
    );
    Ok(())
}

/// Nothing may be lost that only the old keys open. The relay looks again when it takes the succession.
async fn check_drained(url: RelayUrl, keys: &Keys) -> anyhow::Result<()> {
    let key = keys.api_key.as_ref().context("the key store holds no API key")?;
    let client = Client::new(url)?.authorized(key, RelayId::of(&keys.relay.identity), OsRng);
    let queues = match client.queues().await {
        Ok(answer) => answer.queues,
        Err(CallError::Problem(problem)) if problem.problem_type() == Some(ProblemType::Suspended) => {
            bail!("the relay's operator has suspended this agent")
        }
        Err(error) => return Err(error).context("the relay cannot be asked whether mail waits"),
    };
    let waits = queues
        .iter()
        .any(|state| state.queue == Queue::Mail && state.acked < state.head);
    ensure!(!waits, NOT_DRAINED);
    Ok(())
}

/// Durable before anything is published: both identities, and a key that nobody has sealed to.
fn prepare(store: &mut KeyStore) -> anyhow::Result<()> {
    let (now, keys) = (clock::unix(), store.keys_mut());
    keys.bundle_number = now.max(keys.bundle_number + 1);
    if keys.next_identity.is_none() {
        keys.next_identity = Some(IdentitySecret::generate(&mut OsRng));
        let number = keys.bundle_number;
        keys.encryption
            .push(EncryptionRecord::generate(&mut OsRng, number, now));
    }
    Ok(store.save(&mut OsRng)?)
}

fn next_identity(keys: &Keys) -> anyhow::Result<&IdentitySecret> {
    keys.next_identity
        .as_ref()
        .context("the key store holds no identity that follows")
}

/// The recovery key stays the same: it was not used.
fn first_bundle(keys: &Keys, next: &IdentitySecret) -> anyhow::Result<Vec<u8>> {
    let key = keys
        .current_encryption_key()
        .context("the key store holds no encryption key")?;
    let draft = BundleDraft {
        relay: keys.relay_id(),
        handle: &keys.handle,
        recovery: keys.recovery,
        number: keys.bundle_number,
        previous: None,
        suite: key.suite,
        key_number: key.number,
        key: &key.secret,
    };
    Ok(sign_bundle(next, &draft, clock::unix()))
}

/// Conversations get the ids that follow from the new identity, groups are shown as left.
fn move_state(folder: &Path, keys: &Keys, next: &IdentitySecret, bundle: &[u8]) -> anyhow::Result<()> {
    let mut state = Store::open(folder, column_keys(keys)?)?;
    let running = state.running_time()?;
    state.begin()?;
    state.become_identity(next.public())?;
    state.put_own_bundle(bundle)?;
    state.put_rotated_at(running)?;
    Ok(state.commit()?)
}

/// The new identity is the own one, in a new session. The old private key is gone with this.
fn become_next(store: &mut KeyStore, bundle: &[u8]) -> anyhow::Result<Fingerprint> {
    let now = clock::unix();
    let mut session = [0; SessionId::LENGTH];
    OsRng.fill_bytes(&mut session);
    let keys = store.keys_mut();
    let next = keys
        .next_identity
        .take()
        .context("the key store holds no identity that follows")?;
    let former = std::mem::replace(&mut keys.identity, next);
    let current = keys.current_encryption_key().map_or(0, |key| key.number);
    for record in &mut keys.encryption {
        if record.number < current {
            record.superseded_ms.get_or_insert(now);
        }
    }
    keys.session = SessionId::from_bytes(session);
    keys.incarnation = now.max(keys.incarnation + 1);
    keys.bundle = Some(sha256(bundle));
    store.save(&mut OsRng)?;
    Ok(Fingerprint::of(former.public()))
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn report(keys: &Keys, former: &Fingerprint) {
    println!("handle       {}", keys.handle);
    println!("fingerprint  {}", Fingerprint::of(keys.identity.public()));
    println!("former       {former}");
    println!("The recovery key is the one that it was. Groups have to invite this agent anew.");
}
