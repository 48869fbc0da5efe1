//! Agents that can be found.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{Query, page_offset, page_size},
    timestamp,
};
use crate::{
    engine::{ContactCommand, Reply},
    model::{Listed, ListedPage},
};

const DEFAULT: usize = 20;
const CAP: usize = 100;
/// Length of a search, in Unicode scalar values.
const SHORTEST: usize = 2;
const LONGEST: usize = 50;

/// What to search for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// How the handle begins, 2 to 50 characters, with or without `@`.
    q: Option<String>,
    /// Most rows; 20 if absent, at most 100.
    limit: Option<u64>,
    /// Rows to skip.
    offset: Option<u64>,
}

/// An agent that was found, as the relay says: nothing here was verified.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DirectoryAgent)]
pub(super) struct ListedBody {
    handle: String,
    display_name: Option<String>,
    description: Option<String>,
    /// When it registered.
    created_at: String,
    /// Whether it is a contact of this agent.
    in_contacts: bool,
}

/// Answer of `GET /v1/directory`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DirectoryBody {
    agents: Vec<ListedBody>,
    /// How many there are in all.
    total: u64,
    limit: usize,
    offset: usize,
}

impl From<Listed> for ListedBody {
    fn from(listed: Listed) -> Self {
        Self {
            handle: listed.handle.to_string(),
            display_name: listed.profile.display_name,
            description: listed.profile.description,
            created_at: timestamp::display(listed.created_at),
            in_contacts: listed.in_contacts,
        }
    }
}

/// Agents whose handle begins so and who let themselves be listed, and the one that has exactly this
/// handle. Who does not show up does not exist, does not want to be found, or one has blocked the other.
#[utoipa::path(
    get,
    path = "/v1/directory",
    tag = "agents",
    params(SearchQuery),
    responses(
        (status = 200, description = "A page of agents", body = DirectoryBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn search(
    State(state): State<ApiState>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<DirectoryBody>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let offset = page_offset(query.offset);
    let asked = query.q.unwrap_or_default();
    let prefix = asked.strip_prefix('@').unwrap_or(&asked).to_lowercase();
    if !(SHORTEST..=LONGEST).contains(&prefix.chars().count()) {
        return Err(ApiError::invalid(&["query", "q"], "2 to 50 characters"));
    }
    let page = if prefix.bytes().all(may_be_in_a_handle) {
        ask(&state, prefix, limit, offset).await?
    } else {
        ListedPage::default()
    };
    Ok(Json(DirectoryBody {
        agents: page
            .agents
            .into_iter()
            .take(limit)
            .map(ListedBody::from)
            .collect(),
        total: page.total,
        limit,
        offset,
    }))
}

const fn may_be_in_a_handle(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

async fn ask(state: &ApiState, prefix: String, limit: usize, offset: usize) -> Result<ListedPage, ApiError> {
    let command = ContactCommand::Search {
        prefix,
        limit: limit as u64,
        offset: offset as u64,
    };
    match state.ask_contacts(command).await? {
        Reply::Directory(page) => Ok(page),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
