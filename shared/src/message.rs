//! From the object in a plaintext to a message that its author meant for this reader
//! (docs/protocol.md, 5): decode, verify the signature, compare the audience.
//!
//! What needs state comes after: pin, session and incarnation, dedupe, membership, cut-off.

use crate::{
    identity::{IdentityKey, VerifyError},
    ids::{AgentId, ConversationId, Handle, Hash, RelayId, SessionId},
    suite::Suite,
    wire::{
        Context, ControlBody, Core, DecodeError, DirectHeader, Document as _, GroupHeader, Header, Kind,
        MapReader, MessageBytes, Reader,
    },
};

/// What a signed message says: content with a number, or control without.
#[expect(
    clippy::large_enum_variant,
    reason = "content is the usual case and lives shortly"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Of a content kind.
    Content(Core),
    /// Of a control kind.
    Control(ControlBody),
}

/// A message whose signature has not been checked. Nothing of it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedMessage {
    message: MessageBytes,
    context: Context,
    header: Header,
    body: Body,
}

/// A message that the identity in its body signed. Whether that identity is the one expected, and
/// whether the message was made for this reader, is still to be asked: [`Self::check_direct`],
/// [`Self::check_group`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedMessage(UnverifiedMessage);

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The message, its context, header or body is not well-formed.
    #[error("malformed message")]
    Decode(#[from] DecodeError),
    /// The kind inside the signature is not that of the plaintext.
    #[error("kind differs from that of the plaintext")]
    Kind,
    /// The author's key or signature is refused.
    #[error("message is not authentic")]
    Verify(#[from] VerifyError),
    /// The signature was made for another envelope, reader or conversation.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// How a message's audience differs from its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The signed header is not the envelope's.
    #[error("signed header is not that of the envelope")]
    Header,
    /// A direct message where a group message belongs, or the reverse.
    #[error("message is not of this form of envelope")]
    Form,
    /// The kind has no place in this form of envelope, or not in this lane.
    #[error("kind has no place in this envelope")]
    Kind,
    /// The message was made for another recipient, handle or key.
    #[error("message was made for another recipient")]
    Recipient,
    /// The reader is the author: somebody plays a message back.
    #[error("message is the reader's own")]
    Reflected,
    /// The conversation is not that of author and audience.
    #[error("message belongs to another conversation")]
    Conversation,
    /// The header's sender is not the author.
    #[error("header names another sender")]
    Sender,
    /// The header's suite is below the one that the author used when the message was queued.
    #[error("suite is lower than the author's")]
    Suite,
}

impl Body {
    /// Decodes a core or a control body, whichever its kind asks for.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if peek_kind(bytes)?.is_content() {
            Core::decode(bytes).map(Self::Content)
        } else {
            ControlBody::decode(bytes).map(Self::Control)
        }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Content(core) => core.kind,
            Self::Control(control) => control.kind,
        }
    }

    /// The author, which is whoever must have signed.
    #[must_use]
    pub const fn identity(&self) -> &IdentityKey {
        match self {
            Self::Content(core) => &core.identity,
            Self::Control(control) => &control.identity,
        }
    }

    /// The author's handle, as the author claims it.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        match self {
            Self::Content(core) => &core.handle,
            Self::Control(control) => &control.handle,
        }
    }

    /// The conversation.
    #[must_use]
    pub const fn conversation(&self) -> &ConversationId {
        match self {
            Self::Content(core) => &core.conversation,
            Self::Control(control) => &control.conversation,
        }
    }

    /// The author's incarnation and session.
    #[must_use]
    pub const fn session(&self) -> (u64, &SessionId) {
        match self {
            Self::Content(core) => (core.incarnation, &core.session),
            Self::Control(control) => (control.incarnation, &control.session),
        }
    }

    const fn suite(&self) -> Suite {
        match self {
            Self::Content(core) => core.suite,
            Self::Control(control) => control.suite,
        }
    }
}

/// The kind of a core or control body: field 3 of both.
fn peek_kind(bytes: &[u8]) -> Result<Kind, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut map: MapReader = r.map()?;
    let _version: u16 = map.required(&mut r, 1)?;
    let _suite: u16 = map.required(&mut r, 2)?;
    map.required(&mut r, 3)
}

impl UnverifiedMessage {
    /// Decodes the object of a plaintext of `kind`, its context, header and body.
    ///
    /// # Errors
    /// [`MessageError::Decode`], [`MessageError::Kind`].
    pub fn decode(kind: Kind, object: &[u8]) -> Result<Self, MessageError> {
        Self::of_kind(kind, MessageBytes::decode(object)?)
    }

    /// The same from the message itself.
    ///
    /// # Errors
    /// [`MessageError::Decode`], [`MessageError::Kind`].
    pub fn of_kind(kind: Kind, message: MessageBytes) -> Result<Self, MessageError> {
        let message = Self::from_message(message)?;
        if message.body.kind() == kind {
            Ok(message)
        } else {
            Err(MessageError::Kind)
        }
    }

