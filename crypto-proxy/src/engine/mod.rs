//! The one place where a message is decided upon: `handle(event, now) -> effects`.
//!
//! The engine owns the state and the keys, and is told time, randomness and what the network did.
//! A batch of events is handled inside one transaction; its effects are given out only after the
//! commit. What it keeps in memory can be lost at any moment: requests that wait, what is in
//! flight. docs/protocol.md, 4 to 9; the flows are named in each module.
//!
//! - `send`: an agent's message becomes an envelope in the outbox
//! - `outbox`: envelopes go to the link, outcomes come back
//! - `lookup`, `trust`: bundles, pins, decisions
//! - `pins`: identities that were given before anybody was met
//! - `succession`: peers that have another identity
//! - `postponed`: what was sealed while the relay could not be asked
//! - `open_ahead`: envelopes are opened on several cores
//! - `receive`: an envelope is opened and verified on values only
//! - `inbox`: a verified message gets its place
//! - `receipts`: what is told to authors
//! - `instance`: leases, and what happens when there are two instances
//! - `transient`, `typing`, `presence`: what nobody stores
//! - `set_back`: the relay's database was
//! - `clock`: the machine's clock is set; `failure`: the state could not be written
//! - `repair`, `answers`: what is missing is asked for; what others miss is sent again
//! - `relations`: contacts, blocks, mutes, the own profile, and what the relay is told of them
//! - `webhooks`: what is queued for them, and what becomes of it
//! - `transparency`: the relay's log of all bundles is checked
//! - `own_keys`: own encryption keys and bundles are renewed, rotated and erased
//! - `rotate_now`: the same at once, because somebody asks

mod account;
mod answers;
mod attachments;
mod clock;
mod counters;
mod duplicates;
mod event;
mod failure;
mod groups;
mod inbox;
mod instance;
mod lookup;
mod open_ahead;
mod outbox;
mod own_keys;
mod pins;
mod postponed;
mod presence;
mod receipts;
mod receive;
mod relations;
mod repair;
mod rotate_now;
mod send;
mod set_back;
mod strangers;
mod succession;
mod suspension;
mod timers;
mod transient;
mod transparency;
mod trust;
mod typing;
mod webhooks;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use rand_core::CryptoRng;
use waxwire_outbound::traces;
use waxwire_shared::{
    api::frames::{Cursor, Queue},
    ids::{GroupId, Handle},
};

pub use account::{Account, EncryptionKey, HookForm, Settings, ShowPresence, TrustPolicy};
pub use attachments::{AttachmentCommand, UPLOAD_MS};
pub use counters::{Count, Counters};
pub use event::{
    AppendOutcome, Command, ContactCommand, Declaration, Effect, Event, GroupCommand, KeyChange, LinkEvent,
    LogPage, LookupError, Notice, Now, Offer, ReadNotice, RelayCall, Reply, RequestId, SendOutcome,
    WebhookCommand,
};
pub use instance::{Anew, Conflict};
pub use own_keys::{BundleDraft, sign_bundle};
pub use transparency::{AuditCommand, LogCall};

pub use crate::model::InboxMode;

use crate::{
    engine::{
        failure::Failed,
        groups::{Founding, GroupView, Task},
        receive::Opened,
        send::Sending,
    },
    model::{LocalConversation, Refusal, SendToken, Severity, UnixMs},
    state::{StateError, Store},
};

/// Decides upon every message of one agent.
pub struct Engine {
    account: Account,
    settings: Settings,
    store: Store,
    rng: Box<dyn CryptoRng + Send>,
    /// How long the proxy has run in all, as of the events that are being handled.
    running: u64,
    /// What time it was with the last events.
    clock: Option<Now>,
    own_presence: presence::OwnPresence,
    volatile: Volatile,
    instance: instance::Instance,
    /// Logs of groups as they are kept; read again when needed.
    views: HashMap<GroupId, Arc<GroupView>>,
    effects: Vec<Effect>,
    acks: BTreeMap<Queue, u64>,
    /// How many events are still handled one at a time.
    careful: u32,
    /// When deadlines are looked at again after the state could not be written, and how often in a row
    /// it could not.
    resting: (UnixMs, u32),
    /// Objects of the relay that cannot be handled.
    poison: HashSet<Cursor>,
    /// Of the batch that is being handled.
    counts: Vec<Count>,
    counters: Arc<Counters>,
}

