//! What webhooks are told: queued in the transaction in which it happens, tried from the head of the
//! queue, put off after a failure, and given up as a dead letter.
//!
//! The shell's senders (`crate::webhooks`) make the calls and report what became of them; a report names
//! the delivery, so one that comes late or twice changes nothing.

use rand_core::CryptoRng;

use super::{Count, Effect, Engine, Notice, Reply, WebhookCommand};
use crate::{
    model::{
        HookDeliveryId, HookEvent, HookSecret, MessageId, MuteTarget, NewWebhook, Refusal, UnixMs, Webhook,
        WebhookId,
    },
    state::{NewHookEvent, StateError, Subscriber},
};

/// Most webhooks of an agent.
const WEBHOOKS: usize = 5;
/// Milliseconds from each failed attempt to the next.
const LADDER_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];
/// Most dead letters of a webhook.
const DEAD: u64 = 10_000;

/// Whom to tell, as the state says; read again when needed.
#[derive(Debug, Default)]
pub(super) struct Hooks(Option<Vec<Subscriber>>);

/// What of a notice concerns webhooks.
fn event_of(notice: &Notice) -> Option<HookEvent> {
    match notice {
        Notice::Message(message) => {
            let inbound = !message.own && message.delivery.is_some();
            inbound.then_some(HookEvent::MessageNew)
        }
        Notice::Read(_) => Some(HookEvent::MessageRead),
        Notice::Presence(_) => Some(HookEvent::PresenceUpdate),
        Notice::Invited(_) => Some(HookEvent::GroupInvite),
        Notice::GroupEnded(_) => Some(HookEvent::GroupDeleted),
        Notice::Alert(_) | Notice::RateLimit(_) | Notice::Typing { .. } => None,
    }
}

fn random_id(rng: &mut dyn CryptoRng) -> [u8; 16] {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    id
}

fn random_secret(rng: &mut dyn CryptoRng) -> HookSecret {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *bytes);
    HookSecret::new(format!("whsec_{}", URL_SAFE_NO_PAD.encode(*bytes)))
}

impl Engine {
    pub(super) fn webhook_command(
        &mut self,
        command: WebhookCommand,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        match command {
            WebhookCommand::Add(new) => self.add_webhook(*new, now),
            WebhookCommand::Remove(id) => {
                self.volatile.hooks.0 = None;
                let removed = self.store.remove_webhook(&id)?;
                Ok(removed.then_some(Reply::Done).ok_or(Refusal::WebhookNotFound))
            }
            WebhookCommand::Redeliver(id, delivery) => self.redeliver(&id, &delivery, now),
            WebhookCommand::Told { delivery, settles } => self.hook_told(&delivery, settles, now),
            WebhookCommand::Failed { delivery, reason } => self.hook_failed(&delivery, &reason, now),
        }
    }

    fn add_webhook(&mut self, new: NewWebhook, now: UnixMs) -> Result<Result<Reply, Refusal>, StateError> {
        if self.store.subscribers()?.len() >= WEBHOOKS {
            return Ok(Err(Refusal::TooManyWebhooks(WEBHOOKS)));
        }
        let id = WebhookId(random_id(&mut *self.rng));
        let secret = new.secret.unwrap_or_else(|| random_secret(&mut *self.rng));
        let webhook = Webhook {
            id,
            url: new.url,
            events: new.events,
            secret,
            created_at: now,
        };
        self.store.put_webhook(&mut *self.rng, &webhook)?;
        self.volatile.hooks.0 = None;
        Ok(Ok(Reply::Webhook(Box::new(webhook))))
    }

    fn redeliver(
        &mut self,
        id: &WebhookId,
        delivery: &HookDeliveryId,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        if !self.store.has_webhook(id)? {
            return Ok(Err(Refusal::WebhookNotFound));
        }
        self.volatile.hooks.0 = None;
        let revived = self.store.revive_hook_event(id, delivery, now)?;
        Ok(revived.then_some(Reply::Done).ok_or(Refusal::DeadLetterNotFound))
    }

    /// What was told is not told again; a message is settled with it where the sender says so.
    fn hook_told(
        &mut self,
        delivery: &HookDeliveryId,
        settles: bool,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let Some((webhook_row, message)) = self.store.take_hook_event(delivery)? else {
            return Ok(Ok(Reply::Done));
        };
        self.recount(webhook_row, -1);
        self.count(Count::Webhook("told"));
        if let Some(message) = message.filter(|_| settles) {
            return self.settle(&[message], now);
        }
        Ok(Ok(Reply::Done))
    }

