//! `POST /v1/blobs`, and `PATCH`, `GET` and `DELETE /v1/blobs/{id}`: attachments as opaque bytes. Who knows
//! the id may fetch: it is random, and inside the ciphertext of the messages that cite it.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use waxwire_shared::{
    api::{
        blobs::{BlobAnswer, BlobRequest},
        problem::ProblemType,
    },
    ids::BlobId,
    wire::sealed_length,
};

use super::{
    ApiError,
    extract::{Authenticated, Json, Query, json, require_type},
};
use crate::{
    blobs::{Appending, ChangeError},
    delivery::send::UNAVAILABLE_RETRY,
    relay::Relay,
    store::{BlobOutcome, BlobQuota, BlobRecord, NewBlob},
};

/// How long a body may pause.
const PAUSE: Duration = Duration::from_secs(30);

/// Begins an upload: 201, or 200 and how far it is if this agent has begun it before.
pub(super) async fn begin(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(BlobRequest { blob_id, length }): Json<BlobRequest>,
) -> Result<Response, ApiError> {
    let limits = &account.limits;
    let max = match limits.attachment {
        0 => i64::MAX.cast_unsigned(),
        bytes => sealed_length(bytes).unwrap_or(u64::MAX),
    };
    if length == 0 {
        return Err(ApiError::bad_request("length is 0"));
    }
    if length > max {
        return Err(ApiError::new(ProblemType::TooLarge).limit("attachment", max, length));
    }
    let blob = NewBlob {
        id: blob_id,
        owner: account.agent,
        length,
        max_bytes: limits.blob_bytes,
        max_unfinished: limits.unfinished_blobs,
    };
    let (status, record) = match relay.delivery.store.begin_blob(blob).await? {
        BlobOutcome::Begun(record) => (StatusCode::CREATED, record),
        BlobOutcome::Held(record) => (StatusCode::OK, record),
        BlobOutcome::Taken => {
            return Err(ApiError::new(ProblemType::Forbidden).detail("the id belongs to something else"));
        }
        BlobOutcome::Full { quota, max, actual } => {
            let name = match quota {
                BlobQuota::Bytes => "blob_bytes",
                BlobQuota::Unfinished => "unfinished_blobs",
            };
            return Err(ApiError::new(ProblemType::Forbidden).limit(name, max, actual));
        }
    };
    let offset = if record.complete {
        record.length
    } else {
        relay
            .blobs
            .offset(&blob_id)
            .await
            .map_err(|error| fault(&error))?
    };
    Ok(json(status, &answer(blob_id, offset, record.complete)))
}

/// Where a part begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    offset: u64,
}

/// Appends the body to an own blob. What of it has arrived stays, whatever becomes of the request; with the
/// last byte the blob is made durable and complete.
pub(super) async fn append(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(id): Path<String>,
    Query(Part { offset }): Query<Part>,
    request: Request,
) -> Result<Response, ApiError> {
    require_type(request.headers(), "application/octet-stream")?;
    let (id, record) = find(&relay, &id).await?;
    if record.owner != account.agent {
        return Err(ApiError::new(ProblemType::NotFound));
    }
    if record.complete {
        return if offset == record.length && request.body().is_end_stream() {
            Ok(json(StatusCode::OK, &answer(id, offset, true)))
        } else {
            Err(ApiError::new(ProblemType::WrongOffset).offset(record.length))
        };
    }
    let mut blob = match relay.blobs.append(&id).await {
        Ok(blob) => blob,
        Err(error) => return Err(unchanged(&error)),
    };
    if blob.offset() != offset {
        return Err(ApiError::new(ProblemType::WrongOffset).offset(blob.offset()));
    }
    let received = receive(&mut blob, record.length, request.into_body()).await;
    // Also after a body that broke off: what is told later to be here must be here after a crash.
    blob.sync().await.map_err(|error| fault(&error))?;
    received?;
    let offset = blob.offset();
    if offset < record.length {
        return Ok(json(StatusCode::OK, &answer(id, offset, false)));
    }
    // Goes on when whoever asked has gone, and is told of it when it asks again.
    let completing = relay.tasks.spawn(complete(Arc::clone(&relay), blob, record));
    let completed = completing.await;
    completed.unwrap_or_else(|error| Err(ApiError::fault(ProblemType::Internal, &error)))?;
    Ok(json(StatusCode::OK, &answer(id, offset, true)))
}

