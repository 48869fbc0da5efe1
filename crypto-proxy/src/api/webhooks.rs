//! Webhooks: whom to call on this host when something happens, and what could not be told.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waxwire_outbound::hook::Rules as _;
use waxwire_shared::{hook::SECRET_LENGTHS, target::Target};

use super::{
    ApiState,
    contacts::OkBody,
    error::{ApiError, ErrorBody},
    request::{Fields, JsonBody, Query, page_offset, page_size},
    timestamp,
};
use crate::{
    engine::{Command, Reply, WebhookCommand},
    model::{DeadLetter, HookDeliveryId, HookEvent, HookSecret, NewWebhook, Refusal, Webhook, WebhookId},
};

/// Dead letters of a page.
const PAGE: usize = 50;
const PAGE_CAP: usize = 100;

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookConfig)]
pub(super) struct WebhookBody {
    id: String,
    url: String,
    events: Vec<&'static str>,
    /// Always true.
    active: bool,
    created_at: String,
    /// What signs the calls; in the answer to its registration only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Answer of `GET /v1/webhooks`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhooksBody {
    webhooks: Vec<WebhookBody>,
}

/// Something that a webhook could not be told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct DeadLetterBody {
    delivery_id: String,
    event: &'static str,
    /// The message that it is about; null for other events.
    message_id: Option<String>,
    /// How often it was tried.
    attempts: u32,
    /// Why the last attempt failed, such as `status 500` or `timeout`.
    reason: String,
    created_at: String,
    dead_at: String,
}

/// Answer of `GET /v1/webhooks/{id}/dead-letters`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLettersBody {
    dead_letters: Vec<DeadLetterBody>,
    total: u64,
    limit: u64,
    offset: u64,
}

fn body(webhook: &Webhook) -> WebhookBody {
    WebhookBody {
        id: webhook.id.to_string(),
        url: webhook.url.clone(),
        events: webhook.events.iter().map(|event| event.name()).collect(),
        active: true,
        created_at: timestamp::display(webhook.created_at),
        secret: None,
    }
}

fn dead_letter(letter: &DeadLetter) -> DeadLetterBody {
    DeadLetterBody {
        delivery_id: letter.delivery.to_string(),
        event: letter.event.name(),
        message_id: letter.message.map(|id| id.to_string()),
        attempts: letter.attempts,
        reason: letter.reason.clone(),
        created_at: timestamp::display(letter.created_at),
        dead_at: timestamp::display(letter.dead_at),
    }
}

/// The webhook that a path names.
#[derive(Debug)]
pub(super) struct WebhookPath(WebhookId);

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid(&["path"], "not one parameter"))?;
        text.parse()
            .map(Self)
            .map_err(|_| Refusal::WebhookNotFound.into())
    }
}

/// A dead letter of a webhook.
#[derive(Debug)]
pub(super) struct DeadLetterPath(WebhookId, HookDeliveryId);

impl<S: Send + Sync> FromRequestParts<S> for DeadLetterPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((webhook, delivery)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid(&["path"], "not two parameters"))?;
        let webhook = webhook.parse().map_err(|_| Refusal::WebhookNotFound)?;
        let delivery = delivery.parse().map_err(|_| Refusal::DeadLetterNotFound)?;
        Ok(Self(webhook, delivery))
    }
}

/// Body of `POST /v1/webhooks`.
#[derive(Debug, ToSchema)]
#[schema(as = NewWebhook)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct NewWebhookBody {
    /// `http` or `https`, on this host unless the operator allows another one.
    url: String,
    /// What to be called for: `message.new`, `message.read`, `presence.update`, `contact.blocked`,
    /// `group.invite.received`, `group.deleted`.
    events: Vec<String>,
    /// 16 to 256 bytes; made by the proxy if absent.
    secret: Option<String>,
}

/// Register a webhook. The answer shows its secret, once.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    tag = "webhooks",
    request_body = NewWebhookBody,
    responses(
        (status = 201, description = "Registered", body = WebhookBody),
        (status = 409, description = "TOO_MANY_WEBHOOKS", body = ErrorBody),
    ),
)]
pub(super) async fn add(
    State(state): State<ApiState>,
    json: JsonBody,
) -> Result<(StatusCode, Json<WebhookBody>), ApiError> {
    let fields = json.fields()?;
    let url = fields.required("url")?;
    let target = Target::parse(&url).map_err(|error| ApiError::invalid(&["url"], error.to_string()))?;
    if !state.0.config.webhook_hosts.permits(&target) {
        let message = "the host is not this one, and run --webhook-allow does not name it";
        return Err(ApiError::invalid(&["url"], message));
    }
    let new = NewWebhook {
        url,
        events: events(&fields)?,
        secret: secret(&fields)?,
    };
    match state
        .ask(Command::Webhook(WebhookCommand::Add(Box::new(new))))
        .await?
    {
        Reply::Webhook(webhook) => {
            state.change_webhooks();
            let mut body = body(&webhook);
            body.secret = Some(webhook.secret.expose_text().to_owned());
            Ok((StatusCode::CREATED, Json(body)))
        }
        _ => Err(ApiError::internal()),
    }
}

