//! Starting, stopping, refusing to start: both programs as an operator meets them.

use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    Ask, Relay,
    binaries::Binary,
    eventually,
    program::{Address, Finished, run},
    scenario,
    world::World,
};

const SHORT: Duration = Duration::from_secs(20);

async fn program(world: &World, binary: Binary, arguments: &[&str]) -> anyhow::Result<Finished> {
    let mut command = binary.command(world.folder())?;
    command.args(arguments);
    run(command, SHORT).await
}

/// Runs a command that must refuse with a reason that has a word in it.
async fn refuses(command: Command, word: &str) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let reason = run(command, SHORT)
        .await?
        .refusal()
        .with_context(|| shown.clone())?;
    ensure!(reason.contains(word), "{shown}: no '{word}' in: {reason}");
    Ok(reason)
}

#[test]
fn every_command_explains_itself() {
    scenario(async |world| {
        let relay: &[&[&str]] = &[
            &[],
            &["serve"],
            &["migrate"],
            &["admin"],
            &["admin", "suspend"],
            &["admin", "invite"],
        ];
        let proxy: &[&[&str]] = &[&[], &["init"], &["run"], &["vectors"], &["vectors", "check"]];
        for (binary, commands) in [(Binary::Relay, relay), (Binary::Proxy, proxy)] {
            for command in commands {
                let arguments = [*command, &["--help"]].concat();
                let help = program(world, binary, &arguments).await?.success()?;
                ensure!(help.stdout.contains("Usage:"), "{arguments:?}: {}", help.stdout);
                for line in help
                    .stdout
                    .lines()
                    .filter(|line| line.trim_start().starts_with("--"))
                {
                    // clap puts the text of a long flag on the next line or behind two spaces.
                    ensure!(!line.trim().is_empty(), "{line}");
                }
            }
            program(world, binary, &["--version"]).await?.success()?;
        }
        Ok(())
    });
}

#[test]
fn wrong_usage_is_refused_with_status_2() {
    scenario(async |world| {
        let wrong: &[(Binary, &[&str])] = &[
            (Binary::Relay, &[]),
            (Binary::Relay, &["serve", "--no-such-flag"]),
            (Binary::Relay, &["no-such-command"]),
            (Binary::Relay, &["serve", "--listen", "nowhere"]),
            (Binary::Relay, &["serve", "--registration", "sometimes"]),
            (Binary::Relay, &["serve", "--worker-id", "1024"]),
            (Binary::Relay, &["serve", "--log", "loud=very"]),
            (Binary::Proxy, &[]),
            (Binary::Proxy, &["run", "--no-such-flag"]),
            (Binary::Proxy, &["run"]),
            (Binary::Proxy, &["run", "--state", "s", "--listen", "nowhere"]),
            (
                Binary::Proxy,
                &[
                    "init",
                    "--state",
                    "s",
                    "--relay",
                    "http://127.0.0.1:1",
                    "--handle",
                    "Not A Handle",
                ],
            ),
        ];
        for (binary, arguments) in wrong {
            let finished = program(world, *binary, arguments).await?;
            ensure!(finished.status.code() == Some(2), "{arguments:?}: {finished:?}");
            finished.refusal()?;
        }
        Ok(())
    });
}

