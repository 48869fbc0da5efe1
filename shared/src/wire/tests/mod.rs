//! What holds for every document: one encoding, no panic, every rule applied while reading.

mod fields;
mod samples;

use proptest::prelude::*;

use self::samples::{Gen, Sample, for_each_document};
use crate::{sign::SignedBytes, wire::*};

/// Whether a negative key stands anywhere: such fields are skipped, so that encoding again loses them.
fn has_negative_key(bytes: &[u8]) -> bool {
    fn search(value: &ciborium::Value) -> bool {
        match value {
            ciborium::Value::Array(items) => items.iter().any(search),
            ciborium::Value::Map(pairs) => pairs
                .iter()
                .any(|(key, value)| key.as_integer().is_some_and(|key| i128::from(key) < 0) || search(value)),
            _ => false,
        }
    }
    search(&ciborium::from_reader(bytes).unwrap())
}

/// Encode, decode, encode; and every other byte in every place is refused or means something else.
fn check_document<T: Sample>(g: &mut Gen) {
    let name = std::any::type_name::<T>();
    let value = T::sample(g);
    assert_eq!(value.check_rules(), Ok(()), "{name}");
    let bytes = value.encode();
    assert!(bytes.len() <= T::MAX, "{name}");
    let again = T::decode(&bytes);
    assert!(again.as_ref() == Ok(&value), "{name} {again:?}");
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(T::decode(&trailing).is_err(), "{name}");
    // The last byte always, the others in steps: all of them would be quadratic in large samples.
    let step = 1 + bytes.len() / 400;
    for at in (0..bytes.len()).rev().step_by(step) {
        assert!(T::decode(&bytes[..at]).is_err(), "{name} cut at {at}");
        for byte in [
            bytes[at] ^ 1,
            bytes[at] ^ 0x20,
            bytes[at] ^ 0x80,
            bytes[at].wrapping_add(1),
            0,
            0xff,
        ] {
            let mut other = bytes.clone();
            other[at] = byte;
            if other == bytes {
                continue;
            }
            if let Ok(read) = T::decode(&other) {
                assert!(read != value, "{name}: two encodings of one value, byte {at}");
                assert!(
                    read.encode() == other || has_negative_key(&other),
                    "{name}: byte {at}"
                );
                assert_eq!(read.check_rules(), Ok(()), "{name}");
            }
        }
    }
}

/// Room for later versions: a negative key is skipped, a positive one is not.
fn check_extension<T: Sample>(g: &mut Gen) {
    let name = std::any::type_name::<T>();
    let value = T::sample(g);
    let bytes = value.encode();
    let count = bytes[0] & 0x1f;
    assert!(
        bytes[0] & 0xe0 == 0xa0 && count < 23,
        "{name}: every document is a map"
    );
    let extended = |key: &[u8]| {
        let mut other = bytes.clone();
        other[0] += 1;
        other.extend_from_slice(key);
        T::decode(&other)
    };
    if bytes.len() + 3 <= T::MAX {
        assert!(extended(&[0x20, 0x00]).as_ref() == Ok(&value), "{name}");
        assert_eq!(
            extended(&[0x18, 99, 0x00]).err(),
            Some(DecodeError::UnknownField { key: 99 }),
            "{name}"
        );
    }
}

fn never_panics<T: Document>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert!(value.encode() == bytes || has_negative_key(bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// docs/protocol.md, 3.2: what is decoded is encoded to the same bytes.
    #[test]
    fn every_document_has_one_encoding(rng in Just(()).prop_perturb(|(), rng| rng)) {
        let mut g = Gen(rng);
        macro_rules! each {
            ($name:ident) => {
                check_document::<$name>(&mut g);
                check_extension::<$name>(&mut g);
            };
        }
        for_each_document!(each);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        macro_rules! each {
            ($name:ident) => { never_panics::<$name>(&bytes); };
        }
        for_each_document!(each);
        let _ = unpad(&bytes);
        let _ = Envelope::split(&bytes);
    }

    /// The same for bytes that begin like a document of some kind.
    #[test]
    fn decoders_never_panic_on_damaged_documents(
        rng in Just(()).prop_perturb(|(), rng| rng),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut g = Gen(rng);
        macro_rules! each {
            ($name:ident) => {
                let mut bytes = $name::sample(&mut g).encode();
                for (at, byte) in &places {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                never_panics::<$name>(&bytes);
            };
        }
        for_each_document!(each);
    }
}

/// docs/protocol.md, 3.2: a document beyond its limit is refused before anything is read of it.
#[test]
fn documents_beyond_their_limit_are_refused() {
    macro_rules! each {
        ($name:ident) => {
            let (max, actual) = ($name::MAX, $name::MAX + 1);
            let refused = $name::decode(&vec![0; actual]).err();
            assert_eq!(refused, Some(DecodeError::TooLarge { max, actual }));
        };
    }
    for_each_document!(each);
}

/// docs/protocol.md, 3: what holds plaintext or a key does not print it.
#[test]
fn plaintext_is_not_printed() {
    let mut g = Gen(proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    ));
    assert_eq!(format!("{:?}", Core::sample(&mut g)), "Core");
    assert_eq!(format!("{:?}", ControlBody::sample(&mut g)), "ControlBody");
    assert_eq!(format!("{:?}", MessageBytes::sample(&mut g)), "MessageBytes");
    assert_eq!(format!("{:?}", Profile::sample(&mut g)), "Profile");
    let lease = format!("{:?}", Lease::sample(&mut g));
    assert!(lease.starts_with("Lease { version: 1, relay: RelayId("));
}
