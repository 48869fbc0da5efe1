//! Registries and names.

use serde_json::json;
use waxwire_proxy::vectors::Layer;
use waxwire_shared::{
    fingerprint::Fingerprint,
    identity::IdentityKey,
    labels::Label,
    wire::{Document as _, Kind},
};

use super::{Cases, bytes, hex, samples, world::*};

pub(super) fn labels() -> Cases {
    let mut cases = Cases::new("14.1", "labels, with their NUL");
    for label in Label::ALL {
        let name = format!("{label:?}");
        cases.valid(&name, "label", json!({"name": name}));
    }
    cases
}

pub(super) fn kinds() -> Cases {
    let mut cases = Cases::new("14.2", "kinds and enumerations, and numbers that are none");
    for kind in Kind::ALL {
        cases.valid(&format!("{kind:?}"), "kind", json!({"number": kind.number()}));
    }
    for number in [0, 4, 15, 25, 31, 33, 255, 256] {
        cases.invalid("not assigned", "kind", json!({"number": number}), Layer::Decode);
    }
    for (name, last) in [
        ("Lane", 2),
        ("ReceiptState", 2),
        ("Role", 2),
        ("JoinPolicy", 2),
        ("EmptyReason", 2),
        ("ChallengePurpose", 2),
    ] {
        for number in 1..=last {
            cases.valid(name, "enumeration", json!({"name": name, "number": number}));
        }
        for number in [0, last + 1, 256 + 1] {
            let comment = format!("{name}: not assigned");
            cases.invalid(
                &comment,
                "enumeration",
                json!({"name": name, "number": number}),
                Layer::Decode,
            );
        }
    }
    cases
}

fn key(key: &IdentityKey) -> serde_json::Value {
    hex(key.to_prefixed())
}

pub(super) fn names() -> Cases {
    let mut cases = Cases::new(
        "4.1, 5.2, 5.3, 10",
        "what is named by a hash, and what people type",
    );
    let (alice, bob) = (alice().key(), bob().key());
    cases.valid("relay id", "relay_id", json!({"identity": key(relay().public())}));
    for (comment, identity) in [("alice", &alice), ("bob", &bob)] {
        let relay = hex(relay_id().as_bytes());
        cases.valid(
            comment,
            "agent_id",
            json!({"relay": relay, "identity": key(identity)}),
        );
        cases.valid(comment, "fingerprint", json!({"identity": key(identity)}));
    }
    let other = hex([0; 32]);
    cases.valid(
        "at another relay",
        "agent_id",
        json!({"relay": other.clone(), "identity": key(&alice)}),
    );
    for (a, b) in [(&alice, &bob), (&bob, &alice), (&alice, &alice)] {
        cases.valid("direct", "conversation_id", json!({"a": key(a), "b": key(b)}));
        cases.valid(
            "both ways alike",
            "safety_number",
            json!({"a": key(a), "b": key(b)}),
        );
    }
    cases.valid("group", "conversation_id", json!({"group": hex([0x33; 32])}));
    cases.valid(
        "recovery key",
        "recovery_hash",
        json!({"identity": key(recovery().public())}),
    );
    cases.valid(
        "a credential as a relay keeps it",
        "credential_hash",
        json!({"credential": "wxk_secret"}),
    );
    for (comment, relay, handle) in [
        ("in the transparency log", hex(relay_id().as_bytes()), "alice"),
        ("another handle", hex(relay_id().as_bytes()), &*"a".repeat(30)),
        ("the same at another relay", other, "alice"),
    ] {
        let input = json!({"relay": relay, "handle": handle});
        cases.valid(comment, "handle_tag", input);
    }
    let later = IdentityKey::from_prefixed(&[&[0, 2][..], &[9; 1_952]].concat()).unwrap();
    cases.valid(
        "an algorithm of a later version, 1,952 bytes",
        "fingerprint",
        json!({"identity": key(&later)}),
    );

    let core = samples::core(Kind::Direct);
    cases.valid("core", "core", json!({"bytes": hex(core.encode())}));
    let control = samples::control_body(Kind::Typing);
    cases.valid("control body", "core", json!({"bytes": hex(control.encode())}));
    let mut other = core;
    other.version = 2;
    cases.invalid(
        "another version",
        "core",
        json!({"bytes": hex(other.encode())}),
        Layer::Decode,
    );

    for text in ["abc", "alice", "a-1", "billing-bot-2", &"a".repeat(30)] {
        cases.valid("handle", "handle", json!({"text": text}));
    }
    for (comment, text) in [
        ("empty", ""),
        ("two characters", "ab"),
        ("31 characters", &*"a".repeat(31)),
        ("digit first", "1ab"),
        ("hyphen first", "-ab"),
        ("hyphen last", "ab-"),
        ("two hyphens", "a--b"),
        ("upper case", "Abc"),
        ("underscore", "a_b"),
        ("space", "a b"),
        ("NUL", "ab\0"),
        ("not ASCII", "äbc"),
        ("line end", "abc\n"),
    ] {
        cases.invalid(comment, "handle", json!({"text": text}), Layer::Decode);
    }
    let fingerprint = cases.valid("alice", "fingerprint", json!({"identity": key(&alice)}));
    let fingerprint = fingerprint["text"].as_str().unwrap().to_owned();
    let spaced = fingerprint.to_uppercase();
    for text in [
        "alice".to_owned(),
        "@Alice".to_owned(),
        format!("alice#{fingerprint}"),
        format!("@alice#{}", fingerprint.to_uppercase()),
        format!("alice#{}-{}: {}", &spaced[..4], &spaced[4..8], &spaced[8..]),
    ] {
        cases.valid("address", "address", json!({"text": text}));
    }
    for (comment, text) in [
        ("no handle", "@".to_owned()),
        ("two @", "@@alice".to_owned()),
        ("short fingerprint", "alice#12".to_owned()),
        ("long fingerprint", format!("alice#{fingerprint}00")),
        ("no fingerprint", "alice#".to_owned()),
        ("not hexadecimal", format!("alice#{}g", &fingerprint[..63])),
    ] {
        cases.invalid(comment, "address", json!({"text": text}), Layer::Decode);
    }
    identity_codes(&mut cases, &fingerprint);
    cases
}

