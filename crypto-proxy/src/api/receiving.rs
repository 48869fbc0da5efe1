//! The body of an upload: sealed as it comes, then given to the relay.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt as _;

use super::{ApiState, error::ApiError, uploads::ask};
use crate::{
    attachments::{AttachmentError, Spool},
    engine::AttachmentCommand,
    fault,
    model::{Refusal, Upload, UploadStage},
};

/// How long a body may pause.
const PAUSE: Duration = Duration::from_secs(30);

/// Which part of an attachment a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// All of it, from the beginning.
    Whole,
    /// From here to there.
    Part {
        /// The first byte.
        start: u64,
        /// Behind the last.
        end: u64,
    },
    /// Nothing.
    Nothing,
}

impl Piece {
    /// What `Content-Range` says.
    pub(super) fn of(headers: &HeaderMap, length: u64) -> Result<Self, ApiError> {
        let Some(value) = headers.get(header::CONTENT_RANGE) else {
            return Ok(Self::Whole);
        };
        let read = || {
            let (range, total) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
            if total.parse::<u64>().ok()? != length {
                return None;
            }
            if range == "*" {
                return Some(Self::Nothing);
            }
            let (start, last) = range.split_once('-')?;
            let (start, last) = (start.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
            (start <= last && last < length).then_some(Self::Part { start, end: last + 1 })
        };
        read().ok_or_else(|| {
            ApiError::invalid(
                &["content-range"],
                "expected bytes FIRST-LAST/SIZE or bytes */SIZE, with the size that was announced",
            )
        })
    }
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// The agent's bytes that are here.
    pub(super) bytes: u64,
    /// Whether the relay has all of it.
    pub(super) complete: bool,
}

/// Takes a part of an upload; with the last byte, or none, all of it goes to the relay.
pub(super) async fn receive(
    state: &ApiState,
    upload: Upload,
    piece: Piece,
    body: Body,
) -> Result<Offset, ApiError> {
    let length = upload.reference.length;
    let upload = match (piece, upload.stage) {
        (Piece::Nothing, UploadStage::Sealed) => upload,
        (Piece::Whole, _) | (Piece::Part { start: 0, .. }, _) => {
            let upload = begin_again(state, upload).await?;
            let end = match piece {
                Piece::Part { end, .. } => end,
                _ => length,
            };
            match take(state, upload, 0, end, body).await? {
                Taken::Sealed(upload) => *upload,
                Taken::Part(offset) => return Ok(offset),
            }
        }
        (Piece::Part { start, end }, UploadStage::Open) => {
            let upload = go_on(state, upload).await?;
            match take(state, upload, start, end, body).await? {
                Taken::Sealed(upload) => *upload,
                Taken::Part(offset) => return Ok(offset),
            }
        }
        (Piece::Part { .. }, _) => return Err(elsewhere(length)),
        (Piece::Nothing, _) => {
            let upload = go_on(state, upload).await?;
            let spool = state.attachments().spool(&upload).await?;
            return Ok(Offset {
                bytes: spool.offset(),
                complete: false,
            });
        }
    };
    fault::point("upload.sealed");
    state.attachments().push(&upload).await?;
    fault::point("upload.pushed");
    let upload = ask(state, AttachmentCommand::Stored(upload.id)).await?;
    state.attachments().discard(&upload.id);
    Ok(Offset {
        bytes: length,
        complete: true,
    })
}

enum Taken {
    /// All of it, and it is sealed.
    Sealed(Box<Upload>),
    /// More is to come.
    Part(Offset),
}

async fn take(state: &ApiState, upload: Upload, start: u64, end: u64, body: Body) -> Result<Taken, ApiError> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|announced| announced != end - start) {
        let text = "the body has another length than was announced";
        return Err(ApiError::invalid(&["size"], text));
    }
    let mut spool = state.attachments().spool(&upload).await?;
    if spool.offset() != start {
        return Err(elsewhere(spool.offset()));
    }
    let read = read_into(&mut spool, end, body).await;
    if let Err(error) = read {
        spool.pause().await?;
        return Err(error);
    }
    if !spool.is_whole() {
        let bytes = spool.offset();
        spool.pause().await?;
        return Ok(Taken::Part(Offset {
            bytes,
            complete: false,
        }));
    }
    let hash = match spool.finish().await {
        Ok(hash) => hash,
        Err(error) => {
            begin_again(state, upload).await?;
            return Err(error.into());
        }
    };
    let sealed = ask(state, AttachmentCommand::Sealed(upload.id, hash)).await?;
    Ok(Taken::Sealed(Box::new(sealed)))
}

