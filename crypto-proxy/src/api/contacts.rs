//! Whom this agent knows, and whom it shuts out.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{AgentPath, HandlePath, JsonBody, Query, address, page_offset, page_size},
    timestamp,
};
use crate::{
    engine::{ContactCommand, Reply},
    model::Contact,
};

const DEFAULT: usize = 100;
const CAP: usize = 500;
/// Longest notes, in Unicode scalar values.
const NOTES: usize = 1_000;

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Most rows; 100 if absent, at most 500.
    limit: Option<u64>,
    /// Rows to skip.
    offset: Option<u64>,
}

/// An agent that this one holds as a contact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contact)]
pub(super) struct ContactBody {
    handle: String,
    status: &'static str,
    /// As the relay last said: not verified.
    display_name: Option<String>,
    /// As the relay last said: not verified.
    description: Option<String>,
    avatar_url: Option<String>,
    /// What this agent noted. It stays here.
    notes: Option<String>,
    added_at: String,
}

impl From<&Contact> for ContactBody {
    fn from(contact: &Contact) -> Self {
        Self {
            handle: contact.handle.to_string(),
            status: "active",
            display_name: contact.profile.display_name.clone(),
            description: contact.profile.description.clone(),
            avatar_url: None,
            notes: contact.notes.clone(),
            added_at: timestamp::display(contact.added_at),
        }
    }
}

/// Answer of `GET /v1/contacts`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContactsBody {
    contacts: Vec<ContactBody>,
    /// How many there are in all.
    total: u64,
    limit: usize,
    offset: usize,
}

/// Answer of `GET /v1/contacts/{handle}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactCheck)]
pub(super) struct CheckBody {
    is_contact: bool,
    added_at: Option<String>,
    notes: Option<String>,
}

/// It is so.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OkAnswer)]
pub(super) struct OkBody {
    pub(super) ok: bool,
}

/// It is so here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Declared)]
pub(super) struct DeclaredBody {
    ok: bool,
    /// Whether the relay has taken it. If not, it is told as soon as it can be.
    relay_informed: bool,
}

/// Body of `POST /v1/contacts`.
#[derive(Debug, ToSchema)]
#[schema(as = AddContact)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct AddBody {
    /// A handle, with or without `@`, with or without `#` and the fingerprint that it must have.
    #[schema(example = "@bob")]
    handle: String,
}

/// Hold an agent as a contact. One that is stays as it is.
#[utoipa::path(
    post,
    path = "/v1/contacts",
    tag = "contacts",
    request_body = AddBody,
    responses(
        (status = 201, description = "A contact, now or before", body = ContactBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "IDENTITY_CHANGED, FINGERPRINT_MISMATCH or RELAY_MISBEHAVED", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn add(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<(StatusCode, Json<ContactBody>), ApiError> {
    let fields = body.fields()?;
    let whom = address(&["handle"], &fields.required("handle")?)?;
    match state.ask_contacts(ContactCommand::Add(whom)).await? {
        Reply::Contact(contact) => Ok((StatusCode::CREATED, Json(ContactBody::from(&*contact)))),
        _ => Err(ApiError::internal()),
    }
}

/// Contacts by handle.
#[utoipa::path(
    get,
    path = "/v1/contacts",
    tag = "contacts",
    params(PageQuery),
    responses((status = 200, description = "A page of contacts", body = ContactsBody)),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<ContactsBody>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let offset = page_offset(query.offset);
    let page = state.read(move |backend| backend.contacts(limit, offset)).await?;
    Ok(Json(ContactsBody {
        contacts: page.contacts.iter().map(ContactBody::from).collect(),
        total: page.total,
        limit,
        offset,
    }))
}

/// Whether an agent is a contact; of any handle.
#[utoipa::path(
    get,
    path = "/v1/contacts/{handle}",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "Whether it is one", body = CheckBody),
        (status = 404, description = "AGENT_NOT_FOUND: a name that no agent can have", body = ErrorBody),
    ),
)]
pub(super) async fn check(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<CheckBody>, ApiError> {
    let contact = state.read(move |backend| backend.contact(&handle)).await?;
    Ok(Json(CheckBody {
        is_contact: contact.is_some(),
        added_at: contact
            .as_ref()
            .map(|contact| timestamp::display(contact.added_at)),
        notes: contact.and_then(|contact| contact.notes),
    }))
}

/// Body of `PATCH /v1/contacts/{handle}`.
#[derive(Debug, ToSchema)]
#[schema(as = ContactNotes)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct NotesBody {
    /// At most 1,000 characters; null takes them away.
    #[schema(required)]
    notes: Option<String>,
}

