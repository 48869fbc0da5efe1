//! The profile of CBOR.

use serde_json::json;
use waxwire_proxy::vectors::{Item, Layer};

use super::{Cases, hex};

pub(super) fn cbor() -> Cases {
    let mut cases = Cases::new("3.2", "one item of the CBOR profile, whatever it is");
    let valid = [
        ("0", "00"),
        ("23, the largest in one byte", "17"),
        ("24", "1818"),
        ("255", "18ff"),
        ("256", "190100"),
        ("65,535", "19ffff"),
        ("65,536", "1a00010000"),
        ("2^32 - 1", "1affffffff"),
        ("2^32", "1b0000000100000000"),
        ("2^64 - 1", "1bffffffffffffffff"),
        ("empty byte string", "40"),
        ("byte string", "43010203"),
        ("empty text", "60"),
        ("text outside of ASCII", "64f09fa680"),
        ("text that is not normalised", "6365cc81"),
        ("text with a NUL", "6100"),
        ("empty array", "80"),
        ("array", "83010203"),
        ("empty map", "a0"),
        ("map", "a2010218ff03"),
        ("false", "f4"),
        ("true", "f5"),
        ("null, in skipped fields only", "f6"),
        ("negative integer, in skipped fields only", "20"),
        ("the lowest negative integer", "3bffffffffffffffff"),
        ("negative keys after the others", "a40100020020002100"),
        ("eight levels of arrays", "8181818181818180"),
        ("eight levels of maps", "a101a101a101a101a101a101a101a0"),
    ];
    for (comment, bytes) in valid {
        cases.valid(comment, "cbor", json!({"bytes": bytes}));
    }
    for (comment, bytes) in INVALID {
        cases.invalid(comment, "cbor", json!({"bytes": bytes}), Layer::Decode);
    }
    let nested = |levels: usize| (1..levels).fold(Item::Array(Vec::new()), |item, _| Item::Array(vec![item]));
    for levels in [9, 1_000] {
        let comment = format!("{levels} levels");
        cases.invalid(
            &comment,
            "cbor",
            json!({"bytes": hex(nested(levels).encode())}),
            Layer::Decode,
        );
    }
    cases
}

const INVALID: [(&str, &str); 49] = [
    ("nothing", ""),
    ("0 in two bytes", "1800"),
    ("23 in two bytes", "1817"),
    ("255 in three bytes", "1900ff"),
    ("65,535 in five bytes", "1a0000ffff"),
    ("2^32 - 1 in nine bytes", "1b00000000ffffffff"),
    ("negative integer not shortest", "3817"),
    ("byte string length not shortest", "580100"),
    ("text length not shortest", "780161"),
    ("array length not shortest", "980101"),
    ("map length not shortest", "b8010101"),
    ("indefinite byte string", "5f4101ff"),
    ("indefinite text", "7f6161ff"),
    ("indefinite array", "9f01ff"),
    ("indefinite map", "bf0101ff"),
    ("break", "ff"),
    ("reserved length 28", "1c"),
    ("reserved length 29", "5d"),
    ("reserved length 30", "9e"),
    ("half float", "f93c00"),
    ("single float", "fa3f800000"),
    ("double float", "fb3ff0000000000000"),
    ("tag", "c000"),
    ("tag of an epoch time", "c11a514b67b0"),
    ("tag in two bytes", "d81800"),
    ("undefined", "f7"),
    ("unassigned simple value", "e0"),
    ("simple value in two bytes", "f8ff"),
    ("false in two bytes", "f814"),
    ("keys out of order", "a202000100"),
    ("keys in the order of their length only", "a21818000100"),
    ("key twice", "a201000101"),
    ("negative key twice", "a220002001"),
    ("negative key before another", "a220000100"),
    ("negative keys out of order", "a221002000"),
    ("text as a key", "a1616100"),
    ("byte string as a key", "a1410100"),
    ("invalid UTF-8", "61ff"),
    ("cut UTF-8", "62e282"),
    ("overlong UTF-8", "62c080"),
    ("surrogate in UTF-8", "63eda080"),
    ("head cut", "19ff"),
    ("byte string cut", "420a"),
    ("array cut", "8201"),
    ("map without a value", "a101"),
    ("array of 2^64 - 1 items", "9bffffffffffffffff"),
    ("map of 2^63 pairs", "bb8000000000000000"),
    ("byte string of 2^64 - 1 bytes", "5bffffffffffffffff"),
    ("two items", "0000"),
];
