//! The relay's transparency log: what is known of it, and scans.

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;
use waxwire_shared::ids::Hash;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::JsonBody,
    timestamp,
};
use crate::{
    engine::{AuditCommand, Command, Reply},
    model::{Audit, AuditFailure, AuditedLeaf, LogEvidence, LogEvidenceKind, ShownHead},
    transparency::Verdict,
};

/// A signed head, condensed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogHead)]
pub(super) struct HeadBody {
    /// Names the log: 64 hexadecimal digits.
    log_id: String,
    /// Number of leaves.
    size: u64,
    /// When it was signed, by the relay's clock.
    signed_at: String,
}

/// A bundle under this agent's handle.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoggedBundle)]
pub(super) struct LeafBody {
    /// Its place in the log.
    index: u64,
    /// The bundle's number.
    number: u64,
    /// SHA-256 of the signed bundle: 64 hexadecimal digits.
    bundle: String,
}

/// Two heads that cannot be of one honest log, as the relay has signed them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogEvidence)]
pub(super) struct EvidenceBody {
    at: String,
    /// `fork` or `other_log`.
    r#type: &'static str,
    /// The one that was verified, base64url.
    first: String,
    /// The one that was shown, base64url.
    second: String,
}

/// What is known of the relay's transparency log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(super) struct AuditBody {
    /// Whether a scan is under way.
    running: bool,
    /// How many leaves were read.
    scanned: u64,
    /// How many the scan under way reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<u64>,
    /// The highest head that was verified; null if none was.
    head: Option<HeadBody>,
    /// When the last scan ended; null if there was none.
    finished_at: Option<String>,
    /// Why it did not compare all leaves; null if it did.
    failure: Option<&'static str>,
    /// How many bundles that this agent has signed are in the log.
    own_bundles: u64,
    /// Whether the bundle that this agent publishes is among them.
    current_bundle_logged: bool,
    /// Bundles under this agent's handle that it has not signed.
    rogue_bundles: Vec<LeafBody>,
    /// Bundles from times that this state knows nothing of.
    unaccounted_bundles: Vec<LeafBody>,
    /// A fork was found that nobody has acknowledged.
    forked: bool,
    /// Another log that waits to be acknowledged.
    other_log: Option<HeadBody>,
    /// Proof of what the relay has signed.
    evidence: Vec<EvidenceBody>,
}

/// Body of `POST /v1/audit/accept`.
#[derive(Debug, ToSchema)]
#[schema(as = AcceptedLog)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct AcceptBody {
    /// The log: 64 hexadecimal digits.
    log_id: String,
}

impl From<ShownHead> for HeadBody {
    fn from(head: ShownHead) -> Self {
        Self {
            log_id: head.log.to_string(),
            size: head.size,
            signed_at: timestamp::display(head.time),
        }
    }
}

impl From<&AuditedLeaf> for LeafBody {
    fn from(audited: &AuditedLeaf) -> Self {
        Self {
            index: audited.place,
            number: audited.leaf.number,
            bundle: audited.leaf.bundle.to_string(),
        }
    }
}

impl From<&LogEvidence> for EvidenceBody {
    fn from(evidence: &LogEvidence) -> Self {
        Self {
            at: timestamp::display(evidence.at),
            r#type: match evidence.kind {
                LogEvidenceKind::Fork => "fork",
                LogEvidenceKind::OtherLog => "other_log",
            },
            first: URL_SAFE_NO_PAD.encode(&evidence.first),
            second: URL_SAFE_NO_PAD.encode(&evidence.second),
        }
    }
}

impl From<Audit> for AuditBody {
    fn from(audit: Audit) -> Self {
        let of = |verdict| audit.own.iter().filter(move |leaf| leaf.verdict == verdict);
        let (finished_at, failure) = audit.finished.unzip();
        Self {
            running: audit.running,
            scanned: audit.scanned,
            target: audit.target,
            own_bundles: of(Verdict::Own).count() as u64,
            rogue_bundles: of(Verdict::Rogue).map(LeafBody::from).collect(),
            unaccounted_bundles: of(Verdict::Unaccounted).map(LeafBody::from).collect(),
            head: audit.head.map(HeadBody::from),
            finished_at: finished_at.map(timestamp::display),
            failure: failure.flatten().map(AuditFailure::name),
            current_bundle_logged: audit.current_logged,
            forked: audit.forked,
            other_log: audit.other.map(HeadBody::from),
            evidence: audit.evidence.iter().map(EvidenceBody::from).collect(),
        }
    }
}

async fn ask(state: &ApiState, command: AuditCommand) -> Result<Json<AuditBody>, ApiError> {
    match state.ask(Command::Audit(command)).await? {
        Reply::Audit(audit) => Ok(Json(AuditBody::from(*audit))),
        _ => Err(ApiError::internal()),
    }
}

/// What is known of the relay's transparency log, and what the last scan has found.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "operation",
    responses((status = 200, description = "What is known", body = AuditBody)),
)]
pub(super) async fn show(State(state): State<ApiState>) -> Result<Json<AuditBody>, ApiError> {
    ask(&state, AuditCommand::Show).await
}

/// Reads the log on to its newest head, in the background; one scan at a time.
#[utoipa::path(
    post,
    path = "/v1/audit",
    tag = "operation",
    responses((status = 200, description = "It is under way", body = AuditBody)),
)]
pub(super) async fn start(State(state): State<ApiState>) -> Result<Json<AuditBody>, ApiError> {
    ask(&state, AuditCommand::Start).await
}

/// Takes a log for right: another than before, or the one of which a fork was found. Everything about it is learned
/// anew; evidence stays.
#[utoipa::path(
    post,
    path = "/v1/audit/accept",
    tag = "operation",
    request_body = AcceptBody,
    responses(
        (status = 200, description = "What is known now", body = AuditBody),
        (status = 400, description = "No log of this id waits for a decision", body = ErrorBody),
    ),
)]
pub(super) async fn accept(
    State(state): State<ApiState>,
    json: JsonBody,
) -> Result<Json<AuditBody>, ApiError> {
    let log: Result<Hash, _> = json.fields()?.required("log_id")?.parse();
    let log = log.map_err(|_| ApiError::invalid(&["log_id"], "64 lower-case hexadecimal digits"))?;
    ask(&state, AuditCommand::Accept(log)).await
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