#[test]
fn bad_configuration_of_the_relay_is_refused() {
    scenario(async |world| {
        let file = |name: &str, text: &str| {
            let path = world.folder().join(name);
            std::fs::write(&path, text)?;
            anyhow::Ok(path.display().to_string())
        };
        let unknown = file("unknown.toml", "listen = '127.0.0.1:0'\nlisten_twice = true\n")?;
        let limit = file("limit.toml", "[limits]\nno_such_limit = 1\n")?;
        let broken = file("broken.toml", "listen = \n")?;
        let short = file("master", "too short")?;
        let open = file("open-master", &"long enough ".repeat(4))?;
        std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600))?;
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640))?;
        let database = format!("sqlite://{}", world.folder().join("x.db").display());
        let cases: &[(&[&str], &str)] = &[
            (&["--config", &unknown], "unknown.toml"),
            (&["--config", &limit], "limit.toml"),
            (&["--config", &broken], "broken.toml"),
            (&["--config", "no-such-file.toml"], "no-such-file.toml"),
            (&["--database", "mysql://host/db"], "sqlite://"),
            (&["--redis", "redis://localhost"], "redis"),
            (&["--tls-cert", &short], "--tls-key"),
            (&["--tls-cert", &short, "--tls-key", &short], "TLS"),
            (&["--master-key-file", &short], "32"),
            (&["--master-key-file", &open], "permissions 640"),
            (&["--public-url", "ftp://relay"], "http"),
            (&["--listen", "127.0.0.1:1"], "127.0.0.1:1"),
        ];
        for (arguments, word) in cases {
            let mut command = Binary::Relay.command(world.folder())?;
            command.args(["serve", "--database", &database]);
            if !arguments.contains(&"--listen") {
                command.args(["--listen", "127.0.0.1:0"]);
            }
            let arguments = arguments
                .iter()
                .filter(|argument| !argument.starts_with("--database"));
            command.args(arguments);
            // Root may bind low ports; then there is nothing to refuse.
            if *word == "127.0.0.1:1" && rustix::process::geteuid().is_root() {
                continue;
            }
            if *word == "sqlite://" {
                command = Binary::Relay.command(world.folder())?;
                command.args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--database",
                    "mysql://host/db",
                ]);
            }
            refuses(command, word).await?;
        }
        Ok(())
    });
}

/// docs/operations/running.md, Stopping: SIGTERM ends what is in flight and exits 0 within ten seconds,
/// whoever is connected.
#[test]
fn both_programs_end_in_order_while_in_use() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", "before the end").await?;
        bob.receive().await?;
        let poll = tokio::spawn({
            let bob = bob.clone();
            async move { bob.sync_after(None, 60).await }
        });
        // The poll is under way once its request was counted.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(pair.bob.terminate().await?.success());
        assert!(
            poll.await??.is_empty(),
            "a long poll is answered when the proxy stops"
        );

        assert!(pair.relay.terminate().await?.success());
        eventually("alice is not ready", SHORT, async || {
            Ok((alice.get("/readyz").await?.status == 503).then_some(()))
        })
        .await?;
        assert!(pair.alice.terminate().await?.success());
        pair.relay.start().await?;
        pair.alice.start().await?;
        pair.bob.start().await?;
        alice.until_ready().await?;
        alice.send_text("bob", "after", "after the end").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "after");
        Ok(())
    });
}

#[test]
fn signal_to_stop_is_heard_from_the_first_moment() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.alice.kill()?;
        for _ in 0..5 {
            pair.alice.start().await?;
            assert!(pair.alice.terminate().await?.success());
        }
        pair.bob.kill()?;
        pair.relay.kill()?;
        for _ in 0..5 {
            pair.relay.start().await?;
            assert!(pair.relay.terminate().await?.success());
        }
        Ok(())
    });
}

#[test]
fn readyz_follows_the_relay_and_healthz_does_not() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let relay = pair.relay.http().clone();
        for path in ["/healthz", "/readyz"] {
            assert_eq!(relay.ask(Ask::new("GET", path)).await?.status, 200);
            // Supervisors need no token.
            assert_eq!(alice.http().ask(Ask::new("GET", path)).await?.status, 200);
        }
        assert!(pair.relay.metrics().await?.contains("waxwire"));
        pair.relay.kill()?;
        let state = async |ready: bool| {
            let status = if ready { 200 } else { 503 };
            eventually("readyz follows", Duration::from_secs(60), async || {
                let answer = alice.get("/readyz").await?;
                let body = answer.expect(answer.status)?;
                Ok((answer.status == status).then_some(body))
            })
            .await
        };
        let down = state(false).await?;
        assert_eq!(
            (&down["ready"], &down["checks"]["relay"], &down["checks"]["store"]),
            (&false.into(), &false.into(), &true.into())
        );
        assert_eq!(alice.get("/healthz").await?.status, 200);
        pair.relay.start().await?;
        assert_eq!(state(true).await?["ready"], true);
        Ok(())
    });
}

