//! Wake-ups of a proxy by its relay (docs/relay-api.md, Wake-ups), between real programs.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;
use waxwire_shared::{api::problem::ProblemType, hook};
use waxwire_tests::{
    Ask, Http, Manner, Proxy, Receiver, Relay, Stranger, World,
    certificate::trust,
    clock::unix_ms,
    eventually, patience,
    program::{Address, run},
    scenario, scenario_within,
    tap::Way,
    unique,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A relay that may call hooks on this host.
async fn relay(world: &World) -> anyhow::Result<Relay> {
    let mut relay = world.new_relay("relay")?;
    relay.arguments(["--hook-allow", "127.0.0.1"]);
    relay.start().await?;
    Ok(relay)
}

/// A secret, and the file with it.
fn secret(world: &World) -> anyhow::Result<(String, PathBuf)> {
    let (secret, file) = (unique("secret")?, world.folder().join("hook.secret"));
    fs::write(&file, format!("{secret}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok((secret, file))
}

/// A port that nobody listens on.
fn free() -> anyhow::Result<std::net::SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A proxy that has told the relay where to wake it.
async fn proxy<const N: usize>(
    world: &World,
    relay: &Relay,
    handle: &str,
    arguments: [&str; N],
) -> anyhow::Result<Proxy> {
    let mut proxy = world.new_proxy(relay, handle).await?;
    proxy.init().await?;
    proxy.arguments(arguments);
    proxy.start().await?;
    proxy.agent()?.until_ready().await?;
    let marker = proxy.state().join("hook-url");
    eventually("the relay was told of the hook", LIMIT, async || {
        Ok(marker.exists().then_some(()))
    })
    .await?;
    Ok(proxy)
}

/// A proxy that waits before it connects again does so at once when something comes for it.
#[test]
fn hook_wakes_a_proxy_that_waits_to_reconnect() {
    scenario(async |world| {
        let relay = relay(world).await?;
        let (_, file) = secret(world)?;
        let file = file.to_str().context("a path")?;
        let listen = free()?;
        let (address, url) = (listen.to_string(), format!("http://{listen}/hook"));
        let arguments = [
            "--hook-listen",
            &address,
            "--hook-secret-file",
            file,
            "--hook-url",
            &url,
        ];
        let bob = proxy(world, &relay, "bob", arguments).await?;
        let alice = world.proxy(&relay, "alice").await?;
        let (from, to) = (alice.agent()?, bob.agent()?);

        // Long enough that the next attempt is several seconds away.
        bob.tap().set(Way::Down);
        bob.tap().cut();
        tokio::time::sleep(patience(Duration::from_secs(11))).await;
        bob.tap().set(Way::Open);
        let begin = Instant::now();
        from.send_text("bob", "wake", "wake up and read this").await?;
        let taken = to.receive().await?;
        ensure!(taken.client_msg_id == "wake");
        ensure!(
            begin.elapsed() < patience(Duration::from_millis(2_400)),
            "{:?}",
            begin.elapsed()
        );
        let metrics = relay.metrics().await?;
        ensure!(
            metrics.contains("wakeups_total{outcome=\"woken\"} 1"),
            "{metrics}"
        );
        Ok(())
    });
}

/// Nobody else is heard at the listener, and nothing else is served there.
#[test]
fn listener_of_the_hook_hears_the_relay_only() {
    scenario(async |world| {
        let relay = relay(world).await?;
        let (secret, file) = secret(world)?;
        let file = file.to_str().context("a path")?;
        let listen = free()?;
        let (address, url) = (listen.to_string(), format!("http://{listen}/hook"));
        let arguments = [
            "--hook-listen",
            &address,
            "--hook-secret-file",
            file,
            "--hook-url",
            &url,
        ];
        let mut bob = proxy(world, &relay, "bob", arguments).await?;
        let http = Http::new(Some(Address::Tcp(listen)));
        let now = unix_ms() / 1_000;
        let call = |signature: String, body: &'static str| {
            let ask = Ask::new("POST", "/hook").header(hook::HEADER, signature);
            http.ask(ask.body(body))
        };
        let good = hook::sign(secret.as_bytes(), now, b"{}");
        let other = hook::sign(b"another secret of a hook", now, b"{}");
        let old = hook::sign(secret.as_bytes(), now - 400, b"{}");
        call(other, "{}").await?.expect_status(401)?;
        call(old, "{}").await?.expect_status(401)?;
        call(good.clone(), "{ }").await?.expect_status(401)?;
        call(good.clone(), "{}").await?.expect_status(204)?;
        call(good, "{}").await?.expect_status(409)?;
        let token = bob.token()?;
        for path in ["/", "/healthz", "/v1/messages/sync"] {
            let ask = Ask::new("GET", path).bearer(&token);
            http.ask(ask).await?.expect_status(404)?;
        }

        // Without the flags, the relay is told that nobody is to be woken any more.
        bob.terminate().await?;
        bob.arguments([]);
        bob.start().await?;
        let marker = bob.state().join("hook-url");
        eventually("the relay was told", LIMIT, async || {
            Ok((!marker.exists()).then_some(()))
        })
        .await
    });
}

/// A hook that is down for the whole ladder: the calls go on after the relay was killed, become a dead
/// letter, and are made again by command.
#[test]
fn relays_ladder_survives_a_kill_and_ends_in_a_dead_letter() {
    scenario_within(Duration::from_secs(240), async |world| {
        let mut relay = relay(world).await?;
        let (secret, file) = secret(world)?;
        let file = file.to_str().context("a path")?;
        let receiver = Receiver::start(Manner::Status("503 Later")).await?;
        let url = receiver.url();
        let arguments = ["--hook-secret-file", file, "--hook-url", &url];
        let mut bob = proxy(world, &relay, "bob", arguments).await?;
        let alice = world.proxy(&relay, "alice").await?;
        bob.terminate().await?;
        alice.agent()?.send_text("bob", "one", "bob is not there").await?;
        let calls = receiver.until(3, LIMIT).await?;
        calls[0].verify_in(hook::HEADER, &secret)?;
        ensure!(
            calls[0].body["queue"] == "mail" && calls[0].body["head"] == 1,
            "{calls:?}"
        );
        let text = calls[0].text.clone();
        ensure!(!text.contains("alice") && !text.contains("bob"), "{text}");
        relay.crash().await?;
        let dead = async || {
            let listed = run(relay.tool(["admin", "dead-letters"])?, LIMIT)
                .await?
                .success()?;
            Ok(listed.stdout.lines().nth(1).map(str::to_owned))
        };
        let line = eventually("a dead letter", Duration::from_secs(90), dead).await?;
        ensure!(
            line.starts_with("bob\t6\t") && line.ends_with("status 503"),
            "{line}"
        );
        ensure!(receiver.calls().len() >= 6, "{}", receiver.calls().len());

        receiver.answers(Manner::Status("204 No Content"));
        let before = receiver.calls().len();
        let again = relay.tool(["admin", "dead-letters", "--redeliver", "bob"])?;
        run(again, LIMIT).await?.success()?;
        receiver.until(before + 1, LIMIT).await?;
        eventually("no dead letter", LIMIT, async || {
            Ok(dead().await?.is_none().then_some(()))
        })
        .await?;
        bob.start().await?;
        let taken = bob.agent()?.receive().await?;
        ensure!(taken.client_msg_id == "one");
        Ok(())
    });
}

/// A relay without the operator's word takes no hook that leads inside; the proxy runs all the same.
#[test]
fn hook_that_leads_inside_is_refused_and_the_proxy_runs_on() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let (secret, file) = secret(world)?;
        let file = file.to_str().context("a path")?;
        let receiver = Receiver::start(Manner::Status("204 No Content")).await?;
        let mut bob = world.new_proxy(&relay, "bob").await?;
        bob.init().await?;
        bob.arguments(["--hook-secret-file", file, "--hook-url", &receiver.url()]);
        bob.start().await?;
        bob.agent()?.until_ready().await?;
        let alice = world.proxy(&relay, "alice").await?;
        bob.terminate().await?;
        alice
            .agent()?
            .send_text("bob", "one", "nobody is called for it")
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(receiver.calls().is_empty());
        // By the interface itself, too.
        let mallory = Stranger::registered(relay.http(), "mallory", world.canaries()).await?;
        for url in [
            "http://127.0.0.1:1/",
            "https://127.0.0.1/",
            "https://169.254.169.254/",
        ] {
            let body: Value = json!({ "url": url, "secret": secret });
            let ask = mallory.request("PUT", "/v1/agents/me/hook").json(&body);
            mallory.ask(ask).await?.problem(ProblemType::BadRequest)?;
        }
        Ok(())
    });
}

