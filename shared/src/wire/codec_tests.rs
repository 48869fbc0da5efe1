use ciborium::Value;
use proptest::prelude::*;

use super::*;
use crate::wire::wire_map;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// docs/protocol.md, 3.2: every head is written in its shortest form.
/// RFC 8949, appendix A: the encodings of our types, byte for byte.
#[test]
fn writer_makes_the_shortest_heads() {
    for (value, bytes) in [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (65_535, "19ffff"),
        (65_536, "1a00010000"),
        (4_294_967_295, "1affffffff"),
        (4_294_967_296, "1b0000000100000000"),
        (u64::MAX, "1bffffffffffffffff"),
    ] {
        let mut w = Writer::default();
        w.uint(value);
        assert_eq!(hex::encode(w.into_bytes()), bytes);
        assert_eq!(Reader::new(&hex(bytes)).uint(), Ok(value));
    }
    let mut w = Writer::default();
    w.map(2);
    w.uint(1);
    w.array(2);
    w.bool(false);
    w.bool(true);
    w.uint(2);
    w.array(2);
    w.bytes(&[1, 2, 3, 4]);
    w.text("ü");
    assert_eq!(
        hex::encode(w.into_bytes()),
        "a20182f4f502824401020304 62c3bc".replace(' ', "")
    );
}

/// docs/protocol.md, 3.2: what deterministic encoding forbids, one fault each.
#[test]
fn attack_69_reader_refuses_whatever_is_not_deterministic() {
    use DecodeError::{Forbidden, KeyOrder, NotShortest, Trailing, Truncated, Utf8};
    for (what, bytes, error) in [
        ("integer in two bytes instead of one", "1817", NotShortest),
        ("integer in three bytes instead of two", "1900ff", NotShortest),
        (
            "integer in five bytes instead of three",
            "1a0000ffff",
            NotShortest,
        ),
        (
            "integer in nine bytes instead of five",
            "1b00000000ffffffff",
            NotShortest,
        ),
        ("negative integer not shortest", "3817", NotShortest),
        ("byte string length not shortest", "580100", NotShortest),
        ("text length not shortest", "780161", NotShortest),
        ("array length not shortest", "980101", NotShortest),
        ("map length not shortest", "b8010101", NotShortest),
        ("indefinite byte string", "5f4101ff", NotShortest),
        ("indefinite text", "7f6161ff", NotShortest),
        ("indefinite array", "9f01ff", NotShortest),
        ("indefinite map", "bf0101ff", NotShortest),
        ("break alone", "ff", NotShortest),
        ("reserved length 28", "1c", NotShortest),
        ("reserved length 29", "5d", NotShortest),
        ("reserved length 30", "9e", NotShortest),
        ("half float", "f90000", NotShortest),
        ("single float", "fa7f800000", Forbidden),
        ("double float", "fb7ff0000000000000", Forbidden),
        ("tag", "c001", Forbidden),
        ("tag of two bytes", "d81801", Forbidden),
        ("undefined", "f7", Forbidden),
        ("unassigned simple value", "e0", Forbidden),
        ("simple value in two bytes", "f8ff", Forbidden),
        ("keys out of order", "a202000100", KeyOrder),
        ("key twice", "a201000100", KeyOrder),
        ("negative key before a positive one", "a220000100", KeyOrder),
        ("negative keys out of order", "a221002000", KeyOrder),
        (
            "text key",
            "a1616100",
            DecodeError::Type {
                expected: "integer key",
            },
        ),
        ("invalid utf-8", "61ff", Utf8),
        ("overlong utf-8", "62c080", Utf8),
        ("surrogate in utf-8", "63eda080", Utf8),
        ("nothing", "", Truncated),
        ("head cut", "19ff", Truncated),
        ("byte string cut", "420a", Truncated),
        ("array cut", "8201", Truncated),
        ("map cut", "a101", Truncated),
        ("array of 2^64 - 1 items", "9bffffffffffffffff", Truncated),
        ("map of 2^63 pairs", "bb8000000000000000", Truncated),
        ("byte string of 2^64 - 1 bytes", "5bffffffffffffffff", Truncated),
        ("two items", "0000", Trailing),
    ] {
        assert_eq!(check_item(&hex(bytes)), Err(error), "{what}");
    }
    for (what, bytes) in [
        ("null, which is only ever skipped", "f6"),
        ("negative integer", "3bffffffffffffffff"),
        (
            "positive keys, then negative ones by magnitude",
            "a40100 0200 2000 2100",
        ),
        ("eight levels", "81818181818181 80"),
    ] {
        assert_eq!(check_item(&hex(bytes)), Ok(()), "{what}");
    }
}

/// docs/protocol.md, 3.2: nesting ends at eight levels.
#[test]
fn reader_refuses_the_ninth_level() {
    for (head, leaf) in [("81", "80"), ("a101", "a0"), ("a120", "80")] {
        let nested = |levels: usize| hex(&(head.repeat(levels - 1) + leaf));
        assert_eq!(check_item(&nested(8)), Ok(()));
        assert_eq!(check_item(&nested(9)), Err(DecodeError::Depth));
        assert_eq!(check_item(&nested(10_000)), Err(DecodeError::Depth));
    }
    // Siblings are no nesting.
    let wide = [hex("8a"), vec![0x80; 10]].concat();
    assert_eq!(check_item(&wide), Ok(()));
}

