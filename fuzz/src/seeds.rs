//! Inputs that are not made up: what the vectors and the encoders give. `waxwire-fuzz seeds` writes them.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use waxwire_proxy::vectors::{Case, File, Outcome, expand};
use waxwire_shared::{
    hook,
    ids::Hash,
    merkle,
    wire::{Document as _, LogLeaf},
};

use crate::{feed::parts, files, proofs, relay, relay_api};

/// Inputs by target.
type Seeds = BTreeMap<String, Vec<Vec<u8>>>;

/// Largest seed that is taken of the vectors, and how many of one kind.
const LARGEST: usize = 4 * 1024;
const MOST: usize = 3;

fn vectors() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let mut cases = Vec::new();
    for folder in ["", "documents"] {
        let files = fs::read_dir(root.join(folder)).unwrap();
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|kind| kind == "json"))
        {
            let file: File = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            cases.extend(file.cases);
        }
    }
    cases
}

fn bytes(value: &Value) -> Vec<u8> {
    expand(value.as_str().unwrap()).unwrap()
}

/// The first valid document of a type in the vectors.
pub(crate) fn vector_document(name: &str) -> Vec<u8> {
    let is_it =
        |case: &&Case| case.op == "decode" && case.input["type"] == name && case.result == Outcome::Valid;
    bytes(&vectors().iter().find(is_it).unwrap().input["bytes"])
}

/// The target that a case is an input of, and that input.
fn of_case(case: &Case) -> Option<(String, Vec<u8>)> {
    let input = |name: &str| bytes(&case.input[name]);
    let text = |name: &str| case.input[name].as_str().unwrap_or_default().as_bytes().to_vec();
    let (target, seed) = match case.op.as_str() {
        "decode" => (case.input["type"].as_str()?, input("bytes")),
        "bundle" => ("relay_bundle", input("bytes")),
        "cbor" => ("cbor", input("bytes")),
        "envelope" => ("envelope", input("bytes")),
        "client_frame" => ("client_frame", input("bytes")),
        "relay_frame" => ("relay_frame", input("bytes")),
        "unpad" => ("padding", input("plaintext")),
        "core" => ("body", input("bytes")),
        "resent_direct" | "resent_group" => ("message", input("item")),
        "handle" => ("handle", text("text")),
        "address" => ("address", text("text")),
        "identity_code" => ("identity_code", text("text")),
        "recovery_parse" => ("recovery_text", text("text")),
        "backup_open" => ("backup_file", input("file")),
        "succession" => ("relay_succession", input("bytes")),
        "proof" => ("relay_proof", parts([input("challenge"), input("signature")])),
        "log" => {
            let commits = case.input["commits"].as_array()?;
            ("group_log", parts(commits.iter().map(bytes)))
        }
        _ => return None,
    };
    (seed.len() <= LARGEST).then(|| (target.to_owned(), seed))
}

/// All of them.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut taken: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for case in vectors() {
        let valid = case.result == Outcome::Valid;
        let Some((target, seed)) = of_case(&case) else {
            continue;
        };
        let count = taken.entry((target.clone(), valid)).or_default();
        if *count < MOST {
            *count += 1;
            if target == "group_log" {
                seeds
                    .entry("group_log_bodies".to_owned())
                    .or_default()
                    .push(seed.clone());
            }
            seeds.entry(target).or_default().push(seed);
        }
    }
    for (target, made) in made() {
        seeds.entry(target.to_owned()).or_default().extend(made);
    }
    seeds
}

fn texts<T: AsRef<str>>(all: &[T]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_ref().as_bytes().to_vec()).collect()
}

