//! Encrypted attachments between agents (docs/protocol.md, 7.2; docs/proxy-api.md, Attachments).

mod bucket;
mod hostile;
mod interrupted;
mod refused;
mod transfer;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use waxwire_tests::{Message, Pair, World, http::Answer, unique};

/// Largest attachment.
const LARGEST: usize = 25 * 1024 * 1024;
/// A few chunks, the last of them not full.
const SMALL: usize = 200_000;

/// So many bytes, no two chunks alike, with a text all over that must not be found in clear.
fn content(world: &World, length: usize) -> anyhow::Result<Vec<u8>> {
    let canary = unique("attachment")?;
    world.canaries().forbid(&canary);
    let mut bytes = Vec::with_capacity(length + 64);
    let mut line = 0_u64;
    while bytes.len() < length {
        bytes.extend_from_slice(format!("{canary},{line}\n").as_bytes());
        line += 1;
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Uploads bytes as alice, sends them to bob; gives what bob got.
async fn shared(pair: &Pair, name: &str, bytes: &[u8]) -> anyhow::Result<Message> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    let id = alice.upload(name, bytes).await?;
    alice.send_file("bob", name, &id).await?;
    bob.receive().await
}

/// The files of a folder, in the order of their names.
fn files_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The relay's files of attachments.
fn blobs(pair: &Pair) -> anyhow::Result<Vec<PathBuf>> {
    files_of(&pair.relay.blobs())
}

/// These very bytes came.
fn same(answer: &Answer, bytes: &[u8]) -> anyhow::Result<()> {
    answer.expect_status(200)?;
    ensure!(
        answer.body == bytes,
        "other bytes: {} of {}",
        answer.body.len(),
        bytes.len()
    );
    Ok(())
}

/// A refusal by its code.
fn refusal(answer: &Answer, status: u16, code: &str) -> anyhow::Result<serde_json::Value> {
    let body = answer.expect(status)?;
    ensure!(body["code"] == code, "expected {code}: {body}");
    Ok(body)
}
