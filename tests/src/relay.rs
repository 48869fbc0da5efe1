//! A relay as a process, or several on one database, which can be killed and started again.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;

use crate::{
    balancer::{Balancer, Whereabouts},
    binaries::Binary,
    database::Database,
    http::{Ask, Http},
    program::{Address, Program},
    redis,
};

/// How many nodes a relay on PostgreSQL has if nothing else is said.
const NODES: &str = "WAXWIRE_TEST_NODES";
/// Where attachments lie in the folder of a relay, or, with a bucket, what is on its way there in that of each node.
pub(crate) const SPOOL: &str = "relay.db-blobs";

/// Limits that tests of something else would run into; evaluated all the same.
const HIGH: [(&str, u64); 5] = [
    ("sends_per_minute", 10_000_000),
    ("control_per_minute", 10_000_000),
    ("org_sends_per_hour", 100_000_000),
    ("backlog", 1_000_000),
    ("control_backlog", 1_000_000),
];

/// One process of a relay.
#[derive(Debug)]
struct Node {
    folder: PathBuf,
    log: PathBuf,
    whereabouts: Whereabouts,
    http: Http,
    metrics: Http,
    program: Option<Program>,
}

impl Node {
    fn new(folder: PathBuf, log: PathBuf) -> Self {
        let metrics = Address::Unix(folder.join("metrics.sock"));
        Self {
            folder,
            log,
            whereabouts: Whereabouts::default(),
            http: Http::new(None),
            metrics: Http::new(Some(metrics)),
            program: None,
        }
    }

    fn metrics_socket(&self) -> PathBuf {
        self.folder.join("metrics.sock")
    }

    async fn start(&mut self, command: Command) -> anyhow::Result<()> {
        if self.program.is_some() {
            bail!("the relay runs already");
        }
        let program = Program::start("relay", command, &self.log).await?;
        if let Address::Tcp(address) = program.address() {
            self.whereabouts.set(Some(*address));
        }
        self.http.moved(Some(program.address().clone()));
        self.program = Some(program);
        Ok(())
    }

    fn stopped(&mut self) -> anyhow::Result<Program> {
        self.whereabouts.set(None);
        self.http.moved(None);
        self.metrics.moved(Some(Address::Unix(self.metrics_socket())));
        self.program.take().context("the relay does not run")
    }
}

/// A relay; killed when dropped. Each start takes free ports, which the taps follow.
#[derive(Debug)]
pub struct Relay {
    database: Database,
    /// By which its nodes hear of each other, if it has several.
    redis: Option<redis::Server>,
    nodes: Vec<Node>,
    /// Whom the next tap prefers.
    turn: AtomicUsize,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    limits: BTreeMap<String, u64>,
    tables: String,
    /// Least seconds between two heads of the transparency log, if there is one.
    transparency: Option<u64>,
    level: String,
}

impl Relay {
    /// A relay with its files in `folder`, which exists, and a database and nodes as the environment says; not started.
    ///
    /// # Errors
    /// Its database cannot be made.
    pub fn new(folder: &Path, log: &Path) -> anyhow::Result<Self> {
        let database = Database::of_environment(folder)?;
        let nodes = match (database.file(), env::var(NODES)) {
            (None, Ok(nodes)) => nodes.parse().context(NODES)?,
            _ => 1,
        };
        Self::of_nodes(nodes, database, folder, log)
    }

