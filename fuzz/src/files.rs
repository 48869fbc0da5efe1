//! Files that somebody may have altered: key stores, backups, pins, settings.

use std::{
    cell::OnceCell,
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use tempfile::TempDir;
use waxwire_proxy::{
    backup::{self, Backup},
    crypto::{
        aead, kdf,
        secret::{StateMasterKey, StoreKek},
    },
    keystore::{self, Argon2Cost, KeyStore, Keys, RelayPin, STORE_FILE, Unlock, Unlocking},
    pins::PinFile,
    state::{ColumnKeys, Import, Store},
};
use waxwire_shared::{fingerprint::Fingerprint, ids::Hash, labels::Label};

use crate::feed::{Feed, parts};

table! {
    "key_store" => key_store,
    "key_store_slots" => key_store_slots,
    "backup_file" => backup_file,
    "backup_records" => backup_records,
    "unlocking" => unlocking,
    "pin_file" => pin_file,
}

/// The key of a store and of a backup, and the line of a key file that says so.
pub(crate) const KEK: [u8; 32] = [0x61; 32];

fn kek() -> StoreKek {
    StoreKek::from_slice(&KEK).unwrap()
}

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A folder that only its owner can read, with the key file in it.
fn in_folder<T>(then: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|cell| {
        let folder = cell.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
            write(
                &folder.path().join("key"),
                format!("wxk_{}\n", hex::encode(KEK)).as_bytes(),
            );
            folder
        });
        then(folder.path())
    })
}

fn write(path: &Path, bytes: &[u8]) {
    let mut options = fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    options.open(path).unwrap().write_all(bytes).unwrap();
}

/// A key store: it is opened whole or not at all.
fn key_store(bytes: &[u8]) -> bool {
    in_folder(|folder| {
        write(&folder.join(STORE_FILE), bytes);
        let unlock = Unlock::KeyFile(folder.join("key"));
        KeyStore::read(folder, &unlock).is_ok()
    })
}

/// What lies in the slots of a store that somebody wrote who knows its secret: what is taken has one form.
fn key_store_slots(bytes: &[u8]) -> bool {
    in_folder(|folder| {
        write(&folder.join(STORE_FILE), &sealed_store(&Feed(bytes).parts()));
        let unlock = Unlock::KeyFile(folder.join("key"));
        let Ok(keys) = KeyStore::read(folder, &unlock) else {
            return false;
        };
        let slots = keystore::portable(&keys).unwrap();
        let again = keystore::from_portable(slots.clone()).unwrap();
        assert!(keystore::portable(&again).unwrap() == slots);
        true
    })
}

/// A store of these slots, in order of their numbers; an empty one is left out.
fn sealed_store(slots: &[&[u8]]) -> Vec<u8> {
    let slots: Vec<_> = (1_u16..)
        .zip(slots)
        .filter(|(_, slot)| !slot.is_empty())
        .collect();
    let mut header = b"waxwkeys\0\x01".to_vec();
    header.extend(2_u16.to_be_bytes());
    header.extend([0; 12]);
    header.extend([0x62; 32]);
    header.extend(1_u64.to_be_bytes());
    header.extend(kdf::store_commitment(&kek()));
    header.extend(u16::try_from(slots.len()).unwrap().to_be_bytes());
    let (mut file, wrap) = (header.clone(), kdf::store_wrap_key(&kek()));
    let mut rng = ChaCha20Rng::from_seed([0x68; 32]);
    for (number, slot) in slots {
        let number = number.to_be_bytes();
        let place: &[&[u8]] = &[&header, &number];
        let sealed = aead::seal(&mut rng, &wrap, Label::AadStoreSlot, place, slot);
        file.extend(number);
        file.extend(u32::try_from(sealed.len()).unwrap().to_be_bytes());
        file.extend(sealed);
    }
    file
}

/// The slots of a store.
pub(crate) fn sample_slots() -> Vec<u8> {
    let keys = sample_keys(&mut ChaCha20Rng::from_seed([0x64; 32]));
    let mut slots: [Vec<u8>; 7] = Default::default();
    for (number, slot) in keystore::portable(&keys).unwrap() {
        slots[usize::from(number) - 1] = slot.to_vec();
    }
    // One encryption key, superseded.
    slots[4] = [
        &[0, 1, 0, 1][..],
        &[1; 16],
        &[1],
        &[2; 8],
        &[0; 8],
        &[0, 32],
        &[3; 32],
    ]
    .concat();
    parts(slots)
}

