//! Derivations and boxes.

use rand_core::{Infallible, TryCryptoRng, TryRng};
use serde_json::{Value, json};
use waxwire_shared::{
    ids::{BlobId, ConversationId, GroupId},
    labels::Label,
};

use super::{
    Fault,
    input::{In, hex},
};
use crate::crypto::{
    aead,
    attachment::Chunks,
    group, kdf, leaf, sealed_box,
    secret::{
        AttachmentKey, ChainKey, EncryptionPublic, EncryptionSecret, EpochKey, MessageKey, SendIdKey,
        StateKey, StateMasterKey, StoreKek, StoreWrapKey,
    },
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "mid" => mid(input),
        "epoch_commitment" => keyed(input, |key| {
            Ok(hex(kdf::epoch_commitment(&EpochKey::from_slice(key)?).as_bytes()))
        }),
        "first_chain_key" => first_chain_key(input),
        "message_key" => keyed(input, |key| {
            Ok(hex(kdf::message_key(&ChainKey::from_slice(key)?).expose_bytes()))
        }),
        "next_chain_key" => keyed(input, |key| {
            Ok(hex(
                kdf::next_chain_key(&ChainKey::from_slice(key)?).expose_bytes()
            ))
        }),
        "chain" => chain(input),
        "store_commitment" => keyed(input, |key| {
            Ok(hex(kdf::store_commitment(&StoreKek::from_slice(key)?)))
        }),
        "store_wrap_key" => keyed(input, |key| {
            Ok(hex(
                kdf::store_wrap_key(&StoreKek::from_slice(key)?).expose_bytes()
            ))
        }),
        "state_key" => state_key(input),
        "column_tag" => column_tag(input),
        "attachment_chunk_key" => keyed(input, |key| {
            Ok(hex(
                kdf::attachment_chunk_key(&AttachmentKey::from_slice(key)?).expose_bytes()
            ))
        }),
        "backup_key" => keyed(input, |key| {
            Ok(hex(kdf::backup_key(&StoreKek::from_slice(key)?).expose_bytes()))
        }),
        "local_proof" => local_proof(input),
        "sealed_box_seal" => seal(input),
        "sealed_box_open" => open(input),
        "group_seal" => group_seal(input),
        "group_open" => group_open(input),
        "leaf_seal" => leaf_seal(input),
        "leaf_open" => leaf_open(input),
        "rest_seal" => rest_seal(input),
        "rest_open" => rest_open(input),
        "chunk_open" => chunk_open(input),
        _ => return None,
    })
}

/// A generator that gives the bytes of a case, then zeros.
pub(super) struct Fixed<'a>(&'a [u8]);

impl<'a> Fixed<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl TryRng for Fixed<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let given = bytes.len().min(self.0.len());
        let (now, later) = self.0.split_at(given);
        bytes.fill(0);
        bytes[..given].copy_from_slice(now);
        self.0 = later;
        Ok(())
    }
}

impl TryCryptoRng for Fixed<'_> {}

fn keyed(input: In<'_>, derive: impl FnOnce(&[u8]) -> Result<Value, Fault>) -> Result<Value, Fault> {
    derive(&input.bytes("key")?).map(|out| json!({"out": out}))
}

fn mid(input: In<'_>) -> Result<Value, Fault> {
    let mid = kdf::mid(
        &SendIdKey::from_slice(&input.bytes("key")?)?,
        &ConversationId::from_bytes(input.array("conversation")?),
        input.text("client_msg_id")?,
        input.small("attempt")?,
    );
    Ok(json!({"mid": hex(mid.as_bytes())}))
}

fn local_proof(input: In<'_>) -> Result<Value, Fault> {
    let proof = kdf::local_proof(&input.array("key")?, &input.array("nonce")?, input.text("place")?);
    Ok(json!({"out": hex(proof)}))
}

fn first_chain_key(input: In<'_>) -> Result<Value, Fault> {
    let key = kdf::first_chain_key(
        &EpochKey::from_slice(&input.bytes("key")?)?,
        &GroupId::from_bytes(input.array("group")?),
        input.number("epoch")?,
        &input.hash("rekey_commit")?,
        &input.identity("sender")?,
    );
    Ok(json!({"out": hex(key.expose_bytes())}))
}

/// The first message keys of a chain.
fn chain(input: In<'_>) -> Result<Value, Fault> {
    let mut chain = ChainKey::from_slice(&input.bytes("key")?)?;
    let mut keys = Vec::new();
    for _ in 0..input.number("count")?.min(64) {
        keys.push(hex(kdf::message_key(&chain).expose_bytes()));
        chain = kdf::next_chain_key(&chain);
    }
    Ok(json!({"message_keys": keys, "chain_key": hex(chain.expose_bytes())}))
}

fn state_key(input: In<'_>) -> Result<Value, Fault> {
    let master = StateMasterKey::from_slice(&input.bytes("key")?)?;
    let key = kdf::state_key(&master, input.number("generation")?);
    Ok(json!({"out": hex(key.expose_bytes())}))
}

