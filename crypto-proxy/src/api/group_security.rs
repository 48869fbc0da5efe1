//! The keys of a group: what holds, and a new one.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    groups::member_of,
    request::{Fields, GroupPath, JsonBody},
    shape, timestamp,
};
use crate::{
    engine::{GroupCommand, Reply},
    model::{Confirmation, DebtKind, GroupMember, GroupSecurity, Refusal, Required, UnixMs},
};

const NOBODY: &str = "nobody";
const EVERYBODY: &str = "everybody";
const LISTED: &str = "listed";
/// Most members that are listed.
const LISTED_MOST: usize = 256;

/// A member's key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupMemberSecurity)]
struct MemberBody {
    handle: String,
    /// How its key is trusted here: `new`, `pinned`, `verified`, `changed` or `blocked`.
    state: &'static str,
    /// The newest epoch under which it has said something.
    confirmed_epoch: Option<u64>,
}

/// A rekey that is due.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupDebt)]
struct DebtBody {
    /// `hard`: somebody left, nothing is sent before it. `soft`: somebody joined who cannot read yet.
    kind: &'static str,
    /// By the clock of whoever left or joined.
    since: String,
}

/// What is known of a group's keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupSecurity)]
pub(super) struct SecurityBody {
    /// Number of the key in use, from 1.
    epoch: u64,
    /// Hash of the last commit of the group's log: the same at every member, or somebody is behind.
    roster_head: String,
    /// Commits in the log.
    roster_length: u64,
    /// In the order in which they joined.
    members: Vec<MemberBody>,
    debt: Option<DebtBody>,
    /// Whether the relay cannot make an agent that joins: false for open channels.
    confidential_from_relay: bool,
    /// Whether the relay was caught showing two logs: nothing is sent any more.
    forked: bool,
    /// Whose confirmation of the key this agent requires before it sends.
    confirmation: ConfirmationBody,
}

/// What this agent requires of the members of a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupConfirmation)]
struct ConfirmationBody {
    /// `nobody`, `everybody` or `listed`.
    require_confirmed: &'static str,
    /// Those that are listed.
    members: Vec<String>,
    /// Whether this agent confirms each epoch by itself.
    confirm: bool,
    /// Who is required and has not confirmed the current epoch: until then sends are refused.
    missing: Vec<String>,
}

/// Body of `PUT /v1/groups/{id}/confirmation`.
#[derive(Debug, ToSchema)]
#[schema(as = SetGroupConfirmation)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct SetConfirmationBody {
    /// `nobody`, `everybody` or `listed`.
    require_confirmed: String,
    /// Handles of members, if they are listed; at most 256.
    members: Option<Vec<String>>,
    /// Whether this agent confirms each epoch by itself; if absent, whether it requires anybody's confirmation.
    confirm: Option<bool>,
}

/// Answer of `POST /v1/groups/{id}/rekey`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Epoch)]
pub(super) struct EpochBody {
    /// Number of the new key.
    epoch: u64,
}

impl From<&GroupMember> for MemberBody {
    fn from(member: &GroupMember) -> Self {
        Self {
            handle: member.handle.to_string(),
            state: shape::trust(member.trust),
            confirmed_epoch: member.confirmed_epoch,
        }
    }
}

impl From<(DebtKind, UnixMs)> for DebtBody {
    fn from((kind, since): (DebtKind, UnixMs)) -> Self {
        Self {
            kind: match kind {
                DebtKind::Hard => "hard",
                DebtKind::Soft => "soft",
            },
            since: timestamp::display(since),
        }
    }
}

impl From<&GroupSecurity> for SecurityBody {
    fn from(security: &GroupSecurity) -> Self {
        Self {
            epoch: security.epoch,
            roster_head: security.roster_head.to_string(),
            roster_length: security.roster_length,
            members: security.members.iter().map(MemberBody::from).collect(),
            debt: security.debt.map(DebtBody::from),
            confidential_from_relay: security.confidential_from_relay,
            forked: security.forked,
            confirmation: ConfirmationBody::from(security),
        }
    }
}

impl From<&GroupSecurity> for ConfirmationBody {
    fn from(security: &GroupSecurity) -> Self {
        let (require_confirmed, members): (_, &[Handle]) = match &security.confirmation.required {
            Required::Nobody => (NOBODY, &[]),
            Required::Everybody => (EVERYBODY, &[]),
            Required::Listed(handles) => (LISTED, handles),
        };
        let text = |handles: &[Handle]| handles.iter().map(Handle::to_string).collect();
        Self {
            require_confirmed,
            members: text(members),
            confirm: security.confirmation.confirms,
            missing: text(&security.unconfirmed),
        }
    }
}

/// The key of a group, who has confirmed it, and the log that it follows.
#[utoipa::path(
    get,
    path = "/v1/groups/{id}/security",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    responses(
        (status = 200, description = "What holds", body = SecurityBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
) -> Result<Json<SecurityBody>, ApiError> {
    member_of(&state, id).await?;
    let security = state.read(move |backend| backend.group_security(&id)).await?;
    // Left in between.
    let security = security.ok_or(Refusal::GroupNotFound)?;
    Ok(Json(SecurityBody::from(&security)))
}

/// Replace the group's key now. Any member may.
#[utoipa::path(
    post,
    path = "/v1/groups/{id}/rekey",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    responses(
        (status = 200, description = "A new key is in use", body = EpochBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn rekey(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
) -> Result<Json<EpochBody>, ApiError> {
    match state.ask_group(GroupCommand::Rekey(id)).await? {
        Reply::Epoch(epoch) => Ok(Json(EpochBody { epoch })),
        _ => Err(ApiError::internal()),
    }
}

/// Set whose confirmation of the group's key is required before this agent sends. It is nobody else's business.
#[utoipa::path(
    put,
    path = "/v1/groups/{id}/confirmation",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    request_body = SetConfirmationBody,
    responses(
        (status = 200, description = "What holds", body = SecurityBody),
        (status = 404, description = "GROUP_NOT_FOUND, or NOT_MEMBER: who is listed is no other member", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
    ),
)]
pub(super) async fn set_confirmation(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
    body: JsonBody,
) -> Result<Json<SecurityBody>, ApiError> {
    let wanted = parse_confirmation(&body.fields()?)?;
    state.ask_group(GroupCommand::SetConfirmation(id, wanted)).await?;
    show(State(state), GroupPath(id)).await
}

fn parse_confirmation(fields: &Fields<'_>) -> Result<Confirmation, ApiError> {
    let path = &["members"];
    let listed: Vec<Handle> = match fields.raw("members")? {
        Some(raw) => {
            serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a list of handles"))?
        }
        None => Vec::new(),
    };
    if listed.len() > LISTED_MOST {
        return Err(ApiError::limit(path, "members", LISTED_MOST, Some(listed.len())));
    }
    let required = match (fields.required("require_confirmed")?.as_str(), listed.is_empty()) {
        (NOBODY, true) => Required::Nobody,
        (EVERYBODY, true) => Required::Everybody,
        (LISTED, false) => Required::Listed(listed),
        (LISTED, true) => return Err(ApiError::invalid(path, "nobody is listed")),
        (NOBODY | EVERYBODY, false) => return Err(ApiError::invalid(path, "only where members are listed")),
        _ => {
            let names = "nobody, everybody or listed";
            return Err(ApiError::invalid(&["require_confirmed"], names));
        }
    };
    let confirms = fields.flag("confirm")?.unwrap_or(required != Required::Nobody);
    Ok(Confirmation { required, confirms })
}

#[cfg(test)]
#[path = "group_security_tests.rs"]
mod tests;
