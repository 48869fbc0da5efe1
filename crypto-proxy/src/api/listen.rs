//! Where the local API listens: loopback or a Unix socket, nowhere else.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Hosts;

/// Where to listen: `127.0.0.1:7700`, `localhost:0`, `[::1]:7700` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Text that is no place to listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddrError {
    /// Other machines could reach it.
    #[error(
        "refusing to listen on {0}: the local API has no TLS and serves plaintext; use 127.0.0.1, [::1] or unix:PATH"
    )]
    NotLoopback(SocketAddr),
    /// Neither an address with a port nor `unix:PATH`.
    #[error("expected ADDRESS:PORT with a loopback address, or unix:PATH")]
    Malformed,
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = if path.is_empty() {
                None
            } else {
                Some(PathBuf::from(path))
            };
            return path.map(Self::Unix).ok_or(ListenAddrError::Malformed);
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port
                .parse()
                .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                .ok(),
            None => text.parse().ok(),
        };
        let address = address.ok_or(ListenAddrError::Malformed)?;
        check_loopback(address).map(Self::Tcp)
    }
}

fn check_loopback(address: SocketAddr) -> Result<SocketAddr, ListenAddrError> {
    // ::ffff:127.0.0.1 is not what it looks like to every resolver, so it is not taken.
    let loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if loopback {
        Ok(address)
    } else {
        Err(ListenAddrError::NotLoopback(address))
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not a place to listen.
    #[error(transparent)]
    Address(#[from] ListenAddrError),
    /// Somebody else listens there.
    #[error("{place} is in use")]
    InUse {
        /// Where.
        place: String,
    },
    /// A file is in the way that is not a socket.
    #[error("{} is there and is not a socket", .0.display())]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {place}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener(Bound);

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// One accepted connection.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Binds; port 0 takes a free one. A Unix socket is made with mode 0600; one that was left
    /// behind is replaced, one that answers is not.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(address: &ListenAddr) -> Result<Self, BindError> {
        match address {
            ListenAddr::Tcp(address) => {
                let address = check_loopback(*address)?;
                let fail = |source| bind_error(address.to_string(), source);
                let listener = TcpListener::bind(address).await.map_err(fail)?;
                let bound = listener.local_addr().map_err(fail)?;
                Ok(Self(Bound::Tcp(listener, bound)))
            }
            ListenAddr::Unix(path) => {
                let (listener, file) = bind_unix(path).await?;
                Ok(Self(Bound::Unix(listener, file)))
            }
        }
    }

    /// How callers have to address this listener.
    #[must_use]
    pub fn hosts(&self) -> Hosts {
        match &self.0 {
            Bound::Tcp(_, address) => Hosts::tcp(*address),
            Bound::Unix(..) => Hosts::unix(),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match &self.0 {
            Bound::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Bound::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Connection::Unix(stream))
            }
        }
    }
}

/// `http://HOST:PORT` or `unix:PATH`, as printed at start.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Bound::Tcp(_, address) => write!(f, "http://{address}"),
            Bound::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

fn bind_error(place: String, source: io::Error) -> BindError {
    if source.kind() == io::ErrorKind::AddrInUse {
        BindError::InUse { place }
    } else {
        BindError::Io { place, source }
    }
}

/// The socket's file; removed with the listener if it is still the same.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if same && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket's file stays behind");
        }
    }
}

/// Makes the socket in a folder that only this user may enter, closes it to others, and only then
/// moves it to its place: there is no moment in which another user could connect.
async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let place = || format!("unix:{}", path.display());
    let fail = |source| BindError::Io {
        place: place(),
        source,
    };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(BindError::Occupied(path.to_owned()));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(BindError::InUse { place: place() });
        }
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let folder = parent.join(format!(".wx-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&folder).map_err(fail)?;
    let bound = bind_inside(&folder, path);
    let emptied = fs::remove_dir_all(&folder);
    let (listener, inode) = bound.map_err(|source| bind_error(place(), source))?;
    let file = SocketFile {
        path: path.to_owned(),
        inode,
    };
    emptied.map_err(fail)?;
    Ok((listener, file))
}

fn bind_inside(folder: &Path, path: &Path) -> io::Result<(UnixListener, u64)> {
    let inside = folder.join("s");
    let listener = UnixListener::bind(&inside)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&inside)?.ino();
    fs::rename(&inside, path)?;
    Ok((listener, inode))
}
