//! What section 13 demands of single fields: one fault each, and the good neighbours.

use waxwire_proxy::vectors::{Item, Layer};

use super::{
    Cases,
    documents::{decode, pairs},
    samples::Sample,
};

/// Where a field is: keys of maps, indices of arrays.
type Place<'a> = &'a [u64];

fn replaced(item: &Item, place: Place<'_>, value: &Item) -> Item {
    let Some((first, rest)) = place.split_first() else {
        return value.clone();
    };
    match item {
        Item::Map(pairs) => {
            let mut pairs = pairs.clone();
            match pairs.iter_mut().find(|(key, _)| *key == Item::Uint(*first)) {
                Some((_, found)) => *found = replaced(found, rest, value),
                None => {
                    let at = pairs
                        .iter()
                        .position(|(key, _)| matches!(key, Item::Uint(key) if key > first));
                    pairs.insert(at.unwrap_or(pairs.len()), (Item::Uint(*first), value.clone()));
                }
            }
            Item::Map(pairs)
        }
        Item::Array(items) => {
            let mut items = items.clone();
            let at = usize::try_from(*first).unwrap();
            items[at] = replaced(&items[at], rest, value);
            Item::Array(items)
        }
        _ => panic!("no such place"),
    }
}

pub(super) fn removed(item: &Item, key: u64) -> Item {
    let keep = |pair: &&(Item, Item)| pair.0 != Item::Uint(key);
    Item::Map(pairs(item).iter().filter(keep).cloned().collect())
}

fn text(length: usize) -> Item {
    Item::Text("t".repeat(length))
}

fn zeros(length: usize) -> Item {
    Item::Bytes(vec![0; length])
}

fn spaces(length: usize) -> Item {
    Item::Bytes(vec![b' '; length])
}

fn list(item: Item, length: usize) -> Item {
    Item::Array(vec![item; length])
}

fn ranges(pairs: &[(u64, u64)]) -> Item {
    let range = |(first, last): &(u64, u64)| {
        Item::Map(vec![
            (Item::Uint(1), Item::Uint(*first)),
            (Item::Uint(2), Item::Uint(*last)),
        ])
    };
    Item::Array(pairs.iter().map(range).collect())
}

fn many_ranges(count: u64) -> Item {
    ranges(&(0..count).map(|i| (10 + 2 * i, 10 + 2 * i)).collect::<Vec<_>>())
}

/// Collects single faults and their good neighbours.
struct Edits<'a> {
    cases: &'a mut Cases,
    name: &'static str,
    full: Item,
}

impl Edits<'_> {
    fn bad(&mut self, comment: &str, place: Place<'_>, value: Item) {
        let bytes = replaced(&self.full, place, &value).encode();
        self.cases
            .invalid(comment, "decode", decode(self.name, bytes), Layer::Decode);
    }

    fn good(&mut self, comment: &str, place: Place<'_>, value: Item) {
        let bytes = replaced(&self.full, place, &value).encode();
        self.cases.valid(comment, "decode", decode(self.name, bytes));
    }

    fn lacks(&mut self, comment: &str, key: u64) {
        let bytes = removed(&self.full, key).encode();
        self.cases
            .invalid(comment, "decode", decode(self.name, bytes), Layer::Decode);
    }
}

