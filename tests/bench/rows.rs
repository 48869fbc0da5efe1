//! From the figures of the runs to lines with goals.

use crate::{
    load::closed::Outcome,
    rekey::{self, Rekeyed},
    report::{Goal, Row},
    run::{LEVELS, MOST, ONE_COMMIT, RELAY, RELAY_SOCKET, Round, YARDSTICK},
    stats,
};

/// A yardstick whose group commit gains less than this over one commit a message is broken.
const GROUP_COMMIT: Goal = Goal::RatioAtLeast(10.0);
/// P1 of the performance goals.
const THROUGHPUT: Goal = Goal::RatioAtLeast(0.66);
/// P2: time from the send to the 201.
const ACK: Goal = Goal::RatioAtMost(1.3);
/// P7: milliseconds until all leaves are sealed. What the whole of a rekey may take leaves the rest to the
/// commit.
const SEAL: [Goal; 2] = [Goal::AtMost(40.0), Goal::AtMost(400.0)];
/// P9: mebibytes of an idle relay.
const IDLE_MEMORY: Goal = Goal::AtMost(12.0);
/// P10: milliseconds from the process to ready.
const STARTUP: Goal = Goal::AtMost(50.0);

/// Bytes in a mebibyte.
const MIB: f64 = 1_048_576.0;

/// All lines of the table.
pub(crate) fn rows(rounds: &[Round]) -> Vec<Row> {
    let mut rows = vec![self_check(rounds)];
    for senders in LEVELS {
        rows.extend(closed(rounds, senders));
    }
    rows.extend(latencies(rounds));
    rows.extend(process(rounds));
    rows.extend(rekeys(rounds));
    rows
}

/// One figure of a server in a run, if it was taken.
type Figure<'a> = &'a dyn Fn(&Round, &str) -> Option<f64>;

/// A line that compares `key` with the yardstick.
fn against(rounds: &[Round], key: &str, what: String, unit: &'static str, figure: Figure<'_>) -> Row {
    let median = |key: &str| stats::median(rounds.iter().filter_map(|round| figure(round, key)));
    let ratio = |round: &Round| Some(figure(round, key)? / figure(round, YARDSTICK)?);
    Row {
        id: "-",
        what,
        unit,
        measured: median(key),
        yardstick: median(YARDSTICK),
        ratio: stats::median(rounds.iter().filter_map(ratio)),
        goal: None,
    }
}

fn self_check(rounds: &[Round]) -> Row {
    let rate = |round: &Round, key: &str| Some(round.figures.get(key)?.closed.get(&MOST)?.rate);
    let ratio = |round: &Round| Some(rate(round, YARDSTICK)? / rate(round, ONE_COMMIT)?);
    Row {
        id: "check",
        what: format!("yardstick: batches over one commit each, {MOST}"),
        unit: "/s",
        measured: stats::median(rounds.iter().filter_map(|round| rate(round, YARDSTICK))),
        yardstick: stats::median(rounds.iter().filter_map(|round| rate(round, ONE_COMMIT))),
        ratio: stats::median(rounds.iter().filter_map(ratio)),
        goal: Some(GROUP_COMMIT),
    }
}

fn closed(rounds: &[Round], senders: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, name) in [(RELAY, "POST"), (RELAY_SOCKET, "socket")] {
        let mut line = |what: &str, unit, value: fn(&Outcome) -> f64| {
            let figure = |round: &Round, key: &str| round.figures.get(key)?.closed.get(&senders).map(value);
            let what = format!("{what}, {senders} by {name}");
            rows.push(against(rounds, key, what, unit, &figure));
        };
        line("durable sends", "/s", |outcome| outcome.rate);
        line("send to 201, p50", "us", |outcome| outcome.ack.p50);
        line("CPU of the server a send", "us", |outcome| outcome.server_cpu);
    }
    if let [rate, ack, ..] = &mut rows[..] {
        match senders {
            1 => (ack.id, ack.goal) = ("P2", Some(ACK)),
            MOST => (rate.id, rate.goal) = ("P1", Some(THROUGHPUT)),
            _ => {}
        }
    }
    rows
}

fn latencies(rounds: &[Round]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, name) in [(RELAY, "POST"), (RELAY_SOCKET, "socket")] {
        let p50 = |round: &Round, key: &str| Some(round.figures.get(key)?.latency?.p50);
        let p99 = |round: &Round, key: &str| Some(round.figures.get(key)?.latency?.p99);
        let what = |percentile: &str| format!("send to receive, 50/s by {name}, {percentile}");
        rows.push(against(rounds, key, what("p50"), "us", &p50));
        rows.push(against(rounds, key, what("p99"), "us", &p99));
    }
    rows
}

