//! `waxwire-proxy init`: keys, the relay's pin, registration, the state folder.
//!
//! Interrupted at any step it can be run again: keys that were made and never registered are used
//! on, with a recovery key of their own.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use rand_core::Rng as _;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, Purpose, RegisterRequest},
    },
    fingerprint::Fingerprint,
    hash::sha256,
    ids::{Handle, Nonce32},
};

use super::{StateArgs, undo::Before, with_keys};
use crate::{
    clock,
    credential::ApiKey,
    crypto::{recovery::RecoverySecret, secret::StateMasterKey},
    engine::{BundleDraft, sign_bundle},
    keystore::{Argon2Cost, KeyStore, KeyStoreError, Keys, RelayPin, STORE_FILE, Status, UnlockOrigin},
    link::{CallError, Client, Possession, RelayUrl, VerifiedRelay, verify_relay},
    rng::OsRng,
    state::{ColumnKeys, Store},
};

/// File of the local API's bearer token inside the state folder.
pub(super) const TOKEN_FILE: &str = "token";

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// URL of the relay, with its fingerprint after a `#` where it is known.
    #[arg(long, env = "WAXWIRE_PROXY_RELAY", value_name = "URL[#FINGERPRINT]")]
    relay: String,
    /// Handle to register: 3 to 30 lower-case letters, digits and single hyphens.
    #[arg(long, env = "WAXWIRE_PROXY_HANDLE", value_name = "NAME")]
    handle: Handle,
    #[command(flatten)]
    state: StateArgs,
    /// Invite code, where the relay asks for one.
    #[arg(long, env = "WAXWIRE_PROXY_INVITE", value_name = "CODE")]
    invite: Option<String>,
    /// Write the recovery key to this new file instead of standard output.
    #[arg(long, env = "WAXWIRE_PROXY_RECOVERY_FILE", value_name = "FILE")]
    recovery_file: Option<PathBuf>,
    /// Allow http:// to a relay on another machine. Envelopes stay sealed; the API key does not.
    #[arg(long, env = "WAXWIRE_PROXY_INSECURE_RELAY")]
    insecure_relay: bool,
}

pub(super) fn run(args: &InitArgs) -> anyhow::Result<()> {
    with_keys(init(args))
}

async fn init(args: &InitArgs) -> anyhow::Result<()> {
    let url = RelayUrl::parse(&args.relay, args.insecure_relay)?;
    if let Some(file) = args.recovery_file.as_ref().filter(|file| file.exists()) {
        bail!("{} exists; the recovery key would overwrite it", file.display());
    }
    let client = Client::new(url.clone())?;
    let relay = meet(&client, &url).await?;
    let recovery = RecoverySecret::generate(&mut OsRng);
    let before = Before::look(&args.state.state);
    let setup = Setup {
        relay: &args.relay,
        handle: &args.handle,
        state: &args.state,
    };
    let mut store = make_keys(&setup, &relay, &recovery)?;
    make_state(&args.state.state, store.keys())?;
    let Some(registered) = register(&client, &relay, store.keys(), args.invite.clone()).await? else {
        drop(store);
        before.restore().context("the new keys cannot be removed")?;
        bail!(
            "the handle {} is taken on this relay; nothing was left behind, choose another one",
            args.handle
        );
    };
    let token = make_token(&args.state.state)?;
    note_bundle(&args.state.state, store.keys(), &registered.bundle)?;
    let keys = store.keys_mut();
    keys.api_key = Some(registered.api_key);
    keys.bundle = Some(sha256(&registered.bundle));
    keys.status = Status::Active;
    store.save(&mut OsRng)?;
    report(store.keys(), &relay, &token);
    tell_recovery(&recovery, args.recovery_file.as_deref())
}

/// Which agent is set up, and where.
pub(super) struct Setup<'a> {
    pub(super) relay: &'a str,
    pub(super) handle: &'a Handle,
    pub(super) state: &'a StateArgs,
}

/// Asks the relay who it is and compares with the fingerprint in the URL.
pub(super) async fn meet(client: &Client, url: &RelayUrl) -> anyhow::Result<VerifiedRelay> {
    let nonce = nonce();
    let info = client
        .relay_info(&nonce)
        .await
        .context("the relay cannot be asked who it is")?;
    let relay = verify_relay(&info, &nonce)?;
    if let Some(fingerprint) = url.fingerprint() {
        relay.require_fingerprint(fingerprint).with_context(|| {
            format!(
                "the relay's fingerprint is {}, another was given",
                relay.fingerprint()
            )
        })?;
    }
    Ok(relay)
}

pub(super) fn nonce() -> Nonce32 {
    let mut bytes = [0; Nonce32::LENGTH];
    OsRng.fill_bytes(&mut bytes);
    Nonce32::from_bytes(bytes)
}

