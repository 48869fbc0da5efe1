//! An envelope is opened and verified on values only; nothing is written before all of it holds
//! (flow 1, step 7; docs/protocol.md, 5).

use waxwire_shared::{
    api::frames::{Cursor, Queue},
    identity::IdentityKey,
    ids::{ConversationId, Handle},
    wire::{Context, ControlBody, Core, DirectHeader, Document, Envelope, Kind, Lane, MessageBytes, VERSION},
};

use super::{Effect, Engine};
use crate::{
    crypto::message,
    model::{Severity, UnixMs},
    state::{HeldReason, PeerRow, Pin, StateError},
};

/// A signed message whose signature and context hold. Whether its signer is the pinned owner of
/// the handle is not decided yet.
pub(super) struct Opened {
    pub(super) kind: Kind,
    pub(super) signed: MessageBytes,
    pub(super) body: Body,
}

/// What was signed.
pub(super) enum Body {
    Content(Box<Core>),
    Control(ControlBody),
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
}

impl Reject {
    /// Alert name and reason.
    const fn row(self) -> (&'static str, &'static str) {
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
        }
    }
}

impl Engine {
    /// An object of one of the own queues.
    pub(super) fn delivered(&mut self, cursor: Cursor, object: &[u8], now: UnixMs) -> Result<(), StateError> {
        if cursor.position > self.store.cursor(&cursor.queue)? {
            match cursor.queue {
                Queue::Mail => self.envelope(Lane::Mail, object, now)?,
                Queue::Control => self.envelope(Lane::Control, object, now)?,
                Queue::Group(_) | Queue::Log(_) => {
                    let reason = "the relay delivers for a group that this agent is not in";
                    self.alert("unexpected_group", Severity::Warning, None, reason, now)?;
                }
            }
            self.store.put_cursor(&cursor)?;
        }
        self.take(cursor.queue, cursor.position);
        Ok(())
    }

    /// What waited for a peer to become known or decided on.
    pub(super) fn release_held(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        for held in self.store.take_held(handle)? {
            let lane = match self.lane_of(&held.envelope) {
                Some(lane) => lane,
                None => continue,
            };
            self.envelope(lane, &held.envelope, now)?;
        }
        Ok(())
    }

    fn lane_of(&self, envelope: &[u8]) -> Option<Lane> {
        let envelope = Envelope::split(envelope).ok()?;
        DirectHeader::decode(envelope.header)
            .ok()
            .map(|header| header.lane)
    }

    fn envelope(&mut self, lane: Lane, bytes: &[u8], now: UnixMs) -> Result<(), StateError> {
        let opened = match self.open(lane, bytes) {
            Ok(opened) => opened,
            Err(reject) => {
                let (kind, reason) = reject.row();
                return self.alert(kind, Severity::Warning, None, reason, now);
            }
        };
        let (handle, identity) = opened.body.sender();
        let (handle, identity) = (handle.clone(), identity.clone());
        match self.store.peer(&handle)? {
            Some(peer) if peer.identity == identity => self.receive(peer, opened, now),
            Some(peer) if peer.pin != Pin::New => self.hold_changed(peer, &identity, bytes, now),
            _ => self.hold_unknown(&handle, bytes, now),
        }
    }

    fn receive(&mut self, peer: PeerRow, opened: Opened, now: UnixMs) -> Result<(), StateError> {
        if peer.pin == Pin::Blocked {
            return Ok(());
        }
        match opened.body {
            Body::Content(core) => self.content(peer, &core, &opened.signed, now),
            Body::Control(body) => self.control(&peer, opened.kind, &body, now),
        }
    }

    /// Flow 2, step 3: nobody is pinned under this handle, so the claim is looked up first.
    fn hold_unknown(&mut self, handle: &Handle, bytes: &[u8], now: UnixMs) -> Result<(), StateError> {
        if self
            .store
            .hold_envelope(handle, HeldReason::UnknownKey, bytes, now)?
        {
            self.effects.push(Effect::FetchBundle(handle.clone()));
            return Ok(());
        }
        let reason = "too many messages of agents that cannot be looked up; one was dropped";
        self.alert("held_overflow", Severity::Warning, Some(handle), reason, now)
    }

