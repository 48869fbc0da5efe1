//! Plaintexts, envelopes, frames.

use serde_json::json;
use waxwire_proxy::vectors::Layer;
use waxwire_shared::{
    api::frames::{Allowance, ClientFrame, Cursor, Delivery, Notice, Queue, RelayFrame, Seen},
    ids::AgentId,
    wire::{Document as _, Envelope, Kind, Lane, pad},
};

use super::{
    Cases, hex,
    samples::{self, group_id},
    world::{alice, hash},
};

pub(super) fn padding() -> Cases {
    let mut cases = Cases::new(
        "3.4",
        "plaintexts: magic, kind, length, object, zeros to the bucket",
    );
    for length in [0, 1, 500, 501, 1_012, 1_013, 2_036, 32_756, 32_757, 65_524] {
        let object = vec![0xab; length];
        let input = json!({"kind": 1, "object": hex(&object)});
        let comment = format!("object of {length} bytes");
        let out = cases.valid(&comment, "pad", input);
        cases.valid(&comment, "unpad", json!({"plaintext": out["plaintext"]}));
    }
    let too_long = json!({"kind": 1, "object": hex(vec![0; 65_525])});
    cases.invalid("object of 65,525 bytes", "pad", too_long, Layer::Padding);
    for kind in Kind::ALL {
        let plaintext = pad(*kind, b"object").unwrap();
        let input = json!({"plaintext": hex(&plaintext)});
        if *kind == Kind::EpochKey {
            cases.invalid("an epoch key is never padded", "unpad", input, Layer::Padding);
        } else {
            cases.valid(&format!("{kind:?}"), "unpad", input);
        }
    }
    let good = pad(Kind::Direct, b"object").unwrap();
    let mut bad = |comment: &str, plaintext: &[u8]| {
        cases.invalid(
            comment,
            "unpad",
            json!({"plaintext": hex(plaintext)}),
            Layer::Padding,
        );
    };
    let with = |at: usize, byte: u8| {
        let mut other = good.clone();
        other[at] = byte;
        other
    };
    bad("nothing", &[]);
    bad("prefix cut", &good[..11]);
    bad("magic", &with(6, b'f'));
    bad("kind 0", &with(7, 0));
    bad("kind 4", &with(7, 4));
    bad("kind 255", &with(7, 255));
    bad("first zero is no zero", &with(18, 1));
    bad("last zero is no zero", &with(511, 0x80));
    bad(
        "length one too small: an object byte among the zeros",
        &with(11, 5),
    );
    bad("length beyond the end", &with(9, 1));
    bad(
        "length of 2^32 - 1",
        &[&good[..8], &[0xff; 4], &good[12..]].concat(),
    );
    bad("cut to its object", &good[..18]);
    bad("one byte short of the bucket", &good[..511]);
    bad("one byte beyond the bucket", &[&good[..], &[0]].concat());
    bad("the next bucket", &[&good[..], &[0; 512]].concat());
    let mut small = pad(Kind::Direct, &[7; 501]).unwrap();
    small.truncate(513);
    bad("no bucket at all", &small);
    cases
}

pub(super) fn envelope() -> Cases {
    let mut cases = Cases::new("5.1", "header length, header, ciphertext");
    let direct = samples::direct_header(Lane::Mail).encode();
    let group = samples::group_header().encode();
    let join = |header: &[u8], ciphertext: &[u8]| Envelope { header, ciphertext }.to_bytes();
    for (comment, header) in [("direct", &direct), ("group", &group)] {
        let input = json!({"bytes": hex(join(header, &[0xcd; 560]))});
        cases.valid(comment, "envelope", input);
    }
    let rest = 80 * 1024 - 4 - direct.len();
    let largest = join(&direct, &vec![0; rest]);
    cases.valid("as long as it can be", "envelope", json!({"bytes": hex(largest)}));
    let mut bad = |comment: &str, bytes: &[u8]| {
        cases.invalid(comment, "envelope", json!({"bytes": hex(bytes)}), Layer::Decode);
    };
    bad("nothing", &[]);
    bad("length cut", &[0, 0, 0]);
    bad("no ciphertext", &join(&direct, &[]));
    bad("header cut", &join(&direct, &[1])[..30]);
    bad("empty header", &join(&[], &[1; 8]));
    bad("length counts one byte of the ciphertext", &{
        let mut bytes = join(&direct, &[1; 8]);
        bytes[3] += 1;
        bytes
    });
    bad("header of 513 bytes", &join(&[0; 513], &[1; 8]));
    bad(
        "header length of 2^32 - 1",
        &[&[0xff; 4][..], &direct, &[1; 8]].concat(),
    );
    bad(
        "one byte longer than it can be",
        &join(&direct, &vec![0; rest + 1]),
    );
    cases
}

