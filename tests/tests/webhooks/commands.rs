//! `waxwire-proxy webhook`.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{Manner, Proxy, Receiver, program::run, scenario_within, unique};

use crate::{LIMIT, until_dead};

async fn webhook(proxy: &Proxy, arguments: &[&str]) -> anyhow::Result<String> {
    let finished = run(proxy.tool("webhook", arguments)?, Duration::from_secs(20)).await?;
    Ok(finished.success()?.stdout)
}

#[test]
fn commands_register_list_try_again_and_remove() {
    scenario_within(Duration::from_secs(240), async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let receiver = Receiver::start(Manner::Status("500 No")).await?;
        let secret = unique("secret")?;
        let file = world.folder().join("hook-secret");
        fs::write(&file, format!("{secret}\n"))?;
        let file = file.to_str().context("a path")?;
        let url = receiver.url();
        let made = webhook(&pair.bob, &["--json", "add", &url, "--secret-file", file]).await?;
        let made: Value = serde_json::from_str(&made)?;
        ensure!(
            made["secret"] == secret.as_str() && made["events"][0] == "message.new",
            "{made}"
        );
        let id = made["id"].as_str().context("an id")?;
        let listed = webhook(&pair.bob, &["list"]).await?;
        ensure!(
            listed.contains(id) && listed.contains(&url) && !listed.contains(&secret),
            "{listed}"
        );
        fs::remove_file(file)?;
        world.canaries().forbid(&secret);

        alice.send_text("bob", "one", "the only message here").await?;
        let letters = until_dead(&bob, id, 1).await?;
        let delivery = letters[0]["delivery_id"].as_str().context("an id")?;
        let dead = webhook(&pair.bob, &["dead", id]).await?;
        ensure!(dead.contains(delivery) && dead.contains("status 500"), "{dead}");
        ensure!(dead.contains("1 of 1"), "{dead}");
        receiver.answers(Manner::Status("200 OK"));
        let before = receiver.calls().len();
        let again = webhook(&pair.bob, &["redeliver", id]).await?;
        ensure!(again.contains("1 tried again"), "{again}");
        let calls = receiver.until(before + 1, LIMIT).await?;
        calls[before].verify(&secret)?;
        webhook(&pair.bob, &["remove", id]).await?;
        ensure!(webhook(&pair.bob, &["list"]).await?.is_empty());
        Ok(())
    });
}
