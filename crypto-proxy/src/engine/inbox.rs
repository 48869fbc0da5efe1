//! A verified message gets its place: numbering by its author, local number, settlement
//! (docs/protocol.md, 5.4 and 5.7).

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    hash::sha256,
    ids::Hash,
    wire::{Core, MessageBytes, ReceiptState},
};

use super::{Count, Effect, Engine, InboxMode, Notice, RelayCall, Reply};
use crate::{
    fault,
    model::{DeliveryId, Gap, LocalConversation, MessageId, Refusal, Severity, Status, UnixMs},
    state::{
        ConversationRow, Direction, GapOf, Hold, NewMessage, PeerRow, Pin, SYSTEM, SessionRow, SessionUpdate,
        StateError,
    },
};

/// Most messages of strangers that wait for acceptance, of one and of all. What does not find room shows
/// as a gap once its author is let in, and is asked for.
const REQUESTS_OF_PEER: u64 = 100;
const REQUESTS: u64 = 2_000;

/// A verified message on its way to its place.
pub(super) struct Arrived<'a> {
    pub(super) conversation: ConversationRow,
    pub(super) core: &'a Core,
    pub(super) signed: &'a MessageBytes,
    pub(super) epoch: Option<u64>,
    pub(super) late: bool,
    /// Numbers of a session that is new here which nobody owes this agent: it was no member then.
    pub(super) before: u64,
}

impl Engine {
    /// Flow 1, step 7, from the pin on: session, dedupe, chain, message, all in one transaction.
    pub(super) fn content(
        &mut self,
        mut peer: PeerRow,
        core: &Core,
        signed: &MessageBytes,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if peer.pin == Pin::New {
            peer.pin = Pin::Tofu;
            self.store.put_peer(&peer)?;
        }
        let conversation = self
            .store
            .direct_conversation(&core.conversation, peer.peer_id, now)?;
        let stranger = !peer.accepted && self.inbox_mode()? == InboxMode::ContactsOnly;
        if stranger {
            let (of_peer, of_all) = self.store.count_requests(peer.peer_id)?;
            if of_peer >= REQUESTS_OF_PEER || of_all >= REQUESTS {
                self.count(Count::Receive("dropped"));
                let reason = "too many messages of strangers wait for acceptance; one was dropped";
                return self.alert(
                    "requests_overflow",
                    Severity::Warning,
                    Some(&peer.handle),
                    reason,
                    now,
                );
            }
        }
        let arrived = Arrived {
            conversation,
            core,
            signed,
            epoch: None,
            late: false,
            before: 0,
        };
        self.place(&peer, &arrived, stranger, now)
    }

    /// A message of an author who is known, in a conversation that there is.
    pub(super) fn place(
        &mut self,
        peer: &PeerRow,
        arrived: &Arrived<'_>,
        stranger: bool,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Arrived {
            conversation,
            core,
            signed,
            epoch,
            late,
            before,
        } = arrived;
        let Some(session) = self.session(peer, conversation, core, *before, now)? else {
            self.count(Count::Receive("refused"));
            self.count(Count::ReceiveRefused("clone"));
            return Ok(());
        };
        if epoch.is_some() {
            // What was granted from the group's past and comes by itself now has its place already.
            self.store
                .adopt_granted(&Core::message_id(&signed.core).into(), peer.peer_id, *epoch)?;
        }
        let core_hash = sha256(&signed.core);
        if self.is_known(peer, &session, (core, &core_hash), now)? {
            self.count(Count::Receive("repeated"));
            return Ok(());
        }
        self.count(Count::Receive("accepted"));
        self.store.add_void(session.session_row, &core.void)?;
        if core.message_type == SYSTEM {
            let reason = "the peer signed a message as a system event; it is shown as text";
            self.alert(
                "system_claimed",
                Severity::Warning,
                Some(&peer.handle),
                reason,
                now,
            )?;
        }
        let hold = match core.n {
            _ if stranger => Hold::Request,
            // Nothing precedes it.
            n if n == session.contiguous + 1 => Hold::None,
            _ => Hold::Gap,
        };
        let new = NewMessage {
            conversation_id: conversation.conversation_id,
            peer_id: Some(peer.peer_id),
            direction: Direction::In,
            core,
            signed,
            hold,
            epoch: *epoch,
            late: *late,
            repeats: self.count_received(&core.content, now),
            envelope: None,
        };
        let row = self.store.insert_message(&mut *self.rng, &new, now)?;
        self.store.found_missing(session.session_row, core.n)?;
        if let Some(ack) = &core.ack {
            self.accept_receipt(peer, ack, now)?;
        }
        let mut session = self.advance_session(session, peer, (core, &core_hash), now)?;
        fault::point("receive.before_commit");
        match hold {
            Hold::Request => return self.put_session(&session),
            Hold::None => {
                session.reported = session.reported.max(core.n);
                self.tell(row)?;
            }
            // A gap before it was shown already.
            Hold::Gap if core.n <= session.reported => {
                self.show(row, session.conversation_id, None, now)?;
            }
            Hold::Gap => {}
        }
        self.show_waiting(session, now)
    }

