//! JSON text that an agent or a peer wrote: read strictly, carried on without loss.
//!
//! Content and metadata are opaque here. Parsing them into values and printing them again would
//! change numbers that no float can hold, so they stay text: [`compact`] checks the text and
//! brings it into its shortest form, in which numbers stand as they were given, keys keep their
//! order and their repetitions, and strings mean what they meant.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Deepest nesting: common readers give up at 128, and content stands inside a message in a list.
pub const DEPTH: usize = 100;
/// Longest number, in bytes: some readers refuse a whole document for one longer integer.
pub const NUMBER: usize = 512;

/// Why text is not JSON that every reader at the other end can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    Encoding {
        /// Where.
        at: usize,
    },
    /// Not the grammar of RFC 8259; NaN and Infinity are not in it.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Where.
        at: usize,
    },
    /// Half of a surrogate pair: no text of Unicode.
    #[error("an unpaired surrogate at byte {at}")]
    Surrogate {
        /// Where.
        at: usize,
    },
    /// Nested too deeply.
    #[error("nested deeper than {DEPTH}")]
    Depth,
    /// A number with too many digits.
    #[error("a number of {actual} bytes, at most {NUMBER} are allowed")]
    Number {
        /// Its length.
        actual: usize,
    },
}

/// The shortest form of a JSON text: no white space between tokens, no escape in a string that is
/// not needed. Numbers stand as given.
///
/// # Errors
/// [`JsonError`]; positions are those of the input.
pub fn compact(text: &[u8]) -> Result<String, JsonError> {
    let text = std::str::from_utf8(text).map_err(|error| JsonError::Encoding {
        at: error.valid_up_to(),
    })?;
    let out = String::with_capacity(text.len());
    Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        out,
        open: Vec::new(),
    }
    .document()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// What the grammar wants next.
enum Expected {
    Value,
    End,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    out: String,
    open: Vec<Container>,
}

impl Scanner<'_> {
    fn document(mut self) -> Result<String, JsonError> {
        let mut expected = Expected::Value;
        loop {
            self.skip_space();
            expected = match expected {
                Expected::Value => self.value()?,
                Expected::End => match self.after_value()? {
                    Some(next) => next,
                    None => return Ok(self.out),
                },
            };
        }
    }

    /// One scalar, or the beginning of a container up to its first value.
    fn value(&mut self) -> Result<Expected, JsonError> {
        match self.peek() {
            Some(b'{') => {
                self.enter(Container::Object, '{')?;
                if self.peek() == Some(b'}') {
                    return Ok(Expected::End);
                }
                self.key()?;
                return Ok(Expected::Value);
            }
            Some(b'[') => {
                self.enter(Container::Array, '[')?;
                if self.peek() != Some(b']') {
                    return Ok(Expected::Value);
                }
            }
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.syntax()),
        }
        Ok(Expected::End)
    }

    /// A separator, the end of a container or, with `None`, of the document.
    fn after_value(&mut self) -> Result<Option<Expected>, JsonError> {
        let next = self.peek();
        match (self.open.last(), next) {
            (None, None) => return Ok(None),
            (Some(Container::Object), Some(b'}')) => self.leave('}'),
            (Some(Container::Array), Some(b']')) => self.leave(']'),
            (Some(container), Some(b',')) => {
                let object = *container == Container::Object;
                self.take(',');
                if object {
                    self.skip_space();
                    self.key()?;
                }
                return Ok(Some(Expected::Value));
            }
            _ => return Err(self.syntax()),
        }
        Ok(Some(Expected::End))
    }

    fn enter(&mut self, container: Container, bracket: char) -> Result<(), JsonError> {
        if self.open.len() == DEPTH {
            return Err(JsonError::Depth);
        }
        self.open.push(container);
        self.take(bracket);
        self.skip_space();
        Ok(())
    }

    fn leave(&mut self, bracket: char) {
        self.open.pop();
        self.take(bracket);
    }

    fn key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.syntax());
        }
        self.take(':');
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.take('"');
        loop {
            let begin = self.at;
            while let Some(0x20..=0x21 | 0x23..=0x5b | 0x5d..=0xff) = self.peek() {
                self.at += 1;
            }
            // Both ends are at ASCII bytes or at the end: always on a boundary.
            self.out
                .push_str(self.text.get(begin..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.take('"');
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        self.at += 1;
        let letter = self.peek().ok_or_else(|| self.syntax())?;
        let simple = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let scalar = self.unicode_escape(begin)?;
                self.push_scalar(scalar);
                return Ok(());
            }
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        self.push_scalar(simple);
        Ok(())
    }

    /// `\uXXXX`, or two of them that are one scalar value.
    fn unicode_escape(&mut self, begin: usize) -> Result<char, JsonError> {
        let unpaired = JsonError::Surrogate { at: begin };
        let high = self.four_digits()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high).ok_or(unpaired);
        }
        if high >= 0xdc00 || self.bytes.get(self.at..self.at + 2) != Some(br"\u") {
            return Err(unpaired);
        }
        self.at += 1;
        let low = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(unpaired);
        }
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(unpaired)
    }

    /// Stands at the `u`.
    fn four_digits(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            number = number << 4 | digit.ok_or_else(|| self.syntax())?;
            self.at += 1;
        }
        Ok(number)
    }

    fn push_scalar(&mut self, scalar: char) {
        let short = match scalar {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            control @ '\0'..='\u{1f}' => {
                self.out.push_str("\\u00");
                self.out.push_str(&hex::encode([control as u8]));
                return;
            }
            plain => return self.out.push(plain),
        };
        self.out.push_str(short);
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.at - begin > NUMBER {
            return Err(JsonError::Number {
                actual: self.at - begin,
            });
        }
        self.out
            .push_str(self.text.get(begin..self.at).unwrap_or_default());
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == begin {
            Err(self.syntax())
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax());
        }
        self.at += word.len();
        self.out.push_str(word);
        Ok(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, ascii: char) {
        self.at += 1;
        self.out.push(ascii);
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    const fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }
}

