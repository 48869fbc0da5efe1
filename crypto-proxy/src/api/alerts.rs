//! What the agent or its operator should know.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::ApiError,
    request::{Query, page_size},
    timestamp,
};
use crate::model::{Alert, Severity};

const DEFAULT: usize = 100;
const CAP: usize = 500;

/// Which alerts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertsQuery {
    /// Only alerts after this one; all if absent.
    after: Option<u64>,
    /// Most alerts; 100 if absent, at most 500.
    limit: Option<u64>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertBody {
    /// Grows.
    id: u64,
    at: String,
    /// Stable name.
    r#type: String,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    /// One sentence.
    reason: String,
}

impl From<&Alert> for AlertBody {
    fn from(alert: &Alert) -> Self {
        Self {
            id: alert.id,
            at: timestamp::display(alert.at),
            r#type: alert.kind.clone(),
            severity: match alert.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            conversation_id: alert.conversation.map(|id| id.to_string()),
            peer: alert.peer.as_ref().map(ToString::to_string),
            reason: alert.reason.clone(),
        }
    }
}

/// Answer of `GET /v1/alerts`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertsBody {
    alerts: Vec<AlertBody>,
    /// The next `after`.
    next: u64,
}

/// Alerts, oldest first.
#[utoipa::path(
    get,
    path = "/v1/alerts",
    tag = "operation",
    params(AlertsQuery),
    responses((status = 200, description = "Alerts", body = AlertsBody)),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<AlertsBody>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let after = query.after.unwrap_or_default();
    let alerts = state.read(move |backend| backend.alerts(after, limit)).await?;
    let next = alerts.iter().map(|alert| alert.id).max().unwrap_or(after);
    Ok(Json(AlertsBody {
        alerts: alerts.iter().map(AlertBody::from).collect(),
        next,
    }))
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
