//! The outermost layer: every answer has an id, is counted, comes in time, and comes at all.

use std::{panic::AssertUnwindSafe, sync::atomic::Ordering, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http::StatusCode;
use tracing::{Instrument as _, field::Empty};
use waxwire_outbound::traces;

use super::{
    ApiState, downloads,
    error::{ApiError, Code},
    sync, uploads,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long an answer may take: the SDKs give up after 30 seconds.
const ANSWER_TIME: Duration = Duration::from_secs(28);
/// The same where an attachment goes to or comes from the relay before the answer.
const BYTES_TIME: Duration = Duration::from_secs(15 * 60);

/// The middleware.
pub(super) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let number = state.0.request_number.fetch_add(1, Ordering::Relaxed);
    let id = format!("req_{:x}_{number:x}", state.0.started);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);

    let limit = match route {
        Some(sync::ROUTE) => ANSWER_TIME + sync::LONGEST_WAIT,
        // Not by the SDKs, but by the agent's own client.
        Some(uploads::ROUTE | downloads::ROUTE) => BYTES_TIME,
        _ => ANSWER_TIME,
    };
    let span = tracing::info_span!(
        target: traces::TARGET,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        http.response.status_code = Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{method} {}", route.unwrap_or_default()));
    }
    let answer = tokio::time::timeout(limit, next.run(request)).instrument(span.clone());
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let mut response = match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::answer_timeout().into_response(),
        Err(_) => {
            // The panic's own text may quote a message: it is not repeated.
            tracing::error!(request = id, method = %method, route, "a handler panicked");
            let id = id.as_str().into();
            ApiError::internal().detail("request_id", id).into_response()
        }
    };

    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    let code = response.extensions().get::<Code>().map(|code| code.0);
    state
        .metrics()
        .count(method.as_str(), route, status.as_u16(), code);
    tracing::debug!(request = id, method = %method, route, status = status.as_u16(), code, "answered");

    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    // Plaintext of messages: for nobody's cache.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(RETRY_AFTER) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
