//! Binary formats: documents, envelopes, frames, padding.

use std::fmt::Debug;

use waxwire_proxy::vectors::Item;
use waxwire_shared::{
    api::{
        append::Append,
        frames::{ClientFrame, RelayFrame},
    },
    message::{Body, UnverifiedMessage},
    sign::SignedBytes,
    wire::*,
};

macro_rules! documents {
    ($($name:literal $document:ident,)*) => {
        table! {
            $($name => document::<$document>,)*
            "cbor" => cbor,
            "envelope" => envelope,
            "append" => append,
            "client_frame" => client_frame,
            "relay_frame" => relay_frame,
            "padding" => padding,
            "body" => body,
            "message" => message,
        }
    };
}

waxwire_proxy::every_document!(documents);

/// docs/protocol.md, 3.2: what is decoded keeps every rule and is encoded to the same bytes, but for fields of later
/// versions.
fn document<T: Document + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(value) = T::decode(bytes) else {
        return false;
    };
    assert!(bytes.len() <= T::MAX);
    assert_eq!(check_item(bytes), Ok(()));
    assert_eq!(value.check_rules(), Ok(()));
    let again = value.encode();
    if again != bytes {
        assert!(has_negative_key(&Item::parse(bytes).unwrap()));
        assert!(T::decode(&again).as_ref() == Ok(&value));
    }
    true
}

fn has_negative_key(item: &Item) -> bool {
    match item {
        Item::Array(items) => items.iter().any(has_negative_key),
        Item::Map(pairs) => pairs
            .iter()
            .any(|(key, value)| matches!(key, Item::Negative(_)) || has_negative_key(value)),
        _ => false,
    }
}

/// What the strict reader takes, a lenient one reads as well, and it has that encoding only.
fn cbor(bytes: &[u8]) -> bool {
    let taken = check_item(bytes).is_ok();
    if taken {
        assert!(Item::parse(bytes).unwrap().encode() == bytes);
    }
    taken
}

fn envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::split(bytes) else {
        return false;
    };
    assert_eq!(envelope.to_bytes(), bytes);
    true
}

fn append(bytes: &[u8]) -> bool {
    let Ok(append) = Append::split(bytes) else {
        return false;
    };
    assert_eq!(append.to_bytes(), bytes);
    true
}

fn client_frame(bytes: &[u8]) -> bool {
    let Ok(frame) = ClientFrame::decode(bytes) else {
        return false;
    };
    assert_eq!(frame.encode(), bytes);
    true
}

fn relay_frame(bytes: &[u8]) -> bool {
    let Ok(frame) = RelayFrame::decode(bytes) else {
        return false;
    };
    assert_eq!(frame.encode(), bytes);
    true
}

/// docs/protocol.md, 3.4: an object has one plaintext.
fn padding(bytes: &[u8]) -> bool {
    let Ok((kind, object)) = unpad(bytes) else {
        return false;
    };
    assert_eq!(pad(kind, object).unwrap(), bytes);
    true
}

/// Either form of a signed body; its kind says which.
fn body(bytes: &[u8]) -> bool {
    let Ok(body) = Body::decode(bytes) else {
        return false;
    };
    assert_eq!(matches!(body, Body::Content(_)), body.kind().is_content());
    true
}

/// A message that was sent again or granted. Nothing that anybody makes up is authentic.
fn message(bytes: &[u8]) -> bool {
    let Ok(message) = MessageBytes::decode(bytes) else {
        return false;
    };
    let Ok(message) = UnverifiedMessage::from_message(message) else {
        return false;
    };
    if let Ok(verified) = message.verify() {
        let message = MessageBytes::decode(bytes).unwrap();
        let (body, label) = (verified.body(), MessageBytes::label(verified.body().kind()));
        let hashes = MessageBytes::signed_hashes(&message.context, &message.core);
        assert_eq!(
            body.identity().verify(label, &[&hashes], &message.signature),
            Ok(())
        );
    }
    true
}
