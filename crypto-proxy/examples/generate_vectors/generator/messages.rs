//! Whole messages: every layer from the envelope to the audience.

use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::{
        message as seal, sealed_box,
        secret::{EncryptionPublic, IdentitySecret},
    },
    vectors::Layer,
};
use waxwire_shared::{
    ids::ConversationId,
    suite::Suite,
    wire::{Context, DirectHeader, Document as _, Envelope, Kind, Lane, MessageBytes, Receipt, Typing, pad},
};

use super::{
    Cases, flipped, group_messages, hex,
    samples::{self, control_body, core, direct_context, direct_header, group_context, group_header},
    world::*,
};

pub(super) fn messages() -> Cases {
    let mut cases = Cases::new("5.7, 6.8", "whole messages, and the one layer that refuses them");
    direct(&mut cases);
    direct_audience(&mut cases);
    group_messages::group_messages(&mut cases);
    group_messages::resent(&mut cases);
    cases
}

/// Core or control body of a kind, encoded.
pub(super) fn body(kind: Kind) -> Vec<u8> {
    if kind.is_content() {
        core(kind).encode()
    } else {
        control_body(kind).encode()
    }
}

pub(super) fn sign(context: &Context, kind: Kind, body: &[u8]) -> MessageBytes {
    seal::sign_message(&alice().identity, kind, context, body)
}

fn public() -> EncryptionPublic {
    *bob().encryption.public()
}

pub(super) fn join(header: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    Envelope { header, ciphertext }.to_bytes()
}

/// A whole direct envelope with good parts.
fn envelope(stream: u64, header: &DirectHeader, kind: Kind, message: &MessageBytes) -> Vec<u8> {
    let plaintext = pad(kind, &message.encode()).unwrap();
    join(
        &header.encode(),
        &sealed_box::seal(&mut rng(stream), &public(), &plaintext),
    )
}

fn to_bob(envelope: &[u8]) -> Value {
    let bob = bob();
    json!({
        "envelope": hex(envelope),
        "relay": hex(relay_id().as_bytes()),
        "reader": hex(bob.key().to_prefixed()),
        "handle": bob.handle.as_str(),
        "secret": hex(bob.encryption.expose_bytes()),
        "key_number": KEY_NUMBER,
    })
}

