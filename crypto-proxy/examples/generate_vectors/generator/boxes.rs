//! Derivations and boxes.

use serde_json::{Value, json};
use waxwire_proxy::vectors::Layer;
use waxwire_shared::ids::GroupId;

use super::{
    Cases, bytes, flipped, hex,
    samples::{conversation, group_header, group_id},
    world::*,
};

/// 0, 1, 2, ...
fn counting(first: u8, length: u8) -> Vec<u8> {
    (0..length).map(|i| first.wrapping_add(i)).collect()
}

pub(super) fn kdf() -> Cases {
    let mut cases = Cases::new("2.2", "every derivation");
    let key = hex(counting(0, 32));
    let direct = hex(conversation().as_bytes());
    let group = hex(group_id().as_bytes());
    for (comment, conversation, client_msg_id, attempt) in [
        ("first attempt", &direct, "first", 0_u64),
        ("second attempt", &direct, "first", 1),
        ("another message", &direct, "second", 0),
        ("another conversation", &group, "first", 0),
        ("the highest attempt", &direct, "first", u64::from(u32::MAX)),
        ("128 scalars in 512 bytes", &direct, &"🦀".repeat(128), 0),
        ("text is not normalised", &direct, "e\u{301}", 0),
    ] {
        let input = json!({"key": key, "conversation": conversation, "client_msg_id": client_msg_id, "attempt": attempt});
        cases.valid(comment, "mid", input);
    }
    for op in [
        "epoch_commitment",
        "message_key",
        "next_chain_key",
        "store_commitment",
        "store_wrap_key",
        "attachment_chunk_key",
        "backup_key",
    ] {
        cases.valid("key 0, 1, 2, ...", op, json!({"key": key}));
        cases.valid("key of 0xff", op, json!({"key": hex([0xff; 32])}));
    }
    let chain = |group: &GroupId, epoch: u64, commit: u8, sender: &Agent| {
        json!({"key": key, "group": hex(group.as_bytes()), "epoch": epoch, "rekey_commit": hex([commit; 32]),
            "sender": hex(sender.key().to_prefixed())})
    };
    for (comment, input) in [
        ("alice", chain(&group_id(), 3, 5, &alice())),
        ("bob", chain(&group_id(), 3, 5, &bob())),
        (
            "another group",
            chain(&GroupId::from_bytes([0; 32]), 3, 5, &alice()),
        ),
        ("another epoch", chain(&group_id(), 4, 5, &alice())),
        ("another commit", chain(&group_id(), 3, 6, &alice())),
    ] {
        cases.valid(comment, "first_chain_key", input);
    }
    cases.valid(
        "the first 5 message keys of a chain",
        "chain",
        json!({"key": key, "count": 5}),
    );
    for generation in [0_u64, 1, 2_922] {
        cases.valid(
            "generation",
            "state_key",
            json!({"key": key, "generation": generation}),
        );
    }
    let tags = json!({"key": key, "generation": u64::MAX.to_string()});
    cases.valid("the generation of tags", "state_key", tags);
    cases.valid(
        "tag",
        "column_tag",
        json!({"key": key, "column": "handle", "value": hex(b"alice")}),
    );
    cases.valid(
        "tag of nothing",
        "column_tag",
        json!({"key": key, "column": "handle", "value": ""}),
    );
    for (comment, place) in [
        ("of a port", "http://127.0.0.1:7700"),
        ("of a socket", "unix:/run/agent/api"),
    ] {
        let input = json!({"key": key, "nonce": hex([7; 32]), "place": place});
        cases.valid(comment, "local_proof", input);
    }
    cases
}