    /// The same for a message that was sent again or granted: its kind stands in its body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_message(message: MessageBytes) -> Result<Self, DecodeError> {
        let context = Context::decode(&message.context)?;
        let header = Header::decode(&context.header)?;
        let body = Body::decode(&message.core)?;
        Ok(Self {
            message,
            context,
            header,
            body,
        })
    }

    /// Verifies that the identity in the body signed context and body.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(self) -> Result<VerifiedMessage, VerifyError> {
        self.message.verify(self.body.kind(), self.body.identity())?;
        Ok(VerifiedMessage(self))
    }
}

impl VerifiedMessage {
    /// The message as it travelled.
    #[must_use]
    pub const fn message(&self) -> &MessageBytes {
        &self.0.message
    }

    /// The context.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.0.context
    }

    /// The header inside the context.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.0.header
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.0.body
    }

    /// Whoever signed.
    #[must_use]
    pub const fn signer(&self) -> &IdentityKey {
        self.0.body.identity()
    }

    /// End-to-end id of a core, and what names a control body: see [`Core::message_id`].
    #[must_use]
    pub fn id(&self) -> Hash {
        Core::message_id(&self.0.message.core)
    }

    /// Gives message and body up.
    #[must_use]
    pub fn into_parts(self) -> (MessageBytes, Context, Body) {
        (self.0.message, self.0.context, self.0.body)
    }

    /// Compares the audience of a direct message with the reader: `header` are the envelope's exact
    /// header bytes, the rest is the reader.
    ///
    /// # Errors
    /// [`ContextError`] with the first of these that does not hold: the header is the envelope's; it
    /// is a direct one; the kind belongs to its lane; recipient identity, handle, agent id and key
    /// number are the reader's; the author is not the reader; the conversation is theirs; the
    /// header's suite is not below the body's.
    pub fn check_direct(
        &self,
        header: &[u8],
        relay: &RelayId,
        reader: &IdentityKey,
        handle: &Handle,
    ) -> Result<&DirectHeader, ContextError> {
        self.check_envelope(header)?;
        self.check_recipient(relay, reader, handle)
    }

    /// The same for a message that was sent again: there is no envelope of its own to compare with.
    ///
    /// # Errors
    /// As [`Self::check_direct`], except [`ContextError::Header`].
    pub fn check_recipient(
        &self,
        relay: &RelayId,
        reader: &IdentityKey,
        handle: &Handle,
    ) -> Result<&DirectHeader, ContextError> {
        let Header::Direct(direct) = &self.0.header else {
            return Err(ContextError::Form);
        };
        let context = &self.0.context;
        let body = &self.0.body;
        holds(body.kind().direct_lane() == Some(direct.lane), ContextError::Kind)?;
        let recipient = context.recipient.as_ref() == Some(reader)
            && context.recipient_handle.as_ref() == Some(handle)
            && context.recipient_key_number == Some(direct.key_number)
            && direct.to == AgentId::of(relay, reader);
        holds(recipient, ContextError::Recipient)?;
        holds(body.identity() != reader, ContextError::Reflected)?;
        let conversation = ConversationId::direct(body.identity(), reader);
        holds(*body.conversation() == conversation, ContextError::Conversation)?;
        holds(direct.suite >= body.suite(), ContextError::Suite)?;
        Ok(direct)
    }

    /// Compares the audience of a group message with its envelope, whose exact header bytes are
    /// `header`. Whether the author is a member at the header's roster head is asked of the roster.
    ///
    /// # Errors
    /// [`ContextError`] with the first of these that does not hold: the header is the envelope's; it
    /// is a group's and the context names no recipient; the kind belongs into groups; the header's
    /// sender is the author; the conversation is the group; the header's suite is not below the
    /// body's.
    pub fn check_group(&self, header: &[u8], relay: &RelayId) -> Result<&GroupHeader, ContextError> {
        self.check_envelope(header)?;
        self.check_member(relay)
    }

    /// The same for a message that was sent again or granted: there is no envelope of its own to
    /// compare with.
    ///
    /// # Errors
    /// As [`Self::check_group`], except [`ContextError::Header`].
    pub fn check_member(&self, relay: &RelayId) -> Result<&GroupHeader, ContextError> {
        let Header::Group(group) = &self.0.header else {
            return Err(ContextError::Form);
        };
        let body = &self.0.body;
        holds(self.0.context.recipient.is_none(), ContextError::Form)?;
        holds(body.kind().is_for_groups(), ContextError::Kind)?;
        let sender = AgentId::of(relay, body.identity());
        holds(group.sender == sender, ContextError::Sender)?;
        let conversation = ConversationId::group(&group.group);
        holds(*body.conversation() == conversation, ContextError::Conversation)?;
        holds(group.suite >= body.suite(), ContextError::Suite)?;
        Ok(group)
    }

    fn check_envelope(&self, header: &[u8]) -> Result<(), ContextError> {
        holds(self.0.context.header == header, ContextError::Header)
    }
}

const fn holds(rule: bool, error: ContextError) -> Result<(), ContextError> {
    if rule { Ok(()) } else { Err(error) }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
