//! Requests for attachments (docs/relay-api.md, Blobs).

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use waxwire_shared::{
    api::{
        blobs::{BlobAnswer, BlobRequest},
        problem::ProblemType,
    },
    ids::BlobId,
};

use crate::{
    config::Limits,
    testing::{Answer, Setup, TestAgent, TestRelay},
};

const OCTETS: &str = "application/octet-stream";

fn id(byte: u8) -> BlobId {
    BlobId::from_bytes([byte; 16])
}

async fn begin(relay: &TestRelay, agent: &TestAgent, byte: u8, length: u64) -> Answer {
    let request = BlobRequest {
        blob_id: id(byte),
        length,
    };
    relay.post_json("/v1/blobs", Some(&agent.key), &request).await
}

async fn append(relay: &TestRelay, agent: &TestAgent, byte: u8, offset: u64, part: &[u8]) -> Answer {
    let path = format!("/v1/blobs/{}?offset={offset}", id(byte));
    let body = Some((OCTETS, part.to_vec()));
    relay.call(Method::PATCH, &path, Some(&agent.key), body).await
}

async fn fetch(relay: &TestRelay, agent: &TestAgent, byte: u8, range: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .uri(format!("/v1/blobs/{}", id(byte)))
        .header("host", "relay")
        .header("authorization", format!("Bearer {}", agent.key));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    relay.request(request.body(Full::default()).unwrap()).await
}

fn state(answer: &Answer) -> (u16, u64, bool) {
    let state: BlobAnswer = answer.json();
    (answer.status.as_u16(), state.offset, state.complete)
}

#[tokio::test]
async fn blob_is_uploaded_in_parts_and_fetched_by_who_knows_its_id() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    assert_eq!(state(&begin(&relay, &alice, 1, 200_000).await), (201, 0, false));
    let first = append(&relay, &alice, 1, 0, &bytes[..150_000]).await;
    assert_eq!(state(&first), (200, 150_000, false));
    fetch(&relay, &bob, 1, None)
        .await
        .assert_problem(ProblemType::NotFound);
    // Whoever lost the answer asks again.
    assert_eq!(
        state(&begin(&relay, &alice, 1, 200_000).await),
        (200, 150_000, false)
    );
    let last = append(&relay, &alice, 1, 150_000, &bytes[150_000..]).await;
    assert_eq!(state(&last), (200, 200_000, true));
    assert_eq!(
        state(&append(&relay, &alice, 1, 200_000, &[]).await),
        (200, 200_000, true)
    );
    assert_eq!(
        state(&begin(&relay, &alice, 1, 200_000).await),
        (200, 200_000, true)
    );

    let all = fetch(&relay, &bob, 1, None).await;
    assert_eq!((all.status, &all.body[..]), (StatusCode::OK, &bytes[..]));
    for (range, start, end) in [
        ("bytes=0-", 0, 200_000),
        ("bytes=131071-131072", 131_071, 131_073),
        ("bytes=199999-999999", 199_999, 200_000),
    ] {
        let part = fetch(&relay, &bob, 1, Some(range)).await;
        assert_eq!(
            (part.status, &part.body[..]),
            (StatusCode::PARTIAL_CONTENT, &bytes[start..end])
        );
        let expected = format!("bytes {start}-{}/200000", end - 1);
        assert_eq!(part.headers["content-range"], expected.as_str());
    }
    for range in [
        "bytes=200000-",
        "bytes=-5",
        "bytes=5-4",
        "bytes=0-1,3-4",
        "lines=0-1",
    ] {
        let refused = fetch(&relay, &bob, 1, Some(range)).await;
        refused.assert_problem(ProblemType::BadRequest);
    }
    let path = format!("/v1/blobs/{}", id(1));
    let head = relay.call(Method::HEAD, &path, Some(&bob.key), None).await;
    assert_eq!(
        (head.status, head.headers["content-length"].to_str().unwrap()),
        (StatusCode::OK, "200000")
    );
    relay
        .get(&path, None)
        .await
        .assert_problem(ProblemType::Unauthorized);
}

#[tokio::test]
async fn part_must_begin_where_the_blob_ends_and_stay_within_it() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    begin(&relay, &alice, 1, 1_000).await;
    append(&relay, &alice, 1, 0, &[1; 600]).await;
    for offset in [0, 599, 601, u64::MAX] {
        let refused = append(&relay, &alice, 1, offset, &[2; 10]).await;
        let problem = refused.assert_problem(ProblemType::WrongOffset);
        assert_eq!(problem.offset, Some(600));
    }
    let refused = append(&relay, &alice, 1, 600, &[2; 401]).await;
    let limit = refused.assert_problem(ProblemType::TooLarge).limit.unwrap();
    assert_eq!((limit.name.as_str(), limit.max), ("length", 1_000));
    // To others an unfinished blob is not there.
    append(&relay, &bob, 1, 600, &[2; 400])
        .await
        .assert_problem(ProblemType::NotFound);
    assert_eq!(
        state(&append(&relay, &alice, 1, 600, &[2; 400]).await),
        (200, 1_000, true)
    );
    let late = append(&relay, &alice, 1, 600, &[3; 400]).await;
    assert_eq!(late.assert_problem(ProblemType::WrongOffset).offset, Some(1_000));
    let expected = [[1; 600].as_slice(), &[2; 400]].concat();
    assert_eq!(fetch(&relay, &bob, 1, None).await.body, expected);
}