    /// Signed by another identity than the pinned one: held as it came until somebody decides.
    fn hold_changed(
        &mut self,
        mut peer: PeerRow,
        identity: &IdentityKey,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        // A message alone proves nothing about the handle; the lookup may.
        if peer.changed.as_ref() != Some(identity) {
            peer.fetched_at = 0;
            self.store.put_peer(&peer)?;
            self.effects.push(Effect::FetchBundle(peer.handle.clone()));
        }
        let held = self
            .store
            .hold_envelope(&peer.handle, HeldReason::IdentityChanged, bytes, now)?;
        let reason = if held {
            "a message under a pinned handle is signed by another identity; it is held"
        } else {
            "a message under a pinned handle is signed by another identity; it was dropped"
        };
        self.alert("unknown_key", Severity::Critical, Some(&peer.handle), reason, now)
    }

    /// Opens and verifies everything that needs no state.
    fn open(&self, lane: Lane, bytes: &[u8]) -> Result<Opened, Reject> {
        let envelope = Envelope::split(bytes).map_err(|_| Reject::Malformed)?;
        let header = DirectHeader::decode(envelope.header).map_err(|_| Reject::Malformed)?;
        if header.to != self.account.agent_id || header.lane != lane {
            return Err(Reject::Misrouted);
        }
        let key = self
            .account
            .encryption_keys
            .iter()
            .find(|key| key.number == header.key_number && key.suite == header.suite)
            .ok_or(Reject::UnknownKey)?;
        let (kind, signed) =
            message::open_direct(&key.secret, envelope.ciphertext).map_err(|error| match error {
                message::OpenMessageError::Open(_) => Reject::DoesNotOpen,
                _ => Reject::Plaintext,
            })?;
        if kind.direct_lane() != Some(lane) {
            return Err(Reject::Lane);
        }
        let body = Body::decode(kind, &signed).ok_or(Reject::Body)?;
        self.check_audience(kind, &body, &signed, envelope.header, &header)?;
        signed
            .verify(kind, body.sender().1)
            .map_err(|_| Reject::Signature)?;
        Ok(Opened { kind, signed, body })
    }

    /// Whether the message was made for this agent, this envelope and this conversation.
    fn check_audience(
        &self,
        kind: Kind,
        body: &Body,
        signed: &MessageBytes,
        header_bytes: &[u8],
        header: &DirectHeader,
    ) -> Result<(), Reject> {
        let me = self.account.identity.public();
        let context = Context::decode(&signed.context).map_err(|_| Reject::Context)?;
        let for_me = context.header == header_bytes
            && context.recipient_handle.as_ref() == Some(&self.account.handle)
            && context.recipient.as_ref() == Some(me)
            && context.recipient_key_number == Some(header.key_number);
        if !for_me {
            return Err(Reject::Context);
        }
        let (_, sender) = body.sender();
        if sender == me {
            return Err(Reject::Reflected);
        }
        if body.kind() != kind || *body.conversation() != ConversationId::direct(me, sender) {
            return Err(Reject::Context);
        }
        Ok(())
    }
}

impl Body {
    /// Decodes the signed bytes as their kind demands.
    fn decode(kind: Kind, signed: &MessageBytes) -> Option<Self> {
        let (body, version) = if kind.is_content() {
            let core = Core::decode(&signed.core).ok().filter(is_well_formed)?;
            let version = core.version;
            (Self::Content(Box::new(core)), version)
        } else {
            let body = ControlBody::decode(&signed.core).ok()?;
            let version = body.version;
            (Self::Control(body), version)
        };
        (version == VERSION).then_some(body)
    }

    /// Claimed handle and signing identity.
    pub(super) const fn sender(&self) -> (&Handle, &IdentityKey) {
        match self {
            Self::Content(core) => (&core.handle, &core.identity),
            Self::Control(body) => (&body.handle, &body.identity),
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Content(core) => core.kind,
            Self::Control(body) => body.kind,
        }
    }

    const fn conversation(&self) -> &ConversationId {
        match self {
            Self::Content(core) => &core.conversation,
            Self::Control(body) => &body.conversation,
        }
    }
}

/// Content and metadata are JSON objects within their limits.
fn is_well_formed(core: &Core) -> bool {
    let object = |bytes: &[u8], max: usize| {
        bytes.len() <= max
            && std::str::from_utf8(bytes).is_ok_and(|text| text.trim_start().starts_with('{'))
            && serde_json::from_slice::<&serde_json::value::RawValue>(bytes).is_ok()
    };
    object(&core.content, waxwire_shared::limits::CONTENT)
        && core
            .metadata
            .as_ref()
            .is_none_or(|bytes| object(bytes, waxwire_shared::limits::METADATA))
}