fn direct(cases: &mut Cases) {
    for (stream, kind) in (100..).zip(Kind::ALL) {
        let Some(lane) = kind.direct_lane() else {
            continue;
        };
        let header = direct_header(lane);
        let message = sign(&direct_context(&header), *kind, &body(*kind));
        let bytes = envelope(stream, &header, *kind, &message);
        cases.valid(&format!("{kind:?}"), "direct_message", to_bob(&bytes));
    }
    let header = direct_header(Lane::Mail);
    let context = direct_context(&header);
    let core_bytes = body(Kind::Direct);
    let good = sign(&context, Kind::Direct, &core_bytes);
    let sealed = envelope(120, &header, Kind::Direct, &good);
    let split = Envelope::split(&sealed).unwrap();
    let mut bad = |comment: &str, bytes: Vec<u8>, layer: Layer| {
        cases.invalid(comment, "direct_message", to_bob(&bytes), layer);
    };
    bad(
        "envelope cut within the header",
        sealed[..20].to_vec(),
        Layer::Decode,
    );
    bad(
        "header with a byte more",
        join(&[split.header, &[0]].concat(), split.ciphertext),
        Layer::Decode,
    );
    bad(
        "a group header",
        join(&group_header().encode(), split.ciphertext),
        Layer::Context,
    );
    bad(
        "a bit of the ciphertext",
        flipped(&sealed, sealed.len() - 1),
        Layer::Open,
    );
    bad("ciphertext cut", sealed[..sealed.len() - 1].to_vec(), Layer::Open);
    let raw = |stream: u64, plaintext: &[u8]| {
        join(
            &header.encode(),
            &sealed_box::seal(&mut rng(stream), &public(), plaintext),
        )
    };
    let mut dirty = pad(Kind::Direct, &good.encode()).unwrap();
    *dirty.last_mut().unwrap() = 1;
    bad("padding is not zero", raw(121, &dirty), Layer::Padding);
    bad(
        "no padding",
        raw(122, &dirty[..12 + good.encode().len()]),
        Layer::Padding,
    );
    let object = |stream: u64, kind: Kind, object: &[u8]| raw(stream, &pad(kind, object).unwrap());
    bad(
        "no message inside",
        object(123, Kind::Direct, &[0xff]),
        Layer::Decode,
    );
    bad(
        "a byte after the message",
        object(124, Kind::Direct, &[&good.encode()[..], &[0]].concat()),
        Layer::Decode,
    );
    let cut = &core_bytes[..core_bytes.len() - 1];
    bad(
        "core cut",
        envelope(125, &header, Kind::Direct, &sign(&context, Kind::Direct, cut)),
        Layer::Decode,
    );
    let mut later = core(Kind::Direct);
    later.version = 2;
    let later = sign(&context, Kind::Direct, &later.encode());
    bad(
        "core of another version",
        envelope(126, &header, Kind::Direct, &later),
        Layer::Decode,
    );
    let broken = MessageBytes {
        context: vec![0xa0],
        ..good.clone()
    };
    bad(
        "context without a header",
        envelope(127, &header, Kind::Direct, &broken),
        Layer::Decode,
    );
    let as_broadcast = object(128, Kind::Broadcast, &good.encode());
    bad(
        "kind of the plaintext is not the signed one",
        as_broadcast,
        Layer::Context,
    );
    let as_receipt = object(129, Kind::Receipt, &good.encode());
    bad("content as control", as_receipt, Layer::Context);
    let grouped = sign(&context, Kind::Group, &body(Kind::Group));
    bad(
        "a group message in a direct envelope",
        object(130, Kind::Group, &grouped.encode()),
        Layer::Context,
    );

    let signed = |stream: u64, message: MessageBytes| envelope(stream, &header, Kind::Direct, &message);
    let forged =
        |secret: &IdentitySecret, kind: Kind| seal::sign_message(secret, kind, &context, &core_bytes);
    bad(
        "signed by somebody else",
        signed(131, forged(&bob().identity, Kind::Direct)),
        Layer::Signature,
    );
    bad(
        "signed under the label of control",
        signed(132, forged(&alice().identity, Kind::Receipt)),
        Layer::Signature,
    );
    let mut other = core(Kind::Direct);
    other.content = br#"{"text":"other!"}"#.to_vec();
    let lifted = MessageBytes {
        core: other.encode(),
        ..good.clone()
    };
    bad("signature of another core", signed(133, lifted), Layer::Signature);
    let mut moved = direct_context(&header);
    moved.sender_key_number = Some(8);
    let moved = MessageBytes {
        context: moved.encode(),
        ..good
    };
    bad(
        "signature of another context",
        signed(134, moved),
        Layer::Signature,
    );
}