/// What may be lost at any moment.
#[derive(Debug, Default)]
struct Volatile {
    link_up: bool,
    /// The relay's operator has shut this agent out.
    suspended: bool,
    /// Last token that was given to the link since it came up.
    sent_up_to: SendToken,
    in_flight: BTreeSet<SendToken>,
    /// The relay answered that it cannot store now: not before this time again.
    retry_at: Option<UnixMs>,
    waiters: HashMap<SendToken, Vec<Waiter>>,
    lookups: HashMap<Handle, Lookup>,
    strangers: strangers::Strangers,
    /// When the relay was last found to be set back, and whether logs of groups are to be compared since.
    set_back_at: Option<UnixMs>,
    compare_logs: bool,
    /// Newer keys that messages of peers name.
    claims: HashMap<Handle, lookup::Claim>,
    /// When peers were last looked up because somebody else claimed their handle.
    succeeded: HashMap<i64, UnixMs>,
    receipts: receipts::ReceiptTimes,
    own_keys: own_keys::OwnKeys,
    /// Groups whose queue this socket has delivered to its end; what comes since is pushed at once.
    read_to_end: HashSet<GroupId>,
    /// Who waits for a new key.
    rotations: Vec<rotate_now::Rotation>,
    tasks: HashMap<GroupId, Task>,
    founding: Vec<Founding>,
    repair: repair::Repair,
    transients: transient::Transients,
    typists: typing::Typists,
    presences: presence::Presences,
    /// Whether lines from before the start have their time.
    lines_known: bool,
    declaring: relations::Declaring,
    sent: duplicates::Sent,
    received: duplicates::Received,
    hooks: webhooks::Hooks,
    log: transparency::LogWatch,
    /// Groups whose outbox has become shorter: somebody may wait to leave.
    outbox_moved: BTreeSet<i64>,
}

/// A request that waits for the outcome of a send.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    request: RequestId,
    until: UnixMs,
    /// Whether the message was queued by an earlier request.
    repeated: bool,
}

/// Requests that wait for a bundle.
#[derive(Debug, Default)]
struct Lookup {
    waiting: Vec<Asking>,
    /// When the relay is asked again, if it did not answer.
    ask_at: Option<UnixMs>,
}

/// A request that waits for a bundle.
#[derive(Debug)]
struct Asking {
    request: RequestId,
    command: Command,
    until: UnixMs,
}

