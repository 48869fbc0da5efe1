//! Strict deterministic CBOR, RFC 8949 section 4.2.1 (docs/protocol.md, 3).
//!
//! One encoding per value: shortest heads, definite lengths, integer keys in order, no floats, no
//! tags, valid UTF-8, nesting of at most [`limits::CBOR_DEPTH`]. Anything else is refused while it
//! is read, so a document that decodes has exactly one byte string.

use crate::limits;

/// Why bytes are not the document that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside an item.
    #[error("truncated")]
    Truncated,
    /// Bytes follow the document.
    #[error("trailing bytes")]
    Trailing,
    /// A head is longer than it need be, indefinite or reserved.
    #[error("not the shortest encoding")]
    NotShortest,
    /// A tag, a float or a simple value other than false, true and null.
    #[error("item type is not allowed")]
    Forbidden,
    /// Another type of item was expected.
    #[error("expected {expected}")]
    Type {
        /// What was expected.
        expected: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// Nesting beyond the limit.
    #[error("nested too deeply")]
    Depth,
    /// Map keys out of order or twice.
    #[error("map keys are not in order")]
    KeyOrder,
    /// A positive key that this version does not know.
    #[error("unknown field {key}")]
    UnknownField {
        /// The key.
        key: u64,
    },
    /// A field is missing.
    #[error("missing field {key}")]
    MissingField {
        /// The key.
        key: u64,
    },
    /// A byte string of the wrong length.
    #[error("expected {expected} bytes, got {actual}")]
    Length {
        /// Bytes that the field has.
        expected: usize,
        /// Bytes found.
        actual: usize,
    },
    /// A document or list beyond its limit.
    #[error("{actual} exceeds the limit of {max}")]
    TooLarge {
        /// The limit, in bytes or items.
        max: usize,
        /// What was found.
        actual: usize,
    },
    /// A well-formed value that the field does not allow.
    #[error("value of {what} is not allowed")]
    Value {
        /// The field.
        what: &'static str,
    },
    /// A version of the protocol that this program does not speak.
    #[error("unknown protocol version {found}")]
    Version {
        /// The number found.
        found: u16,
    },
}

const UINT: u8 = 0;
const NINT: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// A value with a place in a CBOR document.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, w: &mut Writer);

    /// Reads the value and applies every rule that needs nothing but the value itself.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The same rules for a value that was made here: what keeps them is what others will read.
    ///
    /// # Errors
    /// [`DecodeError::Value`], [`DecodeError::Version`].
    fn check_rules(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// A value that is a whole document with a size limit.
pub trait Document: Wire {
    /// Largest encoding, in bytes.
    const MAX: usize;

    /// The document's one encoding.
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.put(&mut w);
        w.0
    }

    /// Reads a document that must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX {
            return Err(DecodeError::TooLarge {
                max: Self::MAX,
                actual: bytes.len(),
            });
        }
        let mut r = Reader::new(bytes);
        let value = Self::take(&mut r)?;
        if r.rest.is_empty() {
            Ok(value)
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Checks that `bytes` are one item of the profile, whatever it is.
///
/// # Errors
/// [`DecodeError`].
pub fn check_item(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut r = Reader::new(bytes);
    r.skip()?;
    if r.rest.is_empty() {
        Ok(())
    } else {
        Err(DecodeError::Trailing)
    }
}

/// Appends items in their shortest form.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned integer, also as a map key.
    pub fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text string.
    pub fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// The head of an array of `length` items.
    pub fn array(&mut self, length: usize) {
        self.head(ARRAY, length as u64);
    }

    /// The head of a map of `length` pairs, which must follow in order of their keys.
    pub fn map(&mut self, length: usize) {
        self.head(MAP, length as u64);
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.head(SIMPLE, if value { TRUE } else { FALSE });
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
    }
}

