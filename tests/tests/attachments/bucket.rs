//! A relay whose attachments are in a bucket (docs/operations/running.md, Attachments in a bucket): what only
//! such a relay can get wrong.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::json;
use tokio::sync::Notify;
use waxwire_shared::{
    api::{blobs::BlobAnswer, problem::ProblemType},
    hash::sha256,
    ids::BlobId,
};
use waxwire_tests::{
    Relay, S3, Stranger, World, eventually,
    http::Answer,
    scenario, scenario_within,
    tap::{Asked, Outcome, Way},
    within,
};

use crate::{SMALL, blobs, content, files_of, refusal, same, shared};

const LIMIT: Duration = Duration::from_secs(200);
const SOON: Duration = Duration::from_secs(30);
/// More than two parts of the bucket's.
const PARTS: usize = 11 * 1024 * 1024;

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = sha256(b"attachment");
    while bytes.len() < length {
        bytes.extend_from_slice(block.as_bytes());
        block = sha256(block.as_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Blobs as the relay's API has them, of one agent.
struct Blob {
    agent: Stranger,
    id: BlobId,
}

impl Blob {
    async fn begin(world: &World, relay: &Relay, name: &str, length: usize) -> anyhow::Result<Self> {
        let agent = Stranger::registered(relay.http(), name, world.canaries()).await?;
        let blob = Self {
            agent,
            id: BlobId::from_bytes([name.as_bytes()[0]; 16]),
        };
        blob.begun(length).await?.expect_status(201)?;
        Ok(blob)
    }

    async fn begun(&self, length: usize) -> anyhow::Result<Answer> {
        let body = json!({ "blob_id": self.id, "length": length });
        let ask = self.agent.request("POST", "/v1/blobs").json(&body);
        self.agent.ask(ask).await
    }

    async fn append(&self, offset: usize, bytes: &[u8]) -> anyhow::Result<Answer> {
        let path = format!("/v1/blobs/{}?offset={offset}", self.id);
        let ask = self
            .agent
            .request("PATCH", path)
            .header("content-type", "application/octet-stream");
        self.agent.ask(ask.body(bytes.to_vec())).await
    }

    async fn fetch(&self, range: Option<&str>) -> anyhow::Result<Answer> {
        let mut ask = self.agent.request("GET", format!("/v1/blobs/{}", self.id));
        if let Some(range) = range {
            ask = ask.header("range", range);
        }
        self.agent.ask(ask).await
    }

    async fn delete(&self) -> anyhow::Result<Answer> {
        let ask = self.agent.request("DELETE", format!("/v1/blobs/{}", self.id));
        self.agent.ask(ask).await
    }

    /// Asks to be completed until it is.
    async fn completes(&self, length: usize) -> anyhow::Result<()> {
        eventually("the blob is complete", SOON, async || {
            let answer = self.append(length, &[]).await?;
            if answer.status == 503 {
                return Ok(None);
            }
            Ok(state(&answer)?.2.then_some(()))
        })
        .await
    }
}

fn state(answer: &Answer) -> anyhow::Result<(u16, u64, bool)> {
    let body: BlobAnswer = answer.parse()?;
    Ok((answer.status, body.offset, body.complete))
}

/// A refusal for now that says when to come again.
fn unavailable(answer: &Answer) -> anyhow::Result<()> {
    answer.problem(ProblemType::Unavailable)?;
    ensure!(answer.header("retry-after").is_some(), "no Retry-After");
    Ok(())
}

/// The nth request to the store of which this holds is lost; tells of it.
fn lose(s3: &S3, nth: usize, what: impl Fn(&Asked) -> bool + Send + 'static) -> Arc<Notify> {
    let reached = Arc::new(Notify::new());
    let (told, mut seen) = (Arc::clone(&reached), 0);
    s3.tap().on_request(move |asked| {
        seen += usize::from(what(asked));
        if what(asked) && seen == nth {
            told.notify_one();
            return Outcome::LoseAnswer;
        }
        Outcome::Pass
    });
    reached
}

/// Parts, offsets, ranges and deletion are those of a folder (`api/blobs_tests.rs`).
#[test]
fn blob_in_a_bucket_is_like_any_other() {
    scenario(async |world| {
        let s3 = S3::start(world).await?;
        let relay = s3.relay(world).await?;
        for (name, length) in [("small", SMALL), ("parts", PARTS)] {
            let (all, half) = (bytes(length), length / 2);
            let blob = Blob::begin(world, &relay, name, length).await?;
            let answer = blob.append(0, &all[..half]).await?;
            ensure!(state(&answer)? == (200, half as u64, false));
            ensure!(s3.objects().await?.is_empty(), "a part is in the bucket");
            blob.fetch(None).await?.problem(ProblemType::NotFound)?;
            let problem = blob
                .append(0, &all[half..])
                .await?
                .problem(ProblemType::WrongOffset)?;
            ensure!(problem.offset == Some(half as u64));
            ensure!(state(&blob.begun(length).await?)? == (200, half as u64, false));
            let answer = blob.append(half, &all[half..]).await?;
            ensure!(state(&answer)? == (200, length as u64, true));
            ensure!(state(&blob.append(length, &[]).await?)? == (200, length as u64, true));
            ensure!(state(&blob.begun(length).await?)? == (200, length as u64, true));

            let answer = blob.fetch(None).await?;
            ensure!(
                answer.status == 200 && answer.body == all,
                "{}",
                answer.body.len()
            );
            for (range, start, end) in [
                ("bytes=0-".to_owned(), 0, length),
                ("bytes=65535-65536".to_owned(), 65_535, 65_537),
                (format!("bytes={}-9999999999", length - 1), length - 1, length),
            ] {
                let answer = blob.fetch(Some(&range)).await?;
                ensure!(answer.status == 206 && answer.body == all[start..end], "{range}");
                let expected = format!("bytes {start}-{}/{length}", end - 1);
                ensure!(answer.header("content-range") == Some(expected.as_str()));
            }
            let [object] = &s3.objects().await?[..] else {
                anyhow::bail!("not one object");
            };
            ensure!(object.ends_with(&blob.id.to_string()), "{object}");
            // An honest relay sees that the object was cut, and has nothing to give.
            s3.replace(object, all[..length - 1].to_vec()).await?;
            blob.fetch(None).await?.problem(ProblemType::NotFound)?;
            blob.delete().await?.expect_status(204)?;
            blob.fetch(None).await?.problem(ProblemType::NotFound)?;
            ensure!(s3.objects().await?.is_empty());
            ensure!(files_of(&relay.blobs())?.is_empty());
        }
        Ok(())
    });
}

/// The relay dies while it puts parts: nobody sees the blob, it is completed later, and what was begun before
/// is given up.
#[test]
fn relay_killed_between_parts_leaves_nothing_half_visible() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let mut relay = s3.relay(world).await?;
        let all = bytes(PARTS);
        let blob = Blob::begin(world, &relay, "parts", PARTS).await?;
        let second = lose(&s3, 1, |asked| {
            asked.method == Method::PUT && asked.path.contains("partNumber=2")
        });
        let appending = blob.append(0, &all);
        tokio::select! {
            answer = appending => anyhow::bail!("answered: {answer:?}"),
            reached = within("the second part", SOON, second.notified()) => reached?,
        }
        relay.crash().await?;
        s3.tap().calm();
        blob.fetch(None).await?.problem(ProblemType::NotFound)?;
        ensure!(s3.objects().await?.is_empty() && s3.unfinished().await?.len() == 1);
        ensure!(state(&blob.begun(PARTS).await?)? == (200, PARTS as u64, false));
        blob.completes(PARTS).await?;
        ensure!(s3.objects().await?.len() == 1);
        ensure!(s3.unfinished().await?.is_empty(), "{:?}", s3.unfinished().await?);
        ensure!(blob.fetch(None).await?.body == all);

        // Or it is deleted instead.
        let other = Blob::begin(world, &relay, "other", PARTS).await?;
        let second = lose(&s3, 1, |asked| asked.path.contains("partNumber=2"));
        tokio::select! {
            answer = other.append(0, &all) => anyhow::bail!("answered: {answer:?}"),
            reached = within("the second part", SOON, second.notified()) => reached?,
        }
        relay.crash().await?;
        s3.tap().calm();
        other.delete().await?.expect_status(204)?;
        ensure!(s3.unfinished().await?.is_empty());
        ensure!(files_of(&relay.blobs())?.is_empty());
        Ok(())
    });
}

