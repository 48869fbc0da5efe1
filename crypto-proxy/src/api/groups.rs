//! A group: found, show, change, end.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use waxwire_shared::{fingerprint::Address, ids::IdError, limits, wire::Role};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    members::AddedBody,
    request::{Fields, GroupPath, JsonBody},
    timestamp,
};
use crate::{
    engine::{GroupCommand, Reply},
    model::{
        Group, GroupLookup, GroupMember, GroupProfile, LocalConversation, NewGroup, ProfileChange, Refusal,
    },
};

/// Most handles that one request invites.
const INVITED: usize = 256;
/// Who invites: nobody else can be chosen.
const WHO_CAN_INVITE: &str = "admin";

/// Body of `POST /v1/groups`.
#[derive(Debug, ToSchema)]
#[schema(as = CreateGroup)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct CreateBody {
    /// 1 to 256 bytes, not blank.
    #[schema(example = "Freight")]
    name: String,
    /// At most 4,096 bytes.
    description: Option<String>,
    /// At most 2,048 bytes; the proxy never fetches it.
    avatar_url: Option<String>,
    /// Whom to invite: at most 256 handles, with or without `@` and fingerprint. `members` is the same.
    member_handles: Option<Vec<String>>,
    settings: Option<SettingsBody>,
}

/// Body of `PATCH /v1/groups/{id}`. What is absent stays; an empty `description` or `avatar_url` takes
/// it away.
#[derive(Debug, ToSchema)]
#[schema(as = UpdateGroup)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct UpdateBody {
    /// 1 to 256 bytes, not blank.
    name: Option<String>,
    /// At most 4,096 bytes.
    description: Option<String>,
    /// At most 2,048 bytes; the proxy never fetches it.
    avatar_url: Option<String>,
    settings: Option<SettingsBody>,
}

/// The rules of a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupSettings)]
pub(super) struct SettingsBody {
    /// Always `admin`.
    who_can_invite: &'static str,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupMember)]
struct MemberBody {
    handle: String,
    /// Not known to this proxy.
    display_name: Option<String>,
    /// `admin` or `member`.
    role: &'static str,
    /// By the clock of whoever signed it.
    joined_at: String,
}

/// A group with its members.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupDetail)]
pub(super) struct GroupBody {
    /// `grp_` and 32 digits: also the id of its conversation.
    id: String,
    /// Empty until a member has told this agent, who has just joined.
    name: String,
    description: Option<String>,
    avatar_url: Option<String>,
    /// Handle of the founder.
    created_by: String,
    settings: SettingsBody,
    member_count: u64,
    created_at: String,
    last_message_at: Option<String>,
    /// In the order in which they joined, this agent among them.
    members: Vec<MemberBody>,
    /// `admin` or `member`.
    your_role: &'static str,
}

/// Answer of `POST /v1/groups`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedGroup)]
pub(super) struct CreatedBody {
    group: GroupBody,
    /// What became of each handle that names an agent; the others are missing.
    add_results: Vec<AddedBody>,
}

/// Answer of `DELETE /v1/groups/{id}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeletedGroup)]
pub(super) struct DeletedBody {
    /// For people.
    message: &'static str,
    deleted_at: String,
}

impl From<&GroupMember> for MemberBody {
    fn from(member: &GroupMember) -> Self {
        Self {
            handle: member.handle.to_string(),
            display_name: None,
            role: role(member.role),
            joined_at: timestamp::display(member.joined_at),
        }
    }
}

impl From<&Group> for GroupBody {
    fn from(group: &Group) -> Self {
        Self {
            id: group.id.to_string(),
            name: group.profile.name.clone(),
            description: group.profile.description.clone(),
            avatar_url: group.profile.avatar.clone(),
            created_by: group.created_by.to_string(),
            settings: SettingsBody {
                who_can_invite: WHO_CAN_INVITE,
            },
            member_count: group.members.len() as u64,
            created_at: timestamp::display(group.created_at),
            last_message_at: group.last_message_at.map(timestamp::display),
            members: group.members.iter().map(MemberBody::from).collect(),
            your_role: role(group.your_role),
        }
    }
}

/// The name of a role.
pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
    }
}

/// The group, if this agent is a member of it.
pub(super) async fn member_of(state: &ApiState, id: LocalConversation) -> Result<Box<Group>, ApiError> {
    match state.read(move |backend| backend.group(&id)).await? {
        GroupLookup::Member(group) => Ok(group),
        GroupLookup::Ended(end) => Err(Refusal::GroupDeleted(Box::new(end)).into()),
        GroupLookup::Unknown => Err(Refusal::GroupNotFound.into()),
    }
}

