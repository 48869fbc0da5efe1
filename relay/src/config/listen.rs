//! Where to listen.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`, resolved when it is bound.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Text that is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is HOST:PORT or unix:PATH")]
pub struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty())
                .then(|| Self::Unix(path.into()))
                .ok_or(ListenError);
        }
        let (host, port) = text.rsplit_once(':').ok_or(ListenError)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(ListenError);
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Listen {
    /// Whether only this machine can connect, as far as the text tells.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let Self::Tcp(address) = self else { return true };
        if let Ok(address) = address.parse::<SocketAddr>() {
            return address.ip().is_loopback();
        }
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}