/// What section 13 demands of single fields.
pub(super) fn rules(cases: &mut Cases, document: &Sample) {
    let full = document.full.clone();
    let mut edits = Edits {
        cases,
        name: document.name,
        full,
    };
    match document.name {
        "Signed" => edits.bad("signature of 4,097 bytes", &[2], zeros(4_097)),
        "DirectHeader" => {
            edits.bad("lane 0", &[2], Item::Uint(0));
            edits.bad("lane 3", &[2], Item::Uint(3));
            edits.bad("suite above 65,535", &[1], Item::Uint(65_536));
            edits.good("a suite of a later version", &[1], Item::Uint(65_535));
        }
        "GroupHeader" => {
            edits.bad("epoch 0", &[7], Item::Uint(0));
            edits.bad("i beyond the chain", &[10], Item::Uint(65_536));
            edits.good("last i of a chain", &[10], Item::Uint(65_535));
        }
        "Context" => context(&mut edits),
        "Message" => {
            edits.bad("empty context", &[1], zeros(0));
            edits.bad("context of 3,073 bytes", &[1], zeros(3_073));
            edits.bad("empty core", &[2], zeros(0));
        }
        "Core" => core(&mut edits),
        "Receipt" => receipt(&mut edits),
        "ControlBody" => {
            for kind in [0, 1, 2, 3, 25, 32] {
                edits.bad(&format!("kind {kind}"), &[3], Item::Uint(kind));
            }
            for kind in 16..=24 {
                edits.good(&format!("kind {kind}"), &[3], Item::Uint(kind));
            }
            edits.bad("empty body", &[30], zeros(0));
        }
        "Commit" => commit(&mut edits),
        "RosterSnapshot" => {
            edits.bad("role 3", &[2, 0, 3], Item::Uint(3));
            edits.bad("join policy 3", &[3, 1], Item::Uint(3));
        }
        "Leaf" => {
            edits.bad("index 10,000", &[1], Item::Uint(10_000));
            edits.bad("empty box", &[3, 2], zeros(0));
            edits.bad("box of 4,097 bytes", &[3, 2], zeros(4_097));
            edits.bad("content of two items", &[3], list(Item::Uint(1), 2));
            edits.bad("no content", &[3], list(Item::Uint(1), 0));
            edits.bad("reason 3", &[3], list(Item::Uint(3), 1));
            edits.good("reason 1", &[3], list(Item::Uint(1), 1));
        }
        "Leaves" => {
            edits.bad("no leaves", &[1], list(zeros(1), 0));
            edits.bad("an empty leaf", &[1], list(zeros(0), 1));
            edits.bad("10,001 leaves", &[1], list(zeros(1), 10_001));
        }
        "LeafProof" => edits.bad("path of 65 hashes", &[2], list(zeros(32), 65)),
        "LogProof" => edits.bad("path of 65 hashes", &[3], list(zeros(32), 65)),
        "LogConsistency" => edits.bad("path of 129 hashes", &[3], list(zeros(32), 129)),
        "LogHead" => {
            edits.bad("no co-signatures", &[8], list(zeros(1), 0));
            edits.bad("17 co-signatures", &[8], list(zeros(1), 17));
        }
        "Bundle" => {
            edits.bad("no keys", &[10], list(Item::Null, 0));
            edits.bad("an empty key", &[10, 0, 3], zeros(0));
            edits.bad("a key of 2,049 bytes", &[10, 0, 3], zeros(2_049));
            edits.bad("handle with upper case", &[3], Item::Text("Alice".to_owned()));
            edits.bad("identity key of 4,097 bytes", &[4, 2], zeros(4_097));
            edits.bad("unknown key in a part", &[4, 3], Item::Uint(0));
        }
        "Succession" => {
            let old = pairs(&edits.full)[3].1.clone();
            edits.bad("follows itself", &[5], old);
        }
        "SuccessionBytes" => {
            edits.lacks("recovery key without its signature", 5);
            edits.lacks("signature without its recovery key", 4);
            let by_new_only = removed(&removed(&edits.full, 4), 5);
            edits.full = by_new_only;
            edits.lacks("no proof", 3);
        }
        "Challenge" => edits.bad("purpose 3", &[3], Item::Uint(3)),
        "ResendRequest" => {
            edits.bad("no ranges", &[3], ranges(&[]));
            edits.bad("65 ranges", &[3], many_ranges(65));
            edits.good("64 ranges", &[3], many_ranges(64));
            edits.bad("ranges out of order", &[3], ranges(&[(5, 6), (1, 2)]));
        }
        "Resend" | "HistoryGrant" => {
            let key = if document.name == "Resend" { 2 } else { 4 };
            edits.bad("no items", &[key], list(zeros(1), 0));
            edits.bad("an empty item", &[key], list(zeros(0), 1));
            if document.name == "HistoryGrant" {
                edits.bad("part 2 of 2", &[2], Item::Uint(2));
                edits.good("part 1 of 2", &[2], Item::Uint(1));
            }
        }
        "InviteNotice" => {
            edits.bad("name of 257 bytes", &[5], text(257));
            edits.good("name of 256 bytes", &[5], text(256));
            edits.bad("index 64", &[2, 2], Item::Uint(64));
        }
        "Profile" => {
            edits.bad("name of 257 bytes", &[3], text(257));
            edits.bad("empty topic", &[4], text(0));
            edits.bad("topic of 4,097 bytes", &[4], text(4_097));
            edits.bad("empty avatar", &[5], text(0));
            edits.bad("avatar of 2,049 bytes", &[5], text(2_049));
        }
        "Presence" => {
            edits.bad("status away", &[1], Item::Text("away".to_owned()));
            edits.bad("text of 201 scalars", &[2], text(201));
            edits.good(
                "text of 200 scalars in 800 bytes",
                &[2],
                Item::Text("🦀".repeat(200)),
            );
        }
        _ => {}
    }
}

