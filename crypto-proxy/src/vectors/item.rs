//! CBOR items as trees: what vectors show of a document, and what the generator damages.

use serde_json::{Map, Value};
use waxwire_shared::wire::Writer;

use super::input::{hex, number};

/// One CBOR item of the profile of docs/protocol.md, 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An unsigned integer.
    Uint(u64),
    /// The negative integer `-1 - n`.
    Negative(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// A map, in the order of its encoding.
    Map(Vec<(Self, Self)>),
    /// A boolean.
    Bool(bool),
    /// Null, which occurs in skipped fields only.
    Null,
    /// Bytes that are no item of the profile, for damage.
    Raw(Vec<u8>),
}

impl Item {
    /// Reads one item that fills `bytes`, leniently: the strict reader has seen them before.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (item, rest) = Self::take(bytes)?;
        rest.is_empty().then_some(item)
    }

    fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = bytes.split_first()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => 0,
            24..=27 => 1_usize << (info - 24),
            _ => return None,
        };
        let (argument, mut rest) = rest.split_at_checked(width)?;
        let value = match width {
            0 => u64::from(info),
            _ => argument
                .iter()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte)),
        };
        let length = usize::try_from(value).ok()?;
        let item = match major {
            0 => Self::Uint(value),
            1 => Self::Negative(value),
            2 | 3 => {
                let content;
                (content, rest) = rest.split_at_checked(length)?;
                if major == 2 {
                    Self::Bytes(content.to_vec())
                } else {
                    Self::Text(String::from_utf8(content.to_vec()).ok()?)
                }
            }
            4 | 5 => {
                let mut items = Vec::new();
                let count = if major == 5 {
                    length.checked_mul(2)?
                } else {
                    length
                };
                for _ in 0..count {
                    let item;
                    (item, rest) = Self::take(rest)?;
                    items.push(item);
                }
                if major == 4 {
                    Self::Array(items)
                } else {
                    Self::pairs(items)
                }
            }
            _ => match value {
                20 => Self::Bool(false),
                21 => Self::Bool(true),
                22 => Self::Null,
                _ => return None,
            },
        };
        Some((item, rest))
    }

    fn pairs(items: Vec<Self>) -> Self {
        let mut items = items.into_iter();
        let mut pairs = Vec::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            pairs.push((key, value));
        }
        Self::Map(pairs)
    }

    /// The item's shortest encoding; maps keep their order.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Uint(value) => w.uint(*value),
            Self::Negative(value) => {
                // The head of an unsigned integer with the next major type.
                w.uint(*value);
                let mut bytes = w.into_bytes();
                if let Some(first) = bytes.first_mut() {
                    *first |= 0x20;
                }
                return bytes;
            }
            Self::Bytes(bytes) => w.bytes(bytes),
            Self::Text(text) => w.text(text),
            Self::Bool(value) => w.bool(*value),
            Self::Null => return vec![0xf6],
            Self::Raw(bytes) => return bytes.clone(),
            Self::Array(items) => {
                w.array(items.len());
                let items = items.iter().flat_map(Self::encode);
                return w.into_bytes().into_iter().chain(items).collect();
            }
            Self::Map(pairs) => {
                w.map(pairs.len());
                let pairs = pairs
                    .iter()
                    .flat_map(|(key, value)| [key.encode(), value.encode()].concat());
                return w.into_bytes().into_iter().chain(pairs).collect();
            }
        }
        w.into_bytes()
    }

    /// As vectors show it: integers as numbers, negative ones as `{"integer": text}`, byte strings as
    /// `{"bytes": hex}`, maps with their keys as decimal text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Uint(value) => number(*value),
            Self::Negative(_) => {
                Value::Object(Map::from_iter([("integer".to_owned(), self.to_key().into())]))
            }
            Self::Bytes(bytes) | Self::Raw(bytes) => {
                Value::Object(Map::from_iter([("bytes".to_owned(), hex(bytes))]))
            }
            Self::Text(text) => Value::String(text.clone()),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(pairs) => Value::Object(
                pairs
                    .iter()
                    .map(|(key, value)| (key.to_key(), value.to_json()))
                    .collect(),
            ),
            Self::Bool(value) => Value::Bool(*value),
            Self::Null => Value::Null,
        }
    }

    fn to_key(&self) -> String {
        match self {
            Self::Uint(value) => value.to_string(),
            Self::Negative(value) => (-1 - i128::from(*value)).to_string(),
            other => other.to_json().to_string(),
        }
    }
}
