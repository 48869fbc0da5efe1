//! A PostgreSQL server for the tests of this program, and databases on it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::open;
use crate::store::DatabaseUrl;

/// Ends with the process that started it, and cleans up.
struct Server {
    url: String,
    /// Its standard input stays open for as long as this is held.
    _script: Child,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
    let mut script = Command::new(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(script.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("ready ").unwrap().to_owned();
    run(&url, "postgres", &["CREATE DATABASE migrated"]);
    let migrated: DatabaseUrl = format!("{url}/migrated").parse().unwrap();
    let DatabaseUrl::Postgres(migrated) = migrated else {
        panic!("another database");
    };
    let options = open::options(&migrated).unwrap();
    block_on(|| open::migrate(&options)).unwrap();
    Server { url, _script: script }
});

/// From any thread, also from one that runs tasks.
fn block_on<T: Send, F: Future<Output = T>>(work: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        });
        thread.join().unwrap()
    })
}

/// Runs statements on a database.
fn run(server: &str, database: &str, statements: &[&str]) {
    let url = format!("{server}/{database}");
    let work = async || {
        let mut connection = PgConnection::connect(&url).await?;
        for statement in statements {
            connection.execute(AssertSqlSafe(*statement)).await?;
        }
        connection.close().await
    };
    block_on(work).unwrap();
}

/// A database of one test; dropped with it.
pub(crate) struct Database(String);

impl Database {
    /// One with its tables.
    pub(crate) fn new() -> Self {
        Self::from_template("migrated")
    }

    /// One without any.
    pub(in crate::store) fn empty() -> Self {
        Self::from_template("template0")
    }

    fn from_template(template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("relay_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        run(&SERVER.url, "postgres", &[&statement]);
        Self(name)
    }

    /// Another one with what is committed in this one, whose connections all end and which takes no more.
    pub(in crate::store) fn crash(&self) -> Self {
        self.shut(true);
        Self::from_template(&self.0)
    }

    /// Ends every connection to it and takes no more, or takes some again.
    pub(in crate::store) fn shut(&self, shut: bool) {
        let allow = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {}", self.0, !shut);
        run(&SERVER.url, "postgres", &[&allow]);
        if shut {
            self.cut();
        }
    }

    /// Whether somebody waits for somebody else's lock there.
    pub(crate) async fn waits(&self) -> bool {
        let mut connection = PgConnection::connect(&self.url_text()).await.unwrap();
        let (waits,): (bool,) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock')",
        )
        .bind(&self.0)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        waits
    }

    /// Ends every connection to it.
    pub(in crate::store) fn cut(&self) {
        let name = &self.0;
        let cut =
            format!("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name}'");
        run(&SERVER.url, "postgres", &[&cut]);
    }

    /// Runs statements on it.
    pub(in crate::store) fn run(&self, statements: &[&str]) {
        run(&SERVER.url, &self.0, statements);
    }

    /// Its URL.
    pub(crate) fn url(&self) -> DatabaseUrl {
        self.url_text().parse().unwrap()
    }

    /// The same as text.
    pub(crate) fn url_text(&self) -> String {
        format!("{}/{}", SERVER.url, self.0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.0);
        run(&SERVER.url, "postgres", &[&statement]);
    }
}
