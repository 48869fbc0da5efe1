use waxwire_shared::{
    ids::{RelayId, SessionId},
    sign::Verified,
    wire::{Lease, VERSION},
};

use super::*;
use crate::{
    credential::ApiKey,
    crypto::{
        recovery::RecoverySecret,
        testing::{counting, rng, unhex},
    },
    keystore::Passphrase,
};

/// Fails to compile for a type that is `Clone` or `PartialEq`: two impls then fit.
macro_rules! assert_secret {
    ($($name:ty),*) => {$({
        struct Fits;
        trait Clones<A> { const OK: () = (); }
        impl<T: ?Sized> Clones<()> for T {}
        impl<T: Clone> Clones<Fits> for T {}
        trait Compares<A> { const OK: () = (); }
        impl<T: ?Sized> Compares<()> for T {}
        impl<T: PartialEq> Compares<Fits> for T {}
        const fn wipes<T: ZeroizeOnDrop>() {}
        const { <$name as Clones<_>>::OK };
        const { <$name as Compares<_>>::OK };
        const { wipes::<$name>() };
    })*};
}

#[test]
fn secrets_wipe_on_drop_and_neither_clone_nor_compare() {
    assert_secret!(
        EpochKey,
        ChainKey,
        MessageKey,
        SendIdKey,
        StoreKek,
        StoreWrapKey,
        StateMasterKey,
        StateKey,
        AttachmentKey,
        AttachmentChunkKey,
        BackupKey,
        IdentitySecret,
        EncryptionSecret,
        RecoverySecret,
        Passphrase,
        ApiKey
    );
}

#[test]
fn secrets_print_their_name_only() {
    let mut rng = rng(1);
    assert_eq!(format!("{:?}", EpochKey::generate(&mut rng)), "EpochKey");
    assert_eq!(
        format!("{:?}", IdentitySecret::generate(&mut rng)),
        "IdentitySecret"
    );
    assert_eq!(
        format!("{:?}", EncryptionSecret::generate(&mut rng)),
        "EncryptionSecret"
    );
    assert_eq!(
        format!("{:?}", RecoverySecret::generate(&mut rng)),
        "RecoverySecret"
    );
    assert_eq!(format!("{:?}", ApiKey::new("wax").unwrap()), "ApiKey");
}

#[test]
fn from_slice_says_which_length_it_expects() {
    for actual in [0, 31, 33] {
        let refusal = SecretLengthError { expected: 32, actual };
        let bytes = vec![7; actual];
        assert_eq!(EpochKey::from_slice(&bytes).unwrap_err(), refusal);
        assert_eq!(IdentitySecret::from_slice(&bytes).unwrap_err(), refusal);
        assert_eq!(EncryptionSecret::from_slice(&bytes).unwrap_err(), refusal);
        let refusal = PublicKeyError::Length { expected: 32, actual };
        assert_eq!(EncryptionPublic::from_slice(&bytes).unwrap_err(), refusal);
    }
}

/// Attack 97: what is dropped is gone from memory, not only from view. The allocator writes into
/// the first 16 bytes of what is freed, so the rest is looked at.
#[cfg(target_os = "linux")]
#[test]
fn dropped_secrets_are_gone_from_memory() {
    use std::{fs::File, os::unix::fs::FileExt as _};

    fn check<T>(secret: T, exposed: impl FnOnce(&T) -> &[u8]) {
        let bytes = exposed(&secret);
        let (address, before) = (bytes.as_ptr() as u64, bytes.to_vec());
        let memory = File::open("/proc/self/mem").unwrap();
        let mut found = vec![0; before.len()];
        memory.read_exact_at(&mut found, address).unwrap();
        assert_eq!(found, before, "the secret lies where it says");
        drop(secret);
        memory.read_exact_at(&mut found, address).unwrap();
        assert_ne!(found[16..], before[16..], "{}", std::any::type_name::<T>());
    }

    let mut rng = rng(2);
    check(EpochKey::generate(&mut rng), |key| key.expose_bytes());
    check(StateMasterKey::generate(&mut rng), |key| key.expose_bytes());
    check(EncryptionSecret::generate(&mut rng), |key| key.expose_bytes());
    check(IdentitySecret::generate(&mut rng), |key| key.expose_seed());
    check(
        ApiKey::new("an-api-key-of-more-than-thirty-two-characters").unwrap(),
        |key| key.expose_text().as_bytes(),
    );
}

