//! Labels, kinds, enumerations and whatever is named by a hash.

use serde_json::{Value, json};
use waxwire_shared::{
    code::IdentityCode,
    fingerprint::{Address, Fingerprint, safety_number},
    handle_tag::handle_tag,
    hash::{labelled, sha256},
    ids::{AgentId, ConversationId, GroupId, Handle, RelayId},
    labels::Label,
    message::Body,
    wire::{
        Bundle, ChallengePurpose, Core, EmptyReason, JoinPolicy, Kind, Lane, MessageBytes, ReceiptState, Role,
    },
};

use super::{
    Fault, Layer,
    boxes::Fixed,
    input::{In, hex},
};
use crate::crypto::recovery::RecoverySecret;

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "label" => label(input),
        "kind" => kind(input),
        "enumeration" => enumeration(input),
        "handle" => handle(input),
        "address" => address(input),
        "identity_code" => identity_code(input),
        "relay_id" => input
            .identity("identity")
            .map(|key| json!({"id": hex(RelayId::of(&key).as_bytes())})),
        "agent_id" => agent_id(input),
        "conversation_id" => conversation(input),
        "fingerprint" => input
            .identity("identity")
            .map(|key| json!({"text": Fingerprint::of(&key).to_string()})),
        "safety_number" => safety(input),
        "recovery_hash" => {
            let hash = |key| json!({"hash": hex(Bundle::recovery_hash(&key).as_bytes())});
            input.identity("identity").map(hash)
        }
        "core" => core(input),
        "credential_hash" => {
            let hash = |text: &str| hex(labelled(Label::HashCredential, &[text.as_bytes()]).as_bytes());
            input.text("credential").map(|text| json!({"hash": hash(text)}))
        }
        "handle_tag" => tag(input),
        "recovery_text" => recovery_text(input),
        "recovery_parse" => recovery_parse(input),
        _ => return None,
    })
}

fn label(input: In<'_>) -> Result<Value, Fault> {
    let name = input.text("name")?;
    let label = Label::ALL.iter().find(|label| format!("{label:?}") == name);
    let label = label.ok_or_else(|| Fault::Case(format!("no label {name}")))?;
    Ok(json!({"bytes": hex(label.bytes())}))
}

fn kind(input: In<'_>) -> Result<Value, Fault> {
    let number = input.number("number")?;
    let kind = u8::try_from(number).ok().and_then(Kind::from_number);
    let kind = kind.ok_or(Fault::Layer(Layer::Decode))?;
    let signed = kind.is_content() || kind.is_control();
    Ok(json!({
        "name": format!("{kind:?}"),
        "content": kind.is_content(),
        "control": kind.is_control(),
        "label": signed.then(|| format!("{:?}", MessageBytes::label(kind))),
        "lane": kind.direct_lane().map(Lane::number),
        "groups": kind.is_for_groups(),
    }))
}

fn enumeration(input: In<'_>) -> Result<Value, Fault> {
    let number = u8::try_from(input.number("number")?).map_err(|_| Fault::Layer(Layer::Decode))?;
    macro_rules! name {
        ($($name:ident),*) => {
            match input.text("name")? {
                $(stringify!($name) => $name::from_number(number).map(|value| format!("{value:?}")),)*
                other => return Err(Fault::Case(format!("no enumeration {other}"))),
            }
        };
    }
    let name = name!(
        Lane,
        ReceiptState,
        Role,
        JoinPolicy,
        EmptyReason,
        ChallengePurpose
    );
    name.map(|name| json!({"name": name}))
        .ok_or(Fault::Layer(Layer::Decode))
}

fn handle(input: In<'_>) -> Result<Value, Fault> {
    let handle: Handle = input.text("text")?.parse()?;
    Ok(json!({"handle": handle.as_str()}))
}

fn address(input: In<'_>) -> Result<Value, Fault> {
    let address: Address = input.text("text")?.parse()?;
    Ok(json!({
        "handle": address.handle.as_str(),
        "fingerprint": address.fingerprint.map(|fingerprint| fingerprint.to_string()),
    }))
}

fn identity_code(input: In<'_>) -> Result<Value, Fault> {
    let code: IdentityCode = input
        .text("text")?
        .parse()
        .map_err(|_| Fault::Layer(Layer::Decode))?;
    Ok(json!({
        "relay": code.relay.to_string(),
        "handle": code.handle.as_str(),
        "fingerprint": code.fingerprint.to_string(),
    }))
}

fn agent_id(input: In<'_>) -> Result<Value, Fault> {
    let relay = RelayId::from_bytes(input.array("relay")?);
    let id = AgentId::of(&relay, &input.identity("identity")?);
    Ok(json!({"id": hex(id.as_bytes())}))
}

fn conversation(input: In<'_>) -> Result<Value, Fault> {
    let id = if input.0.get("group").is_some() {
        ConversationId::group(&GroupId::from_bytes(input.array("group")?))
    } else {
        ConversationId::direct(&input.identity("a")?, &input.identity("b")?)
    };
    Ok(json!({"id": hex(id.as_bytes())}))
}

fn safety(input: In<'_>) -> Result<Value, Fault> {
    let number = safety_number(&input.identity("a")?, &input.identity("b")?);
    Ok(json!({"text": number}))
}

fn tag(input: In<'_>) -> Result<Value, Fault> {
    let relay = RelayId::from_bytes(input.array("relay")?);
    let tag = handle_tag(&relay, &input.text("handle")?.parse()?);
    let tag = tag.map_err(|error| Fault::Case(error.to_string()))?;
    Ok(json!({"tag": hex(tag.as_bytes())}))
}

fn core(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    Body::decode(&bytes)?;
    Ok(
        json!({"core_hash": hex(sha256(&bytes).as_bytes()), "message_id": hex(Core::message_id(&bytes).as_bytes())}),
    )
}

fn recovery_text(input: In<'_>) -> Result<Value, Fault> {
    let secret = RecoverySecret::generate(&mut Fixed::new(&input.array::<32>("seed")?));
    Ok(json!({
        "text": *secret.expose_text(),
        "public": hex(secret.public().to_prefixed()),
        "hash": hex(secret.hash().as_bytes()),
    }))
}

fn recovery_parse(input: In<'_>) -> Result<Value, Fault> {
    let secret = RecoverySecret::parse(input.text("text")?)?;
    Ok(json!({"public": hex(secret.public().to_prefixed())}))
}
