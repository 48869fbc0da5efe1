//! Passphrases, key files, and where they come from.

use super::*;
use crate::crypto::testing::counting;

/// docs/protocol.md, 8.1: the commitment is compared before anything is opened.
#[test]
fn open_refuses_wrong_passphrase() {
    let place = Place::new(|_| passphrase("correct horse"));
    drop(place.create(new_keys()));
    for wrong in ["correct horse ", "Correct horse", "x"] {
        assert!(matches!(
            KeyStore::open(&place.dir(), &passphrase(wrong)),
            Err(KeyStoreError::WrongSecret)
        ));
    }
}

#[test]
fn open_refuses_key_file_of_another_store() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    fs::write(place.dir().join(KEY_FILE), format!("wxk_{}\n", "ab".repeat(32))).unwrap();
    assert!(matches!(place.refusal(), KeyStoreError::WrongSecret));
}

#[test]
fn open_says_how_the_store_is_unlocked() {
    let place = Place::new(|_| passphrase("correct horse"));
    drop(place.create(new_keys()));
    let key_file = Unlock::KeyFile(place.dir().join(KEY_FILE));
    let refusal = KeyStore::open(&place.dir(), &key_file).unwrap_err();
    let (expected, given) = (UnlockKind::Passphrase, UnlockKind::KeyFile);
    assert!(
        matches!(refusal, KeyStoreError::UnlockKind { expected: e, given: g } if (e, g) == (expected, given))
    );
    assert_eq!(
        refusal.to_string(),
        "key store is unlocked by a passphrase, named by --passphrase-file, and not by a key file"
    );

    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let refusal = KeyStore::open(&place.dir(), &passphrase("x")).unwrap_err();
    assert!(matches!(
        refusal,
        KeyStoreError::UnlockKind {
            expected: UnlockKind::KeyFile,
            ..
        }
    ));
}

/// A lost key file is a refusal; no other is made in its place.
#[test]
fn open_refuses_missing_key_file_and_makes_none() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let path = place.dir().join(KEY_FILE);
    fs::remove_file(&path).unwrap();
    assert!(matches!(place.refusal(), KeyStoreError::Unlock(UnlockError::Io { path: p, .. }) if p == path));
    assert!(!path.exists());
}

#[test]
fn open_refuses_what_is_no_key_file() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let path = place.dir().join(KEY_FILE);
    let good = fs::read_to_string(&path).unwrap();
    assert_eq!((good.len(), good.ends_with('\n')), (69, true));
    let bad = [
        String::new(),
        good.to_uppercase(),
        good.replace("wxk_", ""),
        good.replace('\n', "0\n"),
        format!("{good}\n"),
        format!(" {good}"),
        good[..67].to_owned(),
    ];
    for text in bad {
        fs::write(&path, &text).unwrap();
        let refusal = place.refusal();
        assert!(
            matches!(refusal, KeyStoreError::Unlock(UnlockError::NotAKeyFile { .. })),
            "{text:?}"
        );
    }
    fs::write(&path, "x".repeat(4_097)).unwrap();
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Unlock(UnlockError::TooLong { max: 4_096, .. })
    ));
    fs::write(&path, good.trim_end()).unwrap();
    assert!(place.open().is_ok(), "the line end may be missing");
    set_mode(&path, 0o644);
    let refusal = place.refusal();
    assert!(matches!(
        refusal,
        KeyStoreError::Unlock(UnlockError::Permissions { mode: 0o644, .. })
    ));
}

/// A key file that exists is used by a new store, also outside its folder.
#[test]
fn create_uses_the_key_file_that_is_there() {
    let place = Place::new(|dir| Unlock::KeyFile(dir.with_file_name("elsewhere")));
    let path = place.temp.path().join("elsewhere");
    let text = format!("wxk_{}\n", hex::encode(counting::<32>(0)));
    fs::write(&path, &text).unwrap();
    set_mode(&path, 0o600);
    drop(place.create(new_keys()));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert!(!place.dir().join(KEY_FILE).exists());
    assert!(place.open().is_ok());
}

#[test]
fn sources_are_asked_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = temp.path().join(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    };
    let named = file("named", "from a file\r\n");
    file(CREDENTIAL, "from systemd\n\n");
    set_mode(&temp.path().join(CREDENTIAL), 0o440);
    let dir = temp.path().join("state");
    let text = |unlock: &Unlock| match unlock {
        Unlock::Passphrase(passphrase) => passphrase.expose_bytes().to_vec(),
        Unlock::KeyFile(path) => path.as_os_str().as_encoded_bytes().to_vec(),
    };

    let mut sources = UnlockSources::default();
    let (unlock, origin) = sources.find(&dir).unwrap();
    assert_eq!(
        (text(&unlock), origin),
        (
            dir.join("key").as_os_str().as_encoded_bytes().to_vec(),
            UnlockOrigin::Beside
        )
    );

    sources.credentials = Some(temp.path().join("no such folder"));
    assert_eq!(sources.find(&dir).unwrap().1, UnlockOrigin::Beside);
    sources.credentials = Some(temp.path().to_owned());
    let (unlock, origin) = sources.find(&dir).unwrap();
    assert_eq!(
        (text(&unlock), origin),
        (b"from systemd\n".to_vec(), UnlockOrigin::Credential)
    );

    sources.key_file = Some(temp.path().join("k"));
    assert_eq!(sources.find(&dir).unwrap().1, UnlockOrigin::KeyFile);
    sources.passphrase_file = Some(named.clone());
    assert!(matches!(sources.find(&dir), Err(UnlockError::Ambiguous)));
    sources.key_file = None;
    let (unlock, origin) = sources.find(&dir).unwrap();
    assert_eq!(
        (text(&unlock), origin),
        (b"from a file".to_vec(), UnlockOrigin::PassphraseFile)
    );

    set_mode(&named, 0o644);
    assert!(matches!(sources.find(&dir), Err(UnlockError::Permissions { .. })));
    sources.passphrase_file = Some(file("empty", "\n"));
    assert!(matches!(sources.find(&dir), Err(UnlockError::Empty)));
    sources.passphrase_file = Some(temp.path().join("missing"));
    assert!(matches!(
        sources.find(&dir),
        Err(UnlockError::Io { act: "read", .. })
    ));
}

/// Made by another implementation of Argon2id (RFC 9106).
#[test]
fn stretching_is_pinned() {
    let kek = Argon2Cost::FLOOR.stretch(b"correct horse", &counting(0)).unwrap();
    assert_eq!(
        hex::encode(kek.expose_bytes()),
        "0fb7142cbef5e0e5911b1f6d59f08b3512ca07be95eae5b7c49931d0836f62f7"
    );
}

/// docs/protocol.md, 8.1: the parameters' bounds.
#[test]
fn cost_has_floors_and_ceilings() {
    assert_eq!(Argon2Cost::new(64 * 1024, 3, 1), Ok(Argon2Cost::default()));
    assert_eq!(Argon2Cost::new(19 * 1024, 2, 1), Ok(Argon2Cost::FLOOR));
    assert_eq!(Argon2Cost::new(1024 * 1024, 10, 16), Ok(Argon2Cost::CEILING));
    let refusal = CostError {
        what: "argon2id passes",
        min: 2,
        max: 10,
        actual: 11,
    };
    assert_eq!(Argon2Cost::new(64 * 1024, 11, 1), Err(refusal));
}
