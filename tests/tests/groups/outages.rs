//! Members and the relay come and go.

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{eventually, scenario, unique};

use crate::Trio;

/// A member that was away reads all of it, over every change of the key.
#[test]
fn member_that_was_away_catches_up() {
    scenario(async |world| {
        let mut trio = Trio::gather(world).await?;
        let id = trio.group.id.clone();
        trio.proxies[2].terminate().await?;
        let mut said = Vec::new();
        for turn in 0..4 {
            let who = if turn % 2 == 0 { &trio.alice } else { &trio.bob };
            said.push(trio.says(who, &[&trio.alice, &trio.bob]).await?);
            trio.alice.rekey(&id).await?;
        }
        trio.proxies[2].start().await?;
        trio.carol.until_ready().await?;
        for text in &said {
            trio.carol.until_text(&id, text).await?;
        }
        // Each author's in order; which of two authors comes first depends on whose key came first.
        let texts = trio.carol.texts_in(&id).await?;
        for author in 0..2 {
            let of_author = |texts: &[String], said: &[String]| -> Vec<String> {
                let mine: Vec<_> = said.iter().skip(author).step_by(2).collect();
                texts.iter().filter(|text| mine.contains(text)).cloned().collect()
            };
            assert_eq!(of_author(&texts, &said), of_author(&said, &said));
        }
        assert_eq!(texts.len(), said.len());
        trio.says(&trio.carol, &trio.agents()).await?;
        let alerts = trio.carol.alerts().await?;
        ensure!(alerts.is_empty(), "carol has alerts: {alerts:?}");
        Ok(())
    });
}

/// docs/protocol.md, 6.6: the leaver and the only one who could pay are gone; the next sender pays.
#[test]
fn next_sender_pays_for_a_leave() {
    scenario(async |world| {
        let mut trio = Trio::gather(world).await?;
        let id = trio.group.id.clone();
        let epoch = trio.bob.group_security(&id).await?.epoch;
        trio.proxies[0].terminate().await?;
        trio.proxies[1].terminate().await?;
        trio.carol.leave(&id).await?;
        trio.proxies[1].start().await?;
        trio.bob.until_ready().await?;
        trio.bob.until_members(&id, &["alice", "bob"]).await?;
        let text = trio.says(&trio.bob, &[&trio.bob]).await?;
        trio.proxies[0].start().await?;
        trio.alice.until_ready().await?;
        let got = trio.alice.until_text(&id, &text).await?;
        assert!(got.security.epoch > Some(epoch));
        Ok(())
    });
}

/// Killed between two messages, a proxy goes on where it was: nothing is lost or shown twice.
#[test]
fn crashes_lose_and_repeat_nothing() {
    scenario(async |world| {
        let mut trio = Trio::gather(world).await?;
        let id = trio.group.id.clone();
        let mut said = Vec::new();
        for turn in 0..6 {
            let text = unique("said")?;
            let who = if turn % 2 == 0 { &trio.alice } else { &trio.bob };
            who.send_to_group(&id, &unique("id")?, &text).await?;
            said.push(text);
            let crashed = turn % 3;
            trio.proxies[crashed].crash().await?;
            trio.proxies[crashed].agent()?.until_ready().await?;
        }
        for who in trio.agents() {
            let what = format!("{} reads all", who.handle());
            eventually(&what, Duration::from_secs(20), async || {
                Ok((who.texts_in(&id).await?.len() >= said.len()).then_some(()))
            })
            .await?;
            let mut texts = who.texts_in(&id).await?;
            texts.sort();
            let mut expected = said.clone();
            expected.sort();
            assert_eq!(texts, expected, "{}", who.handle());
        }
        Ok(())
    });
}

/// The relay is gone while a message is sent: it goes out once the relay is back.
#[test]
fn message_outlives_a_relay_that_restarts() {
    scenario(async |world| {
        let mut trio = Trio::gather(world).await?;
        let id = trio.group.id.clone();
        trio.relay.kill()?;
        let (key, text) = (unique("id")?, unique("kept")?);
        let answer = trio.alice.try_group_text(&id, &key, &text).await?;
        let refused = answer.refused(503, "RELAY_UNREACHABLE")?;
        assert_eq!(refused["queued"], true);
        trio.relay.start().await?;
        trio.bob.until_text(&id, &text).await?;
        trio.carol.until_text(&id, &text).await?;
        let again = trio.alice.try_group_text(&id, &key, &text).await?;
        ensure!(
            matches!(again.status, 200 | 201),
            "{}: {}",
            again.status,
            again.text()
        );
        assert_eq!(trio.bob.texts_in(&id).await?, [text]);
        Ok(())
    });
}
