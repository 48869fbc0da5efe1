//! What is told to authors, and what peers prove to have of own messages (docs/protocol.md, 7.3).
//!
//! A receipt is owed from when the agent settles or reads something. It goes with the next message to the
//! author if one comes soon, else by itself.

use std::collections::HashSet;

use waxwire_shared::{
    ids::{ConversationId, Handle},
    limits,
    wire::{ControlBody, Document, Kind, NRange, Receipt, ReceiptState},
};

use super::{Effect, Engine, InboxMode, Notice, ReadNotice, outbox::Aside};
use crate::{
    model::{ConversationKind, LocalConversation, Severity, Status, UnixMs},
    state::{
        ConversationRow, Direction, GroupRow, PeerRow, Pin, SessionRow, Standing, StateError, to_ranges,
    },
};

/// Sessions that get a receipt in one transaction.
const SESSIONS: usize = 64;
/// Settled numbers beyond the contiguous ones that a receipt looks at.
const LATER: usize = 256;
/// In groups, where every member sends one, receipts are collected so many times longer.
const IN_GROUPS: u64 = 8;
/// Milliseconds until a receipt is made again that the relay refused for now.
const AGAIN_MS: u64 = 60_000;

/// Milliseconds that the relay has to show a newer key of an author.
const ASKED_MS: u64 = 5_000;

/// When receipts that are owed are made. May be lost: what is owed is in the state.
#[derive(Debug, Default)]
pub(super) struct ReceiptTimes {
    direct: Option<UnixMs>,
    groups: Option<UnixMs>,
    /// Authors whose newer keys were asked for since the link came up.
    asked: HashSet<i64>,
}

impl ReceiptTimes {
    /// The next time.
    pub(super) fn next(&self) -> Option<UnixMs> {
        self.direct.into_iter().chain(self.groups).min()
    }

    pub(super) fn link_down(&mut self) {
        self.asked.clear();
    }

    const fn of(&mut self, kind: ConversationKind) -> &mut Option<UnixMs> {
        match kind {
            ConversationKind::Direct => &mut self.direct,
            ConversationKind::Group => &mut self.groups,
        }
    }
}

/// What a receipt has changed.
struct Confirmed {
    /// Own messages whose status has risen.
    raised: Vec<i64>,
    /// The newest of those that the peer has read now are among these.
    read: Vec<i64>,
}