    /// One process on a database that is made for it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn on(database: Database, folder: &Path, log: &Path) -> anyhow::Result<Self> {
        Self::of_nodes(1, database, folder, log)
    }

    /// Several of them, and a Redis of their own.
    ///
    /// # Errors
    /// The database cannot be made, or there is no Redis.
    pub fn of_nodes(nodes: usize, database: Database, folder: &Path, log: &Path) -> anyhow::Result<Self> {
        database.create()?;
        let mut all = vec![Node::new(folder.to_owned(), log.to_owned())];
        for number in 1..nodes {
            let folder = folder.join(format!("node-{number}"));
            fs::create_dir(&folder)?;
            all.push(Node::new(folder, log.with_extension(format!("{number}.log"))));
        }
        Ok(Self {
            database,
            redis: (nodes > 1).then(redis::Server::start).transpose()?,
            nodes: all,
            turn: AtomicUsize::new(0),
            arguments: Vec::new(),
            environment: Vec::new(),
            limits: HIGH.map(|(name, value)| (name.to_owned(), value)).into(),
            tables: String::new(),
            transparency: None,
            level: "debug,sqlx=warn".to_owned(),
        })
    }

    /// Further arguments of `serve`, from the next start on.
    pub fn arguments<const N: usize>(&mut self, arguments: [&str; N]) {
        self.arguments = arguments.map(str::to_owned).to_vec();
    }

    /// What is in the environment of `serve`, from the next start on.
    pub fn environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Sets a limit, from the next start on.
    pub fn limit(&mut self, name: &str, value: u64) {
        self.limits.insert(name.to_owned(), value);
    }

    /// More of its configuration file, after the limits, from the next start on.
    pub fn configuration(&mut self, tables: &str) {
        tables.clone_into(&mut self.tables);
    }

    /// Switches the transparency log on, with a head every so many seconds at most, from the next start on. Without it is
    /// off: each agent costs a computation of some twenty milliseconds.
    pub const fn transparency(&mut self, head_interval_seconds: u64) {
        self.transparency = Some(head_interval_seconds);
    }

    /// Another log level than debug, from the next start on.
    pub fn log_level(&mut self, level: &str) {
        level.clone_into(&mut self.level);
    }

    /// Where it keeps what it holds.
    #[must_use]
    pub const fn store(&self) -> &Database {
        &self.database
    }

    /// The folder of attachments, of all nodes.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.folder().join(SPOOL)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.nodes[0].folder
    }

    /// How many nodes it has.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// By what its nodes hear of each other.
    ///
    /// # Errors
    /// It has one only.
    pub fn redis(&self) -> anyhow::Result<&redis::Server> {
        self.redis.as_ref().context("the relay has one node")
    }

    /// The command `serve` that a start runs, listening on `listen`.
    ///
    /// # Errors
    /// The program is not built, or the configuration cannot be written.
    pub fn command(&self, listen: &str) -> anyhow::Result<Command> {
        self.command_of(0, listen)
    }

    /// The same for a node.
    ///
    /// # Errors
    /// See there.
    pub fn command_of(&self, node: usize, listen: &str) -> anyhow::Result<Command> {
        let mut command = Binary::Relay.command(&self.nodes[node].folder)?;
        command.args(["serve", "--listen", listen, "--database", &self.database.url()?]);
        // Not as an argument, so that a test can give another place.
        command.env("WAXWIRE_RELAY_BLOBS", self.blobs());
        command.envs(self.environment.iter().cloned());
        if let Some(redis) = &self.redis {
            command.env("WAXWIRE_REDIS_URL", redis.url());
        }
        command.args(["--log", &self.level, "--metrics-listen"]);
        command.arg(format!("unix:{}", self.nodes[node].metrics_socket().display()));
        command.arg("--config").arg(self.write_configuration()?);
        command.args(&self.arguments);
        Ok(command)
    }

    fn write_configuration(&self) -> anyhow::Result<PathBuf> {
        let file = self.folder().join("relay.toml");
        let mut text = "[limits]\n".to_owned();
        for (name, value) in &self.limits {
            writeln!(text, "{name} = {value}")?;
        }
        match self.transparency {
            Some(seconds) => writeln!(text, "[transparency]\nhead_interval_seconds = {seconds}")?,
            None => writeln!(text, "[transparency]\nenabled = false")?,
        }
        fs::write(&file, text + &self.tables)?;
        Ok(file)
    }

    /// Starts it on a free port.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.start_on("127.0.0.1:0").await
    }

    /// Starts it on an address, its other nodes on free ports.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_on(&mut self, listen: &str) -> anyhow::Result<()> {
        self.start_by(self.command(listen)?).await
    }

    /// Starts it by a command made of [`Self::command`].
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_by(&mut self, command: Command) -> anyhow::Result<()> {
        let mut commands = vec![command];
        for node in 1..self.nodes.len() {
            commands.push(self.command_of(node, "127.0.0.1:0")?);
        }
        let starts = self.nodes.iter_mut().zip(commands);
        try_join_all(starts.map(|(node, command)| node.start(command))).await?;
        Ok(())
    }

    /// Starts one node.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        let command = self.command_of(node, "127.0.0.1:0")?;
        self.start_node_by(node, command).await
    }

    /// Starts one node by a command made of [`Self::command_of`].
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_node_by(&mut self, node: usize, command: Command) -> anyhow::Result<()> {
        self.nodes[node].start(command).await
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        (0..self.nodes.len()).try_for_each(|node| self.kill_node(node))
    }

    /// `kill -9` of one node.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_node(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].stopped()?.kill()
    }

    /// SIGTERM, and its exit status within ten seconds, of the last node that ends.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        for node in 1..self.nodes.len() {
            self.terminate_node(node).await?;
        }
        self.terminate_node(0).await
    }

    /// The same for one node.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub async fn terminate_node(&mut self, node: usize) -> anyhow::Result<ExitStatus> {
        self.nodes[node].stopped()?.terminate().await
    }

    /// `kill -9`, then a start.
    ///
    /// # Errors
    /// It did not run or does not come up.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.start().await
    }

    /// The running process.
    ///
    /// # Errors
    /// It does not run.
    pub fn program(&mut self) -> anyhow::Result<&mut Program> {
        self.nodes[0].program.as_mut().context("the relay does not run")
    }

    /// Where it listens.
    #[must_use]
    pub fn whereabouts(&self) -> &Whereabouts {
        &self.nodes[0].whereabouts
    }

    /// The way of a tap to its nodes, of which the next one prefers another.
    #[must_use]
    pub fn balancer(&self) -> Balancer {
        let nodes = self.nodes.iter().map(|node| node.whereabouts.clone()).collect();
        Balancer::new(nodes, self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// A client of its API.
    #[must_use]
    pub fn http(&self) -> &Http {
        self.http_of(0)
    }

    /// A client of a node's API.
    #[must_use]
    pub fn http_of(&self, node: usize) -> &Http {
        &self.nodes[node].http
    }

    /// Its URL.
    ///
    /// # Errors
    /// It does not run.
    pub fn url(&self) -> anyhow::Result<String> {
        let address = self.whereabouts().get().context("the relay does not run")?;
        Ok(format!("http://{address}"))
    }

    /// What `GET /metrics` answers at its nodes, one after the other.
    ///
    /// # Errors
    /// One does not run.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let mut pages = String::new();
        for node in 0..self.nodes.len() {
            pages += &self.metrics_of(node).await?;
        }
        Ok(pages)
    }

    /// What it answers at one of them.
    ///
    /// # Errors
    /// It does not run.
    pub async fn metrics_of(&self, node: usize) -> anyhow::Result<String> {
        let answer = self.nodes[node].metrics.ask(Ask::new("GET", "/metrics")).await?;
        Ok(answer.text())
    }

    /// Runs another command of the program on this relay's database, to its end.
    ///
    /// # Errors
    /// The program is not built.
    pub fn tool<const N: usize>(&self, arguments: [&str; N]) -> anyhow::Result<Command> {
        let mut command = Binary::Relay.command(self.folder())?;
        command
            .args(arguments)
            .args(["--database", &self.database.url()?]);
        Ok(command)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.program = None;
        }
        self.database.discard();
    }
}
