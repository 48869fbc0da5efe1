//! A relay as a process, which can be killed and started again on its database.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use waxwire_shared::ids::GroupId;

use crate::{
    binaries::Binary,
    database::Database,
    http::{Answer, Ask, Http},
    program::{Address, Program},
};

/// Limits that tests of something else would run into; evaluated all the same.
const HIGH: [(&str, u64); 5] = [
    ("sends_per_minute", 10_000_000),
    ("control_per_minute", 10_000_000),
    ("org_sends_per_hour", 100_000_000),
    ("backlog", 1_000_000),
    ("control_backlog", 1_000_000),
];

/// Where the relay listens now, if it runs; shared with the taps in front of it.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts(Arc<Mutex<Option<SocketAddr>>>);

impl Whereabouts {
    /// Where it listens.
    #[must_use]
    pub fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It listens elsewhere, or nowhere.
    pub fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// A relay; killed when dropped. Each start takes a free port, which the taps follow.
#[derive(Debug)]
pub struct Relay {
    database: Database,
    folder: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    limits: BTreeMap<String, u64>,
    tables: String,
    /// Least seconds between two heads of the transparency log, if there is one.
    transparency: Option<u64>,
    level: String,
    whereabouts: Whereabouts,
    http: Http,
    metrics: Http,
    program: Option<Program>,
}

impl Relay {
    /// A relay with its files in `folder`, which exists, and a database as the environment says; not started.
    ///
    /// # Errors
    /// Its database cannot be made.
    pub fn new(folder: &Path, log: &Path) -> anyhow::Result<Self> {
        Self::on(Database::of_environment(folder)?, folder, log)
    }

    /// The same on a database that is made for it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn on(database: Database, folder: &Path, log: &Path) -> anyhow::Result<Self> {
        database.create()?;
        Ok(Self {
            database,
            folder: folder.to_owned(),
            log: log.to_owned(),
            arguments: Vec::new(),
            limits: HIGH.map(|(name, value)| (name.to_owned(), value)).into(),
            tables: String::new(),
            transparency: None,
            level: "debug,sqlx=warn".to_owned(),
            whereabouts: Whereabouts::default(),
            http: Http::new(None),
            metrics: Http::new(Some(Address::Unix(folder.join("metrics.sock")))),
            program: None,
        })
    }

    /// Further arguments of `serve`, from the next start on.
    pub fn arguments<const N: usize>(&mut self, arguments: [&str; N]) {
        self.arguments = arguments.map(str::to_owned).to_vec();
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

    /// The database file, for what works on a file. SQLite keeps `-wal` and `-shm` beside it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("relay.db")
    }

    /// The group that its database holds, if it holds one only.
    ///
    /// # Errors
    /// It holds none or several.
    pub fn only_group(&self) -> anyhow::Result<GroupId> {
        self.database.only_group()
    }

    /// The folder of attachments.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("relay.db-blobs")
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The command `serve` that a start runs, listening on `listen`.
    ///
    /// # Errors
    /// The program is not built, or the configuration cannot be written.
    pub fn command(&self, listen: &str) -> anyhow::Result<Command> {
        let mut command = Binary::Relay.command(&self.folder)?;
        command.args(["serve", "--listen", listen, "--database", &self.database.url()?]);
        // Not as an argument, so that a test can give another place.
        command.env("WAXWIRE_RELAY_BLOBS", self.blobs());
        command.args(["--log", &self.level, "--metrics-listen"]);
        command.arg(format!("unix:{}", self.folder.join("metrics.sock").display()));
        command.arg("--config").arg(self.write_configuration()?);
        command.args(&self.arguments);
        Ok(command)
    }

    fn write_configuration(&self) -> anyhow::Result<PathBuf> {
        let file = self.folder.join("relay.toml");
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

    /// Starts it on an address.
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
        self.metrics
            .moved(Some(Address::Unix(self.folder.join("metrics.sock"))));
        self.program.take().context("the relay does not run")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.stopped()?.kill()
    }

    /// SIGTERM, and its exit status within ten seconds.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.stopped()?.terminate().await
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
        self.program.as_mut().context("the relay does not run")
    }

    /// Where it listens, for taps.
    #[must_use]
    pub const fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// A client of its API.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Its URL.
    ///
    /// # Errors
    /// It does not run.
    pub fn url(&self) -> anyhow::Result<String> {
        let address = self.whereabouts.get().context("the relay does not run")?;
        Ok(format!("http://{address}"))
    }

    /// The answer of `GET /metrics`.
    ///
    /// # Errors
    /// It does not run.
    pub async fn metrics(&self) -> anyhow::Result<Answer> {
        self.metrics.ask(Ask::new("GET", "/metrics")).await
    }

    /// Runs another command of the program on this relay's database, to its end.
    ///
    /// # Errors
    /// The program is not built.
    pub fn tool<const N: usize>(&self, arguments: [&str; N]) -> anyhow::Result<Command> {
        let mut command = Binary::Relay.command(&self.folder)?;
        command
            .args(arguments)
            .args(["--database", &self.database.url()?]);
        Ok(command)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.program = None;
        self.database.discard();
    }
}
