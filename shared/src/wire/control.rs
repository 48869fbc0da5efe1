//! The documents inside control messages (docs/protocol.md, 6, 7 and 9).

use super::{InviteRef, NRange, wire_map};
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
        /// The numbers, ascending.
        3 => ranges: Vec<NRange>,
    }
}

wire_map! {
    /// Kind 19: signed messages sent again, verbatim.
    pub struct Resend, max(limits::BUCKET_MAX) {
        /// The conversation.
        1 => conversation: ConversationId,
        /// Encoded [`MessageBytes`](super::MessageBytes), each.
        2 => items: Vec<Vec<u8>>,
    }
}

wire_map! {
    /// Kind 20: tells an invitee of an invite in a group's log.
    pub struct InviteNotice, max(4 * 1024) {
        /// The group.
        1 => group: GroupId,
        /// Where the invite stands.
        2 => invite: InviteRef,
        /// The inviter's roster head: the least head that the joiner accepts.
        3 => roster_head: Hash,
        /// Position of that head.
        4 => position: u64,
        /// The group's name as the inviter knows it.
        5 => name: String,
    }
}

wire_map! {
    /// Kind 21: signed messages of a group's past, granted to a new member.
    pub struct HistoryGrant, max(limits::BUCKET_MAX) {
        /// The group.
        1 => group: GroupId,
        /// Index of this part, from 0.
        2 => part: u32,
        /// Number of parts.
        3 => parts: u32,
        /// Encoded [`MessageBytes`](super::MessageBytes), each.
        4 => items: Vec<Vec<u8>>,
    }
}

wire_map! {
    /// Kind 22: a group's profile; valid from an admin only, the highest revision counts.
    pub struct Profile, max(8 * 1024) {
        /// The group.
        1 => group: GroupId,
        /// Grows with every change.
        2 => revision: u64,
        /// Name, at most 256 bytes.
        3 => name: String,
        /// Topic, at most 4,096 bytes.
        4 => topic: Option<String>,
        /// URL of an avatar, at most 2,048 bytes; never fetched by a proxy.
        5 => avatar: Option<String>,
    }
}

wire_map! {
    /// Kind 23: typing started or stopped in the body's conversation.
    pub struct Typing, max(64) {
        /// Whether it started.
        1 => active: bool,
    }
}

wire_map! {
    /// Kind 24: presence text for contacts.
    pub struct Presence, max(1024) {
        /// `online`, `busy` or `offline`.
        1 => status: String,
        /// Custom text, at most 200 characters.
        2 => text: Option<String>,
    }
}