fn identity_codes(cases: &mut Cases, fingerprint: &str) {
    let relay = Fingerprint::of(relay().public()).to_string();
    let code = format!("waxwire:v1:{relay}:alice:{fingerprint}");
    for (comment, text) in [
        ("as it is", code.clone()),
        ("as it is drawn", code.to_uppercase()),
        ("with space around it", format!(" {code}\n")),
    ] {
        cases.valid(comment, "identity_code", json!({"text": text}));
    }
    for (comment, text) in [
        ("empty", String::new()),
        ("another version", code.replace("v1", "v2")),
        ("a part is missing", code.replace(":alice", "")),
        ("a part too many", format!("{code}:")),
        ("no handle", code.replace(":alice:", "::")),
        ("no fingerprint", code[..code.len() - 1].to_owned()),
        (
            "a fingerprint as people type it",
            code.replacen(&relay, &format!("{} ", &relay[..64]), 1),
        ),
        ("not hexadecimal", format!("{}g", &code[..code.len() - 1])),
        ("not ASCII", code.replace("alice", "a\u{212a}a")),
    ] {
        cases.invalid(comment, "identity_code", json!({"text": text}), Layer::Decode);
    }
}

pub(super) fn recovery_texts() -> Cases {
    let mut cases = Cases::new("4.6", "recovery keys as text");
    let out = cases.valid("seed of 0x5e", "recovery_text", json!({"seed": hex([0x5e; 32])}));
    cases.valid("seed of 0xff", "recovery_text", json!({"seed": hex([0xff; 32])}));
    let counting: Vec<u8> = (0..32).collect();
    cases.valid(
        "seed 0, 1, 2, ...",
        "recovery_text",
        json!({"seed": hex(counting)}),
    );
    assert_eq!(bytes(&out, "public"), recovery().public().to_prefixed());
    let text = out["text"].as_str().unwrap();
    let plain = text.replace('-', "");
    let spaced = plain
        .replacen("wxr_", "", 1)
        .chars()
        .flat_map(|c| [c, ' '])
        .collect::<String>();
    for (comment, text) in [
        ("as printed", text.to_owned()),
        ("without hyphens", plain.clone()),
        ("upper case", text.to_uppercase()),
        ("spaces", format!("  wxr_{spaced} ")),
        ("o for 0", text.replace('0', "o")),
        ("l for 1", text.replace('1', "l")),
        ("I for 1", text.replace('1', "I")),
    ] {
        cases.valid(comment, "recovery_parse", json!({"text": text}));
    }
    let swapped = {
        let mut characters: Vec<char> = plain.chars().collect();
        let at = (4..60).find(|at| characters[*at] != characters[at + 1]).unwrap();
        characters.swap(at, at + 1);
        characters.into_iter().collect::<String>()
    };
    for (comment, text) in [
        ("another prefix", text.replace("wxr", "wxs")),
        ("no prefix", plain[4..].to_owned()),
        ("two characters swapped", swapped),
        (
            "u is not of the alphabet",
            format!("{}u", &plain[..plain.len() - 1]),
        ),
        ("one character short", plain[..plain.len() - 1].to_owned()),
        ("one character long", format!("{plain}0")),
        ("nothing", String::new()),
    ] {
        cases.invalid(comment, "recovery_parse", json!({"text": text}), Layer::Decode);
    }
    cases
}
