//! What the relay counts and measures, as Prometheus text. No label names an agent, a handle or an
//! address.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use waxwire_shared::api::problem::ProblemType;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds to it, or takes away.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts one for as long as the guard is held, however that ends.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.add(1);
        Held(self)
    }

    /// Makes it this.
    pub fn set(&self, value: u64) {
        self.0
            .store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One more in a gauge.
pub(crate) struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Upper bounds of the time buckets, in microseconds: 50 us to 10 s.
const TIMES: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];
/// Upper bounds of the size buckets.
const SIZES: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000];

/// Values in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound and one beyond.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Notes how long something took.
    pub fn observe(&self, time: Duration) {
        self.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Notes how many there were.
    pub fn observe_count(&self, count: usize) {
        self.note(count as u64);
    }

    fn note(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appending {
    /// The commit is the head of its log.
    Appended,
    /// It was in the log before.
    Repeated,
    /// Another was faster.
    Conflict,
    /// It is not valid or not allowed.
    Refused,
    /// The relay could not tell.
    Failed,
}

/// The same as labels.
const APPENDS: [&str; 5] = ["appended", "repeated", "conflict", "refused", "failed"];

/// What becomes of an envelope that is not to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// A socket of the recipient has it.
    On,
    /// It is none that may be passed on.
    Malformed,
    /// The sender sends too many.
    Limited,
    /// The recipient is not there.
    Absent,
    /// One of the two has blocked the other.
    Blocked,
    /// Too many wait for the recipient's sockets.
    Full,
    /// The relay could not tell.
    Failed,
}

/// The same as labels.
const PASSED: [&str; 7] = [
    "passed_on",
    "malformed",
    "limited",
    "absent",
    "blocked",
    "full",
    "failed",
];

/// What becomes of a call of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waking {
    /// It was heard.
    Woken,
    /// It is made again.
    Failed,
    /// It was the last attempt.
    GivenUp,
}

