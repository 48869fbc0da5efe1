//! Attachments on their way out: the request to upload, and the bytes, which come by a ticket in the address.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand_core::Rng as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use waxwire_shared::wire::is_filename;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    receiving::{Piece, receive},
    request::{Fields, JsonBody, address},
};
use crate::{
    clock,
    engine::{AttachmentCommand, Command, Reply, UPLOAD_MS},
    model::{AttachmentId, LocalConversation, NewUpload, Refusal, Upload},
    rng::OsRng,
};

/// The route of the bytes.
pub(super) const ROUTE: &str = "/v1/uploads/{ticket}";
/// Where its paths begin.
const PLACE: &str = "/v1/uploads/";
/// What an attachment may be.
pub(super) const TYPES: [&str; 14] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/json",
    "text/plain",
    "text/markdown",
    "text/csv",
    "audio/mpeg",
    "audio/wav",
    "audio/ogg",
    "video/mp4",
    "video/webm",
];
/// The name of a file without one.
const UNNAMED: &str = "file";

/// Body of `POST /v1/uploads`.
#[derive(Debug, ToSchema)]
#[schema(as = NewUpload)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct UploadBody {
    /// Whom it will be sent to. Not needed: who gets a message that cites it can read it.
    to: Option<String>,
    /// Likewise.
    conversation_id: Option<String>,
    /// Its name, 1 to 255 bytes without a path; `file` if absent.
    filename: Option<String>,
    /// Its MIME type: png, jpeg, gif or webp images, pdf, json, plain, markdown or csv text, mpeg, wav or ogg
    /// audio, mp4 or webm video.
    content_type: String,
    /// Its length in bytes; at most 25 MiB unless the proxy was started otherwise.
    size: u64,
    /// SHA-256 of it, 64 hexadecimal digits: other bytes are refused.
    sha256: Option<String>,
}

/// Where the bytes go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub(super) struct UploadAnswer {
    /// For `content.attachment_id` of messages.
    attachment_id: String,
    /// Takes them by `PUT`, without a token.
    upload_url: String,
    /// Seconds for which that address is good.
    expires_in: u64,
}

