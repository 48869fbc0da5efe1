//! Signed documents, successions, rules of bundles.

use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::secret::IdentitySecret,
    vectors::{Item, Layer},
};
use waxwire_shared::{
    identity::Signature,
    labels::Label,
    sign::{SignedBytes, SignedDocument},
    suite::Suite,
    wire::{Bundle, BundleKey, Document as _, SuccessionBytes},
};

use super::{Cases, flipped, hex, samples, world::*};

fn with_label(secret: &IdentitySecret, label: Label, body: &[u8]) -> Vec<u8> {
    let signature = secret.sign(label, &[body]);
    SignedBytes {
        body: body.to_vec(),
        signature,
    }
    .encode()
}

pub(super) fn signed() -> Cases {
    let mut cases = Cases::new(
        "3.3, 4.7, 14.4",
        "signed documents: hash and signer, and what is no signature",
    );
    let alice = alice();
    let relay = relay();
    document(&mut cases, "Bundle", &alice.identity, &alice.bundle(), None);
    document(&mut cases, "Lease", &alice.identity, &samples::lease(), None);
    document(
        &mut cases,
        "RelayDescription",
        &relay,
        &samples::relay_description(),
        None,
    );
    document(
        &mut cases,
        "Challenge",
        &relay,
        &samples::challenge(),
        Some(&relay),
    );
    document(&mut cases, "LogHead", &relay, &samples::log_head(), Some(&relay));

    let body = samples::challenge().encode();
    let by_dave = json!({"type": "Challenge", "bytes": hex(with_label(&dave().identity, Label::SigChallenge, &body)),
        "signer": hex(dave().key().to_prefixed())});
    cases.invalid(
        "Challenge: of another relay than it names",
        "signed",
        by_dave,
        Layer::Context,
    );
    let proof =
        |signature: &Signature| json!({"challenge": hex(&body), "signature": hex(signature.as_bytes())});
    let good = alice.identity.sign(Label::SigProof, &[&body]);
    cases.valid("proof of possession", "proof", proof(&good));
    for (comment, signature) in [
        (
            "proof by another identity",
            bob().identity.sign(Label::SigProof, &[&body]),
        ),
        (
            "proof under the label of the relay's signature",
            alice.identity.sign(Label::SigChallenge, &[&body]),
        ),
        (
            "proof under the label of a message",
            alice.identity.sign(Label::SigMessage, &[&body]),
        ),
    ] {
        cases.invalid(comment, "proof", proof(&signature), Layer::Signature);
    }
    cases
}

/// The same faults for every type.
fn document<T: SignedDocument>(
    cases: &mut Cases,
    name: &str,
    secret: &IdentitySecret,
    document: &T,
    by: Option<&IdentitySecret>,
) {
    let input = |bytes: &[u8]| {
        let mut input = json!({"type": name, "bytes": hex(bytes)});
        if let Some(signer) = by {
            input["signer"] = hex(signer.public().to_prefixed());
        }
        input
    };
    let body = document.encode();
    let good = secret.sign_document(document);
    cases.valid(name, "signed", input(&good));
    let mut bad = |comment: &str, bytes: &[u8], layer: Layer| {
        cases.invalid(&format!("{name}: {comment}"), "signed", input(bytes), layer);
    };
    bad(
        "bit flipped in the signature",
        &flipped(&good, good.len() - 1),
        Layer::Signature,
    );
    let mallory = with_label(&dave().identity, T::LABEL, &body);
    bad("signed by somebody else", &mallory, Layer::Signature);
    for label in Label::ALL
        .iter()
        .take_while(|label| **label != Label::HashRelayId)
    {
        if *label != T::LABEL {
            let bytes = with_label(secret, *label, &body);
            bad(&format!("signed under {label:?}"), &bytes, Layer::Signature);
        }
    }
    let Item::Map(mut pairs) = Item::parse(&body).unwrap() else {
        panic!("a document is a map");
    };
    pairs.push((Item::Negative(0), Item::Uint(1)));
    let extended = Item::Map(pairs).encode();
    let signature = secret.sign(T::LABEL, &[&body]);
    let extended_unsigned = SignedBytes {
        body: extended.clone(),
        signature,
    }
    .encode();
    bad(
        "a skipped field is added: it is signed as well",
        &extended_unsigned,
        Layer::Signature,
    );
    let trailing = with_label(secret, T::LABEL, &[&body[..], &[0]].concat());
    bad("a byte after the body", &trailing, Layer::Decode);
    bad(
        "no signature",
        &Item::Map(vec![(Item::Uint(1), Item::Bytes(body.clone()))]).encode(),
        Layer::Decode,
    );
    bad("the body alone", &body, Layer::Decode);
    let extended = with_label(secret, T::LABEL, &extended);
    cases.valid(
        &format!("{name}: with a field of a later version"),
        "signed",
        input(&extended),
    );
}

