//! Why the key store refuses: one variant per fault, so that the operator knows what to do.

use std::{io, path::PathBuf};

use super::{Slot, UnlockKind, cost::CostError, unlock::UnlockError};

/// Why a key store cannot be made, opened or saved. None of them ever leads to a new identity.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// There is no key store.
    #[error("there is no key store at {}: init makes an agent, restore and recover bring one back", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A key store would be overwritten.
    #[error("there is a key store already at {}", path.display())]
    AlreadyExists {
        /// Where it is.
        path: PathBuf,
    },
    /// The folder of a new key store holds something else, perhaps the rest of a lost identity.
    #[error("folder {} is not empty: it holds {entry:?}", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        entry: String,
    },
    /// Another running process holds the key store.
    #[error("key store is in use by another process, which holds {}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Others than the owner may read or write.
    #[error("permissions {mode:03o} of {} are too open, at most {allowed:03o} is accepted", path.display())]
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The most that is accepted.
        allowed: u32,
    },
    /// The file does not begin as a key store does.
    #[error("not a key store")]
    NotAKeyStore,
    /// The file was written by a later version, or the field was altered.
    #[error("key store has the unknown version {version}")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// The header names a way to unlock that this version does not know.
    #[error("key store is unlocked in the unknown way {number}")]
    UnknownUnlock {
        /// The number found.
        number: u16,
    },
    /// The file ends too early.
    #[error("key store is truncated")]
    Truncated,
    /// Bytes follow the last slot.
    #[error("key store has {length} bytes after its end")]
    Trailing {
        /// How many.
        length: usize,
    },
    /// The file is larger than any key store.
    #[error("key store of {actual} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The limit.
        max: u64,
        /// Length found.
        actual: u64,
    },
    /// The header asks for more or less work than is accepted.
    #[error("cost in the header of the key store is out of bounds")]
    Cost(#[from] CostError),
    /// The store is unlocked in another way than by what was given.
    #[error("key store is unlocked by a {expected}, named by {}, and not by a {given}", expected.flag())]
    UnlockKind {
        /// What the header says.
        expected: UnlockKind,
        /// What was given.
        given: UnlockKind,
    },
    /// The passphrase or key could not be had.
    #[error("key store cannot be unlocked")]
    Unlock(#[from] UnlockError),
    /// The passphrase is wrong, the key file is another store's, or the header was altered.
    #[error("wrong passphrase or key, or altered header")]
    WrongSecret,
    /// The passphrase could not be stretched for want of memory.
    #[error("no {memory_kib} KiB of memory to derive the key from the passphrase")]
    Memory {
        /// What the derivation needs.
        memory_kib: u32,
    },
    /// A slot does not open although passphrase or key are right: the file was altered.
    #[error("slot {slot} of the key store was altered")]
    Tampered {
        /// The slot.
        slot: Slot,
    },
    /// A slot opens and does not hold what it should: a fault of whoever wrote it.
    #[error("slot {slot} of the key store is malformed")]
    Malformed {
        /// The slot.
        slot: Slot,
    },
    /// Slots are missing, doubled, out of order or unknown.
    #[error("list of slots of the key store is malformed")]
    Slots,
    /// The system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
