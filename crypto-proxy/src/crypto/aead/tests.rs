use proptest::{collection::vec, prelude::*};

use super::*;
use crate::crypto::testing::{Fixed, counting, flips, rng, unhex};

const PLACE: [&[u8]; 3] = [b"messages", &[0, 0, 0, 0, 0, 0, 0, 3], b"content"];

fn key() -> StateKey {
    StateKey::from_slice(&counting::<32>(0)).unwrap()
}

/// draft-irtf-cfrg-xchacha-03, A.3.1.
#[test]
fn cipher_matches_the_xchacha_draft() {
    let plaintext =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    let aad = unhex("50515253c0c1c2c3c4c5c6c7");
    let nonce = counting::<24>(0x40);
    let sealed = seal_raw(&mut Fixed(&nonce), &counting(0x80), &aad, plaintext);
    let expected = unhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
         ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
         21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49",
    );
    assert_eq!(sealed, [nonce.as_slice(), &expected].concat());
    assert_eq!(
        open_raw(&counting(0x80), &aad, &sealed).unwrap().as_slice(),
        plaintext
    );
}

/// Made by `crypto_aead_xchacha20poly1305_ietf_encrypt` of libsodium 1.0.18.
#[test]
fn seal_gives_pinned_bytes_for_a_place() {
    let sealed = seal(
        &mut Fixed(&counting::<24>(64)),
        &key(),
        Label::AadStateColumn,
        &PLACE,
        b"content at rest",
    );
    let expected = unhex(
        "404142434445464748494a4b4c4d4e4f5051525354555657b7566b04b58e0d36ee80a7cccaef11b324a2f9e086ae351a\
         bb1ae7954e05d1",
    );
    assert_eq!(sealed, expected);
}

/// docs/protocol.md, 2.5 and 8.2: a sealed column opens in its own table, row and column only.
#[test]
fn open_rejects_another_place() {
    let sealed = seal(&mut rng(1), &key(), Label::AadStateColumn, &PLACE, b"content");
    assert_eq!(
        open(&key(), Label::AadStateColumn, &PLACE, &sealed)
            .unwrap()
            .as_slice(),
        b"content"
    );
    let moved: [&[&[u8]]; 5] = [
        &[b"message", PLACE[1], PLACE[2]],
        &[b"messages", &[0, 0, 0, 0, 0, 0, 0, 4], PLACE[2]],
        &[b"messages", PLACE[1], b"metadata"],
        &[b"messages", PLACE[1]],
        &[],
    ];
    for place in moved {
        assert_eq!(
            open(&key(), Label::AadStateColumn, place, &sealed),
            Err(OpenError)
        );
    }
    assert_eq!(open(&key(), Label::AadBackup, &PLACE, &sealed), Err(OpenError));
    let other = StateKey::from_slice(&[9; 32]).unwrap();
    assert_eq!(
        open(&other, Label::AadStateColumn, &PLACE, &sealed),
        Err(OpenError)
    );
}

/// Parts of a place cannot flow into each other.
#[test]
fn associated_data_tells_where_a_part_ends() {
    let sealed = seal(
        &mut rng(1),
        &key(),
        Label::AadStateColumn,
        &[b"ab", b"c"],
        b"content",
    );
    assert_eq!(
        open(&key(), Label::AadStateColumn, &[b"a", b"bc"], &sealed),
        Err(OpenError)
    );
    assert_eq!(
        open(&key(), Label::AadStateColumn, &[b"abc"], &sealed),
        Err(OpenError)
    );
}

#[test]
fn open_rejects_every_flipped_bit_and_every_other_length() {
    let sealed = seal(&mut rng(1), &key(), Label::AadStateColumn, &PLACE, b"content");
    for flipped in flips(&sealed) {
        assert_eq!(
            open(&key(), Label::AadStateColumn, &PLACE, &flipped),
            Err(OpenError)
        );
    }
    for length in 0..sealed.len() {
        assert_eq!(
            open(&key(), Label::AadStateColumn, &PLACE, &sealed[..length]),
            Err(OpenError)
        );
    }
}

proptest! {
    /// docs/protocol.md, 2.5: a box has the length that the formula gives.
    #[test]
    fn sealing_round_trips(seed: u64, part in vec(any::<u8>(), 0..40), content in vec(any::<u8>(), 0..2_000)) {
        let sealed = seal(&mut rng(seed), &key(), Label::AadStoreSlot, &[&part], &content);
        prop_assert_eq!(sealed.len(), OVERHEAD + content.len());
        let opened = open(&key(), Label::AadStoreSlot, &[&part], &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), content.as_slice());
    }
}
