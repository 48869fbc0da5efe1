//! An error with its causes, for one log line, and what is said only when it turns.

use std::{error::Error, fmt};

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

/// How something goes that is done again and again: a log line is for the turns.
#[derive(Debug, Default)]
pub struct Course {
    fails: bool,
}

impl Course {
    /// Notes how it went; whether that is otherwise than before.
    pub const fn turns(&mut self, well: bool) -> bool {
        std::mem::replace(&mut self.fails, !well) == well
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{filter::FilterFn, fmt as format, layer::SubscriberExt as _};
    use waxwire_outbound::logs::LogFilter;

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

    #[test]
    fn course_is_told_when_it_turns() {
        let mut course = super::Course::default();
        let turns = [true, false, false, true, true, false].map(|well| course.turns(well));
        assert_eq!(turns, [false, true, false, true, false, true]);
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
}
