//! Who is in a group: invite, remove, promote, demote, leave.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwire_shared::wire::Role;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    messages::DoneBody,
    request::{Fields, GroupPath, JsonBody, MemberPath, address},
};
use crate::{
    engine::{Command, GroupCommand, Reply},
    model::{AddOutcome, Added, HistoryShare, Refusal},
};

/// Body of `POST /v1/groups/{id}/members`.
#[derive(Debug, ToSchema)]
#[schema(as = AddMember)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct AddBody {
    /// A handle, with or without `@`, with or without `#` and the fingerprint that it must have.
    #[schema(example = "@bob")]
    handle: String,
    /// What of the group's past the new member is shown once it has accepted: `true` for all that this
    /// agent has of the current epoch, `{"after_seq": N}` for what stands above N here. Nothing if absent.
    #[schema(value_type = Option<Object>)]
    share_current: Option<()>,
}

/// What became of an addition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AddMemberResult)]
pub(super) struct AddedBody {
    handle: String,
    /// `invited` now or before, or `already_member`.
    outcome: &'static str,
    /// The invite that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    invite_id: Option<String>,
}

/// Answer of `POST /v1/groups/{id}/leave`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LeftGroup)]
pub(super) struct LeftBody {
    /// For people.
    message: &'static str,
    /// Who became admin because the last one left.
    promoted_handle: Option<String>,
}

impl From<&Added> for AddedBody {
    fn from(added: &Added) -> Self {
        let (outcome, invite) = match added.outcome {
            AddOutcome::Invited(invite) => ("invited", Some(invite)),
            AddOutcome::AlreadyMember => ("already_member", None),
        };
        Self {
            handle: added.handle.to_string(),
            outcome,
            invite_id: invite.map(|invite| invite.to_string()),
        }
    }
}

/// Invite somebody. They are a member once they have accepted. For admins.
#[utoipa::path(
    post,
    path = "/v1/groups/{id}/members",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    request_body = AddBody,
    responses(
        (status = 201, description = "Invited, now or before", body = AddedBody),
        (status = 200, description = "A member already", body = AddedBody),
        (status = 404, description = "GROUP_NOT_FOUND or AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "IDENTITY_CHANGED, FINGERPRINT_MISMATCH, RECIPIENT_KEY_EXPIRED, SUITE_DOWNGRADE, SUITE, RELAY_MISBEHAVED or ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED or RECIPIENT_BACKLOGGED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn add(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
    body: JsonBody,
) -> Result<(StatusCode, Json<AddedBody>), ApiError> {
    let fields = body.fields()?;
    let whom = address(&["handle"], &fields.required("handle")?)?;
    let share = share_current(&fields)?;
    match state.ask_group(GroupCommand::Add(id, whom, share)).await? {
        Reply::Added(added) => {
            let status = match added.outcome {
                AddOutcome::Invited(_) => StatusCode::CREATED,
                AddOutcome::AlreadyMember => StatusCode::OK,
            };
            Ok((status, Json(AddedBody::from(&added))))
        }
        _ => Err(ApiError::internal()),
    }
}

fn share_current(fields: &Fields<'_>) -> Result<Option<HistoryShare>, ApiError> {
    #[derive(Deserialize)]
    struct After {
        after_seq: u64,
    }
    match fields.raw("share_current")? {
        None | Some("false") => Ok(None),
        Some("true") => Ok(Some(HistoryShare::Current)),
        Some(raw) => serde_json::from_str(raw)
            .map(|After { after_seq }| Some(HistoryShare::AfterSeq(after_seq)))
            .map_err(|_| ApiError::invalid(&["share_current"], "true, false or {\"after_seq\": N}")),
    }
}

/// Remove a member, or withdraw the invite of somebody who has not accepted. What is sent from then on is
/// sealed under a key that they do not get. Repeating it changes nothing. For admins.
#[utoipa::path(
    delete,
    path = "/v1/groups/{id}/members/{handle}",
    tag = "groups",
    params(
        ("id" = String, Path, description = "Id of a group"),
        ("handle" = String, Path, description = "Handle, with or without @"),
    ),
    responses(
        (status = 200, description = "No member any more, or never one", body = DoneBody),
        (status = 404, description = "GROUP_NOT_FOUND; NOT_MEMBER: a name that no agent can have", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn remove(
    State(state): State<ApiState>,
    MemberPath { group, handle }: MemberPath,
) -> Result<Json<DoneBody>, ApiError> {
    let removed = state
        .backend()
        .command(Command::Group(GroupCommand::Remove(group, handle)));
    match removed.await {
        Ok(_) | Err(Refusal::NotMember) => Ok(Json(DoneBody {
            message: "no member any more",
            ok: true,
        })),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Make a member an admin. Repeating it changes nothing. For admins.
#[utoipa::path(
    post,
    path = "/v1/groups/{id}/members/{handle}/promote",
    tag = "groups",
    params(
        ("id" = String, Path, description = "Id of a group"),
        ("handle" = String, Path, description = "Handle, with or without @"),
    ),
    responses(
        (status = 200, description = "An admin now", body = DoneBody),
        (status = 404, description = "GROUP_NOT_FOUND or NOT_MEMBER", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn promote(
    State(state): State<ApiState>,
    member: MemberPath,
) -> Result<Json<DoneBody>, ApiError> {
    set_role(&state, member, Role::Admin, "an admin now").await
}

/// Make an admin a member. Repeating it changes nothing. For admins.
#[utoipa::path(
    post,
    path = "/v1/groups/{id}/members/{handle}/demote",
    tag = "groups",
    params(
        ("id" = String, Path, description = "Id of a group"),
        ("handle" = String, Path, description = "Handle, with or without @"),
    ),
    responses(
        (status = 200, description = "A member without rights now", body = DoneBody),
        (status = 400, description = "LAST_ADMIN: the group would be without one; VALIDATION_ERROR", body = ErrorBody),
        (status = 404, description = "GROUP_NOT_FOUND or NOT_MEMBER", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn demote(
    State(state): State<ApiState>,
    member: MemberPath,
) -> Result<Json<DoneBody>, ApiError> {
    set_role(&state, member, Role::Member, "no admin any more").await
}

async fn set_role(
    state: &ApiState,
    MemberPath { group, handle }: MemberPath,
    role: Role,
    message: &'static str,
) -> Result<Json<DoneBody>, ApiError> {
    state
        .ask_group(GroupCommand::SetRole(group, handle, role))
        .await?;
    Ok(Json(DoneBody { message, ok: true }))
}

/// Leave a group. If no admin remains, whoever joined first becomes one; if nobody remains, the group has
/// ended.
#[utoipa::path(
    post,
    path = "/v1/groups/{id}/leave",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    responses(
        (status = 200, description = "Left", body = LeftBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn leave(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
) -> Result<Json<LeftBody>, ApiError> {
    match state.ask_group(GroupCommand::Leave(id)).await? {
        Reply::Left(promoted) => Ok(Json(LeftBody {
            message: "left",
            promoted_handle: promoted.map(|handle| handle.to_string()),
        })),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