#[test]
fn proxy_starts_without_a_relay() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.alice.terminate().await?;
        pair.relay.kill()?;
        pair.alice.start().await?;
        let alice = pair.alice.agent()?;
        assert_eq!(alice.get("/healthz").await?.status, 200);
        assert_eq!(alice.get("/readyz").await?.status, 503);
        alice.get("/v1/conversations").await?.expect(200)?;
        let begin = tokio::time::Instant::now();
        assert!(pair.alice.terminate().await?.success());
        assert!(begin.elapsed() < Duration::from_secs(10));
        Ok(())
    });
}

#[test]
fn programs_start_again_on_the_same_port_after_a_crash() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let fixed = |address: &Address| match address {
            Address::Tcp(address) => Ok(address.to_string()),
            Address::Unix(path) => anyhow::bail!("not a port: {}", path.display()),
        };
        let relay = fixed(pair.relay.program()?.address())?;
        pair.relay.kill()?;
        pair.relay.start_on(&relay).await?;
        let proxy = fixed(&pair.alice.address()?)?;
        pair.alice.kill()?;
        let command = pair.alice.run_command(&proxy)?;
        pair.alice.start_by(command).await?;
        alice.until_ready().await?;
        // Where somebody listens, nobody else does.
        refuses(pair.bob.run_command(&proxy)?, "in use").await?;
        Ok(())
    });
}

#[test]
fn relay_keeps_identity_agents_and_mail_over_restarts() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let fingerprint = async |relay: &Relay| {
            let finished = run(relay.tool(["admin", "fingerprint"])?, SHORT)
                .await?
                .success()?;
            anyhow::Ok(finished.stdout.trim().to_owned())
        };
        let before = fingerprint(&pair.relay).await?;
        pair.bob.terminate().await?;
        alice.send_text("bob", "kept", "kept by the relay").await?;
        pair.relay.terminate().await?;
        run(pair.relay.tool(["migrate"])?, SHORT).await?.success()?;
        pair.relay.start().await?;
        assert_eq!(fingerprint(&pair.relay).await?, before);
        pair.bob.start().await?;
        assert_eq!(bob.receive().await?.client_msg_id, "kept");
        // Two relays on one database would give the same positions twice.
        refuses(pair.relay.command("127.0.0.1:0")?, "in use").await?;
        Ok(())
    });
}

/// docs/protocol.md, 4.2: `RELAY_CHANGED`.
/// A relay that answers with another identity gets nothing and says nothing.
#[test]
fn replaced_relay_is_not_trusted() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        alice.identity("bob").await?;
        pair.alice.tap().record();
        pair.relay.kill()?;
        pair.relay.store().lose()?;
        pair.relay.start().await?;
        eventually("alice met the other relay", Duration::from_secs(60), async || {
            let recorded = pair.alice.tap().recorded();
            Ok(recorded
                .windows(9)
                .any(|window| window == b"/v1/relay")
                .then_some(()))
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(alice.get("/readyz").await?.status, 503);
        let recorded = String::from_utf8_lossy(&pair.alice.tap().recorded()).to_lowercase();
        assert!(
            !recorded.contains("authorization"),
            "the API key went to another relay"
        );
        Ok(())
    });
}

