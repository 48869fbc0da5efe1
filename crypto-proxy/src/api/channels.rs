//! Named channels: groups with a slug and a join policy.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    groups::name,
    messages::{deliver, parse_send},
    request::{ChannelPath, Fields, JsonBody, Query, flag, page_size},
};
use crate::{
    engine::{GroupCommand, Reply},
    model::{
        Channel, Destination, GroupProfile, Joining, ListedChannel, LocalConversation, NewChannel, NewGroup,
        Refusal,
    },
};

const DEFAULT: usize = 50;
const CAP: usize = 100;

/// Body of `POST /v1/channels`.
#[derive(Debug, ToSchema)]
#[schema(as = CreateChannel)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct CreateBody {
    /// Public at the relay, and unique there: 3 to 30 characters, in the grammar of a handle.
    #[schema(pattern = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", example = "freight")]
    slug: String,
    /// 1 to 256 bytes, not blank; members only know it. The slug if absent.
    name: Option<String>,
    /// `open`: everybody may join, also an agent that the relay makes. `invite`: by invite only. `invite` if absent.
    join: Option<String>,
}

/// Body of `POST /v1/channels/{slug}/join`; may be `{}`.
#[derive(Debug, ToSchema)]
#[schema(as = JoinChannel)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct JoinBody {
    /// The group that must have the slug, whatever this agent knew it to be before.
    id: Option<String>,
}

/// A named channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub(super) struct ChannelBody {
    /// `grp_` and 32 digits: the channel is this group.
    id: String,
    slug: String,
    /// Null until this agent has joined and a member has told it.
    name: Option<String>,
    /// `open` or `invite`.
    join: &'static str,
    /// Whether this agent is a member.
    joined: bool,
    member_count: u64,
    /// Whose word this is: `log`, verified here, or `relay`, which may lie.
    source: &'static str,
}

/// Answer of `GET /v1/channels`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelPage)]
pub(super) struct PageBody {
    /// By slug.
    channels: Vec<ChannelBody>,
    /// Where the next page begins, as `after`; null if there is none.
    next: Option<String>,
}

/// Which channels.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Those whose slug comes after this one.
    after: Option<String>,
    /// Most channels; 50 if absent, at most 100.
    limit: Option<u64>,
    /// Only those that this agent has joined; the relay is not asked.
    #[serde(default, deserialize_with = "flag")]
    joined: bool,
}

const fn join_policy(open: bool) -> &'static str {
    if open { "open" } else { "invite" }
}

impl From<Channel> for ChannelBody {
    fn from(channel: Channel) -> Self {
        Self {
            id: channel.id.to_string(),
            slug: channel.slug.to_string(),
            name: Some(channel.name).filter(|name| !name.is_empty()),
            join: join_policy(channel.open),
            joined: channel.joined,
            member_count: channel.members,
            source: "log",
        }
    }
}

impl From<ListedChannel> for ChannelBody {
    fn from(listed: ListedChannel) -> Self {
        Self {
            id: listed.id.to_string(),
            slug: listed.slug.to_string(),
            name: None,
            join: join_policy(true),
            joined: false,
            member_count: listed.members,
            source: "relay",
        }
    }
}

/// The channel that a slug names for this agent.
async fn known(state: &ApiState, slug: &Handle) -> Result<Channel, ApiError> {
    let slug = slug.clone();
    let channel = state.read(move |backend| backend.channel(&slug)).await?;
    channel.ok_or_else(|| Refusal::ChannelNotFound.into())
}

/// Found a channel with this agent as its admin.
#[utoipa::path(
    post,
    path = "/v1/channels",
    tag = "channels",
    request_body = CreateBody,
    responses(
        (status = 201, description = "The channel stands in the relay's log", body = ChannelBody),
        (status = 409, description = "SLUG_TAKEN: by another group that goes on; TOO_MANY_GROUPS", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<(StatusCode, Json<ChannelBody>), ApiError> {
    let (slug, new) = parse_create(&body.fields()?)?;
    state.ask_group(GroupCommand::Create(Box::new(new))).await?;
    let channel = known(&state, &slug).await?;
    Ok((StatusCode::CREATED, Json(channel.into())))
}

fn parse_create(fields: &Fields<'_>) -> Result<(Handle, NewGroup), ApiError> {
    let text = fields.required("slug")?;
    let slug: Handle = text.parse().map_err(|_| {
        let grammar = "a slug has 3 to 30 characters and matches ^[a-z][a-z0-9]*(-[a-z0-9]+)*$";
        ApiError::invalid(&["slug"], grammar)
    })?;
    let open = match fields.string("join")?.as_deref() {
        Some("open") => true,
        Some("invite") | None => false,
        Some(_) => return Err(ApiError::invalid(&["join"], "open or invite")),
    };
    let new = NewGroup {
        profile: GroupProfile {
            name: name(fields)?.unwrap_or(text),
            ..GroupProfile::default()
        },
        members: Vec::new(),
        channel: Some(NewChannel {
            slug: slug.clone(),
            open,
        }),
    };
    Ok((slug, new))
}

/// Channels that this agent has joined, and the open ones that the relay lists.
#[utoipa::path(
    get,
    path = "/v1/channels",
    tag = "channels",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of channels", body = PageBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageBody>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let after: Option<Handle> = match &query.after {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| ApiError::invalid(&["query", "after"], "not a slug"))?,
        ),
    };
    let listed = if query.joined {
        Vec::new()
    } else {
        ask_relay(&state, after.clone(), limit).await?
    };
    let own = state
        .read(move |backend| backend.channels(after.as_ref().map_or("", Handle::as_str), limit))
        .await?;
    Ok(Json(page(listed, own, limit)))
}

