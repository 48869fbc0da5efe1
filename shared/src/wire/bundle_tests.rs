use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::{
    identity::signing_input,
    sign::{SignedBytes, Unverified, Verified},
};

/// The field at fault, and how to break it.
type Fault<'a> = (&'a str, &'a dyn Fn(&mut Bundle));

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn identity(seed: u8) -> IdentityKey {
    IdentityKey::ed25519(key(seed).verifying_key().to_bytes())
}

fn sign(seed: u8, label: Label, body: &[u8]) -> Signature {
    Signature::new(key(seed).sign(&signing_input(label, &[body])).to_bytes())
}

fn bundle_key(suite: u16, number: u64) -> BundleKey {
    let mut public = vec![9; 32];
    public[31] = 0x40;
    let suite = Suite(suite);
    BundleKey {
        suite,
        number,
        public,
    }
}

fn bundle() -> Bundle {
    Bundle {
        version: VERSION,
        relay: RelayId::from_bytes([5; 32]),
        handle: "alice".parse().unwrap(),
        identity: identity(1),
        number: 10,
        not_before: 1,
        not_after: 2,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![bundle_key(1, 1)],
        recovery: Bundle::recovery_hash(&identity(2)),
    }
}

/// docs/protocol.md, 4.3, step 3: rules of a bundle that need neither a clock nor earlier bundles.
#[test]
fn bundle_rules() {
    assert_eq!(bundle().check(), Ok(()));
    let faults: [Fault; 9] = [
        ("version", &|b| b.version = 2),
        ("number", &|b| b.number = 0),
        ("not_after", &|b| b.not_after = b.not_before),
        ("keys", &|b| b.keys.clear()),
        ("keys", &|b| {
            b.keys = (0..9).map(|number| bundle_key(1, number)).collect();
        }),
        ("keys", &|b| b.keys = vec![bundle_key(1, 3), bundle_key(1, 3)]),
        ("public key", &|b| b.keys[0].public = vec![0; 2_049]),
        ("public key", &|b| b.keys[0].public.truncate(31)),
        ("public key", &|b| b.keys[0].public = vec![0; 32]),
    ];
    for (what, fault) in faults {
        let mut bundle = bundle();
        fault(&mut bundle);
        assert_eq!(bundle.check(), Err(BundleRule(what)));
    }
    // A suite of a later version is carried unchecked and never used.
    let mut later = bundle();
    later.keys.push(BundleKey {
        public: vec![0; 1_216],
        ..bundle_key(2, 9)
    });
    assert_eq!(later.check(), Ok(()));
    assert_eq!(later.best_key(), Some(&later.keys[0]));
    assert_eq!(later.highest_suite(), Suite::HYBRID);
}

/// docs/protocol.md, 2.1 and 4.3, using one: senders use the highest known suite at or above the minimum, in it the
/// highest number.
#[test]
fn best_key_is_the_highest_number_of_the_highest_known_suite() {
    let mut bundle = bundle();
    bundle.keys = vec![
        bundle_key(1, 5),
        bundle_key(1, 7),
        bundle_key(1, 6),
        bundle_key(0, 9),
    ];
    assert_eq!(bundle.best_key().map(|key| key.number), Some(7));
    bundle.min_suite = Suite::HYBRID;
    assert_eq!(bundle.best_key(), None);
}

/// docs/protocol.md, 2.4: every small-order and non-canonical encoding of a public key is refused.
#[test]
fn weak_encryption_keys_are_refused() {
    // Orders 1, 2, 4 and 8 on the curve and the twist, then encodings at or above 2^255 - 19.
    let weak = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0900000000000000000000000000000000000000000000000000000000000080",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for text in weak {
        let mut public = [0; 32];
        hex::decode_to_slice(text, &mut public).unwrap();
        assert!(!is_contributory_x25519(&public), "{text}");
    }
    let mut base = [0; 32];
    base[0] = 9;
    assert!(is_contributory_x25519(&base));
    let mut highest = [0xff; 32];
    (highest[0], highest[31]) = (0xeb, 0x7f);
    assert!(is_contributory_x25519(&highest), "p - 2 is a point of the twist");
}

