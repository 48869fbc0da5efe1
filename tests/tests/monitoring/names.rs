//! Rules and dashboard ask for nothing that is not shown.

use std::{collections::BTreeSet, fs};

use anyhow::ensure;
use waxwire_tests::scenario;

use crate::{repository, rules};

/// Names of metrics in a text; histograms are asked for by the names of their parts.
fn asked_for(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| !c.is_ascii_lowercase() && c != '_';
    let words = text.split(is_part);
    let names = words.filter(|word| word.starts_with("waxwire_relay_") || word.starts_with("waxwire_proxy_"));
    names
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_the_programs_show() {
    scenario(async |world| {
        let mut circle = world.circle(["alice"]).await?;
        let alice = circle.proxy("alice")?.agent()?;
        let mut shown = circle.relay.metrics().await?;
        shown.push_str(&alice.get("/metrics").await?.text());
        let shown: BTreeSet<String> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut asked = asked_for(&fs::read_to_string(rules())?);
        let dashboard = fs::read_to_string(repository("docs/operations/monitoring/dashboard.json"))?;
        serde_json::from_str::<serde_json::Value>(&dashboard)?;
        asked.extend(asked_for(&dashboard));
        // Shown only while there is something to show.
        asked.remove("waxwire_proxy_link_fault");
        let missing: Vec<_> = asked.difference(&shown).collect();
        ensure!(asked.len() > 30 && missing.is_empty(), "{missing:?}");
        Ok(())
    });
}
