//! The commands for people and scripts, against running proxies (interfaces: `status`, `send`, `inbox`,
//! `group`, `channel`, `trust`).

use std::{io::Write as _, net::TcpListener, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{
    Proxy,
    binaries::Binary,
    eventually,
    program::{Address, Finished, run},
    scenario, unique,
    world::World,
};

const LIMIT: Duration = Duration::from_secs(30);

async fn command(world: &World, proxy: &Proxy, words: &[&str]) -> anyhow::Result<Finished> {
    let mut command = Binary::Proxy.command(world.folder())?;
    command.args(words).arg("--state").arg(proxy.state());
    run(command, LIMIT).await
}

async fn says(world: &World, proxy: &Proxy, words: &[&str]) -> anyhow::Result<String> {
    Ok(command(world, proxy, words).await?.success()?.stdout)
}

async fn json_of(world: &World, proxy: &Proxy, words: &[&str]) -> anyhow::Result<Value> {
    let words = [words, &["--json"]].concat();
    let printed = says(world, proxy, &words).await?;
    serde_json::from_str(&printed).with_context(|| format!("{words:?} printed {printed}"))
}

#[test]
fn people_write_read_and_compare_keys_by_commands() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let status = json_of(world, alice, &["status"]).await?;
        assert_eq!(status["agent"]["handle"], "alice");
        assert_eq!(status["readiness"]["ready"], true);

        let text = unique("by hand \u{202e}\u{1b}[31m")?;
        let sent = json_of(world, alice, &["send", "bob", &text, "--client-msg-id", "hand-1"]).await?;
        assert_eq!(sent["status"], "stored");
        // A repeat sends nothing: it says what the first said.
        let again = json_of(world, alice, &["send", "bob", &text, "--client-msg-id", "hand-1"]).await?;
        assert_eq!(again["id"], sent["id"]);
        let id = sent["id"].as_str().context("no id")?;
        let inbox = eventually("bob has it", LIMIT, async || {
            let inbox = says(world, bob, &["inbox", "--from", "alice", "--unread"]).await?;
            Ok(inbox.contains(id).then_some(inbox))
        })
        .await?;
        ensure!(
            inbox.contains("\\u{202e}\\u{1b}[31m"),
            "a terminal is steered: {inbox}"
        );
        ensure!(inbox.ends_with("1 of 1\n"), "{inbox}");
        says(world, bob, &["inbox", "--clear"]).await?;
        let agent = bob.agent()?;
        // What was shown is cleared once the answer has been written.
        eventually("the inbox is empty", LIMIT, async || {
            let left = agent.get("/v1/messages/sync").await?.expect(200)?;
            Ok((left == json!([])).then_some(()))
        })
        .await?;

        let shown = json_of(world, bob, &["trust", "show", "alice"]).await?;
        let fingerprint = shown["fingerprint"].as_str().context("no fingerprint")?;
        let verified = json_of(world, bob, &["trust", "set", "alice", "verified", fingerprint]).await?;
        assert_eq!(verified["state"], "verified");
        let wrong = command(
            world,
            bob,
            &["trust", "set", "alice", "verified", &"0".repeat(64), "--json"],
        )
        .await?;
        ensure!(!wrong.status.success(), "another fingerprint was taken");
        let refusal: Value = serde_json::from_str(&wrong.stdout)?;
        assert_eq!(refusal["code"], "FINGERPRINT_MISMATCH");
        Ok(())
    });
}

#[test]
fn what_is_sent_comes_from_standard_input_too() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let text = unique("from a pipe\nin two lines")?;
        let mut command = Binary::Proxy.command(world.folder())?;
        command.args(["send", "bob", "--state"]).arg(pair.alice.state());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        writeln!(input, "{text}")?;
        drop(input);
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        ensure!(status.success(), "send failed");
        let bob = pair.bob.agent()?;
        eventually("bob has the text", LIMIT, async || {
            let rows = bob.get("/v1/messages/sync").await?.expect(200)?;
            Ok((rows[0]["content"]["text"] == text.as_str()).then_some(()))
        })
        .await
    });
}

