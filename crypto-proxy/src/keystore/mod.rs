//! The key store: one sealed file with everything that a proxy must not lose (docs/protocol.md, 8.1).
//!
//! `DIR` is 0700 and holds `keys` (0600, replaced atomically), `lock` (held while a process runs)
//! and, without passphrase or named key file, `key`. The header commits to the key-encryption key
//! and is compared before anything is opened. Every fault has a refusal of its own, and none of
//! them leads to a new identity: only [`KeyStore::create`] makes one, in an empty folder.
//!
//! - `format`, `slots`: the bytes; `files`: folder, lock, replacement
//! - `unlock`, `cost`: passphrases and key files; `unlocking`: what a file says of them, also a backup

mod cost;
mod error;
mod files;
mod format;
mod keys;
mod slots;
mod unlock;
mod unlocking;

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use rand_core::CryptoRng;
use waxwire_shared::labels::Label;

use self::format::{Bytes, Header};
pub use self::{
    cost::{Argon2Cost, CostError},
    error::KeyStoreError,
    keys::{EncryptionRecord, FormerIdentity, Keys, RelayPin, Status},
    slots::{PortableSlot, Slot, from_portable, portable},
    unlock::{
        CREDENTIAL, KEY_FILE, Passphrase, Unlock, UnlockError, UnlockKind, UnlockOrigin, UnlockSources,
    },
    unlocking::Unlocking,
};
use crate::crypto::{aead, kdf, secret::StoreWrapKey};

/// Name of the file.
pub const STORE_FILE: &str = "keys";
/// Name of the lock.
pub const LOCK_FILE: &str = "lock";

/// An open key store. While it lives no other process can open it.
pub struct KeyStore {
    path: PathBuf,
    header: Header,
    wrap: StoreWrapKey,
    keys: Keys,
    _lock: File,
}

impl KeyStore {
    /// Makes a key store in `dir`, which is made if it is missing and otherwise must be empty but
    /// for a key file and a lock. With [`Unlock::KeyFile`] a missing key file is made too.
    ///
    /// `cost` is for a passphrase. `rng` gives salt, nonces and key file. Durable when it returns.
    ///
    /// # Errors
    /// [`KeyStoreError::AlreadyExists`], [`KeyStoreError::NotEmpty`], [`KeyStoreError::Locked`], and
    /// what unlocking and writing are refused for.
    pub fn create(
        dir: &Path,
        unlock: &Unlock,
        cost: Argon2Cost,
        keys: Keys,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, KeyStoreError> {
        check_empty(dir, unlock)?;
        files::make_folder(dir)?;
        let lock = files::lock(&dir.join(LOCK_FILE))?;
        // Once more, now that nobody else can be at it.
        check_empty(dir, unlock)?;
        let (unlocking, kek) = Unlocking::make(unlock, cost, rng)?;
        let mut store = Self {
            path: dir.join(STORE_FILE),
            header: Header {
                unlocking,
                generation: 0,
            },
            wrap: kdf::store_wrap_key(&kek),
            keys,
            _lock: lock,
        };
        store.save(rng)?;
        Ok(store)
    }

    /// Opens the key store in `dir`: permissions, lock, header, cost, commitment, slots, in this
    /// order. Makes nothing but the lock.
    ///
    /// # Errors
    /// One variant of [`KeyStoreError`] per fault.
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Self, KeyStoreError> {
        let path = dir.join(STORE_FILE);
        if !path.exists() {
            return Err(KeyStoreError::Missing { path });
        }
        files::check_folder(dir)?;
        let lock = files::lock(&dir.join(LOCK_FILE))?;
        files::remove_left_over(&path)?;
        let (header, wrap, keys) = unseal(&files::read(&path, format::MAX)?, unlock)?;
        Ok(Self {
            path,
            header,
            wrap,
            keys,
            _lock: lock,
        })
    }

    /// Reads what the key store in `dir` holds while another process may hold the store itself.
    ///
    /// # Errors
    /// As for [`Self::open`], but for the lock.
    pub fn read(dir: &Path, unlock: &Unlock) -> Result<Keys, KeyStoreError> {
        files::check_folder(dir)?;
        let (_, _, keys) = unseal(&files::read(&dir.join(STORE_FILE), format::MAX)?, unlock)?;
        Ok(keys)
    }

    /// Seals the store under another passphrase or key file, in one atomic replacement; the identity and
    /// everything else stays. A key file that is missing is made.
    ///
    /// # Errors
    /// As for [`Self::save`] and for what unlocks the store; then it is unlocked as before.
    pub fn relock(
        &mut self,
        unlock: &Unlock,
        cost: Argon2Cost,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), KeyStoreError> {
        let (unlocking, kek) = Unlocking::make(unlock, cost, rng)?;
        let unlocking = std::mem::replace(&mut self.header.unlocking, unlocking);
        let wrap = std::mem::replace(&mut self.wrap, kdf::store_wrap_key(&kek));
        self.save(rng).inspect_err(|_| {
            (self.header.unlocking, self.wrap) = (unlocking, wrap);
        })
    }

    /// What the store holds.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What the store holds, to be changed; durable after [`Self::save`].
    pub const fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Counts the saves, from 1. A store that is older than a number seen before was rolled back.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Writes the store: every slot sealed anew under the next generation, in one atomic replacement.
    /// Durable when it returns. `rng` gives a nonce of 24 bytes for each slot.
    ///
    /// # Errors
    /// [`KeyStoreError::Io`]: the file holds the previous generation or this one, and the caller
    /// must not act on what it meant to save. [`KeyStoreError::Malformed`] and
    /// [`KeyStoreError::TooLarge`] for more records than a store can hold; nothing is written.
    pub fn save(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), KeyStoreError> {
        let generation = self.header.generation.saturating_add(1);
        let header = Header {
            generation,
            ..self.header.clone()
        };
        let mut contents = Vec::with_capacity(Slot::ALL.len());
        for slot in Slot::ALL {
            let content = slots::encode(&self.keys, slot).map_err(|_| KeyStoreError::Malformed { slot })?;
            contents.extend(content.map(|content| (slot, content)));
        }
        let associated = header.encode(count(&contents));
        let mut file = associated.to_vec();
        for (slot, content) in &contents {
            let number = slot.number().to_be_bytes();
            let sealed = aead::seal(
                rng,
                &self.wrap,
                Label::AadStoreSlot,
                &[&associated, &number],
                content,
            );
            let length = u32::try_from(sealed.len()).map_err(|_| KeyStoreError::Malformed { slot: *slot })?;
            file.extend_from_slice(&number);
            file.extend_from_slice(&length.to_be_bytes());
            file.extend_from_slice(&sealed);
        }
        if file.len() as u64 > format::MAX {
            return Err(KeyStoreError::TooLarge {
                max: format::MAX,
                actual: file.len() as u64,
            });
        }
        files::replace(&self.path, &file)?;
        self.header = header;
        Ok(())
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStore")
    }
}

/// What a file holds: structure, cost, commitment, then every slot before anything is made of one.
fn unseal(file: &[u8], unlock: &Unlock) -> Result<(Header, StoreWrapKey, Keys), KeyStoreError> {
    let (header, sealed) = split(file)?;
    let kek = header.unlocking.open(unlock)?;
    let wrap = kdf::store_wrap_key(&kek);
    let associated = header.encode(count(&sealed));
    let contents = sealed
        .iter()
        .map(|(slot, content)| Ok((*slot, open_slot(&wrap, &associated, *slot, content)?)))
        .collect::<Result<_, KeyStoreError>>()?;
    let keys = slots::decode(contents).map_err(|slot| KeyStoreError::Malformed { slot })?;
    Ok((header, wrap, keys))
}

type Sealed<'a> = Vec<(Slot, &'a [u8])>;

