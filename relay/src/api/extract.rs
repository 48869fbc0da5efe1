//! Reading requests strictly: who, which parameters, which body.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::IntoResponse,
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use waxwire_shared::api::problem::ProblemType;

use super::ApiError;
use crate::{relay::Relay, store::Account};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest JSON body: a registration with the largest bundle fits.
const JSON_MAX: usize = 32 * 1024;

/// The bearer credential of a request.
///
/// # Errors
/// `unauthorized` unless there is exactly one, in its header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let unauthorized = || ApiError::new(ProblemType::Unauthorized);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unauthorized());
    };
    let text = value.to_str().map_err(|_| unauthorized())?;
    match text.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(credential),
        _ => Err(unauthorized()),
    }
}

/// The agent whose API key came with the request.
pub(super) struct Authenticated(pub(super) Account);

impl FromRequestParts<Arc<Relay>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, relay: &Arc<Relay>) -> Result<Self, ApiError> {
        let key = bearer(&parts.headers)?;
        let account = relay.auth.authenticate(&relay.delivery.store, key).await?;
        Ok(Self(account))
    }
}

/// Query parameters; unknown ones are refused by `T`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_type(request.headers(), "application/json")?;
        let body = read_body(request, JSON_MAX, "request body").await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| ApiError::bad_request(error.to_string()))
    }
}

/// A body of bytes; `MAX` of them at most.
pub(super) struct Octets<const MAX: usize>(pub(super) Bytes);

impl<const MAX: usize, S: Send + Sync> FromRequest<S> for Octets<MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        octets(request, MAX).await.map(Self)
    }
}

/// The same, read when the handler wants it.
pub(super) async fn octets(request: Request, max: usize) -> Result<Bytes, ApiError> {
    require_type(request.headers(), "application/octet-stream")?;
    read_body(request, max, "request body").await
}

/// The length that a body is announced to have.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

pub(super) fn require_type(headers: &HeaderMap, expected: &str) -> Result<(), ApiError> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(expected)) {
        Ok(())
    } else {
        Err(ApiError::new(ProblemType::UnsupportedMediaType).detail(format!("expected {expected}")))
    }
}

async fn read_body(request: Request, max: usize, name: &str) -> Result<Bytes, ApiError> {
    let too_large = |actual: u64| ApiError::new(ProblemType::TooLarge).limit(name, max as u64, actual);
    if let Some(length) = announced_length(request.headers())
        && length > max as u64
    {
        return Err(too_large(length));
    }
    let body = Limited::new(request.into_body(), max).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max as u64 + 1)),
        Ok(Err(_)) => Err(ApiError::bad_request("the body ended early")),
        Err(_) => Err(ApiError::bad_request("the body did not arrive in time")),
    }
}

/// A JSON answer.
pub(super) fn json<T: serde::Serialize>(status: http::StatusCode, value: &T) -> axum::response::Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => ApiError::fault(ProblemType::Internal, &error).into_response(),
    }
}