/// RFC 7748, 5.2 and 6.1.
#[test]
fn agreement_matches_rfc_7748() {
    let scalar = unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let u = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let out = EncryptionSecret::from_slice(&scalar)
        .unwrap()
        .agree(&u.try_into().unwrap());
    assert_eq!(
        out.as_bytes().as_slice(),
        unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    );

    let secret = |digits| EncryptionSecret::from_slice(&unhex(digits)).unwrap();
    let alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    assert_eq!(
        alice.public().as_bytes().as_slice(),
        unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        bob.public().as_bytes().as_slice(),
        unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    let shared = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(alice.agree(bob.public().as_bytes()).as_bytes().as_slice(), shared);
    assert_eq!(bob.agree(alice.public().as_bytes()).as_bytes().as_slice(), shared);
}

/// docs/protocol.md, 2.4: nothing is sealed to a key that is of small order or not canonical.
#[test]
fn encryption_public_refuses_keys_that_do_not_contribute() {
    let refused = [
        // Small order: 0, 1, two of order 8, -1.
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // p, p + 1 and p + 9: not canonical, the last of large order.
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // 9 with the unused bit set.
        "0900000000000000000000000000000000000000000000000000000000000080",
    ];
    for digits in refused {
        let refusal = EncryptionPublic::from_slice(&unhex(digits));
        assert_eq!(refusal, Err(PublicKeyError::NotContributory), "{digits}");
    }
    let base = unhex("0900000000000000000000000000000000000000000000000000000000000000");
    assert_eq!(
        EncryptionPublic::from_slice(&base).unwrap().as_bytes().as_slice(),
        base
    );
}

#[test]
fn own_public_halves_pass_the_check_that_others_make() {
    let mut rng = rng(3);
    for _ in 0..64 {
        let secret = EncryptionSecret::generate(&mut rng);
        assert_eq!(
            EncryptionPublic::from_slice(secret.public().as_bytes()).unwrap(),
            *secret.public()
        );
        assert_eq!(IdentitySecret::generate(&mut rng).public().check(), Ok(()));
    }
}

/// Made by another implementation of Ed25519 from the same seed and label.
#[test]
fn sign_gives_a_pinned_signature_of_label_and_parts() {
    let identity = IdentitySecret::from_slice(&counting::<32>(0)).unwrap();
    let public = unhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
    assert_eq!(identity.public().as_bytes(), public);
    assert_eq!(identity.expose_seed(), &counting::<32>(0));
    let signature = identity.sign(Label::SigLease, &[b"one", b"two"]);
    let expected = unhex(
        "87058a20ed411dee0dd05e3f99495910c3e036db2c04b815a07354db0d3ce0661bb0c055dfad30825822ae26a49629a6\
         6fd946395e340eba6b5591d0b6803e03",
    );
    assert_eq!(signature.as_bytes(), expected);
    assert_eq!(
        identity
            .public()
            .verify(Label::SigLease, &[b"onetwo"], &signature),
        Ok(())
    );
    assert!(
        identity
            .public()
            .verify(Label::SigBundle, &[b"onetwo"], &signature)
            .is_err()
    );
}

#[test]
fn sign_document_gives_bytes_that_verify() {
    let identity = IdentitySecret::generate(&mut rng(4));
    let lease = Lease {
        version: VERSION,
        relay: RelayId::from_bytes([1; 32]),
        identity: identity.public().clone(),
        incarnation: 5,
        session: SessionId::from_bytes([2; 16]),
        time: 6,
    };
    let bytes = identity.sign_document(&lease);
    let verified = Verified::<Lease>::from_bytes(&bytes, |lease| &lease.identity).unwrap();
    assert_eq!(verified.body(), &lease);
}
