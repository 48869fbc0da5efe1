//! Looks bundles up over HTTP, several at a time, whether the socket is up or not.

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use waxwire_shared::ids::Handle;

use super::{
    Reports,
    http::{CallError, Client},
};
use crate::engine::{LinkEvent, LookupError};

/// Lookups at a time.
const LOOKUPS: usize = 8;

/// Answers every handle with a [`LinkEvent::Bundle`]; ends with the queue.
pub(super) async fn run(
    client: &Client,
    mut handles: mpsc::UnboundedReceiver<Handle>,
    engine: &impl Reports,
) {
    stream::poll_fn(|cx| handles.poll_recv(cx))
        .for_each_concurrent(LOOKUPS, |handle| async move {
            let answer = client.bundle(&handle).await.map_err(failure);
            engine.report(LinkEvent::Bundle(handle, answer)).await;
        })
        .await;
}

fn failure(error: CallError) -> LookupError {
    match error {
        CallError::Problem(problem) if problem.status == 404 => LookupError::NotFound,
        CallError::Problem(problem) => LookupError::Refused(problem),
        CallError::Unreachable | CallError::Malformed | CallError::RelayChanged(_) => {
            LookupError::Unreachable
        }
    }
}
