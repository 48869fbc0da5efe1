//! Folder, permissions, lock, replacement.

use super::*;

/// docs/protocol.md, 8.1: mode 0600.
#[test]
fn folder_and_files_are_closed_to_others() {
    let place = Place::with_key_file();
    let store = place.create(new_keys());
    assert_eq!(mode(&place.dir()), 0o700);
    for name in [STORE_FILE, LOCK_FILE, KEY_FILE] {
        assert_eq!(mode(&place.dir().join(name)), 0o600, "{name}");
    }
    drop(store);
}

#[test]
fn open_refuses_permissions_that_are_too_open() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    for open in [0o640, 0o604, 0o620, 0o666] {
        set_mode(&place.file(), open);
        let refusal = place.refusal();
        assert!(
            matches!(&refusal, KeyStoreError::Permissions { path, mode, allowed: 0o600 }
                if *path == place.file() && *mode == open),
            "{refusal:?}"
        );
    }
    set_mode(&place.file(), 0o400);
    set_mode(&place.dir(), 0o750);
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Permissions {
            mode: 0o750,
            allowed: 0o700,
            ..
        }
    ));
    set_mode(&place.dir(), 0o700);
    assert!(place.open().is_ok());
}

/// Two processes on one identity would be a clone.
#[test]
fn open_refuses_store_in_use() {
    let place = Place::with_key_file();
    let store = place.create(new_keys());
    assert!(matches!(place.refusal(), KeyStoreError::Locked { path } if path == place.dir().join(LOCK_FILE)));
    drop(store);
    let store = place.open().unwrap();
    assert!(matches!(place.refusal(), KeyStoreError::Locked { .. }));
    drop(store);
    assert!(place.open().is_ok());
}

/// docs/protocol.md, 8.1: the file is replaced atomically.
/// A crash while the new file was written leaves part of it beside the old one, which holds.
#[test]
fn replacement_survives_a_crash() {
    let place = Place::with_key_file();
    let mut store = place.create(new_keys());
    let old = fs::read(place.file()).unwrap();
    store.keys_mut().incarnation = 99;
    store.save(&mut rng(5)).unwrap();
    drop(store);
    let new = fs::read(place.file()).unwrap();
    let left_over = place.dir().join("keys.new");
    for length in [0, 1, new.len() / 2, new.len()] {
        fs::write(place.file(), &old).unwrap();
        fs::write(&left_over, &new[..length]).unwrap();
        let mut store = place.open().unwrap();
        assert_same(store.keys(), &new_keys());
        assert!(!left_over.exists());
        fs::write(&left_over, &new[..length]).unwrap();
        store.save(&mut rng(6)).unwrap();
        assert!(!left_over.exists());
    }
    // A crash right after the rename: the new file holds.
    fs::write(place.file(), &new).unwrap();
    assert_eq!(place.open().unwrap().keys().incarnation, 99);
}

/// A save that fails leaves the file and the generation as they were.
#[test]
fn failed_save_keeps_the_old_store() {
    let place = Place::with_key_file();
    let mut store = place.create(new_keys());
    let left_over = place.dir().join("keys.new");
    fs::create_dir(&left_over).unwrap();
    store.keys_mut().incarnation = 99;
    assert!(matches!(store.save(&mut rng(5)), Err(KeyStoreError::Io { .. })));
    assert_eq!(store.generation(), 1);
    fs::remove_dir(&left_over).unwrap();
    drop(store);
    assert_same(place.open().unwrap().keys(), &new_keys());
}

/// A new identity is never put where one is or was.
#[test]
fn create_refuses_any_folder_in_use() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let before = fs::read(place.file()).unwrap();
    let create = || {
        KeyStore::create(
            &place.dir(),
            &place.unlock,
            Argon2Cost::FLOOR,
            full_keys(),
            &mut rng(5),
        )
    };
    assert!(matches!(create(), Err(KeyStoreError::AlreadyExists { path }) if path == place.file()));
    assert_eq!(fs::read(place.file()).unwrap(), before);
    // The store is lost, its database is not: no new identity either.
    fs::remove_file(place.file()).unwrap();
    fs::write(place.dir().join("state.db"), b"history").unwrap();
    assert!(matches!(create(), Err(KeyStoreError::NotEmpty { entry, .. }) if entry == "state.db"));
    fs::remove_file(place.dir().join("state.db")).unwrap();
    // Lock, key file and what a crash left over are all that is there.
    fs::write(place.dir().join("keys.new"), b"half").unwrap();
    assert_same(create().unwrap().keys(), &full_keys());
}

#[test]
fn create_takes_an_empty_folder_and_closes_it() {
    let place = Place::with_key_file();
    fs::create_dir(place.dir()).unwrap();
    set_mode(&place.dir(), 0o755);
    drop(place.create(new_keys()));
    assert_eq!(mode(&place.dir()), 0o700);
}
