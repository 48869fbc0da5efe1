//! The key store of a running proxy: takes in what the engine decides about keys and the API keys
//! that the relay gives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waxwire_shared::{
    api::rest::{Base64Bytes, ChallengeRequest, Purpose},
    ids::{AgentId, Nonce32},
};

use crate::{
    credential::ApiKey,
    engine::{Anew, KeyChange, Offer},
    keystore::{EncryptionRecord, KeyStore, KeyStoreError, Keys},
    link::{Credentials, Possession, PossessionError},
    rng::OsRng,
};

/// The open key store of a running proxy; cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    store: KeyStore,
    /// Something is not durable yet.
    unsaved: bool,
}

impl Credentials for Keeper {
    fn agent_id(&self) -> AgentId {
        self.lock().store.keys().agent_id()
    }

    fn request(&self, nonce: Nonce32) -> ChallengeRequest {
        possession(self.lock().store.keys()).request(nonce)
    }

    fn answer(&self, challenge: &[u8], nonce: &Nonce32) -> Result<Base64Bytes, PossessionError> {
        possession(self.lock().store.keys()).answer(challenge, nonce)
    }

    fn keep(&self, key: ApiKey) {
        let saved = self.change(|keys| keys.api_key = Some(key));
        if let Err(error) = saved {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the key store cannot be written"
            );
        }
    }
}

fn possession(keys: &Keys) -> Possession<'_> {
    Possession {
        purpose: Purpose::ApiKey,
        handle: &keys.handle,
        identity: &keys.identity,
        relay: &keys.relay.identity,
    }
}

impl Keeper {
    /// Keeps a store.
    #[must_use]
    pub fn new(store: KeyStore) -> Self {
        let unsaved = false;
        Self(Arc::new(Mutex::new(Kept { store, unsaved })))
    }

    /// Makes the key and the number of a bundle durable before the bundle is offered.
    ///
    /// # Errors
    /// [`KeyStoreError`]; then it must not be offered.
    pub fn offer(&self, offer: &Offer) -> Result<(), KeyStoreError> {
        self.change(|keys| {
            if keys.encryption_key(offer.key.number).is_none() {
                keys.encryption.push(EncryptionRecord {
                    suite: offer.key.suite,
                    number: offer.key.number,
                    secret: offer.key.secret.duplicate(),
                    created_ms: offer.number,
                    superseded_ms: None,
                    drained_running_ms: None,
                });
            }
            keys.bundle_number = keys.bundle_number.max(offer.number);
        })
    }

    /// Makes a change durable.
    ///
    /// # Errors
    /// [`KeyStoreError`]; [`Self::retry`] tries again.
    pub fn apply(&self, change: KeyChange) -> Result<(), KeyStoreError> {
        self.change(|keys| apply(keys, change))?;
        if let KeyChange::Erased { key_number } = change {
            tracing::info!(key_number, "an encryption key is erased");
        }
        Ok(())
    }

    /// Makes a new incarnation durable.
    ///
    /// # Errors
    /// [`KeyStoreError`]; then nothing must be numbered in it.
    pub fn begin_anew(&self, anew: Anew) -> Result<(), KeyStoreError> {
        self.change(|keys| (keys.incarnation, keys.session) = (anew.incarnation, anew.session))
    }

