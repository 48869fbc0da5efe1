//! What must hold of the ciphertexts of groups, whatever happens to the programs that make them: a
//! message key is used once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use waxwire_shared::{
    hash::sha256,
    ids::{AgentId, GroupId, Hash},
    wire::{Document as _, Envelope, GroupHeader},
};

/// Which message key sealed a ciphertext (docs/protocol.md, 6.7).
type KeyName = (GroupId, u64, AgentId, u64);

/// Every envelope to a group that proxies have sent or a relay has stored; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Sealed>>);

#[derive(Debug, Default)]
struct Sealed {
    by_key: HashMap<KeyName, Hash>,
    reused: Vec<String>,
}

impl Ledger {
    fn sealed(&self) -> MutexGuard<'_, Sealed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an envelope; one that is not to a group is passed over.
    pub fn note(&self, envelope: &[u8]) {
        let Ok(parts) = Envelope::split(envelope) else {
            return;
        };
        let Ok(header) = GroupHeader::decode(parts.header) else {
            return;
        };
        let key = (header.group, header.epoch, header.sender, header.i);
        let hash = sha256(envelope);
        let mut sealed = self.sealed();
        let first = *sealed.by_key.entry(key).or_insert(hash);
        if first != hash {
            sealed
                .reused
                .push(format!("message key {key:?} has sealed two ciphertexts"));
        }
    }

    /// How many message keys were used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sealed().by_key.len()
    }

    /// Whether none was used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message keys that were used twice.
    #[must_use]
    pub fn reused(&self) -> Vec<String> {
        self.sealed().reused.clone()
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{ids::Mid, suite::Suite};

    use super::*;

    fn envelope(i: u64, ciphertext: &[u8]) -> Vec<u8> {
        let header = GroupHeader {
            suite: Suite::CLASSIC,
            mid: Mid::from_bytes([1; Mid::LENGTH]),
            group: GroupId::from_bytes([2; GroupId::LENGTH]),
            epoch: 3,
            roster_head: sha256(b"head"),
            sender: AgentId::from_bytes([4; AgentId::LENGTH]),
            i,
        }
        .encode();
        let envelope = Envelope {
            header: &header,
            ciphertext,
        };
        envelope.to_bytes()
    }

    #[test]
    fn key_that_seals_two_ciphertexts_is_found() {
        let ledger = Ledger::default();
        for (i, ciphertext) in [(0, b"one"), (1, b"two"), (0, b"one")] {
            ledger.note(&envelope(i, ciphertext));
        }
        ledger.note(b"no envelope");
        assert_eq!((ledger.len(), ledger.reused().len()), (2, 0));
        ledger.note(&envelope(1, b"six"));
        assert_eq!((ledger.len(), ledger.reused().len()), (2, 1));
    }
}