/// Each event once, in the order of the contract.
fn events(fields: &Fields<'_>) -> Result<Vec<HookEvent>, ApiError> {
    let path = &["events"];
    let raw = fields
        .raw("events")?
        .ok_or_else(|| ApiError::invalid(path, "required"))?;
    let names: Vec<String> =
        serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a list of strings"))?;
    if names.iter().any(|name| HookEvent::from_name(name).is_none()) {
        return Err(ApiError::invalid(path, "there is no such event"));
    }
    let mut events = HookEvent::ALL.to_vec();
    events.retain(|event| names.iter().any(|name| name == event.name()));
    if events.is_empty() {
        return Err(ApiError::invalid(path, "at least one"));
    }
    Ok(events)
}

fn secret(fields: &Fields<'_>) -> Result<Option<HookSecret>, ApiError> {
    let Some(text) = fields.string("secret")? else {
        return Ok(None);
    };
    if !SECRET_LENGTHS.contains(&text.len()) || text.chars().any(char::is_control) {
        let message = "16 to 256 bytes without control characters";
        return Err(ApiError::invalid(&["secret"], message));
    }
    Ok(Some(HookSecret::new(text)))
}

/// Every webhook.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "webhooks",
    responses((status = 200, description = "The webhooks", body = WebhooksBody)),
)]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<WebhooksBody>, ApiError> {
    let webhooks = state.read(|backend| backend.webhooks()).await?;
    Ok(Json(WebhooksBody {
        webhooks: webhooks.iter().map(body).collect(),
    }))
}

/// One webhook.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of a webhook")),
    responses(
        (status = 200, description = "The webhook", body = WebhookBody),
        (status = 404, description = "WEBHOOK_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    WebhookPath(id): WebhookPath,
) -> Result<Json<WebhookBody>, ApiError> {
    let webhooks = state.read(|backend| backend.webhooks()).await?;
    let found = webhooks.iter().find(|webhook| webhook.id == id);
    Ok(Json(body(found.ok_or(Refusal::WebhookNotFound)?)))
}

/// Remove a webhook with everything that waits for it.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of a webhook")),
    responses(
        (status = 200, description = "Removed", body = OkBody),
        (status = 404, description = "WEBHOOK_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn remove(
    State(state): State<ApiState>,
    WebhookPath(id): WebhookPath,
) -> Result<Json<OkBody>, ApiError> {
    state.ask(Command::Webhook(WebhookCommand::Remove(id))).await?;
    state.change_webhooks();
    Ok(Json(OkBody { ok: true }))
}

/// Which dead letters.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// At most 100; 50 if absent.
    limit: Option<u64>,
    /// How many of the oldest are left out.
    offset: Option<u64>,
}

/// What a webhook could not be told, oldest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/dead-letters",
    tag = "webhooks",
    params(("id" = String, Path, description = "Id of a webhook"), PageQuery),
    responses(
        (status = 200, description = "A page", body = DeadLettersBody),
        (status = 404, description = "WEBHOOK_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn dead_letters(
    State(state): State<ApiState>,
    WebhookPath(id): WebhookPath,
    Query(query): Query<PageQuery>,
) -> Result<Json<DeadLettersBody>, ApiError> {
    let limit = page_size(query.limit, PAGE, PAGE_CAP)?;
    let offset = page_offset(query.offset);
    let page = state
        .read(move |backend| backend.dead_letters(&id, limit, offset))
        .await?
        .ok_or(Refusal::WebhookNotFound)?;
    Ok(Json(DeadLettersBody {
        dead_letters: page.letters.iter().map(dead_letter).collect(),
        total: page.total,
        limit: limit as u64,
        offset: offset as u64,
    }))
}

/// Try a dead letter again, behind everything that waits and with the same delivery id.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/dead-letters/{delivery}/redeliver",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "Id of a webhook"),
        ("delivery" = String, Path, description = "Id of a delivery"),
    ),
    responses(
        (status = 200, description = "It is tried again", body = OkBody),
        (status = 404, description = "WEBHOOK_NOT_FOUND or DEAD_LETTER_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn redeliver(
    State(state): State<ApiState>,
    DeadLetterPath(id, delivery): DeadLetterPath,
) -> Result<Json<OkBody>, ApiError> {
    state
        .ask(Command::Webhook(WebhookCommand::Redeliver(id, delivery)))
        .await?;
    state.change_webhooks();
    Ok(Json(OkBody { ok: true }))
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