/// Header and slots, whose numbers must ascend.
fn split(file: &[u8]) -> Result<(Header, Sealed<'_>), KeyStoreError> {
    let mut bytes = Bytes(file);
    let (header, count) = Header::decode(&mut bytes)?;
    let mut sealed: Sealed<'_> = Vec::new();
    for _ in 0..count {
        let number = bytes.u16()?;
        let length = usize::try_from(bytes.u32()?).map_err(|_| KeyStoreError::Truncated)?;
        let content = bytes.slice(length)?;
        let slot = Slot::ALL.into_iter().find(|slot| slot.number() == number);
        let slot = slot.ok_or(KeyStoreError::Slots)?;
        if sealed.last().is_some_and(|(last, _)| *last >= slot) {
            return Err(KeyStoreError::Slots);
        }
        sealed.push((slot, content));
    }
    if bytes.is_empty() {
        Ok((header, sealed))
    } else {
        Err(KeyStoreError::Trailing {
            length: bytes.0.len(),
        })
    }
}

fn open_slot(
    wrap: &StoreWrapKey,
    associated: &[u8],
    slot: Slot,
    content: &[u8],
) -> Result<slots::Plaintext, KeyStoreError> {
    let number = slot.number().to_be_bytes();
    aead::open(wrap, Label::AadStoreSlot, &[associated, &number], content)
        .map_err(|_| KeyStoreError::Tampered { slot })
}

/// There are seven slots at most.
fn count<T>(slots: &[T]) -> u16 {
    u16::try_from(slots.len()).unwrap_or(u16::MAX)
}

/// Refuses a folder with a key store or with anything else that is not made here.
fn check_empty(dir: &Path, unlock: &Unlock) -> Result<(), KeyStoreError> {
    let path = dir.join(STORE_FILE);
    if path.exists() {
        return Err(KeyStoreError::AlreadyExists { path });
    }
    if !dir.exists() {
        return Ok(());
    }
    let own_key = match unlock {
        Unlock::KeyFile(path) => Some(path.as_path()),
        Unlock::Passphrase(_) => None,
    };
    let own = [dir.join(LOCK_FILE), files::new_name(&path)];
    for entry in fs::read_dir(dir).map_err(files::failed("read", dir))? {
        let found = entry.map_err(files::failed("read", dir))?.path();
        if !own.contains(&found) && own_key != Some(&found) {
            let entry = found
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            return Err(KeyStoreError::NotEmpty {
                path: dir.to_owned(),
                entry,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
