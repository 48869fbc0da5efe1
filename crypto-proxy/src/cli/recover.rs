//! `waxwire-proxy recover`: keys and backups are lost, the recovery key is not (flow 11, step 1).
//!
//! Like `init` into an empty folder, and interrupted at any step it can be run again: the identity that was made
//! is used on. The handle goes to it by the signature of the recovery key, which is spent by that; a new
//! one is shown.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use waxwire_shared::{
    fingerprint::Fingerprint,
    hash::sha256,
    identity::IdentityKey,
    ids::{Handle, RelayId},
    sign::Verified,
    wire::Bundle,
};
use zeroize::Zeroizing;

use super::{
    StateArgs,
    init::{
        Setup, make_keys, make_state, make_token, meet, note_bundle, note_bundles_begin_late, report,
        sign_current_bundle, tell_recovery,
    },
    live,
    succession::{By, Change, NotDone, unknown},
    undo::Before,
    with_keys,
};
use crate::{
    crypto::recovery::RecoverySecret,
    fault,
    keystore::{KeyStore, STORE_FILE, Status},
    link::{Client, RelayUrl, VerifiedRelay},
    rng::OsRng,
};

/// Longest file with a recovery key.
const TEXT: u64 = 4_096;

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// URL of the relay, with its fingerprint after a `#` where it is known.
    #[arg(long, env = "WAXWIRE_PROXY_RELAY", value_name = "URL[#FINGERPRINT]")]
    relay: String,
    /// The handle whose keys are lost.
    #[arg(long, env = "WAXWIRE_PROXY_HANDLE", value_name = "NAME")]
    handle: Handle,
    #[command(flatten)]
    state: StateArgs,
    /// File with the recovery key that `init` showed; standard input if it is not named.
    #[arg(long, value_name = "FILE")]
    recovery_file: Option<PathBuf>,
    /// Write the new recovery key to this new file instead of standard output.
    #[arg(long, value_name = "FILE")]
    new_recovery_file: Option<PathBuf>,
    /// Fingerprint of the identity that is lost, where it is known: any other is refused.
    #[arg(long, value_name = "FINGERPRINT")]
    former: Option<Fingerprint>,
    /// Allow http:// to a relay on another machine. Envelopes stay sealed; the API key does not.
    #[arg(long, env = "WAXWIRE_PROXY_INSECURE_RELAY")]
    insecure_relay: bool,
}

pub(super) fn run(args: &RecoverArgs) -> anyhow::Result<()> {
    with_keys(recover(args))
}

async fn recover(args: &RecoverArgs) -> anyhow::Result<()> {
    let recovery = read_recovery(args)?;
    let url = RelayUrl::parse(&args.relay, args.insecure_relay)?;
    if let Some(file) = args.new_recovery_file.as_ref().filter(|file| file.exists()) {
        bail!("{} exists; the recovery key would overwrite it", file.display());
    }
    let client = Client::new(url.clone())?;
    let relay = meet(&client, &url).await?;
    let folder = &args.state.state;
    let (before, resumes) = (Before::look(folder), folder.join(STORE_FILE).exists());
    let lost = lost_identity(args, &client, &relay, &recovery).await?;
    ensure!(
        lost.is_some() || resumes,
        "the relay knows no agent {} with this recovery key; nothing was left behind",
        args.handle
    );
    let next = RecoverySecret::generate(&mut OsRng);
    let setup = Setup {
        relay: &args.relay,
        handle: &args.handle,
        state: &args.state,
    };
    let mut store = make_keys(&setup, &relay, &next)?;
    make_state(folder, store.keys())?;
    fault::point("recover.made");
    match &lost {
        Some(lost) => {
            let by = By::Recovery(&recovery, lost);
            if let Err(refused) = follow(&client, &relay, &mut store, &by, args).await? {
                drop(store);
                if !resumes {
                    before.restore().context("the new keys cannot be removed")?;
                }
                bail!("the relay refuses the succession: {refused}; nothing was left behind");
            }
        }
        // It has come this far before: the handle is this identity's already.
        None => take_up(url, &client, &relay, &mut store, args).await?,
    }
    let token = make_token(folder)?;
    store.keys_mut().status = Status::Active;
    store.save(&mut OsRng)?;
    report(store.keys(), &relay, &token);
    if let Some(lost) = &lost {
        tell_former(lost);
    }
    tell_recovery(&next, args.new_recovery_file.as_deref())
}

