//! All files of vectors, from fixed seeds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a generator that meets something else than it means to write must stop"
)]

mod backups;
mod boxes;
mod cbor;
mod documents;
mod ed25519;
mod field_rules;
mod group_messages;
mod messages;
mod names;
mod refusals;
mod rosters;
mod sample_list;
mod samples;
mod signed;
mod transport;
mod trees;
mod world;

use serde_json::{Value, json};
use waxwire_proxy::vectors::{Case, Fault, File, Layer, Outcome, compress, run};

/// Names and contents of all files.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("cbor", cbor::cbor()),
        ("labels", names::labels()),
        ("kinds", names::kinds()),
        ("names", names::names()),
        ("recovery", names::recovery_texts()),
        ("ed25519", ed25519::ed25519()),
        ("x25519", ed25519::x25519()),
        ("signed", signed::signed()),
        ("succession", signed::succession()),
        ("bundle", signed::bundle()),
        ("merkle", trees::merkle()),
        ("leaf", trees::leaf()),
        ("padding", transport::padding()),
        ("envelope", transport::envelope()),
        ("frames", transport::frames()),
        ("kdf", boxes::kdf()),
        ("sealed_box", boxes::sealed_box()),
        ("group", boxes::group()),
        ("at_rest", boxes::at_rest()),
        ("backup", backups::backup()),
        ("attachment", boxes::attachment()),
        ("message", messages::messages()),
        ("roster", rosters::roster()),
        ("roster_refusals", refusals::refusals()),
    ];
    let mut rendered: Vec<_> = files
        .drain(..)
        .map(|(name, file)| (format!("{name}.json"), render(&file.0)))
        .collect();
    for (name, file) in documents::documents() {
        rendered.push((format!("documents/{name}.json"), render(&file.0)));
    }
    rendered
}

fn render(file: &File) -> String {
    let mut text = serde_json::to_string_pretty(file).unwrap();
    text.push('\n');
    text
}

/// A file under construction.
pub(crate) struct Cases(File);

impl Cases {
    fn new(section: &str, about: &str) -> Self {
        Self(File {
            about: about.to_owned(),
            section: section.to_owned(),
            cases: Vec::new(),
        })
    }

    fn push(&mut self, comment: &str, op: &str, input: Value, out: Result<Value, Layer>) {
        self.0.cases.push(Case {
            id: self.0.cases.len() as u64 + 1,
            comment: comment.to_owned(),
            op: op.to_owned(),
            input,
            result: if out.is_ok() {
                Outcome::Valid
            } else {
                Outcome::Invalid
            },
            layer: out.as_ref().err().copied(),
            out: out.ok(),
        });
    }

    /// A case that must hold; gives its outputs.
    fn valid(&mut self, comment: &str, op: &str, input: Value) -> Value {
        match run(op, &input) {
            Ok(out) => {
                self.push(comment, op, input, Ok(out.clone()));
                out
            }
            Err(fault) => panic!("{op}, {comment}: {fault}: {input}"),
        }
    }

    /// A case that a layer must refuse.
    fn invalid(&mut self, comment: &str, op: &str, input: Value, layer: Layer) {
        match run(op, &input) {
            Err(Fault::Layer(found)) if found == layer => self.push(comment, op, input, Err(layer)),
            other => panic!("{op}, {comment}: expected {layer}, found {other:?}: {input}"),
        }
    }
}

/// Bytes as inputs.
fn hex(bytes: impl AsRef<[u8]>) -> Value {
    json!(compress(bytes.as_ref()))
}

/// Bytes of an output.
fn bytes(out: &Value, name: &str) -> Vec<u8> {
    waxwire_proxy::vectors::expand(out[name].as_str().unwrap()).unwrap()
}

/// A copy with one byte changed.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut other = bytes.to_vec();
    other[at] ^= 1;
    other
}
