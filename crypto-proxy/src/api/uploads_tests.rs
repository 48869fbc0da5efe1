//! Requests to upload, and who may bring the bytes.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Answer, Api, HOST},
    engine::Command,
    model::{Upload, UploadStage},
};

fn upload(size: u64) -> Upload {
    use waxwire_shared::{
        ids::{BlobId, Hash, Nonce32},
        wire::{AttachmentRef, sealed_length},
    };
    Upload {
        id: AttachmentId::upload([7; 16]),
        reference: AttachmentRef {
            blob: BlobId::from_bytes([1; 16]),
            key: Nonce32::from_bytes([2; 32]),
            nonce_prefix: vec![3; 19],
            ciphertext_hash: Hash::from_bytes([0; 32]),
            ciphertext_length: sealed_length(size).unwrap(),
            length: size,
            filename: "a.csv".to_owned(),
            content_type: "text/csv".to_owned(),
        },
        sha256: None,
        stage: UploadStage::Open,
    }
}

/// An API with an upload under way whose ticket is `wut_x`.
fn api(size: u64) -> Api {
    let api = Api::new();
    api.backend
        .answers(move |_| Ok(Reply::Upload(Box::new(upload(size)))));
    let known = (hash("wut_x"), upload(size));
    api.backend.uploads.lock().unwrap().push(known);
    api
}

fn body() -> Value {
    json!({ "filename": "a.csv", "content_type": "text/csv", "size": 5, "sha256": "ab".repeat(32) })
}

fn begun(api: &Api) -> NewUpload {
    match api.backend.command() {
        Command::Attachment(AttachmentCommand::Begin(new)) => new,
        other => panic!("{other:?}"),
    }
}

async fn put(api: &Api, path: &str, headers: &[(&str, &str)], bytes: &'static str) -> Answer {
    let mut request = Request::put(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", HOST);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let length = bytes.len().to_string();
    let request = request.header("content-length", length).body(Body::from(bytes));
    api.send(request.unwrap()).await
}

#[tokio::test]
async fn request_is_answered_with_an_address_that_holds_a_ticket() {
    let api = api(5);
    let answer = api.post("/v1/uploads", body().to_string()).await;
    assert_eq!(answer.status, 201);
    let answer = answer.json();
    assert_eq!(answer["attachment_id"], format!("att_{}", "07".repeat(16)));
    assert_eq!(answer["expires_in"], 86_400);
    let url = answer["upload_url"].as_str().unwrap();
    let ticket = url.strip_prefix("http://127.0.0.1:7700/v1/uploads/").unwrap();
    assert!(ticket.starts_with("wut_") && ticket.len() == 47);
    let new = begun(&api);
    assert_eq!(new.ticket, hash(ticket));
    assert_eq!(
        (new.filename.as_str(), new.size, new.sha256),
        ("a.csv", 5, Some([0xab; 32]))
    );
}

#[tokio::test]
async fn what_cannot_be_an_attachment_is_named() {
    for (field, value) in [
        ("content_type", json!("text/html")),
        ("content_type", json!("image/svg+xml")),
        ("content_type", json!(null)),
        ("size", json!(-1)),
        ("size", json!(1.5)),
        ("size", json!("5")),
        ("size", json!(null)),
        ("size", json!(1_000_001)),
        ("filename", json!("../a")),
        ("filename", json!("a\u{7}")),
        ("filename", json!("")),
        ("filename", json!("a".repeat(256))),
        ("sha256", json!("ab")),
        ("to", json!("No Handle")),
    ] {
        let api = api(5);
        let mut body = body();
        body[field] = value.clone();
        let answer = api.post("/v1/uploads", body.to_string()).await;
        assert_eq!(answer.code(), "VALIDATION_ERROR", "{field} {value}");
        assert_eq!(answer.json()["details"]["issues"][0]["path"][0], field);
    }
    let api = api(5);
    let mut large = body();
    large["size"] = json!(1_000_001);
    let answer = api.post("/v1/uploads", large.to_string()).await.json();
    assert_eq!(
        (&answer["details"]["limit"], &answer["details"]["max"]),
        (&json!("attachment"), &json!(1_000_000))
    );
}

/// The ticket stands for the token, and for nothing else: Host and Origin are checked all the same.
#[tokio::test]
async fn bytes_come_by_ticket_and_not_from_a_foreign_page() {
    let api = api(5);
    let path = "/v1/uploads/wut_x";
    for (headers, expected) in [
        (vec![("host", "evil.example")], "FORBIDDEN"),
        (vec![("origin", "http://evil.example")], "FORBIDDEN"),
        (vec![("content-range", "bytes 0-4/6")], "VALIDATION_ERROR"),
        (vec![("content-range", "bytes 0-5/5")], "VALIDATION_ERROR"),
        (vec![("content-range", "bytes 3-2/5")], "VALIDATION_ERROR"),
        (vec![("content-range", "lines 0-4/5")], "VALIDATION_ERROR"),
    ] {
        assert_eq!(
            put(&api, path, &headers, "bytes").await.code(),
            expected,
            "{headers:?}"
        );
    }
    for ticket in ["wut_y", "x", "wut_x%00"] {
        let answer = put(&api, &format!("/v1/uploads/{ticket}"), &[], "bytes").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "ATTACHMENT_NOT_FOUND")
        );
    }
    // Other calls need the token, with a ticket or without.
    let request = Request::get("/v1/attachments/att_0").header("host", HOST);
    let answer = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn parts_follow_each_other() {
    let api = api(200_000);
    let path = "/v1/uploads/wut_x";
    let part = |first: usize, last: usize| format!("bytes {first}-{last}/200000");
    let text: &'static str = "a".repeat(100_000).leak();
    let answer = put(&api, path, &[("content-range", &part(0, 99_999))], text).await;
    assert_eq!(
        answer.json(),
        json!({
            "attachment_id": format!("att_{}", "07".repeat(16)), "offset": 100_000, "complete": false
        })
    );
    // The last whole chunk counts.
    for (headers, bytes) in [(part(100_000, 199_999), text), (part(1, 5), "bytes")] {
        let answer = put(&api, path, &[("content-range", &headers)], bytes).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "UPLOAD_OFFSET"));
        assert_eq!(answer.json()["details"]["offset"], 65_536);
    }
    let answer = put(&api, path, &[("content-range", "bytes */200000")], "").await;
    assert_eq!(answer.json()["offset"], 65_536);
    let answer = put(&api, path, &[("content-range", &part(65_536, 65_540))], "four").await;
    assert_eq!(answer.code(), "VALIDATION_ERROR");
}

#[tokio::test]
async fn attachment_is_where_its_address_says_and_nowhere_for_others() {
    let api = api(5);
    let path = format!("/v1/attachments/att_{}", "07".repeat(16));
    let answer = api.get(&path).await;
    assert_eq!(answer.status, 302);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with("http://127.0.0.1:7700/v1/downloads/wdt_"));
    for id in ["att_0", "msg_1", "att_"] {
        let answer = api.get(&format!("/v1/attachments/{id}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "ATTACHMENT_NOT_FOUND")
        );
    }
    let wrong = Request::get("/v1/downloads/wdt_x").header("host", HOST);
    let answer = api.send(wrong.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "ATTACHMENT_NOT_FOUND")
    );
    let foreign = Request::get("/v1/downloads/wdt_x").header("host", "evil.example");
    let answer = api.send(foreign.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 403);
}