    /// The author's session; a new one only with a higher incarnation.
    fn session(
        &mut self,
        peer: &PeerRow,
        conversation: &ConversationRow,
        core: &Core,
        before: u64,
        now: UnixMs,
    ) -> Result<Option<SessionRow>, StateError> {
        let conversation_id = conversation.conversation_id;
        if let Some(session) = self.store.session(conversation_id, peer.peer_id, &core.session)? {
            if session.incarnation == core.incarnation {
                return self.begin_again(session, before).map(Some);
            }
            let reason = "one session of the peer claims two incarnations; a message was refused";
            self.alert("clone", Severity::Critical, Some(&peer.handle), reason, now)?;
            return Ok(None);
        }
        let highest = self.store.highest_incarnation(conversation_id, peer.peer_id)?;
        if highest.is_some_and(|highest| core.incarnation <= highest) {
            let reason = "two instances of the peer are live; a message of the older one was refused";
            self.alert("clone", Severity::Critical, Some(&peer.handle), reason, now)?;
            return Ok(None);
        }
        if highest.is_some() {
            let reason = "the peer began to number anew, as after a restore";
            self.alert("session_reset", Severity::Info, Some(&peer.handle), reason, now)?;
            // It has new keys then.
            let call = RelayCall::Bundle(peer.handle.clone());
            self.effects.push(Effect::Call(call));
        }
        let session = self.store.insert_session(
            conversation_id,
            peer.peer_id,
            &core.session,
            core.incarnation,
            before,
        )?;
        Ok(Some(session))
    }

    /// Who has come back to a group is owed nothing of what came meanwhile.
    fn begin_again(&self, mut session: SessionRow, before: u64) -> Result<SessionRow, StateError> {
        if before > session.contiguous {
            (session.contiguous, session.contiguous_hash) = (before, None);
            session.reported = session.reported.max(before);
            session.before = before;
            self.put_session(&session)?;
        }
        Ok(session)
    }

    /// Whether this number of the author is here already: the same message is ignored, another one
    /// is a fork and refused.
    fn is_known(
        &mut self,
        peer: &PeerRow,
        session: &SessionRow,
        (core, core_hash): (&Core, &Hash),
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let known = self.store.message_by_n(
            session.conversation_id,
            Some(peer.peer_id),
            Direction::In,
            &core.session,
            core.n,
        )?;
        let Some(known) = known else {
            return Ok(core.n <= session.contiguous
                && core.n > session.before
                && self.store.void_end(session.session_row, core.n)?.is_none());
        };
        if known.core_hash != *core_hash {
            let reason = "the peer signed two messages with one number; the second was refused";
            self.alert("sender_fork", Severity::Critical, Some(&peer.handle), reason, now)?;
        }
        Ok(true)
    }

