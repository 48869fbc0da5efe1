//! What a new member sees of the past.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{scenario, unique};

use crate::Trio;

/// docs/protocol.md, 6.10: joiners read nothing older.
#[test]
fn joiner_reads_nothing_older() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let before = trio.says(&trio.bob, &trio.agents()).await?;
        let dave_proxy = world.proxy(&trio.relay, "dave").await?;
        let dave = dave_proxy.agent()?;
        trio.alice.invite(id, "dave").await?;
        dave.join(id).await?;
        trio.bob
            .until_members(id, &["alice", "bob", "carol", "dave"])
            .await?;
        trio.says(&trio.bob, &[&dave]).await?;
        trio.says(&dave, &trio.agents()).await?;
        ensure!(
            !dave.texts_in(id).await?.contains(&before),
            "dave reads what was before"
        );
        Ok(())
    });
}

/// docs/protocol.md, 6.10: the inviter may show the past, and whoever reads it sees that.
#[test]
fn shared_history_says_who_granted_it() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let hidden = trio.says(&trio.bob, &trio.agents()).await?;
        let seq = trio.alice.until_text(id, &hidden).await?.seq;
        let shown = trio.says(&trio.carol, &trio.agents()).await?;
        let dave_proxy = world.proxy(&trio.relay, "dave").await?;
        let dave = dave_proxy.agent()?;
        let body = json!({ "handle": "dave", "share_current": { "after_seq": seq } });
        trio.alice.try_invite(id, &body).await?.expect(201)?;
        dave.join(id).await?;
        let got = dave.until_text(id, &shown).await?;
        assert_eq!(
            (got.sender.as_str(), got.security.granted_by.as_deref()),
            ("carol", Some("alice"))
        );
        assert!(got.security.verified);
        ensure!(
            !dave.texts_in(id).await?.contains(&hidden),
            "dave reads more than was shown"
        );
        let fresh = unique("fresh")?;
        trio.bob.send_to_group(id, &unique("id")?, &fresh).await?;
        assert_eq!(dave.until_text(id, &fresh).await?.security.granted_by, None);
        Ok(())
    });
}
