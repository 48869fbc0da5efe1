//! Throw-away Redis servers for relay nodes, by `scripts/redis`.

use crate::throwaway::Throwaway;

/// A server. It ends with the process that started it, and cleans up.
#[derive(Debug)]
pub struct Server(Throwaway);

impl Server {
    /// A new one.
    ///
    /// # Errors
    /// It does not start; `scripts/setup` installs what it needs.
    pub fn start() -> anyhow::Result<Self> {
        Throwaway::start("redis", &[]).map(Self)
    }

    /// One that speaks TLS only. [`certificate`](crate::certificate) has what it shows.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_with_tls() -> anyhow::Result<Self> {
        Throwaway::start("redis", &["--tls"]).map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// Its script has ended.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.0.kill()
    }

    /// Starts it again, at the same place and with nothing in it.
    ///
    /// # Errors
    /// It does not start.
    pub fn revive(&self) -> anyhow::Result<()> {
        self.0.revive()
    }
}
