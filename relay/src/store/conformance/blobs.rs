//! Rules about attachments (docs/relay-api.md, Blobs).

use waxwire_shared::ids::BlobId;

use super::*;
use crate::store::{BlobOutcome, BlobQuota, LEAST_BLOB, NewBlob};

const DAY: u64 = 24 * 3_600 * 1_000;

fn blob(owner: &Account, id: u8, length: u64) -> NewBlob {
    NewBlob {
        id: BlobId::from_bytes([id; 16]),
        owner: owner.agent,
        length,
        max_bytes: 0,
        max_unfinished: 0,
    }
}

async fn begin<B: Backend>(world: &World<B>, blob: NewBlob) -> BlobOutcome {
    world.store.begin_blob(blob).await.unwrap()
}

async fn complete<B: Backend>(world: &World<B>, id: u8) {
    let record = world.store.blob(&BlobId::from_bytes([id; 16])).await.unwrap();
    assert!(world.store.complete_blob(record.unwrap().no).await.unwrap());
}

pub(crate) async fn blob_is_begun_once_and_by_one_agent<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let BlobOutcome::Begun(begun) = begin(&world, blob(&a, 1, 528)).await else {
        panic!("not begun");
    };
    assert_eq!((begun.owner, begun.length, begun.complete), (a.agent, 528, false));
    assert_eq!(begin(&world, blob(&a, 1, 528)).await, BlobOutcome::Held(begun));
    assert_eq!(begin(&world, blob(&a, 1, 529)).await, BlobOutcome::Taken);
    assert_eq!(begin(&world, blob(&b, 1, 528)).await, BlobOutcome::Taken);
    complete(&world, 1).await;
    let world = world.crash().await;
    let held = world.store.blob(&BlobId::from_bytes([1; 16])).await.unwrap();
    let held = held.unwrap();
    assert!(held.complete);
    assert_eq!(begin(&world, blob(&a, 1, 528)).await, BlobOutcome::Held(held));
    world
        .store
        .delete_blob(BlobId::from_bytes([1; 16]))
        .await
        .unwrap();
    assert!(matches!(
        begin(&world, blob(&b, 1, 5)).await,
        BlobOutcome::Begun(_)
    ));
}

pub(crate) async fn quotas_count_what_is_held_and_what_is_unfinished<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let limited = |owner, id, length| NewBlob {
        max_bytes: 3 * LEAST_BLOB,
        max_unfinished: 2,
        ..blob(owner, id, length)
    };
    assert!(matches!(
        begin(&world, limited(&a, 1, 528)).await,
        BlobOutcome::Begun(_)
    ));
    let over = BlobOutcome::Full {
        quota: BlobQuota::Bytes,
        max: 3 * LEAST_BLOB,
        actual: 3 * LEAST_BLOB + 1,
    };
    assert_eq!(begin(&world, limited(&a, 2, 2 * LEAST_BLOB + 1)).await, over);
    assert!(matches!(
        begin(&world, limited(&a, 2, LEAST_BLOB)).await,
        BlobOutcome::Begun(_)
    ));
    let many = BlobOutcome::Full {
        quota: BlobQuota::Unfinished,
        max: 2,
        actual: 3,
    };
    assert_eq!(begin(&world, limited(&a, 3, 528)).await, many);
    // What has begun goes on, and others have their own quota.
    assert!(matches!(
        begin(&world, limited(&a, 1, 528)).await,
        BlobOutcome::Held(_)
    ));
    assert!(matches!(
        begin(&world, limited(&b, 3, 528)).await,
        BlobOutcome::Begun(_)
    ));
    complete(&world, 1).await;
    assert!(matches!(
        begin(&world, limited(&a, 4, 528)).await,
        BlobOutcome::Begun(_)
    ));
}

pub(crate) async fn blobs_expire_by_age_and_sooner_if_unfinished<B: Backend>() {
    let world = World::<B>::new().await;
    let a = world.agent(1).await;
    for id in 1..=3 {
        begin(&world, blob(&a, id, 528)).await;
    }
    complete(&world, 1).await;
    world.advance(DAY + 1);
    begin(&world, blob(&a, 4, 528)).await;
    let expired = async |after: Option<u8>, limit| {
        let now = world.now.load(Ordering::Relaxed);
        let (before, unfinished) = (now - 30 * DAY, now - DAY);
        let after = after.map(|id| BlobId::from_bytes([id; 16]));
        let ids = world.store.expired_blobs(before, unfinished, after, limit).await;
        ids.unwrap()
    };
    let ids = |ids: &[u8]| -> Vec<BlobId> { ids.iter().map(|id| BlobId::from_bytes([*id; 16])).collect() };
    assert_eq!(expired(None, 10).await, ids(&[2, 3]));
    assert_eq!(expired(None, 1).await, ids(&[2]));
    assert_eq!(expired(Some(2), 10).await, ids(&[3]));
    world.advance(29 * DAY);
    assert_eq!(expired(None, 10).await, ids(&[1, 2, 3, 4]));
    assert_eq!(expired(Some(1), 2).await, ids(&[2, 3]));
}