/// Those that no vector has.
fn made() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let hex = "0123456789abcdef".repeat(4);
    vec![
        ("fingerprint", texts(&[&hex])),
        ("agent_id", texts(&[&hex[..32]])),
        ("mid", texts(&[&hex[..32]])),
        (
            "queue",
            texts(&["mail", "control", &format!("group-{hex}"), &format!("log-{hex}")]),
        ),
        (
            "relay_url",
            texts(&[
                "https://relay.example:8443/",
                &format!("http://[::1]:80#{hex}"),
                "http://LOCALHOST",
            ]),
        ),
        (
            "target_url",
            texts(&[
                "https://hooks.example/a?b=c",
                "http://[::1]:9/",
                "http://127.0.0.1?x",
            ]),
        ),
        (
            "allowed_host",
            texts(&["localhost:8080", "10.0.0.0/8", "[::1]:1"]),
        ),
        (
            "listen_address",
            texts(&["127.0.0.1:0", "unix:/run/waxwire", "[::1]:7000"]),
        ),
        (
            "local_ids",
            texts(&[
                &format!("msg_{}", &hex[..32]),
                "dlv_1",
                "del_00000001",
                &format!("conv_{}", &hex[..32]),
            ]),
        ),
        (
            "api_token",
            texts(&[&format!(
                "wx_{}\n",
                "Ab-_".repeat(11).get(..43).unwrap_or_default()
            )]),
        ),
        ("hook_secret", texts(&["a secret of a hook\r\n"])),
        ("hook_signature", vec![hook_call()]),
        (
            "json",
            texts(&[
                r#"{"text":"\u00e9\ud83d\ude00","n":[1,-2.5e3,null,true]}"#,
                "\"a\"",
                r#"{"a":{"b":[{}]}}"#,
            ]),
        ),
        ("append", vec![append()]),
        ("relay_config", vec![CONFIG.as_bytes().to_vec()]),
        (
            "relay_settings",
            texts(&[
                "127.0.0.1:8440",
                "unix:/run/r",
                "sqlite://a.db",
                "postgres://h/d",
                "s3://bucket/prefix",
                "10.0.0.0/8",
                "info,hyper=warn",
                "7",
            ]),
        ),
        ("bodies_of_requests", requests()),
        ("bodies_of_answers", answers()),
        ("problem", vec![problem()]),
        ("pin_file", vec![pin_file()]),
        ("key_store", vec![files::sample_store()]),
        ("key_store_slots", vec![files::sample_slots()]),
        ("unlocking", vec![unlocking()]),
        ("backup_records", vec![files::sample_records()]),
        ("sealed_message", vec![proofs::sample_sealed()]),
        ("attachment_chunk", vec![proofs::sample_chunk()]),
        ("merkle", vec![merkle_input()]),
        ("log_inclusion", vec![inclusion()]),
        ("log_consistency", vec![consistency()]),
        ("log_leaves", vec![parts(log_leaves())]),
        ("relay_lease", vec![relay::sample_lease()]),
        ("relay_bundle", vec![relay::sample_bundle()]),
        ("relay_proof", vec![relay::sample_proof()]),
        ("relay_succession", vec![relay::sample_succession()]),
        ("relay_api", texts(&relay_requests())),
        ("relay_admin", texts(ADMIN_REQUESTS)),
        ("local_api", texts(LOCAL_REQUESTS)),
        ("local_socket", texts(FRAMES)),
        ("node_word", node_words()),
        ("engine", engine()),
        ("state_rows", state_rows()),
    ]
}

const ADMIN_REQUESTS: &[&str] = &[
    "GET /v1/admin/agents?after=a&limit=10\n\n",
    "GET /v1/admin/dead-letters?limit=1000\n\n",
    "POST /v1/admin/agents/alice/suspend\n\n",
    "POST /v1/admin/agents/alice/unsuspend\n\n",
    "POST /v1/admin/dead-letters/alice/redeliver\n\n",
    "POST /v1/admin/invites\n\n{\"count\":2,\"days\":7}",
    "POST /v1/admin/agents/bob/revoke\n\n",
    "GET /v1/admin/agents\nauthorization: Bearer another\n\n",
];

const LOCAL_REQUESTS: &[&str] = &[
    "GET /v1/conversations?limit=10&offset=0\n\n",
    "GET /v1/messages/conv_01010101010101010101010101010101?limit=5&after_seq=3\n\n",
    "GET /v1/messages/sync?after=0&limit=10&wait=0\n\n",
    "GET /v1/inbox?unread=true&since=2026-11-22T00:00:00Z\n\n",
    "GET /v1/agents/me\n\n",
    "GET /v1/alerts?after=0\n\n",
    "GET /v1/pins?verified=true\n\n",
    "HEAD /healthz\n\n",
    "GET /v1/agents/me\nhost: localhost:7700\norigin: http://localhost:7700\n\n",
    "GET /v1/agents/me\nhost: rebound.example:7700\n\n",
    "GET /v1/agents/me\nauthorization: Bearer wx_\n\n",
    "POST /v1/messages\ncontent-length: 9\n\n{\"to\":\"bob\",\"client_msg_id\":\"a\",\"content\":{\"text\":\"\\u00e9\"},\"metadata\":{}}",
    "POST /v1/broadcasts\n\n{\"to\":[\"bob\",\"carol\"],\"client_msg_id\":\"a\",\"content\":{\"text\":\"b\"}}",
    "POST /v1/groups\n\n{\"name\":\"plans\",\"members\":[\"bob\"]}",
    "POST /v1/uploads\n\n{\"filename\":\"a.txt\",\"content_type\":\"text/plain\",\"size\":5,\"sha256\":\"00\"}",
    "POST /v1/mutes\n\n{\"target_kind\":\"agent\",\"target_id\":\"bob\",\"muted_until\":\"2027-01-01T00:00:00Z\"}",
    "POST /v1/webhooks\n\n{\"url\":\"http://localhost:9/\",\"events\":[\"message.new\"]}",
    "PUT /v1/presence\n\n{\"status\":\"busy\",\"custom_message\":\"a\"}",
    "POST /v1/contacts\n\n{\"handle\":\"bob\"}",
    "PATCH /v1/agents/alice\n\n{\"display_name\":\"A\"}",
];

