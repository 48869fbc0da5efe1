//! Flags of `run` for wake-ups by the relay.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, path::PathBuf, sync::Arc};

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use waxwire_shared::target::Target;
use zeroize::Zeroizing;

use crate::{
    hook::{HookListener, HookSecret, Registration},
    link::{Client, LinkCommand, LinkStatus},
};

#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// Where the relay may wake this proxy: an address with a port. Only signed calls of POST /hook are
    /// heard there.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_HOOK_LISTEN",
        value_name = "ADDRESS",
        requires = "hook_secret_file"
    )]
    hook_listen: Option<SocketAddr>,
    /// File with the secret that signs the relay's calls, in one line of 16 to 256 bytes.
    #[arg(long, env = "WAXWIRE_PROXY_HOOK_SECRET_FILE", value_name = "FILE")]
    hook_secret_file: Option<PathBuf>,
    /// Under which URL the relay reaches --hook-listen; it is told so, with the secret.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_HOOK_URL",
        value_name = "URL",
        requires = "hook_secret_file"
    )]
    hook_url: Option<String>,
}

/// What a hook works with.
pub(super) struct Surroundings<'a> {
    /// The state folder.
    pub(super) folder: &'a Path,
    /// Calls the relay.
    pub(super) client: Arc<Client>,
    /// Wakes the link.
    pub(super) link: mpsc::UnboundedSender<LinkCommand>,
    /// How the link is.
    pub(super) status: watch::Receiver<LinkStatus>,
    /// Ends all of it.
    pub(super) cancel: CancellationToken,
}

impl HookArgs {
    /// Listens, and tells the relay where; what runs then ends with the cancellation.
    pub(super) async fn start(&self, around: Surroundings<'_>) -> anyhow::Result<TaskTracker> {
        let tasks = TaskTracker::new();
        if let Some(url) = &self.hook_url {
            Target::parse(url).context("--hook-url")?;
        }
        let secret = self.hook_secret_file.as_deref().map(read_secret).transpose()?;
        let secret = secret.map(Arc::new);
        if let (Some(address), Some(secret)) = (self.hook_listen, &secret) {
            let listener = HookListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address}"))?;
            tracing::info!(address = %listener.address()?, "the relay may wake this proxy");
            let serving = listener.serve(Arc::clone(secret), around.link, around.cancel.clone());
            tasks.spawn(serving);
        }
        let registration = Registration {
            url: self.hook_url.clone(),
            secret,
            folder: around.folder.to_owned(),
        };
        if registration.is_due() {
            tasks.spawn(registration.run(around.client, around.status, around.cancel));
        }
        tasks.close();
        Ok(tasks)
    }
}

fn read_secret(path: &Path) -> anyhow::Result<HookSecret> {
    let failed = || format!("cannot read {}", path.display());
    let mode = std::fs::metadata(path).with_context(failed)?.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "permissions {mode:03o} of {} are too open for a secret, at most 600 is accepted",
        path.display()
    );
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(failed)?;
    HookSecret::parse(&text).with_context(|| path.display().to_string())
}