pub(super) fn succession() -> Cases {
    let mut cases = Cases::new("4.6", "one identity follows another");
    let (old, new, recovery) = (alice().identity, dave().identity, recovery());
    let body = samples::succession().encode();
    let pinned = Bundle::recovery_hash(recovery.public());
    let by_new = || new.sign(Label::SigSuccessionNew, &[&body]);
    let by_old = || Some(old.sign(Label::SigSuccessionOld, &[&body]));
    let by_recovery = || Some(recovery.sign(Label::SigSuccessionRecovery, &[&body]));
    let make = |by_old: Option<Signature>, by_recovery: Option<Signature>, by_new: Signature| -> Value {
        let bytes = SuccessionBytes {
            body: body.clone(),
            by_new,
            by_old,
            recovery: by_recovery.is_some().then(|| recovery.public().clone()),
            by_recovery,
        };
        json!({"bytes": hex(bytes.encode()), "recovery": hex(pinned.as_bytes())})
    };
    cases.valid(
        "by the old identity",
        "succession",
        make(by_old(), None, by_new()),
    );
    cases.valid(
        "by the recovery key",
        "succession",
        make(None, by_recovery(), by_new()),
    );
    cases.valid("by both", "succession", make(by_old(), by_recovery(), by_new()));
    let mut bad = |comment: &str, input: Value| {
        cases.invalid(comment, "succession", input, Layer::Signature);
    };
    let by_bob = |label| Some(bob().identity.sign(label, &[&body]));
    bad(
        "old identity's signature by another",
        make(by_bob(Label::SigSuccessionOld), None, by_new()),
    );
    bad(
        "recovery key's signature by another",
        make(None, by_bob(Label::SigSuccessionRecovery), by_new()),
    );
    bad(
        "one of two proofs is wrong",
        make(by_bob(Label::SigSuccessionOld), by_recovery(), by_new()),
    );
    bad(
        "the other of two proofs is wrong",
        make(by_old(), by_bob(Label::SigSuccessionRecovery), by_new()),
    );
    bad(
        "the new identity did not sign",
        make(by_old(), None, by_bob(Label::SigSuccessionNew).unwrap()),
    );
    let crossed = Some(old.sign(Label::SigSuccessionNew, &[&body]));
    bad(
        "old identity under the new one's label",
        make(crossed, None, by_new()),
    );
    let mut other = make(None, by_recovery(), by_new());
    other["recovery"] = hex([0; 32]);
    bad("recovery key is not the pinned one", other);
    let mut other = make(by_old(), by_recovery(), by_new());
    other["recovery"] = hex([0; 32]);
    bad("recovery key is not the pinned one, beside a good proof", other);
    cases
}

pub(super) fn bundle() -> Cases {
    let mut cases = Cases::new(
        "4.3",
        "rules of a bundle that need neither a clock nor history; which key is used",
    );
    let input = |bundle: &Bundle| json!({"bytes": hex(bundle.encode())});
    let good = alice().bundle();
    let key = |suite: u16, number: u64| BundleKey {
        suite: Suite(suite),
        number,
        ..good.keys[0].clone()
    };
    cases.valid("one key", "bundle", input(&good));
    let with = |keys: Vec<BundleKey>, min_suite: u16| Bundle {
        keys,
        min_suite: Suite(min_suite),
        ..good.clone()
    };
    cases.valid(
        "the highest number",
        "bundle",
        input(&with(vec![key(1, 8), key(1, 9), key(1, 7)], 1)),
    );
    let later = BundleKey {
        public: vec![0; 1_216],
        ..key(2, 1)
    };
    cases.valid(
        "a suite of a later version is not used",
        "bundle",
        input(&with(vec![key(1, 8), later.clone()], 1)),
    );
    cases.valid(
        "nothing that this version can use",
        "bundle",
        input(&with(vec![key(1, 8), later], 2)),
    );
    cases.valid(
        "8 keys",
        "bundle",
        input(&with((1..9).map(|number| key(1, number)).collect(), 1)),
    );
    cases.valid(
        "one number in two suites",
        "bundle",
        input(&with(vec![key(1, 1), key(2, 1)], 1)),
    );
    let mut bad = |comment: &str, bundle: Bundle| {
        cases.invalid(comment, "bundle", input(&bundle), Layer::Rule);
    };
    bad(
        "number 0",
        Bundle {
            number: 0,
            ..good.clone()
        },
    );
    bad(
        "ends when it begins",
        Bundle {
            not_after: good.not_before,
            ..good.clone()
        },
    );
    bad(
        "ends before it begins",
        Bundle {
            not_after: 1,
            ..good.clone()
        },
    );
    bad("one suite and number twice", with(vec![key(1, 1), key(1, 1)], 1));
    let public = |public: Vec<u8>| BundleKey { public, ..key(1, 1) };
    bad("key of 31 bytes", with(vec![public(vec![9; 31])], 1));
    bad("key of 33 bytes", with(vec![public(vec![9; 33])], 1));
    bad("key of small order", with(vec![public(vec![0; 32])], 1));
    bad(
        "a bad key beside a good one",
        with(vec![key(1, 2), public(vec![0xff; 32])], 1),
    );
    cases
}
