//! One sender's chain of message keys in one epoch (docs/protocol.md, 6.7).
//!
//! ```text
//! mk_i = HKDF(ck_i, KdfMessageKey, "")      ck_(i+1) = HKDF(ck_i, KdfChainNext, "")
//! ```
//!
//! A chain only goes forward: from `ck_i` no key below `i` can be had. Nothing here changes a chain
//! in place. A step gives a new one beside the old, so that whoever opens a message drops the copy
//! if it was not good, and stores it if it was.

use waxwire_shared::{
    identity::IdentityKey,
    ids::{GroupId, Hash},
    limits,
};

use crate::crypto::{
    kdf,
    secret::{ChainKey, EpochKey, MessageKey},
};

/// A chain that stands before message `next`: key `next` and all later ones follow from it, and none
/// of those before. About 60 bytes, its key on the heap and wiped on drop.
#[derive(Debug)]
pub struct Chain {
    key: ChainKey,
    next: u64,
}

/// All 65,536 messages of a chain are used: a rekey is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chain is used up")]
pub struct ChainExhausted;

/// Why a chain does not lead to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The chain has passed it: its key is used, skipped and kept, or lost.
    #[error("chain stands at {next} already")]
    Behind {
        /// Where the chain stands.
        next: u64,
    },
    /// No chain is that long.
    #[error("no chain has a message {index}")]
    Beyond {
        /// The index asked for.
        index: u64,
    },
}

/// The way from a chain to one message ahead of it. At most 2,048 keys of about 60 bytes: 120 KiB.
#[derive(Debug)]
pub struct Walk {
    /// The key of the message.
    pub key: MessageKey,
    /// The keys that were skipped, in ascending order: the newest 2,048 at most.
    pub skipped: Vec<(u64, MessageKey)>,
    /// How many older ones were skipped and not kept: those messages can never be opened.
    pub dropped: u64,
    /// The chain behind the message.
    pub chain: Chain,
}

impl Chain {
    /// A sender's chain at the beginning of an epoch, see [`kdf::first_chain_key`].
    ///
    /// # Vectors
    /// `vectors/kdf.json`
    #[must_use]
    pub fn first(
        epoch_key: &EpochKey,
        group: &GroupId,
        epoch: u64,
        rekey_commit: &Hash,
        sender: &IdentityKey,
    ) -> Self {
        let key = kdf::first_chain_key(epoch_key, group, epoch, rekey_commit, sender);
        Self { key, next: 0 }
    }

    /// A chain that was stored: its [`Self::key`] and [`Self::next`].
    #[must_use]
    pub const fn from_parts(key: ChainKey, next: u64) -> Self {
        Self { key, next }
    }

    /// The key to store.
    #[must_use]
    pub const fn key(&self) -> &ChainKey {
        &self.key
    }

    /// The index of the message that comes next, from 0.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The next message of one's own: its index, its key, and the chain after it.
    ///
    /// The chain after it has to be stored before the key is used, or two messages could be sealed
    /// under one key.
    ///
    /// # Errors
    /// [`ChainExhausted`] after message 65,535.
    ///
    /// # Vectors
    /// `vectors/kdf.json`
    pub fn take(&self) -> Result<(u64, MessageKey, Self), ChainExhausted> {
        if self.next >= limits::CHAIN_LENGTH {
            return Err(ChainExhausted);
        }
        Ok((
            self.next,
            kdf::message_key(&self.key),
            Self::after(&self.key, self.next),
        ))
    }

    /// The way to message `i` of another sender. The chain stays as it is: [`Walk::chain`] replaces it
    /// when the message was accepted, and not before.
    ///
    /// # Errors
    /// [`WalkError::Behind`] if the chain has passed `i`; [`WalkError::Beyond`] if `i` is above 65,535.
    ///
    /// # Security
    /// An index is believed as little as the ciphertext beside it. A forged one costs the reader at
    /// most 65,536 derivations and 2,048 more, some 40 ms on one core, and changes nothing.
    ///
    /// # Vectors
    /// `vectors/kdf.json`
    pub fn walk(&self, i: u64) -> Result<Walk, WalkError> {
        if i >= limits::CHAIN_LENGTH {
            return Err(WalkError::Beyond { index: i });
        }
        if i < self.next {
            return Err(WalkError::Behind { next: self.next });
        }
        let kept = i.saturating_sub(limits::SKIPPED_KEYS as u64).max(self.next);
        let mut skipped = Vec::new();
        let mut stepped: Option<ChainKey> = None;
        for index in self.next..i {
            let key = stepped.as_ref().unwrap_or(&self.key);
            if index >= kept {
                skipped.push((index, kdf::message_key(key)));
            }
            stepped = Some(kdf::next_chain_key(key));
        }
        let key = stepped.as_ref().unwrap_or(&self.key);
        Ok(Walk {
            key: kdf::message_key(key),
            skipped,
            dropped: kept - self.next,
            chain: Self::after(key, i),
        })
    }

    /// The chain behind message `index`, whose chain key is given.
    fn after(key: &ChainKey, index: u64) -> Self {
        Self {
            key: kdf::next_chain_key(key),
            next: index + 1,
        }
    }
}

#[cfg(test)]
mod tests;