pub(super) fn sealed_box() -> Cases {
    let mut cases = Cases::new(
        "2.4",
        "boxes that libsodium opens, and that it would make of the same key",
    );
    let bob = bob();
    let open = |sealed: &[u8]| json!({"secret": hex(bob.encryption.expose_bytes()), "box": hex(sealed)});
    let mut last = Vec::new();
    for length in [0_u8, 1, 31, 32, 33, 63, 64, 65, 100] {
        let input = json!({
            "recipient": hex(bob.encryption.public().as_bytes()),
            "ephemeral": hex(counting(length, 32)),
            "plaintext": hex(counting(7, length)),
        });
        let comment = format!("{length} bytes");
        last = bytes(&cases.valid(&comment, "sealed_box_seal", input), "box");
        cases.valid(&comment, "sealed_box_open", open(&last));
    }
    let bucket = json!({
        "recipient": hex(bob.encryption.public().as_bytes()),
        "ephemeral": hex([0x21; 32]),
        "plaintext": hex([0; 512]),
    });
    let bucket = bytes(
        &cases.valid("a bucket of zeros", "sealed_box_seal", bucket),
        "box",
    );
    cases.valid("a bucket of zeros", "sealed_box_open", open(&bucket));
    let refused = json!({"recipient": hex([0; 32]), "ephemeral": hex([1; 32]), "plaintext": ""});
    cases.invalid(
        "nothing is sealed to a key of small order",
        "sealed_box_seal",
        refused,
        Layer::Rule,
    );

    let mut bad = |comment: &str, sealed: &[u8]| {
        cases.invalid(comment, "sealed_box_open", open(sealed), Layer::Open);
    };
    bad("nothing", &[]);
    bad("47 bytes", &last[..47]);
    bad("a byte short", &last[..last.len() - 1]);
    bad("a byte long", &[&last[..], &[0]].concat());
    bad("a bit of the ephemeral key", &flipped(&last, 0));
    bad("a bit of the tag", &flipped(&last, 32));
    bad("a bit of the ciphertext", &flipped(&last, 60));
    let mut high = last.clone();
    high[31] ^= 0x80;
    bad(
        "the highest bit of the ephemeral key, which X25519 ignores: the nonce does not",
        &high,
    );
    // Such boxes can be made by anybody for everybody: the shared secret is 0 whoever opens them.
    for (comment, point) in [
        ("ephemeral key 0", SMALL_ORDER[0]),
        ("ephemeral key 1", SMALL_ORDER[1]),
        ("ephemeral key of order 8", SMALL_ORDER[2]),
        ("ephemeral key p - 1", SMALL_ORDER[3]),
        ("ephemeral key p + 1, not canonical", SMALL_ORDER[4]),
    ] {
        let mut point_bytes = [0; 32];
        hex::decode_to_slice(point, &mut point_bytes).unwrap();
        bad(
            comment,
            &zero_secret_box(&point_bytes, bob.encryption.public().as_bytes(), b"for everybody"),
        );
    }
    let other = json!({"secret": hex(alice().encryption.expose_bytes()), "box": hex(&last)});
    cases.invalid("another recipient", "sealed_box_open", other, Layer::Open);
    cases
}

const SMALL_ORDER: [&str; 5] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// A box whose tag is right for a shared secret of zeros.
fn zero_secret_box(ephemeral: &[u8; 32], recipient: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    use blake2::{Blake2b, Digest as _, digest::consts::U24};
    use crypto_secretbox::{
        AeadInPlace as _, Kdf as _, Key, KeyInit as _, Nonce, XSalsa20Poly1305,
        aead::generic_array::GenericArray,
    };
    let key = XSalsa20Poly1305::kdf(Key::from_slice(&[0; 32]), &GenericArray::default());
    let nonce = Blake2b::<U24>::new_with_prefix(ephemeral)
        .chain_update(recipient)
        .finalize();
    let nonce = Nonce::from(<[u8; 24]>::from(nonce));
    let mut body = plaintext.to_vec();
    let tag = XSalsa20Poly1305::new(&key)
        .encrypt_in_place_detached(&nonce, b"", &mut body)
        .unwrap();
    [&ephemeral[..], tag.as_slice(), &body].concat()
}

pub(super) fn group() -> Cases {
    let mut cases = Cases::new(
        "2.5",
        "ciphertexts of groups: nonce, ciphertext, tag, the header as associated data",
    );
    let header = waxwire_shared::wire::Document::encode(&group_header());
    let key = hex(counting(0x30, 32));
    let mut last = Vec::new();
    for length in [0_u8, 1, 64, 255] {
        let input = json!({"key": key, "nonce": hex(counting(length, 24)), "header": hex(&header),
            "plaintext": hex(counting(9, length))});
        let comment = format!("{length} bytes");
        last = bytes(&cases.valid(&comment, "group_seal", input), "ciphertext");
        cases.valid(
            &comment,
            "group_open",
            json!({"key": key, "header": hex(&header), "ciphertext": hex(&last)}),
        );
    }
    let input = |key: &[u8], header: &[u8], ciphertext: &[u8]| json!({"key": hex(key), "header": hex(header), "ciphertext": hex(ciphertext)});
    let key = counting(0x30, 32);
    let mut bad = |comment: &str, input: Value| cases.invalid(comment, "group_open", input, Layer::Open);
    bad("another key", input(&flipped(&key, 31), &header, &last));
    bad("a bit of the header", input(&key, &flipped(&header, 3), &last));
    bad("empty header", input(&key, &[], &last));
    bad("a bit of the nonce", input(&key, &header, &flipped(&last, 0)));
    bad(
        "a bit of the ciphertext",
        input(&key, &header, &flipped(&last, 30)),
    );
    bad(
        "a bit of the tag",
        input(&key, &header, &flipped(&last, last.len() - 1)),
    );
    bad("a byte short", input(&key, &header, &last[..last.len() - 1]));
    bad("nonce alone", input(&key, &header, &last[..24]));
    bad("39 bytes", input(&key, &header, &last[..39]));
    bad("nothing", input(&key, &header, &[]));
    cases
}

