//! An old backup on a new host: direct messages (flow 10).

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{eventually, scenario};

use super::*;

/// docs/protocol.md, 8.3 and 8.4: what the backup held is there; numbers begin anew in a session that peers
/// take as one event; mail in flight is sealed again; what was lost in between is asked for.
#[test]
fn old_backup_loses_nothing_it_held_and_heals_the_rest() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        for n in 0..3 {
            alice
                .send_text("bob", &format!("a{n}"), &format!("from alice {n}"))
                .await?;
            bob.receive().await?;
            bob.send_text("alice", &format!("b{n}"), &format!("from bob {n}"))
                .await?;
            alice.receive().await?;
        }
        let first = alice.send_text("bob", "kept-id", "before the backup").await?;
        bob.receive().await?;
        let backup = back_up(world, &pair.alice, "backup").await?;

        // Of this the backup knows nothing.
        alice.send_text("bob", "lost-id", "after the backup").await?;
        bob.receive().await?;
        bob.send_text("alice", "between", "taken after the backup")
            .await?;
        alice.receive().await?;
        pair.alice.kill()?;
        bob.send_text("alice", "in-flight", "sealed to the old key")
            .await?;

        let mut new_host = restore(world, &pair.relay, "alice", "new", &backup).await?;
        new_host.start().await?;
        let restored = new_host.agent()?;
        restored.until_ready().await?;
        let conversation = &first.conversation_id;
        let texts = async || {
            let rows = restored.history(conversation, "limit=100").await?;
            anyhow::Ok(rows.iter().map(|row| row.text().to_owned()).collect::<Vec<_>>())
        };
        let held = texts().await?;
        for n in 0..3 {
            for of in ["alice", "bob"] {
                ensure!(held.contains(&format!("from {of} {n}")), "{held:?}");
            }
        }
        // Sealed to a key that nobody has any more: bob is told, and seals it again.
        let in_flight = restored.receive().await?;
        ensure!(
            in_flight.text() == "sealed to the old key",
            "{}",
            in_flight.text()
        );

        let sent = restored.send_text("bob", "new", "after the restore").await?;
        let received = bob.receive().await?;
        ensure!(received.id == sent.id && received.security.gap.is_none());
        ensure!(received.conversation_id == first.conversation_id || received.seq > 0);
        ensure!(count(&bob, "session_reset").await? == 1);

        // The agent repeats itself: it meets the first outcome, and bob hears nothing twice.
        let again = restored.try_text("bob", "kept-id", "before the backup").await?;
        ensure!(again.status == 200 && again.expect(200)?["id"] == json!(first.id));
        let again = restored.try_text("bob", "lost-id", "after the backup").await?;
        ensure!(
            again.status == 200 && again.expect(200)?["sent_earlier"] == json!(true),
            "{}",
            again.text()
        );
        bob.send_text("alice", "last", "do you miss anything?").await?;
        eventually("what was lost in between comes back", SOON, async || {
            let found = texts().await?;
            let all = ["taken after the backup", "do you miss anything?"];
            Ok(all
                .iter()
                .all(|text| found.contains(&(*text).to_owned()))
                .then_some(()))
        })
        .await?;
        ensure!(bob.take(1).await?.is_empty(), "bob was told something twice");
        let token = fs::read_to_string(pair.alice.token_file())?;
        ensure!(token.trim() != restored.token(), "the old token was revived");
        no_forks(&[&restored, &bob]).await
    });
}