/// New keys, or those of a setup for the same handle and relay that did not come to its end.
pub(super) fn make_keys(
    setup: &Setup<'_>,
    relay: &VerifiedRelay,
    recovery: &RecoverySecret,
) -> anyhow::Result<KeyStore> {
    let folder = &setup.state.state;
    let (unlock, origin) = setup.state.unlock_sources().find(folder)?;
    if folder.join(STORE_FILE).exists() {
        let mut store = KeyStore::open(folder, &unlock)?;
        let keys = store.keys_mut();
        let same = keys.handle == *setup.handle && keys.relay.identity == relay.identity;
        if keys.status != Status::New || !same {
            return Err(KeyStoreError::AlreadyExists {
                path: folder.join(STORE_FILE),
            }
            .into());
        }
        keys.recovery = recovery.hash();
        keys.bundle_number = clock::unix().max(keys.bundle_number + 1);
        store.save(&mut OsRng)?;
        return Ok(store);
    }
    if origin == UnlockOrigin::Beside {
        tracing::warn!(
            "no passphrase or key file was named: the key lies beside the store, whoever copies {} has both",
            folder.display()
        );
    }
    let url = setup.relay.split('#').next().unwrap_or_default().to_owned();
    let pin = RelayPin {
        identity: relay.identity.clone(),
        url,
    };
    let now = clock::unix();
    let keys = Keys::generate(&mut OsRng, setup.handle.clone(), pin, recovery.hash(), now);
    Ok(KeyStore::create(
        folder,
        &unlock,
        Argon2Cost::default(),
        keys,
        &mut OsRng,
    )?)
}

/// The empty state database.
pub(super) fn make_state(folder: &Path, keys: &Keys) -> anyhow::Result<()> {
    if folder.join(crate::state::FILE).exists() {
        return Ok(());
    }
    let mut tag = [0; 8];
    OsRng.fill_bytes(&mut tag);
    Store::create(folder, column_keys(keys)?, tag, clock::unix())?;
    Ok(())
}

/// The handle had bundles before, which this state does not know.
pub(super) fn note_bundles_begin_late(folder: &Path, keys: &Keys) -> anyhow::Result<()> {
    Ok(Store::open(folder, column_keys(keys)?)?.note_bundles_begin_late()?)
}

/// The relay has this bundle: the state says when it has to be renewed.
pub(super) fn note_bundle(folder: &Path, keys: &Keys, bundle: &[u8]) -> anyhow::Result<()> {
    let mut state = Store::open(folder, column_keys(keys)?)?;
    state.begin()?;
    state.put_own_bundle(bundle)?;
    Ok(state.commit()?)
}

/// The keys of the state database.
pub(super) fn column_keys(keys: &Keys) -> anyhow::Result<Arc<ColumnKeys>> {
    let master = StateMasterKey::from_slice(keys.state_master.expose_bytes())?;
    Ok(Arc::new(ColumnKeys::new(master)))
}

/// What registration gave.
struct Registration {
    api_key: ApiKey,
    bundle: Vec<u8>,
}

/// Proves possession of the identity key to this relay and publishes the first bundle. `None` if
/// the handle is taken: the keys were made for it and are of no use.
async fn register(
    client: &Client,
    relay: &VerifiedRelay,
    keys: &Keys,
    invite: Option<String>,
) -> anyhow::Result<Option<Registration>> {
    let possession = Possession {
        purpose: Purpose::Register,
        handle: &keys.handle,
        identity: &keys.identity,
        relay: &relay.identity,
    };
    let nonce = nonce();
    let challenge = client.challenge(&possession.request(nonce)).await?.challenge;
    let proof = possession.answer(&challenge.0, &nonce)?;
    let bundle = sign_current_bundle(keys)?;
    let request = RegisterRequest {
        challenge,
        proof,
        bundle: Base64Bytes(bundle.clone()),
        invite,
    };
    let registered = match client.register(&request).await {
        Err(CallError::Problem(problem)) => match problem.problem_type() {
            Some(ProblemType::HandleTaken) => return Ok(None),
            Some(ProblemType::RegistrationClosed) => {
                bail!("the relay registers nobody without a valid invite code (--invite)")
            }
            _ => bail!(
                "the relay refuses the registration: {}",
                problem.detail.unwrap_or(problem.title)
            ),
        },
        answer => answer?,
    };
    ensure!(
        registered.agent_id == keys.agent_id(),
        "the relay answered with the id of another agent"
    );
    Ok(Some(Registration {
        api_key: ApiKey::new(registered.api_key)?,
        bundle,
    }))
}

/// The own bundle of the number and with the key that the key store says.
pub(super) fn sign_current_bundle(keys: &Keys) -> anyhow::Result<Vec<u8>> {
    let key = keys
        .current_encryption_key()
        .context("the key store holds no encryption key")?;
    let draft = BundleDraft {
        relay: keys.relay_id(),
        handle: &keys.handle,
        recovery: keys.recovery,
        number: keys.bundle_number,
        previous: keys.bundle,
        suite: key.suite,
        key_number: key.number,
        key: &key.secret,
    };
    Ok(sign_bundle(&keys.identity, &draft, clock::unix()))
}

/// The bearer token of the local API: `wx_` and 43 characters, mode 0600.
pub(super) fn make_token(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(TOKEN_FILE);
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    OsRng.fill_bytes(bytes.as_mut_slice());
    let line = zeroize::Zeroizing::new(format!("wx_{}\n", URL_SAFE_NO_PAD.encode(bytes.as_slice())));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn report(keys: &Keys, relay: &VerifiedRelay, token: &Path) {
    println!("handle       {}", keys.handle);
    println!("fingerprint  {}", Fingerprint::of(keys.identity.public()));
    println!("relay        {} {}", keys.relay.url, relay.fingerprint());
    println!("token        {}", token.display());
}

/// Shows the recovery key once, or writes it to a new file.
#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn tell_recovery(recovery: &RecoverySecret, file: Option<&Path>) -> anyhow::Result<()> {
    let text = recovery.expose_text();
    match file {
        None => {
            println!("recovery key {}", text.as_str());
            println!("Keep the recovery key apart from this machine; it is shown only now.");
        }
        Some(path) => {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            writeln!(file, "{}", text.as_str())?;
            file.sync_all()?;
            println!("recovery key written to {}", path.display());
        }
    }
    Ok(())
}
