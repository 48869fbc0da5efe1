//! This agent and its peers.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use waxwire_shared::{
    api::profile::{is_description, is_display_name},
    code::IdentityCode,
    fingerprint::{Address, Fingerprint},
    ids::Handle,
    limits,
};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{AgentPath, Fields, HandlePath, JsonBody},
    shape, timestamp,
};
use crate::{
    engine::{Command, ContactCommand, Reply},
    model::{
        InboxMode, InvitePolicy, Me, OwnProfile, OwnProfileChange, Peer, Profile, Refusal, TrustDecision,
    },
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
    /// The same with handle and relay, for others to scan: `waxwire:v1:...`.
    code: String,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentSettings)]
struct SettingsBody {
    /// `open`, or `contacts_only`: strangers wait in `GET /v1/requests`.
    inbox_mode: &'static str,
    /// `open`, or `contacts_only`: invites of others are dropped.
    group_invite_policy: &'static str,
    /// Whether a search by the beginning of the handle finds this agent.
    listed: bool,
}

fn code(relay: &Fingerprint, handle: &Handle, fingerprint: &Fingerprint) -> String {
    let code = IdentityCode {
        relay: *relay,
        handle: handle.clone(),
        fingerprint: *fingerprint,
    };
    code.to_string()
}

const OPEN: &str = "open";
const CONTACTS_ONLY: &str = "contacts_only";

impl AgentBody {
    fn new(me: &Me, own: OwnProfile, otherwise: InboxMode) -> Self {
        let inbox_mode = match own.inbox_mode.unwrap_or(otherwise) {
            InboxMode::Open => OPEN,
            InboxMode::ContactsOnly => CONTACTS_ONLY,
        };
        let group_invite_policy = match own.invite_policy {
            InvitePolicy::Open => OPEN,
            InvitePolicy::ContactsOnly => CONTACTS_ONLY,
        };
        Self {
            id: format!("agt_{}", me.agent_id),
            handle: me.handle.to_string(),
            email: "",
            display_name: own.profile.display_name,
            description: own.profile.description,
            avatar_url: None,
            is_system: false,
            status: "active",
            paused_by_owner: "none",
            settings: SettingsBody {
                inbox_mode,
                group_invite_policy,
                listed: own.listed,
            },
            fingerprint: me.fingerprint.to_string(),
            code: code(&me.relay, &me.handle, &me.fingerprint),
            updated_at: timestamp::display(own.updated_at.unwrap_or(me.created_at)),
            created_at: timestamp::display(me.created_at),
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
pub(super) async fn me(State(state): State<ApiState>) -> Result<Json<AgentBody>, ApiError> {
    let own = state.read(|backend| backend.own_profile()).await?;
    Ok(Json(AgentBody::new(state.me(), own, state.inbox_mode())))
}

/// Body of `PATCH /v1/agents/{handle}`.
#[derive(Debug, ToSchema)]
#[schema(as = UpdateAgent)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct UpdateBody {
    /// At most 64 characters, public to the relay; empty takes it away.
    display_name: Option<String>,
    /// At most 500 characters, public to the relay; empty takes it away.
    description: Option<String>,
    settings: Option<UpdateSettingsBody>,
}

#[derive(Debug, ToSchema)]
#[schema(as = UpdateAgentSettings)]
#[expect(dead_code, reason = "describes the body")]
struct UpdateSettingsBody {
    /// `open` or `contacts_only`.
    inbox_mode: Option<String>,
    /// `open` or `contacts_only`.
    group_invite_policy: Option<String>,
    /// Whether a search by the beginning of the handle finds this agent.
    listed: Option<bool>,
}

/// Change what others are told of this agent, and who may write to it and invite it. What is absent or
/// null stays.
#[utoipa::path(
    patch,
    path = "/v1/agents/{handle}",
    tag = "agents",
    params(("handle" = String, Path, description = "The own handle")),
    request_body = UpdateBody,
    responses(
        (status = 200, description = "This agent as it is now", body = AgentBody),
        (status = 403, description = "FORBIDDEN: another agent", body = ErrorBody),
        (status = 404, description = "AGENT_NOT_FOUND: a name that no agent can have", body = ErrorBody),
    ),
)]
pub(super) async fn update(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
    body: JsonBody,
) -> Result<Json<AgentBody>, ApiError> {
    if handle != state.me().handle {
        return Err(ApiError::forbidden("an agent can change itself only"));
    }
    let fields = body.fields()?;
    let mut change = OwnProfileChange {
        display_name: fields.string("display_name")?,
        description: fields.string("description")?,
        ..OwnProfileChange::default()
    };
    for (name, text, max, is_fine) in [
        (
            "display_name",
            &change.display_name,
            limits::DISPLAY_NAME,
            is_display_name as fn(&str) -> bool,
        ),
        (
            "description",
            &change.description,
            limits::DESCRIPTION,
            is_description,
        ),
    ] {
        check_text(name, text.as_deref().unwrap_or_default(), max, is_fine)?;
    }
    if let Some(settings) = fields.object("settings")? {
        change.inbox_mode = policy(&settings, "inbox_mode", InboxMode::Open, InboxMode::ContactsOnly)?;
        change.invite_policy = policy(
            &settings,
            "group_invite_policy",
            InvitePolicy::Open,
            InvitePolicy::ContactsOnly,
        )?;
        change.listed = settings.flag("listed")?;
    }
    state
        .ask_contacts(ContactCommand::SetProfile(Box::new(change)))
        .await?;
    me(State(state)).await
}

