//! Redis comes and goes (docs/operations/redis.md).

use std::{fs, time::Duration};

use anyhow::ensure;
use tokio::time::Instant;
use waxwire_tests::{
    Agent, FalseClock, Relay, World, certificate, eventually, redis::Server, scenario, scenario_within,
};

use super::{readiness, two};

/// Between polls of a node without Redis, and what comes on top on a busy machine.
const POLLED: Duration = Duration::from_secs(5);

/// A time when the certificate of the tests was not made yet, in seconds.
const BEFORE_CERTIFICATE: i64 = 1_790_000_000;

async fn until_ready(relay: &Relay, status: u16) -> anyhow::Result<()> {
    for node in 0..relay.nodes() {
        eventually("readiness has changed", Duration::from_secs(20), async || {
            Ok((readiness(relay, node).await?.status == status).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Sends and awaits one message: how long it took.
async fn pass(from: &Agent, to: &Agent, number: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let text = format!("message {number}");
    from.send_text(to.handle(), &text, &text).await?;
    let got = to.receive().await?;
    ensure!(got.text() == text, "{} instead of {text}", got.text());
    Ok(start.elapsed())
}

async fn pair(world: &World) -> anyhow::Result<(Relay, [waxwire_tests::Proxy; 2])> {
    let relay = two(world).await?;
    until_ready(&relay, 200).await?;
    // Each tap prefers another node.
    let proxies = [
        world.proxy(&relay, "alice").await?,
        world.proxy(&relay, "bob").await?,
    ];
    Ok((relay, proxies))
}

/// Everything arrives once and in order, whatever becomes of Redis meanwhile, and nothing is refused.
#[test]
fn redis_killed_under_load_delays_and_loses_nothing() {
    const EACH: usize = 150;
    scenario_within(Duration::from_secs(120), async |world| {
        let (relay, proxies) = pair(world).await?;
        let (alice, bob) = (proxies[0].agent()?, proxies[1].agent()?);
        let send = async |from: &Agent, to: &str| {
            for number in 0..EACH {
                let text = format!("{} {number}", from.handle());
                from.send_text(to, &text, &text).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        let receive = async |to: &Agent, from: &str| {
            let got = to.take_all(EACH, Duration::from_secs(60)).await?;
            for (number, message) in got.iter().enumerate() {
                let text = format!("{from} {number}");
                ensure!(message.text() == text, "{} instead of {text}", message.text());
            }
            anyhow::Ok(())
        };
        let redis = relay.redis()?;
        let disturb = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(600)).await;
                redis.kill()?;
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                redis.revive()?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(
            send(&alice, "bob"),
            send(&bob, "alice"),
            receive(&alice, "bob"),
            receive(&bob, "alice"),
            disturb
        )?;
        until_ready(&relay, 200).await?;
        let last = pass(&alice, &bob, EACH).await?;
        ensure!(last < POLLED, "{last:?}");
        Ok(())
    });
}

/// Nodes without Redis, from their start on, find by polling what others store; with it they are at once as fast as ever.
#[test]
fn nodes_start_and_serve_without_redis_and_take_it_up() {
    scenario(async |world| {
        let mut relay = two(world).await?;
        relay.redis()?.kill()?;
        for node in 0..2 {
            relay.terminate_node(node).await?;
            relay.start_node(node).await?;
        }
        until_ready(&relay, 503).await?;
        let proxies = [
            world.proxy(&relay, "alice").await?,
            world.proxy(&relay, "bob").await?,
        ];
        let (alice, bob) = (proxies[0].agent()?, proxies[1].agent()?);
        for number in 0..3 {
            let took = pass(&alice, &bob, number).await?;
            ensure!(took < POLLED, "{took:?}");
        }
        relay.redis()?.revive()?;
        until_ready(&relay, 200).await?;
        let mut times = Vec::new();
        for number in 3..13 {
            times.push(pass(&bob, &alice, number).await?);
        }
        times.sort_unstable();
        ensure!(times[5] < Duration::from_millis(500), "{times:?}");
        Ok(())
    });
}

/// Starts both nodes with a Redis at `url`.
async fn start_with(relay: &mut Relay, url: &str, environment: &[(String, String)]) -> anyhow::Result<()> {
    for node in 0..2 {
        let mut command = relay.command_of(node, "127.0.0.1:0")?;
        command.envs(environment.iter().cloned());
        command.env("WAXWIRE_REDIS_URL", url);
        relay.start_node_by(node, command).await?;
    }
    Ok(())
}

/// docs/operations/redis.md: with `rediss://` nothing is said to a Redis whose certificate the machine does not trust, and
/// the log says why; nodes serve as without it.
#[test]
fn redis_over_tls_has_to_be_trusted() {
    scenario(async |world| {
        let redis = Server::start_with_tls()?;
        let mut relay = world.new_nodes(2, None)?;
        let clock = FalseClock::new(&world.folder().join("clock"))?;
        clock.jump_to(BEFORE_CERTIFICATE)?;
        let elsewhere = redis.url().replace("127.0.0.1", "127.0.0.2");
        let early = [certificate::trust(), clock.environment()?].concat();
        for (url, environment, why) in [
            (
                redis.url(),
                vec![],
                "no authority that this machine trusts has signed it",
            ),
            (&elsewhere, certificate::trust(), "it is for another host"),
            (redis.url(), early, "it is not valid yet"),
        ] {
            start_with(&mut relay, url, &environment).await?;
            let log = world.folder().join("logs").join("relay.log");
            let reason = format!("the server's certificate is not trusted: {why}");
            eventually("the log says why", Duration::from_secs(20), async || {
                Ok(fs::read_to_string(&log)?.contains(&reason).then_some(()))
            })
            .await?;
            until_ready(&relay, 503).await?;
            relay.kill()?;
        }
        start_with(&mut relay, redis.url(), &certificate::trust()).await?;
        until_ready(&relay, 200).await?;
        let circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        pass(&alice, &bob, 1).await?;
        pass(&bob, &alice, 2).await?;
        Ok(())
    });
}