    fn hook_failed(
        &mut self,
        delivery: &HookDeliveryId,
        reason: &str,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let Some((webhook_row, attempts)) = self.store.hook_attempts(delivery)? else {
            return Ok(Ok(Reply::Done));
        };
        self.count(Count::Webhook("failed"));
        if let Some(wait) = LADDER_MS.get(attempts as usize) {
            self.store.put_off_hook_event(delivery, reason, now + wait)?;
        } else {
            self.give_up_hook_event(webhook_row, delivery, (attempts + 1, reason), now)?;
        }
        Ok(Ok(Reply::Done))
    }

    fn give_up_hook_event(
        &mut self,
        webhook_row: i64,
        delivery: &HookDeliveryId,
        end: (u32, &str),
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.recount(webhook_row, -1);
        self.count(Count::Webhook("dead"));
        if self.store.give_up_hook_event(delivery, end, DEAD, now)? {
            self.count(Count::Webhook("dead_dropped"));
        }
        Ok(())
    }

    /// More or less waits for a webhook.
    fn recount(&mut self, webhook_row: i64, change: i64) {
        let known = self.volatile.hooks.0.iter_mut().flatten();
        for subscriber in known.filter(|subscriber| subscriber.webhook_row == webhook_row) {
            subscriber.waiting = subscriber.waiting.saturating_add_signed(change);
        }
    }

    /// Queues what this batch tells, in the transaction in which it happened. Costs nothing without webhooks.
    pub(super) fn queue_for_webhooks(&mut self, now: UnixMs) -> Result<(), StateError> {
        if self.volatile.hooks.0.is_none() {
            self.volatile.hooks.0 = Some(self.store.subscribers()?);
        }
        if self.volatile.hooks.0.as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let effects = std::mem::take(&mut self.effects);
        for effect in &effects {
            if let Effect::Notify(notice) = effect
                && let Some(event) = event_of(notice)
                && !self.is_notice_muted(notice, now)?
            {
                self.queue_notice(event, notice, now)?;
            }
        }
        self.effects = effects;
        Ok(())
    }

    fn queue_notice(&mut self, event: HookEvent, notice: &Notice, now: UnixMs) -> Result<(), StateError> {
        let json;
        let data: Result<MessageId, &str> = if let Notice::Message(message) = notice {
            Ok(message.id)
        } else {
            json = (self.settings.hook_form.0)(notice);
            let Some(json) = &json else { return Ok(()) };
            Err(json)
        };
        let known = self.volatile.hooks.0.iter().flatten();
        let wanting: Vec<Subscriber> = known.filter(|known| known.wants(event)).copied().collect();
        for subscriber in wanting {
            if subscriber.waiting >= self.settings.hook_queue {
                self.make_room(subscriber.webhook_row, now)?;
            }
            let new = NewHookEvent {
                webhook_row: subscriber.webhook_row,
                delivery: HookDeliveryId(random_id(&mut *self.rng)),
                event,
                data,
            };
            self.store.queue_hook_event(&mut *self.rng, &new, now)?;
            self.recount(subscriber.webhook_row, 1);
        }
        Ok(())
    }

    /// What is no message is dropped first. A message waits in inbox and sync all the same, and becomes a
    /// dead letter.
    fn make_room(&mut self, webhook_row: i64, now: UnixMs) -> Result<(), StateError> {
        let Some((delivery, is_message)) = self.store.least_hook_event(webhook_row)? else {
            return Ok(());
        };
        if is_message {
            let attempts = self
                .store
                .hook_attempts(&delivery)?
                .map_or(0, |(_, attempts)| attempts);
            return self.give_up_hook_event(webhook_row, &delivery, (attempts, "queue full"), now);
        }
        self.store.take_hook_event(&delivery)?;
        self.recount(webhook_row, -1);
        self.count(Count::Webhook("dropped"));
        Ok(())
    }

    /// Mutes suppress pushes.
    fn is_notice_muted(&self, notice: &Notice, now: UnixMs) -> Result<bool, StateError> {
        let (agent, conversation) = match notice {
            Notice::Message(message) => return Ok(message.is_muted(now)),
            Notice::Read(read) => (Some(&read.reader), Some(read.conversation)),
            Notice::Presence(presence) => (Some(&presence.handle), None),
            Notice::Invited(invitation) => (Some(&invitation.inviter), Some(invitation.group)),
            Notice::GroupEnded(end) => (Some(&end.by), Some(end.id)),
            Notice::Alert(_) | Notice::RateLimit(_) | Notice::Typing { .. } => (None, None),
        };
        let targets = agent
            .map(|handle| MuteTarget::Agent(handle.clone()))
            .into_iter()
            .chain(conversation.map(MuteTarget::Conversation));
        for target in targets {
            if self.store.is_muted(&target, now)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