async fn read_into(spool: &mut Spool, end: u64, mut body: Body) -> Result<(), ApiError> {
    loop {
        let frame = match tokio::time::timeout(PAUSE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) if spool.offset() == end => return Ok(()),
            Ok(None | Some(Err(_))) => return Err(ApiError::invalid(&["size"], "the body ended early")),
            Err(_) => return Err(ApiError::request_timeout()),
        };
        let Ok(bytes) = frame.into_data() else { continue };
        if spool.offset().saturating_add(bytes.len() as u64) > end {
            return Err(AttachmentError::Excess.into());
        }
        spool.write(&bytes).await?;
    }
}

/// Another key, unless nothing was ever sealed under this one.
async fn begin_again(state: &ApiState, upload: Upload) -> Result<Upload, ApiError> {
    let attachments = state.attachments();
    if upload.stage == UploadStage::Open && !attachments.has_begun(&upload) && attachments.is_fresh(&upload) {
        return Ok(upload);
    }
    let fresh = ask(state, AttachmentCommand::BeginAgain(upload.id)).await?;
    attachments.discard(&upload.id);
    attachments.note_fresh(&fresh);
    if upload.stage == UploadStage::Sealed {
        attachments.withdraw(&upload.reference).await;
    }
    Ok(fresh)
}

/// The same upload under a key that this run has made.
async fn go_on(state: &ApiState, upload: Upload) -> Result<Upload, ApiError> {
    let attachments = state.attachments();
    if attachments.is_fresh(&upload) {
        return Ok(upload);
    }
    let fresh = ask(state, AttachmentCommand::BeginAgain(upload.id)).await?;
    attachments.reseal(&upload, &fresh).await?;
    attachments.note_fresh(&fresh);
    Ok(fresh)
}

fn elsewhere(offset: u64) -> ApiError {
    let text = "the part does not begin where the upload is";
    ApiError::new(StatusCode::CONFLICT, "UPLOAD_OFFSET", text).detail("offset", offset.into())
}

impl From<AttachmentError> for ApiError {
    fn from(error: AttachmentError) -> Self {
        let message = error.to_string();
        let limited = |status, code, limit: &str, max: u64, actual: u64| {
            Self::new(status, code, message.clone())
                .detail("limit", limit.into())
                .detail("max", max.into())
                .detail("actual", actual.into())
        };
        let invalid = |fault: &str| {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "ATTACHMENT_INVALID",
                message.clone(),
            )
            .detail("fault", fault.into())
        };
        match &error {
            AttachmentError::Space { max, actual } => limited(
                StatusCode::SERVICE_UNAVAILABLE,
                "ATTACHMENT_SPACE",
                "attachment_space",
                *max,
                *actual,
            ),
            AttachmentError::TooLarge { max, actual } => limited(
                StatusCode::PAYLOAD_TOO_LARGE,
                "ATTACHMENT_TOO_LARGE",
                "attachment",
                *max,
                *actual,
            ),
            AttachmentError::Quota { limit, max, actual } if limit == "attachment" => limited(
                StatusCode::PAYLOAD_TOO_LARGE,
                "ATTACHMENT_TOO_LARGE",
                limit,
                *max,
                *actual,
            ),
            AttachmentError::Quota { limit, max, actual } => {
                limited(StatusCode::FORBIDDEN, "ATTACHMENT_QUOTA", limit, *max, *actual)
            }
            AttachmentError::Refused => Self::from(Refusal::Forbidden),
            AttachmentError::Gone => Self::new(StatusCode::GONE, "ATTACHMENT_GONE", message),
            AttachmentError::Altered => invalid("relay"),
            AttachmentError::Unopenable => invalid("author"),
            AttachmentError::Hash => Self::invalid(&["sha256"], message),
            AttachmentError::Excess => Self::invalid(&["size"], message),
            AttachmentError::Unreachable => Self::from(Refusal::RelayUnreachable { queued: false }),
            AttachmentError::Disk(cause) => {
                tracing::error!(%cause, "attachments cannot be written or read");
                Self::from(Refusal::Storage)
            }
        }
    }
}