fn context(edits: &mut Edits<'_>) {
    edits.bad("empty header", &[1], zeros(0));
    edits.bad("header of 513 bytes", &[1], zeros(513));
    for key in 2..=6 {
        edits.lacks(&format!("a recipient without field {key}"), key);
    }
    edits.bad("empty log head", &[7], zeros(0));
    edits.bad("log head of 1,281 bytes", &[7], zeros(1_281));
}

fn core(edits: &mut Edits<'_>) {
    for kind in [0, 16, 32] {
        edits.bad(&format!("kind {kind}"), &[3], Item::Uint(kind));
    }
    edits.good("a broadcast", &[3], Item::Uint(3));
    edits.bad("a group message with an ack", &[3], Item::Uint(2));
    edits.bad("n 0", &[9], Item::Uint(0));
    edits.bad("n 1 with a previous core", &[9], Item::Uint(1));
    edits.lacks("n 9 without a previous core", 10);
    edits.bad("withdraws itself", &[11], ranges(&[(4, 9)]));
    edits.bad("withdraws what comes later", &[11], ranges(&[(10, 12)]));
    edits.bad("withdraws number 0", &[11], ranges(&[(0, 2)]));
    edits.bad("range backwards", &[11], ranges(&[(5, 4)]));
    edits.bad("ranges touch", &[11], ranges(&[(1, 2), (3, 4)]));
    edits.bad("ranges overlap", &[11], ranges(&[(1, 3), (3, 4)]));
    edits.bad("ranges out of order", &[11], ranges(&[(5, 6), (1, 2)]));
    edits.good("nothing withdrawn", &[11], ranges(&[]));
    edits.bad("empty client_msg_id", &[12], text(0));
    edits.bad("client_msg_id of 129 scalars", &[12], text(129));
    edits.good(
        "client_msg_id of 128 scalars in 256 bytes",
        &[12],
        Item::Text("ü".repeat(128)),
    );
    edits.bad("ack of another conversation", &[15, 1], zeros(32));
    for (comment, name) in [
        ("empty", String::new()),
        ("upper case", "Text".to_owned()),
        ("digit first", "1text".to_owned()),
        ("not ASCII", "tüxt".to_owned()),
        ("slash", "a/b".to_owned()),
        ("33 characters", "t".repeat(33)),
    ] {
        edits.bad(&format!("message type: {comment}"), &[16], Item::Text(name));
    }
    edits.good(
        "message type with all it can have",
        &[16],
        Item::Text(format!("a._-9{}", "z".repeat(27))),
    );
    edits.bad("empty content", &[17], zeros(0));
    edits.bad("content of 49,153 bytes", &[17], spaces(49_153));
    edits.good("content of 49,152 bytes", &[17], spaces(49_152));
    edits.bad("content that is not UTF-8", &[17], Item::Bytes(vec![0xff]));
    edits.bad("empty metadata", &[18], zeros(0));
    edits.bad("metadata of 4,097 bytes", &[18], spaces(4_097));
    edits.bad("no attachments", &[20], list(Item::Null, 0));
    for (comment, name) in [
        ("empty", String::new()),
        ("the folder itself", ".".to_owned()),
        ("the folder above", "..".to_owned()),
        ("slash", "a/b".to_owned()),
        ("backslash", "a\\b".to_owned()),
        ("NUL", "a\0b".to_owned()),
        ("control character", "a\u{9b}b".to_owned()),
        ("256 bytes", "n".repeat(256)),
    ] {
        edits.bad(&format!("filename: {comment}"), &[20, 0, 7], Item::Text(name));
    }
    edits.good(
        "filename with dots and spaces",
        &[20, 0, 7],
        Item::Text("..a b.txt".to_owned()),
    );
    edits.bad("content type of 129 bytes", &[20, 0, 8], text(129));
    edits.bad("empty content type", &[20, 0, 8], text(0));
    edits.bad("nonce prefix of 18 bytes", &[20, 0, 3], zeros(18));
    edits.bad("nonce prefix of 20 bytes", &[20, 0, 3], zeros(20));
    edits.bad("ciphertext length one too many", &[20, 0, 5], Item::Uint(529));
    edits.bad(
        "length that needs another ciphertext length",
        &[20, 0, 6],
        Item::Uint(513),
    );
    edits.bad("length above 2^63", &[20, 0, 6], Item::Uint((1 << 63) + 1));
    let attachment = pairs(&edits.full)[19].1.clone();
    let Item::Array(attachments) = attachment else {
        panic!("attachments are a list");
    };
    edits.good("16 attachments", &[20], list(attachments[0].clone(), 16));
    edits.bad("17 attachments", &[20], list(attachments[0].clone(), 17));
}

