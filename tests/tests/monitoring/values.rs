//! Rules about what no crash shows within seconds: values that are made up.

use std::{collections::BTreeSet, fs};

use crate::{fires, recording::Recording, rules};

/// Scrapes of each.
const SCRAPES: usize = 20;

/// A rule, a series, its values while all is well and when it is not.
const MADE_UP: [(&str, &str, &str, &str); 8] = [
    (
        "WaxwireRelaySendsWait",
        "waxwire_relay_sends_waiting",
        "12",
        "900",
    ),
    (
        "WaxwireRelayFull",
        "waxwire_relay_sockets_refused_total",
        "0",
        "7",
    ),
    (
        "WaxwireRelayLogStandsStill",
        "waxwire_relay_log_unlogged_seconds",
        "3",
        "4000",
    ),
    (
        "WaxwireProxyNotReady",
        r#"waxwire_proxy_ready{check="rotation"}"#,
        "1",
        "0",
    ),
    (
        "WaxwireProxyOutboxGrows",
        "waxwire_proxy_outbox_depth",
        "2",
        "300",
    ),
    (
        "WaxwireProxyWebhooksDead",
        "waxwire_proxy_webhook_dead_letters",
        "0",
        "1",
    ),
    // The tool's clock begins at 0.
    (
        "WaxwireProxyBundleExpires",
        "waxwire_proxy_bundle_expires_seconds",
        "7776000",
        "864000",
    ),
    (
        "WaxwireProxyRaisedAlert",
        r#"waxwire_proxy_alerts_total{alert="poison",severity="critical"}"#,
        "0",
        "1",
    ),
];

/// Rules that [`crate::crashes`] are about.
const OF_CRASHES: [&str; 7] = [
    "WaxwireRelayDown",
    "WaxwireRelayDatabaseRefusesWrites",
    "WaxwireRelayDatabaseAway",
    "WaxwireRelayRedisAway",
    "WaxwireProxyDown",
    "WaxwireProxyUnlinked",
    "WaxwireProxyStateRefusesWrites",
];

fn recording(series: &str, values: impl Fn(usize) -> String) -> Recording {
    let mut recording = Recording::new(series);
    for number in 0..SCRAPES {
        recording.scrape();
        recording.put(series.to_owned(), values(number));
    }
    recording
}

#[test]
fn value_that_is_too_high_fires_and_another_does_not() {
    for (rule, series, well, ill) in MADE_UP {
        fires(&recording(series, |_| well.to_owned()), &[]).unwrap();
        let turns = |number| if number < 5 { well } else { ill };
        fires(&recording(series, |number| turns(number).to_owned()), &[rule]).unwrap();
    }
}

#[test]
fn alert_of_a_kind_that_was_never_raised_before_fires() {
    let series = r#"waxwire_proxy_alerts_total{alert="poison",severity="critical"}"#;
    let mut recording = Recording::new(series);
    for number in 0..SCRAPES {
        recording.scrape();
        if number >= 5 {
            recording.put(series.to_owned(), "1".to_owned());
        }
    }
    fires(&recording, &["WaxwireProxyRaisedAlert"]).unwrap();
}

#[test]
fn commits_that_take_half_a_second_fire() {
    let mut recording = Recording::new("slow commits");
    for number in 0..SCRAPES {
        recording.scrape();
        for (le, share) in [("0.25", 0), ("0.5", 8), ("+Inf", 10)] {
            let series = format!(r#"waxwire_relay_commit_seconds_bucket{{le="{le}"}}"#);
            recording.put(series, (number * share).to_string());
        }
    }
    fires(&recording, &["WaxwireRelayCommitsSlow"]).unwrap();
}

/// No rule is without a test.
#[test]
fn every_rule_is_tested() {
    let text = fs::read_to_string(rules()).unwrap();
    let rules: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let mut tested: BTreeSet<&str> = OF_CRASHES.into();
    tested.extend(MADE_UP.iter().map(|(rule, ..)| *rule));
    tested.insert("WaxwireRelayCommitsSlow");
    assert_eq!(rules, tested);
}