#[test]
fn init_makes_nothing_where_it_refuses() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice = world.proxy(&relay, "alice").await?;
        // The same handle again, for other keys.
        std::fs::create_dir(world.folder().join("elsewhere"))?;
        let init = |handle: &str| {
            let mut command = Binary::Proxy.command(world.folder())?;
            command.args(["init", "--relay", &relay.url()?, "--handle", handle]);
            command.args(["--state", "elsewhere/alice"]);
            anyhow::Ok(command)
        };
        let elsewhere = world.folder().join("elsewhere");
        refuses(init("alice")?, "taken").await?;
        ensure!(
            !elsewhere.join("alice").exists(),
            "something was left for a handle that is taken"
        );
        let mut unregistered = Binary::Proxy.command(world.folder())?;
        unregistered.args(["run", "--listen", "127.0.0.1:0", "--state", "elsewhere/alice"]);
        refuses(unregistered, "no key store").await?;
        run(init("alice-too")?, SHORT).await?.success()?;

        let wrong = format!("{}#{}", relay.url()?, "0".repeat(64));
        let nowhere = "http://127.0.0.1:9".to_owned();
        let far = "http://relay.example.org".to_owned();
        for (index, (url, word)) in [(wrong, "fingerprint"), (nowhere, "relay"), (far, "http")]
            .into_iter()
            .enumerate()
        {
            let state = format!("elsewhere/none-{index}");
            let mut command = Binary::Proxy.command(world.folder())?;
            command.args(["init", "--relay", &url, "--handle", "nobody", "--state", &state]);
            refuses(command, word).await?;
            ensure!(
                !world.folder().join(&state).join("keys").exists(),
                "keys were made for {url}"
            );
        }
        // Alice is who she was.
        assert_eq!(alice.agent()?.get("/readyz").await?.status, 200);
        Ok(())
    });
}

#[test]
fn init_again_is_refused_and_changes_nothing() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.proxy(&relay, "alice").await?;
        let fingerprint = alice.agent()?.get("/v1/agents/me").await?.expect(200)?["fingerprint"].clone();
        alice.terminate().await?;
        let keys = std::fs::read(alice.state().join("keys"))?;
        let token = alice.token()?;
        refuses(alice.init_command(&[])?, "already").await?;
        ensure!(
            std::fs::read(alice.state().join("keys"))? == keys,
            "the key store was changed"
        );
        ensure!(alice.token()? == token, "the token was changed");
        alice.start().await?;
        assert_eq!(
            alice.agent()?.get("/v1/agents/me").await?.expect(200)?["fingerprint"],
            fingerprint
        );
        Ok(())
    });
}

#[test]
fn init_that_lost_the_answer_can_be_repeated() {
    scenario(async |world| {
        use waxwire_tests::tap::Outcome;
        let relay = world.relay().await?;
        let mut alice = world.new_proxy(&relay, "alice").await?;
        alice.tap().on_request(|asked| {
            if asked.path == "/v1/agents" {
                Outcome::LoseAnswer
            } else {
                Outcome::Pass
            }
        });
        refuses(alice.init_command(&[])?, "relay").await?;
        alice.tap().calm();
        alice.init().await?;
        alice.start().await?;
        let agent = alice.agent()?;
        agent.until_ready().await?;
        let bob = world.proxy(&relay, "bob").await?;
        agent.send_text("bob", "hello", "registered after all").await?;
        assert_eq!(bob.agent()?.receive().await?.client_msg_id, "hello");
        Ok(())
    });
}

#[test]
fn second_run_on_one_state_is_refused_and_the_first_goes_on() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        refuses(pair.alice.run_command("127.0.0.1:0")?, "in use").await?;
        alice.send_text("bob", "still", "still the only one").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "still");
        // A lock that a killed process left is none.
        pair.alice.crash().await?;
        alice.until_ready().await?;
        Ok(())
    });
}

#[test]
fn invites_open_a_closed_door_once() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.arguments(["--registration", "invite"]);
        relay.start().await?;
        let alice = world.new_proxy(&relay, "alice").await?;
        refuses(alice.init_command(&[])?, "invite").await?;
        let invite = run(relay.tool(["admin", "invite"])?, SHORT).await?.success()?;
        let code = invite.stdout.trim().to_owned();
        alice.init_with(&["--invite", &code]).await?;
        let bob = world.new_proxy(&relay, "bob").await?;
        refuses(bob.init_command(&["--invite", &code])?, "invite").await?;
        Ok(())
    });
}
