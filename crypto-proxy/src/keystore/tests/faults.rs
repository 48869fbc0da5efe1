//! Altered, cut and foreign bytes.

use super::*;
use crate::{crypto::testing::flips, keystore::format::HEADER};

const GENERATION: usize = 56;
const COMMITMENT: usize = 64;

/// docs/protocol.md, 8.1: a missing store never leads to a new identity.
#[test]
fn open_refuses_missing_store_and_makes_nothing() {
    let place = Place::with_key_file();
    assert!(matches!(place.refusal(), KeyStoreError::Missing { path } if path == place.file()));
    assert!(!place.dir().exists());
    fs::create_dir(place.dir()).unwrap();
    assert!(matches!(place.refusal(), KeyStoreError::Missing { .. }));
    assert_eq!(fs::read_dir(place.dir()).unwrap().count(), 0);
}

/// Cut anywhere, the store is refused; never is it taken for a shorter one.
#[test]
fn open_refuses_truncated_store_at_every_length() {
    let place = Place::with_key_file();
    drop(place.create(full_keys()));
    let whole = fs::read(place.file()).unwrap();
    for length in 0..whole.len() {
        let refusal = unseal(&whole[..length], &place.unlock).unwrap_err();
        assert!(matches!(refusal, KeyStoreError::Truncated), "{length}");
    }
    place.alter(|bytes| bytes.truncate(whole.len() - 1));
    assert!(matches!(place.refusal(), KeyStoreError::Truncated));
    place.alter(|bytes| *bytes = [whole.as_slice(), &[0, 1]].concat());
    assert!(matches!(place.refusal(), KeyStoreError::Trailing { length: 2 }));
}

/// docs/protocol.md, 8.1: a damaged store is reported as such.
/// Attack 99: a flipped bit is refused, with the reason that belongs to its place.
#[test]
fn open_refuses_flipped_bits_everywhere() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let whole = fs::read(place.file()).unwrap();
    for (bit, flipped) in flips(&whole).enumerate() {
        let at = bit / 8;
        let refusal = unseal(&flipped, &place.unlock).unwrap_err();
        let expected = match at {
            0..8 => matches!(refusal, KeyStoreError::NotAKeyStore),
            8..10 => matches!(refusal, KeyStoreError::UnknownVersion { .. }),
            10..12 => matches!(
                refusal,
                KeyStoreError::UnknownUnlock { .. } | KeyStoreError::Cost(_)
            ),
            12..24 => matches!(refusal, KeyStoreError::UnknownUnlock { .. }),
            24..COMMITMENT => matches!(
                refusal,
                KeyStoreError::Tampered {
                    slot: Slot::Identities
                }
            ),
            COMMITMENT..96 => matches!(refusal, KeyStoreError::WrongSecret),
            96..HEADER => matches!(refusal, KeyStoreError::Truncated | KeyStoreError::Trailing { .. }),
            _ => matches!(
                refusal,
                KeyStoreError::Tampered { .. }
                    | KeyStoreError::Slots
                    | KeyStoreError::Truncated
                    | KeyStoreError::Trailing { .. }
            ),
        };
        assert!(expected, "byte {at}: {refusal:?}");
    }
}

/// The slot that was altered is named.
#[test]
fn open_names_the_altered_slot() {
    let place = Place::with_key_file();
    drop(place.create(full_keys()));
    let whole = fs::read(place.file()).unwrap();
    let mut at = HEADER;
    for slot in Slot::ALL {
        let length = u32::from_be_bytes(whole[at + 2..at + 6].try_into().unwrap()) as usize;
        at += 6 + length;
        place.alter(|bytes| {
            bytes.clone_from(&whole);
            bytes[at - 1] ^= 1;
        });
        assert!(matches!(place.refusal(), KeyStoreError::Tampered { slot: found } if found == slot));
    }
    assert_eq!(at, whole.len());
}

#[test]
fn open_refuses_other_files_and_versions() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    place.alter(|bytes| bytes[9] = 2);
    assert!(matches!(
        place.refusal(),
        KeyStoreError::UnknownVersion { version: 2 }
    ));
    place.alter(|bytes| bytes[..8].copy_from_slice(b"SQLite f"));
    assert!(matches!(place.refusal(), KeyStoreError::NotAKeyStore));
    place.alter(|bytes| bytes.resize(1024 * 1024 + 1, 0));
    assert!(matches!(
        place.refusal(),
        KeyStoreError::TooLarge {
            actual: 1_048_577,
            ..
        }
    ));
}

