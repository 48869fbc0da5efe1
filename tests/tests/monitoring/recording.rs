//! What Prometheus would have scraped, as a test of its tool for rules.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Seconds that lie between two scrapes when they are played; they are taken faster than that.
const INTERVAL: usize = 30;

/// Values of series, scrape after scrape.
#[derive(Debug)]
pub(crate) struct Recording {
    name: String,
    scrapes: usize,
    /// None where a series was not shown.
    series: BTreeMap<String, Vec<Option<String>>>,
}

impl Recording {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scrapes: 0,
            series: BTreeMap::new(),
        }
    }

    /// What it shows.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Begins another scrape.
    pub(crate) fn scrape(&mut self) {
        self.scrapes += 1;
    }

    /// What an instance of a job answers in this scrape; None if it does not.
    pub(crate) fn take(&mut self, job: &str, instance: &str, page: Option<&str>) {
        let own = format!(r#"job="{job}",instance="{instance}""#);
        let up = u8::from(page.is_some());
        self.put(format!("up{{{own}}}"), up.to_string());
        let lines = page.unwrap_or_default().lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let series = match series.split_once('{') {
                Some((metric, labels)) => format!("{metric}{{{own},{labels}"),
                None => format!("{series}{{{own}}}"),
            };
            self.put(series, value.to_owned());
        }
    }

    /// A value of this scrape.
    pub(crate) fn put(&mut self, series: String, value: String) {
        let values = self.series.entry(series).or_default();
        values.resize(self.scrapes - 1, None);
        values.push(Some(value));
    }

    /// A file for `promtool test rules`: at some time all of these alerts fire, or never any if there is none.
    pub(crate) fn test(&self, rules: &Path, alerts: &[&str]) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "rule_files: [{:?}]\nevaluation_interval: {INTERVAL}s\ntests:\n- interval: {INTERVAL}s\n  input_series:\n",
            rules
        );
        for (series, values) in &self.series {
            let mut shown: Vec<&str> = values
                .iter()
                .map(|value| value.as_deref().unwrap_or("_"))
                .collect();
            // A series that is not shown any more ends.
            shown.resize(self.scrapes, "stale");
            let shown = shown.join(" ");
            let _ = writeln!(text, "  - series: '{series}'\n    values: '{shown}'");
        }
        let end = self.scrapes * INTERVAL;
        let _ = writeln!(text, "  promql_expr_test:");
        let fired =
            |labels: &str| format!(r#"count(max_over_time(ALERTS{{{labels}alertstate="firing"}}[1h]))"#);
        for alert in alerts {
            let expression = fired(&format!(r#"alertname="{alert}","#));
            let _ = writeln!(
                text,
                "  - expr: '{expression} > bool 0'\n    eval_time: {end}s\n    exp_samples: [{{labels: '{{}}', value: 1}}]"
            );
        }
        if alerts.is_empty() {
            let expression = fired("");
            let _ = writeln!(
                text,
                "  - expr: '{expression}'\n    eval_time: {end}s\n    exp_samples: []"
            );
        }
        text
    }
}