/// What the object of a message's content says to people: its last `text`, if it has one and it is text.
#[must_use]
pub fn text_of(content: &str) -> Option<String> {
    let Members(members) = Members::of(content)?;
    let (_, text) = members.into_iter().rev().find(|(key, _)| key == "text")?;
    serde_json::from_str(text).ok()
}

/// The members of an object, in order and with their repetitions; values as text.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Reads the text of an object; `None` if it is of another type.
    #[must_use]
    pub fn of(compact: &'a str) -> Option<Self> {
        serde_json::from_str(compact).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn short(text: &str) -> Result<String, JsonError> {
        compact(text.as_bytes())
    }

    #[test]
    fn content_says_its_last_text_to_people() {
        for (content, text) in [
            (r#"{"text":"a\nb","data":{"n":1e400}}"#, Some("a\nb")),
            (r#"{"text":"one","text":"two"}"#, Some("two")),
            (r#"{"data":{"text":"inner"}}"#, None),
            (r#"{"text":null}"#, None),
        ] {
            assert_eq!(text_of(content).as_deref(), text, "{content}");
        }
    }

    #[test]
    fn compact_drops_space_and_nothing_else() {
        let text = " { \"a b\" : [ 1 , -0.10e+5 , true,false , null ] ,\r\n\t\"a b\":{ } , \"\":[ ] } ";
        assert_eq!(
            short(text).unwrap(),
            r#"{"a b":[1,-0.10e+5,true,false,null],"a b":{},"":[]}"#
        );
        for scalar in [
            "0",
            "-0",
            "1e400",
            "1.0",
            "100000000000000000000000000001",
            "\"\"",
            "null",
        ] {
            assert_eq!(short(scalar).unwrap(), scalar);
        }
    }

    #[test]
    fn compact_keeps_the_meaning_of_every_escape() {
        let text = r#""\"\\\/\b\f\n\r\tA\u00e9\u2028\ud83d\ude00\uDBFF\uDFFF\u0000\u001F\u007f""#;
        let out = short(text).unwrap();
        assert_eq!(
            out,
            "\"\\\"\\\\/\\b\\f\\n\\r\\tAé\u{2028}😀\u{10ffff}\\u0000\\u001f\u{7f}\""
        );
        let (before, after): (String, String) = (
            serde_json::from_str(text).unwrap(),
            serde_json::from_str(&out).unwrap(),
        );
        assert_eq!(before, after);
    }

    #[test]
    fn compact_refuses_what_is_not_json() {
        for bad in [
            "",
            " ",
            "{",
            "}",
            "[",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "[1 2]",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "NaN",
            "-NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "nulll",
            "True",
            "01",
            "-",
            "-01",
            "+1",
            ".5",
            "1.",
            "1.e5",
            "1e",
            "1e+",
            "0x10",
            "'a'",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\u{1f}\"",
            "\"\0\"",
            "// a\n1",
            "\u{feff}1",
            "\u{a0}1",
        ] {
            assert!(
                matches!(short(bad), Err(JsonError::Syntax { .. })),
                "{bad:?}: {:?}",
                short(bad)
            );
        }
        assert_eq!(compact(b"\"a\xff\""), Err(JsonError::Encoding { at: 2 }));
        assert_eq!(compact(b"\"\xed\xa0\x80\""), Err(JsonError::Encoding { at: 1 }));
    }

    #[test]
    fn compact_refuses_half_a_surrogate_pair() {
        for bad in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800a""#,
            r#""\ud800\n""#,
            r#""\ud800\ud800""#,
            r#""\udc00\ud800""#,
            r#""\ud83dA""#,
            r#"{"\udfff":1}"#,
        ] {
            assert!(matches!(short(bad), Err(JsonError::Surrogate { .. })), "{bad}");
        }
    }

    #[test]
    fn depth_and_digits_have_limits() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(short(&nested(DEPTH)).is_ok());
        assert_eq!(short(&nested(DEPTH + 1)), Err(JsonError::Depth));
        assert_eq!(short(&"[".repeat(1_000_000)), Err(JsonError::Depth));
        assert_eq!(short(&"{\"a\":".repeat(1_000)), Err(JsonError::Depth));
        assert!(short(&"9".repeat(NUMBER)).is_ok());
        let actual = NUMBER + 1;
        assert_eq!(short(&"9".repeat(actual)), Err(JsonError::Number { actual }));
    }

    #[test]
    fn members_keep_order_and_repetitions() {
        let Members(members) = Members::of(r#"{"b":{"x":1},"a\"":"t","b":[2]}"#).unwrap();
        let expected = [("b", r#"{"x":1}"#), ("a\"", "\"t\""), ("b", "[2]")];
        assert_eq!(
            members,
            expected.map(|(key, value)| (Cow::from(key), value)).to_vec()
        );
        assert!(Members::of("[1]").is_none());
        assert!(Members::of("\"{}\"").is_none());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The printed forms of one value all become the shortest one.
        #[test]
        fn compact_agrees_with_another_printer(value in any_json()) {
            let shortest = value.to_string();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&short(&shortest).unwrap(), &shortest);
            prop_assert_eq!(&short(&pretty).unwrap(), &shortest);
        }

        /// Whatever is accepted is JSON to another reader, means the same, and is already compact.
        #[test]
        fn compact_accepts_nothing_that_others_refuse(text in "[\\[\\]{}:,\" 0-9eE.+\\-tfnrualse\\\\dD8cC\n]{0,40}") {
            let other = serde_json::from_str::<Box<RawValue>>(&text).is_ok();
            match short(&text) {
                Ok(out) => {
                    prop_assert!(other);
                    prop_assert_eq!(&short(&out).unwrap(), &out);
                }
                Err(JsonError::Surrogate { .. }) => {}
                Err(_) => prop_assert!(!other, "{}", text),
            }
        }

        #[test]
        fn compact_never_panics(bytes in any::<Vec<u8>>()) {
            let _either = compact(&bytes);
        }
    }
}
