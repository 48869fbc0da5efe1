//! Rules of single fields, one fault each; and golden bytes.

use super::samples::{Gen, Sample};
use crate::{
    ids::{AgentId, GroupId, Hash, Mid},
    suite::Suite,
    wire::*,
};

fn sample<T: Sample>() -> T {
    T::sample(&mut Gen(proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    )))
}

/// The field at fault, and how to break it.
type Fault<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// The field that a changed document is refused for.
fn refused<T: Sample>(change: impl FnOnce(&mut T)) -> &'static str {
    let mut value = sample::<T>();
    assert_eq!(T::decode(&value.encode()).err(), None);
    change(&mut value);
    let error = T::decode(&value.encode()).err();
    assert_eq!(
        value.check_rules().err(),
        error,
        "a writer knows what a reader refuses"
    );
    match error {
        Some(DecodeError::Value { what }) => what,
        other => panic!("{other:?}"),
    }
}

fn accepted<T: Sample>(change: impl FnOnce(&mut T)) {
    let mut value = sample::<T>();
    change(&mut value);
    assert_eq!(T::decode(&value.encode()).err(), None);
    assert_eq!(value.check_rules(), Ok(()));
}

fn range(first: u64, last: u64) -> NRange {
    NRange { first, last }
}

/// docs/protocol.md, 5.4 and 13.3: rules of a core's fields.
#[test]
fn core_rules() {
    let first = |core: &mut Core| {
        (core.n, core.previous, core.void) = (1, None, Vec::new());
        (core.kind, core.ack) = (Kind::Direct, None);
    };
    let faults: [Fault<Core>; 21] = [
        ("kind", &|core| core.kind = Kind::Receipt),
        ("kind", &|core| core.kind = Kind::EpochKey),
        ("n", &|core| core.n = 0),
        ("previous", &|core| {
            core.previous = Some(Hash::from_bytes([0; 32]))
        }),
        ("previous", &|core| core.n = 2),
        ("void", &|core| core.void = vec![range(1, 1)]),
        ("void", &|core| {
            (core.n, core.previous) = (9, Some(Hash::from_bytes([0; 32])));
            core.void = vec![range(3, 4), range(5, 6)];
        }),
        ("first", &|core| core.void = vec![range(0, 0)]),
        ("last", &|core| core.void = vec![range(2, 1)]),
        ("client_msg_id", &|core| core.client_msg_id = String::new()),
        ("client_msg_id", &|core| core.client_msg_id = "ü".repeat(129)),
        ("message_type", &|core| core.message_type = String::new()),
        ("message_type", &|core| core.message_type = "Text".to_owned()),
        ("message_type", &|core| core.message_type = "1text".to_owned()),
        ("message_type", &|core| core.message_type = "t".repeat(33)),
        ("message_type", &|core| core.message_type = "tü".to_owned()),
        ("content", &|core| core.content = Vec::new()),
        ("content", &|core| core.content = vec![b' '; 48 * 1024 + 1]),
        ("content", &|core| core.content = vec![0xff]),
        ("metadata", &|core| core.metadata = Some(vec![b' '; 4_097])),
        ("attachments", &|core| core.attachments = Some(Vec::new())),
    ];
    for (what, fault) in faults {
        let found = refused::<Core>(|core| {
            first(core);
            fault(core);
        });
        assert_eq!(found, what);
    }
    let receipt = sample::<Receipt>();
    let other = receipt.conversation;
    assert_eq!(
        refused::<Core>(|core| {
            first(core);
            core.conversation = crate::ids::ConversationId::from_bytes([0; 32]);
            core.ack = Some(receipt.clone());
        }),
        "ack"
    );
    assert_eq!(
        refused::<Core>(|core| {
            first(core);
            (core.kind, core.conversation, core.ack) = (Kind::Group, other, Some(receipt.clone()));
        }),
        "ack"
    );
    accepted::<Core>(|core| {
        first(core);
        core.client_msg_id = "🦀".repeat(128);
        core.message_type = "a._-0".to_owned();
        core.content = vec![b' '; 48 * 1024];
        core.metadata = Some(vec![b' '; 4_096]);
        core.attachments = None;
    });
}

