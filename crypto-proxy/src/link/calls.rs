//! Carries the engine's questions to the relay over HTTP, several at a time, whether the socket is up
//! or not. Each is answered once.

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use waxwire_shared::api::problem::ProblemType;

use super::{
    Reports,
    http::{CallError, Client},
    lease::newer_lease,
};
use crate::engine::{AppendOutcome, LinkEvent, LogCall, LookupError, RelayCall};

/// Calls at a time.
const CALLS: usize = 8;

/// Makes the calls that `waiting` brings; ends when it is closed.
pub(super) async fn run(
    client: &Client,
    mut waiting: mpsc::UnboundedReceiver<RelayCall>,
    engine: &impl Reports,
) {
    stream::poll_fn(|cx| waiting.poll_recv(cx))
        .for_each_concurrent(CALLS, |call| async move {
            engine.report(carry_out(client, call).await).await;
        })
        .await;
}

async fn carry_out(client: &Client, call: RelayCall) -> LinkEvent {
    match call {
        RelayCall::Bundle(handle) => {
            let answer = client.bundle(&handle).await.map_err(failure);
            LinkEvent::Bundle(handle, answer)
        }
        RelayCall::Publish(bundle) => LinkEvent::Published(publish(client, bundle).await),
        RelayCall::Declare(declaration) => {
            let answer = client.declare(&declaration).await.map_err(failure);
            LinkEvent::Declared(declaration, answer)
        }
        RelayCall::Profile(request, handle) => {
            let answer = client.profile(&handle).await.map_err(failure);
            LinkEvent::Profile(request, handle, answer)
        }
        RelayCall::Directory {
            request,
            prefix,
            limit,
            offset,
        } => {
            let answer = client.directory(&prefix, limit, offset).await;
            LinkEvent::Directory(request, answer.map_err(failure))
        }
        RelayCall::Channel(request, joining) => {
            let answer = client.channel(&joining.slug).await.map_err(failure);
            LinkEvent::Channel(request, joining, answer)
        }
        RelayCall::Channels {
            request,
            after,
            limit,
        } => {
            let answer = client.channels(after.as_ref(), limit).await;
            LinkEvent::Channels(request, answer.map_err(failure))
        }
        RelayCall::Lease(lease) => {
            let answer = client.put_lease(lease.clone().into()).await;
            let newer = answer.as_ref().err().and_then(newer_lease);
            LinkEvent::Lease(newer.unwrap_or(lease))
        }
        RelayCall::Append {
            group,
            commit,
            first,
            body,
        } => {
            let path = if first { None } else { Some(&group) };
            let answer = client.append(path, body).await;
            LinkEvent::Appended(group, commit, appended(answer))
        }
        RelayCall::Log { group, after } => {
            let page = client.log(&group, after).await.map_err(failure);
            LinkEvent::Log(group, page)
        }
        RelayCall::Presences(id, handles) => {
            let answer = client.presences(handles).await.map_err(failure);
            LinkEvent::Presences(id, answer)
        }
        RelayCall::Leaf { group, epoch, index } => {
            let leaf = client.leaf(&group, epoch, index).await.map_err(failure);
            LinkEvent::Leaf(group, epoch, leaf)
        }
        RelayCall::Transparency(call) => {
            let answer = read_log(client, call).await.map_err(failure);
            LinkEvent::Transparency(call, answer)
        }
    }
}

async fn read_log(client: &Client, call: LogCall) -> Result<Vec<Vec<u8>>, CallError> {
    match call {
        LogCall::Head => Ok(vec![client.log_head().await?]),
        LogCall::Consistency { from, to } => Ok(vec![client.log_consistency(from, to).await?]),
        LogCall::Leaves { from, limit } => client.log_leaves(from, limit).await,
    }
}

async fn publish(client: &Client, bundle: Vec<u8>) -> Result<(), LookupError> {
    let answer = client.put_bundle(bundle.clone()).await.map_err(failure)?;
    // A relay that answers with another bundle did not take this one.
    if answer.bundle.0 == bundle {
        Ok(())
    } else {
        Err(LookupError::Unreachable)
    }
}

fn failure(error: CallError) -> LookupError {
    match error {
        CallError::Problem(problem) if problem.status == 404 => LookupError::NotFound,
        CallError::Problem(problem) => LookupError::Refused(problem),
        CallError::Unreachable
        | CallError::Untrusted(_)
        | CallError::Malformed
        | CallError::RelayChanged(_) => LookupError::Unreachable,
    }
}

/// What the relay claims to have stored is not believed here: the engine reads the log.
fn appended(answer: Result<(), CallError>) -> AppendOutcome {
    match answer {
        Ok(()) => AppendOutcome::Stored,
        Err(CallError::Problem(problem)) => match (problem.status, problem.problem_type()) {
            (409, Some(ProblemType::HeadConflict)) => AppendOutcome::Conflict,
            (400 | 403 | 404 | 409 | 410 | 413 | 429, _) => AppendOutcome::Refused(problem),
            _ => AppendOutcome::Unknown,
        },
        Err(_) => AppendOutcome::Unknown,
    }
}
