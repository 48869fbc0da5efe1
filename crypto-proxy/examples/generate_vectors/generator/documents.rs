//! Every document: good ones, and each with one fault.

use serde_json::json;
use waxwire_proxy::vectors::{Item, Layer};

use super::{
    Cases,
    field_rules::{removed, rules},
    hex, sample_list,
    samples::Sample,
};

pub(super) fn documents() -> Vec<(&'static str, Cases)> {
    let file = |document: Sample| {
        let mut cases = Cases::new("3.2, 13", &format!("the document {}", document.name));
        good(&mut cases, &document);
        malformed(&mut cases, &document);
        fields(&mut cases, &document);
        limits(&mut cases, &document);
        rules(&mut cases, &document);
        (document.name, cases)
    };
    let mut files: Vec<_> = sample_list::all().into_iter().map(file).collect();
    files.push(("Header", header()));
    files
}

pub(super) fn decode(name: &str, bytes: impl AsRef<[u8]>) -> serde_json::Value {
    json!({"type": name, "bytes": hex(bytes)})
}

pub(super) fn pairs(item: &Item) -> &[(Item, Item)] {
    match item {
        Item::Map(pairs) => pairs,
        _ => panic!("a document is a map"),
    }
}

fn good(cases: &mut Cases, document: &Sample) {
    let name = document.name;
    cases.valid("all fields", "decode", decode(name, document.full.encode()));
    if document.minimal != document.full {
        cases.valid(
            "only what must be there",
            "decode",
            decode(name, document.minimal.encode()),
        );
    }
    let mut extended = pairs(&document.minimal).to_vec();
    extended.push((Item::Negative(0), Item::Null));
    extended.push((
        Item::Negative(98),
        Item::Array(vec![Item::Map(Vec::new()), Item::Negative(7)]),
    ));
    if document.minimal.encode().len() + 12 <= document.max {
        cases.valid(
            "negative keys are skipped",
            "decode",
            decode(name, Item::Map(extended).encode()),
        );
    }
}

fn malformed(cases: &mut Cases, document: &Sample) {
    let name = document.name;
    let bytes = document.minimal.encode();
    let fields = pairs(&document.minimal);
    let mut bad = |comment: &str, bytes: Vec<u8>| {
        cases.invalid(comment, "decode", decode(name, bytes), Layer::Decode);
    };
    bad("nothing", Vec::new());
    bad("last byte cut", bytes[..bytes.len() - 1].to_vec());
    bad("one byte too many", [&bytes[..], &[0]].concat());
    bad(
        "an array around it",
        Item::Array(vec![document.minimal.clone()]).encode(),
    );
    bad("a byte string around it", Item::Bytes(bytes.clone()).encode());
    let count = u8::try_from(fields.len()).unwrap();
    bad(
        "number of fields not shortest",
        [&[0xb8, count], &bytes[1..]].concat(),
    );
    bad("indefinite length", [&[0xbf], &bytes[1..], &[0xff]].concat());
    bad(
        "first key not shortest",
        [&[bytes[0], 0x18, bytes[1]], &bytes[2..]].concat(),
    );
    let with = |pair: (Item, Item), at: usize| {
        let mut pairs = fields.to_vec();
        pairs.insert(at, pair);
        Item::Map(pairs).encode()
    };
    bad("unknown key 0", with((Item::Uint(0), Item::Uint(0)), 0));
    bad(
        "unknown key 99",
        with((Item::Uint(99), Item::Uint(0)), fields.len()),
    );
    bad(
        "last field twice",
        with(fields[fields.len() - 1].clone(), fields.len()),
    );
    bad(
        "a negative key before the last field",
        with((Item::Negative(0), Item::Uint(0)), fields.len() - 1),
    );
    let damaged = [
        ("a skipped float", vec![0xf9, 0x3c, 0x00]),
        ("a skipped tag", vec![0xc0, 0x00]),
        ("a skipped integer that is not shortest", vec![0x18, 0x00]),
        ("a skipped map out of order", vec![0xa2, 2, 0, 1, 0]),
    ];
    for (comment, raw) in damaged {
        bad(comment, with((Item::Negative(0), Item::Raw(raw)), fields.len()));
    }
    if fields.len() > 1 {
        let mut pairs = fields.to_vec();
        pairs.swap(0, 1);
        bad("first two fields swapped", Item::Map(pairs).encode());
    }
    let versioned =
        !matches!(name, "Signed" | "Message" | "Context" | "Receipt") && fields[0].1 == Item::Uint(1);
    if versioned && !name.ends_with("Header") {
        for version in [0, 2] {
            let mut pairs = fields.to_vec();
            pairs[0].1 = Item::Uint(version);
            bad(&format!("version {version}"), Item::Map(pairs).encode());
        }
    }
}

