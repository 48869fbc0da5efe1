//! Instance leases (docs/protocol.md, 8).

use super::{rules, wire_map};
use crate::{
    identity::IdentityKey,
    ids::{RelayId, SessionId},
    labels::Label,
    sign::SignedDocument,
};

wire_map! {
    /// "This instance is the live one." Signed under [`Label::SigLease`].
    pub struct Lease, max(1024) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay.
        2 => relay: RelayId,
        /// The identity.
        3 => identity: IdentityKey,
        /// The instance's incarnation; peers accept only a higher one.
        4 => incarnation: u64,
        /// The instance's session.
        5 => session: SessionId,
        /// Unix milliseconds.
        6 => time: u64,
    }
}

impl SignedDocument for Lease {
    const LABEL: Label = Label::SigLease;
}