pub(super) fn frames() -> Cases {
    let mut cases = Cases::new("13.9", "frames between proxy and relay");
    let group = group_id();
    let cursor = |queue, position| Cursor { queue, position };
    let cursors = vec![
        cursor(Queue::Mail, 1),
        cursor(Queue::Control, 2),
        cursor(Queue::Group(group), 3),
        cursor(Queue::Log(group), u64::MAX),
    ];
    let input = |bytes: Vec<u8>| json!({"bytes": hex(bytes)});
    let send = ClientFrame::Send {
        request: 7,
        envelope: b"envelope",
    };
    cases.valid("send", "client_frame", input(send.encode()));
    cases.valid(
        "ack",
        "client_frame",
        input(ClientFrame::Ack(cursors.clone()).encode()),
    );
    cases.valid(
        "resume",
        "client_frame",
        input(ClientFrame::Resume(cursors.clone()).encode()),
    );
    cases.valid(
        "resume from the last acks",
        "client_frame",
        input(ClientFrame::Resume(Vec::new()).encode()),
    );
    for (comment, frame) in [
        ("transient", ClientFrame::Transient(b"envelope")),
        ("shown as online", ClientFrame::Presence { shown: true }),
        ("not shown as online", ClientFrame::Presence { shown: false }),
    ] {
        cases.valid(comment, "client_frame", input(frame.encode()));
    }
    let delivery = Delivery {
        cursor: cursors[2],
        envelope_id: 1 << 62,
        stored_at: super::world::NOW,
        object: b"object",
    };
    let stored = |repeated| RelayFrame::Stored {
        request: 7,
        repeated,
        envelope_id: 9,
        hash: hash(3),
    };
    let seen = |online, last_seen| {
        RelayFrame::Presence(Seen {
            handle: alice().handle,
            online,
            last_seen,
        })
    };
    let notice = |backlog, allowance, skipped: &[u8]| RelayFrame::Notice {
        request: 7,
        notice: Notice {
            backlog,
            allowance,
            skipped: skipped.iter().map(|n| AgentId::from_bytes([*n; 16])).collect(),
        },
    };
    let few = Allowance {
        limit: 200,
        remaining: 0,
    };
    let relay: [(&str, RelayFrame<'_>); 11] = [
        ("stored", stored(false)),
        ("stored before", stored(true)),
        (
            "refused",
            RelayFrame::Refused {
                request: 7,
                status: 429,
                problem: b"{}",
            },
        ),
        ("deliver", RelayFrame::Deliver(delivery)),
        ("head", RelayFrame::Head(cursors[3])),
        (
            "welcome",
            RelayFrame::Welcome {
                time: super::world::NOW,
                lineage: 0x0102_0304_0506_0708,
                reaches: super::world::NOW - 1,
            },
        ),
        ("transient", RelayFrame::Transient(b"envelope")),
        ("an agent came", seen(true, None)),
        ("an agent went", seen(false, Some(super::world::NOW))),
        ("much waits, and little is left", notice(5_000, Some(few), &[])),
        ("members are far behind", notice(0, None, &[1, 2])),
    ];
    for (comment, frame) in &relay {
        cases.valid(comment, "relay_frame", input(frame.encode()));
    }
    let ack = ClientFrame::Ack(cursors).encode();
    let went = seen(false, Some(7)).encode();
    let bad: [(&str, &str, Vec<u8>); 25] = [
        ("nothing", "client_frame", vec![]),
        ("type 0", "client_frame", vec![0]),
        ("type 6 is not assigned", "client_frame", vec![6]),
        ("transient without an envelope", "client_frame", vec![4]),
        ("shown 2", "client_frame", vec![5, 2]),
        ("shown with a byte more", "client_frame", vec![5, 1, 0]),
        ("a relay's frame", "client_frame", stored(false).encode()),
        ("send without a request", "client_frame", vec![1, 0, 0, 0]),
        ("queue 0", "client_frame", vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("queue 5", "client_frame", vec![2, 5, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("cursor cut", "client_frame", ack[..ack.len() - 1].to_vec()),
        ("group id cut", "client_frame", vec![2, 3, 1, 2, 3]),
        ("nothing", "relay_frame", vec![]),
        ("a proxy's frame", "relay_frame", send.encode()),
        ("outcome 3", "relay_frame", {
            let mut bytes = stored(false).encode();
            bytes[5] = 3;
            bytes
        }),
        (
            "stored with a byte more",
            "relay_frame",
            [stored(true).encode(), vec![0]].concat(),
        ),
        (
            "welcome cut",
            "relay_frame",
            [&[0x85], [0; 23].as_slice()].concat(),
        ),
        ("a lease of no bytes", "relay_frame", vec![0x88]),
        (
            "what is left of no limit",
            "relay_frame",
            [&[0x89][..], &[0; 27], &[1]].concat(),
        ),
        ("a member cut", "relay_frame", [&[0x89][..], &[0; 29]].concat()),
        ("transient without an envelope", "relay_frame", vec![0x86]),
        ("online 2", "relay_frame", [&[0x87, 2], &went[2..]].concat()),
        ("presence of nobody", "relay_frame", went[..10].to_vec()),
        (
            "presence of what is no handle",
            "relay_frame",
            [&went[..10], b"Alice".as_slice()].concat(),
        ),
        ("last seen cut", "relay_frame", went[..9].to_vec()),
    ];
    for (comment, op, bytes) in bad {
        cases.invalid(comment, op, input(bytes), Layer::Decode);
    }
    let lease = RelayFrame::Lease(b"lease").encode();
    cases.valid("lease", "relay_frame", input(lease));
    let unknown = input(vec![0x89]);
    cases.invalid("type 0x89 is not assigned", "relay_frame", unknown, Layer::Decode);
    cases
}
