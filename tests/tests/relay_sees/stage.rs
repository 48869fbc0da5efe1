//! A short life of a relay in which everything is used that it keeps something of.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{Agent, Relay, Stranger, World, clock::eventually, program::run, unique};

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(30);

/// Runs a command of the relay's operator.
async fn operate<const N: usize>(relay: &Relay, arguments: [&str; N]) -> anyhow::Result<()> {
    run(relay.tool(arguments)?, COMMAND).await?.success()?;
    Ok(())
}

/// A relay that has ended, with all that it kept.
pub(crate) async fn play(world: &World) -> anyhow::Result<Relay> {
    let mut relay = world.new_relay_on_file("relay")?;
    relay.transparency(1);
    relay.configuration("[tiers.gold]\nsends_per_minute = 2000\n");
    // The hook below is called there, in vain.
    relay.arguments(["--hook-allow", "127.0.0.1"]);
    relay.start().await?;
    let (alice_proxy, bob_proxy) = (
        world.proxy(&relay, "alice").await?,
        world.proxy(&relay, "bob").await?,
    );
    let (alice, bob) = (alice_proxy.agent()?, bob_proxy.agent()?);
    let mut carol = world.proxy(&relay, "carol").await?;

    let profile =
        json!({ "display_name": "Alice", "description": "Books meetings.", "settings": { "listed": true } });
    alice
        .patch_json("/v1/agents/alice", &profile)
        .await?
        .expect(200)?;
    alice
        .post_json("/v1/contacts", &json!({ "handle": "bob" }))
        .await?
        .expect(201)?;
    let blocked = bob.post("/v1/contacts/carol/block").await?.expect(200)?;
    ensure!(blocked["relay_informed"] == true, "{blocked}");
    carol.terminate().await?;
    run(carol.tool("new-identity", &[])?, COMMAND).await?.success()?;
    talk(&alice, &bob).await?;

    sleeper(world, &relay, &alice).await?;
    operate(&relay, ["admin", "invite"]).await?;
    operate(&relay, ["admin", "org", "acme", "--tier", "gold"]).await?;
    operate(&relay, ["admin", "move", "bob", "acme"]).await?;
    operate(&relay, ["admin", "revoke", "dora"]).await?;
    operate(&relay, ["admin", "suspend", "dora"]).await?;
    logged(&relay).await?;
    relay.terminate().await?;
    Ok(relay)
}

/// Waits until a head of the transparency log was signed.
async fn logged(relay: &Relay) -> anyhow::Result<()> {
    let look = async || {
        let metrics = relay.metrics().await?;
        let none = "waxwire_relay_log_heads_total 0\n";
        Ok((!metrics.contains(none)).then_some(()))
    };
    eventually("a head was signed", Duration::from_secs(20), look).await
}

/// A message, a file, a channel, and groups, of which one ends.
async fn talk(alice: &Agent, bob: &Agent) -> anyhow::Result<()> {
    let sent = alice.send_text("bob", "direct", &unique("to bob")?).await?;
    bob.receive().await?;
    alice.until_status(&sent, "delivered").await?;
    let upload = alice.upload("plan.csv", unique("a file")?.as_bytes()).await?;
    alice.send_file("bob", "file", &upload).await?;
    let file = bob.receive().await?;
    bob.download(file.attachment()).await?.expect_status(200)?;
    let group = alice.gather(&unique("group")?, &[bob]).await?.id;
    let words = unique("to the group")?;
    alice.send_to_group(&group, "group", &words).await?;
    bob.until_text(&group, &words).await?;
    // An invite that stays open.
    alice.invite(&group, "carol").await?;
    bob.leave(&group).await?;
    alice.until_members(&group, &["alice"]).await?;
    let channel = json!({ "slug": "lobby", "name": unique("channel")?, "join": "open" });
    alice
        .post_json("/v1/channels", &channel)
        .await?
        .expect_status(201)?;
    let other = alice.gather(&unique("other group")?, &[]).await?.id;
    alice.disband(&other).await
}

/// An agent that keeps no socket, has a hook that nobody answers at, and gets a message.
async fn sleeper(world: &World, relay: &Relay, alice: &Agent) -> anyhow::Result<()> {
    let dora = Stranger::registered(relay.http(), "dora", world.canaries()).await?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let hook = json!({ "url": format!("http://{free}/hook"), "secret": "an example of a secret" });
    let ask = dora.request("PUT", "/v1/agents/me/hook").json(&hook);
    dora.ask(ask).await?.expect_status(204)?;
    alice.send_text("dora", "wakes", &unique("to dora")?).await?;
    Ok(())
}
