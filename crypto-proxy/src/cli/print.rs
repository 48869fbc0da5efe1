//! What commands print: lines for people, JSON for scripts.
//!
//! What peers have written reaches a terminal here, so nothing of it may steer the terminal or pretend
//! to be another line.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::json;

/// Text of others as one line: what does not show, or changes how the rest shows, is spelled out.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || hides(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks that reorder text, invisible ones, tags, and what some terminals take for the end of a line.
const fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A member of an answer as [`plain`] text; a dash if it is null or not there.
pub(super) fn field(answer: &Value, name: &str) -> String {
    match &answer[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// The elements of a list; none if it is no list.
pub(super) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn line(text: &str) {
    println!("{text}");
}

/// Name and value in two columns.
pub(super) fn pair(name: &str, value: &str) {
    line(&format!("{name:<13}{value}"));
}

/// The answer as it came.
pub(super) fn json(answer: &Value) {
    line(&answer.to_string());
}

/// A row of the inbox, as far as a line shows it. What a peer wrote stays text: it may hold numbers that
/// fit no type.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    id: String,
    sender: String,
    created_at: String,
    read_at: Option<String>,
    delivery_id: Option<String>,
    content: Box<RawValue>,
}

/// A message in one line: when, who, which number, what.
pub(super) fn message(message: &Message) {
    let content = message.content.get();
    let what = json::text_of(content).map_or_else(|| plain(content), |text| plain(&text));
    let unread = if message.read_at.is_none() && message.delivery_id.is_some() {
        "*"
    } else {
        " "
    };
    line(&format!(
        "{unread} {}  {:<16} {}  {what}",
        plain(&message.created_at),
        plain(&message.sender),
        plain(&message.id),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        for (text, shown) in [
            ("caf\u{e9} \u{1f980} \u{5e9}", "caf\u{e9} \u{1f980} \u{5e9}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("one\r\ntwo", "one\\r\\ntwo"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("a\u{e0041}\u{200b}b", "a\\u{e0041}\\u{200b}b"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