    /// Moves the contiguous end over what arrived, now or before, and what was withdrawn, checking the chain.
    fn advance_session(
        &mut self,
        mut session: SessionRow,
        peer: &PeerRow,
        (core, core_hash): (&Core, &Hash),
        now: UnixMs,
    ) -> Result<SessionRow, StateError> {
        loop {
            let next = session.contiguous + 1;
            let arrived = if core.n == next {
                Some((core.previous, *core_hash))
            } else {
                self.arrived_before(&session, next)?
            };
            if let Some((previous, core_hash)) = arrived {
                let expected = session.contiguous_hash;
                if (expected.is_some() && previous != expected) || (next == 1) != previous.is_none() {
                    let reason = "the peer's messages do not follow one another";
                    self.alert("sender_fork", Severity::Critical, Some(&peer.handle), reason, now)?;
                }
                session.contiguous = next;
                session.contiguous_hash = Some(core_hash);
            } else if let Some(last) = self.store.void_end(session.session_row, next)? {
                session.contiguous = last;
                session.contiguous_hash = None;
            } else {
                return Ok(session);
            }
        }
    }

    /// What the message with a number says of the one before it, and the hash of its own core.
    fn arrived_before(
        &self,
        session: &SessionRow,
        n: u64,
    ) -> Result<Option<(Option<Hash>, Hash)>, StateError> {
        let message = self.store.message_by_n(
            session.conversation_id,
            Some(session.peer_id),
            Direction::In,
            &session.session,
            n,
        )?;
        let Some(message) = message else { return Ok(None) };
        let previous = self.store.core(message.message_row)?.previous;
        Ok(Some((previous, message.core_hash)))
    }

    fn put_session(&self, session: &SessionRow) -> Result<(), StateError> {
        let update = SessionUpdate {
            contiguous: session.contiguous,
            contiguous_hash: session.contiguous_hash,
            reported: session.reported,
            before: session.before,
        };
        self.store.put_session(session.session_row, &update)
    }

    /// Shows what waits of a session and has no hole before it any more.
    pub(super) fn show_waiting(&mut self, mut session: SessionRow, now: UnixMs) -> Result<(), StateError> {
        for waiting in self.store.held_messages(Hold::Gap, session.peer_id)? {
            let mine =
                waiting.conversation_id == session.conversation_id && waiting.session == session.session;
            if mine && waiting.n <= session.contiguous.max(self.end_of_reported(&session)?) {
                self.show(waiting.message_row, waiting.conversation_id, None, now)?;
                session.reported = session.reported.max(waiting.n);
            }
        }
        self.put_session(&session)
    }

    /// The highest number that may be shown without a gap after what was reported: the next one,
    /// skipping what was withdrawn.
    fn end_of_reported(&self, session: &SessionRow) -> Result<u64, StateError> {
        let mut next = session.reported + 1;
        while let Some(last) = self.store.void_end(session.session_row, next)? {
            next = last + 1;
        }
        Ok(next)
    }

    /// Shows what waits for a hole in a peer's numbers, with the hole marked.
    pub(super) fn release_gaps(&mut self, gap: GapOf, now: UnixMs) -> Result<(), StateError> {
        let peer_id = gap.peer_id;
        for waiting in self.store.held_messages(Hold::Gap, peer_id)? {
            if waiting.conversation_id != gap.conversation_id {
                continue;
            }
            let session = self
                .store
                .session(waiting.conversation_id, peer_id, &waiting.session)?;
            let Some(mut session) = session else {
                self.show(waiting.message_row, waiting.conversation_id, None, now)?;
                continue;
            };
            let expected = self.end_of_reported(&session)?.max(session.contiguous + 1);
            let gap = (waiting.n > expected).then(|| Gap {
                after: expected - 1,
                missing: waiting.n - expected,
            });
            self.show(waiting.message_row, waiting.conversation_id, gap, now)?;
            if let Some(gap) = gap {
                let hole = (gap.after + 1, gap.after + gap.missing);
                self.store.note_missing(session.session_row, hole, now)?;
            }
            session.reported = session.reported.max(waiting.n);
            self.put_session(&session)?;
        }
        Ok(())
    }

    /// The queue was delivered to its end: nothing more comes that could fill a hole.
    pub(super) fn drained(&mut self, cursor: &Cursor, now: UnixMs) -> Result<(), StateError> {
        match cursor.queue {
            Queue::Mail => {
                while let Some(gap) = self.store.gap_in(None)? {
                    self.release_gaps(gap, now)?;
                }
                Ok(())
            }
            Queue::Group(group) => self.group_drained(&group, now),
            Queue::Control | Queue::Log(_) => Ok(()),
        }
    }

