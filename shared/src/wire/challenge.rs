//! Proof of possession, and what a relay says of itself (docs/protocol.md, 4; docs/relay-api.md).

use super::{rules, wire_enum, wire_map};
use crate::{
    identity::IdentityKey,
    ids::{Handle, Nonce32, RelayId},
    labels::Label,
    sign::SignedDocument,
};

wire_enum! {
    /// What a proof is good for; one given for one purpose is refused for another.
    pub enum ChallengePurpose {
        /// Registration of a handle.
        1 => Register,
        /// A new API key for a registered identity.
        2 => ApiKey,
    }
}

wire_map! {
    /// A challenge: issued under the relay's signature ([`Label::SigChallenge`]), answered by the
    /// agent's signature over the same bytes ([`Label::SigProof`]). Neither side signs bytes that
    /// the other chose alone.
    pub struct Challenge, max(1024) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay: a proof for one relay is nothing at another.
        2 => relay: RelayId,
        /// What the proof is good for.
        3 => purpose: ChallengePurpose,
        /// The handle.
        4 => handle: Handle,
        /// The identity that must answer.
        5 => identity: IdentityKey,
        /// Chosen by the relay.
        6 => relay_nonce: Nonce32,
        /// Chosen by the agent.
        7 => agent_nonce: Nonce32,
        /// When it was issued, Unix milliseconds by the relay's clock.
        8 => time: u64,
    }
}

impl SignedDocument for Challenge {
    const LABEL: Label = Label::SigChallenge;
}

wire_map! {
    /// What a relay says of itself, fresh for the asker's nonce. Signed under [`Label::SigRelay`].
    pub struct RelayDescription, max(1024) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay's identity; its hash is the relay id.
        2 => identity: IdentityKey,
        /// The asker's nonce.
        3 => nonce: Nonce32,
        /// Unix milliseconds by the relay's clock.
        4 => time: u64,
    }
}

impl SignedDocument for RelayDescription {
    const LABEL: Label = Label::SigRelay;
}
