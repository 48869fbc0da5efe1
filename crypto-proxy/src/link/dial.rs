//! A TCP connection to the relay, under TLS where the URL says so.

use std::{fmt, io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use waxwire_outbound::trust::{CertificateFault, TrustError, tls_config};

use super::url::RelayUrl;

/// Bytes to and from the relay.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, plain or under TLS.
pub(super) type Stream = Box<dyn Io>;

/// Why TLS cannot be spoken on this machine or to this relay.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// This machine trusts nobody.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The relay's host is neither a DNS name nor an address.
    #[error("the relay's host is not a name that a certificate can hold")]
    HostName,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The way to the relay, or the relay.
    #[error(transparent)]
    Io(io::Error),
    /// Whoever answers is not trusted to be the relay's host.
    #[error("the relay's certificate is not trusted: {0}")]
    Certificate(CertificateFault),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        CertificateFault::of(&error).map_or(Self::Io(error), Self::Certificate)
    }
}

/// Makes connections to one relay.
pub(super) struct Dialer {
    relay: RelayUrl,
    way: Way,
}

enum Way {
    Plain,
    Tls(TlsConnector, ServerName<'static>),
    /// A relay in the same process, so that tests can run on paused time.
    #[cfg(test)]
    Memory(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>),
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({})", self.relay)
    }
}

impl Dialer {
    /// Reads the machine's trust store if the relay is spoken to over TLS.
    pub(super) fn new(relay: RelayUrl) -> Result<Self, TlsError> {
        let way = if relay.is_tls() {
            let name = ServerName::try_from(relay.host().to_owned()).map_err(|_| TlsError::HostName)?;
            Way::Tls(TlsConnector::from(Arc::new(tls_config()?)), name)
        } else {
            Way::Plain
        };
        Ok(Self { relay, way })
    }

    /// Connections go to a listener in this process.
    #[cfg(test)]
    pub(super) fn memory(
        relay: RelayUrl,
        listener: tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>,
    ) -> Self {
        Self {
            relay,
            way: Way::Memory(listener),
        }
    }

    pub(super) const fn relay(&self) -> &RelayUrl {
        &self.relay
    }

    /// Connects; the caller sets the time limit.
    pub(super) async fn dial(&self) -> Result<Stream, DialError> {
        match &self.way {
            Way::Plain => Ok(Box::new(self.tcp().await?)),
            Way::Tls(connector, name) => Ok(Box::new(
                connector.connect(name.clone(), self.tcp().await?).await?,
            )),
            #[cfg(test)]
            Way::Memory(listener) => {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                listener
                    .send(far)
                    .map(|()| Box::new(near) as Stream)
                    .map_err(refused)
                    .map_err(DialError::Io)
            }
        }
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.relay.host(), self.relay.port())).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
