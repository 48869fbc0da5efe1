//! Text and metadata up to their limits.

use serde_json::{Value, json};
use waxwire_tests::{scenario, text_to, unique};

use crate::{agents, no_alerts};

/// Characters of every plane: controls, combining marks, right-to-left marks, noncharacters.
fn every_plane() -> String {
    let mut text: String =
        "\0\u{1}\t\r\n\"\\/\u{7f}\u{200b}\u{202e}\u{2028}\u{feff}e\u{301}🧑\u{200d}💻".to_owned();
    let planes = (0_u32..=0x10).flat_map(|plane| {
        [0x0041, 0x0300, 0xe000, 0xf8ff, 0xfffd, 0xfffe, 0xffff].map(|low| plane << 16 | low)
    });
    let all: Vec<char> = planes.filter_map(char::from_u32).collect();
    text.extend(all.iter().cycle().take(10_000 - text.chars().count()));
    text
}

#[test]
fn ten_thousand_characters_of_every_plane_arrive_byte_for_byte() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let text = every_plane();
        assert_eq!(text.chars().count(), 10_000);
        alice.send_text("bob", "planes", &text).await?;
        let got = bob.receive().await?;
        assert_eq!(got.text().as_bytes(), text.as_bytes());
        let kept = bob.history(&got.conversation_id, "limit=1").await?;
        assert_eq!(kept[0].text(), text);

        let longer = format!("{text}x");
        let answer = alice.try_text("bob", "longer", &longer).await?;
        let details = answer.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"], &details["actual"]),
            (&json!("text"), &json!(10_000), &json!(10_001))
        );
        no_alerts([&alice, &bob]).await
    });
}

/// Metadata of exactly `length` bytes as compact JSON.
fn metadata(length: usize) -> Value {
    json!({ "k": "m".repeat(length - r#"{"k":""}"#.len()) })
}

/// docs/protocol.md, 5.8: the limit of metadata.
#[test]
fn metadata_of_4096_bytes_is_accepted_and_one_more_refused_by_name() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let mut body = text_to("bob", "metadata", &unique("with metadata")?);
        body["metadata"] = metadata(4_096);
        body["type"] = json!("trade.offer");
        alice.send(&body).await?.expect(201)?;
        let got = bob.receive().await?;
        assert_eq!(got.metadata, body["metadata"]);
        assert_eq!(
            (got.kind.as_str(), got.message_type.as_deref()),
            ("structured", Some("trade.offer"))
        );

        body["client_msg_id"] = json!("one-more");
        body["metadata"] = metadata(4_097);
        let details = alice.send(&body).await?.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"], &details["actual"]),
            (&json!("metadata"), &json!(4_096), &json!(4_097))
        );
        assert!(bob.sync().await?.is_empty());
        Ok(())
    });
}

/// docs/protocol.md, 5.8: the limit of content.
#[test]
fn content_of_48_kib_is_accepted_and_more_refused_by_name() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let of =
            |length: usize| json!({ "data": { "d": "x".repeat(length - r#"{"data":{"d":""}}"#.len()) } });
        let mut body = json!({ "to": "bob", "client_msg_id": "large", "content": of(48 * 1024), "metadata": metadata(4_096) });
        alice.send(&body).await?.expect(201)?;
        assert_eq!(bob.receive().await?.content, body["content"]);
        body["client_msg_id"] = json!("larger");
        body["content"] = of(48 * 1024 + 1);
        let details = alice.send(&body).await?.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"]),
            (&json!("content"), &json!(48 * 1024))
        );
        Ok(())
    });
}
