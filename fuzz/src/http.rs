//! Requests to an HTTP interface, as an input writes them, and what comes of them.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use tower::ServiceExt as _;

/// How long an answer to an input may take. What takes longer waits for somebody else.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// A line `METHOD TARGET`, lines of headers, an empty line, a body. A header of the input stands in place of the
/// one of that name in `usual`.
pub(crate) fn request(bytes: &[u8], usual: &[(&'static str, String)]) -> Option<Request<Full<Bytes>>> {
    let (first, mut rest) = line(bytes);
    let (method, target) = std::str::from_utf8(first).ok()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    while !rest.is_empty() {
        let (header, after) = line(rest);
        rest = after;
        if header.is_empty() {
            break;
        }
        let at = header.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&header[..at]).ok()?;
        headers.append(name, HeaderValue::from_bytes(header[at + 1..].trim_ascii()).ok()?);
    }
    for (name, value) in usual {
        if !headers.contains_key(*name) {
            headers.insert(*name, HeaderValue::from_str(value).ok()?);
        }
    }
    let mut request = Request::new(Full::from(rest.to_vec()));
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The whole answer, unless it takes longer.
pub(crate) async fn ask(
    router: &Router,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Option<Answer> {
    let call = async {
        let Ok(response) = router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        Some(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.ok()?.to_bytes(),
        })
    };
    tokio::time::timeout(patience, call).await.ok()?
}
