//! Structured logs on standard error; docs/operations/logging.md lists the events. No content, key,
//! token or challenge is ever a field.

use std::{error::Error, fmt, str::FromStr};

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterFn, LevelFilter, Targets},
    fmt as format,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use waxwire_outbound::traces::{self, Traces};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which events are logged: a level, or `target=level` pairs separated by commas.
#[derive(Debug, Clone)]
pub struct LogFilter(Targets);

/// Text that is no log filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is a level (error, warn, info, debug, trace) or target=level pairs separated by commas"
)]
pub struct LogFilterError;

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        text.parse().map(Self).map_err(|_| LogFilterError)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self(Targets::new().with_default(Level::INFO))
    }
}

impl LogFilter {
    /// Whether an event is logged. What libraries say below `info` never is, whatever was asked for:
    /// it may hold bytes of requests.
    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        if traces::is_span(metadata) {
            return false;
        }
        let ours = metadata.target().starts_with("waxwire");
        (ours || *metadata.level() <= Level::INFO) && self.0.would_enable(metadata.target(), metadata.level())
    }

    /// Nothing beyond this level is logged. Without knowing it, every event that a library mentions would
    /// be asked about, several for each frame of a socket.
    fn max_level(&self) -> LevelFilter {
        let targets = self.0.iter().map(|(_, level)| level);
        let levels = targets.chain(self.0.default_level());
        levels.max().unwrap_or(LevelFilter::OFF)
    }
}

/// Starts logging for the whole process, and takes spans for traces. A second call changes nothing.
pub fn start(filter: &LogFilter, log_format: LogFormat, traces: Option<&Traces>) {
    let (filter, max_level) = (filter.clone(), filter.max_level());
    let filter = FilterFn::new(move |metadata| filter.allows(metadata)).with_max_level_hint(max_level);
    let registry = tracing_subscriber::registry().with(traces.map(Traces::layer));
    let lines = format::layer().with_writer(std::io::stderr);
    let started = match log_format {
        LogFormat::Text => registry
            .with(lines.with_ansi(false).with_filter(filter))
            .try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            registry.with(lines.with_filter(filter)).try_init()
        }
    };
    // Only tests start more than once in a process.
    drop(started);
}

/// An error with its causes, for one log line.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + use<'a> {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::testing::{Got, TestRelay, TestSocket, envelope};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Attack 81: no credential and no ciphertext in any log, at any level.
    #[tokio::test]
    async fn log_holds_no_credential_handle_or_ciphertext() {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter: LogFilter = "trace".parse().unwrap();
        let filter = FilterFn::new(move |metadata| filter.allows(metadata));
        let subscriber = tracing_subscriber::registry()
            .with(filter)
            .with(format::layer().with_writer(move || writer.clone()));
        let _guard = tracing::subscriber::set_default(subscriber);
        // While there is one alone, whatever another test's thread comes by first is never logged: that thread has none.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice-canary").await, relay.register("bob").await);
        let sent = envelope(bob.id, 1, b"ciphertext-canary");
        relay.send(&alice.key, &sent).await;
        let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
        while !matches!(socket.next().await, Got::Deliver { .. }) {}
        socket.send(1, &sent).await;
        socket.next().await;
        relay
            .get("/v1/agents/alice-canary/bundle", Some("wxa_wrong-canary"))
            .await;
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("agent registered"), "{log}");
        for secret in [alice.key.as_str(), &alice.key[4..], bob.key.as_str(), "canary"] {
            assert!(!log.contains(secret), "{log}");
        }
    }

    #[test]
    fn most_detailed_level_of_a_filter_is_known() {
        for (text, level) in [
            ("warn", LevelFilter::WARN),
            ("warn,waxwire_relay::store=trace", LevelFilter::TRACE),
            ("waxwire_relay=info,waxwire_shared=error", LevelFilter::INFO),
            ("off", LevelFilter::OFF),
        ] {
            assert_eq!(text.parse::<LogFilter>().unwrap().max_level(), level, "{text}");
        }
    }

    #[test]
    fn filter_is_a_level_or_pairs() {
        for good in [
            "info",
            "waxwire_relay=debug",
            "warn,waxwire_relay::store=trace",
            "off",
        ] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in ["a=b=c", "waxwire_relay=loud"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }
}
