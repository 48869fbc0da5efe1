//! `openapi.json` against the program: a fuzzer makes requests of it, valid ones and others, and every
//! answer has to be one that it describes. `SEED=n` repeats a run; in `make soak` each has its own.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::ensure;
use waxwire_tests::{
    Agent, Circle, World,
    clock::slow,
    http::host,
    program::run,
    scenario_within,
    script::{repository, tool},
    unique,
};

/// The seed of `make test`: it asks for the same every time, as far as its time goes.
const SEED: u64 = 4;
/// Seconds of fuzzing, and in a soak test.
const SECONDS: u32 = 60;
const SOAK_SECONDS: u32 = 600;
/// What starting, the last request and the report may take beside.
const BESIDE: Duration = Duration::from_secs(75);

/// docs/proxy-api.md: no fault of the proxy, and no status, header or body that is not described, whatever
/// is asked.
#[test]
fn every_answer_is_described() {
    let round = number("WAXWIRE_SOAK");
    let seed = number("SEED").or(round).unwrap_or(SEED);
    let seconds = if round.is_some() { SOAK_SECONDS } else { SECONDS };
    let limit = BESIDE + Duration::from_secs(seconds.into());
    scenario_within(limit, async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let folder = prepare(world, &alice).await?;
        for (name, ids) in past(&circle).await? {
            let lines: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            fs::write(folder.join(format!("{name}.dict")), lines.join("\n"))?;
        }
        let mut command = tool("target/venv/bin/schemathesis", &folder)?;
        command.env("TOKEN", alice.token()).current_dir(&folder);
        command.args(["--config-file", "schemathesis.toml", "run", "openapi.json"]);
        command.args(["--url", &format!("http://{}", host(&alice.http().address()?))]);
        command.args(["--seed", &seed.to_string()]);
        command.args(["--max-time", &(seconds * slow()).to_string()]);
        let finished = run(command, limit).await?;
        ensure!(
            finished.status.success(),
            "SEED={seed}\n{}\n{}",
            finished.stdout,
            finished.stderr
        );
        // Afterwards it does its work as before.
        alice.until_ready().await?;
        let group = alice.create_group(&unique("afterwards")?, &[]).await?.id;
        let text = unique("after all that")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        alice.until_text(&group, &text).await?;
        bob.until_ready().await
    });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The folder in which the fuzzer finds its configuration and the description.
async fn prepare(world: &World, alice: &Agent) -> anyhow::Result<PathBuf> {
    let folder = world.folder().join("fuzzer");
    fs::create_dir(&folder)?;
    for file in ["schemathesis.toml", "hooks.py"] {
        fs::copy(repository("tests/openapi").join(file), folder.join(file))?;
    }
    let description = alice.get("/openapi.json").await?;
    description.expect_status(200)?;
    fs::write(folder.join("openapi.json"), &description.body)?;
    Ok(folder)
}

/// A past for alice: conversations, groups and invites of all kinds; gives their ids by kind.
async fn past(circle: &Circle) -> anyhow::Result<[(&'static str, Vec<String>); 5]> {
    let [alice, bob] = circle.agents(["alice", "bob"])?;
    let (mut messages, mut invites, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..3 {
        let (to, from) = (format!("to-{n}"), format!("from-{n}"));
        messages.push(alice.send_text("bob", &to, &unique("to bob")?).await?.id);
        bob.send_text("alice", &from, &unique("to alice")?).await?;
    }
    // One group of her own, one in which she is a member, two to which she is invited.
    let own = alice.gather(&unique("own")?, &[&bob]).await?.id;
    alice.invite(&own, "carol").await?;
    let joined = bob.gather(&unique("joined")?, &[&alice]).await?.id;
    alice
        .send_to_group(&joined, "in-group", &unique("in a group")?)
        .await?;
    for _ in 0..2 {
        let inviting = bob.create_group(&unique("inviting")?, &["alice"]).await?;
        invites.push(alice.until_invited(&inviting.id).await?.id);
    }
    let groups = vec![own, joined];
    let mut conversations = groups.clone();
    for row in alice.sync().await? {
        messages.push(row.id);
        conversations.push(row.conversation_id);
        deliveries.extend(row.delivery_id);
    }
    Ok([
        ("messages", messages),
        ("conversations", conversations),
        ("deliveries", deliveries),
        ("groups", groups),
        ("invites", invites),
    ])
}
