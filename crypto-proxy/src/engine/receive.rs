//! An envelope is opened and verified on values only; nothing is written before all of it holds
//! (flow 1, step 7; docs/protocol.md, 5).

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    ids::Handle,
    limits,
    message::{Body, ContextError, UnverifiedMessage},
    wire::{Core, DirectHeader, Document as _, Envelope, Header, Lane, MessageBytes},
};

use super::{Account, Count, EncryptionKey, Engine};
use crate::{
    crypto::message::{self, OpenMessageError},
    json,
    model::{Severity, UnixMs},
    state::{HeldReason, PeerRow, Pin, StateError},
};

/// No honest author comes anywhere near it, and it can be stored and counted on from.
const NUMBER_MAX: u64 = 1 << 62;

/// A signed message whose signature and context hold. Whether its signer is the pinned owner of
/// the handle is not decided yet.
pub(super) struct Opened {
    signed: MessageBytes,
    pub(super) body: Body,
    /// Number of the key that the signer's bundle held when it sealed.
    sender_key: u64,
    /// A head of the relay's log that the signer had seen, unverified.
    log_head: Option<Vec<u8>>,
}

/// Why an envelope is refused. The relay sees the same acknowledgement for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reject {
    Malformed,
    Misrouted,
    UnknownKey,
    DoesNotOpen,
    Plaintext,
    Lane,
    Body,
    Context,
    Reflected,
    Signature,
    /// Of a group: no member at the roster head that it cites, or none with a chain in its epoch.
    NotMember,
    /// Of a group: what only an admin may say.
    NotAdmin,
    /// Of a group: the author had left, and it is beyond the cut-off.
    CutOff,
    /// Of a group: its key was used, or skipped too long ago.
    Replayed,
    /// Of a group: the chains of its epoch are erased.
    EpochErased,
}

impl Reject {
    /// Alert name and reason.
    pub(super) const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("envelope_malformed", "an envelope is not well-formed"),
            Self::Misrouted => ("envelope_misrouted", "an envelope is addressed to somebody else"),
            Self::UnknownKey => ("key_erased", "an envelope was sealed to a key that is not held"),
            Self::DoesNotOpen => ("envelope_does_not_open", "an envelope does not open"),
            Self::Plaintext => ("plaintext_malformed", "an opened envelope is not well-formed"),
            Self::Lane => ("wrong_lane", "a message came by the wrong lane"),
            Self::Body => ("message_malformed", "a message breaks a rule of its format"),
            Self::Context => ("wrong_context", "a message was signed for another audience"),
            Self::Reflected => ("reflected", "an own message came back as a peer's"),
            Self::Signature => ("bad_signature", "a message's signature does not verify"),
            Self::NotMember => ("not_member", "a message to the group is not of a member"),
            Self::NotAdmin => ("not_admin", "a member said what only an admin may say"),
            Self::CutOff => ("past_cut_off", "somebody who had left has written to the group"),
            Self::Replayed => ("replayed", "a message to the group came again, or far too late"),
            Self::EpochErased => (
                "key_erased",
                "a message to the group came after its epoch's keys were erased",
            ),
        }
    }
}

impl Engine {
    /// An object of one of the own queues, and what is in it if it was opened already.
    pub(super) fn delivered(
        &mut self,
        cursor: Cursor,
        object: &[u8],
        opened: Option<Opened>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if cursor.position > self.store.cursor(&cursor.queue)? {
            let passed_over = self.poison.contains(&cursor);
            match cursor.queue {
                _ if passed_over => {
                    let reason = "an object of the relay cannot be handled; it was passed over, see the log";
                    self.alert("poison", Severity::Critical, None, reason, now)?;
                }
                Queue::Mail => self.envelope(Lane::Mail, object, opened, now)?,
                Queue::Control => self.envelope(Lane::Control, object, opened, now)?,
                Queue::Group(group) => self.pushed_group_envelope(&group, object, now)?,
                Queue::Log(group) => self.pushed_commit(&group, &cursor, object, now)?,
            }
            self.store.put_cursor(&cursor)?;
        } else if let Queue::Log(group) = cursor.queue {
            // What is shown again has to be the same: another commit proves a fork.
            self.pushed_commit(&group, &cursor, object, now)?;
        }
        self.take(cursor.queue, cursor.position);
        Ok(())
    }

    /// What waited for a peer to become known or decided on.
    pub(super) fn release_held(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        for held in self.store.take_held(handle)? {
            let header = Envelope::split(&held.envelope).map(|envelope| Header::decode(envelope.header));
            match header {
                Ok(Ok(Header::Direct(header))) => self.envelope(header.lane, &held.envelope, None, now)?,
                Ok(Ok(Header::Group(header))) => {
                    self.pushed_group_envelope(&header.group, &held.envelope, now)?;
                }
                // Nothing else is held.
                _ => {}
            }
        }
        Ok(())
    }

    fn envelope(
        &mut self,
        lane: Lane,
        bytes: &[u8],
        opened: Option<Opened>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let opened = match opened.map_or_else(|| open(&self.account, lane, bytes), Ok) {
            Ok(opened) => opened,
            Err(reject) => {
                let (kind, reason) = reject.row();
                self.count(Count::Receive("refused"));
                self.count(Count::ReceiveRefused(kind));
                if matches!(reject, Reject::UnknownKey | Reject::DoesNotOpen) {
                    self.report_unreadable(bytes, now)?;
                }
                return self.alert(kind, Severity::Warning, None, reason, now);
            }
        };
        let (handle, identity) = (opened.body.handle().clone(), opened.body.identity().clone());
        match self.store.peer(&handle)? {
            Some(peer) if peer.identity == identity => self.receive(peer, opened, now),
            Some(peer) => self.hold_mismatch(&peer, bytes, now),
            None if handle == self.account.handle => self.refuse_own_handle(&handle, now),
            None => self.hold_unknown(&handle, bytes, now),
        }
    }