const FRAMES: &[&str] = &[
    "{\"type\":\"hello\",\"api_key\":\"wx_\",\"capabilities\":[\"ack\"]}",
    "{\"type\":\"ack\",\"message_id\":\"msg_01010101010101010101010101010101\"}",
    "{\"type\":\"presence.update\",\"payload\":{\"status\":\"busy\",\"custom_message\":\"a\"}}",
    "{\"type\":\"typing.start\",\"payload\":{\"conversation_id\":\"conv_01010101010101010101010101010101\"}}",
];

fn relay_requests() -> Vec<String> {
    let whole = relay_api::WHOLE;
    let half = relay_api::HALF;
    let octets = "content-type: application/octet-stream\n";
    vec![
        format!("GET /v1/blobs/{whole}\nrange: bytes=2-5\n\n"),
        format!("GET /v1/blobs/{whole}\nrange: bytes=8-\n\n"),
        format!("GET /v1/blobs/{whole}\nrange: bytes=9-18446744073709551615\n\n"),
        format!("HEAD /v1/blobs/{whole}\n\n"),
        format!("PATCH /v1/blobs/{half}?offset=9\n{octets}\n!"),
        "GET /v1/queues\n\n".to_owned(),
        "GET /v1/queues/mail/envelopes?after=0&limit=10&wait=0\n\n".to_owned(),
        "GET /v1/directory?q=al&limit=10&offset=0\n\n".to_owned(),
        "GET /v1/channels?limit=5&after=b\n\n".to_owned(),
        "GET /v1/agents/alice/bundle?known=true\n\n".to_owned(),
        "GET /v1/log/leaves?from=0&limit=5\n\n".to_owned(),
        "GET /v1/relay?nonce=0707070707070707070707070707070707070707070707070707070707070707\n\n".to_owned(),
        "POST /v1/acks\n\n{\"acks\":[{\"queue\":\"mail\",\"position\":0}]}".to_owned(),
        "POST /v1/presence\n\n{\"handles\":[\"alice\"]}".to_owned(),
        "PUT /v1/agents/me/profile\n\n{\"display_name\":\"A\",\"description\":null,\"listed\":true}"
            .to_owned(),
        format!("POST /v1/envelopes\n{octets}\n\0\0"),
    ]
}

/// The number of a node, a kind, and what belongs to it.
fn node_words() -> Vec<Vec<u8>> {
    let word = |kind: u8, rest: &[u8]| [&[9; 8][..], &[kind], rest].concat();
    vec![
        word(1, &[0; 8]),
        word(2, &[]),
        word(3, b"a lease"),
        word(5, &[255; 8]),
    ]
}

