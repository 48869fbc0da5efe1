use super::*;
use crate::crypto::testing::{flips, rng};

fn setup() -> (EncryptionSecret, EpochKey, Hash) {
    let mut rng = rng(1);
    let key = EpochKey::generate(&mut rng);
    let commitment = kdf::epoch_commitment(&key);
    (EncryptionSecret::generate(&mut rng), key, commitment)
}

#[test]
fn leaf_round_trips_in_96_bytes() {
    let (member, key, commitment) = setup();
    let sealed = seal(&mut rng(2), member.public(), 7, &key);
    assert_eq!(sealed.len(), LENGTH);
    assert_eq!(LENGTH, 96);
    let opened = open(&member, 7, &commitment, &sealed).unwrap();
    assert_eq!(opened.expose_bytes(), key.expose_bytes());
}

/// docs/protocol.md, 6.5, adopting, step 2: the commitment is checked.
/// Attack 14: a rekeyer that gives one member another key is found out by that member.
#[test]
fn attack_56_open_rejects_key_that_misses_the_commitment() {
    let (member, _, commitment) = setup();
    let other = EpochKey::generate(&mut rng(3));
    let sealed = seal(&mut rng(2), member.public(), 7, &other);
    assert_eq!(
        open(&member, 7, &commitment, &sealed).unwrap_err(),
        LeafError::Commitment
    );
}

/// docs/protocol.md, 6.5, adopting, step 2: the epoch in the box is checked.
#[test]
fn open_rejects_another_epoch() {
    let (member, key, commitment) = setup();
    let sealed = seal(&mut rng(2), member.public(), 8, &key);
    let refusal = LeafError::Epoch {
        expected: 7,
        actual: 8,
    };
    assert_eq!(open(&member, 7, &commitment, &sealed).unwrap_err(), refusal);
}

/// docs/protocol.md, 6.5, adopting, step 2: an epoch key of zeros is refused.
/// Attack 15: an all-zero key is refused although it meets its commitment.
#[test]
fn open_rejects_zero_key() {
    let (member, ..) = setup();
    let zero = EpochKey::from_slice(&[0; 32]).unwrap();
    let sealed = seal(&mut rng(2), member.public(), 7, &zero);
    let commitment = kdf::epoch_commitment(&zero);
    assert_eq!(
        open(&member, 7, &commitment, &sealed).unwrap_err(),
        LeafError::Zero
    );
}

/// docs/protocol.md, 6.5, adopting, step 2: magic and kind in the box are checked.
/// Attack 54: a box with something else in it, even of the same length, is no leaf.
#[test]
fn open_rejects_other_plaintexts() {
    let (member, _, commitment) = setup();
    for plaintext in [
        &[0; 48][..],
        b"waxwire\x01 with a length of forty-eight bytes....",
        b"waxwire ",
        b"",
    ] {
        let sealed = sealed_box::seal(&mut rng(2), member.public(), plaintext);
        assert_eq!(
            open(&member, 7, &commitment, &sealed).unwrap_err(),
            LeafError::Malformed
        );
    }
    let long = [EpochKeyPlaintext::MAGIC.as_slice(), &[0; 41]].concat();
    let sealed = sealed_box::seal(&mut rng(2), member.public(), &long);
    assert_eq!(
        open(&member, 0, &commitment, &sealed).unwrap_err(),
        LeafError::Malformed
    );
}

#[test]
fn open_rejects_every_flipped_bit() {
    let (member, key, commitment) = setup();
    let sealed = seal(&mut rng(2), member.public(), 7, &key);
    for flipped in flips(&sealed) {
        assert_eq!(
            open(&member, 7, &commitment, &flipped).unwrap_err(),
            LeafError::Open(OpenError)
        );
    }
}
