//! Around every request: its id, its problem document, its measure.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::MatchedPath, response::Response};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use tower::Service as _;
use tracing::{Instrument as _, Span, field::Empty};
use waxwire_outbound::traces;
use waxwire_shared::api::problem::ProblemType;

use super::ApiError;
use crate::{clock::Stopwatch, metrics::Metrics, relay::Relay};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers one request of a connection.
///
/// # Errors
/// None: every failure is an answer.
pub async fn service(
    relay: Arc<Relay>,
    mut router: Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let watch = Stopwatch::start();
    let id = relay.requests.next();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(id);
    let span = tracing::info_span!(
        target: traces::TARGET,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = Empty,
        http.response.status_code = Empty,
    );
    let answer = async { router.call(request).await };
    let Ok(mut response) = answer.instrument(span.clone()).await;
    let metrics = &relay.delivery.metrics;
    if let Some(error) = refusal(&mut response) {
        let problem = error.problem();
        if let Some(kind) = problem.problem_type() {
            metrics.refuse(kind);
        }
        if let Some(cause) = error.cause() {
            tracing::error!(request_id = %id, status = problem.status, cause, "request failed");
        }
        let headers = std::mem::take(response.headers_mut());
        response = error.render(id);
        if let Some(allow) = headers.get(header::ALLOW) {
            response.headers_mut().insert(header::ALLOW, allow.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    span.record("http.response.status_code", response.status().as_u16());
    let elapsed = watch.elapsed();
    metrics.answer(response.status().as_u16(), elapsed);
    tracing::debug!(
        request_id = %id,
        status = response.status().as_u16(),
        micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    Ok(response)
}

/// Names the span of a request by its route, in which no identity is.
pub(super) fn name_span(request: Request<Body>) -> Request<Body> {
    let span = Span::current();
    if !span.is_disabled()
        && let Some(route) = request.extensions().get::<MatchedPath>()
    {
        let route = route.as_str();
        span.record("http.route", route);
        span.record("otel.name", format!("{} {route}", request.method()));
    }
    request
}

/// The refusal in an answer. What the framework refuses by itself becomes one, too.
fn refusal(response: &mut Response) -> Option<ApiError> {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        return Some(error);
    }
    let kind = match response.status() {
        StatusCode::NOT_FOUND => ProblemType::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ProblemType::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => ProblemType::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ProblemType::UnsupportedMediaType,
        status if status.is_client_error() => ProblemType::BadRequest,
        status if status.is_server_error() => ProblemType::Internal,
        _ => return None,
    };
    Some(ApiError::new(kind))
}

/// Answers one request of the metrics listener.
///
/// # Errors
/// None: every failure is an answer.
pub async fn metrics_service(
    metrics: Arc<Metrics>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut response = if request.uri().path() == "/metrics" {
        Response::new(Body::from(metrics.render()))
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    };
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    Ok(response)
}
