//! Listening and accepting.

use std::{
    fmt, io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{StartError, connection::Protocol};
use crate::config::Listen;

/// How long accepting rests after it failed, so that it does not spin when files run out.
const REST: Duration = Duration::from_millis(100);

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The address with its port.
    Tcp(SocketAddr),
    /// The socket file.
    Unix(PathBuf),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Bound {
    /// Removes the socket file, if it is one.
    pub(super) fn clean_up(&self) {
        if let Self::Unix(path) = self {
            // Somebody else may have removed it.
            drop(std::fs::remove_file(path));
        }
    }
}

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(super) async fn bind(listen: &Listen) -> Result<(Listener, Bound), StartError> {
    let failed = |source| StartError::Listen {
        address: listen.to_string(),
        source,
    };
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
            let bound = Bound::Tcp(listener.local_addr().map_err(failed)?);
            Ok((Listener::Tcp(listener), bound))
        }
        Listen::Unix(path) => {
            remove_stale(path).await;
            let listener = UnixListener::bind(path).map_err(failed)?;
            Ok((Listener::Unix(listener), Bound::Unix(path.clone())))
        }
    }
}

/// Removes a socket file that nobody listens on: one that a killed relay left.
async fn remove_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if !is_socket {
        return;
    }
    if let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        // If it cannot be removed, binding says why.
        drop(std::fs::remove_file(path));
    }
}

/// Accepts until the relay stops. Each connection is a task that `tasks` knows.
pub(super) async fn accept(
    listener: Listener,
    protocol: Arc<Protocol>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &protocol, &tasks, &shutdown) => accepted,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(REST).await;
        }
    }
}

async fn accept_one(
    listener: &Listener,
    protocol: &Arc<Protocol>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let (protocol, shutdown) = (Arc::clone(protocol), shutdown.clone());
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tasks.spawn(protocol.serve_tcp(stream, shutdown));
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            tasks.spawn(protocol.serve(stream, shutdown));
        }
    }
    Ok(())
}
