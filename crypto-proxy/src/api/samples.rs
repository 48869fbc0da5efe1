//! What the tests show: messages, conversations, groups, peers.

use std::{path::Path, sync::Arc};

use waxwire_shared::{
    fingerprint::Fingerprint,
    identity::IdentityKey,
    ids::{GroupId, Hash},
    wire::{LogLeaf, Role},
};

use crate::{
    attachments::{Attachments, Bounds},
    link::{Client, RelayUrl},
    model::{
        Audit, AuditFailure, AuditedLeaf, Channel, Contact, Conversation, ConversationKind, DeliveryId,
        Group, GroupMember, GroupProfile, ListedChannel, LocalConversation, LogEvidence, LogEvidenceKind,
        Message, MessageId, Peer, Profile, Security, ShownHead, Status, Trust, UnixMs,
    },
    transparency::Verdict,
};

/// 2026-11-22T17:39:08.007Z
pub(super) const NOW: UnixMs = 1_795_369_148_007;

pub(super) fn fingerprint(key: u8) -> Fingerprint {
    Fingerprint::of(&IdentityKey::ed25519([key; 32]))
}

pub(super) fn conversation_id(number: u8) -> LocalConversation {
    LocalConversation {
        kind: ConversationKind::Direct,
        id: [number; 16],
    }
}

pub(super) fn group_id(number: u8) -> LocalConversation {
    LocalConversation::group(&GroupId::from_bytes([number; 32]))
}

fn member(handle: &str, role: Role) -> GroupMember {
    GroupMember {
        handle: handle.parse().unwrap(),
        role,
        joined_at: NOW,
        trust: Trust::Pinned,
        confirmed_epoch: None,
    }
}

/// A group of alice, who is its admin, and bob.
pub(super) fn group(number: u8) -> Group {
    Group {
        id: group_id(number),
        profile: GroupProfile {
            name: "Freight".to_owned(),
            description: Some("who carries what".to_owned()),
            avatar: None,
        },
        created_by: "alice".parse().unwrap(),
        created_at: NOW,
        last_message_at: Some(NOW),
        your_role: Role::Admin,
        members: vec![member("alice", Role::Admin), member("bob", Role::Member)],
    }
}

pub(super) fn conversation(number: u8) -> Conversation {
    Conversation {
        id: conversation_id(number),
        participants: vec!["bob".parse().unwrap()],
        group: None,
        standing: None,
        updated_at: NOW,
        last_message_at: Some(NOW),
        unread: 0,
        muted_until: 0,
    }
}

/// An inbound message from bob in conversation 1.
pub(super) fn message(number: u8) -> Message {
    Message {
        id: MessageId([number; 16]),
        conversation: conversation_id(1),
        sender: "bob".parse().unwrap(),
        own: false,
        client_msg_id: format!("c-{number}"),
        seq: u64::from(number),
        message_type: "text".to_owned(),
        content: r#"{"text":"hello"}"#.to_owned(),
        metadata: None,
        reply_to: None,
        status: Status::Stored,
        created_at: NOW,
        delivered_at: None,
        read_at: None,
        expires_at: None,
        visible_at: None,
        place: u64::from(number),
        delivery: Some(DeliveryId {
            store: [9; 8],
            position: u64::from(number),
        }),
        security: Security {
            verified: true,
            sender_fingerprint: fingerprint(2),
            trust: Trust::Pinned,
            gap: None,
            broadcast: false,
            epoch: None,
            granted_by: None,
            late: false,
            repeats: 0,
        },
        group: None,
        recipients: Vec::new(),
        muted_until: 0,
    }
}

pub(super) fn peer() -> Peer {
    Peer {
        handle: "bob".parse().unwrap(),
        fingerprint: fingerprint(2),
        safety_number: "12345 ".repeat(12).trim_end().to_owned(),
        trust: Trust::Pinned,
        changed: None,
        former: Vec::new(),
        key_number: 7,
        not_after: NOW,
        first_seen: NOW,
    }
}

/// A contact as the tests show it.
pub(super) fn contact(handle: &str) -> Contact {
    Contact {
        handle: handle.parse().unwrap(),
        added_at: NOW,
        notes: Some("owes us a crate".to_owned()),
        profile: Profile {
            display_name: Some("Bob".to_owned()),
            description: None,
        },
    }
}

/// A channel of group `number`, by the word of its log.
pub(super) fn channel(number: u8, slug: &str) -> Channel {
    Channel {
        id: group_id(number),
        slug: slug.parse().unwrap(),
        name: "Freight".to_owned(),
        open: true,
        joined: true,
        members: 2,
    }
}

/// The same by the relay's word.
pub(super) fn listed_channel(number: u8, slug: &str) -> ListedChannel {
    ListedChannel {
        id: group_id(number),
        slug: slug.parse().unwrap(),
        members: 7,
    }
}

/// An audit that found everything that can be found.
pub(super) fn audit() -> Audit {
    let head = |log| ShownHead {
        log: Hash::from_bytes([log; 32]),
        size: 7,
        time: NOW,
    };
    let leaf = |place, verdict| AuditedLeaf {
        place,
        leaf: LogLeaf {
            handle_tag: Hash::from_bytes([3; 32]),
            number: place * 10,
            bundle: Hash::from_bytes([4; 32]),
        },
        verdict,
    };
    Audit {
        running: false,
        scanned: 7,
        target: None,
        head: Some(head(1)),
        finished: Some((NOW, Some(AuditFailure::Halted))),
        own: vec![
            leaf(1, Verdict::Own),
            leaf(2, Verdict::Unaccounted),
            leaf(3, Verdict::Rogue),
        ],
        current_logged: true,
        forked: true,
        other: Some(head(2)),
        evidence: vec![LogEvidence {
            at: NOW,
            kind: LogEvidenceKind::Fork,
            first: vec![1],
            second: vec![2, 3],
        }],
    }
}

/// Attachments beside a relay that does not answer.
pub(super) fn attachments(folder: &Path) -> Attachments {
    let relay = RelayUrl::parse("http://127.0.0.1:1", false).unwrap();
    let bounds = Bounds {
        attachment: 1_000_000,
        space: 2_000_000,
    };
    Attachments::open(Arc::new(Client::new(relay).unwrap()), folder, bounds, &[]).unwrap()
}
