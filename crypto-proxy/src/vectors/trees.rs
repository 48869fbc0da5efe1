//! Merkle trees and what is proven with them.

use serde_json::{Value, json};
use waxwire_shared::{
    ids::Hash,
    merkle,
    roster::{leaves_root, verify_leaf},
    wire::{Commit, Document as _, LeafContent, Leaves},
};

use super::{
    Fault, Layer,
    input::{In, hex, number},
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "merkle_root" => root(input),
        "merkle_inclusion" => inclusion(input),
        "merkle_consistency" => consistency(input),
        "leaf_proof" => leaf_proof(input),
        "leaves_root" => leaves(input),
        _ => return None,
    })
}

fn leaf_hashes(input: In<'_>) -> Result<Vec<Hash>, Fault> {
    Ok(input
        .list("leaves")?
        .iter()
        .map(|leaf| merkle::leaf_hash(leaf))
        .collect())
}

fn root(input: In<'_>) -> Result<Value, Fault> {
    let hashes = leaf_hashes(input)?;
    let paths = (0..hashes.len()).map(|index| {
        let path = merkle::inclusion_path(&hashes, index);
        path.iter().map(|hash| hex(hash.as_bytes())).collect::<Value>()
    });
    Ok(json!({
        "root": hex(merkle::root(&hashes).as_bytes()),
        "paths": paths.collect::<Value>(),
    }))
}

fn proven(holds: bool) -> Result<Value, Fault> {
    if holds {
        Ok(json!({}))
    } else {
        Err(Fault::Layer(Layer::Context))
    }
}

fn inclusion(input: In<'_>) -> Result<Value, Fault> {
    let leaf = merkle::leaf_hash(&input.bytes("leaf")?);
    proven(merkle::verify_inclusion(
        &leaf,
        input.number("index")?,
        input.number("size")?,
        &input.hashes("path")?,
        &input.hash("root")?,
    ))
}

fn consistency(input: In<'_>) -> Result<Value, Fault> {
    proven(merkle::verify_consistency(
        input.number("first")?,
        &input.hash("first_root")?,
        input.number("second")?,
        &input.hash("second_root")?,
        &input.hashes("path")?,
    ))
}

/// A member's leaf against the rekey of a commit's body.
fn leaf_proof(input: In<'_>) -> Result<Value, Fault> {
    let commit = Commit::decode(&input.bytes("commit")?)?;
    let rekey = commit
        .rekey
        .ok_or_else(|| Fault::Case("commit without a rekey".to_owned()))?;
    let leaf = verify_leaf(
        &rekey,
        input.small("index")?,
        &input.identity("member")?,
        &input.bytes("leaf")?,
        &input.hashes("path")?,
    )?;
    Ok(match leaf.content {
        LeafContent::Sealed {
            key_number,
            suite,
            sealed,
        } => json!({"key_number": number(key_number), "suite": suite.0, "sealed": hex(sealed)}),
        LeafContent::Empty(reason) => json!({"reason": reason.number()}),
    })
}

fn leaves(input: In<'_>) -> Result<Value, Fault> {
    let leaves = Leaves::decode(&input.bytes("bytes")?)?;
    Ok(json!({"root": hex(leaves_root(&leaves).as_bytes())}))
}