/// Found a group with this agent as its admin, and invite others.
#[utoipa::path(
    post,
    path = "/v1/groups",
    tag = "groups",
    request_body = CreateBody,
    responses(
        (status = 201, description = "The group stands in the relay's log", body = CreatedBody),
        (status = 409, description = "TOO_MANY_GROUPS", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<(StatusCode, Json<CreatedBody>), ApiError> {
    let new = parse_create(&state, &body.fields()?)?;
    match state.ask_group(GroupCommand::Create(Box::new(new))).await? {
        Reply::GroupCreated(group, added) => {
            let created = CreatedBody {
                group: GroupBody::from(group.as_ref()),
                add_results: added.iter().map(AddedBody::from).collect(),
            };
            Ok((StatusCode::CREATED, Json(created)))
        }
        _ => Err(ApiError::internal()),
    }
}

fn parse_create(state: &ApiState, fields: &Fields<'_>) -> Result<NewGroup, ApiError> {
    let name = name(fields)?.ok_or_else(|| ApiError::invalid(&["name"], "required"))?;
    let description = bounded(fields, "description", limits::GROUP_TOPIC)?;
    let avatar = bounded(fields, "avatar_url", limits::GROUP_AVATAR)?;
    check_settings(fields)?;
    let mut members = invited(fields)?;
    members.retain(|address| address.handle != state.me().handle);
    let filled = |text: &String| !text.is_empty();
    Ok(NewGroup {
        profile: GroupProfile {
            name,
            description: description.filter(filled),
            avatar: avatar.filter(filled),
        },
        members,
        channel: None,
    })
}

pub(super) fn name(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let name = bounded(fields, "name", limits::GROUP_NAME)?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(ApiError::invalid(&["name"], "blank"));
    }
    Ok(name)
}

/// A string of at most so many bytes.
fn bounded(fields: &Fields<'_>, field: &'static str, max: usize) -> Result<Option<String>, ApiError> {
    let text = fields.string(field)?;
    match &text {
        Some(long) if long.len() > max => Err(ApiError::limit(&[field], field, max, Some(long.len()))),
        _ => Ok(text),
    }
}

fn check_settings(fields: &Fields<'_>) -> Result<(), ApiError> {
    let Some(raw) = fields.raw("settings")? else {
        return Ok(());
    };
    let settings: Value = serde_json::from_str(raw).unwrap_or_default();
    if !settings.is_object() {
        return Err(ApiError::invalid(&["settings"], "not an object"));
    }
    match settings.get("who_can_invite") {
        None | Some(Value::Null) => Ok(()),
        Some(who) if who == WHO_CAN_INVITE => Ok(()),
        Some(_) => Err(ApiError::invalid(
            &["settings", "who_can_invite"],
            "admin is the only value",
        )),
    }
}

/// Whom to invite, each once. What can be nobody's handle is left out, as the contract has it; a
/// fingerprint that is none, or two for one handle, is a mistake that must not pass unseen.
fn invited(fields: &Fields<'_>) -> Result<Vec<Address>, ApiError> {
    let (field, raw) = match (fields.raw("member_handles")?, fields.raw("members")?) {
        (Some(raw), None) => ("member_handles", raw),
        (None, Some(raw)) => ("members", raw),
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => return Err(ApiError::invalid(&["members"], "the same as member_handles")),
    };
    let path = &[field];
    let handles: Vec<String> =
        serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a list of strings"))?;
    if handles.len() > INVITED {
        return Err(ApiError::limit(
            path,
            "member_handles",
            INVITED,
            Some(handles.len()),
        ));
    }
    let mut addresses: Vec<Address> = Vec::new();
    for text in &handles {
        match text.parse() {
            Ok(address) => add(&mut addresses, address, path)?,
            Err(IdError::Handle) => {}
            Err(error) => return Err(ApiError::invalid(path, error.to_string())),
        }
    }
    Ok(addresses)
}

/// Adds an agent to a list in which each stands once.
pub(super) fn add(addresses: &mut Vec<Address>, new: Address, path: &[&str]) -> Result<(), ApiError> {
    let Some(known) = addresses.iter_mut().find(|known| known.handle == new.handle) else {
        addresses.push(new);
        return Ok(());
    };
    if let (Some(one), Some(other)) = (known.fingerprint, new.fingerprint)
        && one != other
    {
        return Err(ApiError::invalid(path, "two fingerprints for one handle"));
    }
    known.fingerprint = known.fingerprint.or(new.fingerprint);
    Ok(())
}

/// A group that this agent is a member of.
#[utoipa::path(
    get,
    path = "/v1/groups/{id}",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    responses(
        (status = 200, description = "The group", body = GroupBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
) -> Result<Json<GroupBody>, ApiError> {
    let group = member_of(&state, id).await?;
    Ok(Json(GroupBody::from(group.as_ref())))
}

/// Change name, description or avatar. For admins.
#[utoipa::path(
    patch,
    path = "/v1/groups/{id}",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    request_body = UpdateBody,
    responses(
        (status = 200, description = "The group as it is now", body = GroupBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn update(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
    body: JsonBody,
) -> Result<Json<GroupBody>, ApiError> {
    let change = parse_update(&body.fields()?)?;
    if change == ProfileChange::default() {
        return Ok(Json(GroupBody::from(member_of(&state, id).await?.as_ref())));
    }
    match state.ask_group(GroupCommand::Update(id, change)).await? {
        Reply::Group(group) => Ok(Json(GroupBody::from(group.as_ref()))),
        _ => Err(ApiError::internal()),
    }
}

fn parse_update(fields: &Fields<'_>) -> Result<ProfileChange, ApiError> {
    check_settings(fields)?;
    // Null is as good as absent, as everywhere: the SDKs write it for what was not given.
    let change = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(ProfileChange {
        name: name(fields)?,
        description: bounded(fields, "description", limits::GROUP_TOPIC)?.map(change),
        avatar: bounded(fields, "avatar_url", limits::GROUP_AVATAR)?.map(change),
    })
}

/// End a group for all its members, for ever. For admins.
#[utoipa::path(
    delete,
    path = "/v1/groups/{id}",
    tag = "groups",
    params(("id" = String, Path, description = "Id of a group")),
    responses(
        (status = 200, description = "Ended", body = DeletedBody),
        (status = 404, description = "GROUP_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED: it had ended before, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn disband(
    State(state): State<ApiState>,
    GroupPath(id): GroupPath,
) -> Result<Json<DeletedBody>, ApiError> {
    match state.ask_group(GroupCommand::Disband(id)).await? {
        Reply::Ended(at) => Ok(Json(DeletedBody {
            message: "the group has ended",
            deleted_at: timestamp::display(at),
        })),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
