use proptest::{collection::vec, prelude::*};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::crypto::testing::{Fixed, counting, flips, rng, unhex};

/// The u-coordinates of small order below 2^255 - 19, little-endian (RFC 7748, 6.1).
const SMALL_ORDER: [&str; 5] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn recipient() -> EncryptionSecret {
    EncryptionSecret::from_slice(&counting::<32>(101)).unwrap()
}

/// The oracle's generator is of an older `rand_core`.
struct Old(ChaCha20Rng);

impl crypto_box::aead::rand_core::RngCore for Old {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), crypto_box::aead::rand_core::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl crypto_box::aead::rand_core::CryptoRng for Old {}

/// docs/protocol.md, 2.4: the formula, byte for byte.
/// Made by libsodium 1.0.18: `crypto_box_easy` under a fixed ephemeral key, opened by
/// `crypto_box_seal_open`.
#[test]
fn seal_gives_the_bytes_of_libsodium() {
    let secret = recipient();
    assert_eq!(
        secret.public().as_bytes().as_slice(),
        unhex("5714769d116bf76436ae74bc793d2c30ad1903c59ac5273805c7e2698b410c36")
    );
    let message = b"waxwire sealed box, fixed ephemeral key";
    let sealed = seal(&mut Fixed(&counting::<32>(1)), secret.public(), message);
    let expected = unhex(
        "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7cf71b46ed7a9d11535335ff5ee273449\
         35b9a19c71136bbc1e4a9ce245ef37577c6fd098aeed0c1ecc7cfee32f09db01a6c24293ca34b76",
    );
    assert_eq!(sealed, expected);
    assert_eq!(open(&secret, &sealed).unwrap().as_slice(), message);
}

/// Made by `crypto_box_seal` of libsodium 1.0.18 with its own ephemeral key.
#[test]
fn open_opens_what_libsodium_sealed() {
    let empty = unhex(
        "df43ab763ed2a34bb3749055156ed87a89c18769768da4691e653c547a66cf13e6b8e9c2ab83579c955ae9540a39b2b3",
    );
    let text = unhex(
        "f06b14a487d98eea1f686b4268c13697ed97c380fa17b70110d394e18f9d97520b4d6f122113bf068409bdd0db725517\
         be8b9a5c0a7cbd4c1eef6e984d95a519fd33ccb56b7b27f28f",
    );
    let secret = recipient();
    assert!(open(&secret, &empty).unwrap().is_empty());
    assert_eq!(
        open(&secret, &text).unwrap().as_slice(),
        b"sealed by crypto_box_seal"
    );
}

proptest! {
    #[test]
    fn crypto_box_opens_what_seal_seals(seed: u64, message in vec(any::<u8>(), 0..600)) {
        let mut rng = rng(seed);
        let secret = EncryptionSecret::generate(&mut rng);
        let sealed = seal(&mut rng, secret.public(), &message);
        prop_assert_eq!(sealed.len(), OVERHEAD + message.len());
        let oracle = crypto_box::SecretKey::from(*secret.expose_bytes());
        prop_assert_eq!(oracle.unseal(&sealed).unwrap(), message);
    }

    #[test]
    fn open_opens_what_crypto_box_seals(seed: u64, message in vec(any::<u8>(), 0..600)) {
        let mut rng = rng(seed);
        let secret = EncryptionSecret::generate(&mut rng);
        let oracle = crypto_box::PublicKey::from(*secret.public().as_bytes());
        let sealed = oracle.seal(&mut Old(rng), &message).unwrap();
        let opened = open(&secret, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), message.as_slice());
    }

    #[test]
    fn open_never_panics_on_arbitrary_bytes(sealed in vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&recipient(), &sealed).is_err());
    }
}

/// docs/protocol.md, 2.4: an all-zero shared secret is refused before anything is derived from it.
/// Such a box opens for every recipient; the oracle shows that it would have opened here.
#[test]
fn open_refuses_all_zero_shared_secret() {
    let secret = recipient();
    let oracle = crypto_box::SecretKey::from(*secret.expose_bytes());
    for point in SMALL_ORDER {
        let point: [u8; 32] = unhex(point).try_into().unwrap();
        let key = XSalsa20Poly1305::kdf(&Key::default(), &GenericArray::default());
        let mut body = b"for everybody".to_vec();
        let tag = XSalsa20Poly1305::new(&key)
            .encrypt_in_place_detached(&nonce(&point, secret.public()), b"", &mut body)
            .unwrap();
        let sealed = [point.as_slice(), &tag, &body].concat();
        assert_eq!(oracle.unseal(&sealed).unwrap(), b"for everybody");
        assert_eq!(open(&secret, &sealed), Err(OpenError));
    }
}

#[test]
fn open_rejects_every_flipped_bit() {
    let secret = recipient();
    let sealed = seal(&mut rng(1), secret.public(), b"message");
    for flipped in flips(&sealed) {
        assert_eq!(open(&secret, &flipped), Err(OpenError));
    }
}

#[test]
fn open_rejects_every_other_length() {
    let secret = recipient();
    let sealed = seal(&mut rng(1), secret.public(), b"message");
    for length in 0..sealed.len() {
        assert_eq!(open(&secret, &sealed[..length]), Err(OpenError));
    }
    assert_eq!(open(&secret, &[&sealed[..], &[0]].concat()), Err(OpenError));
}

#[test]
fn open_rejects_another_recipient() {
    let mut rng = rng(2);
    let sealed = seal(&mut rng, recipient().public(), b"message");
    assert_eq!(
        open(&EncryptionSecret::generate(&mut rng), &sealed),
        Err(OpenError)
    );
}

/// docs/protocol.md, 2.1: random bytes are drawn anew for every use.
#[test]
fn seal_takes_a_fresh_ephemeral_key_each_time() {
    let (mut rng, secret) = (rng(3), recipient());
    let first = seal(&mut rng, secret.public(), b"message");
    let second = seal(&mut rng, secret.public(), b"message");
    assert_ne!(first[..32], second[..32]);
    assert_ne!(first[32..], second[32..]);
}
