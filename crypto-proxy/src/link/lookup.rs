//! Looks bundles up over HTTP, several at a time, whether the socket is up or not.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use waxwire_shared::{api::rest::BundleAnswer, ids::Handle};

use super::{
    Reports,
    http::{CallError, Client},
};
use crate::engine::{LinkEvent, LookupError};

/// Lookups at a time.
const LOOKUPS: usize = 8;
/// How long a lookup waits for the first check of the relay's identity.
const FIRST_CHECK: Duration = Duration::from_secs(10);

/// What is known of who answers at the relay's address. Lookups carry the API key and say whom the
/// agent is about to write to, so they go to the pinned relay only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The first check is under way.
    Unchecked,
    /// The last check that had a result found the pinned relay.
    Pinned,
    /// It could not be checked yet, or another relay answers.
    Doubtful,
}

/// Answers every handle with a [`LinkEvent::Bundle`]; ends with the queue.
pub(super) async fn run(
    client: &Client,
    standing: watch::Receiver<Standing>,
    mut handles: mpsc::UnboundedReceiver<Handle>,
    engine: &impl Reports,
) {
    stream::poll_fn(|cx| handles.poll_recv(cx))
        .for_each_concurrent(LOOKUPS, |handle| {
            let standing = standing.clone();
            async move {
                let answer = look_up(client, standing, &handle).await;
                engine.report(LinkEvent::Bundle(handle, answer)).await;
            }
        })
        .await;
}

async fn look_up(
    client: &Client,
    mut standing: watch::Receiver<Standing>,
    handle: &Handle,
) -> Result<BundleAnswer, LookupError> {
    let check = standing.wait_for(|now| *now != Standing::Unchecked);
    let found = timeout(FIRST_CHECK, check)
        .await
        .map(|checked| checked.map(|now| *now));
    if !matches!(found, Ok(Ok(Standing::Pinned))) {
        return Err(LookupError::Unreachable);
    }
    client.bundle(handle).await.map_err(|error| match error {
        CallError::Problem(problem) if problem.status == 404 => LookupError::NotFound,
        CallError::Problem(problem) => LookupError::Refused(problem),
        CallError::Unreachable | CallError::Malformed => LookupError::Unreachable,
    })
}
