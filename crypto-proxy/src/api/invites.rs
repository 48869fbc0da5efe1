//! Invites to groups that wait for this agent's decision.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    groups::GroupBody,
    messages::DoneBody,
    request::InvitePath,
    timestamp,
};
use crate::{
    engine::{GroupCommand, Reply},
    model::Invitation,
};

/// An invite that waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupInvitation)]
pub(super) struct InvitationBody {
    /// `inv_` and 32 digits.
    id: String,
    /// The id that the group will have here.
    group_id: String,
    /// As the inviter says.
    group_name: String,
    /// Not known before joining.
    group_description: Option<String>,
    /// Not known before joining.
    group_avatar_url: Option<String>,
    /// 0: not known before joining, and SDKs want a number.
    group_member_count: u64,
    inviter_handle: String,
    /// When it came.
    created_at: String,
}

impl From<&Invitation> for InvitationBody {
    fn from(invitation: &Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            group_id: invitation.group.to_string(),
            group_name: invitation.name.clone(),
            group_description: None,
            group_avatar_url: None,
            group_member_count: 0,
            inviter_handle: invitation.inviter.to_string(),
            created_at: timestamp::display(invitation.received_at),
        }
    }
}

/// Invites to this agent. Nothing joins a group without its word.
#[utoipa::path(
    get,
    path = "/v1/groups/invites",
    tag = "groups",
    responses((status = 200, description = "A bare list", body = Vec<InvitationBody>)),
)]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<Vec<InvitationBody>>, ApiError> {
    let invitations = state.read(|backend| backend.invitations()).await?;
    Ok(Json(invitations.iter().map(InvitationBody::from).collect()))
}

/// Join the group of an invite.
#[utoipa::path(
    post,
    path = "/v1/groups/invites/{id}/accept",
    tag = "groups",
    params(("id" = String, Path, description = "Id of an invite")),
    responses(
        (status = 200, description = "The group", body = GroupBody),
        (status = 404, description = "INVITE_NOT_FOUND: none, used up, or withdrawn", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK or TOO_MANY_GROUPS", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn accept(
    State(state): State<ApiState>,
    InvitePath(id): InvitePath,
) -> Result<Json<GroupBody>, ApiError> {
    match state.ask_group(GroupCommand::Accept(id)).await? {
        Reply::Group(group) => Ok(Json(GroupBody::from(group.as_ref()))),
        _ => Err(ApiError::internal()),
    }
}

/// Decline an invite. The inviter is not told.
#[utoipa::path(
    delete,
    path = "/v1/groups/invites/{id}",
    tag = "groups",
    params(("id" = String, Path, description = "Id of an invite")),
    responses(
        (status = 200, description = "Declined", body = DoneBody),
        (status = 404, description = "INVITE_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn reject(
    State(state): State<ApiState>,
    InvitePath(id): InvitePath,
) -> Result<Json<DoneBody>, ApiError> {
    state.ask_group(GroupCommand::Reject(id)).await?;
    Ok(Json(DoneBody {
        message: "declined",
        ok: true,
    }))
}

#[cfg(test)]
#[path = "invites_tests.rs"]
mod tests;
