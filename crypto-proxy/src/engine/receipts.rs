//! What is told to authors, and what peers tell about own messages (docs/protocol.md, 7).

use waxwire_shared::{
    ids::ConversationId,
    wire::{ControlBody, Document, Kind, NRange, Receipt, ReceiptState},
};

use super::{Engine, InboxMode};
use crate::{
    model::{Severity, Status, UnixMs},
    state::{Direction, PeerRow, SessionRow, StateError, to_ranges},
};

/// Sessions that get a receipt in one transaction.
const SESSIONS: usize = 64;
/// Settled numbers beyond the contiguous ones that a receipt looks at.
const LATER: usize = 256;
/// Ranges beyond the contiguous numbers in one receipt.
const RANGES: usize = 64;

impl Engine {
    /// Makes the receipts that are due.
    pub(super) fn make_receipts(&mut self, now: UnixMs) -> Result<(), StateError> {
        let owed = self.store.owed_receipts(SESSIONS)?;
        if owed.len() == SESSIONS {
            self.volatile.receipts_at = Some(now);
        }
        for session in owed {
            self.store.receipt_made(session.session_row)?;
            if self.store.group_of(session.conversation_id)?.is_some() {
                continue;
            }
            let peer = self.store.peer_by_id(session.peer_id)?;
            // Flow 2, step 3: a stranger learns nothing until policy lets it in; `open` does at once.
            if !peer.accepted && self.settings.inbox_mode == InboxMode::ContactsOnly {
                continue;
            }
            for state in [ReceiptState::Delivered, ReceiptState::Read] {
                if let Some(receipt) = self.receipt(&session, &peer, state)? {
                    self.queue_control(&peer, Kind::Receipt, receipt.encode(), now)?;
                }
            }
        }
        Ok(())
    }

    /// What can be said of a session in one state; nothing if nothing has it.
    fn receipt(
        &self,
        session: &SessionRow,
        peer: &PeerRow,
        state: ReceiptState,
    ) -> Result<Option<Receipt>, StateError> {
        let read = state == ReceiptState::Read;
        let n = self.store.settled_end(session, read)?;
        let later = self.store.settled_numbers(session, read, n, LATER)?;
        if n == 0 && later.is_empty() {
            return Ok(None);
        }
        let arrived = self.store.message_by_n(
            session.conversation_id,
            Some(session.peer_id),
            Direction::In,
            &session.session,
            n,
        )?;
        Ok(Some(Receipt {
            conversation: ConversationId::direct(self.account.identity.public(), &peer.identity),
            session: session.session,
            n,
            core_hash: arrived.map(|message| message.core_hash),
            later: to_ranges(&later, RANGES),
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
        match (body.kind, Receipt::decode(&body.body)) {
            (Kind::Receipt, Ok(receipt)) if receipt.conversation == body.conversation => {
                self.accept_receipt(peer, &receipt, now)
            }
            (Kind::Receipt, _) => {
                let reason = "a receipt breaks a rule of its format";
                self.alert(
                    "receipt_malformed",
                    Severity::Warning,
                    Some(&peer.handle),
                    reason,
                    now,
                )
            }
            (Kind::Invite, _) => self.invited(peer, body, now),
            (Kind::Unreadable, _) => self.take_unreadable(peer, body, now),
            (Kind::ResendRequest, _) => self.take_resend_request(peer, body, now),
            (Kind::Resend, _) => self.take_resend(peer, body, now),
            (Kind::HistoryGrant, _) => self.take_history(peer, body, now),
            _ => {
                let reason = "a control message of a kind that this version does not act upon";
                self.alert("control_ignored", Severity::Info, Some(&peer.handle), reason, now)
            }
        }
    }

    /// Raises the status of own messages as far as the peer has proved that it has them.
    fn accept_receipt(&mut self, peer: &PeerRow, receipt: &Receipt, now: UnixMs) -> Result<(), StateError> {
        let Some(conversation) = self.store.conversation_by_protocol(&receipt.conversation)? else {
            return Ok(());
        };
        let conversation_id = conversation.conversation_id;
        let last = self.store.message_by_n(
            conversation_id,
            Some(peer.peer_id),
            Direction::Out,
            &receipt.session,
            receipt.n,
        )?;
        let proved = match (&last, receipt.core_hash) {
            (Some(message), Some(hash)) => message.core_hash == hash,
            (None, None) => true,
            _ => false,
        };
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
        let status = match receipt.state {
            ReceiptState::Delivered => Status::Delivered,
            ReceiptState::Read => Status::Read,
        };
        let contiguous = NRange {
            first: 1,
            last: receipt.n,
        };
        for range in std::iter::once(&contiguous).chain(&receipt.later) {
            let bounds = (range.first, range.last);
            self.store
                .raise_own_status(conversation_id, &receipt.session, bounds, status, now)?;
        }
        Ok(())
    }
}
