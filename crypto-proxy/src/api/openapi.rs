//! `openapi.json`, made from the handlers.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi,
    openapi::{
        self, Components, Content, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    router,
};

const TOKEN: &str = "token";
/// What any route can answer, whatever it does.
const ALWAYS: [(&str, &str); 4] = [
    (
        "400",
        "VALIDATION_ERROR: the request is not as it has to be; `details.issues` says where",
    ),
    (
        "403",
        "FORBIDDEN: a foreign Host or Origin, or not allowed; BLOCKED; SUSPENDED; NOT_ADMIN; GROUP_FULL; ATTACHMENT_QUOTA",
    ),
    ("500", "INTERNAL_ERROR: a fault of the proxy"),
    (
        "503",
        "RELAY_UNREACHABLE, EPOCH_PENDING, STORAGE_UNAVAILABLE, ATTACHMENT_SPACE, STOPPING or TIMEOUT, with Retry-After",
    ),
];
const WITH_TOKEN: (&str, &str) = ("401", "UNAUTHORIZED: the bearer token is missing or wrong");
const WITH_BODY: (&str, &str) = ("408", "REQUEST_TIMEOUT: the body did not arrive in time");
const OTHER_METHOD: (&str, &str) = ("405", "METHOD_NOT_ALLOWED: this route has other methods");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waxwire proxy, local API",
        description = "Plaintext REST on localhost for the agent beside the proxy. End-to-end encryption, verification and the replacement of keys happen behind it.",
    ),
    tags(
        (name = "messages", description = "Send and read messages"),
        (name = "delivery", description = "What is not settled yet"),
        (name = "live", description = "What happens, as it happens"),
        (name = "conversations", description = "Who is talked with"),
        (name = "groups", description = "Groups, their members and invites"),
        (name = "channels", description = "Groups that are found by a name"),
        (name = "agents", description = "This agent, its peers and their identities"),
        (name = "presence", description = "Who is there"),
        (name = "contacts", description = "Whom this agent knows, and whom it shuts out"),
        (name = "attachments", description = "Files beside messages"),
        (name = "mutes", description = "What is not pushed"),
        (name = "requests", description = "Strangers who wait to be let in"),
        (name = "inbox", description = "For those who poll"),
        (name = "webhooks", description = "Whom to call on this host when something happens"),
        (name = "operation", description = "Health, metrics, alerts, this document"),
    ),
    components(schemas(ErrorBody)),
)]
struct Document;

/// The document's text.
pub(super) fn text() -> String {
    finish(router::describe(base()))
}

/// The document without its routes.
fn base() -> openapi::OpenApi {
    let mut document = Document::openapi();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(TOKEN, token);
    document.security = Some(vec![SecurityRequirement::new(TOKEN, [""; 0])]);
    document
}

/// Adds what all routes have in common; gives the document's text.
fn finish(mut document: openapi::OpenApi) -> String {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let open = operation.security.is_some();
            let body = operation.request_body.is_some();
            let common = ALWAYS
                .into_iter()
                .chain([OTHER_METHOD])
                .chain((!open).then_some(WITH_TOKEN))
                .chain(body.then_some(WITH_BODY));
            for (status, description) in common {
                let responses: &mut BTreeMap<_, _> = &mut operation.responses.responses;
                responses
                    .entry(status.to_owned())
                    .or_insert_with(|| error_response(description));
            }
        }
    }
    // A document of maps and texts always has a JSON form.
    document.to_json().unwrap_or_default()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

fn error_response(description: &str) -> RefOr<openapi::Response> {
    let content = Content::new(Some(Ref::from_schema_name("Error")));
    RefOr::T(
        ResponseBuilder::new()
            .description(description)
            .content("application/json", content)
            .build(),
    )
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn document(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let text = tokio::task::spawn_blocking(move || state.openapi().clone()).await;
    let text = text.map_err(|_| ApiError::internal())?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
