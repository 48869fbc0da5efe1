//! Traces for OpenTelemetry: what a collector is told, and what it is not.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{
    World, eventually,
    receiver::{Call, Manner, Receiver},
    scenario, unique,
};

/// Spans go out every five seconds.
const TOLD: Duration = Duration::from_secs(30);

/// Programs with the names of their spans, once each.
fn spans(calls: &[Call]) -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    for call in calls {
        for resource in list(&call.body, "resourceSpans")? {
            let attributes = list(&resource["resource"], "attributes")?;
            let service = attributes.iter().find(|each| each["key"] == "service.name");
            let service = service.context("no service")?["value"]["stringValue"].as_str();
            for scope in list(resource, "scopeSpans")? {
                for span in list(scope, "spans")? {
                    let name = span["name"].as_str().context("no name")?.to_owned();
                    found.insert((service.context("no name")?.to_owned(), name));
                }
            }
        }
    }
    Ok(found)
}

fn list<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[name]
        .as_array()
        .with_context(|| format!("no {name} in {value}"))
}

fn log(world: &World, name: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(
        world.folder().join("logs").join(format!("{name}.log")),
    )?)
}

#[test]
fn collector_is_told_of_times_and_of_nobody() {
    scenario(async |world| {
        let collector = Receiver::start(Manner::Status("200 OK")).await?;
        let url = collector.url();
        let mut relay = world.new_relay("relay")?;
        relay.arguments(["--traces", &url]);
        relay.start().await?;
        let (from, to) = ("walnut-agent", "pecan-agent");
        let mut alice = world.proxy_with(&relay, from, ["--traces", &url]).await?;
        let bob = world.proxy(&relay, to).await?;
        let (id, text) = (unique("id")?, unique("text")?);
        alice.agent()?.send_text(to, &id, &text).await?;
        bob.agent()?.receive().await?;
        // At its end a program tells what it has not told yet.
        ensure!(
            alice.terminate().await?.success(),
            "the proxy did not end in order"
        );
        ensure!(
            relay.terminate().await?.success(),
            "the relay did not end in order"
        );
        let calls = collector.calls();
        let found = spans(&calls)?;
        for (program, name) in [
            ("waxwire-proxy", "POST /v1/messages"),
            ("waxwire-proxy", "batch"),
            ("waxwire-proxy", "commit"),
            ("waxwire-relay", "POST /v1/agents"),
            ("waxwire-relay", "GET /v1/agents/{handle}/bundle"),
            ("waxwire-relay", "batch"),
            ("waxwire-relay", "commit"),
            ("waxwire-relay", "push"),
        ] {
            let name = (program.to_owned(), name.to_owned());
            ensure!(found.contains(&name), "{name:?} is not in {found:?}");
        }
        for call in &calls {
            for word in [from, to, &id, &text] {
                ensure!(!call.text.contains(word), "{word} is in {}", call.text);
            }
        }
        Ok(())
    });
}

#[test]
fn collector_that_is_away_costs_a_line_and_nothing_else() {
    scenario(async |world| {
        let mut collector = Receiver::start(Manner::Status("200 OK")).await?;
        let url = collector.url();
        collector.stop();
        let mut relay = world.new_relay("relay")?;
        relay.arguments(["--traces", &url]);
        relay.start().await?;
        let alice = world.proxy_with(&relay, "alice", ["--traces", &url]).await?;
        let bob = world.proxy(&relay, "bob").await?;
        let said = |name: &'static str, line: &'static str| async move {
            eventually(line, TOLD, async || {
                Ok(log(world, name)?.contains(line).then_some(()))
            })
            .await
        };
        for name in ["relay", "alice"] {
            said(name, "traces are not taken").await?;
        }
        let (id, text) = (unique("id")?, unique("text")?);
        alice.agent()?.send_text("bob", &id, &text).await?;
        bob.agent()?.receive().await?;
        collector.restart().await?;
        alice.agent()?.send_text("bob", &unique("id")?, &text).await?;
        for name in ["relay", "alice"] {
            said(name, "traces are taken again").await?;
            ensure!(
                log(world, name)?.matches("traces are not taken").count() == 1,
                "said twice"
            );
        }
        Ok(())
    });
}
