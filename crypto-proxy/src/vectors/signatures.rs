//! Keys, signatures and signed documents.

use serde_json::{Value, json};
use waxwire_shared::{
    identity::{IdentityKey, Signature},
    ids::RelayId,
    labels::Label,
    sign::{SignedDocument, Unverified, Verified},
    wire::{
        Bundle, Challenge, Commit, Document as _, Lease, LogHead, RelayDescription, SuccessionBytes,
        is_contributory_x25519,
    },
};

use super::{
    Fault, Layer,
    input::{In, hex},
};
use crate::crypto::secret::{EncryptionPublic, IdentitySecret};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "identity_key" => input
            .identity("identity")
            .and_then(|key| Ok(key.check().map(|()| json!({}))?)),
        "verify" => verify(input),
        "sign" => sign(input),
        "encryption_key" => encryption_key(input),
        "signed" => signed(input),
        "proof" => proof(input),
        "succession" => succession(input),
        _ => return None,
    })
}

fn label(input: In<'_>) -> Result<Label, Fault> {
    let name = input.text("label")?;
    let label = Label::ALL.iter().find(|label| format!("{label:?}") == name);
    label
        .copied()
        .ok_or_else(|| Fault::Case(format!("no label {name}")))
}

fn verify(input: In<'_>) -> Result<Value, Fault> {
    let signature = Signature::new(input.bytes("signature")?);
    let message = input.bytes("message")?;
    input
        .identity("identity")?
        .verify(label(input)?, &[&message], &signature)?;
    Ok(json!({}))
}

fn sign(input: In<'_>) -> Result<Value, Fault> {
    let secret = IdentitySecret::from_slice(&input.bytes("seed")?)?;
    let signature = secret.sign(label(input)?, &[&input.bytes("message")?]);
    Ok(json!({
        "identity": hex(secret.public().to_prefixed()),
        "signature": hex(signature.as_bytes()),
    }))
}

fn encryption_key(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("key")?;
    let accepted = EncryptionPublic::from_slice(&bytes);
    let contributory = <&[u8; 32]>::try_from(bytes.as_slice()).is_ok_and(is_contributory_x25519);
    if accepted.is_ok() != contributory {
        return Err(Fault::Case("two verdicts on one key".to_owned()));
    }
    accepted?;
    Ok(json!({}))
}

/// A signed document under the identity that it names; `signer` is given where it names none.
fn signed(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    match input.text("type")? {
        "Bundle" => verified::<Bundle>(&bytes, |bundle| &bundle.identity),
        "Commit" => verified::<Commit>(&bytes, |commit| &commit.signer),
        "Lease" => verified::<Lease>(&bytes, |lease| &lease.identity),
        "RelayDescription" => verified::<RelayDescription>(&bytes, |description| &description.identity),
        "Challenge" => {
            by_relay::<Challenge>(&bytes, &input.identity("signer")?, |challenge| &challenge.relay)
        }
        "LogHead" => by_relay::<LogHead>(&bytes, &input.identity("signer")?, |head| &head.relay),
        other => Err(Fault::Case(format!("{other} is not signed"))),
    }
}

fn verified<T: SignedDocument>(
    bytes: &[u8],
    select: impl FnOnce(&T) -> &IdentityKey,
) -> Result<Value, Fault> {
    let verified = Verified::from_bytes(bytes, select)?;
    Ok(json!({
        "hash": hex(verified.hash().as_bytes()),
        "signer": hex(verified.signer().to_prefixed()),
    }))
}

/// What a relay signs names the relay by its id only.
fn by_relay<T: SignedDocument>(
    bytes: &[u8],
    relay: &IdentityKey,
    named: impl FnOnce(&T) -> &RelayId,
) -> Result<Value, Fault> {
    let verified = Unverified::<T>::decode(bytes)?.verify_by(relay)?;
    if *named(verified.body()) != RelayId::of(relay) {
        return Err(Fault::Layer(Layer::Context));
    }
    Ok(json!({
        "hash": hex(verified.hash().as_bytes()),
        "signer": hex(verified.signer().to_prefixed()),
    }))
}

/// An agent's answer to a challenge: its signature over the challenge's body.
fn proof(input: In<'_>) -> Result<Value, Fault> {
    let body = input.bytes("challenge")?;
    let challenge = Challenge::decode(&body)?;
    let signature = Signature::new(input.bytes("signature")?);
    challenge.identity.verify(Label::SigProof, &[&body], &signature)?;
    Ok(json!({"signer": hex(challenge.identity.to_prefixed())}))
}

fn succession(input: In<'_>) -> Result<Value, Fault> {
    let bytes = SuccessionBytes::decode(&input.bytes("bytes")?)?;
    let succession = bytes.verify(&input.hash("recovery")?)?;
    Ok(json!({
        "old": hex(succession.old.to_prefixed()),
        "new": hex(succession.new.to_prefixed()),
    }))
}
