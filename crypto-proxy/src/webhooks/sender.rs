//! Tells one webhook what waits for it, in order.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use tokio::sync::watch;
use waxwire_outbound::hook::{Caller, Post};
use waxwire_shared::hook;

use super::PAUSE;
use crate::{
    api::{ApiState, hook_timestamp},
    clock,
    engine::WebhookCommand,
    model::{HookCall, HookData, Webhook},
};

/// Longest time that the head of a queue is waited for at once: the longest step of the ladder. A clock
/// that was set back does not make it longer.
const WAIT: Duration = Duration::from_secs(16);

const SIGNATURE: HeaderName = HeaderName::from_static("x-agentchat-signature");
const EVENT: HeaderName = HeaderName::from_static("x-agentchat-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-agentchat-delivery");

/// Runs until it is dropped.
pub(super) async fn run(
    state: ApiState,
    caller: Arc<Caller>,
    webhook: Webhook,
    mut woken: watch::Receiver<()>,
) {
    let mut waited_for = None;
    loop {
        woken.borrow_and_update();
        let Ok(next) = state.next_hook_call(webhook.id).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(call) = next else {
            if woken.changed().await.is_err() {
                return;
            }
            continue;
        };
        let wait = Duration::from_millis(call.due_at.saturating_sub(clock::unix()));
        let this = (call.delivery, call.due_at);
        if !wait.is_zero() && waited_for != Some(this) {
            // What wakes others in between is behind this one.
            tokio::time::sleep(wait.min(WAIT)).await;
            waited_for = Some(this);
            continue;
        }
        let report = tell(&state, &caller, &webhook, &call).await;
        while state.report_hook(report.clone()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Makes a call; gives what to report of it.
async fn tell(state: &ApiState, caller: &Caller, webhook: &Webhook, call: &HookCall) -> WebhookCommand {
    let delivery = call.delivery;
    let Some(data) = state.hook_payload(&call.data) else {
        return WebhookCommand::Told {
            delivery,
            settles: false,
        };
    };
    let (event, time) = (call.event.name(), hook_timestamp(call.created_at));
    // Names and times need no escapes.
    let body = format!("{{\"event\":\"{event}\",\"timestamp\":\"{time}\",\"data\":{data}}}");
    let secret = webhook.secret.expose_text().as_bytes();
    let signature = hook::sign(secret, clock::unix() / 1_000, body.as_bytes());
    let post = Post {
        headers: vec![
            (SIGNATURE, signature),
            (EVENT, event.to_owned()),
            (DELIVERY, delivery.to_string()),
        ],
        body: body.into(),
    };
    let told = caller.call(&webhook.url, post).await;
    match told {
        Ok(()) => WebhookCommand::Told {
            delivery,
            settles: match &call.data {
                HookData::Message(message) => message.delivery.is_some_and(|of| state.hook_settles(of)),
                HookData::Json(_) | HookData::Gone => false,
            },
        },
        Err(fault) => {
            tracing::debug!(webhook = %webhook.id, delivery = %delivery, %fault, "a webhook was not told");
            WebhookCommand::Failed {
                delivery,
                reason: fault.to_string(),
            }
        }
    }
}
