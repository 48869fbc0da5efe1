//! The agent's conversations.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::{
    ApiState,
    backend::{Backend, Unreadable},
    error::{ApiError, ErrorBody},
    request::{ConversationPath, Query, page_offset, page_size},
    shape::conversation_type,
    timestamp,
};
use crate::{
    engine::Command,
    model::{Conversation, ConversationKind, LocalConversation},
    state::InboxFilter,
};

/// The Python SDK asks without a limit and cannot turn the page, so the first page is long.
const DEFAULT: usize = 500;
const CAP: usize = 1_000;

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Most rows; 500 if absent, at most 1,000.
    limit: Option<u64>,
    /// Rows to skip.
    offset: Option<u64>,
}

/// Somebody in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub(super) struct ParticipantBody {
    /// Handle.
    handle: String,
    /// Not known to this proxy.
    display_name: Option<String>,
}

/// A conversation in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConversationListItem)]
pub(super) struct ConversationBody {
    /// `conv_` or `grp_` and 32 digits.
    id: String,
    /// `direct` or `group`.
    r#type: &'static str,
    /// The others.
    participants: Vec<ParticipantBody>,
    /// Of a group.
    group_name: Option<String>,
    /// Of a group.
    group_avatar_url: Option<String>,
    /// Of a group.
    group_member_count: Option<u64>,
    /// When a message last became visible in it.
    last_message_at: Option<String>,
    /// When anything last became visible in it.
    updated_at: String,
    /// Whether pushes are off.
    is_muted: bool,
    /// Messages to this agent that are not read.
    unread_count: u64,
}

impl From<&Conversation> for ConversationBody {
    fn from(conversation: &Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            r#type: conversation_type(&conversation.id),
            participants: participants_of(conversation),
            group_name: None,
            group_avatar_url: None,
            group_member_count: None,
            last_message_at: conversation.last_message_at.map(timestamp::display),
            updated_at: timestamp::display(conversation.updated_at),
            is_muted: false,
            unread_count: conversation.unread,
        }
    }
}

fn participants_of(conversation: &Conversation) -> Vec<ParticipantBody> {
    let participant = |handle: &Handle| ParticipantBody {
        handle: handle.to_string(),
        display_name: None,
    };
    conversation.participants.iter().map(participant).collect()
}

/// Conversations, the one with the newest message first.
#[utoipa::path(
    get,
    path = "/v1/conversations",
    tag = "conversations",
    params(PageQuery),
    responses((status = 200, description = "A bare list", body = Vec<ConversationBody>)),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Vec<ConversationBody>>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let offset = page_offset(query.offset);
    let rows = state
        .read(move |backend| backend.conversations(limit, offset))
        .await?;
    Ok(Json(rows.iter().map(ConversationBody::from).collect()))
}

/// Who is in a conversation: of a direct one, the other side.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}/participants",
    tag = "conversations",
    params(("id" = String, Path, description = "Id of a conversation")),
    responses(
        (status = 200, description = "A bare list", body = Vec<ParticipantBody>),
        (status = 404, description = "CONVERSATION_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn participants(
    State(state): State<ApiState>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<Vec<ParticipantBody>>, ApiError> {
    let conversation = state.read(move |backend| backend.conversation(&id)).await?;
    let conversation = conversation.ok_or_else(ApiError::conversation_not_found)?;
    Ok(Json(participants_of(&conversation)))
}

/// What was hidden.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HiddenBody {
    ok: bool,
    hidden: bool,
}

/// Hide a conversation until something new becomes visible in it.
#[utoipa::path(
    delete,
    path = "/v1/conversations/{id}",
    tag = "conversations",
    params(("id" = String, Path, description = "Id of a conversation")),
    responses(
        (status = 200, description = "Hidden", body = HiddenBody),
        (status = 404, description = "CONVERSATION_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn hide(
    State(state): State<ApiState>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<HiddenBody>, ApiError> {
    state.ask(Command::HideConversation(id)).await?;
    Ok(Json(HiddenBody {
        ok: true,
        hidden: true,
    }))
}

/// Everything that an agent wants to know before it answers in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConversationContext)]
pub(super) struct ContextBody {
    conversation_id: String,
    /// `direct` or `group`.
    r#type: &'static str,
    /// Of a group.
    #[schema(value_type = Option<Object>)]
    group: Option<()>,
    /// Of a direct conversation: the other side.
    counterparty: Option<CounterpartyBody>,
    /// Of a direct conversation: what this agent noted about the other side.
    relationship: Option<RelationshipBody>,
    unread: UnreadBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Counterparty)]
struct CounterpartyBody {
    handle: String,
    display_name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Relationship)]
struct RelationshipBody {
    is_contact: bool,
    added_at: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Unread)]
struct UnreadBody {
    count: u64,
    oldest_seq: Option<u64>,
    newest_seq: Option<u64>,
}

/// The other side, what is known of it and what is not read.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}/context",
    tag = "conversations",
    params(("id" = String, Path, description = "Id of a conversation")),
    responses(
        (status = 200, description = "Context of a conversation", body = ContextBody),
        (status = 404, description = "CONVERSATION_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn context(
    State(state): State<ApiState>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<ContextBody>, ApiError> {
    let found = state.read(move |backend| {
        let Some(conversation) = backend.conversation(&id)? else {
            return Ok(None);
        };
        let peer = conversation
            .participants
            .first()
            .filter(|_| id.kind == ConversationKind::Direct);
        let unread = unread(backend, &conversation, peer)?;
        Ok(Some(ContextBody {
            conversation_id: id.to_string(),
            r#type: conversation_type(&id),
            group: None,
            counterparty: peer.map(|handle| CounterpartyBody {
                handle: handle.to_string(),
                display_name: None,
                avatar_url: None,
            }),
            relationship: peer.map(|_| RelationshipBody {
                is_contact: false,
                added_at: None,
                note: None,
            }),
            unread,
        }))
    });
    found
        .await?
        .map(Json)
        .ok_or_else(ApiError::conversation_not_found)
}

fn unread(
    backend: &dyn Backend,
    conversation: &Conversation,
    peer: Option<&Handle>,
) -> Result<UnreadBody, Unreadable> {
    let count = conversation.unread;
    let (Some(peer), 1..) = (peer, count) else {
        return Ok(UnreadBody {
            count,
            ..UnreadBody::default()
        });
    };
    let at = |offset: u64| edge(backend, &conversation.id, peer, offset);
    Ok(UnreadBody {
        count,
        oldest_seq: at(count - 1)?,
        newest_seq: at(0)?,
    })
}

/// The number of one unread message of a peer, counted from the newest.
fn edge(
    backend: &dyn Backend,
    conversation: &LocalConversation,
    peer: &Handle,
    offset: u64,
) -> Result<Option<u64>, Unreadable> {
    let filter = InboxFilter {
        limit: 1,
        offset: page_offset(Some(offset)),
        from: Some(peer.clone()),
        message_type: None,
        unread: true,
        since: None,
    };
    let page = backend.inbox(&filter)?;
    let message = page
        .messages
        .first()
        .filter(|message| message.conversation == *conversation);
    Ok(message.map(|message| message.seq))
}

#[cfg(test)]
#[path = "conversations_tests.rs"]
mod tests;
