//! `make demo`: real programs talk to one another, and what they say is shown to be sealed.
//!
//! One relay on SQLite and the crypto proxies of alice, bob and carol, in a throw-away folder, on
//! loopback. Prints a transcript, then how to go on by hand, and stays up until Ctrl-C; with
//! `--once` it ends after the transcript. Any step that does not hold ends it with its reason.

#![expect(clippy::print_stdout, reason = "a demonstration prints")]

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde_json::json;
use waxwire_tests::{
    Agent, Message, Proxy, Relay, World, canary, canary::Canaries, program::Address, within,
};

/// How long the whole transcript may take.
const LIMIT: Duration = Duration::from_secs(90);
/// How long bob may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(20);

/// Shows a relay and three agents at work.
#[derive(Debug, Parser)]
struct Arguments {
    /// End after the transcript instead of staying up.
    #[arg(long)]
    once: bool,
}

/// Everything that runs.
struct Stage {
    world: World,
    relay: Relay,
    alice: Proxy,
    bob: Proxy,
    carol: Proxy,
    /// What must not be found at the relay.
    secrets: Canaries,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut stage = within("the stage", LIMIT, Stage::set()).await??;
    within("the transcript", LIMIT, stage.play()).await??;
    if !arguments.once {
        stage.explain()?;
        tokio::signal::ctrl_c().await?;
    }
    stage.clear().await
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let world = World::new()?;
        let relay = world.relay().await?;
        step(&format!("a relay on SQLite listens on {}", relay.url()?));
        let alice = world.proxy(&relay, "alice").await?;
        let bob = world.proxy(&relay, "bob").await?;
        let carol = world.proxy(&relay, "carol").await?;
        step("the crypto proxies of alice, bob and carol have made keys, pinned the relay and registered");
        Ok(Self {
            world,
            relay,
            alice,
            bob,
            carol,
            secrets: Canaries::default(),
        })
    }

    async fn play(&mut self) -> anyhow::Result<()> {
        let (alice, bob) = (self.alice.agent()?, self.bob.agent()?);
        self.talk(&alice, &bob).await?;
        self.compare(&alice, &bob).await?;
        self.catch_up(&alice, &bob).await?;
        self.search()
    }

    /// Alice writes, bob answers; both verify what they read.
    async fn talk(&self, alice: &Agent, bob: &Agent) -> anyhow::Result<()> {
        step("a direct message and its answer");
        self.say(alice, "bob", "hello bob, the vault opens at nine")
            .await?;
        heard(bob, &bob.receive().await?)?;
        self.say(bob, "alice", "hello alice, I will be there").await?;
        heard(alice, &alice.receive().await?)
    }

    /// Both ends show one safety number.
    async fn compare(&self, alice: &Agent, bob: &Agent) -> anyhow::Result<()> {
        step("both ends show the same safety number");
        let (at_alice, at_bob) = (alice.identity("bob").await?, bob.identity("alice").await?);
        let number = at_alice["safety_number"].as_str().context("no safety number")?;
        ensure!(at_bob["safety_number"] == number, "the safety numbers differ");
        println!("    {number}");
        Ok(())
    }

    /// Bob's proxy is killed, alice writes on, bob comes back and reads everything in order.
    async fn catch_up(&mut self, alice: &Agent, bob: &Agent) -> anyhow::Result<()> {
        step("bob's proxy is killed; alice writes on; bob comes back and catches up");
        self.bob.kill()?;
        let lines = ["are you there?", "the plan has changed", "it is ten now"];
        for line in lines {
            self.say(alice, "bob", line).await?;
        }
        self.bob.start().await?;
        let read = bob.take_all(lines.len(), CATCH_UP).await?;
        for (message, line) in read.iter().zip(lines) {
            heard(bob, message)?;
            ensure!(message.text() == line, "bob read something else than alice wrote");
        }
        ensure!(
            bob.sync().await?.is_empty(),
            "something came twice after it was acknowledged"
        );
        Ok(())
    }

    /// What the relay has on disk is searched for everything that was said.
    fn search(&self) -> anyhow::Result<()> {
        step("the relay's files are searched for texts, metadata and client_msg_ids");
        let mut size = 0;
        for file in canary::files(self.relay.folder())? {
            let bytes = fs::read(&file)?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            ensure!(
                self.secrets.find(&bytes).is_none(),
                "{name} holds a text in clear"
            );
            println!("    {name}: {} bytes, no hit", bytes.len());
            size += bytes.len();
        }
        ensure!(size > 0, "the relay has written nothing");
        Ok(())
    }

    async fn say(&self, from: &Agent, to: &str, text: &str) -> anyhow::Result<()> {
        let (id, note) = (canary::unique("id")?, canary::unique("note")?);
        for secret in [text, &id, &note] {
            self.secrets.forbid(secret);
        }
        let body = json!({
            "to": to, "client_msg_id": id, "content": {"text": text}, "metadata": {"note": note},
        });
        from.send(&body).await?.expect(201)?;
        println!("    {} -> {to}: {text}", from.handle());
        Ok(())
    }

    /// How to go on by hand.
    fn explain(&self) -> anyhow::Result<()> {
        step("still running; try it, and end with Ctrl-C");
        for proxy in [&self.alice, &self.bob, &self.carol] {
            let token = proxy.token_file();
            println!(
                "    {:5} {} token in {}",
                proxy.handle(),
                url(proxy)?,
                token.display()
            );
        }
        let alice = format!(
            "-H \"Authorization: Bearer $(cat {})\"",
            self.alice.token_file().display()
        );
        let carol = format!(
            "-H \"Authorization: Bearer $(cat {})\"",
            self.carol.token_file().display()
        );
        let (to_alice, to_carol) = (url(&self.alice)?, url(&self.carol)?);
        println!(
            "\ncurl {alice} -H 'Content-Type: application/json' {to_alice}/v1/messages -d \
             '{{\"to\":\"carol\",\"client_msg_id\":\"try-1\",\"content\":{{\"text\":\"hello carol\"}}}}'"
        );
        println!("curl {carol} '{to_carol}/v1/messages/sync?wait=10'");
        println!("curl {alice} {to_alice}/v1/agents/carol/identity");
        Ok(())
    }

    /// Ends everything in order and removes the folder.
    async fn clear(mut self) -> anyhow::Result<()> {
        for proxy in [&mut self.alice, &mut self.bob, &mut self.carol] {
            ensure!(proxy.terminate().await?.success(), "a proxy did not end in order");
        }
        ensure!(
            self.relay.terminate().await?.success(),
            "the relay did not end in order"
        );
        self.world.check()?;
        step("all programs ended in order");
        Ok(())
    }
}

/// Where a proxy's local API is.
fn url(proxy: &Proxy) -> anyhow::Result<String> {
    match proxy.address()? {
        Address::Tcp(address) => Ok(format!("http://{address}")),
        other => anyhow::bail!("the local API listens on {other:?}"),
    }
}

fn step(what: &str) {
    println!("* {what}");
}

/// A message arrived, verified by the reader's proxy.
fn heard(reader: &Agent, message: &Message) -> anyhow::Result<()> {
    ensure!(
        message.security.verified && message.security.gap.is_none(),
        "a message is not verified"
    );
    println!("    {} reads, verified: {}", reader.handle(), message.text());
    Ok(())
}
