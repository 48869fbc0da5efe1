//! Tasks that run beside the requests: following changes of credentials, presence, retention, wake-ups, the transparency
//! log.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use waxwire_outbound::hook::{Caller, SystemResolver};

use crate::{
    blobs::ChangeError,
    delivery::Closing,
    hooks,
    logging::{self, Course},
    nodes,
    relay::Relay,
    store::{AgentRecord, AuthEvent, Duty, ReadError, Retention, RetentionCursor},
    transparency,
};

/// Between looks for changes that another process made.
const FOLLOW: Duration = Duration::from_secs(1);
/// Between passes of retention.
const RETENTION_PASS: Duration = Duration::from_secs(3_600);
/// Between steps of a pass, so that it never competes with sends.
const RETENTION_STEP: Duration = Duration::from_millis(50);
/// How long idempotency keys are kept.
const KEEP_SENT_MS: u64 = 35 * 24 * 3_600 * 1_000;
/// How long acknowledged envelopes are kept.
const KEEP_ENVELOPES_MS: u64 = 30 * DAY_MS;
/// How long an upload may take from its beginning.
const KEEP_UNFINISHED_MS: u64 = DAY_MS;
/// Attachments that are looked at in a step.
const BLOBS: usize = 50;
/// After so many in a row whose bytes cannot be deleted, it is not for them.
const FAULTS: usize = 10;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Starts the tasks; they end when the relay stops.
pub fn start(relay: &Arc<Relay>) {
    tokio::spawn(follow_auth_events(Arc::clone(relay)));
    tokio::spawn(Arc::clone(&relay.delivery).follow_presence());
    tokio::spawn(retain(Arc::clone(relay)));
    if let Some(nodes) = &relay.delivery.nodes {
        tokio::spawn(nodes::run(Arc::clone(nodes), Arc::clone(relay)));
    }
    if let Some(log) = relay.transparency {
        tokio::spawn(transparency::follow(Arc::clone(relay), log));
    }
    let caller = Caller::new(
        concat!("waxwire-relay/", env!("CARGO_PKG_VERSION")),
        Arc::clone(&relay.hook_rules) as Arc<_>,
        SystemResolver,
    );
    tokio::spawn(hooks::follow(Arc::clone(&relay.delivery), caller));
}

/// Whether the relay still serves after `pause`.
pub(crate) async fn rest(shutdown: &CancellationToken, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = shutdown.cancelled() => false,
    }
}

async fn follow_auth_events(relay: Arc<Relay>) {
    let (mut last, mut course) = (None, Course::default());
    loop {
        let step = auth_step(&relay, &mut last).await;
        relay.delivery.metrics.database_up.set(u64::from(step.is_ok()));
        match step {
            Ok(()) => {
                relay.auth.up_to_date();
                if course.turns(true) {
                    tracing::info!("follows changes of credentials again");
                }
            }
            Err(error) if course.turns(false) => {
                tracing::error!(error = %logging::chain(&error), "cannot follow changes of credentials")
            }
            Err(_) => {}
        }
        if !rest(&relay.delivery.shutdown, FOLLOW).await {
            return;
        }
    }
}

/// Forgets the keys of agents that changed and ends the sockets that came with a key that is not valid any more.
async fn auth_step(relay: &Relay, last: &mut Option<u64>) -> Result<(), ReadError> {
    let store = &relay.delivery.store;
    let Some(after) = *last else {
        // Nothing is remembered from before the start.
        let newest = store.auth_events(None).await?;
        *last = Some(newest.first().map_or(0, |event| event.number));
        return Ok(());
    };
    let mut is_news = false;
    for AuthEvent { number, agent } in store.auth_events(Some(after)).await? {
        relay.auth.forget(agent);
        is_news = true;
        let record = store.agent(agent).await?;
        let hub = &relay.delivery.hub;
        match record {
            Some(record) if record.suspended_at.is_some() => hub.close_agent(agent, Closing::Suspended),
            // Another node may have given it, and knows only of its own sockets.
            Some(AgentRecord {
                api_key: Some(key), ..
            }) => hub.close_other_keys(agent, &key),
            _ => hub.close_agent(agent, Closing::KeyReplaced),
        }
        *last = Some(number);
    }
    if is_news {
        // A writer that cannot write forgets everything by itself.
        let _told = store.forget_agents().await;
    }
    Ok(())
}

