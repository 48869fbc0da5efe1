//! The vectors of Wycheproof through this crate's own functions.
//!
//! Nothing that Wycheproof calls invalid is accepted. Of what it calls valid or acceptable nothing is refused but what
//! the tests below list, each with its reason.

use wycheproof::{TestResult, aead as cipher, xdh};

use super::{
    aead::{open_raw, seal_raw},
    secret::{EncryptionPublic, EncryptionSecret},
    testing::Fixed,
};

fn x25519() -> Vec<xdh::Test> {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    set.test_groups
        .into_iter()
        .flat_map(|group| group.tests)
        .collect()
}

/// Why a public key is refused that RFC 7748 would calculate with.
fn is_refused(flag: &xdh::TestFlag) -> bool {
    match flag {
        // The secret that both ends would share is known to everybody (docs/protocol.md, 2.4).
        xdh::TestFlag::LowOrderPublic | xdh::TestFlag::ZeroSharedSecret => true,
        // Two encodings of one key would be two keys in bundles, hashes and pins (docs/protocol.md, 2.4).
        xdh::TestFlag::NonCanonicalPublic => true,
        _ => false,
    }
}

/// docs/protocol.md, 2.4: keys that are taken are agreed on as by everybody; those that are refused are listed above.
#[test]
fn public_keys_are_taken_or_refused_by_rule() {
    let (mut taken, mut refused) = (0, 0);
    for test in x25519() {
        let public = EncryptionPublic::from_slice(&test.public_key);
        let by_rule = test.flags.iter().any(is_refused);
        assert_eq!(public.is_err(), by_rule, "{}: {}", test.tc_id, test.comment);
        assert!(by_rule || test.result != TestResult::Invalid, "{}", test.tc_id);
        let Ok(public) = public else {
            refused += 1;
            continue;
        };
        let secret = EncryptionSecret::from_slice(&test.private_key).unwrap();
        let shared = secret.agree(public.as_bytes());
        assert_eq!(shared.as_bytes(), test.shared_secret.as_ref(), "{}", test.tc_id);
        assert!(shared.was_contributory());
        taken += 1;
    }
    assert_eq!((taken, refused), (474, 44));
}

/// docs/protocol.md, 2.4: whoever opens a box refuses a shared secret of zeros, whatever led to it.
#[test]
fn zero_shared_secrets_are_seen() {
    for test in x25519() {
        let secret = EncryptionSecret::from_slice(&test.private_key).unwrap();
        let shared = secret.agree(test.public_key.as_ref().try_into().unwrap());
        assert_eq!(shared.as_bytes(), test.shared_secret.as_ref(), "{}", test.tc_id);
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(shared.was_contributory(), !zero, "{}", test.tc_id);
        let flagged = test.flags.contains(&xdh::TestFlag::ZeroSharedSecret);
        assert!(!flagged || zero, "{}", test.tc_id);
    }
}

/// docs/protocol.md, 2.5: XChaCha20-Poly1305 with nonces of 24 bytes; other lengths have no place in what is sealed.
#[test]
fn aead_opens_what_is_valid_and_nothing_else() {
    let set = cipher::TestSet::load(cipher::TestName::XChaCha20Poly1305).unwrap();
    let (mut valid, mut invalid, mut other_nonces) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let key = test.key.as_ref().try_into().unwrap();
            let sealed = [test.nonce.as_ref(), &test.ct, &test.tag].concat();
            let opened = open_raw(key, &test.aad, &sealed).ok();
            if test.result == TestResult::Valid {
                assert_eq!(test.nonce.len(), 24);
                assert_eq!(
                    opened.as_deref().map(Vec::as_slice),
                    Some(test.pt.as_ref()),
                    "{}",
                    test.tc_id
                );
                assert_eq!(
                    seal_raw(&mut Fixed(&test.nonce), key, &test.aad, &test.pt),
                    sealed
                );
                valid += 1;
            } else {
                assert!(opened.is_none(), "{}: {}", test.tc_id, test.comment);
                invalid += 1;
                other_nonces += usize::from(test.nonce.len() != 24);
            }
        }
    }
    assert_eq!((valid, invalid, other_nonces), (246, 69, 9));
}
