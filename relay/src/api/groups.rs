//! `POST /v1/groups`, `POST /v1/groups/{group}/commits` and
//! `GET /v1/groups/{group}/epochs/{epoch}/leaves/{index}`.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use waxwire_shared::{
    api::{append::APPEND, problem::ProblemType, rest::AppendAnswer},
    ids::GroupId,
};

use super::{
    ApiError,
    extract::{Authenticated, announced_length, json, octets},
};
use crate::{
    groups::{AppendRefusal, Busy, JudgeError, LeafRefusal, ReplayError, SMALL, TooOften, TreeError},
    logging,
    relay::Relay,
    store::Account,
};

/// Seconds after which there may be room for a large body.
const RETRY: u64 = 5;

/// Makes a group of its first commit. Answers an [`AppendAnswer`]: 201, or 200 if it exists.
pub(super) async fn create(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    request: Request,
) -> Result<Response, ApiError> {
    take(&relay, account, None, request).await
}

/// Appends a commit. Answers an [`AppendAnswer`]: 201, or 200 if it is in the log already.
pub(super) async fn append(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(group): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let group = group.parse().map_err(|_| ApiError::new(ProblemType::NotFound))?;
    take(&relay, account, Some(group), request).await
}

async fn take(
    relay: &Arc<Relay>,
    account: Account,
    group: Option<GroupId>,
    request: Request,
) -> Result<Response, ApiError> {
    let is_small = announced_length(request.headers()).is_some_and(|length| length <= SMALL);
    let upload = if is_small {
        None
    } else {
        Some(relay.groups.uploads.admit(account.agent).await?)
    };
    let body = octets(request, APPEND).await?;
    let groups = Arc::clone(&relay.groups);
    // An agent that hangs up does not undo what was judged.
    let append = relay.tasks.spawn(async move {
        let appended = groups.append(&account, group.as_ref(), &body).await;
        drop(upload);
        appended
    });
    let accepted = append.await.map_err(|_| AppendRefusal::Interrupted)??;
    let status = if accepted.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = AppendAnswer {
        group_id: accepted.group,
        position: accepted.position,
        hash: accepted.hash,
    };
    Ok(json(status, &answer))
}

/// Answers an encoded [`LeafProof`](waxwire_shared::wire::LeafProof).
pub(super) async fn leaf(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path((group, epoch, index)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(ProblemType::NotFound);
    let group: GroupId = group.parse().map_err(|_| unknown())?;
    let epoch: u64 = epoch.parse().map_err(|_| unknown())?;
    let index: usize = index.parse().map_err(|_| unknown())?;
    let proof = relay.groups.leaf(account.agent, &group, epoch, index).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], proof).into_response())
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::Agent { max, actual } => Self::new(ProblemType::RateLimited)
                .limit("uploads", max, actual)
                .retry_after(RETRY),
            Busy::All => Self::new(ProblemType::Unavailable).retry_after(RETRY),
        }
    }
}

impl From<AppendRefusal> for ApiError {
    fn from(refusal: AppendRefusal) -> Self {
        match refusal {
            AppendRefusal::Body(error) => Self::bad_request(error.to_string()),
            AppendRefusal::TooLarge { what, max, actual } => {
                Self::new(ProblemType::TooLarge).limit(what, max as u64, actual as u64)
            }
            AppendRefusal::Signed(error) => invalid(&error),
            AppendRefusal::Foreign | AppendRefusal::Handle => {
                Self::new(ProblemType::Forbidden).detail(refusal.to_string())
            }
            AppendRefusal::NotFound => Self::new(ProblemType::NotFound),
            AppendRefusal::Conflict => Self::new(ProblemType::HeadConflict),
            AppendRefusal::Blocked => Self::new(ProblemType::Blocked).detail(refusal.to_string()),
            AppendRefusal::SlugTaken => Self::new(ProblemType::SlugTaken).detail(refusal.to_string()),
            AppendRefusal::Gone => Self::new(ProblemType::Gone).detail(refusal.to_string()),
            AppendRefusal::Judge(JudgeError::Members { max, actual }) => {
                Self::new(ProblemType::Forbidden).limit("group_members", max, actual)
            }
            AppendRefusal::Groups { max, actual } => {
                Self::new(ProblemType::Forbidden).limit("groups", max, actual)
            }
            AppendRefusal::Judge(error) => invalid(&error),
            AppendRefusal::TooOften(TooOften {
                quota,
                max,
                retry_after,
            }) => Self::new(ProblemType::RateLimited)
                .limit(quota, max, max)
                .retry_after(retry_after),
            AppendRefusal::Replay(ReplayError::Read(error)) | AppendRefusal::Read(error) => error.into(),
            AppendRefusal::Write(error) => error.into(),
            AppendRefusal::Replay(ReplayError::Interrupted) | AppendRefusal::Interrupted => {
                Self::new(ProblemType::Unavailable).retry_after(1)
            }
            AppendRefusal::Replay(error) => Self::fault(ProblemType::Internal, &error),
        }
    }
}

impl From<LeafRefusal> for ApiError {
    fn from(refusal: LeafRefusal) -> Self {
        match refusal {
            LeafRefusal::NotFound => Self::new(ProblemType::NotFound),
            LeafRefusal::Read(error) | LeafRefusal::Tree(TreeError::Read(error)) => error.into(),
            LeafRefusal::Tree(error) => Self::fault(ProblemType::Internal, &error),
        }
    }
}

fn invalid(error: &(dyn std::error::Error + 'static)) -> ApiError {
    ApiError::new(ProblemType::InvalidObject).detail(logging::chain(error).to_string())
}
