//! Public keys and signatures, above all those on which implementations differ.

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use waxwire_proxy::vectors::Layer;
use waxwire_shared::{identity::IdentityKey, labels::Label};

use super::{Cases, bytes, flipped, hex, world::*};

const LABEL: &str = "SigLease";

fn input(key: &[u8], message: &[u8], signature: &[u8]) -> Value {
    let identity = [&[0, 1], key].concat();
    json!({"identity": hex(identity), "label": LABEL, "message": hex(message), "signature": hex(signature)})
}

/// `SHA-512(R || A || label || message) mod L`.
fn challenge(r: &[u8], a: &[u8], message: &[u8]) -> Scalar {
    let hash = Sha512::new_with_prefix(r)
        .chain_update(a)
        .chain_update(Label::SigLease.bytes())
        .chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn signature(r: &[u8], s: &Scalar) -> Vec<u8> {
    [r, s.as_bytes()].concat()
}

fn encode(point: &EdwardsPoint) -> [u8; 32] {
    point.compress().to_bytes()
}

fn kills_torsion(k: &Scalar) -> bool {
    k.as_bytes()[0] & 7 == 0
}

/// `S + L`, little-endian.
fn plus_order(s: &[u8]) -> Vec<u8> {
    let minus_one = (-Scalar::ONE).to_bytes();
    let mut carry = 1_u16; // L = (L - 1) + 1
    let add = |(a, b): (&u8, &u8)| {
        carry += u16::from(*a) + u16::from(*b);
        let byte = carry as u8;
        carry >>= 8;
        byte
    };
    s.iter().zip(&minus_one).map(add).collect()
}

pub(super) fn ed25519() -> Cases {
    let mut cases = Cases::new("2.3", "identity keys and signatures: one verdict everywhere");
    let message = b"waxwire";
    let seed = json!({"seed": hex([1; 32]), "label": LABEL, "message": hex(message)});
    let signed = cases.valid("a signature is deterministic", "sign", seed);
    cases.valid(
        "empty message",
        "sign",
        json!({"seed": hex([2; 32]), "label": "SigCommit", "message": ""}),
    );
    let key = bytes(&signed, "identity")[2..].to_vec();
    let good = bytes(&signed, "signature");
    let (r, s) = good.split_at(32);
    cases.valid("good", "verify", input(&key, message, &good));

    let mut bad = |comment: &str, key: &[u8], message: &[u8], signature: &[u8]| {
        cases.invalid(
            comment,
            "verify",
            input(key, message, signature),
            Layer::Signature,
        );
    };
    bad("another message", &key, b"waxwirf", &good);
    bad("another key", bob().key().as_bytes(), message, &good);
    bad("bit flipped in R", &key, message, &flipped(&good, 0));
    bad("bit flipped in S", &key, message, &flipped(&good, 32));
    bad("one byte short", &key, message, &good[..63]);
    bad("one byte long", &key, message, &[good.as_slice(), &[0]].concat());
    bad("empty signature", &key, message, &[]);
    bad("zeros", &key, message, &[0; 64]);
    bad(
        "S + L: the same equation",
        &key,
        message,
        &[r, &plus_order(s)].concat(),
    );
    bad("S = L", &key, message, &[r, &plus_order(&[0; 32])].concat());
    bad("highest bit of S set", &key, message, &{
        let mut other = good.clone();
        other[63] |= 0x80;
        other
    });
    bad("R is not on the curve", &key, message, &[&[2; 32], s].concat());

    let a = Scalar::from(0x1234_5678_9abc_def0_u64);
    let public = a * B;
    let torsion = EIGHT_TORSION[1];

    // R is the neutral element and S = k a: the equation holds.
    let neutral = encode(&EIGHT_TORSION[0]);
    let k = challenge(&neutral, &encode(&public), message);
    bad(
        "R of small order",
        &encode(&public),
        message,
        &signature(&neutral, &(k * a)),
    );
    let mut neutral_above_p = [0xff; 32];
    (neutral_above_p[0], neutral_above_p[31]) = (0xee, 0x7f);
    let k = challenge(&neutral_above_p, &encode(&public), message);
    bad(
        "R not canonical",
        &encode(&public),
        message,
        &signature(&neutral_above_p, &(k * a)),
    );
    for (index, point) in EIGHT_TORSION.iter().enumerate() {
        // With k = 0 mod 8 the equation holds for a key of small order and R = r B.
        let found = (1_u64..).find_map(|r| {
            let r = Scalar::from(r);
            let point_r = encode(&(r * B));
            let k = challenge(&point_r, &encode(point), message);
            kills_torsion(&k).then(|| signature(&point_r, &r))
        });
        bad(
            &format!("key of small order, {index}"),
            &encode(point),
            message,
            &found.unwrap(),
        );
    }

    // A key with a torsion part is no small-order key. By the equation without cofactor its
    // signatures hold exactly if k = 0 mod 8.
    let mixed = encode(&(public + torsion));
    let sign = |wanted: bool| {
        (1_u64..).find_map(|r| {
            let r = Scalar::from(r);
            let point_r = encode(&(r * B));
            let k = challenge(&point_r, &mixed, message);
            (kills_torsion(&k) == wanted).then(|| signature(&point_r, &(r + k * a)))
        })
    };
    bad(
        "key of mixed order: holds with the cofactor only",
        &mixed,
        message,
        &sign(false).unwrap(),
    );
    let r = Scalar::from(77_u64);
    let mixed_r = encode(&(r * B + torsion));
    let k = challenge(&mixed_r, &encode(&public), message);
    bad(
        "R of mixed order: holds with the cofactor only",
        &encode(&public),
        message,
        &signature(&mixed_r, &(r + k * a)),
    );
    cases.valid(
        "key of mixed order: holds without the cofactor",
        "verify",
        input(&mixed, message, &sign(true).unwrap()),
    );

    let other_label = json!({
        "identity": signed["identity"],
        "label": "SigCommit",
        "message": hex(message),
        "signature": signed["signature"],
    });
    cases.invalid("another label", "verify", other_label, Layer::Signature);
    identity_keys(&mut cases, &key, &mixed);
    cases
}

fn identity_keys(cases: &mut Cases, key: &[u8], mixed: &[u8]) {
    let identity = |key: &[u8]| json!({"identity": hex([&[0, 1], key].concat())});
    cases.valid("a usable key", "identity_key", identity(key));
    cases.valid("a key of mixed order", "identity_key", identity(mixed));
    let mut bad = |comment: &str, key: &[u8]| {
        cases.invalid(comment, "identity_key", identity(key), Layer::Signature);
    };
    for (index, point) in EIGHT_TORSION.iter().enumerate() {
        bad(&format!("small order, {index}"), &encode(point));
    }
    let above_p = |low: u8, sign: u8| {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, 0x7f | sign);
        key
    };
    bad("p, which is 0", &above_p(0xed, 0));
    bad("p with the sign bit", &above_p(0xed, 0x80));
    bad("p + 1, which is 1", &above_p(0xee, 0));
    bad("p + 3, a point of large order", &above_p(0xf0, 0));
    bad("p + 18, the highest", &above_p(0xff, 0));
    bad("1 with the sign bit", &{
        let mut key = [0; 32];
        (key[0], key[31]) = (1, 0x80);
        key
    });
    bad("p - 1 with the sign bit", &above_p(0xec, 0x80));
    bad("not on the curve", &{
        let mut key = [0; 32];
        key[0] = 2;
        key
    });
    bad("31 bytes", &key[..31]);
    bad("33 bytes", &[key, &[0]].concat());
    bad("empty", &[]);
    let unknown = IdentityKey::from_prefixed(&[&[0, 2], key].concat()).unwrap();
    cases.invalid(
        "algorithm 2 is not assigned",
        "identity_key",
        json!({"identity": hex(unknown.to_prefixed())}),
        Layer::Signature,
    );
}

