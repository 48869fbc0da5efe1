//! Where the programs under test are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// A program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `waxwire-relay`; `WAXWIRE_TEST_RELAY` names another file.
    Relay,
    /// `waxwire-proxy`; `WAXWIRE_TEST_PROXY` names another file.
    Proxy,
}

impl Binary {
    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "waxwire-relay",
            Self::Proxy => "waxwire-proxy",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Relay => "WAXWIRE_TEST_RELAY",
            Self::Proxy => "WAXWIRE_TEST_PROXY",
        }
    }

    /// The file: what the environment names, else next to the running test or demo.
    ///
    /// # Errors
    /// It has not been built; the text says how.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        if let Some(path) = env::var_os(self.variable()) {
            return Ok(path.into());
        }
        let own = env::current_exe().context("the path of this program")?;
        // Tests lie in target/PROFILE/deps, programs one folder up.
        let folders = own.ancestors().skip(1).take(2);
        let found = folders
            .map(|folder| folder.join(self.name()))
            .find(|path| path.is_file());
        match found {
            Some(path) => Ok(path),
            None => bail!(
                "{} is not built. Run: cargo build --bin waxwire-relay --bin waxwire-proxy \
                 --features waxwire-proxy/fault-points (or name it in {})",
                self.name(),
                self.variable()
            ),
        }
    }

    /// A command for it that inherits no setting: a clean environment with `folder` as home and
    /// working directory.
    ///
    /// # Errors
    /// See [`Self::path`].
    pub fn command(self, folder: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(self.path()?);
        command.env_clear().env("HOME", folder).current_dir(folder);
        command.env("RUST_BACKTRACE", "1");
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        Ok(command)
    }
}
