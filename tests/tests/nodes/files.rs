//! Attachments whose parts come to different nodes.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use waxwire_shared::{api::blobs::BlobAnswer, ids::BlobId};
use waxwire_tests::{Answer, Ask, Relay, S3, Stranger, World, canary::random, eventually, scenario};

const SOON: Duration = Duration::from_secs(20);
const LENGTH: usize = 200_000;
const HALF: usize = LENGTH / 2;

/// A blob of one agent, as the API of any node has it.
struct Blob<'a> {
    relay: &'a Relay,
    owner: &'a Stranger,
    id: BlobId,
}

impl Blob<'_> {
    async fn ask(&self, node: usize, ask: Ask) -> anyhow::Result<Answer> {
        self.relay.http_of(node).ask(ask).await
    }

    async fn begin(&self, node: usize) -> anyhow::Result<BlobAnswer> {
        let body = json!({ "blob_id": self.id, "length": LENGTH });
        let answer = self
            .ask(node, self.owner.request("POST", "/v1/blobs").json(&body))
            .await?;
        ensure!(matches!(answer.status, 200 | 201), "{}", answer.text());
        answer.parse()
    }

    async fn append(&self, node: usize, offset: usize, bytes: &[u8]) -> anyhow::Result<Answer> {
        let path = format!("/v1/blobs/{}?offset={offset}", self.id);
        let ask = self.owner.request("PATCH", path).body(bytes.to_vec());
        self.ask(node, ask.header("content-type", "application/octet-stream"))
            .await
    }

    fn request(&self, method: &str) -> Ask {
        self.owner.request(method, format!("/v1/blobs/{}", self.id))
    }
}

async fn two_with_a_bucket(world: &World, s3: &S3) -> anyhow::Result<Relay> {
    let mut relay = world.new_nodes(2, None)?;
    s3.keeps_for(&mut relay)?;
    relay.start().await?;
    Ok(relay)
}

/// How many files lie in the folder of uploads of the first node.
fn spooled(relay: &Relay) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(relay.blobs())?.count())
}

async fn until_nothing_is_spooled(relay: &Relay) -> anyhow::Result<()> {
    eventually("nothing lies at the first node", SOON, async || {
        Ok((spooled(relay)? == 0).then_some(()))
    })
    .await
}

/// With a bucket, what is under way lies at its node. At another one it begins from what that one has, and the part at the first is
/// never taken for the whole.
#[test]
fn upload_ends_at_another_node_than_it_began() {
    scenario(async |world| {
        let s3 = S3::start(world).await?;
        let mut relay = two_with_a_bucket(world, &s3).await?;
        let owner = Stranger::registered(relay.http(), "alice", world.canaries()).await?;
        let bytes = [random::<16>()?.as_slice(), &vec![7; LENGTH - 16]].concat();
        let id = BlobId::from_bytes(random::<16>()?);
        {
            let blob = Blob {
                relay: &relay,
                owner: &owner,
                id,
            };
            ensure!(blob.begin(0).await?.offset == 0);
            blob.append(0, 0, &bytes[..HALF]).await?.expect_status(200)?;
            ensure!(blob.begin(0).await?.offset == HALF as u64);
            ensure!(blob.begin(1).await?.offset == 0);
            blob.append(1, 0, &bytes).await?.expect_status(200)?;
            ensure!(blob.begin(0).await?.complete && spooled(&relay)? == 1);
        }
        relay.kill_node(0)?;
        relay.start_node(0).await?;
        until_nothing_is_spooled(&relay).await?;
        let blob = Blob {
            relay: &relay,
            owner: &owner,
            id,
        };
        for node in 0..2 {
            let got = blob.ask(node, blob.request("GET")).await?;
            got.expect_status(200)?;
            ensure!(got.body == bytes, "other bytes at node {node}");
        }
        ensure!(s3.objects().await?.len() == 1);
        Ok(())
    });
}

#[test]
fn upload_that_is_deleted_at_another_node_leaves_no_file() {
    scenario(async |world| {
        let s3 = S3::start(world).await?;
        let mut relay = two_with_a_bucket(world, &s3).await?;
        let owner = Stranger::registered(relay.http(), "alice", world.canaries()).await?;
        let id = BlobId::from_bytes(random::<16>()?);
        {
            let blob = Blob {
                relay: &relay,
                owner: &owner,
                id,
            };
            blob.begin(0).await?;
            blob.append(0, 0, &[7; HALF]).await?.expect_status(200)?;
            blob.ask(1, blob.request("DELETE")).await?.expect_status(204)?;
            blob.append(0, HALF, &[7; HALF]).await?.expect_status(404)?;
            ensure!(spooled(&relay)? == 1);
        }
        relay.kill_node(0)?;
        relay.start_node(0).await?;
        until_nothing_is_spooled(&relay).await?;
        ensure!(s3.objects().await?.is_empty());
        Ok(())
    });
}

/// In a folder that both share, the parts may come to either.
#[test]
fn parts_come_to_either_node_of_a_shared_folder() {
    scenario(async |world| {
        let relay = super::two(world).await?;
        let owner = Stranger::registered(relay.http(), "alice", world.canaries()).await?;
        let id = BlobId::from_bytes(random::<16>()?);
        let blob = Blob {
            relay: &relay,
            owner: &owner,
            id,
        };
        blob.begin(0).await?;
        for part in 0..4 {
            let (node, begin) = (part % 2, part * LENGTH / 4);
            let bytes = [part as u8; LENGTH / 4];
            blob.append(node, begin, &bytes).await?.expect_status(200)?;
        }
        let got = blob.ask(0, blob.request("GET")).await?;
        ensure!(got.body.len() == LENGTH && got.body[LENGTH - 1] == 3);
        Ok(())
    });
}
