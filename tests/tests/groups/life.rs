//! Founding, talking, leaving, ending.

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::{scenario, unique};

use crate::Trio;

/// docs/protocol.md, 6.8: everybody reads everybody, once, verified.
#[test]
fn members_read_each_other() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let mut said = Vec::new();
        for who in trio.agents() {
            for _ in 0..3 {
                let text = unique("said")?;
                let sent = who.send_to_group(id, &unique("id")?, &text).await?;
                assert_eq!(
                    (sent.conversation_id.as_str(), sent.status.as_str()),
                    (id.as_str(), "stored")
                );
                said.push((who.handle().to_owned(), text, sent.id));
            }
        }
        for reader in trio.agents() {
            for (author, text, message) in &said {
                let got = reader.until_text(id, text).await?;
                assert_eq!((&got.sender, &got.id), (author, message));
                assert!(got.security.verified && got.security.gap.is_none() && got.security.epoch.is_some());
                assert_eq!(got.rest["context"]["conversation"]["type"], "group");
                assert_eq!(got.rest["context"]["conversation"]["member_count"], 3);
                assert_eq!(got.rest["encryption_metadata"]["key_type"], "group");
            }
            let all = reader.texts_in(id).await?;
            ensure!(all.len() == said.len(), "{} has {all:?}", reader.handle());
            let alerts = reader.alerts().await?;
            ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", reader.handle());
        }
        Ok(())
    });
}

/// All members see one log, one epoch and, once they have spoken, who has confirmed it.
#[test]
fn members_agree_on_log_and_epoch() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let epoch = trio.alice.rekey(id).await?;
        for who in trio.agents() {
            who.until_epoch(id, epoch).await?;
        }
        for who in trio.agents() {
            trio.says(who, &trio.agents()).await?;
        }
        let expected = trio.alice.group_security(id).await?;
        assert!(expected.confidential_from_relay && !expected.forked && expected.debt.is_none());
        assert_eq!(expected.epoch, epoch);
        for who in trio.agents() {
            let security = who.group_security(id).await?;
            assert_eq!(security.roster_head, expected.roster_head);
            assert_eq!(
                (security.epoch, security.roster_length),
                (epoch, expected.roster_length)
            );
            for member in security
                .members
                .iter()
                .filter(|member| member.handle != who.handle())
            {
                assert_eq!(
                    member.confirmed_epoch,
                    Some(epoch),
                    "{} of {}",
                    who.handle(),
                    member.handle
                );
            }
        }
        Ok(())
    });
}

/// docs/protocol.md, 6.6: who leaves has no key for what follows.
#[test]
fn nothing_is_sealed_to_who_has_left() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let before = trio.says(&trio.alice, &trio.agents()).await?;
        let epoch = trio.alice.group_security(id).await?.epoch;
        assert_eq!(trio.carol.leave(id).await?, None);
        trio.alice.until_members(id, &["alice", "bob"]).await?;
        trio.alice.until_event(id, "member_left", "carol").await?;
        let after = trio.says(&trio.alice, &[&trio.alice, &trio.bob]).await?;
        let got = trio.bob.until_text(id, &after).await?;
        assert!(
            got.security.epoch > Some(epoch),
            "{:?} after {epoch}",
            got.security.epoch
        );
        // Carol keeps what she has read, and gets nothing more.
        trio.carol
            .get(&format!("/v1/groups/{id}"))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        let answer = trio.carol.try_group_text(id, "too-late", "I am gone").await?;
        ensure!(answer.status == 404, "{}: {}", answer.status, answer.text());
        let texts = trio.carol.texts_in(id).await?;
        ensure!(texts.contains(&before) && !texts.contains(&after), "{texts:?}");
        // She may come back, and then reads what follows and not what she missed.
        trio.alice.invite(id, "carol").await?;
        trio.carol.join(id).await?;
        trio.bob.until_members(id, &["alice", "bob", "carol"]).await?;
        trio.says(&trio.bob, &trio.agents()).await?;
        ensure!(
            !trio.carol.texts_in(id).await?.contains(&after),
            "read what she missed"
        );
        Ok(())
    });
}

/// docs/protocol.md, 6.3: the founder leaves, whoever joined first is admin; the last one ends the group.
#[test]
fn last_admin_hands_over_by_leaving() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        trio.says(&trio.alice, &trio.agents()).await?;
        assert_eq!(trio.alice.leave(id).await?.as_deref(), Some("bob"));
        let told = trio.carol.until_event(id, "admin_promoted", "bob").await?;
        assert_eq!(told.actor_handle, None);
        let group = trio.bob.until_members(id, &["bob", "carol"]).await?;
        assert_eq!(
            (group.your_role.as_str(), group.created_by.as_str()),
            ("admin", "alice")
        );
        trio.says(&trio.carol, &[&trio.bob]).await?;
        trio.bob.remove(id, "carol").await?;
        assert_eq!(trio.bob.leave(id).await?, None);
        Ok(())
    });
}

/// A leave waits for what is under way, and goes on once that is stored.
#[test]
fn founder_may_leave_at_once() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let promoted = trio.alice.leave(&trio.group.id).await?;
        assert_eq!(promoted.as_deref(), Some("bob"));
        Ok(())
    });
}

#[test]
fn ended_group_tells_who_ended_it() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        trio.says(&trio.bob, &trio.agents()).await?;
        trio.bob
            .delete(&format!("/v1/groups/{id}"))
            .await?
            .refused(403, "NOT_ADMIN")?;
        trio.alice.disband(id).await?;
        for who in [&trio.bob, &trio.carol] {
            let path = format!("/v1/groups/{id}");
            let what = format!("{} learns that the group has ended", who.handle());
            waxwire_tests::eventually(&what, std::time::Duration::from_secs(20), async || {
                Ok((who.get(&path).await?.status == 410).then_some(()))
            })
            .await?;
            let gone = who.get(&path).await?.refused(410, "GROUP_DELETED")?;
            assert_eq!(gone["deleted_by_handle"], "alice");
            assert_eq!(gone["group_id"], id.as_str());
            assert!(gone["deleted_at"].is_string());
            let answer = who.try_group_text(id, "after-the-end", "anybody here?").await?;
            answer.refused(410, "GROUP_DELETED")?;
            // What was said stays.
            assert_eq!(who.texts_in(id).await?.len(), 1);
        }
        Ok(())
    });
}

/// The same `client_msg_id` is one message, whatever the key is by then.
#[test]
fn repeat_of_a_group_message_is_the_first_message() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let (key, text) = (unique("id")?, unique("once")?);
        let first = trio.alice.send_to_group(id, &key, &text).await?;
        trio.alice.rekey(id).await?;
        let again = trio.alice.try_group_text(id, &key, "something else").await?;
        let again: Value = again.expect(200)?;
        assert_eq!(
            (&again["id"], &again["content"]),
            (&json!(first.id), &json!({ "text": text }))
        );
        trio.bob.until_text(id, &text).await?;
        assert_eq!(trio.bob.texts_in(id).await?, [text]);
        Ok(())
    });
}
