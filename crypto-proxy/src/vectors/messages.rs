//! Whole messages, from the envelope to a body that was meant for the reader.

use serde_json::{Value, json};
use waxwire_shared::{
    ids::RelayId,
    message::{Body, UnverifiedMessage, VerifiedMessage},
    wire::{
        Document as _, Envelope, Header, HistoryGrant, InviteNotice, Kind, MessageBytes, Presence, Profile,
        Receipt, Resend, ResendRequest, Typing, Unreadable,
    },
};

use super::{
    Fault, Layer,
    input::{In, hex},
};
use crate::crypto::{
    message::{open_direct, open_group},
    secret::{EncryptionSecret, MessageKey},
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "direct_message" => direct(input),
        "group_message" => group(input),
        "resent_direct" => resent_direct(input),
        "resent_group" => resent_group(input),
        _ => return None,
    })
}

/// Steps 1 to 6 of docs/protocol.md, 5.7.
fn direct(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("envelope")?;
    let envelope = Envelope::split(&bytes)?;
    let Header::Direct(header) = Header::decode(envelope.header)? else {
        return Err(Fault::Layer(Layer::Context));
    };
    let secret = EncryptionSecret::from_slice(&input.bytes("secret")?)?;
    let (kind, message) = open_direct(&secret, envelope.ciphertext)?;
    let message = UnverifiedMessage::of_kind(kind, message)?.verify()?;
    message.check_direct(
        envelope.header,
        &relay(input)?,
        &input.identity("reader")?,
        &input.handle("handle")?,
    )?;
    if header.key_number != input.number("key_number")? {
        return Err(Fault::Layer(Layer::Context));
    }
    shown(&message)
}

/// Steps 3 to 5 of docs/protocol.md, 6.8, the message key being given.
fn group(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("envelope")?;
    let envelope = Envelope::split(&bytes)?;
    let Header::Group(_) = Header::decode(envelope.header)? else {
        return Err(Fault::Layer(Layer::Context));
    };
    let key = MessageKey::from_slice(&input.bytes("message_key")?)?;
    let (kind, message) = open_group(&key, envelope.header, envelope.ciphertext)?;
    let message = UnverifiedMessage::of_kind(kind, message)?.verify()?;
    message.check_group(envelope.header, &relay(input)?)?;
    shown(&message)
}

fn resent(input: In<'_>) -> Result<VerifiedMessage, Fault> {
    let message = MessageBytes::decode(&input.bytes("item")?)?;
    Ok(UnverifiedMessage::from_message(message)?.verify()?)
}

fn resent_direct(input: In<'_>) -> Result<Value, Fault> {
    let message = resent(input)?;
    message.check_recipient(
        &relay(input)?,
        &input.identity("reader")?,
        &input.handle("handle")?,
    )?;
    shown(&message)
}

fn resent_group(input: In<'_>) -> Result<Value, Fault> {
    let message = resent(input)?;
    message.check_member(&relay(input)?)?;
    shown(&message)
}

fn relay(input: In<'_>) -> Result<RelayId, Fault> {
    input.array("relay").map(RelayId::from_bytes)
}

fn shown(message: &VerifiedMessage) -> Result<Value, Fault> {
    let body = match message.body() {
        Body::Content(core) => hex(&core.content),
        Body::Control(control) => {
            check_control(control.kind, &control.body)?;
            hex(&control.body)
        }
    };
    Ok(json!({
        "kind": message.body().kind().number(),
        "signer": hex(message.signer().to_prefixed()),
        "message_id": hex(message.id().as_bytes()),
        "core": hex(&message.message().core),
        "body": body,
    }))
}

/// The body of a control message is the document of its kind.
fn check_control(kind: Kind, body: &[u8]) -> Result<(), Fault> {
    match kind {
        Kind::Receipt => Receipt::decode(body).map(drop)?,
        Kind::Unreadable => Unreadable::decode(body).map(drop)?,
        Kind::ResendRequest => ResendRequest::decode(body).map(drop)?,
        Kind::Resend => Resend::decode(body).map(drop)?,
        Kind::Invite => InviteNotice::decode(body).map(drop)?,
        Kind::HistoryGrant => HistoryGrant::decode(body).map(drop)?,
        Kind::Profile => Profile::decode(body).map(drop)?,
        Kind::Typing => Typing::decode(body).map(drop)?,
        Kind::Presence => Presence::decode(body).map(drop)?,
        Kind::Direct | Kind::Group | Kind::Broadcast | Kind::EpochKey => {
            return Err(Fault::Layer(Layer::Decode));
        }
    }
    Ok(())
}
