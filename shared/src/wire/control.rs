//! The documents inside control messages (docs/protocol.md, 6, 7 and 9).

use super::{DecodeError, InviteRef, NRange, rules, wire_map};
use crate::{
    ids::{ConversationId, GroupId, Hash, Mid, SessionId},
    limits,
};

wire_map! {
    /// Kind 17: an envelope that arrived and could not be read.
    pub struct Unreadable, max(256) {
        /// SHA-256 of the whole envelope.
        1 => envelope_hash: Hash,
        /// The envelope's `mid`.
        2 => mid: Mid,
    }
}

wire_map! {
    /// Kind 18: numbers of the addressee's own messages that did not arrive.
    pub struct ResendRequest, max(4 * 1024) {
        /// The conversation.
        1 => conversation: ConversationId,
        /// The addressee's session.
        2 => session: SessionId,
        /// The numbers, ascending; at least one.
        3 => ranges: Vec<NRange> where rules::some_ranges,
    }
}

wire_map! {
    /// Kind 19: signed messages sent again, verbatim, by their author; a group's profile by any
    /// member.
    pub struct Resend, max(limits::OBJECT), debug(redacted) {
        /// The conversation.
        1 => conversation: ConversationId,
        /// Encoded [`MessageBytes`](super::MessageBytes), each; at least one.
        2 => items: Vec<Vec<u8>> where rules::documents(1..=limits::LIST, limits::OBJECT),
    }
}

wire_map! {
    /// Kind 20: tells an invitee of an invite in a group's log.
    pub struct InviteNotice, max(4 * 1024), debug(redacted) {
        /// The group.
        1 => group: GroupId,
        /// Where the invite stands.
        2 => invite: InviteRef,
        /// The inviter's roster head: the least head that the joiner accepts.
        3 => roster_head: Hash,
        /// Position of that head.
        4 => position: u64,
        /// The group's name as the inviter knows it, at most 256 bytes.
        5 => name: String where rules::length(0..=limits::GROUP_NAME),
    }
}

wire_map! {
    /// Kind 21: signed messages of a group's past, granted to a new member.
    pub struct HistoryGrant, max(limits::OBJECT), rule(Self::check_part), debug(redacted) {
        /// The group.
        1 => group: GroupId,
        /// Index of this part, from 0.
        2 => part: u32,
        /// Number of parts.
        3 => parts: u32,
        /// Encoded [`MessageBytes`](super::MessageBytes) of content messages, each; at least one.
        4 => items: Vec<Vec<u8>> where rules::documents(1..=limits::LIST, limits::OBJECT),
        /// Hash of the commit by which the grant's reader joined.
        5 => joined: Hash,
    }
}

wire_map! {
    /// Kind 22: a group's profile; valid from an admin only, the highest revision counts.
    pub struct Profile, max(8 * 1024), debug(redacted) {
        /// The group.
        1 => group: GroupId,
        /// Grows with every change.
        2 => revision: u64,
        /// Name, at most 256 bytes.
        3 => name: String where rules::length(0..=limits::GROUP_NAME),
        /// Topic, at most 4,096 bytes.
        4 => topic: Option<String> where rules::length(1..=limits::GROUP_TOPIC),
        /// URL of an avatar, at most 2,048 bytes; never fetched by a proxy.
        5 => avatar: Option<String> where rules::length(1..=limits::GROUP_AVATAR),
    }
}

wire_map! {
    /// Kind 23: typing started or stopped.
    pub struct Typing, max(64) {
        /// Whether it started.
        1 => active: bool,
        /// The group in which; absent in the conversation of the message itself.
        2 => group: Option<GroupId>,
    }
}

wire_map! {
    /// Kind 24: presence text for contacts.
    pub struct Presence, max(1024), debug(redacted) {
        /// `online`, `busy` or `offline`.
        1 => status: String where rules::presence,
        /// Custom text, at most 200 characters.
        2 => text: Option<String> where rules::scalars(limits::PRESENCE_SCALARS),
    }
}

impl HistoryGrant {
    fn check_part(&self) -> Result<(), DecodeError> {
        rules::holds(self.part < self.parts, "part")
    }
}