/// Numbers keep their digits and keys their order through both commands, also what fits no float; a message that
/// holds some must not stop the list of a recipient who has it cleared by the same command.
#[test]
fn content_passes_the_commands_as_it_is() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let marker = unique("in figures")?;
        let content =
            format!(r#"{{"text":"{marker}","data":{{"z":1e400,"a":1.10,"n":12345678901234567890123}}}}"#);
        let metadata = r#"{"y":1,"x":2.50}"#;
        let words = ["send", "bob", "--content", &content, "--metadata", metadata];
        let sent = says(world, alice, &[&words[..], &["--json"]].concat()).await?;
        ensure!(sent.contains(&content) && sent.contains(metadata), "{sent}");
        let listed = eventually("bob has it", LIMIT, async || {
            let listed = says(world, bob, &["inbox", "--json"]).await?;
            Ok(listed.contains(&marker).then_some(listed))
        })
        .await?;
        ensure!(listed.contains(&content) && listed.contains(metadata), "{listed}");
        let shown = says(world, bob, &["inbox", "--clear"]).await?;
        ensure!(shown.contains(&marker) && shown.ends_with("1 of 1\n"), "{shown}");
        let refused = command(world, alice, &["send", "bob", "--content", "[1]"])
            .await?
            .refusal()?;
        ensure!(refused.contains("not a JSON object"), "{refused}");
        Ok(())
    });
}

/// What a command says after a send that failed: how to ask for the outcome, unless it is known.
#[test]
fn send_that_fails_says_what_to_do() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let nobody = command(world, &pair.alice, &["send", "nobody", "hello"])
            .await?
            .refusal()?;
        ensure!(
            nobody.contains("AGENT_NOT_FOUND") && !nobody.contains("--client-msg-id"),
            "{nobody}"
        );
        says(world, &pair.alice, &["send", "bob", &unique("first")?]).await?;
        pair.relay.kill()?;
        let queued = command(world, &pair.alice, &["send", "bob", &unique("later")?])
            .await?
            .refusal()?;
        ensure!(
            queued.contains("queued")
                && queued.contains("--client-msg-id cli-")
                && queued.lines().count() == 1,
            "{queued}"
        );
        Ok(())
    });
}

#[test]
fn channels_are_found_by_commands() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let name = unique("the plaza")?;
        let words = ["channel", "create", "plaza", "--name", &name, "--join", "open"];
        let made = json_of(world, alice, &words).await?;
        assert_eq!((&made["slug"], &made["join"]), (&json!("plaza"), &json!("open")));
        let id = made["id"].as_str().context("no id")?;
        says(world, alice, &["channel", "create", "council"]).await?;
        let listed = says(world, bob, &["channel", "list"]).await?;
        ensure!(listed.contains("plaza") && !listed.contains("joined"), "{listed}");
        ensure!(!listed.contains("council"), "{listed}");
        let refused = command(world, bob, &["channel", "join", "council"])
            .await?
            .refusal()?;
        ensure!(refused.contains("CHANNEL_NOT_FOUND"), "{refused}");
        let joined = says(world, bob, &["channel", "join", "plaza", "--id", id]).await?;
        ensure!(joined.contains(id), "{joined}");
        let own = json_of(world, bob, &["channel", "list", "--joined"]).await?;
        assert_eq!(
            (&own[0]["id"], own.as_array().map(Vec::len)),
            (&made["id"], Some(1))
        );
        let all = says(world, alice, &["channel", "list"]).await?;
        ensure!(all.matches("joined").count() == 2, "{all}");
        says(world, bob, &["send", id, &unique("to all")?])
            .await
            .map(drop)
    });
}

#[test]
fn groups_are_led_by_commands() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let name = unique("the board")?;
        let made = json_of(world, alice, &["group", "create", &name, "bob"]).await?;
        let group = made["group"]["id"].as_str().context("no id")?;
        let invite = eventually("the invite is listed", LIMIT, async || {
            let invites = json_of(world, bob, &["group", "invites"]).await?;
            Ok(invites[0]["id"].as_str().map(str::to_owned))
        })
        .await?;
        json_of(world, bob, &["group", "accept", &invite]).await?;
        says(world, bob, &["send", group, &unique("to all")?]).await?;
        let shown = json_of(world, alice, &["group", "show", group]).await?;
        assert_eq!(shown["security"]["members"].as_array().map(Vec::len), Some(2));
        let epoch = json_of(world, alice, &["group", "rekey", group]).await?;
        ensure!(
            epoch["epoch"].as_u64() > shown["security"]["epoch"].as_u64(),
            "no new key: {epoch}"
        );
        let listed = says(world, alice, &["group", "list"]).await?;
        ensure!(listed.contains(group) && listed.contains(&name), "{listed}");
        says(world, bob, &["group", "leave", group]).await?;
        let gone = command(world, bob, &["group", "rekey", group]).await?.refusal()?;
        ensure!(gone.contains("NOT_FOUND"), "{gone}");
        Ok(())
    });
}

