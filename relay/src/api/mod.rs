//! The relay's HTTP interface: one file a resource, docs/relay-api.md says what each answers.

mod acks;
mod admin;
mod agents;
#[cfg(test)]
mod agents_tests;
mod api_keys;
mod blobs;
#[cfg(test)]
mod blobs_tests;
mod bundles;
mod challenges;
mod channels;
#[cfg(test)]
mod channels_tests;
mod directory;
#[cfg(test)]
mod directory_tests;
mod envelopes;
mod error;
mod extract;
#[cfg(test)]
mod group_quotas_tests;
mod groups;
#[cfg(test)]
mod groups_tests;
mod health;
mod hooks;
#[cfg(test)]
mod hostile_tests;
mod leases;
#[cfg(test)]
mod leases_tests;
mod link;
mod presence;
#[cfg(test)]
mod presence_tests;
mod queues;
mod relations;
#[cfg(test)]
mod relations_tests;
mod relay_info;
mod service;
mod sight;
mod successions;
#[cfg(test)]
mod successions_tests;
mod transparency;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, patch, post, put},
};
pub use error::ApiError;
pub use service::{metrics_service, service};
use tower::util::MapRequestLayer;

use crate::relay::Relay;

/// Every route.
pub fn router(relay: Arc<Relay>) -> Router {
    let admin = relay.master_key.as_ref().map(|_| admin::router());
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/v1/relay", get(relay_info::get))
        .route("/v1/challenges", post(challenges::post))
        .route("/v1/agents", post(agents::register))
        .route("/v1/agents/api-key", post(api_keys::post))
        .route("/v1/agents/me", get(agents::me))
        .route("/v1/agents/me/bundle", put(bundles::put))
        .route("/v1/agents/me/profile", put(directory::put_profile))
        .route("/v1/agents/{handle}", get(directory::profile))
        .route("/v1/agents/me/lease", put(leases::put).get(leases::get))
        .route("/v1/agents/me/hook", put(hooks::put).delete(hooks::delete))
        .route("/v1/agents/{handle}/bundle", get(bundles::get))
        .route(
            "/v1/agents/{handle}/succession",
            get(successions::get).post(successions::post),
        )
        .route("/v1/directory", get(directory::search))
        .route(
            "/v1/contacts/{handle}",
            put(relations::put_contact).delete(relations::delete_contact),
        )
        .route(
            "/v1/blocks/{handle}",
            put(relations::put_block).delete(relations::delete_block),
        )
        .route("/v1/presence", post(presence::post))
        .route("/v1/envelopes", post(envelopes::post))
        .route("/v1/queues", get(queues::list))
        .route("/v1/queues/{queue}/envelopes", get(queues::envelopes))
        .route("/v1/acks", post(acks::post))
        .route("/v1/groups", post(groups::create))
        .route("/v1/groups/{group}/commits", post(groups::append))
        .route(
            "/v1/groups/{group}/epochs/{epoch}/leaves/{index}",
            get(groups::leaf),
        )
        .route("/v1/channels", get(channels::list))
        .route("/v1/channels/{slug}", get(channels::show))
        .route("/v1/log/head", get(transparency::head))
        .route("/v1/log/consistency", get(transparency::consistency))
        .route("/v1/log/leaves", get(transparency::leaves))
        .route("/v1/blobs", post(blobs::begin))
        .route(
            "/v1/blobs/{blob}",
            patch(blobs::append).get(blobs::fetch).delete(blobs::delete),
        )
        .route("/v1/link", get(link::get))
        .merge(admin.unwrap_or_default())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(MapRequestLayer::new(service::name_span))
        .with_state(relay)
}