/// docs/protocol.md, 8.1: the parameters' bounds.
/// A header that asks for too little or too much work is refused before anything is computed.
#[test]
fn open_refuses_cost_out_of_bounds() {
    let place = Place::new(|_| passphrase("correct horse"));
    drop(place.create(new_keys()));
    let cases = [
        (12, 19 * 1024 - 1),
        (12, 0),
        (12, 1024 * 1024 + 1),
        (12, u32::MAX),
        (16, 1),
        (16, 11),
        (20, 0),
        (20, 17),
    ];
    let whole = fs::read(place.file()).unwrap();
    for (at, value) in cases {
        place.alter(|bytes| {
            bytes.clone_from(&whole);
            bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        });
        assert!(matches!(place.refusal(), KeyStoreError::Cost(CostError { actual, .. }) if actual == value));
    }
    // Within bounds, but not the cost that the key was derived with.
    place.alter(|bytes| {
        bytes.clone_from(&whole);
        bytes[19] = 3;
    });
    assert!(matches!(place.refusal(), KeyStoreError::WrongSecret));
}

/// docs/protocol.md, 8.1: slots are bound to the header.
/// Attack 99: slots of another generation or of another store under the same key are refused.
#[test]
fn open_refuses_slots_from_elsewhere() {
    let place = Place::with_key_file();
    let mut store = place.create(new_keys());
    let old = fs::read(place.file()).unwrap();
    store.save(&mut rng(5)).unwrap();
    drop(store);
    let new = fs::read(place.file()).unwrap();
    place.alter(|bytes| *bytes = [&new[..HEADER], &old[HEADER..]].concat());
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Tampered {
            slot: Slot::Identities
        }
    ));
    // Another store with the same key file.
    let other = Place::new(|_| Unlock::KeyFile(place.dir().join(KEY_FILE)));
    let keys = new_keys();
    drop(KeyStore::create(&other.dir(), &other.unlock, Argon2Cost::FLOOR, keys, &mut rng(7)).unwrap());
    let foreign = fs::read(other.file()).unwrap();
    place.alter(|bytes| *bytes = [&old[..HEADER], &foreign[HEADER..]].concat());
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Tampered {
            slot: Slot::Identities
        }
    ));
    // A header of a generation that was never written.
    place.alter(|bytes| {
        bytes.clone_from(&new);
        bytes[GENERATION + 7] = 1;
    });
    assert!(matches!(place.refusal(), KeyStoreError::Tampered { .. }));
}

/// Slots cannot be left out, swapped, doubled or renamed.
#[test]
fn open_refuses_rearranged_slots() {
    let place = Place::with_key_file();
    drop(place.create(new_keys()));
    let whole = fs::read(place.file()).unwrap();
    // Slots 2 and 3 are of one length: 6 + 24 + 32 + 16.
    let first = HEADER + 6 + u32::from_be_bytes(whole[HEADER + 2..HEADER + 6].try_into().unwrap()) as usize;
    let (second, third) = (first..first + 78, first + 78..first + 156);
    let swapped = [
        &whole[..first],
        &whole[third.clone()],
        &whole[second.clone()],
        &whole[third.end..],
    ]
    .concat();
    place.alter(|bytes| *bytes = swapped.clone());
    assert!(matches!(place.refusal(), KeyStoreError::Slots));
    // Renamed, so that the order is right again.
    place.alter(|bytes| {
        bytes.clone_from(&swapped);
        bytes[first + 1] = 2;
        bytes[first + 79] = 3;
    });
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Tampered { slot: Slot::SendId }
    ));
    let doubled = [&whole[..third.start], &whole[second.clone()], &whole[third.end..]].concat();
    place.alter(|bytes| *bytes = doubled);
    assert!(matches!(place.refusal(), KeyStoreError::Slots));
    let without = [&whole[..second.start], &whole[third.start..]].concat();
    place.alter(|bytes| {
        bytes.clone_from(&without);
        bytes[HEADER - 1] -= 1;
    });
    assert!(matches!(
        place.refusal(),
        KeyStoreError::Tampered {
            slot: Slot::Identities
        }
    ));
}