/// docs/protocol.md, 3.2: another version is told apart from damage.
#[test]
fn other_versions_are_refused_by_name() {
    let refused = Lease::decode(
        &Lease {
            version: 2,
            ..sample()
        }
        .encode(),
    );
    assert_eq!(refused, Err(DecodeError::Version { found: 2 }));
    // Before anything else is read: a later version may have other fields.
    assert_eq!(
        Core::decode(&hex::decode("a201020981f6").unwrap()),
        Err(DecodeError::Version { found: 2 })
    );
}

/// docs/protocol.md, 7.3: a receipt has a hash exactly if it has a number, and no range touches it.
#[test]
fn receipt_rules() {
    let hash = Some(Hash::from_bytes([0; 32]));
    let faults: [Fault<Receipt>; 6] = [
        ("core_hash", &|receipt| (receipt.n, receipt.core_hash) = (0, hash)),
        ("core_hash", &|receipt| (receipt.n, receipt.core_hash) = (1, None)),
        ("later", &|receipt| receipt.later = vec![range(6, 9)]),
        ("later", &|receipt| receipt.later = vec![range(2, 3)]),
        ("later", &|receipt| receipt.later = vec![range(9, 9), range(7, 7)]),
        ("later", &|receipt| {
            receipt.later = (0..65).map(|i| range(10 + 2 * i, 10 + 2 * i)).collect()
        }),
    ];
    for (what, fault) in faults {
        let found = refused::<Receipt>(|receipt| {
            (receipt.n, receipt.core_hash, receipt.later) = (5, hash, Vec::new());
            fault(receipt);
        });
        assert_eq!(found, what);
    }
    accepted::<Receipt>(|receipt| {
        (receipt.n, receipt.core_hash) = (5, hash);
        receipt.later = vec![range(7, 7), range(9, u64::MAX)];
    });
}

/// docs/protocol.md, 5.3: a context names a recipient with all that belongs to one, or none.
#[test]
fn context_names_a_whole_recipient_or_none() {
    for fault in 0..5 {
        let found = refused::<Context>(|context| {
            context.recipient_handle = Some("abc".parse().unwrap());
            context.recipient = Some(sample::<Lease>().identity);
            context.recipient_key_number = Some(1);
            context.sender_key_number = Some(1);
            context.sender_bundle = Some(Hash::from_bytes([0; 32]));
            match fault {
                0 => context.recipient_handle = None,
                1 => context.recipient = None,
                2 => context.recipient_key_number = None,
                3 => context.sender_key_number = None,
                _ => context.sender_bundle = None,
            }
        });
        assert_eq!(found, "recipient");
    }
    assert_eq!(
        refused::<Context>(|context| context.header = Vec::new()),
        "header"
    );
    assert_eq!(
        refused::<Context>(|context| context.header = vec![0; 513]),
        "header"
    );
    assert_eq!(
        refused::<Context>(|context| context.log_head = Some(Vec::new())),
        "log_head"
    );
}

/// docs/protocol.md, 7.2: rules of an attachment's reference.
#[test]
fn attachment_rules() {
    let fault = |fault: &dyn Fn(&mut AttachmentRef)| {
        refused::<Core>(|core| {
            let mut attachment = reference();
            fault(&mut attachment);
            core.attachments = Some(vec![attachment]);
        })
    };
    accepted::<Core>(|core| core.attachments = Some(vec![reference(); 16]));
    assert_eq!(
        refused::<Core>(|core| core.attachments = Some(vec![reference(); 17])),
        "attachments"
    );
    for name in ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0b", &"a".repeat(256)] {
        assert_eq!(fault(&|a| a.filename = name.to_owned()), "filename", "{name}");
    }
    assert_eq!(fault(&|a| a.nonce_prefix = vec![0; 18]), "nonce_prefix");
    assert_eq!(fault(&|a| a.nonce_prefix = vec![0; 20]), "nonce_prefix");
    assert_eq!(fault(&|a| a.content_type = String::new()), "content_type");
    assert_eq!(fault(&|a| a.content_type = "a".repeat(129)), "content_type");
    assert_eq!(fault(&|a| a.ciphertext_length += 1), "ciphertext_length");
    assert_eq!(fault(&|a| a.length = u64::MAX), "ciphertext_length");
}

