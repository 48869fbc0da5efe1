//! A document of every type, once with all fields and once with those that must be there.

use waxwire_proxy::vectors::Item;
use waxwire_shared::{
    ids::{BlobId, ConversationId, GroupId, Mid, Nonce32, SessionId},
    suite::Suite,
    wire::*,
};

use super::world::*;

/// One type of document.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) max: usize,
    pub(super) full: Item,
    pub(super) minimal: Item,
}

pub(super) fn document<T: Document>(name: &'static str, full: &T, minimal: &T) -> Sample {
    let item = |document: &T| Item::parse(&document.encode()).unwrap();
    Sample {
        name,
        max: T::MAX,
        full: item(full),
        minimal: item(minimal),
    }
}

pub(super) fn mid() -> Mid {
    Mid::from_bytes([0x44; 16])
}

pub(super) fn group_id() -> GroupId {
    GroupId::from_bytes([0x33; 32])
}

pub(super) fn conversation() -> ConversationId {
    ConversationId::direct(&alice().key(), &bob().key())
}

pub(super) fn range(first: u64, last: u64) -> NRange {
    NRange { first, last }
}

pub(super) fn direct_header(lane: Lane) -> DirectHeader {
    DirectHeader {
        suite: Suite::CLASSIC,
        lane,
        to: bob().agent_id(),
        key_number: KEY_NUMBER,
        mid: mid(),
    }
}

pub(super) fn group_header() -> GroupHeader {
    GroupHeader {
        suite: Suite::CLASSIC,
        mid: mid(),
        group: group_id(),
        epoch: 3,
        roster_head: hash(0x22),
        sender: alice().agent_id(),
        i: 5,
    }
}

pub(super) fn direct_context(header: &DirectHeader) -> Context {
    Context {
        header: Document::encode(header),
        recipient_handle: Some(bob().handle),
        recipient: Some(bob().key()),
        recipient_key_number: Some(KEY_NUMBER),
        sender_key_number: Some(KEY_NUMBER),
        sender_bundle: Some(alice().identity_bundle_hash()),
        log_head: None,
    }
}

pub(super) fn group_context(header: &GroupHeader) -> Context {
    Context {
        header: Document::encode(header),
        recipient_handle: None,
        recipient: None,
        recipient_key_number: None,
        sender_key_number: None,
        sender_bundle: None,
        log_head: None,
    }
}

/// The smallest core of a kind, by alice.
pub(super) fn core(kind: Kind) -> Core {
    let group = ConversationId::group(&group_id());
    Core {
        version: VERSION,
        suite: Suite::CLASSIC,
        kind,
        handle: alice().handle,
        identity: alice().key(),
        conversation: if kind == Kind::Group {
            group
        } else {
            conversation()
        },
        session: alice().session,
        incarnation: NOW,
        n: 1,
        previous: None,
        void: Vec::new(),
        client_msg_id: "first".to_owned(),
        time: NOW,
        expires: None,
        ack: None,
        message_type: "text".to_owned(),
        content: br#"{"text":"hello!"}"#.to_vec(),
        metadata: None,
        reply_to: None,
        attachments: None,
    }
}

pub(super) fn full_core() -> Core {
    Core {
        n: 9,
        previous: Some(hash(0x55)),
        void: vec![range(2, 2), range(4, 8)],
        expires: Some(NOW + 60_000),
        ack: Some(receipt()),
        metadata: Some(b"{}".to_vec()),
        reply_to: Some(hash(0x66)),
        attachments: Some(vec![attachment()]),
        ..core(Kind::Direct)
    }
}

pub(super) fn attachment() -> AttachmentRef {
    AttachmentRef {
        blob: BlobId::from_bytes([0x77; 16]),
        key: Nonce32::from_bytes([0x88; 32]),
        nonce_prefix: vec![0x99; 19],
        ciphertext_hash: hash(0xaa),
        ciphertext_length: 528,
        length: 5,
        filename: "note.txt".to_owned(),
        content_type: "text/plain".to_owned(),
    }
}

pub(super) fn receipt() -> Receipt {
    Receipt {
        conversation: conversation(),
        session: bob().session,
        n: 3,
        core_hash: Some(hash(0xbb)),
        later: vec![range(5, 5), range(7, 1 << 40)],
        state: ReceiptState::Delivered,
    }
}

pub(super) fn empty_receipt() -> Receipt {
    Receipt {
        n: 0,
        core_hash: None,
        later: Vec::new(),
        state: ReceiptState::Read,
        ..receipt()
    }
}

/// A control body of a kind, by alice.
pub(super) fn control_body(kind: Kind) -> ControlBody {
    use Document as _;
    let body = match kind {
        Kind::Receipt => receipt().encode(),
        Kind::Unreadable => unreadable().encode(),
        Kind::ResendRequest => resend_request().encode(),
        Kind::Resend => resend(vec![vec![1]]).encode(),
        Kind::Invite => invite_notice().encode(),
        Kind::HistoryGrant => history_grant().encode(),
        Kind::Profile => profile().encode(),
        Kind::Typing => typing(true, None).encode(),
        _ => presence().encode(),
    };
    ControlBody {
        version: VERSION,
        suite: Suite::CLASSIC,
        kind,
        handle: alice().handle,
        identity: alice().key(),
        conversation: conversation(),
        session: alice().session,
        incarnation: NOW,
        time: NOW,
        body,
    }
}

