//! This agent and its peers.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use waxwire_shared::fingerprint::{Address, Fingerprint};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{AgentPath, JsonBody},
    shape, timestamp,
};
use crate::{
    engine::{Command, InboxMode, Reply},
    model::{Me, Peer, TrustDecision},
};

/// This agent's own record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
pub(super) struct AgentBody {
    /// `agt_` and the relay's id of this agent.
    id: String,
    handle: String,
    /// Always empty: identities here have no mail address.
    email: &'static str,
    display_name: Option<String>,
    description: Option<String>,
    avatar_url: Option<String>,
    is_system: bool,
    status: &'static str,
    paused_by_owner: &'static str,
    settings: SettingsBody,
    /// What others compare.
    fingerprint: String,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentSettings)]
struct SettingsBody {
    /// `open`, or `contacts_only`: strangers wait in `GET /v1/requests`.
    inbox_mode: &'static str,
    group_invite_policy: &'static str,
}

impl AgentBody {
    fn new(me: &Me, inbox_mode: InboxMode) -> Self {
        let created_at = timestamp::display(me.created_at);
        let inbox_mode = match inbox_mode {
            InboxMode::Open => "open",
            InboxMode::ContactsOnly => "contacts_only",
        };
        Self {
            id: format!("agt_{}", me.agent_id),
            handle: me.handle.to_string(),
            email: "",
            display_name: None,
            description: None,
            avatar_url: None,
            is_system: false,
            status: "active",
            paused_by_owner: "none",
            settings: SettingsBody {
                inbox_mode,
                group_invite_policy: "open",
            },
            fingerprint: me.fingerprint.to_string(),
            updated_at: created_at.clone(),
            created_at,
        }
    }
}

/// This agent.
#[utoipa::path(
    get,
    path = "/v1/agents/me",
    tag = "agents",
    responses((status = 200, description = "This agent", body = AgentBody)),
)]
pub(super) async fn me(State(state): State<ApiState>) -> Json<AgentBody> {
    Json(AgentBody::new(state.me(), state.inbox_mode()))
}

/// What everybody may know of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentProfile)]
pub(super) struct ProfileBody {
    handle: String,
    status: &'static str,
    display_name: Option<String>,
    description: Option<String>,
    avatar_url: Option<String>,
    is_system: bool,
    /// When this proxy first saw the agent.
    created_at: String,
}

/// A peer, looked up at the relay if this proxy does not know it.
#[utoipa::path(
    get,
    path = "/v1/agents/{handle}",
    tag = "agents",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    responses(
        (status = 200, description = "The agent", body = ProfileBody),
        (status = 404, description = "AGENT_NOT_FOUND: none, or none that this agent may write to", body = ErrorBody),
        (status = 409, description = "IDENTITY_CHANGED, FINGERPRINT_MISMATCH or RELAY_MISBEHAVED", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn profile(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
) -> Result<Json<ProfileBody>, ApiError> {
    let me = state.me();
    let (handle, seen) = if me.handle == address.handle {
        (address.handle, me.created_at)
    } else {
        let peer = look_up(&state, address).await?;
        (peer.handle, peer.first_seen)
    };
    Ok(Json(ProfileBody {
        handle: handle.to_string(),
        status: "active",
        display_name: None,
        description: None,
        avatar_url: None,
        is_system: false,
        created_at: timestamp::display(seen),
    }))
}

/// How a peer's identity is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub(super) struct IdentityBody {
    handle: String,
    /// 64 digits, for scripts to compare.
    fingerprint: String,
    /// Twelve groups of five digits, the same at both ends, for people to compare.
    safety_number: String,
    /// `new`, `pinned`, `verified`, `changed` or `blocked`.
    state: &'static str,
    /// Number of the encryption key in use.
    key_number: u64,
    /// When that key expires.
    not_after: String,
}

impl From<Peer> for IdentityBody {
    fn from(peer: Peer) -> Self {
        Self {
            handle: peer.handle.to_string(),
            fingerprint: peer.fingerprint.to_string(),
            safety_number: peer.safety_number,
            state: shape::trust(peer.trust),
            key_number: peer.key_number,
            not_after: timestamp::display(peer.not_after),
        }
    }
}

/// A peer's fingerprint, safety number and trust.
#[utoipa::path(
    get,
    path = "/v1/agents/{handle}/identity",
    tag = "agents",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    responses(
        (status = 200, description = "The identity", body = IdentityBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "IDENTITY_CHANGED, FINGERPRINT_MISMATCH or RELAY_MISBEHAVED", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn identity(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
) -> Result<Json<IdentityBody>, ApiError> {
    Ok(Json(look_up(&state, address).await?.into()))
}

async fn look_up(state: &ApiState, address: Address) -> Result<Peer, ApiError> {
    match state.ask(Command::LookUp(address)).await? {
        Reply::Peer(peer) => Ok(*peer),
        _ => Err(ApiError::internal()),
    }
}

/// Body of `PUT /v1/agents/{handle}/trust`.
#[derive(Debug, ToSchema)]
#[schema(as = TrustDecision)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct TrustBody {
    /// `verified`, `pinned` or `blocked`.
    state: String,
    /// The fingerprint on which is decided; it has to be the current one.
    fingerprint: String,
}

/// Decide on a peer's identity.
#[utoipa::path(
    put,
    path = "/v1/agents/{handle}/trust",
    tag = "agents",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    request_body = TrustBody,
    responses(
        (status = 200, description = "The identity as it is now", body = IdentityBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "FINGERPRINT_MISMATCH: the fingerprint is not the current one", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn set_trust(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
    body: JsonBody,
) -> Result<Json<IdentityBody>, ApiError> {
    let fields = body.fields()?;
    let decision = match fields.required("state")?.as_str() {
        "verified" => TrustDecision::Verified,
        "pinned" => TrustDecision::Pinned,
        "blocked" => TrustDecision::Blocked,
        _ => return Err(ApiError::invalid(&["state"], "verified, pinned or blocked")),
    };
    let path = &["fingerprint"];
    let fingerprint: Fingerprint = fields
        .required("fingerprint")?
        .parse()
        .map_err(|_| ApiError::invalid(path, "a fingerprint has 64 hexadecimal digits"))?;
    if address.fingerprint.is_some_and(|other| other != fingerprint) {
        return Err(ApiError::invalid(path, "not the fingerprint of the path"));
    }
    match state
        .ask(Command::SetTrust(address.handle, decision, fingerprint))
        .await?
    {
        Reply::Peer(peer) => Ok(Json((*peer).into())),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