fn reference() -> AttachmentRef {
    AttachmentRef {
        blob: crate::ids::BlobId::from_bytes([1; 16]),
        key: crate::ids::Nonce32::from_bytes([2; 32]),
        nonce_prefix: vec![3; 19],
        ciphertext_hash: Hash::from_bytes([4; 32]),
        ciphertext_length: 528,
        length: 5,
        filename: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
    }
}

/// docs/protocol.md, 4, 6, 9 and 10: bounds of the other documents.
#[test]
fn other_rules() {
    assert_eq!(refused::<ControlBody>(|body| body.kind = Kind::Direct), "kind");
    assert_eq!(refused::<ControlBody>(|body| body.kind = Kind::EpochKey), "kind");
    assert_eq!(refused::<ControlBody>(|body| body.body = Vec::new()), "body");
    assert_eq!(
        refused::<ResendRequest>(|request| request.ranges = Vec::new()),
        "ranges"
    );
    assert_eq!(refused::<Resend>(|resend| resend.items = Vec::new()), "items");
    assert_eq!(
        refused::<Resend>(|resend| resend.items = vec![Vec::new()]),
        "items"
    );
    assert_eq!(refused::<HistoryGrant>(|grant| grant.part = grant.parts), "part");
    assert_eq!(
        refused::<InviteNotice>(|invite| invite.name = "ü".repeat(129)),
        "name"
    );
    assert_eq!(
        refused::<InviteNotice>(|invite| invite.invite.index = 64),
        "index"
    );
    assert_eq!(
        refused::<Profile>(|profile| profile.name = "n".repeat(257)),
        "name"
    );
    assert_eq!(
        refused::<Profile>(|profile| profile.topic = Some(String::new())),
        "topic"
    );
    assert_eq!(
        refused::<Profile>(|profile| profile.topic = Some("t".repeat(4_097))),
        "topic"
    );
    assert_eq!(
        refused::<Profile>(|profile| profile.avatar = Some("a".repeat(2_049))),
        "avatar"
    );
    assert_eq!(
        refused::<Presence>(|presence| presence.status = "away".to_owned()),
        "status"
    );
    assert_eq!(
        refused::<Presence>(|presence| presence.text = Some("t".repeat(201))),
        "text"
    );
    accepted::<Presence>(|presence| presence.text = Some("ü".repeat(200)));
    assert_eq!(refused::<GroupHeader>(|header| header.epoch = 0), "epoch");
    assert_eq!(refused::<GroupHeader>(|header| header.i = 65_536), "i");
    assert_eq!(refused::<Bundle>(|bundle| bundle.keys.clear()), "keys");
    assert_eq!(
        refused::<Bundle>(|bundle| bundle.keys = vec![bundle.keys[0].clone(); 9]),
        "keys"
    );
    assert_eq!(
        refused::<Bundle>(|bundle| bundle.keys[0].public = Vec::new()),
        "public"
    );
    assert_eq!(
        refused::<Bundle>(|bundle| bundle.keys[0].public = vec![0; 2_049]),
        "public"
    );
    assert_eq!(
        refused::<Succession>(|change| change.new = change.old.clone()),
        "new"
    );
    assert_eq!(
        refused::<SuccessionBytes>(
            |bytes| (bytes.by_old, bytes.recovery, bytes.by_recovery) = (None, None, None)
        ),
        "by_old"
    );
    assert_eq!(
        refused::<SuccessionBytes>(|bytes| {
            bytes.recovery = Some(sample::<Lease>().identity);
            bytes.by_recovery = None;
        }),
        "by_recovery"
    );
    assert_eq!(refused::<Leaf>(|leaf| leaf.index = 10_000), "index");
    let content = |sealed| LeafContent::Sealed {
        key_number: 1,
        suite: Suite::CLASSIC,
        sealed,
    };
    assert_eq!(
        refused::<Leaf>(|leaf| leaf.content = content(Vec::new())),
        "sealed"
    );
    assert_eq!(
        refused::<Leaf>(|leaf| leaf.content = content(vec![0; 4_097])),
        "sealed"
    );
    assert_eq!(refused::<Leaves>(|leaves| leaves.leaves = Vec::new()), "leaves");
    assert_eq!(
        refused::<LeafProof>(|proof| proof.path = vec![Hash::from_bytes([0; 32]); 65]),
        "path"
    );
    assert_eq!(
        refused::<LogHead>(|head| head.co_signatures = Some(Vec::new())),
        "co_signatures"
    );
    let rekey = Rekey {
        epoch: 1,
        suite: Suite::CLASSIC,
        commitment: Hash::from_bytes([1; 32]),
        root: Hash::from_bytes([2; 32]),
        leaves: 1,
        roster: Hash::from_bytes([3; 32]),
    };
    for (what, rekey) in [
        (
            "epoch",
            Rekey {
                epoch: 0,
                ..rekey.clone()
            },
        ),
        (
            "leaves",
            Rekey {
                leaves: 0,
                ..rekey.clone()
            },
        ),
        (
            "leaves",
            Rekey {
                leaves: 10_001,
                ..rekey.clone()
            },
        ),
    ] {
        assert_eq!(refused::<Commit>(|commit| commit.rekey = Some(rekey)), what);
    }
    let leave = Change::Leave {
        cut_off: Some(CutOff {
            incarnation: 1,
            session: sample::<Lease>().session,
            n: 0,
        }),
    };
    assert_eq!(refused::<Commit>(|commit| commit.changes = vec![leave]), "n");
}