/// Each field missing, of another type, and a byte shorter or longer if its length is fixed.
fn fields(cases: &mut Cases, document: &Sample) {
    let name = document.name;
    let full = pairs(&document.full);
    // Of the two proofs of a succession either will do.
    let either = |key: &Item| name == "SuccessionBytes" && *key == Item::Uint(3);
    let in_minimal = |key: &Item| pairs(&document.minimal).iter().any(|(found, _)| found == key);
    let required = |key: &Item| in_minimal(key) && !either(key);
    let mut bad = |comment: String, pairs: Vec<(Item, Item)>| {
        let bytes = Item::Map(pairs).encode();
        cases.invalid(&comment, "decode", decode(name, bytes), Layer::Decode);
    };
    for (at, (key, value)) in full.iter().enumerate() {
        let Item::Uint(number) = key else {
            panic!("no such key");
        };
        let with = |value: Item| {
            let mut pairs = full.to_vec();
            pairs[at].1 = value;
            pairs
        };
        if required(key) {
            let mut pairs = full.to_vec();
            pairs.remove(at);
            bad(format!("field {number} missing"), pairs);
        }
        let other = match value {
            Item::Uint(_) | Item::Bool(_) => Item::Text("1".to_owned()),
            _ => Item::Uint(1),
        };
        bad(format!("field {number} of another type"), with(other));
        bad(format!("field {number} null"), with(Item::Null));
        match value {
            Item::Bytes(bytes) if matches!(bytes.len(), 16 | 19 | 32) => {
                bad(
                    format!("field {number} one byte short"),
                    with(Item::Bytes(bytes[1..].to_vec())),
                );
                let long = [&bytes[..], &[0]].concat();
                bad(format!("field {number} one byte long"), with(Item::Bytes(long)));
            }
            Item::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                bad(format!("field {number} as text"), with(Item::Text(text)));
            }
            Item::Text(text) => bad(
                format!("field {number} as bytes"),
                with(Item::Bytes(text.clone().into())),
            ),
            _ => {}
        }
    }
}

/// A document of exactly its limit, and one byte more.
fn limits(cases: &mut Cases, document: &Sample) {
    let name = document.name;
    let padded = |length: usize| {
        let filled = |bytes: usize| {
            let mut pairs = pairs(&document.minimal).to_vec();
            pairs.push((Item::Negative(0), Item::Bytes(vec![0; bytes])));
            Item::Map(pairs).encode()
        };
        // Key and head of the filler take 2 to 6 bytes.
        let left = length - document.minimal.encode().len();
        (2..=6)
            .map(|head| filled(left - head))
            .find(|bytes| bytes.len() == length)
    };
    match padded(document.max) {
        Some(bytes) => {
            cases.valid("as long as it can be", "decode", decode(name, &bytes));
            let bytes = padded(document.max + 1).unwrap();
            cases.invalid(
                "one byte longer than it can be",
                "decode",
                decode(name, bytes),
                Layer::Decode,
            );
        }
        None => panic!("{name} cannot be filled"),
    }
}

/// Headers whose form is to be found out.
fn header() -> Cases {
    let mut cases = Cases::new("5.1, 13.2", "either header, told apart by its second key");
    for document in sample_list::all() {
        if document.name.ends_with("Header") {
            let bytes = document.full.encode();
            cases.valid(document.name, "decode", decode("Header", bytes));
            let without = removed(&document.full, 5).encode();
            cases.invalid(
                "without a mid",
                "decode",
                decode("Header", without),
                Layer::Decode,
            );
        }
    }
    let mut both: Vec<(Item, Item)> = Vec::new();
    for document in sample_list::all() {
        if document.name.ends_with("Header") {
            both.extend(pairs(&document.full).iter().cloned());
        }
    }
    both.sort_by_key(|(key, _)| key.encode());
    both.dedup_by_key(|(key, _)| key.clone());
    let bytes = Item::Map(both).encode();
    cases.invalid("fields of both", "decode", decode("Header", bytes), Layer::Decode);
    cases.invalid("no field", "decode", decode("Header", [0xa0]), Layer::Decode);
    cases.invalid("an array", "decode", decode("Header", [0x80]), Layer::Decode);
    cases
}