/// Request to upload an attachment. The bytes follow by `PUT` to `upload_url`.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    tag = "attachments",
    request_body = UploadBody,
    responses(
        (status = 201, description = "The bytes may come", body = UploadAnswer),
        (status = 404, description = "CONVERSATION_NOT_FOUND: no conversation has such an id", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<(StatusCode, Json<UploadAnswer>), ApiError> {
    let max = state.attachments().max();
    let (ticket, hash) = new_ticket("wut_");
    let new = parse(&body.fields()?, max, hash)?;
    let upload = ask(&state, AttachmentCommand::Begin(new)).await?;
    state.attachments().note_fresh(&upload);
    let since = clock::unix().saturating_sub(UPLOAD_MS);
    let open = state.read(move |backend| backend.open_uploads(since)).await?;
    state.attachments().forget_others(&open);
    let answer = UploadAnswer {
        attachment_id: upload.id.to_string(),
        upload_url: format!("{}{PLACE}{ticket}", origin(&headers)),
        expires_in: UPLOAD_MS / 1_000,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn parse(fields: &Fields<'_>, max: u64, ticket: [u8; 32]) -> Result<NewUpload, ApiError> {
    match (fields.string("to")?, fields.string("conversation_id")?) {
        (Some(_), Some(_)) => return Err(ApiError::invalid(&["to"], "not both of to and conversation_id")),
        (Some(to), None) => drop(address(&["to"], &to)?),
        (None, Some(id)) => drop(
            id.parse::<LocalConversation>()
                .map_err(|_| ApiError::conversation_not_found())?,
        ),
        (None, None) => {}
    }
    let filename = fields.string("filename")?.unwrap_or_else(|| UNNAMED.to_owned());
    if !is_filename(&filename) {
        let told = "1 to 255 bytes without a path or control characters";
        return Err(ApiError::invalid(&["filename"], told));
    }
    let content_type = fields.required("content_type")?.to_ascii_lowercase();
    if !TYPES.contains(&content_type.as_str()) {
        return Err(
            ApiError::invalid(&["content_type"], "not a type that attachments may have")
                .detail("allowed", TYPES.to_vec().into()),
        );
    }
    Ok(NewUpload {
        filename,
        content_type,
        size: size(fields, max)?,
        sha256: sha256(fields)?,
        ticket,
    })
}

fn size(fields: &Fields<'_>, max: u64) -> Result<u64, ApiError> {
    let path = &["size"];
    let raw = fields
        .raw("size")?
        .ok_or_else(|| ApiError::invalid(path, "required"))?;
    let size: u64 = raw
        .parse()
        .map_err(|_| ApiError::invalid(path, "not a number of bytes"))?;
    if size > max {
        let (max, size) = (usize::try_from(max), usize::try_from(size));
        return Err(ApiError::limit(
            path,
            "attachment",
            max.unwrap_or(usize::MAX),
            size.ok(),
        ));
    }
    Ok(size)
}

fn sha256(fields: &Fields<'_>) -> Result<Option<[u8; 32]>, ApiError> {
    let Some(text) = fields.string("sha256")? else {
        return Ok(None);
    };
    let mut hash = [0; 32];
    hex::decode_to_slice(&text, &mut hash)
        .map_err(|_| ApiError::invalid(&["sha256"], "not 64 hexadecimal digits"))?;
    Ok(Some(hash))
}

/// How far an upload is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UploadProgress)]
pub(super) struct ProgressBody {
    attachment_id: String,
    /// How many bytes the proxy has.
    offset: u64,
    /// Whether the relay has all of it: now a message may cite it.
    complete: bool,
}

/// The bytes of an attachment, by the ticket of `POST /v1/uploads`, which ends when all of it is at the relay. The whole,
/// or with `Content-Range: bytes FIRST-LAST/SIZE` the part from where an earlier request broke off; with
/// `bytes */SIZE` nothing: it goes on with what the proxy has, or tells how much that is.
#[utoipa::path(
    put,
    path = "/v1/uploads/{ticket}",
    tag = "attachments",
    params(
        ("ticket" = String, Path, description = "As in `upload_url`"),
        ("content-range" = Option<String>, Header, description = "Which part this is"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    security(()),
    responses(
        (status = 200, description = "Taken", body = ProgressBody),
        (status = 404, description = "ATTACHMENT_NOT_FOUND: no such ticket, or it is used up", body = ErrorBody),
        (status = 409, description = "UPLOAD_OFFSET: the part does not begin at `details.offset`; UPLOAD_IN_PROGRESS", body = ErrorBody),
        (status = 413, description = "ATTACHMENT_TOO_LARGE: for the relay", body = ErrorBody),
    ),
)]
pub(super) async fn put(
    State(state): State<ApiState>,
    Path(ticket): Path<String>,
    request: Request<Body>,
) -> Result<Json<ProgressBody>, ApiError> {
    let hash = hash(&ticket);
    let id = find(&state, hash).await?.id;
    let Some(turn) = state.attachments().turn(id) else {
        let text = "another request uploads this attachment";
        return Err(ApiError::new(StatusCode::CONFLICT, "UPLOAD_IN_PROGRESS", text));
    };
    // On a task of its own: what hangs up in the middle ends in order, and what is whole gets to the relay.
    let done = tokio::spawn(async move {
        let _turn = turn;
        let upload = find(&state, hash).await?;
        let piece = Piece::of(request.headers(), upload.reference.length)?;
        let offset = receive(&state, upload, piece, request.into_body()).await?;
        Ok(Json(ProgressBody {
            attachment_id: id.to_string(),
            offset: offset.bytes,
            complete: offset.complete,
        }))
    });
    done.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

async fn find(state: &ApiState, ticket: [u8; 32]) -> Result<Upload, ApiError> {
    let since = clock::unix().saturating_sub(UPLOAD_MS);
    let found = state
        .read(move |backend| backend.upload_by_ticket(&ticket, since))
        .await?;
    found.ok_or_else(|| Refusal::AttachmentNotFound.into())
}

/// Asks the engine about own attachments.
pub(super) async fn ask(state: &ApiState, command: AttachmentCommand) -> Result<Upload, ApiError> {
    match state.ask(Command::Attachment(command)).await? {
        Reply::Upload(upload) => Ok(*upload),
        _ => Err(ApiError::internal()),
    }
}

/// Whether a path is an address with a ticket in it, which stands for the token.
pub(super) fn has_ticket(path: &str) -> bool {
    path.starts_with(PLACE) || path.starts_with(super::downloads::PLACE)
}

/// Whether a path takes the bytes of an attachment, which are of any type.
pub(super) fn takes_bytes(path: &str) -> bool {
    path.starts_with(PLACE)
}

/// A random ticket and its hash.
pub(super) fn new_ticket(prefix: &str) -> (String, [u8; 32]) {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash(&text);
    (text, hash)
}

pub(super) fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

/// Under which name the caller reaches this listener; the guard has checked it.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

/// The id in a message's content.
pub(super) fn parse_id(path: &[&str], raw: &str) -> Result<AttachmentId, ApiError> {
    let text: String = serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a string"))?;
    // Ids are opaque to agents: what is none names nothing.
    text.parse().map_err(|_| Refusal::AttachmentNotFound.into())
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