pub(super) fn unreadable() -> Unreadable {
    Unreadable {
        envelope_hash: hash(0xcc),
        mid: mid(),
    }
}

pub(super) fn resend_request() -> ResendRequest {
    ResendRequest {
        conversation: conversation(),
        session: bob().session,
        ranges: vec![range(1, 1), range(3, 9)],
    }
}

pub(super) fn resend(items: Vec<Vec<u8>>) -> Resend {
    Resend {
        conversation: conversation(),
        items,
    }
}

fn invite_ref() -> InviteRef {
    InviteRef {
        commit: hash(0xdd),
        index: 63,
    }
}

pub(super) fn invite_notice() -> InviteNotice {
    InviteNotice {
        group: group_id(),
        invite: invite_ref(),
        roster_head: hash(0x22),
        position: 12,
        name: "Ops".to_owned(),
    }
}

pub(super) fn history_grant() -> HistoryGrant {
    HistoryGrant {
        group: group_id(),
        part: 0,
        parts: 2,
        items: vec![vec![1, 2, 3], vec![4]],
        joined: hash(0xee),
    }
}

pub(super) fn profile() -> Profile {
    Profile {
        group: group_id(),
        revision: 4,
        name: "Ops".to_owned(),
        topic: Some("what is on".to_owned()),
        avatar: Some("https://example.org/a.png".to_owned()),
    }
}

pub(super) const fn typing(active: bool, group: Option<GroupId>) -> Typing {
    Typing { active, group }
}

pub(super) fn presence() -> Presence {
    Presence {
        status: "busy".to_owned(),
        text: Some("until 3".to_owned()),
    }
}

pub(super) fn policy() -> Policy {
    Policy {
        join: JoinPolicy::Open,
        invite_role: Role::Member,
        slug: Some("help-desk".parse().unwrap()),
    }
}

fn cut_off() -> CutOff {
    CutOff {
        incarnation: NOW,
        session: SessionId::from_bytes([2; 16]),
        n: 40,
    }
}

/// Every change, with its optional fields and without.
pub(super) fn changes() -> Vec<Change> {
    let (identity, handle) = (bob().key(), bob().handle);
    let without_slug = Policy {
        slug: None,
        join: JoinPolicy::Invite,
        invite_role: Role::Admin,
    };
    vec![
        Change::Create {
            nonce: Nonce32::from_bytes([0x12; 32]),
            handle: handle.clone(),
            policy: policy(),
        },
        Change::Invite {
            identity: identity.clone(),
            handle: handle.clone(),
            role: Role::Admin,
        },
        Change::Uninvite { invite: invite_ref() },
        Change::Accept { invite: invite_ref() },
        Change::Join { handle },
        Change::Remove {
            identity: identity.clone(),
            cut_off: Some(cut_off()),
        },
        Change::Remove {
            identity: identity.clone(),
            cut_off: None,
        },
        Change::Leave {
            cut_off: Some(cut_off()),
        },
        Change::Leave { cut_off: None },
        Change::Role {
            identity,
            role: Role::Member,
        },
        Change::Policy { policy: without_slug },
        Change::Disband,
    ]
}

pub(super) fn rekey() -> Rekey {
    Rekey {
        epoch: 2,
        suite: Suite::CLASSIC,
        commitment: hash(0x13),
        root: hash(0x14),
        leaves: 10_000,
        roster: hash(0x15),
    }
}

pub(super) fn leaf(content: LeafContent) -> Leaf {
    Leaf {
        index: 9_999,
        identity: bob().key(),
        content,
    }
}

pub(super) fn log_head() -> LogHead {
    LogHead {
        version: VERSION,
        relay: relay_id(),
        log: hash(0x16),
        size: 1_000,
        root: hash(0x17),
        time: NOW,
        map_root: None,
        co_signatures: None,
    }
}

pub(super) fn signature(byte: u8) -> waxwire_shared::identity::Signature {
    waxwire_shared::identity::Signature::new([byte; 64])
}

pub(super) fn succession() -> Succession {
    Succession {
        version: VERSION,
        relay: relay_id(),
        handle: alice().handle,
        old: alice().key(),
        new: dave().key(),
        time: NOW,
    }
}

pub(super) fn lease() -> Lease {
    Lease {
        version: VERSION,
        relay: relay_id(),
        identity: alice().key(),
        incarnation: NOW,
        session: alice().session,
        time: NOW,
    }
}

pub(super) fn challenge() -> Challenge {
    Challenge {
        version: VERSION,
        relay: relay_id(),
        purpose: ChallengePurpose::Register,
        handle: alice().handle,
        identity: alice().key(),
        relay_nonce: Nonce32::from_bytes([0x18; 32]),
        agent_nonce: Nonce32::from_bytes([0x19; 32]),
        time: NOW,
    }
}

pub(super) fn relay_description() -> RelayDescription {
    RelayDescription {
        version: VERSION,
        identity: relay().public().clone(),
        nonce: Nonce32::from_bytes([0x1a; 32]),
        time: NOW,
    }
}