pub(super) fn at_rest() -> Cases {
    let mut cases = Cases::new("2.5, 8.1, 8.2", "boxes at rest, bound to a label and a place");
    let key = counting(0x50, 32);
    let place = |parts: &[&[u8]]| parts.iter().map(hex).collect::<Value>();
    let row: &[&[u8]] = &[b"message", &[0, 0, 0, 0, 0, 0, 0, 5], b"sealed"];
    for (comment, label, parts, plaintext) in [
        ("a column", "AadStateColumn", row, &b"content"[..]),
        ("a slot", "AadStoreSlot", &[&[0; 98][..], &[0, 1]], &[7; 41]),
        ("a backup", "AadBackup", &[], b""),
        ("empty parts", "AadStateColumn", &[b"", b""], b"x"),
    ] {
        let input = json!({"key": hex(&key), "label": label, "place": place(parts), "nonce": hex([0x51; 24]),
            "plaintext": hex(plaintext)});
        let sealed = bytes(&cases.valid(comment, "rest_seal", input), "sealed");
        let input = json!({"key": hex(&key), "label": label, "place": place(parts), "sealed": hex(sealed)});
        cases.valid(comment, "rest_open", input);
    }
    let input = json!({"key": hex(&key), "label": "AadStateColumn", "place": place(row), "nonce": hex([0x52; 24]),
        "plaintext": hex(b"content")});
    let sealed = bytes(
        &cases.valid("the one that is altered below", "rest_seal", input),
        "sealed",
    );
    let open = |label: &str, parts: &[&[u8]], sealed: &[u8]| json!({"key": hex(&key), "label": label, "place": place(parts), "sealed": hex(sealed)});
    let moved: &[&[u8]] = &[b"message", &[0, 0, 0, 0, 0, 0, 0, 6], b"sealed"];
    let split: &[&[u8]] = &[b"message\0", &[0, 0, 0, 0, 0, 0, 5], b"sealed"];
    let mut bad = |comment: &str, input: Value| cases.invalid(comment, "rest_open", input, Layer::Open);
    bad("another label", open("AadStoreSlot", row, &sealed));
    bad("another row", open("AadStateColumn", moved, &sealed));
    bad(
        "the same bytes split elsewhere",
        open("AadStateColumn", split, &sealed),
    );
    bad("a part less", open("AadStateColumn", &row[..2], &sealed));
    bad(
        "a bit of the ciphertext",
        open("AadStateColumn", row, &flipped(&sealed, 25)),
    );
    bad("cut", open("AadStateColumn", row, &sealed[..39]));
    cases
}

pub(super) fn attachment() -> Cases {
    let mut cases = Cases::new("7.2", "lengths of attachments, and their chunks");
    for length in [
        0_u64,
        1,
        511,
        512,
        513,
        544,
        545,
        1_000,
        65_535,
        65_536,
        65_537,
        1_000_000,
        26_214_400,
        1 << 40,
        (1 << 53) - 1,
    ] {
        cases.valid(
            &format!("{length} bytes"),
            "attachment_length",
            json!({"length": length}),
        );
    }
    let over = json!({"length": ((1_u64 << 63) + 1).to_string()});
    cases.invalid("above 2^63", "attachment_length", over, Layer::Decode);

    let chunk = |index: u64, last: bool, plaintext: &[u8]| {
        let key = waxwire_proxy::crypto::kdf::attachment_chunk_key(
            &waxwire_proxy::crypto::secret::AttachmentKey::from_slice(&[0x41; 32]).unwrap(),
        );
        let nonce = [
            &[0x42; 19][..],
            &u32::try_from(index).unwrap().to_be_bytes(),
            &[u8::from(last)],
        ]
        .concat();
        let aad = [&[0x43; 16][..], &67_616_u64.to_be_bytes()].concat();
        seal(key.expose_bytes(), &nonce, &aad, plaintext)
    };
    let input = |index: u64, last: bool, chunk: &[u8]| {
        json!({"key": hex([0x41; 32]), "nonce_prefix": hex([0x42; 19]), "blob": hex([0x43; 16]),
            "ciphertext_length": 67_616, "index": index, "final": last, "chunk": hex(chunk)})
    };
    let (first, last) = (chunk(0, false, &[1; 48]), chunk(1, true, &[2; 48]));
    cases.valid("first chunk", "chunk_open", input(0, false, &first));
    cases.valid("last chunk", "chunk_open", input(1, true, &last));
    let mut bad = |comment: &str, input: Value| cases.invalid(comment, "chunk_open", input, Layer::Open);
    bad("chunks swapped", input(0, false, &last));
    bad("cut after the first chunk", input(0, true, &first));
    bad("last chunk taken for another", input(1, false, &last));
    bad("a bit flipped", input(1, true, &flipped(&last, 3)));
    bad("shorter than a tag", input(1, true, &last[..15]));
    let mut other = input(1, true, &last);
    other["blob"] = hex([0x44; 16]);
    bad("of another blob", other);
    let mut other = input(1, true, &last);
    other["ciphertext_length"] = json!(133_152);
    bad("of a longer attachment", other);
    cases
}

fn seal(key: &[u8; 32], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305, XNonce};
    let mut body = plaintext.to_vec();
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&XNonce::try_from(nonce).unwrap(), aad, body.as_mut_slice().into())
        .unwrap();
    [&body[..], tag.as_slice()].concat()
}
