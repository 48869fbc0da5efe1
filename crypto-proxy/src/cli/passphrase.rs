//! `waxwire-proxy passphrase`: another passphrase or key file for the key store.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{StateArgs, secrets};
use crate::{
    harden,
    keystore::{Argon2Cost, KEY_FILE, KeyStore, UnlockKind, UnlockOrigin},
    rng::OsRng,
};

#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    #[command(flatten)]
    state: StateArgs,
    /// File with the new passphrase, in one line.
    #[arg(long, env = "WAXWIRE_PROXY_NEW_PASSPHRASE_FILE", value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// File with the new key; made if it is missing.
    #[arg(long, env = "WAXWIRE_PROXY_NEW_KEY_FILE", value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn run(args: &PassphraseArgs) -> anyhow::Result<()> {
    harden::harden()?;
    OsRng::check()?;
    let folder = &args.state.state;
    let new = secrets::named(args.new_passphrase_file.as_ref(), args.new_key_file.as_ref())?;
    let new = new.context("name the new secret: --new-passphrase-file or --new-key-file")?;
    let (unlock, origin) = args.state.unlock_sources().find(folder)?;
    let mut store = KeyStore::open(folder, &unlock)?;
    store.relock(&new, Argon2Cost::default(), &mut OsRng)?;
    let beside = folder.join(KEY_FILE);
    let is_beside = args.new_key_file.as_ref().is_some_and(|file| *file == beside);
    if origin == UnlockOrigin::Beside && !is_beside {
        // It opens nothing any more but older copies.
        fs::remove_file(&beside).with_context(|| format!("cannot remove {}", beside.display()))?;
    }
    match new.kind() {
        UnlockKind::Passphrase => println!("The key store is unlocked by the new passphrase now."),
        UnlockKind::KeyFile => println!("The key store is unlocked by the new key file now."),
    }
    println!("Older copies of it, and backups, are unlocked as before.");
    Ok(())
}
