//! Groups in which an agent says nothing before others have confirmed the key.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{eventually, scenario, unique};

use super::{LIMIT, json_of};

/// docs/protocol.md, 6.9: sends wait for the confirmations that the agent requires, and the refusal names who has
/// not confirmed. Over a restart, too.
#[test]
fn nothing_is_sent_before_required_members_have_confirmed() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("required")?, &[&bob, &carol]).await?.id;
        let words = ["confirmation", &group, "--everybody", "--confirm", "false"];
        let (set, success) = json_of(circle.proxy("alice")?, "group", &words).await?;
        ensure!(
            success && set["confirmation"]["require_confirmed"] == "everybody",
            "{set}"
        );
        let epoch = alice.rekey(&group).await?;
        let refused = alice.try_group_text(&group, "early", "too early").await?;
        let details = refused.refused(409, "EPOCH_UNCONFIRMED")?;
        ensure!(details["handles"] == json!(["bob", "carol"]), "{details}");
        ensure!(
            details["group_id"] == group.as_str() && details["epoch"] == epoch,
            "{details}"
        );
        bob.until_epoch(&group, epoch).await?;
        bob.send_to_group(&group, "bob", "bob is here").await?;
        alice.until_text(&group, "bob is here").await?;
        circle.proxy("alice")?.crash().await?;
        alice.until_ready().await?;
        let details = alice
            .try_group_text(&group, "early", "too early")
            .await?
            .refused(409, "EPOCH_UNCONFIRMED")?;
        ensure!(details["handles"] == json!(["carol"]), "{details}");
        let (shown, _) = json_of(circle.proxy("alice")?, "group", &["confirmation", &group]).await?;
        ensure!(shown["confirmation"]["missing"] == json!(["carol"]), "{shown}");
        // Carol's proxy confirms without a message of hers.
        carol.until_epoch(&group, epoch).await?;
        let words = ["confirmation", &group, "--nobody", "--confirm", "true"];
        json_of(circle.proxy("carol")?, "group", &words).await?;
        eventually("carol has confirmed", LIMIT, async || {
            let sent = alice.try_group_text(&group, "late", "now it is said").await?;
            Ok((sent.status == 201).then_some(()))
        })
        .await?;
        carol.until_text(&group, "now it is said").await?;
        ensure!(
            carol.texts_in(&group).await?.len() == 2,
            "a confirmation was shown"
        );
        Ok(())
    });
}
