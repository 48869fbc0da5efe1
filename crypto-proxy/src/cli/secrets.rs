//! The passphrase or key file of a second file: a backup, or a key store that is locked anew.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::StateArgs;
use crate::keystore::{Unlock, UnlockOrigin, UnlockSources};

/// What a named pair of options says; nothing if neither was given.
pub(super) fn named(
    passphrase_file: Option<&PathBuf>,
    key_file: Option<&PathBuf>,
) -> anyhow::Result<Option<Unlock>> {
    if passphrase_file.is_none() && key_file.is_none() {
        return Ok(None);
    }
    let sources = UnlockSources {
        passphrase_file: passphrase_file.cloned(),
        key_file: key_file.cloned(),
        credentials: None,
    };
    let (unlock, _) = sources.find(Path::new(""))?;
    Ok(Some(unlock))
}

/// What unlocks a backup: what was named for it, or else what unlocks the key store. The key that lies
/// in the state folder is lost with it and does not count.
pub(super) fn of_backup(state: &StateArgs, named: Option<Unlock>) -> anyhow::Result<Unlock> {
    if let Some(unlock) = named {
        return Ok(unlock);
    }
    match state.unlock_sources().find(&state.state)? {
        (_, UnlockOrigin::Beside) => bail!(
            "name a passphrase or a key file for the backup: --backup-passphrase-file or --backup-key-file"
        ),
        (unlock, _) => Ok(unlock),
    }
}
