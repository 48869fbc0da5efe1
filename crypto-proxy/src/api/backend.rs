//! What stands behind the handlers: the engine that decides and the state that is read.

use std::{error::Error as _, ops::RangeInclusive};

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use waxwire_shared::{ids::Handle, wire::AttachmentRef};

use crate::{
    engine::{Command, Notice, Reply},
    model::{
        Alert, AttachmentId, Channel, Contact, ContactPage, ContactRequest, Conversation, DeadLetterPage,
        DeliveryId, GroupLookup, GroupSecurity, HookCall, Invitation, LocalConversation, Message, MessageId,
        Mute, MuteTarget, OwnProfile, PinEntry, Refusal, UnixMs, Upload, Webhook, WebhookId,
    },
    shell::EngineHandle,
    state::{
        Beginning, HistoryRange, InboxFilter, InboxPage, Reader, StateError, Stretch, Stuck, VisibleRow,
    },
};

/// The state cannot be read; the reason is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl From<StateError> for Unreadable {
    fn from(error: StateError) -> Self {
        let mut chain = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            chain = format!("{chain}: {error}");
            cause = error.source();
        }
        tracing::error!(error = chain, "the state cannot be read");
        Self
    }
}

/// Engine and state as the handlers see them, so that tests can stand in for both. The reads block.
pub(crate) trait Backend: Send + Sync {
    /// See [`EngineHandle::command`].
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, Refusal>>;
    /// See [`EngineHandle::notices`].
    fn notices(&self) -> broadcast::Receiver<Notice>;
    /// See [`Reader::history`].
    fn history(
        &self,
        conversation: &LocalConversation,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<Vec<Message>>, Unreadable>;
    /// See [`Reader::sync`].
    fn sync(
        &self,
        after: Option<DeliveryId>,
        places: &[RangeInclusive<u64>],
        limit: usize,
        now: UnixMs,
    ) -> Result<Vec<Message>, Unreadable>;
    /// See [`Reader::beginning`].
    fn beginning(&self) -> Result<Beginning, Unreadable>;
    /// See [`Reader::stretch`].
    fn stretch(
        &self,
        after: u64,
        rows: usize,
        bytes: usize,
        wanted: &mut dyn FnMut(&VisibleRow) -> bool,
    ) -> Result<Stretch, Unreadable>;
    /// See [`Reader::message`].
    fn message(&self, id: &MessageId) -> Result<Option<Message>, Unreadable>;
    /// See [`Reader::conversations`].
    fn conversations(&self, limit: usize, offset: usize) -> Result<Vec<Conversation>, Unreadable>;
    /// See [`Reader::conversation`].
    fn conversation(&self, id: &LocalConversation) -> Result<Option<Conversation>, Unreadable>;
    /// See [`Reader::group`].
    fn group(&self, id: &LocalConversation) -> Result<GroupLookup, Unreadable>;
    /// See [`Reader::member_groups`].
    fn member_groups(&self) -> Result<Vec<LocalConversation>, Unreadable>;
    /// See [`Reader::group_security`].
    fn group_security(&self, id: &LocalConversation) -> Result<Option<GroupSecurity>, Unreadable>;
    /// See [`Reader::channel`].
    fn channel(&self, slug: &Handle) -> Result<Option<Channel>, Unreadable>;
    /// See [`Reader::channels`].
    fn channels(&self, after: &str, limit: usize) -> Result<Vec<Channel>, Unreadable>;
    /// See [`Reader::invitations`].
    fn invitations(&self) -> Result<Vec<Invitation>, Unreadable>;
    /// See [`Reader::inbox`].
    fn inbox(&self, filter: &InboxFilter) -> Result<InboxPage, Unreadable>;
    /// See [`Reader::unread_count`].
    fn unread_count(&self) -> Result<u64, Unreadable>;
    /// See [`Reader::requests`].
    fn requests(&self) -> Result<Vec<ContactRequest>, Unreadable>;
    /// See [`Reader::contacts`].
    fn contacts(&self, limit: usize, offset: usize) -> Result<ContactPage, Unreadable>;
    /// See [`Reader::contact`].
    fn contact(&self, handle: &Handle) -> Result<Option<Contact>, Unreadable>;
    /// See [`Reader::mutes`].
    fn mutes(&self, now: UnixMs) -> Result<Vec<Mute>, Unreadable>;
    /// See [`Reader::mute`].
    fn mute(&self, target: &MuteTarget, now: UnixMs) -> Result<Option<Mute>, Unreadable>;
    /// See [`Reader::own_profile`].
    fn own_profile(&self) -> Result<OwnProfile, Unreadable>;
    /// See [`Reader::pins`].
    fn pins(&self, verified_only: bool) -> Result<Vec<PinEntry>, Unreadable>;
    /// See [`Reader::alerts`].
    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, Unreadable>;
    /// See [`Reader::upload_by_ticket`].
    fn upload_by_ticket(&self, ticket: &[u8; 32], since: UnixMs) -> Result<Option<Upload>, Unreadable>;
    /// See [`Reader::open_uploads`].
    fn open_uploads(&self, since: UnixMs) -> Result<Vec<AttachmentId>, Unreadable>;
    /// See [`Reader::attachment`].
    fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentRef>, Unreadable>;
    /// See [`Reader::stuck_since`].
    fn stuck_since(&self, since: UnixMs) -> Result<Stuck, Unreadable>;
    /// See [`Reader::webhooks`].
    fn webhooks(&self) -> Result<Vec<Webhook>, Unreadable>;
    /// See [`Reader::next_hook_call`].
    fn next_hook_call(&self, id: &WebhookId) -> Result<Option<HookCall>, Unreadable>;
    /// See [`Reader::dead_letters`].
    fn dead_letters(
        &self,
        id: &WebhookId,
        limit: usize,
        offset: usize,
    ) -> Result<Option<DeadLetterPage>, Unreadable>;
}

/// The running engine and its state.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) engine: EngineHandle,
    pub(crate) reader: Reader,
}

