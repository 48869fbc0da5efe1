//! The list of documents, each with all its fields and with those that must be there.

use waxwire_shared::{sign::SignedBytes, suite::Suite, wire::*};

use super::{samples::*, world::*};

/// Documents with a table of their own.
pub(super) fn all() -> Vec<Sample> {
    use waxwire_shared::wire::Document as _;
    let mut documents = messages();
    let commit = Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group: Some(group_id()),
        position: 8,
        previous: Some(hash(0x22)),
        signer: alice().key(),
        changes: changes(),
        rekey: Some(rekey()),
        time: NOW,
    };
    let least = Commit {
        group: None,
        position: 0,
        previous: None,
        changes: Vec::new(),
        rekey: None,
        ..commit.clone()
    };
    documents.push(document("Commit", &commit, &least));
    let member = Member {
        identity: alice().key(),
        handle: alice().handle,
        role: Role::Admin,
        joined: 0,
    };
    let snapshot = RosterSnapshot {
        position: 8,
        members: vec![member],
        policy: policy(),
    };
    let empty = RosterSnapshot {
        members: Vec::new(),
        ..snapshot.clone()
    };
    documents.push(document("RosterSnapshot", &snapshot, &empty));
    let sealed = leaf(LeafContent::Sealed {
        key_number: KEY_NUMBER,
        suite: Suite::CLASSIC,
        sealed: vec![0x1b; 96],
    });
    let vacant = leaf(LeafContent::Empty(EmptyReason::Unreachable));
    let leaves = Leaves {
        leaves: vec![sealed.encode(), vacant.encode()],
    };
    documents.push(document("Leaf", &sealed, &vacant));
    documents.push(document("Leaves", &leaves, &leaves));
    let proof = LeafProof {
        leaf: sealed.encode(),
        path: vec![hash(1), hash(2)],
    };
    documents.push(document(
        "LeafProof",
        &proof,
        &LeafProof {
            path: Vec::new(),
            ..proof.clone()
        },
    ));

    let bundle = Bundle {
        previous: Some(hash(0x1c)),
        ..alice().bundle()
    };
    documents.push(document("Bundle", &bundle, &alice().bundle()));
    documents.push(document("Succession", &succession(), &succession()));
    let bytes = SuccessionBytes {
        body: succession().encode(),
        by_new: signature(1),
        by_old: Some(signature(2)),
        recovery: Some(recovery().public().clone()),
        by_recovery: Some(signature(3)),
    };
    let least = SuccessionBytes {
        recovery: None,
        by_recovery: None,
        ..bytes.clone()
    };
    documents.push(document("SuccessionBytes", &bytes, &least));
    documents.push(document("Lease", &lease(), &lease()));
    documents.push(document("Challenge", &challenge(), &challenge()));
    documents.push(document(
        "RelayDescription",
        &relay_description(),
        &relay_description(),
    ));

    let leaf = LogLeaf {
        handle_tag: hash(0x1d),
        number: NOW,
        bundle: hash(0x1e),
    };
    documents.push(document("LogLeaf", &leaf, &leaf));
    let head = LogHead {
        map_root: Some(hash(0x1f)),
        co_signatures: Some(vec![vec![7; 64]]),
        ..log_head()
    };
    documents.push(document("LogHead", &head, &log_head()));
    let proof = LogProof {
        head: head.encode(),
        index: 3,
        path: vec![hash(1)],
    };
    documents.push(document(
        "LogProof",
        &proof,
        &LogProof {
            path: Vec::new(),
            ..proof.clone()
        },
    ));
    let consistency = LogConsistency {
        earlier: log_head().encode(),
        later: head.encode(),
        path: vec![hash(1)],
    };
    let least = LogConsistency {
        path: Vec::new(),
        ..consistency.clone()
    };
    documents.push(document("LogConsistency", &consistency, &least));
    documents
}

fn messages() -> Vec<Sample> {
    use waxwire_shared::wire::Document as _;
    let signed = SignedBytes {
        body: lease().encode(),
        signature: signature(1),
    };
    let header = direct_header(Lane::Mail);
    let context = Context {
        log_head: Some(vec![1, 2, 3]),
        ..direct_context(&header)
    };
    let message = MessageBytes {
        context: context.encode(),
        core: core(Kind::Direct).encode(),
        signature: signature(1),
    };
    let control = control_body(Kind::Typing);
    let grant = history_grant();
    let bare = Profile {
        topic: None,
        avatar: None,
        ..profile()
    };
    let silent = Presence {
        text: None,
        ..presence()
    };
    vec![
        document("Signed", &signed, &signed),
        document("DirectHeader", &header, &header),
        document("GroupHeader", &group_header(), &group_header()),
        document("Context", &context, &group_context(&group_header())),
        document("Message", &message, &message),
        document("Core", &full_core(), &core(Kind::Group)),
        document("Receipt", &receipt(), &empty_receipt()),
        document("ControlBody", &control, &control),
        document("Unreadable", &unreadable(), &unreadable()),
        document("ResendRequest", &resend_request(), &resend_request()),
        document(
            "Resend",
            &resend(vec![vec![1], vec![2, 3]]),
            &resend(vec![vec![1]]),
        ),
        document("InviteNotice", &invite_notice(), &invite_notice()),
        document("HistoryGrant", &grant, &grant),
        document("Profile", &profile(), &bare),
        document("Typing", &typing(true, Some(group_id())), &typing(false, None)),
        document("Presence", &presence(), &silent),
    ]
}
