//! What an operator has scanned or read out, compared with what this proxy knows.

use axum::{Json, extract::State};
use utoipa::ToSchema;
use waxwire_shared::{
    code::IdentityCode,
    fingerprint::{Address, Fingerprint},
};

use super::{
    ApiState,
    agents::{IdentityBody, decide, look_up},
    error::{ApiError, ErrorBody},
    request::{AgentPath, JsonBody},
};
use crate::model::{Refusal, TrustDecision};

/// Longest code: longer than any that is one.
const CODE: usize = 512;
/// Digits of a safety number.
const DIGITS: usize = 60;

/// Body of `POST /v1/agents/{handle}/identity/verify`.
#[derive(Debug, ToSchema)]
#[schema(as = Verification)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads the field to name what is wrong"
)]
pub(super) struct VerifyBody {
    /// The peer's code, `waxwire:v1:...`, or the safety number that the peer sees.
    code: String,
}

/// Compare a peer's code or safety number, and hold its identity as verified if it is the same.
#[utoipa::path(
    post,
    path = "/v1/agents/{handle}/identity/verify",
    tag = "agents",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    request_body = VerifyBody,
    responses(
        (status = 200, description = "The identity, verified", body = IdentityBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "FINGERPRINT_MISMATCH: it is not the same, and nothing was changed", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn verify(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
    body: JsonBody,
) -> Result<Json<IdentityBody>, ApiError> {
    let text = body.fields()?.required("code")?;
    if text.len() > CODE {
        return Err(ApiError::limit(&["code"], "code", CODE, Some(text.len())));
    }
    let digits: String = text.split_whitespace().collect();
    let fingerprint = if digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        by_safety_number(&state, address.clone(), &digits).await?
    } else {
        let code = text.parse().map_err(|error| {
            ApiError::invalid(&["code"], format!("{error}, and this is no safety number"))
        })?;
        by_code(&state, &address, &code)?
    };
    let handle = address.handle;
    decide(&state, handle, TrustDecision::Verified, fingerprint, false).await
}

/// The fingerprint in a code, if the code is of this relay and of whom the request names.
fn by_code(state: &ApiState, address: &Address, code: &IdentityCode) -> Result<Fingerprint, ApiError> {
    let wrong = |what| Err(ApiError::invalid(&["code"], what));
    if code.relay != state.me().relay {
        return wrong("the code of an agent at another relay");
    }
    if code.handle != address.handle {
        return wrong("the code of another agent");
    }
    if address.fingerprint.is_some_and(|given| given != code.fingerprint) {
        return wrong("not the fingerprint of the path");
    }
    Ok(code.fingerprint)
}

/// The fingerprint of the peer as it is known, if the number is that of the two.
async fn by_safety_number(state: &ApiState, address: Address, digits: &str) -> Result<Fingerprint, ApiError> {
    let peer = look_up(state, address).await?;
    let known: String = peer.safety_number.split(' ').collect();
    if known == digits {
        return Ok(peer.fingerprint);
    }
    Err(Refusal::FingerprintMismatch {
        handle: peer.handle,
        actual: peer.fingerprint,
    }
    .into())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
