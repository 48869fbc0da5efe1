//! What the senders of webhooks take from the local API: what is to be told and in which form, what is on
//! its way by a socket, and whom to report to.

use tokio::sync::broadcast;

use super::{ApiState, live, timestamp};
use crate::{
    engine::{Command, Notice, WebhookCommand},
    model::{DeliveryId, HookCall, HookData, UnixMs, Webhook, WebhookId},
};

/// The engine or the state does not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// What webhooks are told of a notice that is no message: the payload of the socket's frame.
#[must_use]
pub fn hook_form(notice: &Notice) -> Option<String> {
    live::other_payload(notice)
}

/// A time as the local API writes it.
pub(crate) fn hook_timestamp(at: UnixMs) -> String {
    timestamp::display(at)
}

impl ApiState {
    /// Every notice; one that concerns a webhook shows that something may wait for it.
    pub(crate) fn hook_notices(&self) -> broadcast::Receiver<Notice> {
        self.backend().notices()
    }

    /// Waits until the agent has changed something about webhooks.
    pub(crate) async fn webhooks_changed(&self) {
        self.0.webhooks_changed.notified().await;
    }

    /// Says that the agent has changed something about webhooks.
    pub(super) fn change_webhooks(&self) {
        self.0.webhooks_changed.notify_one();
    }

    /// Every webhook.
    pub(crate) async fn all_webhooks(&self) -> Result<Vec<Webhook>, Unavailable> {
        let read = self.read(|backend| backend.webhooks()).await;
        read.map_err(|_| Unavailable)
    }

    /// What a webhook is to be told next.
    pub(crate) async fn next_hook_call(&self, id: WebhookId) -> Result<Option<HookCall>, Unavailable> {
        let read = self.read(move |backend| backend.next_hook_call(&id)).await;
        read.map_err(|_| Unavailable)
    }

    /// What a call says under `data`; nothing if there is nothing to be said any more.
    pub(crate) fn hook_payload(&self, data: &HookData) -> Option<String> {
        match data {
            HookData::Message(message) => Some(live::message_payload(message, self.me().handle.as_str())),
            HookData::Json(json) => Some(json.as_str().to_owned()),
            HookData::Gone => None,
        }
    }

    /// Whether a success settles a delivery: not while a socket that acknowledges carries it.
    pub(crate) fn hook_settles(&self, delivery: DeliveryId) -> bool {
        let free = self.live().leases().free();
        free.iter().any(|places| places.contains(&delivery.position))
    }

    /// Tells the engine what became of a call.
    pub(crate) async fn report_hook(&self, report: WebhookCommand) -> Result<(), Unavailable> {
        let told = self.ask(Command::Webhook(report)).await;
        told.map(drop).map_err(|_| Unavailable)
    }
}
