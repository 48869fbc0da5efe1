//! The inbox for those who poll.

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::ApiError,
    messages::is_message_type,
    request::{Query, flag, handle, page_offset, page_size},
    shape::MessageBody,
    timestamp,
    written::{AfterFlush, body_then},
};
use crate::{
    engine::Command,
    model::DeliveryId,
    state::{InboxFilter, Since},
};

const DEFAULT: usize = 50;
const CAP: usize = 100;

/// Which rows, and whether they are done with.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InboxQuery {
    /// Most rows; 50 if absent, at most 100.
    limit: Option<u64>,
    /// Rows to skip.
    offset: Option<u64>,
    /// Only messages of this agent.
    from: Option<String>,
    /// Only messages of this type, as `message_type` shows it.
    r#type: Option<String>,
    /// Only messages that are not read.
    #[serde(default, deserialize_with = "flag")]
    unread: bool,
    /// Only what came after: Unix seconds, RFC 3339, or a `delivery_id`.
    since: Option<String>,
    /// Settle the rows that are listed, once the answer was written whole.
    #[serde(default, deserialize_with = "flag")]
    clear: bool,
}

/// Answer of `GET /v1/inbox`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inbox)]
pub(super) struct InboxBody {
    messages: Vec<MessageBody>,
    /// Rows that the filters let through.
    total: u64,
    limit: u64,
    offset: u64,
}

/// Messages to this agent, newest first, settled or not.
#[utoipa::path(
    get,
    path = "/v1/inbox",
    tag = "inbox",
    params(InboxQuery),
    responses((status = 200, description = "A page", body = InboxBody)),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    after_flush: Option<axum::Extension<AfterFlush>>,
    Query(query): Query<InboxQuery>,
) -> Result<Response, ApiError> {
    let clear = query.clear;
    let filter = filter(query)?;
    let (limit, offset) = (filter.limit as u64, filter.offset as u64);
    let page = state.read(move |backend| backend.inbox(&filter)).await?;
    let deliveries: Vec<DeliveryId> = page
        .messages
        .iter()
        .filter_map(|message| message.delivery)
        .collect();
    let messages = page.messages.iter().map(MessageBody::row).collect();
    let answer = InboxBody {
        messages,
        total: page.total,
        limit,
        offset,
    };
    if !clear || deliveries.is_empty() {
        return Ok(Json(answer).into_response());
    }
    let answer = serde_json::to_vec(&answer).map_err(|_| ApiError::internal())?;
    let after_flush = after_flush.map(|axum::Extension(after)| after);
    let body = body_then(answer, after_flush, move || settle(state, deliveries));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn settle(state: ApiState, deliveries: Vec<DeliveryId>) {
    tokio::spawn(async move {
        if let Err(refusal) = state.backend().command(Command::Settle(deliveries)).await {
            // They stay in inbox and sync: delivered twice at worst.
            tracing::warn!(%refusal, "listed messages could not be settled");
        }
    });
}

fn filter(query: InboxQuery) -> Result<InboxFilter, ApiError> {
    let from = query
        .from
        .map(|text| handle(&["query", "from"], &text))
        .transpose()?;
    if query.r#type.as_deref().is_some_and(|name| !is_message_type(name)) {
        return Err(ApiError::invalid(
            &["query", "type"],
            "a type matches ^[a-z][a-z0-9_.-]{0,31}$",
        ));
    }
    Ok(InboxFilter {
        limit: page_size(query.limit, DEFAULT, CAP)?,
        offset: page_offset(query.offset),
        from,
        message_type: query.r#type,
        unread: query.unread,
        since: query.since.map(|text| since(&text)).transpose()?,
    })
}

/// Unix seconds (with or without a fraction), RFC 3339, or a delivery id.
fn since(text: &str) -> Result<Since, ApiError> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !seconds.is_empty() && digits(seconds) && digits(fraction) {
        // Beyond the largest number is beyond every message.
        let seconds: u64 = seconds.parse().unwrap_or(u64::MAX);
        let millis = format!("{fraction:0<3}")
            .get(..3)
            .and_then(|millis| millis.parse().ok())
            .unwrap_or(0);
        return Ok(Since::Time(seconds.saturating_mul(1_000).saturating_add(millis)));
    }
    if let Ok(delivery) = text.parse() {
        return Ok(Since::Delivery(delivery));
    }
    // In a query, the plus of an offset that was not escaped is a space.
    timestamp::parse(text)
        .or_else(|| timestamp::parse(&text.replace(' ', "+")))
        .map(Since::Time)
        .ok_or_else(|| ApiError::invalid(&["query", "since"], "Unix seconds, RFC 3339 or a delivery id"))
}

/// Answer of `GET /v1/inbox/unread-count`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UnreadCount)]
pub(super) struct UnreadBody {
    unread: u64,
}

/// How many messages to this agent are not read.
#[utoipa::path(
    get,
    path = "/v1/inbox/unread-count",
    tag = "inbox",
    responses((status = 200, description = "The number", body = UnreadBody)),
)]
pub(super) async fn unread_count(State(state): State<ApiState>) -> Result<Json<UnreadBody>, ApiError> {
    let unread = state.read(|backend| backend.unread_count()).await?;
    Ok(Json(UnreadBody { unread }))
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
