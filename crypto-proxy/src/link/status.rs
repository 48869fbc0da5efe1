//! How the link is doing, for `readyz` and metrics.

use crate::model::UnixMs;

/// How the link is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether the socket is up and resumed.
    pub connected: bool,
    /// Since when it is so, Unix milliseconds; 0 before the first attempt has ended.
    pub since: UnixMs,
    /// Why the last attempt or connection ended; `None` before any did.
    pub last_fault: Option<LinkFault>,
    /// The relay's clock less ours, in milliseconds, at the last connection.
    pub clock_skew_ms: Option<i64>,
    /// Connections that came up.
    pub connections: u64,
    /// Sockets that were dropped because of what the relay sent.
    pub malformed: u64,
}

/// Why an attempt or a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// No connection, or it broke.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// Whoever answers has no certificate that this machine trusts.
    #[error("the relay's certificate is not trusted")]
    Untrusted,
    /// The relay closed the socket in order.
    #[error("the relay closed the socket")]
    Closed,
    /// The relay closed the socket with 1008: authorisation, or a breach of the protocol by us.
    #[error("the relay closed the socket with 1008")]
    Expelled,
    /// Nothing was heard, or an answer did not come in time.
    #[error("the relay does not answer")]
    Silent,
    /// The relay sent what is no frame, or none for this moment.
    #[error("the relay breaks the protocol")]
    Malformed,
    /// The relay does not let us in now.
    #[error("the relay does not accept the socket")]
    Refused,
    /// The relay does not accept our API key, or the agent is suspended.
    #[error("the relay does not authorise this agent")]
    Unauthorized,
    /// Another instance of the agent is the live one.
    #[error("another instance of this agent is the live one")]
    Superseded,
    /// Two live instances of the agent have the same incarnation.
    #[error("two instances of this agent are live")]
    Clone,
    /// The relay's identity is not the pinned one.
    #[error("the relay's identity is not the pinned one")]
    RelayChanged,
    /// The engine asked for a fresh socket.
    #[error("the engine asked for a fresh socket")]
    Reset,
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Stopping,
}

impl LinkFault {
    /// A stable name, for `readyz` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Untrusted => "certificate_untrusted",
            Self::Closed => "closed",
            Self::Expelled => "expelled",
            Self::Silent => "silent",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::Superseded => "superseded",
            Self::Clone => "clone",
            Self::RelayChanged => "relay_changed",
            Self::Reset => "reset",
            Self::Stopping => "stopping",
        }
    }
}
