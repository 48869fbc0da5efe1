//! Rules of single fields: what a value must be beyond its type (docs/protocol.md, 13).

#![expect(
    clippy::ptr_arg,
    reason = "rules are passed as functions of a field's declared type"
)]

use std::ops::RangeInclusive;

use super::{DecodeError, Field, Kind, NRange, VERSION, Wire};
use crate::limits;

/// Applies a rule to a field that is there.
pub(crate) fn apply<F: Field>(
    field: &F,
    what: &'static str,
    rule: impl Fn(&F::Value, &'static str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    field.value().map_or(Ok(()), |value| rule(value, what))
}

/// `Ok` if the rule holds.
pub(crate) const fn holds(rule: bool, what: &'static str) -> Result<(), DecodeError> {
    if rule {
        Ok(())
    } else {
        Err(DecodeError::Value { what })
    }
}

/// The version of this protocol: another one is told apart from damage.
pub(crate) const fn version(version: &u16, _: &'static str) -> Result<(), DecodeError> {
    if *version == VERSION {
        Ok(())
    } else {
        Err(DecodeError::Version { found: *version })
    }
}

/// Bytes of a text or byte string.
pub(crate) fn length<T: AsRef<[u8]>>(
    range: RangeInclusive<usize>,
) -> impl Fn(&T, &'static str) -> Result<(), DecodeError> {
    move |value, what| holds(range.contains(&value.as_ref().len()), what)
}

/// Items of a list.
pub(crate) fn items<T: Wire>(
    range: RangeInclusive<usize>,
) -> impl Fn(&Vec<T>, &'static str) -> Result<(), DecodeError> {
    move |value, what| holds(range.contains(&value.len()), what)
}

/// A number within bounds.
pub(crate) fn within<T: PartialOrd>(
    range: RangeInclusive<T>,
) -> impl Fn(&T, &'static str) -> Result<(), DecodeError> {
    move |value, what| holds(range.contains(value), what)
}

/// At most so many items, none of them empty or longer than `each`.
pub(crate) fn documents(
    range: RangeInclusive<usize>,
    each: usize,
) -> impl Fn(&Vec<Vec<u8>>, &'static str) -> Result<(), DecodeError> {
    move |value, what| {
        let sizes = value.iter().all(|item| (1..=each).contains(&item.len()));
        holds(range.contains(&value.len()) && sizes, what)
    }
}

/// JSON text as far as its encoding goes: UTF-8 of a bounded length.
pub(crate) fn json(max: usize) -> impl Fn(&Vec<u8>, &'static str) -> Result<(), DecodeError> {
    move |value, what| {
        let length = (1..=max).contains(&value.len());
        holds(length && std::str::from_utf8(value).is_ok(), what)
    }
}

/// `^[a-z][a-z0-9_.-]{0,31}$`.
pub(crate) fn message_type(value: &String, what: &'static str) -> Result<(), DecodeError> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    let first = value.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    holds(
        first && value.len() <= limits::MESSAGE_TYPE && value.bytes().all(rest),
        what,
    )
}

/// 1 to 128 Unicode scalar values.
pub(crate) fn client_msg_id(value: &String, what: &'static str) -> Result<(), DecodeError> {
    holds((1..=limits::CLIENT_MSG_ID).contains(&value.chars().count()), what)
}

/// A name of a file in no folder, without control characters.
pub(crate) fn filename(value: &String, what: &'static str) -> Result<(), DecodeError> {
    let length = (1..=limits::FILENAME).contains(&value.len());
    let plain = |c: char| !matches!(c, '/' | '\\') && !c.is_control();
    let special = value == "." || value == "..";
    holds(length && !special && value.chars().all(plain), what)
}

/// One of the presence states.
pub(crate) fn presence(value: &String, what: &'static str) -> Result<(), DecodeError> {
    holds(matches!(value.as_str(), "online" | "busy" | "offline"), what)
}

/// Text of at most so many Unicode scalar values.
pub(crate) fn scalars(max: usize) -> impl Fn(&String, &'static str) -> Result<(), DecodeError> {
    move |value, what| holds(value.chars().count() <= max, what)
}

/// Ranges in their one form; may be none.
pub(crate) fn ranges(value: &Vec<NRange>, what: &'static str) -> Result<(), DecodeError> {
    holds(NRange::is_canonical(value), what)
}

/// At least one range, in their one form.
pub(crate) fn some_ranges(value: &Vec<NRange>, what: &'static str) -> Result<(), DecodeError> {
    holds(!value.is_empty() && NRange::is_canonical(value), what)
}

/// A kind whose signed object is a core.
pub(crate) const fn content_kind(kind: &Kind, what: &'static str) -> Result<(), DecodeError> {
    holds(kind.is_content(), what)
}

/// A kind whose signed object is a control body.
pub(crate) const fn control_kind(kind: &Kind, what: &'static str) -> Result<(), DecodeError> {
    holds(kind.is_control(), what)
}
