//! Programs are killed in the middle of a transfer, which goes on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use http::Method;
use tokio::sync::Notify;
use waxwire_tests::{Agent, Pair, S3, Tap, World, scenario_within, tap::Outcome, within};

use crate::{content, files_of, same};

const LIMIT: Duration = Duration::from_secs(200);
/// Some 64 chunks, and 17 parts for the relay.
const LENGTH: usize = 64 * 65_536 + 1_000;

/// Bob gets what alice has uploaded.
async fn arrives(alice: &Agent, bob: &Agent, id: &str, bytes: &[u8]) -> anyhow::Result<()> {
    alice.send_file("bob", id, id).await?;
    let message = bob.receive().await?;
    same(&bob.download(message.attachment()).await?, bytes)
}

/// Notifies at the nth request of a method for blobs.
fn at(tap: &Tap, method: Method, nth: usize) -> Arc<Notify> {
    let reached = Arc::new(Notify::new());
    let (told, mut seen) = (Arc::clone(&reached), 0);
    tap.on_request(move |asked| {
        if asked.method == method && asked.path.starts_with("/v1/blobs/") {
            seen += 1;
            if seen == nth {
                told.notify_one();
            }
        }
        Outcome::Pass
    });
    reached
}

/// While the agent's bytes come in: what was sealed is still there, and the rest follows.
#[test]
fn killed_proxy_goes_on_with_the_part_that_it_has() {
    scenario_within(LIMIT, async |world| {
        let mut pair = world.pair().await?;
        let bytes = content(world, LENGTH)?;
        pair.alice.terminate().await?;
        pair.alice.start_with_fault("upload.chunk:40").await?;
        let alice = pair.alice.agent()?;
        alice.until_ready().await?;
        let begun = alice.begin_upload("a.csv", &bytes).await?;
        let broken = alice.put_bytes(&begun.path, None, bytes.clone()).await;
        ensure!(broken.is_err(), "the proxy was to die");
        pair.alice.aborted().await?;
        pair.alice.start().await?;
        alice.until_ready().await?;
        // The same address, at the port where the proxy is now.
        let nothing = format!("bytes */{LENGTH}");
        let answer = alice
            .put_bytes(&begun.path, Some(nothing), "")
            .await?
            .expect(200)?;
        let offset = usize::try_from(answer["offset"].as_u64().context("no offset")?)?;
        ensure!(offset == 40 * 65_536 || offset == 39 * 65_536, "{answer}");
        let rest = format!("bytes {offset}-{}/{LENGTH}", LENGTH - 1);
        let answer = alice
            .put_bytes(&begun.path, Some(rest), bytes[offset..].to_vec())
            .await?;
        ensure!(answer.expect(200)?["complete"] == true);
        arrives(&alice, &pair.bob.agent()?, &begun.id, &bytes).await
    });
}

/// While the relay gets it: the agent gives nothing a second time, and neither does the proxy.
#[test]
fn killed_proxy_goes_on_where_the_relay_is() {
    scenario_within(LIMIT, async |world| {
        let mut pair = world.pair().await?;
        let bytes = content(world, LENGTH)?;
        pair.alice.terminate().await?;
        pair.alice.start_with_fault("upload.part:9").await?;
        let alice = pair.alice.agent()?;
        alice.until_ready().await?;
        let begun = alice.begin_upload("a.csv", &bytes).await?;
        let broken = alice.put_bytes(&begun.path, None, bytes.clone()).await;
        ensure!(broken.is_err(), "the proxy was to die");
        pair.alice.aborted().await?;
        let (parts, count) = tokio::sync::watch::channel(0);
        pair.alice.tap().on_request(move |asked| {
            parts.send_modify(|parts| *parts += u32::from(asked.method == Method::PATCH));
            Outcome::Pass
        });
        pair.alice.start().await?;
        alice.until_ready().await?;
        let answer = alice
            .send(&serde_json::json!({
                "to": "bob", "client_msg_id": "early", "content": { "attachment_id": begun.id }
            }))
            .await?;
        crate::refusal(&answer, 409, "ATTACHMENT_INCOMPLETE")?;
        let nothing = format!("bytes */{LENGTH}");
        let answer = alice
            .put_bytes(&begun.path, Some(nothing), "")
            .await?
            .expect(200)?;
        ensure!(answer["complete"] == true, "{answer}");
        let parts = *count.borrow();
        ensure!((1..=9).contains(&parts), "{parts} parts after the kill");
        arrives(&alice, &pair.bob.agent()?, &begun.id, &bytes).await?;
        ensure!(files_of(&pair.alice.state().join("attachments"))?.is_empty());
        Ok(())
    });
}

