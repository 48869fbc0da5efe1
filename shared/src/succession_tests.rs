use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::{
    identity::{Signature, signing_input},
    labels::Label,
    wire::{Bundle, VERSION},
};

const RELAY: RelayId = RelayId::from_bytes([5; 32]);

fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn identity(seed: u8) -> IdentityKey {
    IdentityKey::ed25519(secret(seed).verifying_key().to_bytes())
}

/// One step, and who signs it beside the new identity.
struct Step {
    relay: RelayId,
    handle: &'static str,
    old: u8,
    new: u8,
    by_old: Option<u8>,
    by_recovery: Option<u8>,
}

fn by_old(old: u8, new: u8) -> Step {
    Step {
        relay: RELAY,
        handle: "alice",
        old,
        new,
        by_old: Some(old),
        by_recovery: None,
    }
}

fn by_recovery(old: u8, new: u8, recovery: u8) -> Step {
    Step {
        by_old: None,
        by_recovery: Some(recovery),
        ..by_old(old, new)
    }
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        let body = Succession {
            version: VERSION,
            relay: self.relay,
            handle: self.handle.parse().unwrap(),
            old: identity(self.old),
            new: identity(self.new),
            time: 7,
        }
        .encode();
        let sign =
            |seed: u8, label| Signature::new(secret(seed).sign(&signing_input(label, &[&body])).to_bytes());
        SuccessionBytes {
            by_new: sign(self.new, Label::SigSuccessionNew),
            by_old: self.by_old.map(|seed| sign(seed, Label::SigSuccessionOld)),
            recovery: self.by_recovery.map(identity),
            by_recovery: self
                .by_recovery
                .map(|seed| sign(seed, Label::SigSuccessionRecovery)),
            body,
        }
        .encode()
    }
}

/// Identity 1 is pinned, with a bundle that names recovery key 50.
fn proven(chain: &[Step], shown: u8) -> bool {
    proven_with(chain, shown, Some(Bundle::recovery_hash(&identity(50))))
}

fn proven_with(chain: &[Step], shown: u8, recovery: Option<Hash>) -> bool {
    let chain: Vec<_> = chain.iter().map(Step::bytes).collect();
    let (pinned, handle) = (identity(1), "alice".parse().unwrap());
    let known = Known {
        relay: &RELAY,
        handle: &handle,
        identity: &pinned,
        recovery,
    };
    proves(known, chain.iter().map(Vec::as_slice), &identity(shown)).is_some()
}

/// docs/protocol.md, 4.6: from the pinned identity to the shown one, step by step.
#[test]
fn chain_leads_from_the_pin_to_the_shown_identity() {
    assert!(proven(&[by_old(1, 2)], 2));
    assert!(proven(&[by_recovery(1, 2, 50)], 2));
    assert!(proven(&[by_recovery(1, 2, 50), by_old(2, 3)], 3));
    assert!(
        proven(&[by_old(8, 9), by_old(9, 1), by_old(1, 2)], 2),
        "what came before the pin"
    );
    assert!(
        !proven(&[by_old(1, 2)], 3),
        "the relay shows another one than the chain"
    );
    assert!(!proven(&[by_old(8, 2)], 2), "another beginning");
    assert!(!proven(&[by_old(2, 3), by_old(1, 2)], 3), "out of order");
    assert!(!proven(&[by_old(1, 2), by_old(3, 4)], 4), "a step is missing");
    assert!(!proven(&[], 2));
}

/// docs/protocol.md, 4.6: whether keys were lost on the way decides what becomes of what is not confirmed.
#[test]
fn proof_says_whether_keys_were_lost() {
    let how = |chain: &[Step], shown: u8| {
        let chain: Vec<_> = chain.iter().map(Step::bytes).collect();
        let (pinned, handle) = (identity(1), "alice".parse().unwrap());
        let known = Known {
            relay: &RELAY,
            handle: &handle,
            identity: &pinned,
            recovery: Some(Bundle::recovery_hash(&identity(50))),
        };
        proves(known, chain.iter().map(Vec::as_slice), &identity(shown))
    };
    assert_eq!(how(&[by_old(1, 2), by_old(2, 3)], 3), Some(Proof::ByOld));
    assert_eq!(how(&[by_recovery(1, 2, 50)], 2), Some(Proof::ByRecovery));
    assert_eq!(
        how(&[by_recovery(1, 2, 50), by_old(2, 3)], 3),
        Some(Proof::ByRecovery)
    );
}

/// docs/protocol.md, 4.6: every signature that is there holds, and the recovery key is that of the pinned bundle.
#[test]
fn step_needs_the_old_key_or_the_pinned_recovery_key() {
    assert!(!proven(&[by_recovery(1, 2, 51)], 2), "another recovery key");
    let forged = |by_old, by_recovery| Step {
        by_old,
        by_recovery,
        ..self::by_old(1, 2)
    };
    assert!(!proven(&[forged(Some(9), None)], 2), "not by the old key");
    assert!(
        !proven(&[forged(Some(1), Some(51))], 2),
        "another recovery key beside a good proof"
    );
    assert!(proven(&[forged(Some(1), Some(50))], 2));
    // A forged step in front of the genuine one does not hide it.
    assert!(proven(&[by_recovery(1, 2, 51), by_old(1, 2)], 2));
}

/// docs/protocol.md, 4.6: what later bundles say of recovery keys has no witness, so it proves nothing.
#[test]
fn later_step_counts_by_the_old_key_only() {
    assert!(!proven(&[by_recovery(1, 2, 50), by_recovery(2, 3, 50)], 3));
    assert!(!proven(&[by_old(1, 2), by_recovery(2, 3, 50)], 3));
    assert!(
        !proven_with(&[by_recovery(1, 2, 50)], 2, None),
        "no bundle of the pin is at hand"
    );
    assert!(proven_with(&[by_old(1, 2)], 2, None));
}

/// docs/protocol.md, 4.6: relay and handle are those of the pin.
#[test]
fn succession_of_another_relay_or_handle_proves_nothing() {
    let relay = RelayId::from_bytes([6; 32]);
    assert!(!proven(
        &[Step {
            relay,
            ..by_old(1, 2)
        }],
        2
    ));
    assert!(!proven(
        &[Step {
            handle: "alice2",
            ..by_old(1, 2)
        }],
        2
    ));
}

/// docs/protocol.md, 4.6: at most 16 steps are looked at.
#[test]
fn chain_is_bounded() {
    let chain = |length: u8| -> Vec<Step> { (1..=length).map(|old| by_old(old, old + 1)).collect() };
    assert!(proven(&chain(16), 17));
    assert!(!proven(&chain(17), 18));
}
