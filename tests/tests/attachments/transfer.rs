//! Attachments get there, and to nobody else.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use waxwire_tests::{Pair, S3, World, scenario, scenario_within};

use crate::{LARGEST, SMALL, blobs, content, files_of, refusal, same, shared};

/// Most memory that a transfer of the largest attachment may add to a program.
const MEMORY: u64 = 16 * 1024 * 1024;

/// Its ciphertext (docs/protocol.md, 7.2): padded, in chunks of 65,536 with a tag of 16 each.
const SEALED: u64 = 26_214_400 + 16 * 400;

/// The most resident memory that a process has had, in bytes.
fn peak(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.context("no VmHWM")?.trim().trim_end_matches("kB").trim();
    Ok(kibibytes.parse::<u64>()? * 1024)
}

/// The largest one through two proxies and a relay, in bounded memory; nothing of it stays where it passed.
async fn largest(world: &World, pair: &mut Pair) -> anyhow::Result<()> {
    let processes = [
        ("relay", pair.relay.program()?.id()),
        ("alice", pair.alice.program()?.id()),
        ("bob", pair.bob.program()?.id()),
    ];
    let idle: Vec<u64> = processes
        .iter()
        .map(|(_, id)| peak(*id))
        .collect::<Result<_, _>>()?;
    let bytes = content(world, LARGEST)?;
    let message = shared(pair, "large.csv", &bytes).await?;
    ensure!(message.kind == "file");
    ensure!(message.content["filename"] == "large.csv");
    ensure!(message.content["content_type"] == "text/csv");
    ensure!(message.content["size"] == LARGEST);
    let bob = pair.bob.agent()?;
    let answer = bob.download(message.attachment()).await?;
    same(&answer, &bytes)?;
    ensure!(answer.media_type() == "text/csv");
    ensure!(answer.header("content-disposition") == Some("attachment; filename*=UTF-8''large.csv"));
    for ((name, id), idle) in processes.iter().zip(idle) {
        let added = peak(*id)?.saturating_sub(idle);
        ensure!(added < MEMORY, "{name} took {added} bytes beside its {idle}");
    }
    for proxy in [&pair.alice, &pair.bob] {
        ensure!(files_of(&proxy.state().join("attachments"))?.is_empty());
    }
    Ok(())
}

#[test]
fn largest_attachment_arrives_byte_for_byte_in_bounded_memory() {
    scenario_within(Duration::from_secs(240), async |world| {
        let mut pair = world.pair().await?;
        largest(world, &mut pair).await?;
        let [blob] = &blobs(&pair)?[..] else {
            anyhow::bail!("not one blob");
        };
        ensure!(blob.metadata()?.len() == SEALED);
        Ok(())
    });
}

#[test]
fn largest_attachment_passes_through_a_bucket_in_bounded_memory() {
    scenario_within(Duration::from_secs(240), async |world| {
        let s3 = S3::start(world).await?;
        let mut pair = world.pair_on(s3.relay(world).await?).await?;
        largest(world, &mut pair).await?;
        let [object] = &s3.objects().await?[..] else {
            anyhow::bail!("not one object");
        };
        ensure!(object.starts_with("of/relay/"), "{object}");
        ensure!(s3.object(object).await?.len() as u64 == SEALED);
        ensure!(s3.unfinished().await?.is_empty());
        ensure!(blobs(&pair)?.is_empty(), "{:?}", blobs(&pair)?);
        Ok(())
    });
}

/// Of any size, to one agent and to a group; who did not get the message does not get the bytes.
#[test]
fn one_attachment_is_for_whoever_got_a_message_that_cites_it() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let group = alice.gather("files", &[&bob, &carol]).await?;
        let bytes = content(world, SMALL)?;
        let id = alice.upload("a.csv", &bytes).await?;
        let sent = alice.send_file(&group.id, "to-group", &id).await?;
        ensure!(sent.attachment() == id && sent.content["size"] == SMALL);
        alice.send_file("dave", "to-dave", &id).await?;
        for reader in [&bob, &carol] {
            let message = reader.until_file(&group.id).await?;
            ensure!(message.attachment() != id, "an id of another proxy");
            same(&reader.download(message.attachment()).await?, &bytes)?;
        }
        let message = dave.receive().await?;
        same(&dave.download(message.attachment()).await?, &bytes)?;
        // The author, by either name.
        same(&alice.download(&id).await?, &bytes)?;
        same(&alice.download(&sent.id.replace("msg_", "att_")).await?, &bytes)?;
        // In the group, and not a message of dave's.
        let answer = dave
            .get(&format!("/v1/attachments/{}", sent.id.replace("msg_", "att_")))
            .await?;
        refusal(&answer, 404, "ATTACHMENT_NOT_FOUND")?;
        // What is hidden is not there any more.
        dave.delete(&format!("/v1/messages/{}", message.id))
            .await?
            .expect(200)?;
        let answer = dave
            .get(&format!("/v1/attachments/{}", message.attachment()))
            .await?;
        refusal(&answer, 404, "ATTACHMENT_NOT_FOUND")?;

        for length in [0, 1, 512, 65_535, 65_536, 65_537] {
            let name = format!("{length}.csv");
            let bytes = content(world, length)?;
            let id = alice.upload(&name, &bytes).await?;
            alice.send_file("dave", &name, &id).await?;
            let message = dave.receive().await?;
            same(&dave.download(message.attachment()).await?, &bytes)?;
        }
        Ok(())
    });
}
