//! Peers: pins, bundles, trust.

use rusqlite::{OptionalExtension as _, Row, params};
use waxwire_shared::{identity::IdentityKey, ids::Handle, succession::Proof, suite::Suite};

use super::{StateError, Store, from_sql, to_sql};
use crate::model::{Trust, UnixMs};

/// How a peer came to be trusted, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Looked up, never used.
    New,
    /// At first contact.
    Tofu,
    /// By a fingerprint that the agent gave.
    Fingerprint,
    /// Compared by the operator.
    Verified,
    /// Blocked.
    Blocked,
}

impl Pin {
    /// How the agent sees it, given whether another identity is shown without proof.
    #[must_use]
    pub const fn trust(self, changed: bool) -> Trust {
        match (self, changed) {
            (Self::Blocked, _) => Trust::Blocked,
            (_, true) => Trust::Changed,
            (Self::New, false) => Trust::New,
            (Self::Tofu | Self::Fingerprint, false) => Trust::Pinned,
            (Self::Verified, false) => Trust::Verified,
        }
    }

    pub(super) const fn number(self) -> i64 {
        match self {
            Self::New => 0,
            Self::Tofu => 1,
            Self::Fingerprint => 2,
            Self::Verified => 3,
            Self::Blocked => 4,
        }
    }

    pub(super) const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Tofu,
            2 => Self::Fingerprint,
            3 => Self::Verified,
            4 => Self::Blocked,
            _ => Self::New,
        }
    }
}

/// Another identity than the pinned one, which the relay shows under the handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The identity.
    pub identity: IdentityKey,
    /// Its signed bundle, verified.
    pub bundle: Vec<u8>,
    /// By what it is proven to follow the pinned one.
    pub proof: Option<Proof>,
}

pub(super) const fn proof_number(proof: Option<Proof>) -> i64 {
    match proof {
        None => 0,
        Some(Proof::ByOld) => 1,
        Some(Proof::ByRecovery) => 2,
    }
}

const fn proof_from_number(number: i64) -> Option<Proof> {
    match number {
        1 => Some(Proof::ByOld),
        2 => Some(Proof::ByRecovery),
        _ => None,
    }
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRow {
    /// Row.
    pub peer_id: i64,
    /// Handle.
    pub handle: Handle,
    /// The identity in use.
    pub identity: IdentityKey,
    /// How it is trusted.
    pub pin: Pin,
    /// What the relay shows instead.
    pub changed: Option<Shown>,
    /// No longer a stranger.
    pub accepted: bool,
    /// Latest signed bundle of `identity`.
    pub bundle: Vec<u8>,
    /// Highest bundle number ever seen of `identity`.
    pub number: u64,
    /// Highest suite ever shown.
    pub best_suite: Suite,
    /// When the bundle was fetched.
    pub fetched_at: UnixMs,
    /// When the peer was first seen.
    pub first_seen: UnixMs,
}

impl PeerRow {
    /// How the peer is trusted, as the agent sees it.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.pin.trust(self.changed.is_some())
    }
}

/// An identity as it is stored in a peer's row.
pub(super) fn identity_of(peer_id: i64, bytes: Vec<u8>) -> Result<IdentityKey, StateError> {
    IdentityKey::from_prefixed(&bytes).ok_or(StateError::Damaged {
        table: "peer",
        row: peer_id,
    })
}

const SELECT: &str = "SELECT peer_id, handle, identity, trust, changed, accepted, bundle, number, \
                      best_suite, fetched_at, first_seen, changed_bundle, changed_proof FROM peer";

fn peer_row(row: &Row<'_>) -> Result<PeerRow, StateError> {
    let peer_id = row.get(0)?;
    let damaged = || StateError::Damaged {
        table: "peer",
        row: peer_id,
    };
    let handle: String = row.get(1)?;
    let changed: Option<Vec<u8>> = row.get(4)?;
    let changed = match changed {
        Some(bytes) => Some(Shown {
            identity: IdentityKey::from_prefixed(&bytes).ok_or_else(damaged)?,
            bundle: row.get::<_, Option<Vec<u8>>>(11)?.unwrap_or_default(),
            proof: proof_from_number(row.get(12)?),
        }),
        None => None,
    };
    Ok(PeerRow {
        peer_id,
        handle: handle.parse().map_err(|_| damaged())?,
        identity: identity_of(peer_id, row.get(2)?)?,
        pin: Pin::from_number(row.get(3)?),
        changed,
        accepted: row.get(5)?,
        bundle: row.get(6)?,
        number: from_sql(row.get(7)?),
        best_suite: Suite(row.get(8)?),
        fetched_at: from_sql(row.get(9)?),
        first_seen: from_sql(row.get(10)?),
    })
}

impl Store {
    /// The peer with this handle. What a lookup alone has shown counts for nothing while another key is
    /// [expected](Self::expected).
    ///
    /// # Errors
    /// [`StateError`].
    pub fn peer(&self, handle: &Handle) -> Result<Option<PeerRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SELECT} WHERE handle = ?1 AND NOT (trust = 0 AND EXISTS \
             (SELECT 1 FROM expected WHERE expected.handle = peer.handle))"
        ))?;
        let mut rows = statement.query([handle.as_str()])?;
        rows.next()?.map(peer_row).transpose()
    }

    /// The peer of a row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn peer_by_id(&self, peer_id: i64) -> Result<PeerRow, StateError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} WHERE peer_id = ?1"))?;
        let mut rows = statement.query([peer_id])?;
        let row = rows.next()?.ok_or(StateError::Damaged {
            table: "peer",
            row: peer_id,
        })?;
        peer_row(row)
    }

    /// Writes everything of a peer but its row number; gives the row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_peer(&self, peer: &PeerRow) -> Result<i64, StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO peer(handle, identity, trust, changed, accepted, bundle, number, best_suite, \
             fetched_at, first_seen, changed_bundle, changed_proof) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT(handle) DO UPDATE SET identity = ?2, trust = ?3, changed = ?4, accepted = ?5, \
             bundle = ?6, number = ?7, best_suite = ?8, fetched_at = ?9, changed_bundle = ?11, \
             changed_proof = ?12",
        )?;
        let changed = peer.changed.as_ref();
        statement.execute(params![
            peer.handle.as_str(),
            peer.identity.to_prefixed(),
            peer.pin.number(),
            changed.map(|shown| shown.identity.to_prefixed()),
            peer.accepted,
            peer.bundle,
            to_sql(peer.number),
            peer.best_suite.0,
            to_sql(peer.fetched_at),
            to_sql(peer.first_seen),
            changed.map(|shown| shown.bundle.as_slice()),
            proof_number(changed.and_then(|shown| shown.proof)),
        ])?;
        let mut statement = self
            .db
            .prepare_cached("SELECT peer_id FROM peer WHERE handle = ?1")?;
        let id = statement
            .query_row([peer.handle.as_str()], |row| row.get(0))
            .optional()?;
        id.ok_or(StateError::Damaged {
            table: "peer",
            row: 0,
        })
    }
}
