//! The keys of a group: what holds, and a new one.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    groups::member_of,
    request::GroupPath,
    shape, timestamp,
};
use crate::{
    engine::{GroupCommand, Reply},
    model::{DebtKind, GroupMember, GroupSecurity, Refusal, UnixMs},
};

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

#[cfg(test)]
#[path = "group_security_tests.rs"]
mod tests;
