//! What was said in a conversation.

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{ConversationPath, Query, page_size},
    shape::MessageBody,
};
use crate::{model::Message, state::HistoryRange};

const DEFAULT: usize = 50;
const CAP: usize = 200;

/// Which part of the history.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Most messages; 50 if absent, at most 200.
    limit: Option<u64>,
    /// Only messages with a lower number; newest first.
    before_seq: Option<u64>,
    /// Only messages with a higher number; oldest first, also together with `before_seq`.
    after_seq: Option<u64>,
    /// The messages around this one; oldest first. Not together with the others.
    around_message_id: Option<String>,
}

/// Messages of a conversation, newest first unless `after_seq` or `around_message_id` is given.
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    tag = "messages",
    params(("id" = String, Path, description = "Id of a conversation"), HistoryQuery),
    responses(
        (status = 200, description = "A bare list", body = Vec<MessageBody>),
        (status = 404, description = "CONVERSATION_NOT_FOUND, or MESSAGE_NOT_FOUND for around_message_id", body = ErrorBody),
    ),
)]
pub(super) async fn history(
    State(state): State<ApiState>,
    ConversationPath(conversation): ConversationPath,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<MessageBody>>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let range = range(&query)?;
    let found = state.read(move |backend| {
        if let HistoryRange::Around(id) = range {
            let target = backend.message(&id)?;
            if target.is_none_or(|target| target.conversation != conversation) {
                let known = backend.conversation(&conversation)?.is_some();
                return Ok(if known {
                    Found::NoMessage
                } else {
                    Found::NoConversation
                });
            }
        }
        let messages = backend.history(&conversation, range, limit)?;
        Ok(messages.map_or(Found::NoConversation, Found::Messages))
    });
    match found.await? {
        Found::Messages(messages) => Ok(Json(messages.iter().map(MessageBody::new).collect())),
        Found::NoMessage => Err(ApiError::message_not_found()),
        Found::NoConversation => Err(ApiError::conversation_not_found()),
    }
}

enum Found {
    Messages(Vec<Message>),
    NoMessage,
    NoConversation,
}

fn range(query: &HistoryQuery) -> Result<HistoryRange, ApiError> {
    match (query.after_seq, query.before_seq, &query.around_message_id) {
        (None, None, None) => Ok(HistoryRange::Latest),
        (None, Some(before), None) => Ok(HistoryRange::Before(before)),
        (Some(after), None, None) => Ok(HistoryRange::After(after)),
        (Some(after), Some(before), None) => Ok(HistoryRange::Between { after, before }),
        (None, None, Some(id)) => {
            let id = id.parse().map_err(|_| ApiError::message_not_found())?;
            Ok(HistoryRange::Around(id))
        }
        (_, _, Some(_)) => Err(ApiError::invalid(
            &["query", "around_message_id"],
            "not together with before_seq or after_seq",
        )),
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
