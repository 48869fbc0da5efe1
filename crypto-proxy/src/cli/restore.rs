//! `waxwire-proxy restore`: an agent from a backup, on a new host (flow 10).
//!
//! The whole backup is read and verified before anything is written. What is written is marked as being
//! restored until the relay has taken lease and bundle; interrupted, the command can be run again.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use waxwire_shared::{fingerprint::Fingerprint, ids::RelayId};

use super::{
    StateArgs,
    init::{column_keys, make_token, meet},
    live, secrets, with_keys,
};
use crate::{
    api::timestamp,
    backup::Backup,
    clock,
    keystore::{Argon2Cost, KeyStore, Keys, LOCK_FILE, STORE_FILE, Status, UnlockOrigin},
    link::{Client, RelayUrl, VerifiedRelay},
    rng::OsRng,
    state::{self, Import, Store},
};

/// Rows between two signs of life on a terminal.
const PROGRESS: u64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP", value_name = "FILE")]
    backup: PathBuf,
    #[command(flatten)]
    state: StateArgs,
    /// Another address of the same relay, with its fingerprint after a `#` if you like.
    #[arg(long, env = "WAXWIRE_PROXY_RELAY", value_name = "URL[#FINGERPRINT]")]
    relay: Option<String>,
    /// File with the passphrase of the backup, in one line; else that of the key store.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_PASSPHRASE_FILE", value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
    /// File with the key of the backup.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_KEY_FILE", value_name = "FILE")]
    backup_key_file: Option<PathBuf>,
    /// Only show what the backup holds, after reading all of it.
    #[arg(long)]
    check: bool,
    /// Allow http:// to a relay on another machine, for an address given with --relay.
    #[arg(long, env = "WAXWIRE_PROXY_INSECURE_RELAY")]
    insecure_relay: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<()> {
    with_keys(restore(args))
}

async fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let named = secrets::named(
        args.backup_passphrase_file.as_ref(),
        args.backup_key_file.as_ref(),
    )?;
    let secret = secrets::of_backup(&args.state, named)?;
    let file = File::open(&args.backup).with_context(|| format!("cannot open {}", args.backup.display()))?;
    let backup = Backup::open(file, &secret)?;
    let found = Found::of(&backup);
    if args.check {
        return found.report(args, None);
    }
    let url = args.relay.as_deref();
    let url = RelayUrl::parse(
        url.unwrap_or(&backup.keys.relay.url),
        url.is_none() || args.insecure_relay,
    )?;
    let client = Client::new(url.clone())?;
    let relay = meet(&client, &url).await?;
    let mut store = write_state(args, backup, &relay)?;
    let key = live::become_live(&client, &relay, &mut store).await?;
    begin_session(&args.state.state, store.keys())?;
    let client = Client::new(url)?.authorized(&key, RelayId::of(&relay.identity), OsRng);
    live::publish(&client, &args.state.state, &mut store).await?;
    let token = make_token(&args.state.state)?;
    store.keys_mut().status = Status::Active;
    store.save(&mut OsRng)?;
    found.report(args, Some(&token))
}

/// Flow 10, step 1: keys and rows, marked as being restored.
fn write_state(args: &RestoreArgs, backup: Backup<File>, relay: &VerifiedRelay) -> anyhow::Result<KeyStore> {
    let folder = &args.state.state;
    ensure!(
        relay.identity == backup.keys.relay.identity,
        "another relay answers than the one in the backup: its fingerprint is {}",
        relay.fingerprint()
    );
    let (unlock, origin) = args.state.unlock_sources().find(folder)?;
    clear_interrupted(folder, &unlock, &backup.keys)?;
    if origin == UnlockOrigin::Beside {
        tracing::warn!(
            "no passphrase or key file was named: the key lies beside the store, whoever copies {} has both",
            folder.display()
        );
    }
    let (mut keys, mut rest) = backup.into_keys();
    keys.status = Status::Restoring;
    if let Some(url) = &args.relay {
        url.split('#')
            .next()
            .unwrap_or_default()
            .clone_into(&mut keys.relay.url);
    }
    let store = KeyStore::create(folder, &unlock, Argon2Cost::default(), keys, &mut OsRng)?;
    let mut import = Import::begin(folder, rest.manifest.schema)?;
    rest.unpack(&mut import, progress())?;
    import.finish()?;
    // Opens only if it belongs to these keys.
    Store::open(folder, column_keys(store.keys())?)?;
    Ok(store)
}

