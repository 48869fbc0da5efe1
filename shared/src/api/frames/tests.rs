use super::*;
use crate::ids::GroupId;

fn cursors() -> Vec<Cursor> {
    let group = GroupId::from_bytes([7; 32]);
    [
        Queue::Mail,
        Queue::Control,
        Queue::Group(group),
        Queue::Log(group),
    ]
    .into_iter()
    .map(|queue| Cursor { queue, position: 9 })
    .collect()
}

/// What there is not to say is left out.
#[test]
fn notice_has_what_is_worth_saying() {
    let nothing = Notice::default();
    assert!(nothing.is_empty());
    assert_eq!(serde_json::to_string(&nothing).unwrap(), "{}");
    let backlog = Notice {
        backlog: 5,
        ..Notice::default()
    };
    assert!(!backlog.is_empty());
    assert_eq!(serde_json::to_string(&backlog).unwrap(), r#"{"backlog":5}"#);
    let skipped = Notice {
        skipped: vec![AgentId::from_bytes([1; 16])],
        ..Notice::default()
    };
    assert!(!skipped.is_empty());
}

fn notice(skipped: &[[u8; 16]]) -> RelayFrame<'static> {
    RelayFrame::Notice {
        request: 9,
        notice: Notice {
            backlog: 5_001,
            allowance: Some(Allowance {
                limit: 200,
                remaining: 0,
            }),
            skipped: skipped.iter().copied().map(AgentId::from_bytes).collect(),
        },
    }
}

#[test]
fn client_frames_round_trip() {
    for frame in [
        ClientFrame::Send {
            request: 7,
            envelope: b"envelope",
        },
        ClientFrame::Ack(cursors()),
        ClientFrame::Resume(Vec::new()),
        ClientFrame::Transient(b"envelope"),
        ClientFrame::Presence { shown: true },
        ClientFrame::Presence { shown: false },
    ] {
        assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn relay_frames_round_trip_and_refuse_any_cut() {
    let hash = Hash::from_bytes([3; 32]);
    let cursor = cursors()[2];
    for frame in [
        RelayFrame::Stored {
            request: 1,
            repeated: true,
            envelope_id: 2,
            hash,
        },
        RelayFrame::Head(cursor),
        RelayFrame::Welcome {
            time: 5,
            lineage: 6,
            reaches: 7,
        },
        notice(&[]),
    ] {
        let bytes = frame.encode();
        assert_eq!(RelayFrame::decode(&bytes), Ok(frame));
        for cut in 0..bytes.len() {
            assert_eq!(RelayFrame::decode(&bytes[..cut]), Err(FrameError));
        }
        assert_eq!(
            RelayFrame::decode(&[bytes.as_slice(), &[0]].concat()),
            Err(FrameError)
        );
    }
    let delivery = Delivery {
        cursor,
        envelope_id: 1,
        stored_at: 2,
        object: b"object",
    };
    for frame in [
        RelayFrame::Deliver(delivery),
        RelayFrame::Refused {
            request: 1,
            status: 429,
            problem: b"{}",
        },
        RelayFrame::Lease(b"lease"),
        notice(&[[1; 16], [2; 16]]),
    ] {
        assert_eq!(RelayFrame::decode(&frame.encode()), Ok(frame));
    }
    let mut of_no_limit = notice(&[]).encode();
    of_no_limit[13..].copy_from_slice(&[[0; 8], [1; 8]].concat());
    assert_eq!(RelayFrame::decode(&of_no_limit), Err(FrameError));
}

#[test]
fn presence_and_transient_frames_round_trip_and_refuse_what_they_are_not() {
    let seen = |online, last_seen| {
        RelayFrame::Presence(Seen {
            handle: "alice".parse().unwrap(),
            online,
            last_seen,
        })
    };
    for frame in [
        RelayFrame::Transient(b"envelope"),
        seen(true, None),
        seen(false, Some(7)),
    ] {
        assert_eq!(RelayFrame::decode(&frame.encode()), Ok(frame));
    }
    let bytes = seen(true, None).encode();
    for bad in [
        vec![TRANSIENT],
        vec![PRESENCE],
        vec![PRESENCE, 2],
        vec![PRESENCE, 1, 0],
        vec![PASSED_ON],
        [&[SEEN, 2], &bytes[2..]].concat(),
        bytes[..10].to_vec(),
        [&bytes[..10], b"Alice".as_slice()].concat(),
        [&bytes[..10], &[0xff; 4]].concat(),
    ] {
        assert_eq!(ClientFrame::decode(&bad), Err(FrameError));
        assert_eq!(RelayFrame::decode(&bad), Err(FrameError));
    }
}

#[test]
fn queue_text_round_trips() {
    for Cursor { queue, .. } in cursors() {
        assert_eq!(queue.to_string().parse(), Ok(queue));
    }
    assert_eq!("group-00".parse::<Queue>(), Err(QueueError));
    assert_eq!("".parse::<Queue>(), Err(QueueError));
}
