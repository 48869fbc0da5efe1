//! A Redis server for a test, and relay nodes on it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use crate::{
    delivery::Timing,
    store::postgres::testing::Database,
    testing::{Setup, TestRelay},
};

/// Ends with the process that started it, and cleans up.
pub(crate) struct Server {
    pub(crate) url: String,
    script: Mutex<(Child, BufReader<ChildStdout>)>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/redis");
        let mut script = Command::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(script.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").unwrap().to_owned();
        Self {
            url,
            script: Mutex::new((script, output)),
        }
    }

    fn ask(&self, command: &str) {
        let (script, output) = &mut *self.script.lock().unwrap();
        writeln!(script.stdin.as_mut().unwrap(), "{command}").unwrap();
        output.read_line(&mut String::new()).unwrap();
    }

    pub(crate) fn kill(&self) {
        self.ask("kill");
    }

    pub(crate) fn revive(&self) {
        self.ask("start");
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

/// A relay of two nodes.
pub(crate) struct Two {
    pub(crate) nodes: [TestRelay; 2],
    pub(crate) redis: Server,
    pub(crate) database: Database,
}

/// Agents are gone soon, also with their node.
pub(crate) fn impatient() -> Timing {
    Timing {
        absence: Duration::from_millis(50),
        mark: Duration::from_millis(1_500),
        ..Timing::default()
    }
}

impl Two {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default).await
    }

    pub(crate) async fn start_with(setup: impl Fn() -> Setup) -> Self {
        let (database, redis) = (Database::new(), Server::start());
        let node = async |seed| {
            TestRelay::start_with(Setup {
                seed,
                among: Some((database.url(), redis.url.parse().unwrap())),
                timing: impatient(),
                ..setup()
            })
            .await
        };
        let two = Self {
            nodes: [node(1).await, node(2).await],
            redis,
            database,
        };
        two.until_up(true).await;
        two
    }

    /// Waits until both nodes have Redis, or have lost it.
    pub(crate) async fn until_up(&self, up: bool) {
        for node in &self.nodes {
            let nodes = node.relay.delivery.nodes.as_ref().unwrap();
            until(async || nodes.is_up() == up).await;
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}