fn receipt(edits: &mut Edits<'_>) {
    edits.bad("n 0 with a core hash", &[3], Item::Uint(0));
    edits.lacks("n 3 without a core hash", 4);
    edits.bad("range that touches n", &[5], ranges(&[(4, 5)]));
    edits.bad("range below n", &[5], ranges(&[(2, 2)]));
    edits.bad("ranges touch", &[5], ranges(&[(5, 6), (7, 8)]));
    edits.bad("65 ranges", &[5], many_ranges(65));
    edits.good("64 ranges", &[5], many_ranges(64));
    edits.good("up to the last number", &[5], ranges(&[(9, u64::MAX)]));
    edits.bad("state 0", &[6], Item::Uint(0));
    edits.bad("state 3", &[6], Item::Uint(3));
}

fn commit(edits: &mut Edits<'_>) {
    edits.bad("65 changes", &[7], list(list(Item::Uint(10), 1), 65));
    edits.good("64 changes", &[7], list(list(Item::Uint(10), 1), 64));
    edits.bad("change 0", &[7, 11], list(Item::Uint(0), 1));
    edits.bad("change 11", &[7, 11], list(Item::Uint(11), 1));
    edits.bad("empty change", &[7, 11], list(Item::Uint(0), 0));
    edits.bad("a map as a change", &[7, 11], Item::Map(Vec::new()));
    let Item::Array(changes) = pairs(&edits.full)[6].1.clone() else {
        panic!("changes are a list");
    };
    for (index, change) in changes.iter().enumerate() {
        let Item::Array(fields) = change else {
            panic!("a change is an array");
        };
        let optional = matches!(fields[0], Item::Uint(6 | 7));
        let more = [&fields[..], &[Item::Uint(0)]].concat();
        let comment = format!("change {} with one field more", index + 1);
        edits.bad(&comment, &[7, index as u64], Item::Array(more));
        if fields.len() > 1 && !optional {
            let comment = format!("change {} with one field less", index + 1);
            let less = fields[..fields.len() - 1].to_vec();
            edits.bad(&comment, &[7, index as u64], Item::Array(less));
        }
    }
    edits.bad("invite with role 3", &[7, 1, 3], Item::Uint(3));
    edits.bad("invite index 64", &[7, 2, 1, 2], Item::Uint(64));
    edits.bad("cut-off at 0", &[7, 5, 2, 3], Item::Uint(0));
    edits.bad(
        "slug with a space",
        &[7, 0, 3, 3],
        Item::Text("help desk".to_owned()),
    );
    edits.bad("epoch 0", &[8, 1], Item::Uint(0));
    edits.bad("no leaves", &[8, 5], Item::Uint(0));
    edits.bad("10,001 leaves", &[8, 5], Item::Uint(10_001));
}