fn process(rounds: &[Round]) -> Vec<Row> {
    let idle = |round: &Round, key: &str| Some(round.figures.get(key)?.memory_idle as f64 / MIB);
    let after = |round: &Round, key: &str| Some(round.figures.get(key)?.memory_after as f64 / MIB);
    let startup = |round: &Round, key: &str| Some(round.figures.get(key)?.startup_millis);
    let line = |what: &str, unit, figure: Figure<'_>| against(rounds, RELAY, what.into(), unit, figure);
    let mut idle = line("memory, accounts made, idle", "MiB", &idle);
    let mut startup = line("process to ready, empty database", "ms", &startup);
    (idle.id, idle.goal) = ("P9", Some(IDLE_MEMORY));
    (startup.id, startup.goal) = ("P10", Some(STARTUP));
    vec![idle, line("memory after the load", "MiB", &after), startup]
}

/// The yardstick is one core: the ratio shows how many were at work.
fn rekeys(rounds: &[Round]) -> [Row; 2] {
    let mut goals = SEAL.into_iter();
    rekey::SIZES.map(|members| {
        let of = |figure: fn(&Rekeyed) -> f64| move |round: &Round| round.rekeys.get(&members).map(figure);
        let millis = of(|rekeyed| rekeyed.millis);
        let one_core = of(|rekeyed| rekeyed.one_core_millis);
        let ratio = |round: &Round| Some(millis(round)? / one_core(round)?);
        Row {
            id: "P7",
            what: format!("rekey, {members} leaves sealed"),
            unit: "ms",
            measured: stats::median(rounds.iter().filter_map(millis)),
            yardstick: stats::median(rounds.iter().filter_map(one_core)),
            ratio: stats::median(rounds.iter().filter_map(ratio)),
            goal: goals.next(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{report::Verdict, run::Figures, stats::Latencies};

    fn figures(rate: f64) -> Figures {
        let outcome = Outcome {
            rate,
            slices: vec![rate],
            ack: Latencies::new().unwrap().percentiles(),
            server_cpu: 1.0,
        };
        Figures {
            closed: BTreeMap::from([(MOST, outcome)]),
            ..Figures::default()
        }
    }

    fn round(rates: [(&'static str, f64); 3]) -> Round {
        Round {
            flush_micros: [100.0; 2],
            others_cpu: 0.0,
            rekeys: BTreeMap::new(),
            figures: rates.map(|(key, rate)| (key, figures(rate))).into(),
        }
    }

    fn row<'a>(rows: &'a [Row], id: &str) -> &'a Row {
        rows.iter().find(|row| row.id == id).unwrap()
    }

    #[test]
    fn ratio_is_the_median_of_the_ratios_within_runs() {
        // The disk was slow in the second run, for both.
        let rounds = [(70.0, 100.0), (8.0, 10.0), (60.0, 100.0)]
            .map(|(relay, yardstick)| round([(RELAY, relay), (YARDSTICK, yardstick), (ONE_COMMIT, 5.0)]));
        let rows = rows(&rounds);
        let p1 = row(&rows, "P1");
        assert_eq!(
            (p1.measured, p1.yardstick, p1.ratio),
            (Some(60.0), Some(100.0), Some(0.7))
        );
        assert_eq!(p1.verdict(), Verdict::Pass);
        assert_eq!(row(&rows, "check").ratio, Some(20.0));
    }

    #[test]
    fn rekeys_are_compared_with_one_core() {
        let mut one = round([(RELAY, 1.0), (YARDSTICK, 1.0), (ONE_COMMIT, 1.0)]);
        let rekeyed = |millis: f64| Rekeyed {
            millis,
            one_core_millis: 70.0,
        };
        one.rekeys = BTreeMap::from([(1_000, rekeyed(35.0)), (10_000, rekeyed(401.0))]);
        let rows = rows(&[one]);
        let [small, large] = [rows.len() - 2, rows.len() - 1].map(|place| &rows[place]);
        assert_eq!(
            (small.id, small.measured, small.ratio),
            ("P7", Some(35.0), Some(0.5))
        );
        assert_eq!((small.verdict(), large.verdict()), (Verdict::Pass, Verdict::Miss));
    }

    #[test]
    fn without_a_relay_only_the_yardstick_has_figures() {
        let mut alone = round([(RELAY, 1.0), (YARDSTICK, 100.0), (ONE_COMMIT, 20.0)]);
        alone.figures.remove(RELAY);
        let rows = rows(&[alone]);
        let p1 = row(&rows, "P1");
        assert_eq!((p1.measured, p1.yardstick, p1.ratio), (None, Some(100.0), None));
        assert_eq!(p1.verdict(), Verdict::None);
        assert_eq!(row(&rows, "check").verdict(), Verdict::Miss);
    }
}