/// Over https a proxy is woken if the relay's machine trusts its certificate, and else not spoken to.
#[test]
fn hook_over_https_is_called_if_its_certificate_is_trusted() {
    scenario(async |world| {
        let mut relay = relay(world).await?;
        let (secret, file) = secret(world)?;
        let file = file.to_str().context("a path")?;
        let receiver = Receiver::start_tls(Manner::Status("204 No Content")).await?;
        let url = receiver.url();
        let arguments = ["--hook-secret-file", file, "--hook-url", &url];
        let mut bob = proxy(world, &relay, "bob", arguments).await?;
        let alice = world.proxy(&relay, "alice").await?;
        bob.terminate().await?;
        alice.agent()?.send_text("bob", "one", "bob is not there").await?;
        eventually("a call has failed", LIMIT, async || {
            let metrics = relay.metrics().await?;
            let mut failed = metrics
                .lines()
                .filter_map(|line| line.strip_prefix("waxwire_relay_wakeups_total{outcome=\"failed\"} "));
            Ok(failed.any(|count| count != "0").then_some(()))
        })
        .await?;
        ensure!(receiver.calls().is_empty(), "{:?}", receiver.calls());

        relay.kill()?;
        relay.environment(trust());
        relay.start().await?;
        let calls = receiver.until(1, LIMIT).await?;
        calls[0].verify_in(hook::HEADER, &secret)
    });
}