fn column_tag(input: In<'_>) -> Result<Value, Fault> {
    let column = match input.text("column")? {
        "handle" => "handle",
        other => return Err(Fault::Case(format!("no column {other}"))),
    };
    let key = StateKey::from_slice(&input.bytes("key")?)?;
    Ok(json!({"out": hex(kdf::column_tag(&key, column, &input.bytes("value")?))}))
}

fn seal(input: In<'_>) -> Result<Value, Fault> {
    let recipient = EncryptionPublic::from_slice(&input.bytes("recipient")?)?;
    let ephemeral = input.array::<32>("ephemeral")?;
    let sealed = sealed_box::seal(
        &mut Fixed::new(&ephemeral),
        &recipient,
        &input.bytes("plaintext")?,
    );
    Ok(json!({"box": hex(sealed)}))
}

fn open(input: In<'_>) -> Result<Value, Fault> {
    let secret = EncryptionSecret::from_slice(&input.bytes("secret")?)?;
    let plaintext = sealed_box::open(&secret, &input.bytes("box")?)?;
    Ok(json!({"public": hex(secret.public().as_bytes()), "plaintext": hex(&*plaintext)}))
}

fn group_seal(input: In<'_>) -> Result<Value, Fault> {
    let key = MessageKey::from_slice(&input.bytes("key")?)?;
    let nonce = input.array::<24>("nonce")?;
    let header = input.bytes("header")?;
    let sealed = group::seal(&mut Fixed::new(&nonce), key, &header, &input.bytes("plaintext")?);
    Ok(json!({"ciphertext": hex(sealed)}))
}

fn group_open(input: In<'_>) -> Result<Value, Fault> {
    let key = MessageKey::from_slice(&input.bytes("key")?)?;
    let plaintext = group::open(&key, &input.bytes("header")?, &input.bytes("ciphertext")?)?;
    Ok(json!({"plaintext": hex(&*plaintext)}))
}

fn leaf_seal(input: In<'_>) -> Result<Value, Fault> {
    let member = EncryptionPublic::from_slice(&input.bytes("member")?)?;
    let key = EpochKey::from_slice(&input.bytes("key")?)?;
    let ephemeral = input.array::<32>("ephemeral")?;
    let sealed = leaf::seal(&mut Fixed::new(&ephemeral), &member, input.number("epoch")?, &key);
    Ok(json!({"sealed": hex(sealed)}))
}

fn leaf_open(input: In<'_>) -> Result<Value, Fault> {
    let secret = EncryptionSecret::from_slice(&input.bytes("secret")?)?;
    let key = leaf::open(
        &secret,
        input.number("epoch")?,
        &input.hash("commitment")?,
        &input.bytes("sealed")?,
    )?;
    Ok(json!({"key": hex(key.expose_bytes())}))
}

/// Label and place of a box at rest; the role of the key does not change its bytes.
fn rest(input: In<'_>) -> Result<(StoreWrapKey, Label, Vec<Vec<u8>>), Fault> {
    let label = match input.text("label")? {
        "AadStoreSlot" => Label::AadStoreSlot,
        "AadStateColumn" => Label::AadStateColumn,
        "AadBackup" => Label::AadBackup,
        other => return Err(Fault::Case(format!("{other} seals nothing at rest"))),
    };
    Ok((
        StoreWrapKey::from_slice(&input.bytes("key")?)?,
        label,
        input.list("place")?,
    ))
}

fn rest_seal(input: In<'_>) -> Result<Value, Fault> {
    let (key, label, place) = rest(input)?;
    let place: Vec<&[u8]> = place.iter().map(Vec::as_slice).collect();
    let nonce = input.array::<24>("nonce")?;
    let sealed = aead::seal(
        &mut Fixed::new(&nonce),
        &key,
        label,
        &place,
        &input.bytes("plaintext")?,
    );
    Ok(json!({"sealed": hex(sealed)}))
}

fn rest_open(input: In<'_>) -> Result<Value, Fault> {
    let (key, label, place) = rest(input)?;
    let place: Vec<&[u8]> = place.iter().map(Vec::as_slice).collect();
    let plaintext = aead::open(&key, label, &place, &input.bytes("sealed")?)?;
    Ok(json!({"plaintext": hex(&*plaintext)}))
}

/// One chunk of an attachment (docs/protocol.md, 7): `nonce = prefix 19 || index u32 || final u8`,
/// `aad = blob 16 || ciphertext length u64`.
fn chunk_open(input: In<'_>) -> Result<Value, Fault> {
    let chunks = Chunks::new(
        &AttachmentKey::from_slice(&input.bytes("key")?)?,
        input.array("nonce_prefix")?,
        &BlobId::from_bytes(input.array("blob")?),
        input.number("ciphertext_length")?,
    );
    let plaintext = chunks.open(
        input.small("index")?,
        input.flag("final")?,
        &input.bytes("chunk")?,
    )?;
    Ok(json!({"plaintext": hex(&*plaintext)}))
}
