//! The agent's conversations.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::{
    ApiState,
    backend::{Backend, Unreadable},
    error::{ApiError, ErrorBody},
    groups::role,
    request::{ConversationPath, Query, page_offset, page_size},
    shape::conversation_type,
    timestamp,
};
use crate::{
    clock,
    engine::Command,
    model::{Conversation, ConversationKind, GroupLookup, LocalConversation, Message, Standing},
    state::{HistoryRange, InboxFilter},
};

/// The Python SDK asks without a limit and cannot turn the page, so the first page is long.
const DEFAULT: usize = 500;
const CAP: usize = 1_000;
/// Most messages of a group that are looked at for what is not read.
const LOOKED_THROUGH: usize = 200;

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
    /// Null: nothing of it is verified.
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
    /// The others, in a group those who are members now.
    participants: Vec<ParticipantBody>,
    /// Of a group.
    group_name: Option<String>,
    /// Of a group.
    group_avatar_url: Option<String>,
    /// Of a group.
    group_member_count: Option<u64>,
    /// Of a group, how this agent stands to it: `entering`, `member`, `left`, `removed` or `ended`.
    group_standing: Option<&'static str>,
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
            group_name: conversation.group.as_ref().and_then(|group| group.name.clone()),
            group_avatar_url: None,
            group_member_count: conversation.group.as_ref().map(|group| group.members),
            group_standing: conversation.standing.map(standing),
            last_message_at: conversation.last_message_at.map(timestamp::display),
            updated_at: timestamp::display(conversation.updated_at),
            is_muted: conversation.muted_until > clock::unix(),
            unread_count: conversation.unread,
        }
    }
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Entering => "entering",
        Standing::Member => "member",
        Standing::Left => "left",
        Standing::Removed => "removed",
        Standing::Ended => "ended",
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

/// Who is in a conversation: of a direct one, the other side; of a group, the other members.
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
    /// Of a group that this agent is a member of.
    group: Option<GroupContextBody>,
    /// Of a direct conversation: the other side.
    counterparty: Option<CounterpartyBody>,
    /// Of a direct conversation: what this agent noted about the other side.
    relationship: Option<RelationshipBody>,
    unread: UnreadBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GroupContext)]
struct GroupContextBody {
    name: String,
    description: Option<String>,
    member_count: u64,
    /// `admin` or `member`.
    your_role: &'static str,
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

/// The other side or the group, what is known of it and what is not read.
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
        let contact = match peer {
            Some(handle) => backend.contact(handle)?,
            None => None,
        };
        Ok(Some(ContextBody {
            conversation_id: id.to_string(),
            r#type: conversation_type(&id),
            group: group_of(backend, &id)?,
            counterparty: peer.map(|handle| CounterpartyBody {
                handle: handle.to_string(),
                display_name: None,
                avatar_url: None,
            }),
            relationship: peer.map(|_| RelationshipBody {
                is_contact: contact.is_some(),
                added_at: contact
                    .as_ref()
                    .map(|contact| timestamp::display(contact.added_at)),
                note: contact.as_ref().and_then(|contact| contact.notes.clone()),
            }),
            unread,
        }))
    });
    found
        .await?
        .map(Json)
        .ok_or_else(ApiError::conversation_not_found)
}

fn group_of(backend: &dyn Backend, id: &LocalConversation) -> Result<Option<GroupContextBody>, Unreadable> {
    if id.kind == ConversationKind::Direct {
        return Ok(None);
    }
    Ok(match backend.group(id)? {
        GroupLookup::Member(group) => Some(GroupContextBody {
            name: group.profile.name,
            description: group.profile.description,
            member_count: group.members.len() as u64,
            your_role: role(group.your_role),
        }),
        GroupLookup::Ended(_) | GroupLookup::Unknown => None,
    })
}

fn unread(
    backend: &dyn Backend,
    conversation: &Conversation,
    peer: Option<&Handle>,
) -> Result<UnreadBody, Unreadable> {
    let count = conversation.unread;
    if count == 0 {
        return Ok(UnreadBody::default());
    }
    let Some(peer) = peer else {
        return unread_in_group(backend, conversation);
    };
    let at = |offset: u64| edge(backend, &conversation.id, peer, offset);
    Ok(UnreadBody {
        count,
        oldest_seq: at(count - 1)?,
        newest_seq: at(0)?,
    })
}

/// A group has no one peer to ask the inbox about, so its newest messages are looked through. An older
/// one than those is not told.
fn unread_in_group(backend: &dyn Backend, conversation: &Conversation) -> Result<UnreadBody, Unreadable> {
    let newest = backend.history(&conversation.id, HistoryRange::Latest, LOOKED_THROUGH)?;
    let newest = newest.unwrap_or_default();
    let is_unread = |message: &&Message| !message.own && message.read_at.is_none();
    let unread: Vec<u64> = newest
        .iter()
        .filter(is_unread)
        .map(|message| message.seq)
        .collect();
    let all = unread.len() as u64 == conversation.unread;
    Ok(UnreadBody {
        count: conversation.unread,
        oldest_seq: unread.last().copied().filter(|_| all),
        newest_seq: unread.first().copied(),
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