pub(super) fn x25519() -> Cases {
    let mut cases = Cases::new(
        "2.4",
        "encryption keys that may be sealed to, and those that may not",
    );
    let mut key = |comment: &str, text: &str, valid: bool| {
        let input = json!({"key": text});
        if valid {
            cases.valid(comment, "encryption_key", input);
        } else {
            cases.invalid(comment, "encryption_key", input, Layer::Rule);
        }
    };
    let alice = alice();
    key(
        "alice",
        hex(alice.encryption.public().as_bytes()).as_str().unwrap(),
        true,
    );
    key("the base point", &format!("09{}", "00".repeat(31)), true);
    key("2, a point of the twist", &format!("02{}", "00".repeat(31)), true);
    key("p - 2", &format!("eb{}7f", "ff".repeat(30)), true);
    for (comment, text) in [
        (
            "0",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            "1",
            "0100000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            "order 8",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        ),
        (
            "order 8, the other",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ),
        (
            "p - 1",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "p",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "p + 1",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "p + 9, the base point not canonical",
            "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "2^255 - 1",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            "the base point with the highest bit",
            "0900000000000000000000000000000000000000000000000000000000000080",
        ),
        (
            "1 with the highest bit",
            "0100000000000000000000000000000000000000000000000000000000000080",
        ),
        (
            "all bits",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ),
        (
            "31 bytes",
            "09000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            "33 bytes",
            "090000000000000000000000000000000000000000000000000000000000000000",
        ),
        ("empty", ""),
    ] {
        key(comment, text, false);
    }
    cases
}