/// Changes of a state: none, and each kind of one.
fn state_rows() -> Vec<Vec<u8>> {
    let kinds: [&[u8]; 6] = [&[0], &[1, 7], &[2, 0, 2, 1, 1], &[3, 0, 1, 65], &[4, 1], &[5]];
    let change = |kind: &&[u8]| [&[3, 2, 0], *kind].concat();
    let many = (0..8).flat_map(|n| [n * 5, n, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
    let mut seeds = vec![Vec::new(), many.collect()];
    seeds.extend(kinds.iter().map(change));
    seeds
}

const CONFIG: &str = r#"listen = "127.0.0.1:8440"
database = "sqlite://relay.db"
registration = "invite"
hook_allow = ["127.0.0.1"]

[limits]
group_members = 100

[tiers.large]
backlog = 5
"#;

fn hook_call() -> Vec<u8> {
    let body = br#"{"agent":"a"}"#;
    let header = hook::sign(b"a secret of a hook", 1_800_000_000, body);
    [parts([header]), body.to_vec()].concat()
}

fn append() -> Vec<u8> {
    waxwire_shared::api::append::Append {
        commit: &vector_document("Signed"),
        leaves: &vector_document("Leaves"),
    }
    .to_bytes()
}

fn id(byte: &str) -> String {
    byte.repeat(32)
}

fn documents(values: &[Value]) -> Vec<Vec<u8>> {
    values
        .iter()
        .map(|value| value.to_string().into_bytes())
        .collect()
}

fn requests() -> Vec<Vec<u8>> {
    documents(&[
        json!({"purpose": "register", "handle": "alice", "identity": "AQID", "nonce": id("ab")}),
        json!({"challenge": "AA", "proof": "AQ", "bundle": "Ag", "invite": "wxi_1"}),
        json!({"challenge": "AA", "proof": "AQ", "bundle": "Ag", "succession": "Aw"}),
        json!({"known": true}),
        json!({"acks": [{"queue": "mail", "position": 7}]}),
        json!({"handles": ["alice", "bob"]}),
        json!({"display_name": "A", "description": null, "listed": true}),
        json!({"blob_id": "0".repeat(32), "length": 9}),
        json!({"url": "https://hooks.example/", "secret": "0123456789abcdef"}),
    ])
}

fn answers() -> Vec<Vec<u8>> {
    documents(&[
        json!({"agent_id": id("01"), "bundle": "AA", "successions": ["AQ"], "log": "Ag"}),
        json!({"leaves": ["AA", "AQ"], "size": 2}),
        json!({"group_id": id("02"), "position": 3, "hash": id("03")}),
        json!({"channels": [{"slug": "plans", "group_id": id("02"), "open": true, "members": 2}]}),
        json!({"queues": [{"queue": format!("group-{}", id("02")), "head": 4, "acked": 3}]}),
        json!({"presences": [{"handle": "bob", "online": false, "last_seen": 5}]}),
        json!({"agents": [{"handle": "bob", "display_name": "B", "description": null, "registered_at": 1}], "total": 1}),
    ])
}

fn problem() -> Vec<u8> {
    use waxwire_shared::api::problem::{Problem, ProblemType};
    serde_json::to_vec(&Problem::new(ProblemType::ALL[0]).with_detail("seed")).unwrap()
}

fn pin_file() -> Vec<u8> {
    json!({
        "waxwire_pins": 1,
        "relay": id("11"),
        "pins": [
            {"handle": "alice", "fingerprint": id("12"), "state": "pinned"},
            {"handle": "bob", "fingerprint": id("13"), "state": "verified"},
        ],
    })
    .to_string()
    .into_bytes()
}

fn unlocking() -> Vec<u8> {
    let mut out = 1_u16.to_be_bytes().to_vec();
    for field in [65_536_u32, 3, 1] {
        out.extend(field.to_be_bytes());
    }
    out.extend([0x62; 64]);
    out
}

fn log_leaves() -> Vec<Vec<u8>> {
    let leaf = LogLeaf::decode(&vector_document("LogLeaf")).unwrap();
    (0..5_u8)
        .map(|n| {
            LogLeaf {
                handle_tag: Hash::from_bytes([n; 32]),
                ..leaf.clone()
            }
            .encode()
        })
        .collect()
}

fn hashes() -> Vec<Hash> {
    log_leaves().iter().map(|leaf| merkle::leaf_hash(leaf)).collect()
}

fn of_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn merkle_input() -> Vec<u8> {
    let all = hashes();
    let head = [
        &[2, 5][..],
        all[2].as_bytes(),
        merkle::root(&all).as_bytes(),
        &[0; 32],
    ]
    .concat();
    [head, of_hashes(&merkle::inclusion_path(&all, 2))].concat()
}

fn inclusion() -> Vec<u8> {
    let all = hashes();
    let parts = parts([log_leaves()[2].clone(), proofs::head(&all, 9)]);
    [parts, vec![2], of_hashes(&merkle::inclusion_path(&all, 2))].concat()
}

fn consistency() -> Vec<u8> {
    let all = hashes();
    let (small, large) = (proofs::head(&all[..3], 8), proofs::head(&all, 9));
    let parts = parts([small.clone(), large.clone(), small, large]);
    [parts, of_hashes(&merkle::consistency_path(&all, 3))].concat()
}

/// Reports to the engine: what is honest, in order and out of it; then each kind of lie.
fn engine() -> Vec<Vec<u8>> {
    let in_order: Vec<u8> = (0..10).flat_map(|object| [1, object, 1]).collect();
    let backwards: Vec<u8> = (0..10).rev().flat_map(|object| [1, object, 1]).collect();
    let altered: Vec<u8> = (0..10)
        .flat_map(|object| [4, 0, object, 0, object * 9, 3, 1])
        .collect();
    let kinds = (0..32).map(|kind| {
        let body = vector_document("Typing");
        [vec![6, kind, 1, kind, 1, 1, 1], parts([body]), vec![1, 1]].concat()
    });
    let cores = (0..4).map(|n| {
        let header = vec![6, 0, 1, n, 1, 1, n + 1, 1, 0];
        [header, vec![1; 34], parts([br#"{"text":"x"}"#]), vec![1, 1]].concat()
    });
    let answers = [
        12, 2, 0, 12, 2, 1, 14, 4, 14, 1, 3, 15, 20, 16, 17, 0, 12, 2, 3, 0, 19, 1, 0, 1, 1, 1,
    ];
    vec![
        in_order.clone(),
        backwards,
        altered,
        kinds.flatten().collect(),
        cores.flatten().collect(),
        [answers.to_vec(), in_order].concat(),
        vec![10, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 1],
    ]
}