/// Attack 92: whoever listens where a proxy has listened is told nothing.
#[test]
fn attack_92_commands_show_the_token_to_their_own_proxy_only() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let address = std::fs::read_to_string(pair.alice.state().join("address"))?;
        ensure!(pair.alice.terminate().await?.success());
        let stopped = command(world, &pair.alice, &["status"]).await?.refusal()?;
        ensure!(stopped.contains("no proxy runs"), "{stopped}");

        // An impostor at the old place, which even passes the question on to a real proxy, bob's.
        std::fs::write(pair.alice.state().join("address"), &address)?;
        let place = address
            .trim_end()
            .strip_prefix("http://")
            .context("no address")?
            .to_owned();
        let impostor = TcpListener::bind(&place)?;
        let seen = std::thread::spawn(move || -> std::io::Result<String> {
            use std::io::Read as _;
            let (mut stream, _) = impostor.accept()?;
            let mut heard = vec![0; 4_096];
            let length = stream.read(&mut heard)?;
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nx-waxwire-proof: 0000000000000000000000000000000000000000000000000000000000000000\r\ncontent-length: 0\r\n\r\n",
            )?;
            let more = stream.read(&mut heard[length..])?;
            heard.truncate(length + more);
            Ok(String::from_utf8_lossy(&heard).into_owned())
        });
        let refused = command(world, &pair.alice, &["status"]).await?.refusal()?;
        ensure!(
            refused.contains("not the proxy of this state folder"),
            "{refused}"
        );
        let heard = seen.join().ok().context("the impostor panicked")??;
        let token = pair.alice.token()?;
        ensure!(
            !heard.contains(&token) && !heard.to_lowercase().contains("authorization"),
            "the token was shown"
        );

        // Another folder's proxy is not alice's either, although it proves that it knows its own token.
        let Address::Tcp(other) = pair.bob.address()? else {
            anyhow::bail!("bob listens elsewhere");
        };
        let other = other.to_string();
        let foreign = command(world, &pair.alice, &["status", "--api", &other])
            .await?
            .refusal()?;
        ensure!(
            foreign.contains("not the proxy of this state folder"),
            "{foreign}"
        );
        Ok(())
    });
}

#[test]
fn status_fails_while_the_relay_is_away() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.relay.kill()?;
        let alice = &pair.alice;
        let told = eventually("it is noticed", LIMIT, async || {
            let finished = command(world, alice, &["status"]).await?;
            Ok((!finished.status.success()).then_some(finished))
        })
        .await?;
        ensure!(told.stdout.contains("FAILS"), "{}", told.stdout);
        ensure!(told.stderr.contains("not ready"), "{}", told.stderr);
        Ok(())
    });
}

/// Both programs describe themselves for shells and for `man`.
#[test]
fn programs_write_their_completions_and_manual_pages() {
    scenario(async |world| {
        for (binary, page) in [
            (Binary::Proxy, "waxwire-proxy-send.1"),
            (Binary::Relay, "waxwire-relay-serve.1"),
        ] {
            for shell in ["bash", "zsh", "fish"] {
                let mut command = binary.command(world.folder())?;
                command.args(["completions", shell]);
                let script = run(command, LIMIT).await?.success()?.stdout;
                ensure!(script.contains(binary.name()), "{shell}");
            }
            let pages = world.folder().join(binary.name());
            let mut command = binary.command(world.folder())?;
            command.arg("man").arg(&pages);
            run(command, LIMIT).await?.success()?;
            let page = std::fs::read_to_string(pages.join(page))?;
            ensure!(page.contains(".TH"), "{page}");
        }
        Ok(())
    });
}