wire_map! {
    /// A small document.
    #[expect(unreachable_pub, reason = "the table declares public structs")]
    pub struct Sample, max(32) {
        /// Required.
        1 => first: u16,
        /// Optional.
        3 => third: Option<bool>,
    }
}

/// docs/protocol.md, 3.2: unknown positive keys are refused, negative ones are skipped but checked.
#[test]
fn unknown_fields() {
    let decode = |bytes: &str| Sample::decode(&hex(bytes));
    let good = Sample {
        first: 7,
        third: None,
    };
    assert_eq!(decode("a10107"), Ok(good.clone()));
    assert_eq!(
        decode("a2010703f5"),
        Ok(Sample {
            third: Some(true),
            ..good.clone()
        })
    );
    for (what, bytes, error) in [
        ("missing", "a0", DecodeError::MissingField { key: 1 }),
        (
            "missing before another",
            "a103f5",
            DecodeError::MissingField { key: 1 },
        ),
        (
            "unknown before",
            "a200000107",
            DecodeError::UnknownField { key: 0 },
        ),
        (
            "unknown between",
            "a301070200 03f5",
            DecodeError::UnknownField { key: 2 },
        ),
        (
            "unknown after",
            "a201070400",
            DecodeError::UnknownField { key: 4 },
        ),
        ("twice", "a201070107", DecodeError::KeyOrder),
        (
            "negative key first",
            "a220000107",
            DecodeError::MissingField { key: 1 },
        ),
        (
            "skipped value not shortest",
            "a20107201800",
            DecodeError::NotShortest,
        ),
        (
            "skipped value with a float",
            "a2010720f90000",
            DecodeError::NotShortest,
        ),
        ("skipped value with a tag", "a2010720c000", DecodeError::Forbidden),
        (
            "skipped map out of order",
            "a2010720a202000100",
            DecodeError::KeyOrder,
        ),
        (
            "another type",
            "a10161 61",
            DecodeError::Type {
                expected: "unsigned integer",
            },
        ),
        ("an array", "8107", DecodeError::Type { expected: "map" }),
        (
            "null for absent",
            "a2010703f6",
            DecodeError::Type { expected: "boolean" },
        ),
        (
            "number too large",
            "a1011a00010000",
            DecodeError::Value { what: "u16" },
        ),
        ("trailing", "a1010700", DecodeError::Trailing),
    ] {
        assert_eq!(decode(bytes), Err(error), "{what}");
    }
    for (what, bytes) in [
        ("negative key", "a201072000"),
        ("negative keys with structure", "a301072082a1200140 3818 f6"),
    ] {
        assert_eq!(decode(bytes), Ok(good.clone()), "{what}");
    }
    let large = [hex("a20107 20 5820"), vec![0; 32]].concat();
    assert_eq!(
        Sample::decode(&large),
        Err(DecodeError::TooLarge { max: 32, actual: 38 })
    );
}

/// Allowed values, deterministic: what the writer of another implementation would make.
fn allowed(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(|n| Value::Integer(n.into())),
        any::<u64>()
            .prop_map(|n| Value::Integer(ciborium::value::Integer::try_from(-1 - i128::from(n)).unwrap())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        "\\PC{0,20}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(depth, 64, 6, |inner| {
        let keys = prop::collection::btree_map((any::<bool>(), any::<u64>()), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::Array),
            keys.prop_map(|map| {
                let key = |(negative, n): (bool, u64)| {
                    let n = if negative {
                        -1 - i128::from(n)
                    } else {
                        i128::from(n)
                    };
                    Value::Integer(n.try_into().unwrap())
                };
                Value::Map(map.into_iter().map(|(k, v)| (key(k), v)).collect())
            }),
        ]
    })
}

fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

proptest! {
    /// Whatever ciborium makes of allowed values is read, and any cut of it is not.
    #[test]
    fn allowed_values_are_read(value in allowed(6), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&value);
        prop_assert_eq!(check_item(&bytes), Ok(()));
        prop_assert!(check_item(&bytes[..cut.index(bytes.len())]).is_err());
    }

    /// Bytes that are read are well-formed for ciborium, which makes the same bytes of them again.
    #[test]
    fn whatever_is_read_is_the_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        let value: Result<Value, _> = ciborium::from_reader(bytes.as_slice());
        if check_item(&bytes).is_ok() {
            prop_assert_eq!(encode(&value.unwrap()), bytes);
        }
    }

    /// The same for bytes that are almost right.
    #[test]
    fn damaged_values_are_refused_or_another_encoding(
        value in allowed(3),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if check_item(&bytes).is_ok() {
            let again: Value = ciborium::from_reader(bytes.as_slice()).unwrap();
            prop_assert_eq!(encode(&again), bytes);
        }
    }
}