fn request_of(event: &Event) -> Option<RequestId> {
    match event {
        Event::Command(id, _) => Some(*id),
        _ => None,
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// An engine over opened state.
    #[must_use]
    pub fn new(account: Account, settings: Settings, store: Store, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            account,
            settings,
            store,
            rng,
            running: 0,
            clock: None,
            own_presence: presence::OwnPresence::default(),
            volatile: Volatile::default(),
            instance: instance::Instance::default(),
            views: HashMap::new(),
            effects: Vec::new(),
            acks: BTreeMap::new(),
            careful: 0,
            resting: (0, 0),
            poison: HashSet::new(),
            counts: Vec::new(),
            counters: Arc::default(),
        }
    }

    /// The relay that the agent is registered at.
    #[must_use]
    pub const fn relay(&self) -> waxwire_shared::ids::RelayId {
        self.account.relay
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Handles events in one transaction and gives out what has to be done once it has committed.
    ///
    /// If the state cannot be written, nothing of the batch has happened: every request that waits
    /// is refused and the link starts over from what was acknowledged.
    ///
    /// Should an object of the relay be what cannot be written, however often it comes, it is found by
    /// handling events one at a time for a while, and passed over with an alert: nothing blocks a queue.
    pub fn handle_batch(&mut self, events: impl Iterator<Item = Event>, now: Now) -> Vec<Effect> {
        self.running = now.running;
        let mut effects = match self.follow_clock(now) {
            Ok(effects) => effects,
            Err(error) => {
                let requests = events.filter_map(|event| request_of(&event)).collect();
                let failed = Failed {
                    error,
                    requests,
                    delivered: None,
                };
                return self.failed(failed, now);
            }
        };
        if self.careful == 0 {
            match self.transact(events.collect(), now) {
                Ok(done) => effects.extend(done),
                Err(failed) => effects.extend(self.failed(*failed, now)),
            }
            return effects;
        }
        let mut events = events.peekable();
        while let Some(event) = events.next() {
            self.careful = self.careful.saturating_sub(1);
            match self.transact(vec![event], now) {
                Ok(done) => effects.extend(done),
                Err(mut failed) => {
                    failed
                        .requests
                        .extend(events.filter_map(|event| request_of(&event)));
                    effects.extend(self.failed(*failed, now));
                    break;
                }
            }
        }
        effects
    }

    fn transact(&mut self, events: Vec<Event>, now: Now) -> Result<Vec<Effect>, Box<Failed>> {
        // Beforehand: a request must be answered even if an event before it fails.
        let requests = events.iter().filter_map(request_of).collect();
        let ticks = events.iter().any(|event| matches!(event, Event::Tick));
        let delivered = match events.first() {
            Some(Event::Link(LinkEvent::Delivered { cursor, .. })) => Some(*cursor),
            _ => None,
        };
        if let Err(error) = self.handle_all(events, now) {
            return Err(Box::new(Failed {
                error,
                requests,
                delivered,
            }));
        }
        self.beginning_written();
        if ticks {
            self.resting = (0, 0);
        }
        if self.volatile.own_keys.take_beaten() {
            self.fold_log();
        }
        self.publish_counts();
        let acks = std::mem::take(&mut self.acks);
        if !acks.is_empty() {
            let cursors = acks
                .into_iter()
                .map(|(queue, position)| Cursor { queue, position });
            self.effects.push(Effect::Ack(cursors.collect()));
        }
        Ok(std::mem::take(&mut self.effects))
    }

    /// What was overwritten or deleted since the last time is gone from the files with this.
    fn fold_log(&self) {
        match self.store.fold() {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the database is being read: its log is folded later"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the log of the database was not folded"
            ),
        }
    }

    fn handle_all(&mut self, events: Vec<Event>, now: Now) -> Result<(), StateError> {
        let opened = self.open_ahead(&events);
        self.store.begin()?;
        for (event, opened) in events.into_iter().zip(opened) {
            self.handle(event, opened, now.unix)?;
        }
        for group_row in std::mem::take(&mut self.volatile.outbox_moved) {
            let group = self.store.group_by_row(group_row)?.group_id;
            self.advance(&group, now.unix)?;
        }
        self.beat(now.unix)?;
        self.pump()?;
        self.queue_for_webhooks(now.unix)?;
        let span = tracing::info_span!(target: traces::TARGET, "commit");
        span.in_scope(|| self.store.commit())
    }

    /// An event, and what is in it if it was opened ahead.
    fn handle(&mut self, event: Event, opened: Option<Opened>, now: UnixMs) -> Result<(), StateError> {
        match event {
            Event::Command(id, command) => self.command(id, command, now),
            Event::Link(LinkEvent::Up { .. }) if !self.is_live() => Ok(()),
            Event::Link(LinkEvent::Up { relay_time }) => self.link_up(relay_time, now),
            Event::Link(LinkEvent::Down) => {
                self.link_down();
                Ok(())
            }
            Event::Link(LinkEvent::Unauthorized { suspended }) => self.shut_out(suspended, now),
            Event::Link(LinkEvent::Lease(signed)) => self.lease_shown(&signed, now),
            Event::Link(LinkEvent::KeyReplaced) => {
                let reason =
                    "the relay did not accept this agent's API key; it gave a new one on proof of identity";
                self.alert("api_key_replaced", Severity::Warning, None, reason, now)
            }
            Event::Link(LinkEvent::Untrusted) => {
                let reason =
                    "whoever answers at the relay's address has no certificate that this machine trusts";
                self.alert("relay_untrusted", Severity::Critical, None, reason, now)
            }
            Event::Link(LinkEvent::RelayChanged { .. }) => {
                let reason = "another relay answers at the relay's address; nothing is sent to it";
                self.alert("relay_changed", Severity::Critical, None, reason, now)
            }
            // Of a socket that was given up. What could not be written comes again by the next one, and what came behind
            // it must not be taken before.
            Event::Link(LinkEvent::Delivered { .. } | LinkEvent::Head(_)) if !self.volatile.link_up => Ok(()),
            // The live instance takes it.
            Event::Link(LinkEvent::Delivered { .. }) if !self.is_live() => Ok(()),
            Event::Link(LinkEvent::Delivered { cursor, object }) => {
                self.delivered(cursor, &object, opened, now)
            }
            Event::Link(LinkEvent::Lineage { lineage, reaches }) => self.lineage_shown(lineage, reaches, now),
            Event::Link(LinkEvent::Head(cursor)) => {
                self.compare_head(&cursor, now)?;
                self.queue_emptied(cursor.queue, now)?;
                self.drained(&cursor, now)
            }
            Event::Link(LinkEvent::Outcome(token, outcome)) => self.outcome(token, outcome, now),
            Event::Link(LinkEvent::Bundle(handle, answer)) => self.bundle(&handle, answer, now),
            Event::Link(LinkEvent::Published(answer)) => self.published(answer, now),
            Event::Link(LinkEvent::Declared(declaration, answer)) => {
                self.declared(&declaration, &answer, now)
            }
            Event::Link(LinkEvent::Profile(request, handle, answer)) => {
                self.profile(request, &handle, answer)
            }
            Event::Link(LinkEvent::Directory(request, answer)) => self.directory(request, answer),
            Event::Link(LinkEvent::Channel(request, joining, answer)) => {
                self.channel_found(request, joining, answer, now)
            }
            Event::Link(LinkEvent::Channels(request, answer)) => {
                self.channels_listed(request, answer);
                Ok(())
            }
            Event::Link(LinkEvent::Appended(group, commit, outcome)) => {
                self.appended(&group, &commit, outcome, now)
            }
            Event::Link(LinkEvent::Log(group, page)) => self.log_page(&group, page, now),
            Event::Link(LinkEvent::Leaf(group, epoch, leaf)) => self.leaf(&group, epoch, leaf, now),
            Event::Link(LinkEvent::Transient(envelope)) => self.transient(&envelope, now),
            Event::Link(LinkEvent::Seen(seen)) => self.seen(&seen, now),
            Event::Link(LinkEvent::Presences(id, answer)) => self.presences(id, answer),
            Event::Link(LinkEvent::Transparency(call, answer)) => self.log_answered(call, answer, now),
            Event::BegunAnew(anew) => self.begun_anew(anew, now),
            Event::HandleTag(handle, tag) => self.handle_tag(&handle, tag, now),
            Event::Tick => self.tick(now),
        }
    }

    fn command(&mut self, id: RequestId, command: Command, now: UnixMs) -> Result<(), StateError> {
        if matches!(command, Command::Send(_) | Command::Group(_) | Command::RotateKey)
            && let Err(refusal) = self.check_live()
        {
            return self.refuse(id, refusal);
        }
        let answer = match command {
            Command::Send(request) => {
                let until = now + self.settings.answer_within;
                let sending = Sending {
                    id,
                    request,
                    until,
                    unanswered: false,
                };
                return self.send(sending, now);
            }
            Command::LookUp(address) => return self.look_up(id, address, now),
            Command::SetTrust(handle, decision, fingerprint, resend) => {
                return self.set_trust(id, (handle, decision, fingerprint), resend, now);
            }
            Command::Group(command) if self.is_shut_out(&command) => Err(Refusal::Suspended),
            Command::Group(command) => return self.group_command(id, command, now),
            Command::Contact(command) => return self.contact_command(id, command, now),
            Command::Attachment(command) => self.attachment_command(command, now)?,
            Command::Webhook(command) => self.webhook_command(command, now)?,
            Command::Audit(command) => self.audit_command(command, now)?,
            Command::ImportPins(pins) => self.import_pins(&pins)?,
            Command::RotateKey => return self.rotate_now(id, now),
            Command::Ack(delivery) => self.ack(delivery, now)?,
            Command::Settle(deliveries) => self.settle(&deliveries, now)?,
            Command::SettleMessages(messages) => self.settle_messages(&messages, now)?,
            Command::MarkRead(message) => self.mark_read(&message, now)?,
            Command::MarkReadUpTo(conversation, seq) => self.mark_read_up_to(&conversation, seq, now)?,
            Command::Delete(message) => self.delete(&message, now)?,
            Command::HideConversation(conversation) => self.hide(&conversation)?,
            Command::AcceptRequest(handle) => self.accept_request(&handle, now)?,
            Command::RejectRequest(handle) => self.reject_request(&handle)?,
            Command::Typing(conversation, active) => self.say_typing(&conversation, active, now)?,
            Command::SetPresence(status, text) => Ok(self.set_presence(status, text, now)),
            Command::Presences(handles) => {
                self.ask_presences(id, handles);
                return Ok(());
            }
        };
        self.reply(id, answer);
        Ok(())
    }

    fn hide(&self, conversation: &LocalConversation) -> Result<Result<Reply, Refusal>, StateError> {
        let Some(row) = self.store.conversation(conversation)? else {
            return Ok(Err(Refusal::ConversationNotFound));
        };
        self.store.hide_conversation(row.conversation_id)?;
        Ok(Ok(Reply::Done))
    }

    fn reply(&mut self, id: RequestId, answer: Result<Reply, Refusal>) {
        self.effects.push(Effect::Reply(id, answer));
    }

    /// A refusal is an outcome of handling, not a failure of it.
    fn refuse(&mut self, id: RequestId, refusal: Refusal) -> Result<(), StateError> {
        self.reply(id, Err(refusal));
        Ok(())
    }

    fn alert(
        &mut self,
        kind: &'static str,
        severity: Severity,
        peer: Option<&Handle>,
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.alert_in(kind, severity, peer, None, reason, now)
    }

    fn alert_in(
        &mut self,
        kind: &'static str,
        severity: Severity,
        peer: Option<&Handle>,
        conversation: Option<&LocalConversation>,
        reason: &str,
        now: UnixMs,
    ) -> Result<(), StateError> {
        tracing::warn!(alert = kind, reason, "alert");
        self.count(Count::Alert(severity, kind));
        if let Some(alert) = self
            .store
            .raise_alert(kind, severity, peer, conversation, reason, now)?
        {
            self.effects.push(Effect::Notify(Notice::Alert(Box::new(alert))));
        }
        Ok(())
    }
}