#[tokio::test]
async fn limits_name_themselves() {
    let relay = TestRelay::limited(Limits {
        attachment: 100_000,
        blob_bytes: 200_000,
        unfinished_blobs: 2,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let largest = waxwire_shared::wire::sealed_length(100_000).unwrap();
    let named = |answer: Answer, kind| answer.assert_problem(kind).limit.unwrap().name;
    begin(&relay, &alice, 1, 0)
        .await
        .assert_problem(ProblemType::BadRequest);
    let over = begin(&relay, &alice, 1, largest + 1).await;
    assert_eq!(named(over, ProblemType::TooLarge), "attachment");
    assert_eq!(
        begin(&relay, &alice, 1, largest).await.status,
        StatusCode::CREATED
    );
    let over = begin(&relay, &alice, 2, largest).await;
    assert_eq!(named(over, ProblemType::Forbidden), "blob_bytes");
    assert_eq!(begin(&relay, &alice, 2, 528).await.status, StatusCode::CREATED);
    let over = begin(&relay, &alice, 3, 528).await;
    assert_eq!(named(over, ProblemType::Forbidden), "blob_bytes");
    for byte in [4, 5] {
        assert_eq!(begin(&relay, &bob, byte, 528).await.status, StatusCode::CREATED);
    }
    let over = begin(&relay, &bob, 6, 528).await;
    assert_eq!(named(over, ProblemType::Forbidden), "unfinished_blobs");
    // An id of somebody else, or of another length.
    begin(&relay, &bob, 1, largest)
        .await
        .assert_problem(ProblemType::Forbidden);
    begin(&relay, &bob, 4, 529)
        .await
        .assert_problem(ProblemType::Forbidden);
}

#[tokio::test]
async fn owner_deletes_and_nobody_else() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    begin(&relay, &alice, 1, 5).await;
    append(&relay, &alice, 1, 0, b"bytes").await;
    let path = format!("/v1/blobs/{}", id(1));
    for (key, left) in [(&bob.key, true), (&alice.key, false), (&alice.key, false)] {
        let answer = relay.call(Method::DELETE, &path, Some(key), None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let there = fetch(&relay, &bob, 1, None).await.status == StatusCode::OK;
        assert_eq!(there, left);
    }
    let folder = relay.database().with_file_name("blobs");
    assert_eq!(folder.read_dir().unwrap().count(), 0);
}

/// What has arrived of an upload is there after a restart; a blob whose file is gone or cut is not.
#[tokio::test]
async fn upload_goes_on_after_a_restart_and_lost_files_are_not_served() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    begin(&relay, &alice, 1, 1_000).await;
    append(&relay, &alice, 1, 0, &[1; 400]).await;
    let folder = relay.stop().await;
    let relay = TestRelay::start_with(Setup {
        folder: Arc::clone(&folder),
        ..Setup::default()
    })
    .await;
    assert_eq!(state(&begin(&relay, &alice, 1, 1_000).await), (200, 400, false));
    assert_eq!(
        state(&append(&relay, &alice, 1, 400, &[2; 600]).await),
        (200, 1_000, true)
    );
    let file = folder.path().join("blobs").join(id(1).to_string());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(999)
        .unwrap();
    fetch(&relay, &alice, 1, None)
        .await
        .assert_problem(ProblemType::NotFound);
    std::fs::remove_file(&file).unwrap();
    fetch(&relay, &alice, 1, None)
        .await
        .assert_problem(ProblemType::NotFound);
}

/// docs/data-model.md, Retention.
#[tokio::test]
async fn old_and_unfinished_blobs_go_with_their_files() {
    const HOUR: u64 = 3_600 * 1_000;
    let relay = TestRelay::limited(Limits {
        blob_days: 2,
        ..Limits::default()
    })
    .await;
    let alice = relay.register("alice").await;
    for byte in [1, 2] {
        begin(&relay, &alice, byte, 8).await;
        append(&relay, &alice, byte, 0, &b"complete"[..4 * usize::from(byte)]).await;
    }
    let folder = relay.database().with_file_name("blobs");
    for (hours, left) in [(23, 2), (2, 1), (22, 1), (2, 0)] {
        relay.advance(hours * HOUR);
        let now = relay.now.load(std::sync::atomic::Ordering::Relaxed);
        crate::background::expire_blobs(&relay.relay, now).await;
        assert_eq!(folder.read_dir().unwrap().count(), left, "{hours} hours later");
    }
    fetch(&relay, &alice, 2, None)
        .await
        .assert_problem(ProblemType::NotFound);
    assert_eq!(state(&begin(&relay, &alice, 1, 8).await), (201, 0, false));
}

/// One that cannot be deleted keeps no other.
#[tokio::test]
async fn blob_that_cannot_be_deleted_is_passed_over() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    for byte in [1, 2] {
        begin(&relay, &alice, byte, 8).await;
        append(&relay, &alice, byte, 0, b"half").await;
    }
    let folder = relay.database().with_file_name("blobs");
    let stuck = folder.join(id(1).to_string());
    std::fs::remove_file(&stuck).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    relay.advance(25 * 3_600 * 1_000);
    let now = relay.now.load(std::sync::atomic::Ordering::Relaxed);
    crate::background::expire_blobs(&relay.relay, now).await;
    assert!(!folder.join(id(2).to_string()).exists());
    assert_eq!(state(&begin(&relay, &alice, 2, 8).await), (201, 0, false));
}
