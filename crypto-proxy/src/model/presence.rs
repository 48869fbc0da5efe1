//! Who is there, as the agent sees it.

use waxwire_shared::ids::Handle;

use super::UnixMs;

/// Whether somebody is there for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PresenceStatus {
    /// There.
    Online,
    /// There, and would rather not be disturbed.
    Busy,
    /// Not there.
    #[default]
    Offline,
}

impl PresenceStatus {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// Reads what [`Self::name`] gives.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Online, Self::Busy, Self::Offline]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What is shown of an agent's presence. That somebody is there or not, and since when, is the relay's
/// word; `Busy` and the message are the agent's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPresence {
    /// Who.
    pub handle: Handle,
    /// Whether it is there.
    pub status: PresenceStatus,
    /// What it says about itself.
    pub custom_message: Option<String>,
    /// When it was last there, in whole minutes, if it is not and the relay knows.
    pub last_seen: Option<UnixMs>,
}
