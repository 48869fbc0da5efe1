//! B5: one `client_msg_id`, one message.

use anyhow::ensure;
use serde_json::Value;
use waxwire_tests::{scenario, text_to, unique};

use crate::agents;

/// docs/protocol.md, 5.5: one `client_msg_id` is one message.
/// B5: `client_msg_id` makes a send idempotent, durably.
#[test]
fn attack_95_repeated_client_msg_id_answers_the_first_message_also_after_restarts() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let (id, text) = (unique("idempotent")?, unique("once")?);
        let first = alice.send_text("bob", &id, &text).await?;
        let repeat = async |to: &str, text: &str| {
            let again = alice.try_text(to, &id, text).await?;
            ensure!(
                again.status == 200,
                "expected 200, got {}: {}",
                again.status,
                again.text()
            );
            again.parse::<waxwire_tests::Message>()
        };
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        let other = repeat("bob", "other content under the same id").await?;
        assert_eq!(
            (other.id.as_str(), other.text()),
            (first.id.as_str(), text.as_str())
        );

        pair.alice.crash().await?;
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        pair.relay.crash().await?;
        alice.until_ready().await?;
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        assert_eq!(bob.receive().await?.id, first.id);
        alice
            .send_text("bob", "next", "a marker that comes after")
            .await?;
        assert_eq!(bob.receive().await?.client_msg_id, "next");
        Ok(())
    });
}

#[test]
fn repeats_at_the_same_time_make_one_message() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let body = text_to("bob", "all-at-once", &unique("once")?);
        let sends = (0..12).map(|_| alice.send(&body));
        let answers = futures_util::future::try_join_all(sends).await?;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 1);
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            assert_eq!(answer.ok::<Value>()?["id"], answers[0].ok::<Value>()?["id"]);
        }
        bob.receive().await?;
        assert!(bob.sync_after(None, 1).await?.is_empty());
        Ok(())
    });
}
