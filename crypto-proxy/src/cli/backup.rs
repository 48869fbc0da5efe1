//! `waxwire-proxy backup`: a sealed copy of keys and state, while the proxy runs or not.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use waxwire_shared::fingerprint::Fingerprint;

use super::{StateArgs, secrets};
use crate::{
    api::timestamp,
    backup::{self, Totals},
    clock, harden,
    keystore::{Argon2Cost, KeyStore, Keys, Status},
    rng::OsRng,
};

/// Rows between two signs of life on a terminal.
const PROGRESS: u64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    state: StateArgs,
    /// File to write; it must not exist.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_OUT", value_name = "FILE")]
    out: PathBuf,
    /// With all messages; without, only those that the agent has not taken yet.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_HISTORY")]
    history: bool,
    /// File with a passphrase for the backup, in one line; else it is sealed as the key store is.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_PASSPHRASE_FILE", value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
    /// File with a key for the backup; made if it is missing.
    #[arg(long, env = "WAXWIRE_PROXY_BACKUP_KEY_FILE", value_name = "FILE")]
    backup_key_file: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BackupArgs) -> anyhow::Result<()> {
    harden::harden()?;
    OsRng::check()?;
    let out = &args.out;
    ensure!(
        args.force || !out.exists(),
        "{} exists; --force replaces it",
        out.display()
    );
    let folder = &args.state.state;
    let (unlock, _) = args.state.unlock_sources().find(folder)?;
    let keys = KeyStore::read(folder, &unlock)?;
    if keys.status != Status::Active {
        bail!("the agent is not set up: there is nothing to keep yet");
    }
    let named = secrets::named(
        args.backup_passphrase_file.as_ref(),
        args.backup_key_file.as_ref(),
    )?;
    let secret = secrets::of_backup(&args.state, named)?;
    let made_at = clock::unix();
    let part = out.with_extension("part");
    let written = write(&part, |file| {
        let secret = (&secret, Argon2Cost::default());
        backup::write(
            file,
            folder,
            &keys,
            secret,
            (made_at, args.history),
            &mut OsRng,
            progress(),
        )
    });
    let totals = written.and_then(|totals| {
        take_name(&part, out, args.force)?;
        Ok(totals)
    });
    let totals = totals.inspect_err(|_| drop(fs::remove_file(&part)))?;
    report(args, &keys, made_at, &totals)
}

/// Writes a new file that its owner alone can read, and flushes it.
fn write<T, E: Into<anyhow::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut io::BufWriter<File>) -> Result<T, E>,
) -> anyhow::Result<T> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = io::BufWriter::new(file);
    let done = fill(&mut file).map_err(Into::into)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(done)
}

/// The file gets its name in one step; never that of another file, unless asked.
fn take_name(part: &Path, out: &Path, force: bool) -> anyhow::Result<()> {
    let named = if force {
        fs::rename(part, out)
    } else {
        fs::hard_link(part, out).and_then(|()| fs::remove_file(part))
    };
    named.with_context(|| format!("cannot make {}", out.display()))?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// Tells people at a terminal that it goes on.
#[expect(clippy::print_stderr, reason = "people watch it")]
fn progress() -> impl FnMut(&Totals) {
    let watched = io::stderr().is_terminal();
    move |totals| {
        if watched && totals.rows % PROGRESS == 0 && totals.rows > 0 {
            eprint!("\r{} rows, {} MiB", totals.rows, totals.bytes >> 20);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn report(args: &BackupArgs, keys: &Keys, made_at: u64, totals: &Totals) -> anyhow::Result<()> {
    if args.json {
        println!("{}", as_json(&args.out, args.history, keys, made_at, totals));
    } else {
        println!("backup       {}", args.out.display());
        println!("handle       {}", keys.handle);
        println!("fingerprint  {}", Fingerprint::of(keys.identity.public()));
        println!("messages     {}", totals.messages);
        println!("bytes        {}", totals.bytes);
    }
    Ok(())
}

fn as_json(out: &Path, history: bool, keys: &Keys, made_at: u64, totals: &Totals) -> Value {
    json!({
        "file": out,
        "handle": keys.handle.as_str(),
        "fingerprint": Fingerprint::of(keys.identity.public()).to_string(),
        "made_at": timestamp::display(made_at),
        "history": history,
        "messages": totals.messages,
        "rows": totals.rows,
        "bytes": totals.bytes,
    })
}

#[cfg(test)]
mod tests {
    use waxwire_shared::ids::Hash;

    use super::*;
    use crate::{crypto::secret::IdentitySecret, keystore::RelayPin};

    #[test]
    fn time_of_a_backup_is_rfc_3339() {
        let pin = RelayPin {
            identity: IdentitySecret::generate(&mut OsRng).public().clone(),
            url: "http://localhost".to_owned(),
        };
        let handle = "alice".parse().unwrap();
        let keys = Keys::generate(&mut OsRng, handle, pin, Hash::from_bytes([1; 32]), 0);
        let totals = Totals {
            rows: 3,
            messages: 2,
            bytes: 1,
        };
        let shown = as_json(Path::new("a.backup"), true, &keys, 1_795_369_148_007, &totals);
        assert_eq!(shown["made_at"], "2026-11-22T17:39:08.007Z");
    }
}