fn sample_keys(rng: &mut ChaCha20Rng) -> Keys {
    let relay = RelayPin {
        identity: crate::relay::relay().public().clone(),
        url: "https://relay.example".to_owned(),
    };
    let recovery = Hash::from_bytes([0; 32]);
    Keys::generate(rng, "alice".parse().unwrap(), relay, recovery, 1)
}

/// A new key store in a folder.
pub(crate) fn new_store(folder: &Path) -> KeyStore {
    in_folder(|keys| {
        let mut rng = ChaCha20Rng::from_seed([0x64; 32]);
        let sample = sample_keys(&mut rng);
        let unlock = Unlock::KeyFile(keys.join("key"));
        KeyStore::create(folder, &unlock, Argon2Cost::default(), sample, &mut rng).unwrap()
    })
}

/// A store under the key file.
pub(crate) fn sample_store() -> Vec<u8> {
    in_folder(|folder| {
        let made = tempfile::tempdir_in(folder).unwrap();
        let store = made.path().join("store");
        drop(new_store(&store));
        fs::read(store.join(STORE_FILE)).unwrap()
    })
}

/// The records of the backup of an empty state.
pub(crate) fn sample_records() -> Vec<u8> {
    in_folder(|folder| {
        let mut rng = ChaCha20Rng::from_seed([0x65; 32]);
        let keys = sample_keys(&mut rng);
        let unlock = Unlock::KeyFile(folder.join("key"));
        let state = tempfile::tempdir_in(folder).unwrap();
        let columns = Arc::new(ColumnKeys::new(StateMasterKey::from_slice(&[1; 32]).unwrap()));
        Store::create(state.path(), columns, [1; 8], 1).unwrap();
        let (mut file, cost) = (Vec::new(), Argon2Cost::default());
        backup::write(
            &mut file,
            state.path(),
            &keys,
            (&unlock, cost),
            (1, true),
            &mut rng,
            |_| (),
        )
        .unwrap();
        backup::plaintext(&file, kek()).unwrap()
    })
}

/// What is before everything else in a store and in a backup. Its cost is bounded before anything is computed.
fn unlocking(bytes: &[u8]) -> bool {
    let Ok(unlocking) = Unlocking::decode(bytes) else {
        return false;
    };
    assert!(bytes.starts_with(&unlocking.encode()));
    true
}

fn backup_file(bytes: &[u8]) -> bool {
    backup::plaintext(bytes, kek()).is_ok()
}

/// The records inside a backup that somebody made who knows its secret.
fn backup_records(bytes: &[u8]) -> bool {
    // A backup has no empty chunk.
    if bytes.is_empty() {
        return false;
    }
    let file = sealed_backup(bytes);
    assert_eq!(backup::plaintext(&file, kek()).unwrap(), bytes);
    in_folder(|folder| {
        let unlock = Unlock::KeyFile(folder.join("key"));
        let Ok(backup) = Backup::open(Cursor::new(&file), &unlock) else {
            return false;
        };
        let (manifest, totals) = (backup.manifest, backup.totals);
        let (_, mut rows) = backup.into_keys();
        let state = tempfile::tempdir().unwrap();
        let mut import = Import::begin(state.path(), manifest.schema).unwrap();
        let mut unpacked = 0;
        if rows.unpack(&mut import, |count| unpacked = count).is_ok() {
            assert!(unpacked <= totals.rows);
        }
        true
    })
}

/// A backup in one chunk.
pub(crate) fn sealed_backup(records: &[u8]) -> Vec<u8> {
    let mut file = b"waxwback\0\x01".to_vec();
    file.extend(2_u16.to_be_bytes());
    file.extend([0; 12]);
    file.extend([0x62; 32]);
    file.extend(kdf::store_commitment(&kek()));
    let mut rng = ChaCha20Rng::from_seed([0x63; 32]);
    let place: &[&[u8]] = &[&file.clone(), &0_u64.to_be_bytes(), &[1]];
    file.extend(aead::seal(
        &mut rng,
        &kdf::backup_key(&kek()),
        Label::AadBackup,
        place,
        records,
    ));
    file
}

/// Pins that somebody brings: a file that is taken is written to one that is taken as the same.
fn pin_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let relay = Fingerprint::from_bytes([0x11; 32]);
    let Ok(pins) = PinFile::read(text, &relay, false) else {
        return false;
    };
    assert!(pins.iter().all(|pin| !pin.verified));
    let file = serde_json::to_string(&PinFile::new(relay, pins.clone())).unwrap();
    assert_eq!(PinFile::read(&file, &relay, false), Ok(pins));
    true
}
