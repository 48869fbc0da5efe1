//! Test vectors, replayed by name (docs/protocol.md, 12; `vectors/README.md`).
//!
//! A file is a list of cases; a case names an operation, its inputs, and either the outputs or the
//! layer that must refuse. [`run`] does one operation with the code that the proxy itself uses;
//! [`check`] replays a folder. `crypto-proxy/examples/generate_vectors` writes the files.

mod backups;
mod boxes;
mod documents;
mod input;
mod item;
mod messages;
mod names;
mod rosters;
mod signatures;
mod transport;
mod trees;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::input::In;
pub use self::{
    input::{compress, expand},
    item::Item,
};

/// Which part of a reader must refuse an invalid case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Bytes that are no document of the type, no envelope, no frame.
    Decode,
    /// A document that breaks a rule beyond its own bytes.
    Rule,
    /// A key or a signature.
    Signature,
    /// A box or a leaf.
    Open,
    /// A plaintext.
    Padding,
    /// An audience, or a proof against a root.
    Context,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decode => "decode",
            Self::Rule => "rule",
            Self::Signature => "signature",
            Self::Open => "open",
            Self::Padding => "padding",
            Self::Context => "context",
        })
    }
}

/// Why an operation has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The layer that refused.
    #[error("refused by layer {0}")]
    Layer(Layer),
    /// The case itself is not usable: an unknown operation, a missing or malformed input.
    #[error("case is not usable: {0}")]
    Case(String),
}

/// What a case is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Outputs as given.
    Valid,
    /// Refused by the layer given.
    Invalid,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Number in its file, from 1.
    pub id: u64,
    /// What is tried, and, if invalid, the one fault.
    pub comment: String,
    /// Name of the operation.
    pub op: String,
    /// Inputs of the operation.
    #[serde(rename = "in")]
    pub input: Value,
    /// What must happen.
    pub result: Outcome,
    /// Outputs, if valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Value>,
    /// The layer that refuses, if invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it is about.
    pub about: String,
    /// Section of docs/protocol.md.
    pub section: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// What was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Files read.
    pub files: usize,
    /// Cases that did what they must.
    pub cases: usize,
}

/// Why vectors do not hold.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not a list of cases.
    #[error("{} is not a file of vectors", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There is nothing to check.
    #[error("no vectors in {}", path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// A case did something else.
    #[error("{}, case {id} ({comment}): expected {expected}, found {found}", path.display())]
    Mismatch {
        /// In which file.
        path: PathBuf,
        /// Number of the case.
        id: u64,
        /// Its comment.
        comment: String,
        /// What the case says.
        expected: String,
        /// What happened.
        found: String,
    },
}

/// Replays every `*.json` of a folder and of its folder `documents`.
///
/// # Errors
/// [`VectorsError`] with the first file or case that does not hold.
pub fn check(dir: &Path) -> Result<Report, VectorsError> {
    let mut paths = json_files(dir)?;
    let documents = dir.join("documents");
    if documents.is_dir() {
        paths.extend(json_files(&documents)?);
    }
    if paths.is_empty() {
        return Err(VectorsError::Empty { path: dir.to_owned() });
    }
    let mut report = Report { files: 0, cases: 0 };
    for path in paths {
        let text = fs::read(&path).map_err(|source| VectorsError::Read {
            path: path.clone(),
            source,
        })?;
        let file: File = serde_json::from_slice(&text).map_err(|source| VectorsError::Format {
            path: path.clone(),
            source,
        })?;
        if file.cases.is_empty() {
            return Err(VectorsError::Empty { path });
        }
        report.files += 1;
        for case in &file.cases {
            check_case(&path, case)?;
            report.cases += 1;
        }
    }
    Ok(report)
}

fn json_files(dir: &Path) -> Result<Vec<PathBuf>, VectorsError> {
    let read = |source| VectorsError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn check_case(path: &Path, case: &Case) -> Result<(), VectorsError> {
    let found = run(&case.op, &case.input);
    let holds = match (&found, case.result, &case.out, case.layer) {
        (Ok(found), Outcome::Valid, Some(expected), None) => input::same(expected, found),
        (Err(Fault::Layer(found)), Outcome::Invalid, None, Some(expected)) => *found == expected,
        _ => false,
    };
    if holds {
        return Ok(());
    }
    let expected = match (&case.out, case.layer) {
        (_, Some(layer)) => Fault::Layer(layer).to_string(),
        (Some(out), None) => out.to_string(),
        (None, None) => "nothing".to_owned(),
    };
    Err(VectorsError::Mismatch {
        path: path.to_owned(),
        id: case.id,
        comment: case.comment.clone(),
        expected,
        found: found.map_or_else(|fault| fault.to_string(), |out| out.to_string()),
    })
}

/// Does one operation.
///
/// # Errors
/// [`Fault`].
pub fn run(op: &str, input: &Value) -> Result<Value, Fault> {
    let input = In(input);
    let modules = [
        names::run,
        documents::run,
        signatures::run,
        trees::run,
        backups::run,
        boxes::run,
        transport::run,
        messages::run,
        rosters::run,
    ];
    modules
        .iter()
        .find_map(|module| module(op, input))
        .unwrap_or_else(|| Err(Fault::Case(format!("unknown operation {op}"))))
}