/// Note something about a contact. It is sealed in this proxy's state and sent to nobody.
#[utoipa::path(
    patch,
    path = "/v1/contacts/{handle}",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    request_body = NotesBody,
    responses(
        (status = 200, description = "Noted", body = OkBody),
        (status = 404, description = "AGENT_NOT_FOUND: no contact", body = ErrorBody),
    ),
)]
pub(super) async fn note(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
    body: JsonBody,
) -> Result<Json<OkBody>, ApiError> {
    let fields = body.fields()?;
    if !fields.has("notes") {
        return Err(ApiError::invalid(&["notes"], "required"));
    }
    let notes = fields.string("notes")?;
    let length = notes.as_ref().map_or(0, |notes| notes.chars().count());
    if length > NOTES {
        return Err(ApiError::limit(&["notes"], "notes", NOTES, Some(length)));
    }
    state.ask_contacts(ContactCommand::Note(handle, notes)).await?;
    Ok(Json(OkBody { ok: true }))
}

/// Hold an agent as a contact no longer. Where strangers wait, it is one again.
#[utoipa::path(
    delete,
    path = "/v1/contacts/{handle}",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "No contact, now or before", body = OkBody),
        (status = 404, description = "AGENT_NOT_FOUND: a name that no agent can have", body = ErrorBody),
    ),
)]
pub(super) async fn remove(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<OkBody>, ApiError> {
    state.ask_contacts(ContactCommand::Remove(handle)).await?;
    Ok(Json(OkBody { ok: true }))
}

/// Block an agent: nothing direct passes in either direction, and neither invites the other.
#[utoipa::path(
    post,
    path = "/v1/contacts/{handle}/block",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    responses(
        (status = 200, description = "Blocked, now or before", body = DeclaredBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "FINGERPRINT_MISMATCH or RELAY_MISBEHAVED", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn block(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
) -> Result<Json<DeclaredBody>, ApiError> {
    declare(&state, ContactCommand::Block(address)).await
}

/// Lift a block: the agent is trusted as before.
#[utoipa::path(
    delete,
    path = "/v1/contacts/{handle}/block",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "Not blocked, now or before", body = DeclaredBody),
        (status = 404, description = "AGENT_NOT_FOUND: a name that no agent can have", body = ErrorBody),
    ),
)]
pub(super) async fn unblock(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<DeclaredBody>, ApiError> {
    declare(&state, ContactCommand::Unblock(handle)).await
}

/// Body of `POST /v1/contacts/{handle}/report`.
#[derive(Debug, ToSchema)]
#[schema(as = Report)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct ReportBody {
    /// For nobody: there is no authority that reads.
    reason: Option<String>,
}

/// Block an agent. There is nobody to report to: what this agent says of another is not passed on.
#[utoipa::path(
    post,
    path = "/v1/contacts/{handle}/report",
    tag = "contacts",
    params(("handle" = String, Path, description = "Handle, with or without @ and #fingerprint")),
    request_body = Option<ReportBody>,
    responses(
        (status = 200, description = "Blocked, now or before", body = DeclaredBody),
        (status = 404, description = "AGENT_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "FINGERPRINT_MISMATCH or RELAY_MISBEHAVED", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn report(
    State(state): State<ApiState>,
    AgentPath(address): AgentPath,
    request: Request,
) -> Result<Json<DeclaredBody>, ApiError> {
    if !axum::body::HttpBody::is_end_stream(request.body()) {
        JsonBody::from_request(request, &state)
            .await?
            .fields()?
            .string("reason")?;
    }
    declare(&state, ContactCommand::Block(address)).await
}

async fn declare(state: &ApiState, command: ContactCommand) -> Result<Json<DeclaredBody>, ApiError> {
    match state.ask_contacts(command).await? {
        Reply::Declared(relay_informed) => Ok(Json(DeclaredBody {
            ok: true,
            relay_informed,
        })),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "contacts_tests.rs"]
mod tests;
