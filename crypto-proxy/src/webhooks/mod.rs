//! Calls receivers on this host when something happens (docs/proxy-api.md, Webhooks).
//!
//! The engine queues what each webhook is to be told, in the transaction in which it happens. Here, one
//! task for each webhook takes the head of its queue, calls the receiver, and reports what became of it;
//! the engine decides when it is tried again. So a receiver that is slow or gone holds up its own queue
//! and nothing else, and what waits outlives this process.
//!
//! [`target`] says whom webhooks may call; a call itself is one of `waxwire_outbound`.

mod sender;
mod target;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{broadcast::error::RecvError, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use waxwire_outbound::hook::Caller;

pub use self::target::{Allowed, AllowedHost};
use crate::{api::ApiState, model::WebhookId};

/// Pause after the state could not be read or written.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until `cancel`. A call that is under way then is made again after the next start, under the same
/// delivery id.
pub async fn run(state: ApiState, caller: Caller, cancel: CancellationToken) {
    let caller = Arc::new(caller);
    let (wake, woken) = watch::channel(());
    let mut senders: HashMap<WebhookId, AbortOnDropHandle<()>> = HashMap::new();
    let mut notices = state.hook_notices();
    loop {
        let Ok(webhooks) = state.all_webhooks().await else {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => continue,
                () = cancel.cancelled() => return,
            }
        };
        senders.retain(|id, _| webhooks.iter().any(|webhook| webhook.id == *id));
        for webhook in webhooks {
            senders.entry(webhook.id).or_insert_with(|| {
                let sending = sender::run(state.clone(), Arc::clone(&caller), webhook, woken.clone());
                AbortOnDropHandle::new(tokio::spawn(sending))
            });
        }
        wake.send_replace(());
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        wake.send_replace(());
                    }
                    Err(RecvError::Closed) => return,
                },
                () = state.webhooks_changed() => break,
                () = cancel.cancelled() => return,
            }
        }
    }
}
