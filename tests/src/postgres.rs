//! Throw-away PostgreSQL servers for relays, by `scripts/postgres`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail, ensure};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// A server. It ends with the process that started it, and cleans up.
#[derive(Debug)]
pub struct Server {
    url: String,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    child: Child,
    /// Its end is the end of the server.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn ask(&mut self, command: &str) -> anyhow::Result<()> {
        let commands = self.commands.as_mut().context("the server has ended")?;
        writeln!(commands, "{command}")?;
        Ok(commands.flush()?)
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "PostgreSQL did not start: its script says why");
        Ok(line.trim_end().to_owned())
    }
}

impl Server {
    /// A new one.
    ///
    /// # Errors
    /// It does not start; `scripts/setup` installs what it needs.
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("scripts/postgres")?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let mut script = Script {
            child,
            commands,
            answers: BufReader::new(answers.context("standard output")?),
        };
        let answer = script.answer()?;
        let url = answer.strip_prefix("ready ").context("an unknown answer")?;
        Ok(Self {
            url: url.to_owned(),
            script: Mutex::new(script),
        })
    }

    /// `kill -9` of all of it.
    ///
    /// # Errors
    /// Its script has ended.
    pub fn kill(&self) -> anyhow::Result<()> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.ask("kill")?;
        let answer = script.answer()?;
        ensure!(answer == "killed", "answered {answer}");
        Ok(())
    }

    /// Starts it again on what is left.
    ///
    /// # Errors
    /// It does not start.
    pub fn revive(&self) -> anyhow::Result<()> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.ask("start")?;
        let answer = script.answer()?;
        ensure!(answer.starts_with("ready "), "answered {answer}");
        Ok(())
    }

    fn run(&self, statement: &str) -> anyhow::Result<()> {
        let url = self.database_url("postgres");
        block_on(async || {
            let mut connection = PgConnection::connect(&url).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            Ok(connection.close().await?)
        })
    }
}

/// From any thread, also from one that runs tasks.
pub(crate) fn block_on<T: Send, F: Future<Output = anyhow::Result<T>>>(
    work: impl FnOnce() -> F + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work())
        });
        let ended = thread.join();
        ended.unwrap_or_else(|_| bail!("the client of PostgreSQL panicked"))
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        let script = self.script.get_mut().unwrap_or_else(PoisonError::into_inner);
        script.commands = None;
        // It cleans up by itself whether anybody waits or not.
        let _status = script.child.wait();
    }
}

/// The server of this test program, for relays that need none of their own.
///
/// # Errors
/// It did not start.
pub fn shared() -> anyhow::Result<&'static Server> {
    static SHARED: LazyLock<anyhow::Result<Server>> = LazyLock::new(Server::start);
    SHARED.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The name of a database that nobody has.
#[must_use]
pub fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("relay_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Server {
    /// The URL of a database.
    #[must_use]
    pub fn database_url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Makes a database.
    ///
    /// # Errors
    /// The server does not.
    pub fn create(&self, name: &str) -> anyhow::Result<()> {
        self.run(&format!("CREATE DATABASE {name}"))
    }

    /// Makes an end of a database, whoever uses it.
    ///
    /// # Errors
    /// The server does not.
    pub fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    }
}