async fn retain(relay: Arc<Relay>) {
    let shutdown = &relay.delivery.shutdown;
    while rest(shutdown, RETENTION_STEP).await {
        // A store that does not answer is asked again at the next pass.
        if relay.delivery.store.has_duty(Duty::Retention).await == Ok(true) {
            let now = retain_once(&relay).await;
            expire_blobs(&relay, now).await;
        }
        carry_blobs(&relay).await;
        if !rest(shutdown, RETENTION_PASS).await {
            return;
        }
    }
}

/// One pass; gives when it ended.
async fn retain_once(relay: &Relay) -> u64 {
    let mut cursor = RetentionCursor::default();
    loop {
        let now = relay.delivery.clock.now_ms();
        let policy = Retention {
            sent_before: now.saturating_sub(KEEP_SENT_MS),
            envelopes_before: now.saturating_sub(KEEP_ENVELOPES_MS),
            now,
        };
        let done = match relay.delivery.store.retain(&mut cursor, &policy).await {
            Ok(step) => {
                relay.delivery.metrics.retained_away.add(step.deleted as u64);
                step.done
            }
            Err(error) => {
                tracing::warn!(error = %logging::chain(&error), "retention stopped for now");
                true
            }
        };
        if done || !rest(&relay.delivery.shutdown, RETENTION_STEP).await {
            return now;
        }
    }
}

/// Deletes attachments that are too old: the file first, so that a crash leaves a row to find it by. Those that cannot be
/// deleted now are passed over, so that none keeps the others.
pub(crate) async fn expire_blobs(relay: &Relay, now: u64) {
    let keep = match relay.limits.blob_days {
        0 => u64::MAX,
        days => days.saturating_mul(DAY_MS),
    };
    let before = now.saturating_sub(keep);
    let unfinished = now.saturating_sub(KEEP_UNFINISHED_MS);
    let store = &relay.delivery.store;
    let (mut after, mut faults) = (None, 0);
    while rest(&relay.delivery.shutdown, RETENTION_STEP).await {
        let expired = match store.expired_blobs(before, unfinished, after, BLOBS).await {
            Ok(expired) => expired,
            Err(error) => {
                return tracing::warn!(error = %logging::chain(&error), "attachments cannot be looked at");
            }
        };
        let mut deleted = 0;
        for id in &expired {
            match relay.blobs.delete(id).await {
                Ok(()) => (deleted, faults) = (deleted + 1, 0),
                // Somebody appends to it; the next pass finds it again.
                Err(ChangeError::Busy) => continue,
                Err(ChangeError::Io(error)) => {
                    tracing::warn!(%error, "an attachment's bytes cannot be deleted");
                    faults += 1;
                    if faults == FAULTS {
                        return;
                    }
                    continue;
                }
            }
            if let Err(error) = store.delete_blob(*id).await {
                return tracing::warn!(error = %logging::chain(&error), "an attachment cannot be forgotten");
            }
        }
        relay.delivery.metrics.retained_away.add(deleted);
        if expired.len() < BLOBS {
            return;
        }
        after = expired.last().copied();
    }
}

/// Takes complete attachments that lie in the folder to the bucket, if there is one, and deletes what another relay on the
/// database has forgotten.
pub(crate) async fn carry_blobs(relay: &Relay) {
    let lingering = match relay.blobs.lingering().await {
        Ok(lingering) => lingering,
        Err(error) => return tracing::warn!(%error, "the folder of attachments cannot be read"),
    };
    for id in lingering {
        let record = match relay.delivery.store.blob(&id).await {
            Ok(record) => record,
            Err(error) => {
                return tracing::warn!(error = %logging::chain(&error), "attachments cannot be looked at");
            }
        };
        if record.is_some_and(|record| !record.complete) {
            continue;
        }
        if !rest(&relay.delivery.shutdown, RETENTION_STEP).await {
            return;
        }
        let settled = match record {
            Some(record) => relay.blobs.carry(&id, record.length).await,
            None => relay.blobs.delete(&id).await,
        };
        match settled {
            Ok(()) | Err(ChangeError::Busy) => {}
            Err(ChangeError::Io(error)) => {
                return tracing::warn!(%error, "an attachment cannot be taken to the bucket or deleted");
            }
        }
    }
}
