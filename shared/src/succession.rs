//! Whether a chain of successions leads from the identity that somebody has pinned to the one that is
//! shown (docs/protocol.md, 4.6). A pure function of bytes: the relay only carries them.

use crate::{
    identity::IdentityKey,
    ids::{Handle, Hash, RelayId},
    limits,
    wire::{Document as _, Succession, SuccessionBytes},
};

/// What an agent knows of a peer for certain, before it looks at a chain.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The relay of the pin.
    pub relay: &'a RelayId,
    /// The handle of the pin.
    pub handle: &'a Handle,
    /// The pinned identity.
    pub identity: &'a IdentityKey,
    /// The recovery hash of its last verified bundle, where one is at hand.
    pub recovery: Option<Hash>,
}

/// By what a change of identity is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By each identity for the one that follows it: the keys were at hand, the old mail was read first.
    ByOld,
    /// At one step by the recovery key alone: the keys were lost.
    ByRecovery,
}

/// Whether, and by what, `chain`, oldest first, proves that `shown` follows the known identity. Links before the
/// known identity are passed over. The first step may be proven by the recovery key whose hash is known; what later
/// bundles said of recovery keys nobody here has seen, so each later step needs the signature of its old identity.
#[must_use]
pub fn proves<'a>(
    known: Known<'_>,
    chain: impl IntoIterator<Item = &'a [u8]>,
    shown: &IdentityKey,
) -> Option<Proof> {
    let mut current = known.identity.clone();
    let mut recovery = known.recovery;
    let mut proof = Proof::ByOld;
    for bytes in chain.into_iter().take(limits::SUCCESSIONS) {
        let Ok(link) = SuccessionBytes::decode(bytes) else {
            continue;
        };
        let Ok(body) = Succession::decode(&link.body) else {
            continue;
        };
        let here = body.relay == *known.relay && body.handle == *known.handle && body.old == current;
        if !here || !holds(&link, recovery) {
            continue;
        }
        if link.by_old.is_none() {
            proof = Proof::ByRecovery;
        }
        recovery = None;
        current = body.new;
        if current == *shown {
            return Some(proof);
        }
    }
    None
}

fn holds(link: &SuccessionBytes, recovery: Option<Hash>) -> bool {
    match recovery {
        Some(recovery) => link.verify(&recovery).is_ok(),
        None => link.by_old.is_some() && link.verify_signatures().is_ok(),
    }
}

#[cfg(test)]
#[path = "succession_tests.rs"]
mod tests;
