//! What the relay and the disks hold of a group: nothing that was said, and not what it is called.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{canary::files, circle::all_talk, scenario, unique};

/// Name, topic, texts, metadata and ids are looked for on the wire, in the relay's database with its
/// write-ahead log, in every state folder and every log at level trace.
#[test]
fn nothing_of_a_group_lies_anywhere_in_clear() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.log_level("trace");
        relay.start().await?;
        let mut proxies = Vec::new();
        for handle in ["alice", "bob", "carol"] {
            let mut proxy = world.new_proxy(&relay, handle).await?;
            proxy.init().await?;
            proxy.log_level("trace");
            proxy.tap().record();
            proxy.start().await?;
            proxy.agent()?.until_ready().await?;
            proxies.push(proxy);
        }
        let [alice, bob, carol] = [proxies[0].agent()?, proxies[1].agent()?, proxies[2].agent()?];
        let secrets = [
            unique("name")?,
            unique("topic")?,
            unique("renamed")?,
            unique("avatar")?,
            unique("data")?,
        ];
        for secret in &secrets {
            world.canaries().forbid(secret);
            world.canaries().forbid(&hex::encode(secret));
        }
        let [name, topic, renamed, avatar, data] = &secrets;
        let body = json!({"name": name, "description": topic, "member_handles": ["bob"]});
        let made = alice.post_json("/v1/groups", &body).await?.expect(201)?;
        let group = made["group"]["id"].as_str().unwrap_or_default().to_owned();
        bob.join(&group).await?;
        let body = json!({"name": renamed, "avatar_url": avatar});
        alice
            .patch_json(&format!("/v1/groups/{group}"), &body)
            .await?
            .expect(200)?;
        let body = json!({
            "conversation_id": group, "client_msg_id": unique("id")?,
            "content": {"data": {"deep": [data]}}, "metadata": {"note": data},
        });
        alice.send(&body).await?.expect(201)?;
        // History that is shown travels through the relay as well.
        let body = json!({"handle": "carol", "share_current": {"after_seq": 0}});
        alice.try_invite(&group, &body).await?.expect(201)?;
        carol.join(&group).await?;
        all_talk(&[&alice, &bob, &carol], &group, "secrecy").await?;
        bob.leave(&group).await?;
        all_talk(&[&alice, &carol], &group, "without bob").await?;

        world.check()?;
        for proxy in &mut proxies {
            let recorded = proxy.tap().recorded();
            ensure!(recorded.len() > 10_000, "the tap recorded nothing");
            assert_eq!(
                world.canaries().find(&recorded),
                None,
                "on the wire of {}",
                proxy.handle()
            );
        }
        relay.crash().await?;
        world.check()?;
        for proxy in &mut proxies {
            ensure!(proxy.terminate().await?.success());
        }
        ensure!(relay.terminate().await?.success());
        world.check()?;
        // The search looked where the group is: its id is public, and there.
        let id = hex::decode(&group["grp_".len()..])?;
        let mut found = false;
        for file in files(relay.folder())? {
            found |= std::fs::read(file)?.windows(id.len()).any(|window| window == id);
        }
        ensure!(found, "the relay's files do not even name the group");
        Ok(())
    });
}
