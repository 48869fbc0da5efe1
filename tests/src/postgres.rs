//! Throw-away PostgreSQL servers for relays, by `scripts/postgres`.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::throwaway::Throwaway;

/// A server. It ends with the process that started it, and cleans up.
#[derive(Debug)]
pub struct Server(Throwaway);

impl Server {
    /// A new one.
    ///
    /// # Errors
    /// It does not start; `scripts/setup` installs what it needs.
    pub fn start() -> anyhow::Result<Self> {
        Throwaway::start("postgres", &[]).map(Self)
    }

    /// One that flushes what it commits, as it does where it serves. For measurements.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_durable() -> anyhow::Result<Self> {
        Throwaway::start("postgres", &["--durable"]).map(Self)
    }

    /// One that takes nobody without TLS. [`certificate`](crate::certificate) has what it shows.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_with_tls() -> anyhow::Result<Self> {
        Throwaway::start("postgres", &["--tls"]).map(Self)
    }

    /// `kill -9` of all of it.
    ///
    /// # Errors
    /// Its script has ended.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.0.kill()
    }

    /// Starts it again on what is left.
    ///
    /// # Errors
    /// It does not start.
    pub fn revive(&self) -> anyhow::Result<()> {
        self.0.revive()
    }

    /// `kill -9` of all of it, which is away for a while then.
    ///
    /// # Errors
    /// Its script has ended, or it does not start again.
    pub async fn crash(self: &Arc<Self>, away: Duration) -> anyhow::Result<()> {
        let server = Arc::clone(self);
        let crash = move || {
            server.kill()?;
            std::thread::sleep(away);
            server.revive()
        };
        tokio::task::spawn_blocking(crash).await?
    }

    /// Gives it no time for a while.
    ///
    /// # Errors
    /// Its script has ended.
    pub async fn pause(&self, length: Duration) -> anyhow::Result<()> {
        self.0.pause(true)?;
        tokio::time::sleep(length).await;
        self.0.pause(false)
    }

    /// Executes a statement in a database.
    ///
    /// # Errors
    /// The server does not.
    pub fn run(&self, database: &str, statement: &str) -> anyhow::Result<()> {
        let url = self.database_url(database);
        block_on(async || {
            let mut connection = PgConnection::connect(&url).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            Ok(connection.close().await?)
        })
    }
}

/// A program of the server's package.
///
/// # Errors
/// There is none.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let found = Command::new("bash")
        .args(["-c", "ls /usr/lib/postgresql/*/bin/$0 || command -v $0", name])
        .output()?;
    let found = String::from_utf8(found.stdout)?;
    // The newest.
    let program = found.lines().last();
    Ok(program
        .with_context(|| format!("no {name} on this machine"))?
        .into())
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
        format!("{}/{name}", self.0.url())
    }

    /// Makes a database.
    ///
    /// # Errors
    /// The server does not.
    pub fn create(&self, name: &str) -> anyhow::Result<()> {
        self.run("postgres", &format!("CREATE DATABASE {name}"))
    }

    /// Makes an end of a database, whoever uses it.
    ///
    /// # Errors
    /// The server does not.
    pub fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.run(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )
    }
}
