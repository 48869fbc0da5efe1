//! Every document, and the profile of CBOR that they are written in.

use serde_json::{Value, json};
use waxwire_shared::{
    sign::SignedBytes,
    wire::{
        Bundle, Challenge, Commit, Context, ControlBody, Core, DirectHeader, Document, GroupHeader, Header,
        HistoryGrant, InviteNotice, Leaf, LeafProof, Lease, Leaves, LogConsistency, LogHead, LogLeaf,
        LogProof, MessageBytes, Presence, Profile, Receipt, RelayDescription, Resend, ResendRequest,
        RosterSnapshot, Succession, SuccessionBytes, Typing, Unreadable, check_item, padme, sealed_length,
    },
};

use super::{
    Fault, Layer,
    input::{In, number},
    item::Item,
};

/// Hands the name of every document, as vectors have it, and its type to a macro.
#[macro_export]
macro_rules! every_document {
    ($then:ident) => {
        $then! {
            "Signed" SignedBytes,
            "DirectHeader" DirectHeader,
            "GroupHeader" GroupHeader,
            "Header" Header,
            "Context" Context,
            "Message" MessageBytes,
            "Core" Core,
            "Receipt" Receipt,
            "ControlBody" ControlBody,
            "Commit" Commit,
            "RosterSnapshot" RosterSnapshot,
            "Leaf" Leaf,
            "Leaves" Leaves,
            "LeafProof" LeafProof,
            "Bundle" Bundle,
            "Succession" Succession,
            "SuccessionBytes" SuccessionBytes,
            "Lease" Lease,
            "Challenge" Challenge,
            "RelayDescription" RelayDescription,
            "Unreadable" Unreadable,
            "ResendRequest" ResendRequest,
            "Resend" Resend,
            "InviteNotice" InviteNotice,
            "HistoryGrant" HistoryGrant,
            "Profile" Profile,
            "Typing" Typing,
            "Presence" Presence,
            "LogLeaf" LogLeaf,
            "LogHead" LogHead,
            "LogProof" LogProof,
            "LogConsistency" LogConsistency,
        }
    };
}

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "cbor" => cbor(input),
        "decode" => decode(input),
        "bundle" => bundle(input),
        "attachment_length" => attachment_length(input),
        _ => return None,
    })
}

fn show(bytes: &[u8]) -> Result<Value, Fault> {
    let item = Item::parse(bytes).ok_or_else(|| Fault::Case("cannot be shown".to_owned()))?;
    Ok(json!({"value": item.to_json()}))
}

fn cbor(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    check_item(&bytes)?;
    show(&bytes)
}

fn decode(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    macro_rules! decode {
        ($($name:literal $document:ident,)*) => {
            match input.text("type")? {
                $($name => whole::<$document>(&bytes),)*
                other => Err(Fault::Case(format!("no document {other}"))),
            }
        };
    }
    let again = every_document!(decode)?;
    // What the typed reader kept, encoded again, is the document without its skipped fields.
    let known = Item::parse(&bytes).map(without_negative_keys);
    if known.map(|item| item.encode()) == Some(again.clone()) {
        show(&again)
    } else {
        Err(Fault::Case("encodes to something else".to_owned()))
    }
}

fn whole<T: Document>(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(T::decode(bytes)?.encode())
}

fn without_negative_keys(item: Item) -> Item {
    match item {
        Item::Map(pairs) => Item::Map(
            pairs
                .into_iter()
                .filter(|(key, _)| !matches!(key, Item::Negative(_)))
                .map(|(key, value)| (key, without_negative_keys(value)))
                .collect(),
        ),
        Item::Array(items) => Item::Array(items.into_iter().map(without_negative_keys).collect()),
        other => other,
    }
}

fn bundle(input: In<'_>) -> Result<Value, Fault> {
    let bundle = Bundle::decode(&input.bytes("bytes")?)?;
    bundle.check()?;
    let best = bundle.best_key();
    Ok(json!({
        "best": best.map(|key| json!({"suite": key.suite.0, "number": number(key.number)})),
    }))
}

fn attachment_length(input: In<'_>) -> Result<Value, Fault> {
    let length = input.number("length")?;
    match (padme(length), sealed_length(length)) {
        (Some(padded), Some(sealed)) => Ok(json!({"padded": number(padded), "ciphertext": number(sealed)})),
        _ => Err(Fault::Layer(Layer::Decode)),
    }
}