/// Removes what an interrupted restore of the same identity has left; nothing else.
fn clear_interrupted(folder: &Path, unlock: &crate::keystore::Unlock, keys: &Keys) -> anyhow::Result<()> {
    if !folder.join(STORE_FILE).exists() {
        return Ok(());
    }
    let store = KeyStore::open(folder, unlock)?;
    let same = store.keys().identity.public() == keys.identity.public();
    if store.keys().status != Status::Restoring || !same {
        bail!(
            "{} holds an agent already: restore into an empty folder",
            folder.display()
        );
    }
    let database = ["", "-wal", "-shm"].map(|end| format!("{}{end}", state::FILE));
    let names = database.iter().map(String::as_str);
    // The key store last: without it nothing says whose the rest is.
    for name in names.chain([LOCK_FILE, STORE_FILE]) {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Own numbers begin anew, and groups get new keys before anything is sealed to them.
fn begin_session(folder: &Path, keys: &Keys) -> anyhow::Result<()> {
    let mut state = Store::open(folder, column_keys(keys)?)?;
    let running = state.running_time()?;
    state.begin()?;
    state.begin_restored(&keys.session)?;
    state.put_rotated_at(running)?;
    Ok(state.commit()?)
}

/// Tells people at a terminal that it goes on.
#[expect(clippy::print_stderr, reason = "people watch it")]
fn progress() -> impl FnMut(u64) {
    let watched = io::stderr().is_terminal();
    move |rows| {
        if watched && rows % PROGRESS == 0 {
            eprint!("\r{rows} rows");
        }
    }
}

/// What a backup holds, for the operator.
struct Found {
    handle: String,
    fingerprint: Fingerprint,
    made_at: u64,
    history: bool,
    messages: u64,
}

impl Found {
    fn of(backup: &Backup<File>) -> Self {
        Self {
            handle: backup.keys.handle.to_string(),
            fingerprint: Fingerprint::of(backup.keys.identity.public()),
            made_at: backup.manifest.made_at,
            history: backup.manifest.history,
            messages: backup.totals.messages,
        }
    }

    #[expect(clippy::print_stdout, reason = "the command's result")]
    fn report(&self, args: &RestoreArgs, token: Option<&Path>) -> anyhow::Result<()> {
        let age = clock::unix().saturating_sub(self.made_at) / 1_000;
        if args.json {
            println!("{}", self.as_json(age, token));
            return Ok(());
        }
        println!("handle       {}", self.handle);
        println!("fingerprint  {}", self.fingerprint);
        println!("made         {} hours ago", age / 3_600);
        let history = if self.history {
            "with history"
        } else {
            "without history"
        };
        println!("messages     {}, {history}", self.messages);
        if let Some(token) = token {
            println!("token        {}", token.display());
            println!("This is the live instance now; whichever was it before has been told to stop.");
        }
        Ok(())
    }
    fn as_json(&self, age: u64, token: Option<&Path>) -> Value {
        json!({
            "restored": token.is_some(),
            "handle": self.handle,
            "fingerprint": self.fingerprint.to_string(),
            "made_at": timestamp::display(self.made_at),
            "age_seconds": age,
            "history": self.history,
            "messages": self.messages,
            "token": token,
        })
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::identity::IdentityKey;

    use super::*;

    #[test]
    fn time_of_a_backup_is_rfc_3339() {
        let found = Found {
            handle: "alice".to_owned(),
            fingerprint: Fingerprint::of(&IdentityKey::ed25519([1; 32])),
            made_at: 1_795_369_148_007,
            history: false,
            messages: 2,
        };
        assert_eq!(found.as_json(9, None)["made_at"], "2026-11-22T17:39:08.007Z");
    }
}