    /// Nobody has to be asked who has the own handle.
    fn refuse_own_handle(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        self.count(Count::Receive("refused"));
        self.count(Count::ReceiveRefused("unknown_key"));
        let reason = "a message under this agent's own handle is signed by another identity; it was refused";
        self.alert("unknown_key", Severity::Critical, Some(handle), reason, now)
    }

    fn receive(&mut self, peer: PeerRow, opened: Opened, now: UnixMs) -> Result<(), StateError> {
        if peer.pin == Pin::Blocked {
            self.count(Count::Receive("blocked"));
            return Ok(());
        }
        self.compare_bundle(&peer, opened.sender_key, now);
        self.head_of_peer(opened.log_head, now)?;
        match opened.body {
            Body::Content(core) => self.content(peer, &core, &opened.signed, now),
            Body::Control(body) => {
                self.count(Count::Receive("control"));
                self.control(&peer, &body, now)
            }
        }
    }

    /// Flow 2, step 3: nobody is pinned under this handle, so the claim is looked up first.
    pub(super) fn hold_unknown(
        &mut self,
        handle: &Handle,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if self
            .store
            .hold_envelope(handle, HeldReason::UnknownKey, bytes, now)?
        {
            self.count(Count::Receive("held"));
            self.ask_for_stranger(handle, now);
            return Ok(());
        }
        self.count(Count::Receive("dropped"));
        let reason = "too many messages of agents that cannot be looked up; one was dropped";
        self.alert("held_overflow", Severity::Warning, None, reason, now)
    }

    /// Signed by another identity than the one known for the handle: held as it came until a lookup
    /// shows that identity or somebody decides. A message alone proves nothing about a handle.
    pub(super) fn hold_mismatch(
        &mut self,
        peer: &PeerRow,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        let asks = self.may_ask_who_follows(peer, now);
        if asks {
            self.ask_for_sender(&peer.handle);
        }
        let held = self
            .store
            .hold_envelope(&peer.handle, HeldReason::IdentityChanged, bytes, now)?;
        self.count(Count::Receive(if held { "held" } else { "dropped" }));
        let reason = match (held, asks) {
            // What the relay shows decides, and is told.
            (true, true) => return Ok(()),
            (true, false) => {
                "a message is signed by another identity than the known one of its handle; it is held"
            }
            (false, _) => {
                "a message is signed by another identity than the known one of its handle; it was dropped"
            }
        };
        self.alert("unknown_key", Severity::Critical, Some(&peer.handle), reason, now)
    }
}

/// Opens and verifies everything that needs no state.
pub(super) fn open(account: &Account, lane: Lane, bytes: &[u8]) -> Result<Opened, Reject> {
    let envelope = Envelope::split(bytes).map_err(|_| Reject::Malformed)?;
    let header = DirectHeader::decode(envelope.header).map_err(|_| Reject::Malformed)?;
    if header.to != account.agent_id || header.lane != lane {
        return Err(Reject::Misrouted);
    }
    let held = |key: &&EncryptionKey| key.number == header.key_number && key.suite == header.suite;
    let key = account
        .encryption_keys
        .iter()
        .find(held)
        .ok_or(Reject::UnknownKey)?;
    let (kind, signed) = message::open_direct(&key.secret, envelope.ciphertext)?;
    let message = UnverifiedMessage::from_message(signed).map_err(|_| Reject::Body)?;
    let message = message.verify().map_err(|_| Reject::Signature)?;
    let me = account.identity.public();
    message.check_direct(envelope.header, &account.relay, me, &account.handle)?;
    let (signed, context, body) = message.into_parts();
    let formed = match &body {
        Body::Content(core) => is_well_formed(core),
        Body::Control(_) => true,
    };
    if body.kind() == kind && formed {
        let sender_key = context.sender_key_number.unwrap_or(0);
        Ok(Opened {
            signed,
            body,
            sender_key,
            log_head: context.log_head,
        })
    } else {
        Err(Reject::Body)
    }
}

impl From<OpenMessageError> for Reject {
    fn from(error: OpenMessageError) -> Self {
        match error {
            OpenMessageError::Open(_) => Self::DoesNotOpen,
            OpenMessageError::Kind { .. } => Self::Lane,
            _ => Self::Plaintext,
        }
    }
}

impl From<ContextError> for Reject {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Reflected => Self::Reflected,
            ContextError::Kind => Self::Lane,
            _ => Self::Context,
        }
    }
}

/// Content and metadata are JSON objects within their limits that no agent's parser stumbles over.
pub(super) fn is_well_formed(core: &Core) -> bool {
    let object = |bytes: &[u8], max: usize| {
        bytes.len() <= max && json::compact(bytes).is_ok_and(|text| text.starts_with('{'))
    };
    core.n <= NUMBER_MAX
        && object(&core.content, limits::CONTENT)
        && core
            .metadata
            .as_ref()
            .is_none_or(|bytes| object(bytes, limits::METADATA))
}