/// The agent that does not care begins again, and nothing is sealed twice under one key.
#[test]
fn broken_upload_may_begin_again_with_other_bytes() {
    scenario_within(LIMIT, async |world| {
        let mut pair = world.pair().await?;
        let (first, second) = (content(world, LENGTH)?, content(world, LENGTH)?);
        pair.alice.terminate().await?;
        pair.alice.start_with_fault("upload.part:9").await?;
        let alice = pair.alice.agent()?;
        alice.until_ready().await?;
        // Without a hash either would do.
        let body = serde_json::json!({ "content_type": "text/csv", "size": LENGTH });
        let answer = alice.post_json("/v1/uploads", &body).await?.expect(201)?;
        let url = answer["upload_url"].as_str().context("no address")?;
        let path = &url[url.find("/v1/").context("no path")?..];
        ensure!(alice.put_bytes(path, None, first).await.is_err());
        pair.alice.aborted().await?;
        pair.alice.start().await?;
        alice.until_ready().await?;
        let answer = alice.put_bytes(path, None, second.clone()).await?;
        ensure!(answer.expect(200)?["complete"] == true);
        let id = answer.expect(200)?["attachment_id"]
            .as_str()
            .context("no id")?
            .to_owned();
        arrives(&alice, &pair.bob.agent()?, &id, &second).await?;
        // The blob of the first key was withdrawn.
        ensure!(crate::blobs(&pair)?.len() == 1);
        Ok(())
    });
}

/// The relay dies in the middle of both ways; neither agent notices anything but the time.
#[test]
fn killed_relay_goes_on_both_ways() {
    scenario_within(LIMIT, async |world| {
        let mut pair = world.pair().await?;
        killed_both_ways(world, &mut pair).await
    });
}

#[test]
fn killed_relay_goes_on_both_ways_with_a_bucket() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let mut pair = world.pair_on(s3.relay(world).await?).await?;
        killed_both_ways(world, &mut pair).await?;
        ensure!(s3.objects().await?.len() == 1);
        Ok(())
    });
}

async fn killed_both_ways(world: &World, pair: &mut Pair) -> anyhow::Result<()> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    let bytes = content(world, LENGTH)?;
    let begun = alice.begin_upload("a.csv", &bytes).await?;
    let reached = at(pair.alice.tap(), Method::PATCH, 8);
    let uploading = tokio::spawn({
        let (alice, path, bytes) = (alice.clone(), begun.path.clone(), bytes.clone());
        async move { alice.put_bytes(&path, None, bytes).await }
    });
    within("the eighth part", Duration::from_secs(30), reached.notified()).await?;
    pair.relay.crash().await?;
    ensure!(uploading.await??.expect(200)?["complete"] == true);
    alice.until_ready().await?;
    bob.until_ready().await?;
    alice.send_file("bob", "a", &begun.id).await?;
    let message = bob.receive().await?;
    let reached = at(pair.bob.tap(), Method::GET, 8);
    let downloading = tokio::spawn({
        let (bob, id) = (bob.clone(), message.attachment().to_owned());
        async move { bob.download(&id).await }
    });
    within("the eighth part", Duration::from_secs(30), reached.notified()).await?;
    pair.relay.crash().await?;
    same(&downloading.await??, &bytes)
}

/// What was fetched in part is deleted, and fetched again when it is asked for again.
#[test]
fn killed_proxy_leaves_no_half_of_a_download() {
    scenario_within(LIMIT, async |world| {
        let mut pair = world.pair().await?;
        let bytes = content(world, LENGTH)?;
        let message = crate::shared(&pair, "a.csv", &bytes).await?;
        pair.bob.terminate().await?;
        pair.bob.start_with_fault("download.part:9").await?;
        let bob = pair.bob.agent()?;
        bob.until_ready().await?;
        let path = bob.locate(message.attachment()).await?;
        ensure!(bob.take_bytes(&path).await.is_err(), "the proxy was to die");
        pair.bob.aborted().await?;
        let folder = pair.bob.state().join("attachments");
        ensure!(files_of(&folder)?.len() == 1);
        pair.bob.start().await?;
        ensure!(files_of(&folder)?.is_empty());
        bob.until_ready().await?;
        // Tickets are in memory only.
        crate::refusal(&bob.take_bytes(&path).await?, 404, "ATTACHMENT_NOT_FOUND")?;
        same(&bob.download(message.attachment()).await?, &bytes)
    });
}