    /// Makes a message visible and tells those who wait.
    pub(super) fn show(
        &mut self,
        row: i64,
        conversation_id: i64,
        gap: Option<Gap>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.store.make_visible(row, conversation_id, gap, now)?;
        self.tell(row)
    }

    /// Tells those who wait of a message that is visible.
    fn tell(&mut self, row: i64) -> Result<(), StateError> {
        let message = self.store.view(row)?;
        self.effects
            .push(Effect::Notify(Notice::Message(Box::new(message))));
        Ok(())
    }

    /// Settles every delivery up to one; an id of another store settles nothing.
    pub(super) fn ack(
        &mut self,
        delivery: DeliveryId,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        if delivery.store != self.store.tag() || delivery.position > self.store.last_place()? {
            return Ok(Ok(Reply::Settled(0)));
        }
        let rows = self.store.settle_up_to(delivery.position, now)?;
        self.settled(&rows, ReceiptState::Delivered, now)?;
        Ok(Ok(Reply::Settled(rows.len() as u64)))
    }

    /// Settles exactly these deliveries.
    pub(super) fn settle(
        &mut self,
        deliveries: &[DeliveryId],
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let mut rows = Vec::new();
        for delivery in deliveries
            .iter()
            .filter(|delivery| delivery.store == self.store.tag())
        {
            rows.extend(self.store.settle_one(delivery.position, now)?);
        }
        self.settled(&rows, ReceiptState::Delivered, now)?;
        Ok(Ok(Reply::Settled(rows.len() as u64)))
    }

    /// Settles exactly these messages.
    pub(super) fn settle_messages(
        &mut self,
        messages: &[MessageId],
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let mut rows = Vec::new();
        for message in messages {
            rows.extend(self.store.settle_message(message, now)?);
        }
        self.settled(&rows, ReceiptState::Delivered, now)?;
        Ok(Ok(Reply::Settled(rows.len() as u64)))
    }

    /// Marks every inbound message of a conversation read up to a local number.
    pub(super) fn mark_read_up_to(
        &mut self,
        conversation: &LocalConversation,
        seq: u64,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let Some(conversation) = self.store.conversation(conversation)? else {
            return Ok(Err(Refusal::ConversationNotFound));
        };
        let id = conversation.conversation_id;
        let settled = self.store.settle_up_to_seq(id, seq, now)?;
        self.settled(&settled, ReceiptState::Delivered, now)?;
        let read = self.store.mark_read_up_to(id, seq, now)?;
        self.settled(&read, ReceiptState::Read, now)?;
        Ok(Ok(Reply::Done))
    }

    /// Marks an inbound message read, which settles it.
    pub(super) fn mark_read(
        &mut self,
        id: &MessageId,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        match self.store.message_by_id(id)? {
            Some(message) if !message.own && message.visible => {
                if !message.read {
                    self.store.mark_read(message.message_row, now)?;
                    if message.status == Status::Stored {
                        self.settled(&[message.message_row], ReceiptState::Delivered, now)?;
                    }
                    self.settled(&[message.message_row], ReceiptState::Read, now)?;
                }
                Ok(Ok(Reply::Done))
            }
            _ => Ok(Err(Refusal::MessageNotFound)),
        }
    }

    /// Hides a message from the agent, which settles it.
    pub(super) fn delete(
        &mut self,
        id: &MessageId,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        match self.store.message_by_id(id)? {
            Some(message) if message.visible => {
                self.store.hide_message(message.message_row, now)?;
                if !message.own {
                    self.settled(&[message.message_row], ReceiptState::Delivered, now)?;
                }
                Ok(Ok(Reply::Done))
            }
            _ => Ok(Err(Refusal::MessageNotFound)),
        }
    }

    /// Authors are owed a receipt, a moment later.
    fn settled(&mut self, rows: &[i64], state: ReceiptState, now: UnixMs) -> Result<(), StateError> {
        fault::point("settle.before_commit");
        if !rows.is_empty() {
            self.store.owe_receipts(rows, state)?;
            self.expect_receipts(now);
        }
        Ok(())
    }
}