    /// Saves what could not be saved before.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn retry(&self) -> Result<(), KeyStoreError> {
        if self.lock().unsaved {
            self.change(|_| ())
        } else {
            Ok(())
        }
    }

    fn change(&self, change: impl FnOnce(&mut Keys)) -> Result<(), KeyStoreError> {
        let mut kept = self.lock();
        change(kept.store.keys_mut());
        kept.unsaved = true;
        kept.store.save(&mut OsRng)?;
        kept.unsaved = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(keys: &mut Keys, change: KeyChange) {
    match change {
        KeyChange::Published {
            number,
            hash,
            key_number,
            at,
        } => {
            keys.bundle_number = keys.bundle_number.max(number);
            keys.bundle = Some(hash);
            for record in &mut keys.encryption {
                if record.number < key_number {
                    record.superseded_ms.get_or_insert(at);
                }
            }
        }
        KeyChange::Emptied { key_number, running } => {
            for record in &mut keys.encryption {
                if record.number == key_number {
                    record.drained_running_ms.get_or_insert(running);
                }
            }
        }
        KeyChange::Erased { key_number } => keys.encryption.retain(|record| record.number != key_number),
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{identity::IdentityKey, ids::Hash, suite::Suite};

    use super::*;
    use crate::{
        crypto::secret::{EncryptionSecret, IdentitySecret},
        engine::EncryptionKey,
        keystore::{Argon2Cost, RelayPin, Unlock},
    };

    fn identity() -> IdentityKey {
        IdentitySecret::generate(&mut OsRng).public().clone()
    }

    fn create(dir: &std::path::Path) -> Keeper {
        let pin = RelayPin {
            identity: identity(),
            url: "http://localhost".to_owned(),
        };
        let keys = Keys::generate(
            &mut OsRng,
            "alice".parse().unwrap(),
            pin,
            Hash::from_bytes([1; 32]),
            5,
        );
        let unlock = Unlock::KeyFile(dir.join("key"));
        Keeper::new(KeyStore::create(dir, &unlock, Argon2Cost::default(), keys, &mut OsRng).unwrap())
    }

    fn offer() -> Offer {
        Offer {
            key: EncryptionKey {
                number: 9,
                suite: Suite::CLASSIC,
                secret: EncryptionSecret::generate(&mut OsRng),
                superseded: None,
                emptied: None,
            },
            number: 10,
            bundle: Vec::new(),
        }
    }

    /// What a new process would find.
    fn reopened<T>(dir: &std::path::Path, keeper: Keeper, look: impl FnOnce(&Keys) -> T) -> (T, Keeper) {
        drop(keeper);
        let store = KeyStore::open(dir, &Unlock::KeyFile(dir.join("key"))).unwrap();
        (look(store.keys()), Keeper::new(store))
    }

    #[test]
    fn every_step_of_a_rotation_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &folder.path().join("state");
        let keeper = create(dir);
        let offer = offer();
        keeper.offer(&offer).unwrap();
        keeper.offer(&offer).unwrap();
        let (found, keeper) = reopened(dir, keeper, |keys| {
            let secret = *keys.encryption_key(9).unwrap().secret.expose_bytes();
            (keys.encryption.len(), keys.bundle_number, keys.bundle, secret)
        });
        assert_eq!(found, (2, 10, None, *offer.key.secret.expose_bytes()));

        let hash = Hash::from_bytes([3; 32]);
        keeper
            .apply(KeyChange::Published {
                number: 10,
                hash,
                key_number: 9,
                at: 77,
            })
            .unwrap();
        keeper
            .apply(KeyChange::Emptied {
                key_number: 5,
                running: 88,
            })
            .unwrap();
        let (found, keeper) = reopened(dir, keeper, |keys| {
            let old = keys.encryption_key(5).unwrap();
            let new = keys.encryption_key(9).unwrap();
            (
                keys.bundle,
                old.superseded_ms,
                old.drained_running_ms,
                new.superseded_ms,
            )
        });
        assert_eq!(found, (Some(hash), Some(77), Some(88), None));

        keeper.apply(KeyChange::Erased { key_number: 5 }).unwrap();
        let (numbers, _) = reopened(dir, keeper, |keys| {
            keys.encryption.iter().map(|key| key.number).collect::<Vec<_>>()
        });
        assert_eq!(numbers, [9]);
    }

    #[test]
    fn what_could_not_be_saved_is_saved_later() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &folder.path().join("state");
        let keeper = create(dir);
        let away = folder.path().join("away");
        std::fs::rename(dir, &away).unwrap();
        assert!(keeper.offer(&offer()).is_err());
        assert!(keeper.retry().is_err());
        std::fs::rename(&away, dir).unwrap();
        keeper.retry().unwrap();
        let (count, _) = reopened(dir, keeper, |keys| keys.encryption.len());
        assert_eq!(count, 2);
    }
}
