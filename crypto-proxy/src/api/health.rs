//! Whether the process lives and whether it can do its work. Open to everybody who may ask this
//! host, so that supervisors need no token; says nothing but yes and no.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
};
use crate::state::Stuck;

/// Header with which a caller asks for a proof.
pub const NONCE: &str = "x-waxwire-nonce";
/// Header with the proof.
pub const PROOF: &str = "x-waxwire-proof";

/// After how many milliseconds something that does not go on counts as stuck.
pub(super) const STUCK_AFTER_MS: u64 = 60_000;

/// Asks the rest of the program what the API cannot know. Called on a thread that may block, for
/// every `GET /readyz` and `GET /metrics`, so it has to be cheap.
pub type Readiness = Arc<dyn Fn() -> Checks + Send + Sync>;

/// What has to hold for the proxy to be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Checks {
    /// The link to the relay is up.
    pub relay: bool,
    /// The state is open and readable; filled in by the API.
    pub store: bool,
    /// What is sealed for this agent's own key opens.
    pub self_seal: bool,
    /// Senders may use this agent's bundle: it has not expired.
    pub bundle: bool,
    /// No replacement of a group's key is stuck; filled in by the API.
    pub rotation: bool,
    /// No message of a group waits for a key or commit; filled in by the API.
    pub readable: bool,
    /// Why the link is down.
    #[serde(skip)]
    link_fault: Option<&'static str>,
}

impl Checks {
    /// What the rest of the program knows.
    #[must_use]
    pub const fn new(relay_up: bool, self_seal_ok: bool, bundle_valid: bool) -> Self {
        Self {
            relay: relay_up,
            store: false,
            self_seal: self_seal_ok,
            bundle: bundle_valid,
            rotation: false,
            readable: false,
            link_fault: None,
        }
    }

    /// The same with the stable name of what keeps the link down.
    #[must_use]
    pub const fn because(self, link_fault: Option<&'static str>) -> Self {
        Self { link_fault, ..self }
    }

    /// What the state says; nothing if it cannot be read.
    pub(super) fn and_state(self, stuck: Option<Stuck>) -> Self {
        Self {
            store: stuck.is_some(),
            rotation: stuck.is_some_and(|stuck| !stuck.rotation),
            readable: stuck.is_some_and(|stuck| !stuck.messages),
            ..self
        }
    }

    pub(super) const fn named(self) -> [(&'static str, bool); 6] {
        [
            ("relay", self.relay),
            ("store", self.store),
            ("self_seal", self.self_seal),
            ("bundle", self.bundle),
            ("rotation", self.rotation),
            ("readable", self.readable),
        ]
    }
}

/// Answer of `GET /readyz`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadyBody {
    /// Whether all checks hold.
    ready: bool,
    /// Each check.
    checks: Checks,
    /// Why there is no link to the relay: `unreachable`, `certificate_untrusted`, `unauthorized` and so
    /// on.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_fault: Option<&'static str>,
}

/// Answer of `GET /healthz`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthBody {
    /// Always `ok`.
    status: &'static str,
}

/// The process is up. Who asks with 32 random bytes in `x-waxwire-nonce` is shown in `x-waxwire-proof` that
/// this API knows the bearer token and listens here, before the token is shown to it.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operation",
    security(()),
    params(("x-waxwire-nonce" = Option<String>, Header, description = "64 hexadecimal digits")),
    responses(
        (status = 200, description = "Up", body = HealthBody,
         headers(("x-waxwire-proof" = String, description = "64 hexadecimal digits, if there was a nonce"))),
        (status = 400, description = "The nonce is malformed", body = ErrorBody),
    ),
)]
pub(super) async fn healthz(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let mut answer = Json(HealthBody { status: "ok" }).into_response();
    if let Some(nonce) = headers.get(NONCE) {
        let mut bytes = [0; 32];
        hex::decode_to_slice(nonce, &mut bytes)
            .map_err(|_| ApiError::invalid(&[NONCE], "not 64 hexadecimal digits"))?;
        let proof = state.token().proof(&bytes, state.place());
        if let Ok(proof) = HeaderValue::try_from(hex::encode(proof)) {
            answer.headers_mut().insert(PROOF, proof);
        }
    }
    Ok(answer)
}

/// The proxy can do its work: linked to the relay, store open, a self-seal opens, its bundle is valid, every
/// group is readable.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "All checks hold", body = ReadyBody),
        (status = 503, description = "A check fails", body = ReadyBody),
    ),
)]
pub(super) async fn readyz(State(state): State<ApiState>) -> Response {
    let checks = state.checks().await;
    let ready = checks.named().into_iter().all(|(_, holds)| holds);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let link_fault = checks.link_fault.filter(|_| !checks.relay);
    let body = ReadyBody {
        ready,
        checks,
        link_fault,
    };
    (status, Json(body)).into_response()
}
