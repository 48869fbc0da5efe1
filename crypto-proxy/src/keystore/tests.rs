//! Each fault of a key store has a refusal of its own (docs/protocol.md, 8.1; attack 99).

mod faults;
mod files;
mod golden;
mod unlocking;

use std::{fs, os::unix::fs::PermissionsExt as _};

use rand_chacha::ChaCha20Rng;
use tempfile::TempDir;
use waxwire_shared::{
    identity::IdentityKey,
    ids::{AgentId, Hash, RelayId, SessionId},
};

use super::*;
use crate::{
    credential::ApiKey,
    crypto::{secret::IdentitySecret, testing::rng},
};

/// A folder that a key store can be made in, and what unlocks it.
struct Place {
    temp: TempDir,
    unlock: Unlock,
}

impl Place {
    fn new(unlock: impl FnOnce(&Path) -> Unlock) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let unlock = unlock(&temp.path().join("state"));
        Self { temp, unlock }
    }

    fn with_key_file() -> Self {
        Self::new(|dir| Unlock::KeyFile(dir.join(KEY_FILE)))
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.dir().join(STORE_FILE)
    }

    fn create(&self, keys: Keys) -> KeyStore {
        KeyStore::create(&self.dir(), &self.unlock, Argon2Cost::FLOOR, keys, &mut rng(1)).unwrap()
    }

    fn open(&self) -> Result<KeyStore, KeyStoreError> {
        KeyStore::open(&self.dir(), &self.unlock)
    }

    fn refusal(&self) -> KeyStoreError {
        self.open().unwrap_err()
    }

    /// Alters the bytes of the file.
    fn alter(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.file()).unwrap();
        change(&mut bytes);
        fs::write(self.file(), bytes).unwrap();
    }
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Passphrase::new(text.as_bytes()).unwrap())
}

fn new_keys() -> Keys {
    let relay = RelayPin {
        identity: IdentityKey::ed25519([1; 32]),
        url: "https://relay.example".to_owned(),
    };
    Keys::generate(
        &mut rng(2),
        "alice".parse().unwrap(),
        relay,
        Hash::from_bytes([3; 32]),
        1_000,
    )
}

/// Keys with something in every field.
fn full_keys() -> Keys {
    let rng: &mut ChaCha20Rng = &mut rng(4);
    let former = |since_ms| FormerIdentity {
        secret: IdentitySecret::generate(rng),
        since_ms,
    };
    let mut keys = Keys {
        status: Status::Restoring,
        former_identities: [5, 6].map(former).into(),
        next_identity: Some(IdentitySecret::generate(rng)),
        api_key: Some(ApiKey::new("wax_0123456789").unwrap()),
        session: SessionId::from_bytes([7; 16]),
        incarnation: 8,
        bundle_number: u64::MAX,
        bundle: Some(Hash::from_bytes([9; 32])),
        ..new_keys()
    };
    let mut record = EncryptionRecord::generate(rng, 2_000, 2_001);
    keys.encryption[0].superseded_ms = Some(2_001);
    keys.encryption[0].drained_running_ms = Some(0);
    record.superseded_ms = Some(3_000);
    keys.encryption.push(record);
    keys.encryption
        .push(EncryptionRecord::generate(rng, 3_000, 3_001));
    keys
}

fn assert_same(a: &Keys, b: &Keys) {
    let identities = |keys: &Keys| {
        let former = keys
            .former_identities
            .iter()
            .map(|f| (f.since_ms, *f.secret.expose_seed()));
        let next = keys.next_identity.as_ref().map(|next| *next.expose_seed());
        (*keys.identity.expose_seed(), next, former.collect::<Vec<_>>())
    };
    let encryption = |keys: &Keys| {
        let fields = |r: &EncryptionRecord| {
            (
                r.suite,
                r.number,
                *r.secret.expose_bytes(),
                r.created_ms,
                r.superseded_ms,
                r.drained_running_ms,
            )
        };
        keys.encryption.iter().map(fields).collect::<Vec<_>>()
    };
    assert_eq!(identities(a), identities(b));
    assert_eq!(encryption(a), encryption(b));
    assert_eq!(a.send_id.expose_bytes(), b.send_id.expose_bytes());
    assert_eq!(a.state_master.expose_bytes(), b.state_master.expose_bytes());
    let api_key = |keys: &Keys| keys.api_key.as_ref().map(|key| key.expose_text().to_owned());
    assert_eq!(api_key(a), api_key(b));
    assert_eq!(
        (a.status, &a.handle, &a.relay, a.recovery),
        (b.status, &b.handle, &b.relay, b.recovery)
    );
    assert_eq!((a.incarnation, a.session), (b.incarnation, b.session));
    assert_eq!((a.bundle_number, a.bundle), (b.bundle_number, b.bundle));
}

#[test]
fn store_gives_back_what_was_saved() {
    for keys in [new_keys, full_keys] {
        let place = Place::with_key_file();
        drop(place.create(keys()));
        assert_same(place.open().unwrap().keys(), &keys());
    }
}