impl Backend for Live {
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, Refusal>> {
        Box::pin(self.engine.command(command))
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.engine.notices()
    }

    fn history(
        &self,
        conversation: &LocalConversation,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<Vec<Message>>, Unreadable> {
        Ok(self.reader.history(conversation, range, limit)?)
    }

    fn sync(
        &self,
        after: Option<DeliveryId>,
        places: &[RangeInclusive<u64>],
        limit: usize,
        now: UnixMs,
    ) -> Result<Vec<Message>, Unreadable> {
        Ok(self.reader.sync(after, places, limit, now)?)
    }

    fn beginning(&self) -> Result<Beginning, Unreadable> {
        Ok(self.reader.beginning()?)
    }

    fn stretch(
        &self,
        after: u64,
        rows: usize,
        bytes: usize,
        wanted: &mut dyn FnMut(&VisibleRow) -> bool,
    ) -> Result<Stretch, Unreadable> {
        Ok(self.reader.stretch(after, rows, bytes, wanted)?)
    }

    fn message(&self, id: &MessageId) -> Result<Option<Message>, Unreadable> {
        Ok(self.reader.message(id)?)
    }

    fn conversations(&self, limit: usize, offset: usize) -> Result<Vec<Conversation>, Unreadable> {
        Ok(self.reader.conversations(limit, offset)?)
    }

    fn conversation(&self, id: &LocalConversation) -> Result<Option<Conversation>, Unreadable> {
        Ok(self.reader.conversation(id)?)
    }

    fn group(&self, id: &LocalConversation) -> Result<GroupLookup, Unreadable> {
        Ok(self.reader.group(id)?)
    }

    fn member_groups(&self) -> Result<Vec<LocalConversation>, Unreadable> {
        Ok(self.reader.member_groups()?)
    }

    fn group_security(&self, id: &LocalConversation) -> Result<Option<GroupSecurity>, Unreadable> {
        Ok(self.reader.group_security(id)?)
    }

    fn channel(&self, slug: &Handle) -> Result<Option<Channel>, Unreadable> {
        Ok(self.reader.channel(slug)?)
    }

    fn channels(&self, after: &str, limit: usize) -> Result<Vec<Channel>, Unreadable> {
        Ok(self.reader.channels(after, limit)?)
    }

    fn invitations(&self) -> Result<Vec<Invitation>, Unreadable> {
        Ok(self.reader.invitations()?)
    }

    fn inbox(&self, filter: &InboxFilter) -> Result<InboxPage, Unreadable> {
        Ok(self.reader.inbox(filter)?)
    }

    fn unread_count(&self) -> Result<u64, Unreadable> {
        Ok(self.reader.unread_count()?)
    }

    fn requests(&self) -> Result<Vec<ContactRequest>, Unreadable> {
        Ok(self.reader.requests()?)
    }

    fn contacts(&self, limit: usize, offset: usize) -> Result<ContactPage, Unreadable> {
        Ok(self.reader.contacts(limit, offset)?)
    }

    fn contact(&self, handle: &Handle) -> Result<Option<Contact>, Unreadable> {
        Ok(self.reader.contact(handle)?)
    }

    fn mutes(&self, now: UnixMs) -> Result<Vec<Mute>, Unreadable> {
        Ok(self.reader.mutes(now)?)
    }

    fn mute(&self, target: &MuteTarget, now: UnixMs) -> Result<Option<Mute>, Unreadable> {
        Ok(self.reader.mute(target, now)?)
    }

    fn own_profile(&self) -> Result<OwnProfile, Unreadable> {
        Ok(self.reader.own_profile()?)
    }

    fn pins(&self, verified_only: bool) -> Result<Vec<PinEntry>, Unreadable> {
        Ok(self.reader.pins(verified_only)?)
    }

    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, Unreadable> {
        Ok(self.reader.alerts(after, limit)?)
    }

    fn upload_by_ticket(&self, ticket: &[u8; 32], since: UnixMs) -> Result<Option<Upload>, Unreadable> {
        Ok(self.reader.upload_by_ticket(ticket, since)?)
    }

    fn open_uploads(&self, since: UnixMs) -> Result<Vec<AttachmentId>, Unreadable> {
        Ok(self.reader.open_uploads(since)?)
    }

    fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentRef>, Unreadable> {
        Ok(self.reader.attachment(id)?)
    }

    fn stuck_since(&self, since: UnixMs) -> Result<Stuck, Unreadable> {
        Ok(self.reader.stuck_since(since)?)
    }
    fn webhooks(&self) -> Result<Vec<Webhook>, Unreadable> {
        Ok(self.reader.webhooks()?)
    }

    fn next_hook_call(&self, id: &WebhookId) -> Result<Option<HookCall>, Unreadable> {
        Ok(self.reader.next_hook_call(id)?)
    }

    fn dead_letters(
        &self,
        id: &WebhookId,
        limit: usize,
        offset: usize,
    ) -> Result<Option<DeadLetterPage>, Unreadable> {
        Ok(self.reader.dead_letters(id, limit, offset)?)
    }
}