/// docs/protocol.md, 3.2: no list of any format is longer than 10,000 items.
#[test]
fn lists_are_bounded_before_they_are_kept() {
    let leaves = Leaves {
        leaves: vec![Vec::new(); 10_001],
    };
    assert_eq!(
        Leaves::decode(&leaves.encode()),
        Err(DecodeError::TooLarge {
            max: 10_000,
            actual: 10_001
        })
    );
}

/// docs/protocol.md, 5.1: headers byte for byte, told apart by their second key.
#[test]
fn headers_have_these_bytes() {
    let direct = DirectHeader {
        suite: Suite::CLASSIC,
        lane: Lane::Control,
        to: AgentId::from_bytes([0x11; 16]),
        key_number: 1_700_000_000_000,
        mid: Mid::from_bytes([0x22; 16]),
    };
    let to = "11".repeat(16);
    let mid = "22".repeat(16);
    let golden = format!("a501010202 0350{to} 041b0000018bcfe56800 0550{mid}").replace(' ', "");
    assert_eq!(hex::encode(direct.encode()), golden);
    let golden = hex::decode(golden).unwrap();
    assert_eq!(Header::decode(&golden), Ok(Header::Direct(direct)));

    let group = GroupHeader {
        suite: Suite::CLASSIC,
        mid: Mid::from_bytes([0x22; 16]),
        group: GroupId::from_bytes([0x33; 32]),
        epoch: 300,
        roster_head: Hash::from_bytes([0x44; 32]),
        sender: AgentId::from_bytes([0x11; 16]),
        i: 65_535,
    };
    let (id, head) = ("33".repeat(32), "44".repeat(32));
    let golden =
        format!("a70101 0550{mid} 065820{id} 0719012c 085820{head} 0950{to} 0a19ffff").replace(' ', "");
    assert_eq!(hex::encode(group.encode()), golden);
    let golden = hex::decode(golden).unwrap();
    assert_eq!(Header::decode(&golden), Ok(Header::Group(group)));
}

/// docs/protocol.md, 5.1: an envelope is header length, header, ciphertext, within its limits.
#[test]
fn envelopes_are_split_within_limits() {
    let envelope = Envelope {
        header: &[1, 2, 3],
        ciphertext: &[4, 5],
    };
    let bytes = envelope.to_bytes();
    assert_eq!(bytes, [0, 0, 0, 3, 1, 2, 3, 4, 5]);
    assert_eq!(Envelope::split(&bytes), Ok(envelope));
    for bad in [
        &bytes[..3],
        &bytes[..6],
        &bytes[..7],
        &[0, 0, 2, 1, 0][..],
        &[0xff; 9][..],
    ] {
        assert_eq!(Envelope::split(bad), Err(EnvelopeError::Malformed));
    }
    let large = [&[0, 0, 2, 1][..], &[0; 600]].concat();
    assert_eq!(
        Envelope::split(&large),
        Err(EnvelopeError::Malformed),
        "a header of 513 bytes"
    );
    let (max, actual) = (80 * 1024, 80 * 1024 + 1);
    assert_eq!(
        Envelope::split(&vec![0; actual]),
        Err(EnvelopeError::TooLarge { max, actual })
    );
}