/// Text for others to read; empty if it is to be taken away.
fn check_text(name: &'static str, text: &str, max: usize, is_fine: fn(&str) -> bool) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length > max {
        return Err(ApiError::limit(&[name], name, max, Some(length)));
    }
    if !text.is_empty() && !is_fine(text) {
        return Err(ApiError::invalid(&[name], "blank, or with control characters"));
    }
    Ok(())
}

fn policy<T>(settings: &Fields<'_>, name: &str, open: T, contacts_only: T) -> Result<Option<T>, ApiError> {
    match settings.string(name)?.as_deref() {
        None => Ok(None),
        Some(OPEN) => Ok(Some(open)),
        Some(CONTACTS_ONLY) => Ok(Some(contacts_only)),
        Some(_) => Err(ApiError::invalid(&["settings", name], "open or contacts_only")),
    }
}

/// What everybody may know of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentProfile)]
pub(super) struct ProfileBody {
    handle: String,
    status: &'static str,
    /// As the relay says: not verified.
    display_name: Option<String>,
    /// As the relay says: not verified.
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
    let (handle, seen, profile) = if me.handle == address.handle {
        require_own(&address, me.fingerprint)?;
        let own = state.read(|backend| backend.own_profile()).await?;
        (address.handle, me.created_at, own.profile)
    } else {
        let peer = look_up(&state, address).await?;
        let profile = ask_profile(&state, peer.handle.clone()).await?;
        (peer.handle, peer.first_seen, profile)
    };
    Ok(Json(ProfileBody {
        handle: handle.to_string(),
        status: "active",
        display_name: profile.display_name,
        description: profile.description,
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
    /// What the peer shows to be scanned, if this is its identity: `waxwire:v1:...`.
    code: String,
    /// `new`, `pinned`, `verified`, `changed` or `blocked`.
    state: &'static str,
    /// Number of the encryption key in use.
    key_number: u64,
    /// When that key expires.
    not_after: String,
    /// In state `changed`: the other identity that the relay shows.
    changed: Option<ChangedBody>,
    /// Fingerprints that this handle had before, oldest first.
    former: Vec<String>,
}

/// Another identity that the relay shows under a handle.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangedIdentity)]
struct ChangedBody {
    fingerprint: String,
    /// Whether the pinned identity, or its recovery key, signed that this one follows it.
    proven: bool,
}

impl IdentityBody {
    fn new(peer: Peer, relay: &Fingerprint) -> Self {
        Self {
            code: code(relay, &peer.handle, &peer.fingerprint),
            handle: peer.handle.to_string(),
            fingerprint: peer.fingerprint.to_string(),
            safety_number: peer.safety_number,
            state: shape::trust(peer.trust),
            key_number: peer.key_number,
            not_after: timestamp::display(peer.not_after),
            changed: peer.changed.map(|(fingerprint, proven)| ChangedBody {
                fingerprint: fingerprint.to_string(),
                proven,
            }),
            former: peer.former.iter().map(Fingerprint::to_string).collect(),
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
    let peer = look_up(&state, address).await?;
    Ok(Json(IdentityBody::new(peer, &state.me().relay)))
}

/// A fingerprint that is given has to be the own one.
fn require_own(address: &Address, own: Fingerprint) -> Result<(), Refusal> {
    match address.fingerprint {
        Some(other) if other != own => Err(Refusal::FingerprintMismatch {
            handle: address.handle.clone(),
            actual: own,
        }),
        _ => Ok(()),
    }
}

pub(super) async fn look_up(state: &ApiState, address: Address) -> Result<Peer, ApiError> {
    match state.ask(Command::LookUp(address)).await? {
        Reply::Peer(peer) => Ok(*peer),
        _ => Err(ApiError::internal()),
    }
}

async fn ask_profile(state: &ApiState, handle: Handle) -> Result<Profile, ApiError> {
    match state.ask_contacts(ContactCommand::Profile(handle)).await? {
        Reply::Profile(profile) => Ok(profile),
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
    /// The fingerprint on which is decided: the one in use, or the one that the relay shows instead.
    fingerprint: String,
    /// If this takes another identity for the peer's: whether messages that the former one has not confirmed
    /// are sent again to it. Otherwise they end as failed.
    resend_pending: Option<bool>,
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
    let resend_pending = fields.flag("resend_pending")?.unwrap_or(false);
    decide(&state, address.handle, decision, fingerprint, resend_pending).await
}

/// Has the engine decide; answers with the identity as it is then.
pub(super) async fn decide(
    state: &ApiState,
    handle: Handle,
    decision: TrustDecision,
    fingerprint: Fingerprint,
    resend_pending: bool,
) -> Result<Json<IdentityBody>, ApiError> {
    let command = Command::SetTrust(handle, decision, fingerprint, resend_pending);
    match state.ask(command).await? {
        Reply::Peer(peer) => Ok(Json(IdentityBody::new(*peer, &state.me().relay))),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