#[test]
fn store_with_passphrase_gives_back_what_was_saved() {
    let place = Place::new(|_| passphrase("correct horse"));
    drop(place.create(full_keys()));
    assert_same(place.open().unwrap().keys(), &full_keys());
}

#[test]
fn save_counts_generations_and_keeps_changes() {
    let place = Place::with_key_file();
    let mut store = place.create(new_keys());
    assert_eq!(store.generation(), 1);
    store.keys_mut().api_key = Some(ApiKey::new("wax_1").unwrap());
    store.keys_mut().status = Status::Active;
    store.save(&mut rng(5)).unwrap();
    store.keys_mut().encryption.clear();
    store.save(&mut rng(6)).unwrap();
    drop(store);
    let store = place.open().unwrap();
    assert_eq!((store.generation(), store.keys().status), (3, Status::Active));
    assert!(store.keys().encryption.is_empty() && store.keys().api_key.is_some());
}

#[test]
fn relocked_store_opens_by_the_new_secret_alone() {
    let place = Place::new(|_| passphrase("first"));
    let mut store = place.create(full_keys());
    store
        .relock(&passphrase("second"), Argon2Cost::FLOOR, &mut rng(2))
        .unwrap();
    assert_eq!(store.generation(), 2);
    store.save(&mut rng(3)).unwrap();
    drop(store);
    assert!(matches!(place.refusal(), KeyStoreError::WrongSecret));
    let reopened = KeyStore::open(&place.dir(), &passphrase("second")).unwrap();
    assert_same(reopened.keys(), &full_keys());
    drop(reopened);
    // And exchanged for a key file, which is made.
    let key = Unlock::KeyFile(place.temp.path().join("made"));
    let mut store = KeyStore::open(&place.dir(), &passphrase("second")).unwrap();
    store.relock(&key, Argon2Cost::FLOOR, &mut rng(4)).unwrap();
    drop(store);
    assert_same(KeyStore::open(&place.dir(), &key).unwrap().keys(), &full_keys());
}

#[test]
fn store_that_cannot_be_relocked_stays_as_it_was() {
    let place = Place::new(|_| passphrase("first"));
    let mut store = place.create(full_keys());
    let away = place.temp.path().join("away");
    fs::rename(place.dir(), &away).unwrap();
    assert!(
        store
            .relock(&passphrase("second"), Argon2Cost::FLOOR, &mut rng(2))
            .is_err()
    );
    fs::rename(&away, place.dir()).unwrap();
    store.save(&mut rng(3)).unwrap();
    drop(store);
    assert_same(place.open().unwrap().keys(), &full_keys());
}

/// A backup is made while the proxy runs, which holds the lock.
#[test]
fn held_store_can_be_read() {
    let place = Place::with_key_file();
    let store = place.create(full_keys());
    assert_same(
        &KeyStore::read(&place.dir(), &place.unlock).unwrap(),
        store.keys(),
    );
    set_mode(&place.file(), 0o644);
    let refusal = KeyStore::read(&place.dir(), &place.unlock).unwrap_err();
    assert!(matches!(refusal, KeyStoreError::Permissions { .. }));
}

#[test]
fn keys_know_ids_and_current_key() {
    let keys = full_keys();
    assert_eq!(keys.relay_id(), RelayId::of(&keys.relay.identity));
    assert_eq!(
        keys.agent_id(),
        AgentId::of(&keys.relay_id(), keys.identity.public())
    );
    assert_eq!(keys.current_encryption_key().unwrap().number, 3_000);
    assert_eq!(keys.encryption_key(2_000).unwrap().created_ms, 2_001);
    assert!(keys.encryption_key(4_000).is_none());
}

/// No secret lies in the file in clear.
#[test]
fn file_holds_no_secret_in_clear() {
    let place = Place::with_key_file();
    drop(place.create(full_keys()));
    let file = fs::read(place.file()).unwrap();
    let holds = |secret: &[u8]| file.windows(secret.len()).any(|window| window == secret);
    let keys = full_keys();
    let secrets: [&[u8]; 6] = [
        keys.identity.expose_seed(),
        keys.send_id.expose_bytes(),
        keys.state_master.expose_bytes(),
        keys.encryption[0].secret.expose_bytes(),
        b"wax_0123456789",
        b"alice",
    ];
    assert!(!secrets.iter().any(|secret| holds(secret)));
    assert!(holds(b"waxwkeys"));
}

/// Records that the format cannot count are refused before anything is written.
#[test]
fn save_refuses_more_than_it_can_hold() {
    let place = Place::with_key_file();
    let mut store = place.create(new_keys());
    let former = |since_ms| FormerIdentity {
        secret: IdentitySecret::generate(&mut rng(since_ms)),
        since_ms,
    };
    store.keys_mut().former_identities = (0..255).map(former).collect();
    let refusal = store.save(&mut rng(5)).unwrap_err();
    assert!(matches!(
        refusal,
        KeyStoreError::Malformed {
            slot: Slot::Identities
        }
    ));
    drop(store);
    assert_same(place.open().unwrap().keys(), &new_keys());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
