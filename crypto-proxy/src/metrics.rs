//! Lines of `GET /metrics` about link and engine, as Prometheus text. No label names an agent.

use std::fmt::Write as _;

use crate::{
    engine::{Count, Counters},
    link::{LinkFault, LinkStatus},
    model::{HookDepths, Severity},
};

/// What is shown beside the local API's own counters.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// How the link is.
    pub link: &'a LinkStatus,
    /// What the engine counted.
    pub engine: &'a Counters,
    /// Envelopes that wait for the relay's answer; `None` if it cannot be read.
    pub outbox: Option<u64>,
    /// What waits for webhooks; `None` if it cannot be read.
    pub hooks: Option<HookDepths>,
}

impl Observed<'_> {
    /// The lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Text(String::new());
        self.link(&mut text);
        self.counts(&mut text);
        text.head(
            "failed_batches_total",
            "counter",
            "Batches of which nothing happened because the state could not be written.",
        );
        text.line("failed_batches_total", "", self.engine.failed_batches());
        if let Some(depth) = self.outbox {
            text.head("outbox_depth", "gauge", "Envelopes that wait for the relay.");
            text.line("outbox_depth", "", depth);
        }
        if let Some(hooks) = self.hooks {
            text.head("webhook_depth", "gauge", "What webhooks are still to be told.");
            text.line("webhook_depth", "", hooks.waiting);
            text.head(
                "webhook_dead_letters",
                "gauge",
                "What webhooks could not be told.",
            );
            text.line("webhook_dead_letters", "", hooks.dead);
        }
        text.head(
            "bundle_expires_seconds",
            "gauge",
            "When the own bundle expires, Unix time.",
        );
        text.line("bundle_expires_seconds", "", self.engine.bundle_expires() / 1_000);
        text.0
    }

    fn link(&self, text: &mut Text) {
        let link = self.link;
        text.head("link_up", "gauge", "Whether the link to the relay is up.");
        text.line("link_up", "", u8::from(link.connected));
        text.head("link_connections_total", "counter", "Links that came up.");
        text.line("link_connections_total", "", link.connections);
        let about = "Links dropped because of what the relay sent.";
        text.head("link_malformed_total", "counter", about);
        text.line("link_malformed_total", "", link.malformed);
        if let Some(skew) = link.clock_skew_ms {
            let about = "The relay's clock less ours, when the link came up.";
            text.head("clock_skew_milliseconds", "gauge", about);
            text.line("clock_skew_milliseconds", "", skew);
        }
        let fault = link.last_fault.filter(|_| !link.connected);
        if let Some(fault) = fault.map(LinkFault::name) {
            text.head("link_fault", "gauge", "Why the link is down.");
            text.line("link_fault", &format!("{{fault=\"{fault}\"}}"), 1);
        }
    }

    fn counts(&self, text: &mut Text) {
        let all = self.engine.all();
        for (name, about) in FAMILIES {
            text.head(name, "counter", about);
            for (count, number) in &all {
                let (family, labels) = labels(*count);
                if family == name {
                    text.line(name, &labels, number);
                }
            }
        }
    }
}

const SENDS: &str = "sends_total";
const SEND_REFUSALS: &str = "send_refusals_total";
const RECEIVES: &str = "receives_total";
const RECEIVE_REFUSALS: &str = "receive_refusals_total";
const TRANSIENTS: &str = "transients_total";
const WEBHOOKS: &str = "webhook_events_total";
const LOG_HEADS: &str = "log_heads_total";
const ALERTS: &str = "alerts_total";

const FAMILIES: [(&str, &str); 8] = [
    (SENDS, "Envelopes offered to the relay, by outcome."),
    (SEND_REFUSALS, "Envelopes that the relay refused, by reason."),
    (RECEIVES, "Objects that the relay delivered, by outcome."),
    (RECEIVE_REFUSALS, "Objects that were refused, by reason."),
    (
        TRANSIENTS,
        "Control messages that nobody stores, sent or received, by outcome.",
    ),
    (
        WEBHOOKS,
        "Events for webhooks and attempts to tell them, by outcome.",
    ),
    (
        LOG_HEADS,
        "Heads of the relay's transparency log that were shown, by outcome.",
    ),
    (ALERTS, "Alerts, by severity and kind."),
];

fn labels(count: Count) -> (&'static str, String) {
    match count {
        Count::Send(outcome) => (SENDS, format!("{{outcome=\"{outcome}\"}}")),
        Count::SendRefused(reason) => (SEND_REFUSALS, format!("{{reason=\"{reason}\"}}")),
        Count::Receive(outcome) => (RECEIVES, format!("{{outcome=\"{outcome}\"}}")),
        Count::ReceiveRefused(reason) => (RECEIVE_REFUSALS, format!("{{reason=\"{reason}\"}}")),
        Count::Transient(outcome) => (TRANSIENTS, format!("{{outcome=\"{outcome}\"}}")),
        Count::Webhook(outcome) => (WEBHOOKS, format!("{{outcome=\"{outcome}\"}}")),
        Count::LogHead(outcome) => (LOG_HEADS, format!("{{outcome=\"{outcome}\"}}")),
        Count::Alert(severity, kind) => {
            let severity = match severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            };
            (ALERTS, format!("{{severity=\"{severity}\",alert=\"{kind}\"}}"))
        }
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, about: &str) {
        // Writing into a string does not fail.
        let _ok = writeln!(
            self.0,
            "# HELP waxwire_proxy_{name} {about}\n# TYPE waxwire_proxy_{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ok = writeln!(self.0, "waxwire_proxy_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_that_is_down_says_why_and_one_that_is_up_does_not() {
        let engine = Counters::default();
        let mut link = LinkStatus {
            last_fault: Some(LinkFault::Untrusted),
            connections: 3,
            malformed: 1,
            clock_skew_ms: Some(-250),
            ..LinkStatus::default()
        };
        let render = |link: &LinkStatus| {
            Observed {
                link,
                engine: &engine,
                outbox: Some(7),
                hooks: Some(HookDepths { waiting: 4, dead: 2 }),
            }
            .render()
        };
        let down = render(&link);
        for line in [
            "waxwire_proxy_link_up 0",
            "waxwire_proxy_link_fault{fault=\"certificate_untrusted\"} 1",
            "waxwire_proxy_link_connections_total 3",
            "waxwire_proxy_link_malformed_total 1",
            "waxwire_proxy_clock_skew_milliseconds -250",
            "waxwire_proxy_outbox_depth 7",
            "waxwire_proxy_webhook_depth 4",
            "waxwire_proxy_webhook_dead_letters 2",
        ] {
            assert!(down.lines().any(|found| found == line), "{line}\n{down}");
        }
        link.connected = true;
        let up = render(&link);
        assert!(up.contains("waxwire_proxy_link_up 1") && !up.contains("link_fault"));
    }
}
