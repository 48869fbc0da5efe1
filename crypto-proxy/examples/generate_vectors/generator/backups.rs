//! Backups (docs/protocol.md, 8.3).

use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::{aead, kdf, secret::StoreKek},
    vectors::Layer,
};
use waxwire_shared::labels::Label;

use super::{Cases, flipped, hex, world::rng};

const KEK: [u8; 32] = [0x61; 32];

fn kek() -> StoreKek {
    StoreKek::from_slice(&KEK).unwrap()
}

/// A header that is unlocked in this way, with these parameters of Argon2id.
fn header(unlock: u16, cost: [u32; 3]) -> Vec<u8> {
    let mut out = b"waxwback\0\x01".to_vec();
    out.extend(unlock.to_be_bytes());
    out.extend(cost.iter().flat_map(|field| field.to_be_bytes()));
    out.extend([0x62; 32]);
    out.extend(kdf::store_commitment(&kek()));
    out
}

fn chunk(header: &[u8], index: u64, last: bool, part: &[u8]) -> Vec<u8> {
    let place: &[&[u8]] = &[header, &index.to_be_bytes(), &[u8::from(last)]];
    let key = kdf::backup_key(&kek());
    aead::seal(&mut rng(0x63), &key, Label::AadBackup, place, part)
}

/// Manifest, a table of two columns, a row with a value of each kind but null, end.
fn records() -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind], &length[..], content].concat()
    };
    let manifest = [&super::world::NOW.to_be_bytes()[..], &[1], &1_u32.to_be_bytes()].concat();
    let mut row = vec![1];
    row.extend(7_i64.to_be_bytes());
    row.extend([2, 0, 0, 0, 3]);
    row.extend(b"key");
    row.extend([3, 0, 0, 0, 2, 0xff, 0]);
    [
        record(1, &manifest),
        record(3, b"table\0number\0text\0bytes"),
        record(4, &row),
        record(5, &1_u64.to_be_bytes()),
    ]
    .concat()
}

pub(super) fn backup() -> Cases {
    let mut cases = Cases::new(
        "8.3",
        "backups: the header's commitment, and chunks bound to their place",
    );
    let input = |file: &[u8]| json!({"key": hex(KEK), "file": hex(file)});
    let by_key = header(2, [0; 3]);
    let by_passphrase = header(1, [65_536, 3, 1]);
    let with = |header: &[u8], chunk: &[u8]| [header, chunk].concat();
    let good = with(&by_key, &chunk(&by_key, 0, true, &records()));
    cases.valid("by a key file", "backup_open", input(&good));
    let stretched = with(&by_passphrase, &chunk(&by_passphrase, 0, true, &records()));
    cases.valid("by a passphrase, its key given", "backup_open", input(&stretched));
    cases.valid(
        "one byte",
        "backup_open",
        input(&with(&by_key, &chunk(&by_key, 0, true, &[5]))),
    );

    let mut bad = |comment: &str, file: &[u8], layer| {
        cases.invalid(comment, "backup_open", input(file), layer);
    };
    bad("nothing", &[], Layer::Decode);
    bad("header cut", &good[..87], Layer::Decode);
    bad("another magic", &flipped(&good, 0), Layer::Decode);
    let edited = |at: usize, to: &[u8]| {
        let mut file = stretched.clone();
        file[at..at + to.len()].copy_from_slice(to);
        file
    };
    bad("version 2", &edited(8, &[0, 2]), Layer::Decode);
    bad("unlocked in the way 3", &edited(10, &[0, 3]), Layer::Decode);
    bad("a key file with parameters", &edited(10, &[0, 2]), Layer::Decode);
    bad(
        "memory below the floor",
        &edited(12, &[0, 0, 0x4b, 0xff]),
        Layer::Rule,
    );
    bad(
        "memory above the ceiling",
        &edited(12, &[0, 0x10, 0, 1]),
        Layer::Rule,
    );
    bad(
        "passes above the ceiling",
        &edited(16, &[0, 0, 0, 11]),
        Layer::Rule,
    );
    bad("no lane", &edited(20, &[0, 0, 0, 0]), Layer::Rule);
    bad("a bit of the commitment", &flipped(&good, 60), Layer::Open);
    bad("a bit of the salt", &flipped(&good, 30), Layer::Open);
    bad("a bit of the chunk", &flipped(&good, 120), Layer::Open);
    bad("cut", &good[..good.len() - 1], Layer::Open);
    bad("no chunk", &by_key, Layer::Open);
    bad(
        "a chunk of nothing",
        &with(&by_key, &chunk(&by_key, 0, true, &[])),
        Layer::Open,
    );
    bad(
        "not the last",
        &with(&by_key, &chunk(&by_key, 0, false, &records())),
        Layer::Open,
    );
    bad(
        "not the first",
        &with(&by_key, &chunk(&by_key, 1, true, &records())),
        Layer::Open,
    );
    bad(
        "of another header",
        &with(&by_key, &chunk(&by_passphrase, 0, true, &records())),
        Layer::Open,
    );
    let mut other: Value = input(&good);
    other["key"] = hex([0x64; 32]);
    cases.invalid("another key", "backup_open", other, Layer::Open);
    cases
}
