//! What a client may say over its socket. What is none of it, or not well-formed, is nothing.

use serde::Deserialize;
use serde_json::Value;
use waxwire_shared::limits;

use super::frames::ACK;
use crate::{
    engine::Command,
    model::{LocalConversation, MessageId, PresenceStatus},
};

/// Largest frame that is looked into; none that means anything comes near it.
const FRAME: usize = 16 * 1024;

/// A frame that means something.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// Who is there.
    Hello(Hello),
    /// A message was taken.
    Ack(MessageId),
    /// Anything else that is asked of the engine.
    Ask(Command),
}

/// The first frame of who has shown no token yet.
#[derive(Clone)]
pub(super) struct Hello {
    /// The token.
    pub(super) token: String,
    /// Whether the client acknowledges messages.
    pub(super) ack: bool,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hello")
    }
}

#[derive(Deserialize)]
struct Frame {
    r#type: String,
    #[serde(default)]
    payload: Value,
    #[serde(flatten)]
    fields: serde_json::Map<String, Value>,
}

impl Frame {
    /// A field, under `payload` or at the top.
    fn field(&self, name: &str) -> Option<&Value> {
        self.payload.get(name).or_else(|| self.fields.get(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    fn conversation(&self) -> Option<LocalConversation> {
        self.text("conversation_id")?.parse().ok()
    }

    fn presence(&self) -> Option<Command> {
        let status = PresenceStatus::from_name(self.text("status")?)?;
        let text = self.text("custom_message").or_else(|| self.text("custom_status"));
        let fits = text.is_none_or(|text| text.chars().count() <= limits::PRESENCE_SCALARS);
        fits.then(|| Command::SetPresence(status, text.map(str::to_owned)))
    }
}

impl Said {
    /// Understands a frame.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > FRAME {
            return None;
        }
        let frame: Frame = serde_json::from_str(text).ok()?;
        match frame.r#type.as_str() {
            "hello" => Some(Self::Hello(Hello {
                token: frame.text("api_key").or_else(|| frame.text("token"))?.to_owned(),
                ack: frame
                    .field("capabilities")
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.iter().any(|capability| capability == ACK)),
            })),
            "ack" => Some(Self::Ack(frame.text("message_id")?.parse().ok()?)),
            "message.read_ack" => Some(Self::Ask(Command::MarkReadUpTo(
                frame.conversation()?,
                frame.field("through_seq")?.as_u64()?,
            ))),
            "typing.start" => Some(Self::Ask(Command::Typing(frame.conversation()?, true))),
            "typing.stop" => Some(Self::Ask(Command::Typing(frame.conversation()?, false))),
            "presence.update" => Some(Self::Ask(frame.presence()?)),
            _ => None,
        }
    }
}

/// Whether a text is a frame that means something here.
#[must_use]
pub fn is_frame(text: &str) -> bool {
    Said::parse(text).is_some()
}

/// Whether a list of capabilities, as a header or query tells it, has `ack`.
pub(super) fn lists_ack(capabilities: &str) -> bool {
    capabilities
        .split([',', ' '])
        .any(|capability| capability.eq_ignore_ascii_case(ACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_understood_in_both_spellings() {
        for key in ["api_key", "token"] {
            let text =
                format!(r#"{{"type":"hello","{key}":"wx_1","capabilities":["x","ack"],"client":"c"}}"#);
            let Some(Said::Hello(hello)) = Said::parse(&text) else {
                panic!("{text}")
            };
            assert!(hello.ack && hello.token == "wx_1");
            assert_eq!(format!("{hello:?}"), "Hello");
        }
        let Some(Said::Hello(hello)) = Said::parse(r#"{"type":"hello","token":"a","capabilities":"ack"}"#)
        else {
            panic!()
        };
        assert!(!hello.ack);
    }

    #[test]
    fn actions_are_understood_at_the_top_and_in_the_payload() {
        let id = MessageId([1; 16]);
        for text in [
            format!(r#"{{"type":"ack","message_id":"{id}"}}"#),
            format!(r#"{{"type":"ack","payload":{{"message_id":"{id}"}}}}"#),
        ] {
            assert!(
                matches!(Said::parse(&text), Some(Said::Ack(named)) if named == id),
                "{text}"
            );
        }
        let conversation = LocalConversation {
            kind: crate::model::ConversationKind::Group,
            id: [2; 16],
        };
        let text = format!(
            r#"{{"type":"message.read_ack","payload":{{"conversation_id":"{conversation}","through_seq":7}}}}"#
        );
        let asked = Said::parse(&text);
        assert!(
            matches!(asked, Some(Said::Ask(Command::MarkReadUpTo(of, 7))) if of == conversation),
            "{asked:?}"
        );
        for (kind, expected) in [("typing.start", true), ("typing.stop", false)] {
            let text = format!(r#"{{"type":"{kind}","payload":{{"conversation_id":"{conversation}"}}}}"#);
            let asked = Said::parse(&text);
            assert!(
                matches!(asked, Some(Said::Ask(Command::Typing(of, active)))
                    if of == conversation && active == expected),
                "{asked:?}"
            );
        }
        let text = r#"{"type":"presence.update","payload":{"status":"busy","custom_status":"away"}}"#;
        let asked = Said::parse(text);
        assert!(
            matches!(&asked, Some(Said::Ask(Command::SetPresence(PresenceStatus::Busy, Some(text))))
                if text == "away"),
            "{asked:?}"
        );
    }

    #[test]
    fn anything_else_is_nothing() {
        let long = format!(r#"{{"type":"hello","token":"{}"}}"#, "a".repeat(FRAME));
        let wordy = format!(
            r#"{{"type":"presence.update","payload":{{"status":"busy","custom_message":"{}"}}}}"#,
            "a".repeat(201)
        );
        let deep = format!(r#"{{"type":"ack","payload":{}"#, "[".repeat(10_000));
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"hello"}"#,
            r#"{"type":"hello","token":7}"#,
            r#"{"type":"ack","message_id":"msg_"}"#,
            r#"{"type":"ack","type":"ack","message_id":"msg_01010101010101010101010101010101"}"#,
            r#"{"type":"message.read_ack","payload":{"conversation_id":"conv_1","through_seq":1}}"#,
            r#"{"type":"message.read_ack","payload":{"through_seq":-1}}"#,
            r#"{"type":"message.send","payload":{}}"#,
            r#"{"type":"presence.update","payload":{"status":"asleep"}}"#,
            r#"{"type":"typing.start","payload":{}}"#,
            &long,
            &wordy,
            &deep,
        ] {
            assert!(Said::parse(text).is_none(), "{text:.80}");
        }
    }
}