/// Signatures that hold, for somebody or something else.
fn direct_audience(cases: &mut Cases) {
    let mut bad = |stream: u64,
                   comment: &str,
                   header: &DirectHeader,
                   context: &dyn Fn(&mut Context),
                   kind: Kind,
                   core_bytes: &[u8]| {
        let mut changed = direct_context(header);
        context(&mut changed);
        let message = sign(&changed, kind, core_bytes);
        let bytes = envelope(stream, header, kind, &message);
        cases.invalid(comment, "direct_message", to_bob(&bytes), Layer::Context);
    };
    let header = direct_header(Lane::Mail);
    let same = |_: &mut Context| ();
    let text = body(Kind::Direct);
    let other = DirectHeader {
        mid: waxwire_shared::ids::Mid::from_bytes([1; 16]),
        ..header.clone()
    };
    bad(
        140,
        "context has another header",
        &header,
        &|c| c.header = other.encode(),
        Kind::Direct,
        &text,
    );
    bad(
        141,
        "context has a group header",
        &header,
        &|c| c.header = group_header().encode(),
        Kind::Direct,
        &text,
    );
    bad(
        142,
        "for another recipient: carol sealed it again",
        &header,
        &|c| c.recipient = Some(carol().key()),
        Kind::Direct,
        &text,
    );
    bad(
        143,
        "for another handle",
        &header,
        &|c| c.recipient_handle = Some(carol().handle),
        Kind::Direct,
        &text,
    );
    bad(
        144,
        "for another key number",
        &header,
        &|c| c.recipient_key_number = Some(8),
        Kind::Direct,
        &text,
    );
    let no_recipient = |c: &mut Context| {
        *c = Context {
            header: c.header.clone(),
            ..group_context(&group_header())
        }
    };
    bad(
        145,
        "context names no recipient",
        &header,
        &no_recipient,
        Kind::Direct,
        &text,
    );
    let misrouted = DirectHeader {
        to: carol().agent_id(),
        ..header.clone()
    };
    bad(
        146,
        "header is addressed to carol",
        &misrouted,
        &same,
        Kind::Direct,
        &text,
    );
    let next_key = DirectHeader {
        key_number: 8,
        ..header.clone()
    };
    bad(
        147,
        "header names another key than was used",
        &next_key,
        &|c| c.recipient_key_number = Some(8),
        Kind::Direct,
        &text,
    );
    bad(
        148,
        "content in the lane of control",
        &direct_header(Lane::Control),
        &same,
        Kind::Direct,
        &text,
    );
    bad(
        149,
        "a receipt in the lane of mail",
        &header,
        &same,
        Kind::Receipt,
        &body(Kind::Receipt),
    );
    let mut elsewhere = core(Kind::Direct);
    elsewhere.conversation = ConversationId::direct(&alice().key(), &carol().key());
    bad(
        150,
        "another conversation",
        &header,
        &same,
        Kind::Direct,
        &elsewhere.encode(),
    );
    let mut higher = core(Kind::Direct);
    higher.suite = Suite::HYBRID;
    bad(
        151,
        "sealed with a lower suite than it was queued for",
        &header,
        &same,
        Kind::Direct,
        &higher.encode(),
    );

    // Bob's own message, played back to him.
    let mut own = core(Kind::Direct);
    own.identity = bob().key();
    own.handle = bob().handle;
    let message = seal::sign_message(
        &bob().identity,
        Kind::Direct,
        &direct_context(&header),
        &own.encode(),
    );
    let bytes = envelope(152, &header, Kind::Direct, &message);
    cases.invalid(
        "the reader's own message",
        "direct_message",
        to_bob(&bytes),
        Layer::Context,
    );
    let message = sign(&direct_context(&header), Kind::Direct, &text);
    let bytes = envelope(153, &header, Kind::Direct, &message);
    let mut at_another = to_bob(&bytes);
    at_another["relay"] = hex([0; 32]);
    cases.invalid("at another relay", "direct_message", at_another, Layer::Context);

    let mut control = control_body(Kind::Receipt);
    control.body = Typing {
        active: true,
        group: None,
    }
    .encode();
    let header = direct_header(Lane::Control);
    let message = sign(&direct_context(&header), Kind::Receipt, &control.encode());
    let bytes = envelope(154, &header, Kind::Receipt, &message);
    cases.invalid(
        "a body of another kind",
        "direct_message",
        to_bob(&bytes),
        Layer::Decode,
    );
    let receipt = Receipt {
        n: 0,
        ..samples::receipt()
    };
    control.body = receipt.encode();
    let message = sign(&direct_context(&header), Kind::Receipt, &control.encode());
    let bytes = envelope(155, &header, Kind::Receipt, &message);
    cases.invalid(
        "a body that breaks a rule of its format",
        "direct_message",
        to_bob(&bytes),
        Layer::Decode,
    );
}