/// The recovery key, from the file or standard input.
fn read_recovery(args: &RecoverArgs) -> anyhow::Result<RecoverySecret> {
    let mut text = Zeroizing::new(String::new());
    match &args.recovery_file {
        Some(path) => File::open(path)
            .and_then(|file| file.take(TEXT).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", path.display()))?,
        None => io::stdin()
            .take(TEXT)
            .read_to_string(&mut text)
            .context("cannot read the recovery key from standard input")?,
    };
    Ok(RecoverySecret::parse(&text)?)
}

/// The identity that holds the handle and names this recovery key, as its own signature says.
async fn lost_identity(
    args: &RecoverArgs,
    client: &Client,
    relay: &VerifiedRelay,
    recovery: &RecoverySecret,
) -> anyhow::Result<Option<IdentityKey>> {
    let answer = client.holder(&args.handle, recovery.public()).await;
    let Some(answer) = answer.context("the relay cannot be asked whose the handle is")? else {
        return Ok(None);
    };
    let verified = Verified::<Bundle>::from_bytes(&answer.bundle.0, |bundle| &bundle.identity)?;
    let bundle = verified.body();
    ensure!(
        bundle.relay == RelayId::of(&relay.identity)
            && bundle.handle == args.handle
            && bundle.recovery == recovery.hash(),
        "the relay shows a bundle that does not name this recovery key for {}",
        args.handle
    );
    let shown = Fingerprint::of(&bundle.identity);
    ensure!(
        args.former.is_none_or(|former| former == shown),
        "the relay says that {} had the fingerprint {shown}, another was given",
        args.handle
    );
    Ok(Some(bundle.identity.clone()))
}

/// The handle goes to the new identity. What the relay refuses for good is given as text.
async fn follow(
    client: &Client,
    relay: &VerifiedRelay,
    store: &mut KeyStore,
    by: &By<'_>,
    args: &RecoverArgs,
) -> anyhow::Result<Result<(), String>> {
    let keys = store.keys();
    let bundle = sign_current_bundle(keys)?;
    let change = Change {
        relay,
        handle: &keys.handle,
        new: &keys.identity,
        bundle: bundle.clone(),
    };
    let key = match change.publish(client, by).await? {
        Ok(key) => key,
        Err(NotDone::Unknown(error)) => return unknown(error),
        Err(NotDone::Refused(reason)) => return Ok(Err(reason)),
        // By the recovery key nothing is waited for.
        Err(NotDone::NotDrained) => return Ok(Err("it has mail".to_owned())),
    };
    fault::point("recover.published");
    note_bundle(&args.state.state, store.keys(), &bundle)?;
    note_bundles_begin_late(&args.state.state, store.keys())?;
    let keys = store.keys_mut();
    keys.api_key = Some(key);
    keys.bundle = Some(sha256(&bundle));
    Ok(Ok(()))
}

/// The succession was published by an earlier run that did not come to its end: a new API key, and a
/// bundle that names the new recovery key.
async fn take_up(
    url: RelayUrl,
    client: &Client,
    relay: &VerifiedRelay,
    store: &mut KeyStore,
    args: &RecoverArgs,
) -> anyhow::Result<()> {
    let key = live::become_live(client, relay, store)
        .await
        .context("neither the recovery key nor the keys in this folder are those of the handle")?;
    let client = Client::new(url)?.authorized(&key, RelayId::of(&relay.identity), OsRng);
    live::publish(&client, &args.state.state, store).await
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn tell_former(lost: &IdentityKey) {
    println!("former       {}", Fingerprint::of(lost));
}