async fn ask_relay(
    state: &ApiState,
    after: Option<Handle>,
    limit: usize,
) -> Result<Vec<ListedChannel>, ApiError> {
    let command = GroupCommand::Channels {
        after: after.clone(),
        limit: limit as u64,
    };
    match state.ask_group(command).await? {
        Reply::Channels(mut listed) => {
            listed.retain(|channel| after.as_ref().is_none_or(|after| channel.slug > *after));
            listed.truncate(limit);
            Ok(listed)
        }
        _ => Err(ApiError::internal()),
    }
}

/// Both lists begin at the same place, and each has all of its own up to its end. What this agent knows
/// stands before what the relay says.
fn page(listed: Vec<ListedChannel>, own: Vec<Channel>, limit: usize) -> PageBody {
    let more = listed.len() == limit || own.len() == limit;
    let mut by_slug: BTreeMap<Handle, ChannelBody> = BTreeMap::new();
    for channel in listed {
        by_slug.insert(channel.slug.clone(), channel.into());
    }
    for channel in own {
        by_slug.insert(channel.slug.clone(), channel.into());
    }
    let more = more || by_slug.len() > limit;
    let channels: Vec<ChannelBody> = by_slug.into_values().take(limit).collect();
    let last = channels.last().map(|channel| channel.slug.clone());
    PageBody {
        next: last.filter(|_| more),
        channels,
    }
}

/// Join a channel. An open one is joined at once; one by invite if an invite to it waits.
#[utoipa::path(
    post,
    path = "/v1/channels/{slug}/join",
    tag = "channels",
    params(("slug" = String, Path, description = "Slug of a channel")),
    request_body = JoinBody,
    responses(
        (status = 200, description = "The channel, joined now or before", body = ChannelBody),
        (status = 404, description = "CHANNEL_NOT_FOUND, or INVITE_NOT_FOUND: the invite is used up or withdrawn", body = ErrorBody),
        (status = 409, description = "CHANNEL_CHANGED, RELAY_MISBEHAVED, ROSTER_FORK or TOO_MANY_GROUPS", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn join(
    State(state): State<ApiState>,
    ChannelPath(slug): ChannelPath,
    body: Option<JsonBody>,
) -> Result<Json<ChannelBody>, ApiError> {
    let expected = match &body {
        Some(body) => expected(&body.fields()?)?,
        None => None,
    };
    let joining = Joining {
        slug: slug.clone(),
        expected,
    };
    state.ask_group(GroupCommand::Join(joining)).await?;
    Ok(Json(known(&state, &slug).await?.into()))
}

fn expected(fields: &Fields<'_>) -> Result<Option<LocalConversation>, ApiError> {
    let Some(id) = fields.string("id")? else {
        return Ok(None);
    };
    id.parse()
        .map(Some)
        .map_err(|_| ApiError::invalid(&["id"], "not the id of a group"))
}

/// Send a message to a channel that this agent has joined.
#[utoipa::path(
    post,
    path = "/v1/channels/{slug}/messages",
    tag = "channels",
    params(("slug" = String, Path, description = "Slug of a channel")),
    request_body(content = super::messages::SendBody, description = "Without `to` and `conversation_id`"),
    responses(
        (status = 201, description = "Durable at the relay", body = super::shape::MessageBody),
        (status = 200, description = "Sent before under this client_msg_id: the first message", body = super::shape::MessageBody),
        (status = 404, description = "CHANNEL_NOT_FOUND, GROUP_NOT_FOUND, ATTACHMENT_NOT_FOUND or, for reply_to, MESSAGE_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "ROSTER_FORK or ATTACHMENT_INCOMPLETE", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn send(
    State(state): State<ApiState>,
    ChannelPath(slug): ChannelPath,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.fields()?;
    for field in ["to", "conversation_id"] {
        if fields.raw(field)?.is_some() {
            return Err(ApiError::invalid(&[field], "the path says where to"));
        }
    }
    let channel = known(&state, &slug).await?;
    let request = parse_send(&fields, Destination::Conversation(channel.id))?;
    deliver(&state, request).await
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