/// The relay dies when the object is there and the blob is not yet called complete.
#[test]
fn relay_killed_after_the_last_part_shows_the_blob_when_it_is_complete() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let mut relay = s3.relay(world).await?;
        let all = bytes(PARTS);
        let blob = Blob::begin(world, &relay, "parts", PARTS).await?;
        let last = lose(&s3, 1, |asked| {
            asked.method == Method::POST && asked.path.contains("uploadId=")
        });
        tokio::select! {
            answer = blob.append(0, &all) => anyhow::bail!("answered: {answer:?}"),
            reached = within("the last request", SOON, last.notified()) => reached?,
        }
        eventually("the object is there", SOON, async || {
            Ok((s3.objects().await?.len() == 1).then_some(()))
        })
        .await?;
        relay.crash().await?;
        s3.tap().calm();
        blob.fetch(None).await?.problem(ProblemType::NotFound)?;
        blob.completes(PARTS).await?;
        ensure!(blob.fetch(None).await?.body == all);
        ensure!(s3.objects().await?.len() == 1 && s3.unfinished().await?.is_empty());
        Ok(())
    });
}

/// Who asks while the store is away is told when to come again, and everything goes on when it is back.
#[test]
fn store_that_is_away_is_told_of_and_comes_back() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let relay = s3.relay(world).await?;
        let all = bytes(SMALL);
        let (done, begun) = (
            Blob::begin(world, &relay, "done", SMALL).await?,
            Blob::begin(world, &relay, "begun", SMALL).await?,
        );
        ensure!(state(&done.append(0, &all).await?)?.2);
        s3.tap().set(Way::Down);
        // What does not need the store goes on.
        ensure!(state(&begun.append(0, &all[..1_000]).await?)? == (200, 1_000, false));
        unavailable(&begun.append(1_000, &all[1_000..]).await?)?;
        unavailable(&done.fetch(None).await?)?;
        unavailable(&done.delete().await?)?;
        s3.tap().set(Way::Open);
        ensure!(done.fetch(None).await?.body == all);
        begun.completes(SMALL).await?;
        ensure!(begun.fetch(None).await?.body == all);
        done.delete().await?.expect_status(204)?;
        ensure!(s3.objects().await?.len() == 1);
        Ok(())
    });
}

