//! Counters of the local API as Prometheus text. Labels are routes, statuses and codes, never who.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::{ApiState, error::ApiError};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Methods that are counted under their own name; a caller may invent others without end.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Route, then method and status: bounded by the program, not by its callers.
    requests: BTreeMap<String, BTreeMap<(&'static str, u16), u64>>,
    refusals: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// Counts one answer; `route` is a pattern, `None` for a path that has none.
    pub(super) fn count(&self, method: &str, route: Option<&str>, status: u16, code: Option<&'static str>) {
        let method = METHODS
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let route = route.unwrap_or("none");
        let mut counts = self.lock();
        if let Some(of_route) = counts.requests.get_mut(route) {
            *of_route.entry((method, status)).or_default() += 1;
        } else {
            counts
                .requests
                .insert(route.to_owned(), BTreeMap::from([((method, status), 1)]));
        }
        if let Some(code) = code {
            *counts.refusals.entry(code).or_default() += 1;
        }
    }

    fn render(&self) -> String {
        let counts = self.lock();
        let mut out = String::from(
            "# HELP waxwire_proxy_http_requests_total Requests answered.\n\
             # TYPE waxwire_proxy_http_requests_total counter\n",
        );
        for (route, of_route) in &counts.requests {
            for ((method, status), count) in of_route {
                // Writing into a string does not fail.
                let _ok = writeln!(
                    out,
                    "waxwire_proxy_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
                );
            }
        }
        out.push_str(
            "# HELP waxwire_proxy_refusals_total Answers with an error code.\n\
             # TYPE waxwire_proxy_refusals_total counter\n",
        );
        for (code, count) in &counts.refusals {
            let _ok = writeln!(out, "waxwire_proxy_refusals_total{{code=\"{code}\"}} {count}");
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters of this proxy as Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "Prometheus text format, without identities", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let mut text = state.metrics().render();
    let checks = state.checks().await;
    text.push_str(
        "# HELP waxwire_proxy_ready Whether a check of readiness holds.\n# TYPE waxwire_proxy_ready gauge\n",
    );
    for (name, holds) in checks.named() {
        let _ok = writeln!(
            text,
            "waxwire_proxy_ready{{check=\"{name}\"}} {}",
            u8::from(holds)
        );
    }
    text.push_str(&state.own_metrics().await?);
    Ok(([(CONTENT_TYPE, TEXT)], text).into_response())
}