/// docs/protocol.md, 3.1 and 3.3: a signature holds for its label, its body and its key only.
#[test]
fn signed_documents_are_bound_to_label_body_and_key() {
    let body = bundle().encode();
    let signed = |signature| {
        SignedBytes {
            body: body.clone(),
            signature,
        }
        .encode()
    };
    let good = signed(sign(1, Label::SigBundle, &body));
    let verified = Verified::from_bytes(&good, |bundle: &Bundle| &bundle.identity).unwrap();
    assert_eq!((verified.body(), verified.bytes()), (&bundle(), good.as_slice()));
    assert_eq!(verified.hash(), crate::hash::sha256(&good));
    for bad in [sign(1, Label::SigLease, &body), sign(2, Label::SigBundle, &body)] {
        let unverified = Unverified::<Bundle>::decode(&signed(bad)).unwrap();
        assert_eq!(
            unverified.verify(|bundle| &bundle.identity),
            Err(VerifyError::Signature)
        );
    }
    let mut short = signed(Signature::new([0; 63]));
    let unverified = Unverified::<Bundle>::decode(&short).unwrap();
    assert_eq!(
        unverified.verify(|bundle| &bundle.identity),
        Err(VerifyError::Signature)
    );
    short.push(0);
    assert_eq!(Unverified::<Bundle>::decode(&short), Err(DecodeError::Trailing));
}

fn succession(
    by_old: Option<Signature>,
    by_recovery: Option<Signature>,
    by_new: Signature,
) -> SuccessionBytes {
    SuccessionBytes {
        body: succession_body(),
        by_new,
        by_old,
        recovery: by_recovery.is_some().then(|| identity(2)),
        by_recovery,
    }
}

fn succession_body() -> Vec<u8> {
    Succession {
        version: VERSION,
        relay: RelayId::from_bytes([5; 32]),
        handle: "alice".parse().unwrap(),
        old: identity(1),
        new: identity(3),
        time: 7,
    }
    .encode()
}

/// docs/protocol.md, 4.6: a succession is proven by the new identity and the old one or the recovery
/// key; every signature that is there must hold.
#[test]
fn succession_needs_the_new_identity_and_one_that_it_follows() {
    let body = succession_body();
    let by_new = || sign(3, Label::SigSuccessionNew, &body);
    let by_old = || Some(sign(1, Label::SigSuccessionOld, &body));
    let by_recovery = || Some(sign(2, Label::SigSuccessionRecovery, &body));
    let recovery = Bundle::recovery_hash(&identity(2));
    let verdict = |bytes: &SuccessionBytes, recovery: &Hash| {
        bytes.verify(recovery).map(|succession| succession.time).ok()
    };
    for good in [
        succession(by_old(), None, by_new()),
        succession(None, by_recovery(), by_new()),
        succession(by_old(), by_recovery(), by_new()),
    ] {
        assert_eq!(verdict(&good, &recovery), Some(7));
    }
    let other = Bundle::recovery_hash(&identity(4));
    assert_eq!(verdict(&succession(None, by_recovery(), by_new()), &other), None);
    assert_eq!(
        verdict(&succession(by_old(), by_recovery(), by_new()), &other),
        None
    );
    let wrong_label = Some(sign(1, Label::SigSuccessionNew, &body));
    let wrong_key = Some(sign(4, Label::SigSuccessionOld, &body));
    for bad in [
        succession(wrong_label, None, by_new()),
        succession(wrong_key.clone(), None, by_new()),
        succession(wrong_key, by_recovery(), by_new()),
        succession(by_old(), None, sign(1, Label::SigSuccessionNew, &body)),
        succession(None, None, by_new()),
    ] {
        assert_eq!(verdict(&bad, &recovery), None);
    }
}