/// Agents notice nothing of a store that is away for a while but the time, and refuse what it has changed.
#[test]
fn agents_wait_for_the_store_and_do_not_trust_it() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let pair = world.pair_on(s3.relay(world).await?).await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let bytes = content(world, SMALL)?;
        s3.tap().set(Way::Down);
        let begun = alice.begin_upload("a.csv", &bytes).await?;
        let uploading = tokio::spawn({
            let (alice, path, bytes) = (alice.clone(), begun.path.clone(), bytes.clone());
            async move { alice.put_bytes(&path, None, bytes).await }
        });
        eventually("the relay was refused", SOON, async || {
            let metrics = pair.relay.metrics().await?;
            Ok(metrics
                .contains("refusals_total{type=\"unavailable\"}")
                .then_some(()))
        })
        .await?;
        s3.tap().set(Way::Open);
        ensure!(uploading.await??.expect(200)?["complete"] == true);
        alice.send_file("bob", "a", &begun.id).await?;
        let message = bob.receive().await?;
        same(&bob.download(message.attachment()).await?, &bytes)?;

        let objects = s3.objects().await?;
        let object = objects.first().context("no object")?;
        let mut changed = s3.object(object).await?;
        changed[70_000] ^= 1;
        s3.replace(object, changed).await?;
        let answer = bob.download(message.attachment()).await?;
        refusal(&answer, 422, "ATTACHMENT_INVALID")?;
        Ok(())
    });
}

/// A relay that gets a bucket takes along what it has.
#[test]
fn folder_moves_into_the_bucket() {
    scenario_within(LIMIT, async |world| {
        let s3 = S3::start(world).await?;
        let mut pair = world.pair().await?;
        let first = content(world, SMALL)?;
        let message = shared(&pair, "a.csv", &first).await?;
        let unfinished = Blob::begin(world, &pair.relay, "unfinished", SMALL).await?;
        unfinished.append(0, &[1; 1_000]).await?.expect_status(200)?;
        ensure!(blobs(&pair)?.len() == 2);
        pair.relay.terminate().await?;
        s3.keeps_for(&mut pair.relay)?;
        pair.relay.start().await?;
        eventually("the complete one is in the bucket only", SOON, async || {
            Ok((s3.objects().await?.len() == 1 && blobs(&pair)?.len() == 1).then_some(()))
        })
        .await?;
        let bob = pair.bob.agent()?;
        bob.until_ready().await?;
        same(&bob.download(message.attachment()).await?, &first)?;
        let answer = unfinished.append(1_000, &[1; SMALL - 1_000]).await?;
        ensure!(state(&answer)?.2);
        ensure!(s3.objects().await?.len() == 2 && blobs(&pair)?.is_empty());
        Ok(())
    });
}