/// Reads items, strictly.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            depth: 0,
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.expect(UINT, "unsigned integer")
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.expect(BYTES, "byte string")?;
        self.split(length)
    }

    /// A text string.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.expect(TEXT, "text string")?;
        std::str::from_utf8(self.split(length)?).map_err(|_| DecodeError::Utf8)
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.expect(SIMPLE, "boolean")? {
            FALSE => Ok(false),
            TRUE => Ok(true),
            _ => Err(DecodeError::Type { expected: "boolean" }),
        }
    }

    /// Enters an array and gives its length; [`Self::leave`] after its last item.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn array(&mut self) -> Result<usize, DecodeError> {
        let length = self.expect(ARRAY, "array")?;
        self.enter(length)
    }

    /// Enters a map.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn map(&mut self) -> Result<MapReader, DecodeError> {
        let length = self.expect(MAP, "map")?;
        let left = self.enter(length)?;
        Ok(MapReader { left, last: None })
    }

    /// Whether the second key of the map ahead is `key`; reads nothing. Tells forms of a format
    /// apart whose first key (and its unsigned value) they share.
    ///
    /// # Errors
    /// [`DecodeError`] if no such map lies ahead.
    pub(crate) fn second_key_is(&self, key: u64) -> Result<bool, DecodeError> {
        let mut ahead = Self {
            rest: self.rest,
            depth: self.depth,
        };
        let mut map = ahead.map()?;
        map.next(&mut ahead)?;
        ahead.skip()?;
        Ok(map.next(&mut ahead)? == Some((UINT, key)))
    }

    /// Leaves the array that was entered last.
    pub const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Checks that items of `length` fit into what is left, one byte each at least.
    fn enter(&mut self, length: u64) -> Result<usize, DecodeError> {
        if self.depth == limits::CBOR_DEPTH {
            return Err(DecodeError::Depth);
        }
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
        if length > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        self.depth += 1;
        Ok(length)
    }

    fn split(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
        let (item, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(item)
    }

    fn expect(&mut self, major: u8, expected: &'static str) -> Result<u64, DecodeError> {
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(DecodeError::Type { expected }),
        }
    }

    /// Major type and argument; refuses whatever deterministic encoding forbids.
    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let first = self.split(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let extra: u64 = match info {
            0..=23 => return self.allowed(major, u64::from(info)),
            24..=27 => 1 << (info - 24),
            _ => return Err(DecodeError::NotShortest),
        };
        let value = self.split(extra)?.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let least = [24, 0x100, 0x1_0000, 0x1_0000_0000][usize::from(info - 24)];
        if value < least {
            return Err(DecodeError::NotShortest);
        }
        self.allowed(major, value)
    }

    const fn allowed(&self, major: u8, value: u64) -> Result<(u8, u64), DecodeError> {
        match (major, value) {
            (SIMPLE, FALSE | TRUE | NULL) | (UINT..=MAP, _) => Ok((major, value)),
            _ => Err(DecodeError::Forbidden),
        }
    }

    /// Skips one item and everything in it, as strictly as if it were read.
    fn skip(&mut self) -> Result<(), DecodeError> {
        match self.head()? {
            (UINT | NINT | SIMPLE, _) => Ok(()),
            (BYTES, length) => self.split(length).map(drop),
            (TEXT, length) => std::str::from_utf8(self.split(length)?)
                .map(drop)
                .map_err(|_| DecodeError::Utf8),
            (ARRAY, length) => {
                for _ in 0..self.enter(length)? {
                    self.skip()?;
                }
                self.leave();
                Ok(())
            }
            (_, length) => {
                let mut map = MapReader {
                    left: self.enter(length)?,
                    last: None,
                };
                while map.next(self)?.is_some() {
                    self.skip()?;
                }
                self.leave();
                Ok(())
            }
        }
    }
}

/// A map key in encoding order: non-negative keys first, then negative ones by magnitude.
type Key = (u8, u64);

/// The pairs of a map that are still to be read; keys must come in order.
#[derive(Debug)]
pub struct MapReader {
    left: usize,
    last: Option<Key>,
}

impl MapReader {
    /// The value of `key`, which must be the next field.
    ///
    /// # Errors
    /// [`DecodeError::MissingField`] or whatever the value is refused for.
    pub fn required<T: Wire>(&mut self, r: &mut Reader<'_>, key: u64) -> Result<T, DecodeError> {
        self.optional(r, key)?.ok_or(DecodeError::MissingField { key })
    }

    /// The value of `key` if it is the next field.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn optional<T: Wire>(&mut self, r: &mut Reader<'_>, key: u64) -> Result<Option<T>, DecodeError> {
        let start = r.rest;
        let before = (self.left, self.last);
        match self.next(r)? {
            Some((UINT, found)) if found == key => T::take(r).map(Some),
            Some((UINT, found)) if found < key => Err(DecodeError::UnknownField { key: found }),
            _ => {
                r.rest = start;
                (self.left, self.last) = before;
                Ok(None)
            }
        }
    }

    /// Leaves the map: only negative keys may be left.
    ///
    /// # Errors
    /// [`DecodeError::UnknownField`] for a positive key, or whatever a skipped value is refused for.
    pub fn finish(mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        while let Some((major, key)) = self.next(r)? {
            if major == UINT {
                return Err(DecodeError::UnknownField { key });
            }
            r.skip()?;
        }
        r.leave();
        Ok(())
    }

    fn next(&mut self, r: &mut Reader<'_>) -> Result<Option<Key>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let key = match r.head()? {
            key @ (UINT | NINT, _) => key,
            _ => {
                return Err(DecodeError::Type {
                    expected: "integer key",
                });
            }
        };
        if self.last.is_some_and(|last| last >= key) {
            return Err(DecodeError::KeyOrder);
        }
        self.last = Some(key);
        Ok(Some(key))
    }
}

/// A field of a map: present, or absent if it is an `Option`.
pub(crate) trait Field: Sized {
    type Value: Wire;

    fn value(&self) -> Option<&Self::Value>;
    fn put_field(&self, w: &mut Writer, key: u64);
    fn take_field(map: &mut MapReader, r: &mut Reader<'_>, key: u64) -> Result<Self, DecodeError>;
}

impl<T: Wire> Field for T {
    type Value = T;

    fn value(&self) -> Option<&T> {
        Some(self)
    }

    fn put_field(&self, w: &mut Writer, key: u64) {
        w.uint(key);
        self.put(w);
    }

    fn take_field(map: &mut MapReader, r: &mut Reader<'_>, key: u64) -> Result<Self, DecodeError> {
        map.required(r, key)
    }
}

impl<T: Wire> Field for Option<T> {
    type Value = T;

    fn value(&self) -> Option<&T> {
        self.as_ref()
    }

    fn put_field(&self, w: &mut Writer, key: u64) {
        if let Some(value) = self {
            value.put_field(w, key);
        }
    }

    fn take_field(map: &mut MapReader, r: &mut Reader<'_>, key: u64) -> Result<Self, DecodeError> {
        map.optional(r, key)
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