impl Engine {
    /// Receipts are owed: they are made a while later, with whatever comes until then.
    pub(super) fn expect_receipts(&mut self, now: UnixMs) {
        let delay = self.settings.receipt_delay;
        for (kind, delay) in [
            (ConversationKind::Direct, delay),
            (ConversationKind::Group, delay * IN_GROUPS),
        ] {
            let at = now + self.blurred(delay);
            let time = self.volatile.receipts.of(kind);
            *time = Some(time.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// A delay and by chance up to as much again: the relay shall not see from when a receipt comes when
    /// exactly the agent took the message.
    fn blurred(&mut self, delay: u64) -> u64 {
        let mut bytes = [0; 8];
        self.rng.fill_bytes(&mut bytes);
        delay + u64::from_be_bytes(bytes) % (delay + 1)
    }

    /// Makes the receipts that are due. Without the relay they are collected until the link is up.
    pub(super) fn tick_receipts(&mut self, now: UnixMs) -> Result<(), StateError> {
        for kind in [ConversationKind::Direct, ConversationKind::Group] {
            let time = self.volatile.receipts.of(kind);
            if time.is_some_and(|at| at <= now) {
                *time = None;
                if self.volatile.link_up {
                    self.make_receipts(kind, now)?;
                }
            }
        }
        Ok(())
    }

    fn make_receipts(&mut self, kind: ConversationKind, now: UnixMs) -> Result<(), StateError> {
        let owed = self.store.owed_receipts(kind, SESSIONS)?;
        if owed.len() == SESSIONS {
            *self.volatile.receipts.of(kind) = Some(now);
        }
        for session in owed {
            let peer = self.store.peer_by_id(session.peer_id)?;
            if self.asks_for_newer_key(&peer, now) {
                *self.volatile.receipts.of(kind) = Some(now + ASKED_MS);
                continue;
            }
            self.store.put_owed(session.session_row, &[])?;
            let Some(conversation) = self.receipts_conversation(&peer, &session)? else {
                continue;
            };
            for receipt in self.receipts_of(&session, conversation)? {
                self.store.put_said(session.session_row, &receipt)?;
                let token = self.queue_control(&peer, Kind::Receipt, receipt.encode(), now)?;
                if let Some(token) = token {
                    self.store.put_receipt_of(token, session.session_row)?;
                }
            }
        }
        Ok(())
    }

    /// docs/protocol.md, 4.3: nothing is sealed to a bundle that was looked up long ago, whose key may be erased, before
    /// the relay was asked for a newer one.
    fn asks_for_newer_key(&mut self, peer: &PeerRow, now: UnixMs) -> bool {
        let asks = !self.is_fresh(peer, now) && self.volatile.receipts.asked.insert(peer.peer_id);
        if asks {
            self.ask_for_sender(&peer.handle);
        }
        asks
    }

    /// What the recipient of a new message is owed: it goes with the message.
    pub(super) fn take_ack(
        &mut self,
        peer: &PeerRow,
        conversation: &ConversationRow,
    ) -> Result<Option<Receipt>, StateError> {
        let owed = self.store.owed_to(conversation.conversation_id, peer.peer_id)?;
        let Some(session) = owed else {
            return Ok(None);
        };
        let Some(conversation) = self.receipts_conversation(peer, &session)? else {
            return Ok(None);
        };
        let mut receipts = self.receipts_of(&session, conversation)?.into_iter();
        let ack = receipts.next();
        if let Some(ack) = &ack {
            self.store.put_said(session.session_row, ack)?;
        }
        let left: Vec<_> = receipts.map(|receipt| receipt.state).collect();
        self.store.put_owed(session.session_row, &left)?;
        Ok(ack)
    }

    /// A message, or a receipt of its own, was not sent: what it would have said is owed again.
    pub(super) fn owe_again(&mut self, session_row: i64, now: UnixMs) -> Result<(), StateError> {
        let both = [ReceiptState::Delivered, ReceiptState::Read];
        self.store.put_owed(session_row, &both)?;
        for kind in [ConversationKind::Direct, ConversationKind::Group] {
            self.volatile.receipts.of(kind).get_or_insert(now + AGAIN_MS);
        }
        Ok(())
    }

    /// The conversation of a session, if its author is told anything: strangers who wait for acceptance
    /// learn nothing, nor does who is blocked or shown with another identity, nor large groups.
    fn receipts_conversation(
        &mut self,
        peer: &PeerRow,
        session: &SessionRow,
    ) -> Result<Option<ConversationId>, StateError> {
        if peer.pin == Pin::Blocked || peer.changed.is_some() {
            return Ok(None);
        }
        let conversation = self.store.conversation_by_id(session.conversation_id)?;
        let told = match self.store.group_of(session.conversation_id)? {
            None => peer.accepted || self.inbox_mode()? == InboxMode::Open,
            Some(row) => row.standing == Standing::Member && self.confirms_to(&row, peer)?,
        };
        Ok(told.then_some(conversation.protocol_id))
    }

    /// Whether members of a group confirm messages to one another, and somebody is one of them.
    fn confirms_to(&mut self, row: &GroupRow, peer: &PeerRow) -> Result<bool, StateError> {
        let members = self.members_of(row)?;
        let present = members.iter().any(|(identity, _)| *identity == peer.identity);
        Ok(present && members.len() <= limits::RECEIPT_MEMBERS)
    }

    /// What is owed to the author of a session: a receipt for each state in which there is news, and one
    /// where both would say the same, for who has read has received.
    fn receipts_of(
        &self,
        session: &SessionRow,
        conversation: ConversationId,
    ) -> Result<Vec<Receipt>, StateError> {
        let mut receipts = Vec::new();
        for state in [ReceiptState::Delivered, ReceiptState::Read] {
            if session.owes(state) {
                receipts.extend(self.receipt(session, conversation, state)?);
            }
        }
        if let [delivered, read] = receipts.as_slice()
            && (delivered.n, &delivered.later) == (read.n, &read.later)
        {
            receipts.remove(0);
        }
        Ok(receipts)
    }

    /// What can be said of a session in one state; nothing if nothing has it.
    fn receipt(
        &self,
        session: &SessionRow,
        conversation: ConversationId,
        state: ReceiptState,
    ) -> Result<Option<Receipt>, StateError> {
        let end = self.store.settled_end(session, state)?;
        let n = end.map_or(0, |(n, _)| n);
        let later = self.store.settled_numbers(session, state, n, LATER)?;
        let later = to_ranges(&later, limits::RANGES);
        let says = n > 0 || !later.is_empty();
        Ok(says.then_some(Receipt {
            conversation,
            session: session.session,
            n,
            core_hash: end.map(|(_, hash)| hash),
            later,
            state,
        }))
    }

    /// A control message of a pinned peer.
    pub(super) fn control(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        match body.kind {
            Kind::Receipt => match Receipt::decode(&body.body) {
                Ok(receipt) => self.accept_receipt(peer, &receipt, now),
                Err(_) => {
                    let reason = "a receipt breaks a rule of its format";
                    self.alert(
                        "receipt_malformed",
                        Severity::Warning,
                        Some(&peer.handle),
                        reason,
                        now,
                    )
                }
            },
            Kind::Invite => self.invited(peer, body, now),
            Kind::Unreadable => self.take_unreadable(peer, body, now),
            Kind::ResendRequest => self.take_resend_request(peer, body, now),
            Kind::Resend => self.take_resend(peer, body, now),
            Kind::HistoryGrant => self.take_history(peer, body, now),
            _ => {
                let reason = "a control message of a kind that this version does not act upon";
                self.alert("control_ignored", Severity::Info, Some(&peer.handle), reason, now)
            }
        }
    }

    /// Raises the status of own messages as far as a peer has proved that it has them, whether it says so
    /// in a receipt or in a message.
    pub(super) fn accept_receipt(
        &mut self,
        peer: &PeerRow,
        receipt: &Receipt,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(conversation) = self.store.conversation_by_protocol(&receipt.conversation)? else {
            return Ok(());
        };
        let group = self.store.group_of(conversation.conversation_id)?;
        if let Some(row) = &group
            && !self.confirms_to(row, peer)?
        {
            // It has left, or the group has grown.
            return Ok(());
        }
        let highest = self.highest_own(&conversation, receipt)?;
        let mine = group.is_some() || conversation.peer_id == Some(peer.peer_id);
        let proved = mine && self.is_proved(&conversation, receipt, highest)?;
        if mine && !proved && self.receipt_is_ahead(&conversation, receipt, now)? {
            return Ok(());
        }
        if !proved {
            let reason = "a receipt names a message that was not sent";
            return self.alert(
                "receipt_mismatch",
                Severity::Warning,
                Some(&peer.handle),
                reason,
                now,
            );
        }
        let contiguous = NRange {
            first: 1,
            last: receipt.n,
        };
        let ranges: Vec<_> = std::iter::once(&contiguous)
            .chain(&receipt.later)
            .map(|range| (range.first, range.last.min(highest)))
            .filter(|(first, last)| first <= last)
            .collect();
        let confirmed = match &group {
            None => self.confirm(&conversation, receipt, &ranges, now)?,
            Some(row) => self.confirm_in_group(row, peer, receipt, &ranges, now)?,
        };
        for message_row in confirmed.raised {
            self.arrived(message_row, now)?;
        }
        self.tell_read(conversation.local, &peer.handle, &confirmed.read, now)?;
        Ok(())
    }

    /// Tells the agent that a peer has read these own messages.
    fn tell_read(
        &mut self,
        conversation: LocalConversation,
        reader: &Handle,
        rows: &[i64],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if let Some((message, through_seq)) = self.store.newest_of(rows)? {
            self.effects
                .push(Effect::Notify(Notice::Read(Box::new(ReadNotice {
                    conversation,
                    reader: reader.clone(),
                    message,
                    through_seq,
                    at: now,
                }))));
        }
        Ok(())
    }

    fn confirm(
        &self,
        conversation: &ConversationRow,
        receipt: &Receipt,
        ranges: &[(u64, u64)],
        now: UnixMs,
    ) -> Result<Confirmed, StateError> {
        let mut raised = Vec::new();
        for range in ranges {
            raised.extend(self.store.raise_own_status(
                conversation.conversation_id,
                &receipt.session,
                *range,
                status(receipt.state),
                now,
            )?);
        }
        let read = match receipt.state {
            ReceiptState::Delivered => Vec::new(),
            ReceiptState::Read => raised.clone(),
        };
        Ok(Confirmed { raised, read })
    }

    /// A message to a group has the least status that its recipients have proved.
    fn confirm_in_group(
        &self,
        row: &GroupRow,
        peer: &PeerRow,
        receipt: &Receipt,
        ranges: &[(u64, u64)],
        now: UnixMs,
    ) -> Result<Confirmed, StateError> {
        let states: &[Status] = match receipt.state {
            ReceiptState::Delivered => &[Status::Delivered],
            ReceiptState::Read => &[Status::Delivered, Status::Read],
        };
        let (mut raised, mut read) = (Vec::new(), Vec::new());
        for state in states {
            let news =
                self.store
                    .add_receipt(row.group_row, &peer.identity, &receipt.session, *state, ranges)?;
            for range in news {
                if *state == Status::Read {
                    let (conversation, session) = (row.conversation_id, &receipt.session);
                    read.extend(self.store.newest_own(conversation, session, range)?);
                }
                raised.extend(self.store.raise_group_status(
                    row,
                    Some((&receipt.session, range)),
                    *state,
                    now,
                )?);
            }
        }
        raised.sort_unstable();
        raised.dedup();
        Ok(Confirmed { raised, read })
    }

    /// The highest number that this agent has given out in the session that a receipt is about.
    fn highest_own(&self, conversation: &ConversationRow, receipt: &Receipt) -> Result<u64, StateError> {
        if receipt.session == self.account.session {
            return Ok(conversation.out_n);
        }
        self.store
            .highest_own(conversation.conversation_id, &receipt.session)
    }

    /// Whether a receipt is about messages that were sent. The hash is compared wherever the message is
    /// known: one that was withdrawn, and came all the same, is not.
    fn is_proved(
        &self,
        conversation: &ConversationRow,
        receipt: &Receipt,
        highest: u64,
    ) -> Result<bool, StateError> {
        let current = receipt.session == self.account.session;
        let last = receipt.later.last().map_or(receipt.n, |range| range.last);
        if current && last > highest {
            return Ok(false);
        }
        let Some(hash) = receipt.core_hash else {
            return Ok(true);
        };
        let own = self.store.message_by_n(
            conversation.conversation_id,
            conversation.peer_id,
            Direction::Out,
            &receipt.session,
            receipt.n,
        )?;
        let known = match own {
            Some(message) => Some(message.core_hash),
            None if current && receipt.n == highest => conversation.out_hash,
            None => None,
        };
        Ok(known.is_none_or(|known| known == hash))
    }

    /// What a peer has proved to have was stored, whatever the relay has or has not answered.
    fn arrived(&mut self, message_row: i64, now: UnixMs) -> Result<(), StateError> {
        let Some(token) = self.store.outbox_of(message_row)? else {
            return Ok(());
        };
        match self.store.outbox(token)? {
            Some(row) => self.stored(&row, Aside::default(), now),
            None => Ok(()),
        }
    }
}

const fn status(state: ReceiptState) -> Status {
    match state {
        ReceiptState::Delivered => Status::Delivered,
        ReceiptState::Read => Status::Read,
    }
}