/// Makes a blob complete of which all bytes are here.
async fn complete(relay: Arc<Relay>, blob: Appending, record: BlobRecord) -> Result<(), ApiError> {
    relay.blobs.finish(&blob).await.map_err(|error| fault(&error))?;
    if !relay.delivery.store.complete_blob(record.no).await? {
        // Deleted at another relay while its last bytes came here.
        relay.blobs.discard(blob).await.map_err(|error| fault(&error))?;
        return Err(ApiError::new(ProblemType::NotFound));
    }
    if let Err(error) = relay.blobs.settle(blob).await {
        // It is carried to where it is already.
        tracing::warn!(%error, "the file of a complete attachment stays for now");
    }
    Ok(())
}

async fn receive(blob: &mut Appending, length: u64, mut body: Body) -> Result<(), ApiError> {
    loop {
        let frame = match tokio::time::timeout(PAUSE, body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(ApiError::bad_request("the body ended early")),
            Err(_) => return Err(ApiError::bad_request("the body paused for too long")),
        };
        let Ok(part) = frame.into_data() else { continue };
        let end = blob.offset().saturating_add(part.len() as u64);
        if end > length {
            return Err(ApiError::new(ProblemType::TooLarge).limit("length", length, end));
        }
        blob.write(&part).await.map_err(|error| fault(&error))?;
    }
}

/// Answers a complete blob, or the range of it that is asked for. `HEAD` comes here, too.
pub(super) async fn fetch(
    State(relay): State<Arc<Relay>>,
    _: Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (id, record) = find(&relay, &id).await?;
    let unknown = || ApiError::new(ProblemType::NotFound);
    if !record.complete {
        return Err(unknown());
    }
    let length = record.length;
    let range = range(&headers, length)?;
    let (start, end) = range.unwrap_or((0, length));
    let bytes = relay.blobs.read(&id, start, end - start).await;
    let bytes = bytes.map_err(|error| fault(&error))?.ok_or_else(unknown)?;
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        let value = HeaderValue::from_str(&format!("bytes {start}-{}/{length}", end - 1));
        headers.extend(value.ok().map(|value| (header::CONTENT_RANGE, value)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Deletes an own blob; of what is not one nobody learns whether it is there.
pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: BlobId = id.parse().map_err(|_| ApiError::new(ProblemType::NotFound))?;
    let store = &relay.delivery.store;
    let record = store.blob(&id).await?;
    if record.is_some_and(|record| record.owner == account.agent) {
        relay.blobs.delete(&id).await.map_err(|error| unchanged(&error))?;
        store.delete_blob(id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn find(relay: &Relay, id: &str) -> Result<(BlobId, BlobRecord), ApiError> {
    let unknown = || ApiError::new(ProblemType::NotFound);
    let id: BlobId = id.parse().map_err(|_| unknown())?;
    let record = relay.delivery.store.blob(&id).await?;
    record.map(|record| (id, record)).ok_or_else(unknown)
}

/// Start and end of the one range `bytes=START-` or `bytes=START-LAST` that may be asked for.
fn range(headers: &HeaderMap, length: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some(value) = headers.get(header::RANGE) else {
        return Ok(None);
    };
    let read = || {
        let (start, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let start = start.parse::<u64>().ok()?;
        let end = match last {
            "" => length,
            last => last.parse::<u64>().ok()?.saturating_add(1).min(length),
        };
        (start < end).then_some((start, end))
    };
    let refused = || ApiError::bad_request("a range is bytes=START- or bytes=START-LAST inside the blob");
    read().map(Some).ok_or_else(refused)
}

const fn answer(blob_id: BlobId, offset: u64, complete: bool) -> BlobAnswer {
    BlobAnswer {
        blob_id,
        offset,
        complete,
    }
}

fn unchanged(error: &ChangeError) -> ApiError {
    match error {
        ChangeError::Busy => ApiError::new(ProblemType::Unavailable).retry_after(1),
        ChangeError::Io(error) => fault(error),
    }
}

/// The disk or the bucket does not take or give the bytes now.
fn fault(error: &io::Error) -> ApiError {
    ApiError::fault(ProblemType::Unavailable, error).retry_after(UNAVAILABLE_RETRY)
}
