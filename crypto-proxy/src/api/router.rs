//! All routes of the local API, and the layers around them.

use axum::{Router, http::StatusCode, middleware::from_fn_with_state, routing::get};
use utoipa::openapi::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use super::{
    ApiState, agents, alerts, audit, broadcasts, channels, contacts, conversations, directory, downloads,
    error::ApiError, group_security, groups, guard::guard, health, history, inbox, invites, keys, live,
    members, messages, metrics, mutes, observe::observe, openapi, pins, presence, requests, sync, uploads,
    verify, webhooks,
};

/// The local API. Static routes win over parameters; every route, also one that does not exist,
/// lies behind the same checks.
pub fn router(state: ApiState) -> Router {
    routes(Handlers(Router::new()))
        .0
        // Where the base of a client's addresses ends in a slash.
        .route("//v1/ws", get(live::open))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// The document with all routes.
pub(super) fn describe(document: OpenApi) -> OpenApi {
    routes(OpenApiRouter::with_openapi(document)).into_openapi()
}

/// What is made of the routes.
trait Routes {
    fn routes(self, route: UtoipaMethodRouter<ApiState>) -> Self;
}

impl Routes for OpenApiRouter<ApiState> {
    fn routes(self, route: UtoipaMethodRouter<ApiState>) -> Self {
        Self::routes(self, route)
    }
}

/// The handlers alone. Descriptions of all routes at once would leave a heap of holes behind.
struct Handlers(Router<ApiState>);

impl Routes for Handlers {
    fn routes(self, (_, paths, methods): UtoipaMethodRouter<ApiState>) -> Self {
        let paths = paths.paths.keys();
        Self(paths.fold(self.0, |router, path| router.route(path, methods.clone())))
    }
}

fn routes<R: Routes>(all: R) -> R {
    all.routes(routes!(messages::send))
        .routes(routes!(history::history, messages::delete))
        .routes(routes!(messages::mark_read))
        .routes(routes!(broadcasts::send))
        .routes(routes!(sync::sync))
        .routes(routes!(sync::ack))
        .routes(routes!(live::open))
        .routes(routes!(live::ticket))
        .routes(routes!(live::events))
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::hide))
        .routes(routes!(conversations::participants))
        .routes(routes!(conversations::context))
        .routes(routes!(groups::create))
        .routes(routes!(groups::show, groups::update, groups::disband))
        .routes(routes!(members::add))
        .routes(routes!(members::remove))
        .routes(routes!(members::promote))
        .routes(routes!(members::demote))
        .routes(routes!(members::leave))
        .routes(routes!(group_security::show))
        .routes(routes!(group_security::rekey))
        .routes(routes!(group_security::set_confirmation))
        .routes(routes!(invites::list))
        .routes(routes!(invites::reject))
        .routes(routes!(invites::accept))
        .routes(routes!(channels::create, channels::list))
        .routes(routes!(channels::join))
        .routes(routes!(channels::send))
        .routes(routes!(agents::me))
        .routes(routes!(agents::profile, agents::update))
        .routes(routes!(agents::identity))
        .routes(routes!(agents::set_trust))
        .routes(routes!(verify::verify))
        .routes(routes!(pins::export, pins::import))
        .routes(routes!(keys::rotate))
        .routes(routes!(presence::get))
        .routes(routes!(presence::put))
        .routes(routes!(presence::batch))
        .routes(routes!(contacts::add, contacts::list))
        .routes(routes!(contacts::check, contacts::note, contacts::remove))
        .routes(routes!(contacts::block, contacts::unblock))
        .routes(routes!(contacts::report))
        .routes(routes!(mutes::mute, mutes::list))
        .routes(routes!(mutes::show_agent, mutes::unmute_agent))
        .routes(routes!(mutes::show_conversation, mutes::unmute_conversation))
        .routes(routes!(uploads::create))
        .routes(routes!(uploads::put))
        .routes(routes!(downloads::locate))
        .routes(routes!(downloads::fetch))
        .routes(routes!(directory::search))
        .routes(routes!(requests::list))
        .routes(routes!(requests::accept))
        .routes(routes!(requests::reject))
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::unread_count))
        .routes(routes!(webhooks::add, webhooks::list))
        .routes(routes!(webhooks::show, webhooks::remove))
        .routes(routes!(webhooks::dead_letters))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(alerts::list))
        .routes(routes!(audit::show, audit::start))
        .routes(routes!(audit::accept))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::document))
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "no such route")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "this route has other methods",
    )
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
