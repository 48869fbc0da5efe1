use proptest::prelude::*;

use super::*;
use crate::crypto::testing::{Fixed, counting, rng};

/// Made by an independent encoder.
const TEXT: &str = "wxr_000g40r-40m30e2-09185gr-38e1w81-24gk2ga-hc5rr34-d1p70x3-rfkk61f";

fn secret() -> RecoverySecret {
    RecoverySecret::generate(&mut Fixed(&counting::<32>(0)))
}

/// docs/protocol.md, 4.6: the text of a recovery key, byte for byte.
#[test]
fn text_is_pinned_and_parses() {
    assert_eq!(secret().expose_text().as_str(), TEXT);
    let parsed = RecoverySecret::parse(TEXT).unwrap();
    assert_eq!(parsed.public(), secret().public());
    assert_eq!(parsed.hash(), Bundle::recovery_hash(secret().public()));
}

/// docs/protocol.md, 4.6: case, spaces, hyphens, `o`, `i` and `l`.
#[test]
fn parse_takes_what_people_type() {
    let typed = [
        TEXT.to_uppercase(),
        format!("  {TEXT}\n"),
        TEXT.replace('-', " "),
        TEXT.replace('-', ""),
        TEXT.replacen("000", "oOo", 1).replace("1", "l"),
        TEXT.replace("1", "I"),
    ];
    for text in typed {
        assert_eq!(
            RecoverySecret::parse(&text).unwrap().public(),
            secret().public(),
            "{text}"
        );
    }
}

/// docs/protocol.md, 4.6: the checksum.
#[test]
fn parse_refuses_every_single_wrong_character() {
    for (position, right) in TEXT.char_indices().skip(PREFIX.len()).filter(|(_, c)| *c != '-') {
        for wrong in ALPHABET.iter().map(|c| char::from(*c)).filter(|c| *c != right) {
            let mut text = TEXT.to_owned();
            text.replace_range(position..=position, wrong.encode_utf8(&mut [0; 4]));
            assert_eq!(
                RecoverySecret::parse(&text).unwrap_err(),
                RecoveryTextError::Checksum
            );
        }
    }
}

#[test]
fn parse_says_what_is_wrong() {
    let refused = |text: &str| RecoverySecret::parse(text).unwrap_err();
    assert_eq!(refused(""), RecoveryTextError::Prefix);
    assert_eq!(refused("wx"), RecoveryTextError::Prefix);
    assert_eq!(refused("äöüä"), RecoveryTextError::Prefix);
    assert_eq!(refused(&TEXT[4..]), RecoveryTextError::Prefix);
    assert_eq!(refused("wxr_00u"), RecoveryTextError::Character { position: 3 });
    assert_eq!(refused("wxr_0ä"), RecoveryTextError::Character { position: 2 });
    assert_eq!(
        refused("wxr_000"),
        RecoveryTextError::Length {
            expected: 56,
            actual: 3
        }
    );
    let long = format!("{TEXT}0");
    assert_eq!(
        refused(&long),
        RecoveryTextError::Length {
            expected: 56,
            actual: 57
        }
    );
}

proptest! {
    #[test]
    fn every_key_survives_its_text(seed: u64) {
        let secret = RecoverySecret::generate(&mut rng(seed));
        let parsed = RecoverySecret::parse(&secret.expose_text()).unwrap();
        prop_assert_eq!(parsed.public(), secret.public());
    }

    #[test]
    fn parse_never_panics(text in ".{0,80}") {
        let _ = RecoverySecret::parse(&text);
        let _ = RecoverySecret::parse(&format!("wxr_{text}"));
    }
}
