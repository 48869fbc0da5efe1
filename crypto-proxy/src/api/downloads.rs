//! Attachments on their way in: an address that is good once, and the bytes behind it.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::time::Instant;
use waxwire_shared::wire::AttachmentRef;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    uploads::{TYPES, hash, new_ticket, origin},
};
use crate::model::{AttachmentId, Refusal};

/// The route of the bytes.
pub(super) const ROUTE: &str = "/v1/downloads/{ticket}";
/// Where its paths begin.
pub(super) const PLACE: &str = "/v1/downloads/";
/// How long an address is good.
const LIFETIME: Duration = Duration::from_secs(300);
/// Addresses at one time; the oldest gives way.
const TICKETS: usize = 256;
const POLICY: HeaderName = HeaderName::from_static("content-security-policy");

/// Addresses that were given out and not used. In memory only, and only their hashes.
#[derive(Debug, Default)]
pub(super) struct Downloads(Mutex<VecDeque<Ticket>>);

#[derive(Debug)]
struct Ticket {
    hash: [u8; 32],
    until: Instant,
    reference: AttachmentRef,
}

impl Downloads {
    fn issue(&self, reference: AttachmentRef) -> String {
        let (text, hash) = new_ticket("wdt_");
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            hash,
            until: Instant::now() + LIFETIME,
            reference,
        });
        text
    }

    /// What a ticket stands for, once. Hashes of what is shown are compared: time tells nothing of a ticket.
    fn redeem(&self, shown: &str) -> Option<AttachmentRef> {
        let (shown, now) = (hash(shown), Instant::now());
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|ticket| ticket.until > now);
        let place = tickets.iter().position(|ticket| ticket.hash == shown)?;
        tickets.remove(place).map(|ticket| ticket.reference)
    }
}

/// Where an attachment can be had: an address that is good once and for five minutes, without a token.
#[utoipa::path(
    get,
    path = "/v1/attachments/{id}",
    tag = "attachments",
    params(("id" = String, Path, description = "`content.attachment_id` of a message, or of an own upload")),
    responses(
        (status = 302, description = "The address is in `Location`"),
        (status = 404, description = "ATTACHMENT_NOT_FOUND: no message that this agent can see cites it", body = ErrorBody),
    ),
)]
pub(super) async fn locate(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::from(Refusal::AttachmentNotFound);
    let id: AttachmentId = id.parse().map_err(|_| unknown())?;
    let found = state.read(move |backend| backend.attachment(&id)).await?;
    let ticket = state.downloads().issue(found.ok_or_else(unknown)?);
    let location = format!("{}{PLACE}{ticket}", origin(&headers));
    let location = HeaderValue::try_from(location).map_err(|_| ApiError::internal())?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

/// The bytes of an attachment, by the ticket of `GET /v1/attachments/{id}`. The answer begins when all of it was
/// fetched and verified.
#[utoipa::path(
    get,
    path = "/v1/downloads/{ticket}",
    tag = "attachments",
    params(("ticket" = String, Path, description = "As in `Location`")),
    security(()),
    responses(
        (status = 200, description = "The bytes, with the type that the author gave if it is one that an attachment may have", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "ATTACHMENT_NOT_FOUND: no such ticket, or it was used", body = ErrorBody),
        (status = 410, description = "ATTACHMENT_GONE: the relay does not have it any more", body = ErrorBody),
        (status = 413, description = "ATTACHMENT_TOO_LARGE", body = ErrorBody),
        (status = 422, description = "ATTACHMENT_INVALID: it is not what the author sealed, or does not open; `details.fault` is `relay` or `author`", body = ErrorBody),
    ),
)]
pub(super) async fn fetch(
    State(state): State<ApiState>,
    Path(ticket): Path<String>,
) -> Result<Response, ApiError> {
    let reference = state.downloads().redeem(&ticket);
    let reference = reference.ok_or_else(|| ApiError::from(Refusal::AttachmentNotFound))?;
    let fetched = match state.attachments().fetch(reference).await {
        Ok(fetched) => fetched,
        Err(error) => {
            tracing::warn!(%error, "an attachment was not given to the agent");
            return Err(error.into());
        }
    };
    let headers = describe(fetched.reference());
    let mut response = Body::from_stream(fetched.into_stream()).into_response();
    response.headers_mut().extend(headers);
    Ok(response)
}

/// No page is ever shown from here: a browser saves the file.
fn describe(reference: &AttachmentRef) -> [(HeaderName, HeaderValue); 4] {
    let known = TYPES.iter().find(|known| **known == reference.content_type);
    let kind = known.copied().unwrap_or("application/octet-stream");
    let disposition = format!("attachment; filename*=UTF-8''{}", escape(&reference.filename));
    let attachment = HeaderValue::from_static("attachment");
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(reference.length)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::try_from(disposition).unwrap_or(attachment),
        ),
        (POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
    ]
}

/// As RFC 8187 wants it: everything but letters, digits and a few marks as bytes.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            // Writing to text cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{
        ids::{BlobId, Hash, Nonce32},
        wire::sealed_length,
    };

    use super::*;

    fn reference(filename: &str, content_type: &str) -> AttachmentRef {
        AttachmentRef {
            blob: BlobId::from_bytes([1; 16]),
            key: Nonce32::from_bytes([2; 32]),
            nonce_prefix: vec![3; 19],
            ciphertext_hash: Hash::from_bytes([4; 32]),
            ciphertext_length: sealed_length(5).unwrap(),
            length: 5,
            filename: filename.to_owned(),
            content_type: content_type.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn address_is_good_once_and_for_five_minutes() {
        let downloads = Downloads::default();
        let (a, b) = (reference("a", "text/csv"), reference("b", "text/csv"));
        let (first, second) = (downloads.issue(a.clone()), downloads.issue(b.clone()));
        assert_eq!(downloads.redeem("wdt_"), None);
        assert_eq!(downloads.redeem(&second), Some(b));
        assert_eq!(downloads.redeem(&second), None);
        tokio::time::advance(LIFETIME).await;
        assert_eq!(downloads.redeem(&first), None);
        let all: Vec<String> = (0..=TICKETS).map(|_| downloads.issue(a.clone())).collect();
        assert_eq!(downloads.redeem(&all[0]), None);
        assert_eq!(downloads.redeem(&all[1]), Some(a));
    }

    #[test]
    fn headers_hold_names_and_types_of_any_peer() {
        let told = |reference: &AttachmentRef| {
            let headers = describe(reference);
            let text = |at: usize| headers[at].1.to_str().unwrap().to_owned();
            (text(0), text(2))
        };
        assert_eq!(
            told(&reference("a \"b\";é.csv", "text/csv")),
            (
                "text/csv".to_owned(),
                "attachment; filename*=UTF-8''a%20%22b%22%3B%C3%A9.csv".to_owned()
            )
        );
        for hostile in ["text/html", "image/svg+xml", "a\r\nset-cookie: b", "TEXT/CSV"] {
            assert_eq!(told(&reference("a", hostile)).0, "application/octet-stream");
        }
    }
}
