//! Messages of groups, and messages that come again inside others.

use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::{
        group, kdf, message as seal,
        secret::{ChainKey, MessageKey},
    },
    vectors::Layer,
};
use waxwire_shared::{
    ids::ConversationId,
    suite::Suite,
    wire::{Context, Document as _, Envelope, GroupHeader, Kind, Lane, MessageBytes, pad},
};

use super::{
    Cases, flipped, hex,
    messages::{body, join, sign},
    samples::{self, control_body, core, direct_context, direct_header, group_context, group_header},
    world::*,
};

fn message_key() -> MessageKey {
    let chain = ChainKey::from_slice(&[0x71; 32]).unwrap();
    kdf::message_key(&chain)
}

fn to_group(envelope: &[u8]) -> Value {
    json!({
        "envelope": hex(envelope),
        "relay": hex(relay_id().as_bytes()),
        "message_key": hex(message_key().expose_bytes()),
    })
}

fn group_envelope(stream: u64, header: &GroupHeader, kind: Kind, message: &MessageBytes) -> Vec<u8> {
    let header = header.encode();
    let plaintext = pad(kind, &message.encode()).unwrap();
    let ciphertext = group::seal(&mut rng(stream), message_key(), &header, &plaintext);
    join(&header, &ciphertext)
}

/// The body of a kind in the group.
fn group_body(kind: Kind) -> Vec<u8> {
    let conversation = ConversationId::group(&samples::group_id());
    if kind.is_content() {
        return core(kind).encode();
    }
    let mut control = control_body(kind);
    control.conversation = conversation;
    control.encode()
}

pub(super) fn group_messages(cases: &mut Cases) {
    let header = group_header();
    let context = group_context(&header);
    for (stream, kind) in (200..).zip(Kind::ALL) {
        let message = sign(&context, *kind, &group_body(*kind));
        let bytes = group_envelope(stream, &header, *kind, &message);
        if kind.is_for_groups() {
            cases.valid(&format!("{kind:?} in a group"), "group_message", to_group(&bytes));
        } else if kind.is_control() {
            let comment = format!("{kind:?} has no place in groups");
            cases.invalid(&comment, "group_message", to_group(&bytes), Layer::Context);
        }
    }
    let core_bytes = group_body(Kind::Group);
    let good = sign(&context, Kind::Group, &core_bytes);
    let sealed = group_envelope(220, &header, Kind::Group, &good);
    let split = Envelope::split(&sealed).unwrap();
    let mut bad = |comment: &str, bytes: Vec<u8>, layer: Layer| {
        cases.invalid(comment, "group_message", to_group(&bytes), layer);
    };
    let moved = GroupHeader {
        i: 6,
        ..header.clone()
    };
    bad(
        "under another header: it is authenticated",
        join(&moved.encode(), split.ciphertext),
        Layer::Open,
    );
    bad(
        "under a direct header",
        join(&direct_header(Lane::Mail).encode(), split.ciphertext),
        Layer::Context,
    );
    bad(
        "a bit of the ciphertext",
        flipped(&sealed, sealed.len() - 1),
        Layer::Open,
    );
    let raw = |stream: u64, plaintext: &[u8]| {
        let header = header.encode();
        join(
            &header,
            &group::seal(&mut rng(stream), message_key(), &header, plaintext),
        )
    };
    let mut dirty = pad(Kind::Group, &good.encode()).unwrap();
    *dirty.last_mut().unwrap() = 1;
    bad("padding is not zero", raw(221, &dirty), Layer::Padding);
    bad(
        "no message inside",
        raw(222, &pad(Kind::Group, &[0xff]).unwrap()),
        Layer::Decode,
    );
    let forged = seal::sign_message(&bob().identity, Kind::Group, &context, &core_bytes);
    bad(
        "another member speaks as alice",
        group_envelope(223, &header, Kind::Group, &forged),
        Layer::Signature,
    );

    let with = |stream: u64, context: &Context, core_bytes: &[u8]| {
        group_envelope(
            stream,
            &header,
            Kind::Group,
            &sign(context, Kind::Group, core_bytes),
        )
    };
    let mut other = group_context(&header);
    other.header = moved.encode();
    bad(
        "context has another header",
        with(224, &other, &core_bytes),
        Layer::Context,
    );
    let mut addressed = direct_context(&direct_header(Lane::Mail));
    addressed.header = header.encode();
    bad(
        "context names a recipient",
        with(225, &addressed, &core_bytes),
        Layer::Context,
    );
    let mut elsewhere = core(Kind::Group);
    elsewhere.conversation = samples::conversation();
    bad(
        "another conversation",
        with(226, &context, &elsewhere.encode()),
        Layer::Context,
    );
    let mut higher = core(Kind::Group);
    higher.suite = Suite::HYBRID;
    bad(
        "a lower suite than it was queued for",
        with(227, &context, &higher.encode()),
        Layer::Context,
    );
    let by_bob = GroupHeader {
        sender: bob().agent_id(),
        ..header.clone()
    };
    let message = sign(&group_context(&by_bob), Kind::Group, &core_bytes);
    bad(
        "header names bob as the sender",
        group_envelope(228, &by_bob, Kind::Group, &message),
        Layer::Context,
    );
    let direct = sign(&context, Kind::Direct, &body(Kind::Direct));
    bad(
        "a direct message in a group envelope",
        raw(229, &pad(Kind::Direct, &direct.encode()).unwrap()),
        Layer::Context,
    );
    let swapped = raw(230, &pad(Kind::Typing, &good.encode()).unwrap());
    bad(
        "kind of the plaintext is not the signed one",
        swapped,
        Layer::Context,
    );
}

/// Messages that come again inside others.
pub(super) fn resent(cases: &mut Cases) {
    let bob = bob();
    let direct = |item: &MessageBytes| {
        json!({
            "item": hex(item.encode()),
            "relay": hex(relay_id().as_bytes()),
            "reader": hex(bob.key().to_prefixed()),
            "handle": bob.handle.as_str(),
        })
    };
    let header = direct_header(Lane::Mail);
    let good = sign(&direct_context(&header), Kind::Direct, &body(Kind::Direct));
    cases.valid("sent again", "resent_direct", direct(&good));
    let mut other = direct_context(&header);
    other.recipient = Some(carol().key());
    let other = sign(&other, Kind::Direct, &body(Kind::Direct));
    cases.invalid(
        "sent to carol at first",
        "resent_direct",
        direct(&other),
        Layer::Context,
    );
    let forged = seal::sign_message(
        &bob.identity,
        Kind::Direct,
        &direct_context(&header),
        &body(Kind::Direct),
    );
    cases.invalid(
        "not by its author",
        "resent_direct",
        direct(&forged),
        Layer::Signature,
    );

    let group =
        |item: &MessageBytes| json!({"item": hex(item.encode()), "relay": hex(relay_id().as_bytes())});
    let header = group_header();
    let good = sign(&group_context(&header), Kind::Group, &group_body(Kind::Group));
    cases.valid("granted or sent again", "resent_group", group(&good));
    let profile = sign(&group_context(&header), Kind::Profile, &group_body(Kind::Profile));
    cases.valid(
        "a profile, by whoever paid the rekey",
        "resent_group",
        group(&profile),
    );
    cases.invalid(
        "a direct message among them",
        "resent_group",
        group(&other),
        Layer::Context,
    );
    let altered = MessageBytes {
        context: group_context(&GroupHeader { epoch: 4, ..header }).encode(),
        ..good
    };
    cases.invalid(
        "moved to another epoch",
        "resent_group",
        group(&altered),
        Layer::Signature,
    );
}
