//! Helpers of the tests of this module: the committed vectors.

use serde_json::Value;

use crate::crypto::testing::unhex;

/// A case of a vector file.
pub(super) struct Case(pub(super) Value);

/// The cases of a file that try `op`.
pub(super) fn cases(file: &str, op: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(file).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["op"] == op).cloned().map(Case).collect()
}

impl Case {
    /// An input.
    pub(super) fn input(&self, name: &str) -> Vec<u8> {
        expanded(&self.0["in"][name])
    }

    /// An output.
    pub(super) fn output(&self, name: &str) -> Vec<u8> {
        expanded(&self.0["out"][name])
    }
}

/// Hexadecimal digits with runs `(xx)*n`, as vectors/README.md has them.
pub(super) fn expanded(text: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in text.as_str().unwrap().split('.') {
        let (digits, run) = part.split_once('(').unwrap_or((part, ""));
        bytes.extend(unhex(digits));
        if let Some((byte, count)) = run.split_once(")*") {
            let byte = unhex(byte)[0];
            bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), byte);
        }
    }
    bytes
}
