//! Inputs and outputs of cases as JSON.
//!
//! Bytes are lower-case hexadecimal; a run of one byte may be written `(xx)*n`. Numbers above
//! 2^53 - 1 are decimal strings.

use serde_json::Value;
use waxwire_shared::{
    api::frames::FrameError,
    identity::{IdentityKey, VerifyError},
    ids::{Handle, Hash, IdError},
    message::{ContextError, MessageError},
    roster,
    sign::SignedError,
    wire::{BundleRule, DecodeError, EnvelopeError, PaddingError},
};

use super::{Fault, Layer};
use crate::crypto::{
    OpenError, PublicKeyError, SecretLengthError, leaf, message::OpenMessageError,
    recovery::RecoveryTextError,
};

/// Largest number that every JSON reader keeps.
const SAFE: u64 = (1 << 53) - 1;
/// Shortest run that is worth its own notation.
const RUN: usize = 16;

/// The inputs of a case.
#[derive(Clone, Copy)]
pub(super) struct In<'a>(pub(super) &'a Value);

impl<'a> In<'a> {
    fn get(self, name: &str) -> Result<&'a Value, Fault> {
        self.0
            .get(name)
            .ok_or_else(|| Fault::Case(format!("{name} is missing")))
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, Fault> {
        self.get(name)?.as_str().ok_or_else(|| wrong(name))
    }

    pub(super) fn bytes(self, name: &str) -> Result<Vec<u8>, Fault> {
        expand(self.text(name)?).ok_or_else(|| wrong(name))
    }

    pub(super) fn array<const N: usize>(self, name: &str) -> Result<[u8; N], Fault> {
        self.bytes(name)?.try_into().map_err(|_| wrong(name))
    }

    pub(super) fn hash(self, name: &str) -> Result<Hash, Fault> {
        self.array(name).map(Hash::from_bytes)
    }

    pub(super) fn number(self, name: &str) -> Result<u64, Fault> {
        let value = self.get(name)?;
        let text = value.as_str().and_then(|text| text.parse().ok());
        value.as_u64().or(text).ok_or_else(|| wrong(name))
    }

    pub(super) fn small<T: TryFrom<u64>>(self, name: &str) -> Result<T, Fault> {
        self.number(name)?.try_into().map_err(|_| wrong(name))
    }

    pub(super) fn flag(self, name: &str) -> Result<bool, Fault> {
        self.get(name)?.as_bool().ok_or_else(|| wrong(name))
    }

    /// `algorithm u16 || key`.
    pub(super) fn identity(self, name: &str) -> Result<IdentityKey, Fault> {
        IdentityKey::from_prefixed(&self.bytes(name)?).ok_or_else(|| wrong(name))
    }

    pub(super) fn handle(self, name: &str) -> Result<Handle, Fault> {
        self.text(name)?.parse().map_err(|_| wrong(name))
    }

    /// A list of byte strings.
    pub(super) fn list(self, name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let list = self.get(name)?.as_array().ok_or_else(|| wrong(name))?;
        let bytes = |item: &Value| item.as_str().and_then(expand);
        list.iter()
            .map(bytes)
            .collect::<Option<_>>()
            .ok_or_else(|| wrong(name))
    }

    /// A list of 32-byte hashes.
    pub(super) fn hashes(self, name: &str) -> Result<Vec<Hash>, Fault> {
        let hash = |bytes: Vec<u8>| Hash::from_slice(&bytes).map_err(|_| wrong(name));
        self.list(name)?.into_iter().map(hash).collect()
    }
}

fn wrong(name: &str) -> Fault {
    Fault::Case(format!("{name} is malformed"))
}

/// Bytes of hexadecimal digits with runs `(xx)*n`.
#[must_use]
pub fn expand(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, run)) = rest.split_once('(') {
        out.extend(hex::decode(plain).ok()?);
        let (byte, after) = run.split_once(")*")?;
        let [byte] = hex::decode(byte).ok()?[..] else {
            return None;
        };
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (count, after) = after.split_at(digits);
        // The largest input of any case is one attachment.
        let count: usize = count.parse().ok().filter(|count| *count <= 1 << 24)?;
        out.resize(out.len().checked_add(count)?, byte);
        // A dot ends the number where digits follow.
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    out.extend(hex::decode(rest).ok()?);
    Some(out)
}

/// The inverse of [`expand`].
#[must_use]
pub fn compress(bytes: &[u8]) -> String {
    let mut out = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() < RUN {
            out.push_str(&hex::encode(run));
        } else {
            out.push_str(&format!("({:02x})*{}.", run[0], run.len()));
        }
    }
    match out.strip_suffix('.') {
        Some(text) if out.contains('(') => text.to_owned(),
        _ => out,
    }
}

/// Bytes as JSON.
pub(super) fn hex(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(compress(bytes.as_ref()))
}

/// A number as JSON.
pub(super) fn number(value: u64) -> Value {
    if value <= SAFE {
        value.into()
    } else {
        value.to_string().into()
    }
}

/// Whether outputs are those expected; runs may be written either way.
pub(super) fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::String(a), Value::String(b)) if a != b => expand(a).is_some_and(|a| Some(a) == expand(b)),
        _ => expected == found,
    }
}

macro_rules! layers {
    ($($error:ty => $layer:ident,)*) => {$(
        impl From<$error> for Fault {
            fn from(_: $error) -> Self {
                Self::Layer(Layer::$layer)
            }
        }
    )*};
}

layers! {
    DecodeError => Decode,
    IdError => Decode,
    RecoveryTextError => Decode,
    EnvelopeError => Decode,
    FrameError => Decode,
    BundleRule => Rule,
    PublicKeyError => Rule,
    roster::CommitError => Rule,
    VerifyError => Signature,
    OpenError => Open,
    leaf::LeafError => Open,
    PaddingError => Padding,
    ContextError => Context,
}

impl From<SecretLengthError> for Fault {
    fn from(error: SecretLengthError) -> Self {
        Self::Case(error.to_string())
    }
}

impl From<SignedError> for Fault {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Decode(error) => error.into(),
            SignedError::Verify(error) => error.into(),
        }
    }
}

impl From<MessageError> for Fault {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Decode(error) => error.into(),
            MessageError::Kind => Self::Layer(Layer::Context),
            MessageError::Verify(error) => error.into(),
            MessageError::Context(error) => error.into(),
        }
    }
}

impl From<OpenMessageError> for Fault {
    fn from(error: OpenMessageError) -> Self {
        match error {
            OpenMessageError::Open(error) => error.into(),
            OpenMessageError::Padding(error) => error.into(),
            OpenMessageError::Decode(error) => error.into(),
            OpenMessageError::Kind { .. } => Self::Layer(Layer::Context),
        }
    }
}

impl From<roster::LeafError> for Fault {
    fn from(error: roster::LeafError) -> Self {
        Self::Layer(match error {
            roster::LeafError::Proof => Layer::Context,
            roster::LeafError::Decode(_) => Layer::Decode,
            roster::LeafError::Member { .. } | roster::LeafError::Count { .. } => Layer::Rule,
        })
    }
}