/// The same as labels.
const WAKINGS: [&str; 3] = ["woken", "failed", "given_up"];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// Answered HTTP requests by first digit of the status, 1 to 5.
    pub requests: [Counter; 5],
    /// Refusals by problem type, in the order of [`ProblemType::ALL`].
    refusals: Box<[Counter]>,
    /// From the last byte of a request's head to the first of its answer's.
    pub request_time: Histogram,
    /// From the submission of a send to the start of its batch.
    pub queue_wait: Histogram,
    /// Statements of a batch.
    pub transaction: Histogram,
    /// Commit of a batch, with its sync to disk.
    pub commit: Histogram,
    /// Handing a batch over to its recipients' sockets.
    pub push: Histogram,
    /// Writes in a batch.
    pub batch_size: Histogram,
    /// Batches that failed because the database did.
    pub failed_batches: Counter,
    /// Sends that were answered stored.
    pub stored: Counter,
    /// Sends that were answered repeated.
    pub repeated: Counter,
    /// Appends to logs by outcome, in the order of [`APPENDS`].
    appends: [Counter; APPENDS.len()],
    /// Envelopes that are stored nowhere by what became of them, in the order of [`PASSED`].
    passed: [Counter; PASSED.len()],
    /// Calls of hooks by what became of them, in the order of [`WAKINGS`].
    wakings: [Counter; WAKINGS.len()],
    /// Deliveries of group messages and commits, pushed or read.
    pub group_deliveries: Counter,
    /// Deliveries pushed from memory.
    pub pushed: Counter,
    /// Deliveries read from the table.
    pub read: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Sockets of agents that are open.
    pub sockets: Gauge,
    /// Sockets that this node had no room for.
    pub sockets_refused: Counter,
    /// Long polls that wait.
    pub polls: Gauge,
    /// Sends that wait for their answer.
    pub waiting: Gauge,
    /// Whether the database answered when it was last asked, once a second.
    pub database_up: Gauge,
    /// Whether Redis does as it is asked; -1 without one.
    pub redis_up: Gauge,
    /// Words to other nodes.
    pub hints_published: Counter,
    /// Words of other nodes, and its own that came back.
    pub hints_received: Counter,
    /// Queues in which a look into the table found something.
    pub hints_polled: Counter,
    /// Rows that retention deleted.
    pub retained_away: Counter,
    /// Leaves of the transparency log.
    pub log_size: Gauge,
    /// Age of the oldest bundle that is not in it.
    pub unlogged_seconds: Gauge,
    /// Heads of it that were signed.
    pub heads: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            refusals: ProblemType::ALL.iter().map(|_| Counter::default()).collect(),
            request_time: Histogram::new(&TIMES),
            queue_wait: Histogram::new(&TIMES),
            transaction: Histogram::new(&TIMES),
            commit: Histogram::new(&TIMES),
            push: Histogram::new(&TIMES),
            batch_size: Histogram::new(&SIZES),
            failed_batches: Counter::default(),
            stored: Counter::default(),
            repeated: Counter::default(),
            appends: Default::default(),
            passed: Default::default(),
            wakings: Default::default(),
            group_deliveries: Counter::default(),
            pushed: Counter::default(),
            read: Counter::default(),
            connections: Gauge::default(),
            sockets: Gauge::default(),
            sockets_refused: Counter::default(),
            polls: Gauge::default(),
            waiting: Gauge::default(),
            database_up: Gauge::default(),
            redis_up: Gauge(AtomicI64::new(-1)),
            hints_published: Counter::default(),
            hints_received: Counter::default(),
            hints_polled: Counter::default(),
            retained_away: Counter::default(),
            log_size: Gauge::default(),
            unlogged_seconds: Gauge::default(),
            heads: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts a refusal.
    pub fn refuse(&self, kind: ProblemType) {
        let index = ProblemType::ALL.iter().position(|known| *known == kind);
        if let Some(counter) = index.and_then(|index| self.refusals.get(index)) {
            counter.add(1);
        }
    }

    /// Counts an accepted send.
    pub fn accept(&self, repeated: bool) {
        if repeated { &self.repeated } else { &self.stored }.add(1);
    }

    /// Counts an append.
    pub fn count_append(&self, outcome: Appending) {
        self.appends[outcome as usize].add(1);
    }

    /// Counts an envelope that is stored nowhere.
    pub fn count_passed(&self, what: Passed) {
        self.passed[what as usize].add(1);
    }

    /// Counts a call of a hook.
    pub fn count_waking(&self, what: Waking) {
        self.wakings[what as usize].add(1);
    }

    /// How many of them there were of a kind.
    #[must_use]
    pub fn passed(&self, what: Passed) -> u64 {
        self.passed[what as usize].get()
    }

    /// Counts an answered request.
    pub fn answer(&self, status: u16, time: Duration) {
        if let Some(counter) = self.requests.get(usize::from(status / 100).wrapping_sub(1)) {
            counter.add(1);
        }
        self.request_time.observe(time);
    }

    /// All of it in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        page.head(
            "requests_total",
            "counter",
            "Answered HTTP requests by class of status.",
        );
        for (class, counter) in self.requests.iter().enumerate() {
            page.line(
                &format!("requests_total{{status=\"{}xx\"}}", class + 1),
                counter.get(),
            );
        }
        page.head("refusals_total", "counter", "Refusals by problem type.");
        for (kind, counter) in ProblemType::ALL.iter().zip(&self.refusals) {
            let uri = kind.uri();
            let name = uri.rsplit(':').next().unwrap_or_default();
            page.line(&format!("refusals_total{{type=\"{name}\"}}"), counter.get());
        }
        page.head("appends_total", "counter", "Appends to logs by outcome.");
        for (outcome, counter) in APPENDS.iter().zip(&self.appends) {
            page.line(&format!("appends_total{{outcome=\"{outcome}\"}}"), counter.get());
        }
        page.head(
            "transients_total",
            "counter",
            "Envelopes to be passed on without being stored, by outcome.",
        );
        for (outcome, counter) in PASSED.iter().zip(&self.passed) {
            page.line(
                &format!("transients_total{{outcome=\"{outcome}\"}}"),
                counter.get(),
            );
        }
        page.head("wakeups_total", "counter", "Calls of hooks, by outcome.");
        for (outcome, counter) in WAKINGS.iter().zip(&self.wakings) {
            page.line(&format!("wakeups_total{{outcome=\"{outcome}\"}}"), counter.get());
        }
        for (name, help, counter) in [
            ("stored_total", "Sends answered stored.", &self.stored),
            ("repeated_total", "Sends answered repeated.", &self.repeated),
            (
                "failed_batches_total",
                "Batches that failed because the database did.",
                &self.failed_batches,
            ),
            (
                "deliveries_pushed_total",
                "Deliveries pushed from memory.",
                &self.pushed,
            ),
            (
                "group_deliveries_total",
                "Deliveries of group messages and commits, pushed or read.",
                &self.group_deliveries,
            ),
            (
                "deliveries_read_total",
                "Deliveries read from the table.",
                &self.read,
            ),
            (
                "sockets_refused_total",
                "Sockets that this node had no room for.",
                &self.sockets_refused,
            ),
            (
                "hints_published_total",
                "Words to other nodes, by way of Redis.",
                &self.hints_published,
            ),
            (
                "hints_received_total",
                "Words that Redis brought.",
                &self.hints_received,
            ),
            (
                "hints_polled_total",
                "Queues in which a look into the table found something new.",
                &self.hints_polled,
            ),
            (
                "retention_deleted_total",
                "Rows that retention deleted.",
                &self.retained_away,
            ),
            (
                "log_heads_total",
                "Heads of the transparency log that were signed.",
                &self.heads,
            ),
        ] {
            page.head(name, "counter", help);
            page.line(name, counter.get());
        }
        for (name, help, gauge) in [
            ("connections", "Open connections.", &self.connections),
            ("sockets", "Open sockets of agents.", &self.sockets),
            ("long_polls", "Long polls that wait.", &self.polls),
            (
                "sends_waiting",
                "Sends that wait for their answer.",
                &self.waiting,
            ),
            (
                "database_up",
                "1 if the database answered when it was last asked, which is once a second, 0 if it did not.",
                &self.database_up,
            ),
            (
                "redis_up",
                "1 while Redis does as it is asked, 0 while it does not, -1 without one.",
                &self.redis_up,
            ),
            ("log_size", "Leaves of the transparency log.", &self.log_size),
            (
                "log_unlogged_seconds",
                "Age of the oldest bundle that is not in the transparency log.",
                &self.unlogged_seconds,
            ),
        ] {
            page.head(name, "gauge", help);
            page.line(name, gauge.get());
        }
        for (name, help, histogram) in [
            (
                "request_seconds",
                "From a request's head to its answer's.",
                &self.request_time,
            ),
            (
                "queue_wait_seconds",
                "From a send's submission to its batch.",
                &self.queue_wait,
            ),
            ("transaction_seconds", "Statements of a batch.", &self.transaction),
            (
                "commit_seconds",
                "Commit of a batch, with its sync to disk.",
                &self.commit,
            ),
            ("push_seconds", "Handing a batch over to sockets.", &self.push),
        ] {
            page.times(name, help, histogram);
        }
        page.sizes("batch_size", "Writes in a batch.", &self.batch_size);
        page.0
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(
            self.0,
            "# HELP waxwire_relay_{name} {help}\n# TYPE waxwire_relay_{name} {kind}\n"
        );
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "waxwire_relay_{name} {value}");
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "sums beyond 2^53 microseconds lose a microsecond"
    )]
    fn times(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.histogram(name, help, histogram, |micros| format!("{}", micros as f64 / 1e6));
    }

    fn sizes(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.histogram(name, help, histogram, |size| size.to_string());
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, show: impl Fn(u64) -> String) {
        self.head(name, "histogram", help);
        let mut total = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = histogram
                .bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |b| show(*b));
            self.line(&format!("{name}_bucket{{le=\"{bound}\"}}"), total);
        }
        self.line(
            &format!("{name}_sum"),
            show(histogram.sum.load(Ordering::Relaxed)),
        );
        self.line(&format!("{name}_count"), total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_are_cumulative_and_end_in_infinity() {
        let metrics = Metrics::default();
        metrics.commit.observe(Duration::from_micros(50));
        metrics.commit.observe(Duration::from_micros(51));
        metrics.commit.observe(Duration::from_secs(60));
        let text = metrics.render();
        assert!(text.contains("waxwire_relay_commit_seconds_bucket{le=\"0.00005\"} 1\n"));
        assert!(text.contains("waxwire_relay_commit_seconds_bucket{le=\"0.0001\"} 2\n"));
        assert!(text.contains("waxwire_relay_commit_seconds_bucket{le=\"+Inf\"} 3\n"));
        assert!(text.contains("waxwire_relay_commit_seconds_count 3\n"));
    }

    #[test]
    fn refusals_are_counted_by_type() {
        let metrics = Metrics::default();
        metrics.refuse(ProblemType::Stale);
        assert!(
            metrics
                .render()
                .contains("waxwire_relay_refusals_total{type=\"stale\"} 1\n")
        );
    }
}
