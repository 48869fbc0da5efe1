//! The database of a relay: a file, or one on a PostgreSQL server.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Connection as _, FromRow, PgConnection,
    postgres::PgRow,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow},
};
use waxwire_shared::{hash::sha256, ids::GroupId};

use crate::{
    history::Kept,
    postgres::{self, Server},
};

/// Names the kind of database that relays have if nothing else is said: `sqlite` or `postgres`.
const VARIABLE: &str = "WAXWIRE_TEST_DATABASE";

/// Where a relay keeps what it holds.
#[derive(Debug, Clone)]
pub enum Database {
    /// In a file.
    Sqlite(PathBuf),
    /// On a server.
    Postgres {
        /// Its own server; else that of this test program.
        server: Option<Arc<Server>>,
        /// The database's name there.
        name: String,
    },
}

impl Database {
    /// What the environment says, for a relay with its files in `folder`.
    ///
    /// # Errors
    /// The environment says something else.
    pub fn of_environment(folder: &Path) -> anyhow::Result<Self> {
        match env::var(VARIABLE).as_deref() {
            Err(_) | Ok("" | "sqlite") => Ok(Self::in_folder(folder)),
            Ok("postgres") => Ok(Self::on_shared()),
            Ok(other) => bail!("{VARIABLE} is sqlite or postgres, not {other}"),
        }
    }

    /// A file in the folder of a relay.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::Sqlite(folder.join("relay.db"))
    }

    /// A new one on the server of this test program.
    #[must_use]
    pub fn on_shared() -> Self {
        Self::Postgres {
            server: None,
            name: postgres::new_name(),
        }
    }

    /// A new one on a server.
    #[must_use]
    pub fn on(server: &Arc<Server>) -> Self {
        Self::Postgres {
            server: Some(Arc::clone(server)),
            name: postgres::new_name(),
        }
    }

    /// As `--database` takes it.
    ///
    /// # Errors
    /// There is no server.
    pub fn url(&self) -> anyhow::Result<String> {
        match self {
            Self::Sqlite(file) => Ok(format!("sqlite://{}", file.display())),
            Self::Postgres { server, name } => Ok(of(server)?.database_url(name)),
        }
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(file) => Some(file),
            Self::Postgres { .. } => None,
        }
    }

    /// Makes what the relay does not make by itself.
    ///
    /// # Errors
    /// The server does not.
    pub fn create(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres { server, name } => of(server)?.create(name),
        }
    }

    /// Loses all of it.
    ///
    /// # Errors
    /// The server does not.
    pub fn lose(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(file) => {
                remove(file);
                Ok(())
            }
            Self::Postgres { server, name } => {
                of(server)?.drop_database(name)?;
                of(server)?.create(name)
            }
        }
    }

    /// Every envelope with its position, in the order of their ids.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn envelopes(&self) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        let rows: Vec<(i64, Vec<u8>)> = self
            .rows("SELECT position, bytes FROM envelope ORDER BY envelope_id")
            .await?;
        Ok(rows
            .into_iter()
            .map(|(position, bytes)| (position.cast_unsigned(), bytes))
            .collect())
    }

    /// Which envelope lies where.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn kept(&self) -> anyhow::Result<Vec<Kept>> {
        let rows: Vec<(i64, i64, Vec<u8>)> = self
            .rows("SELECT queue_no, position, bytes FROM envelope ORDER BY queue_no, position")
            .await?;
        let kept = |(queue, position, bytes): (i64, i64, Vec<u8>)| Kept {
            queue,
            position: position.cast_unsigned(),
            hash: sha256(&bytes),
        };
        Ok(rows.into_iter().map(kept).collect())
    }

    /// The group that it holds, if it holds one only.
    ///
    /// # Errors
    /// It holds none or several.
    pub async fn only_group(&self) -> anyhow::Result<GroupId> {
        let group = self.only_bytes("SELECT group_id FROM grp").await?;
        Ok(GroupId::from_slice(&group)?)
    }

    /// The group that has a slug.
    ///
    /// # Errors
    /// There is none.
    pub async fn group_of(&self, slug: &str) -> anyhow::Result<GroupId> {
        let groups: Vec<(String, Vec<u8>)> = self
            .rows("SELECT slug, group_id FROM grp WHERE slug IS NOT NULL")
            .await?;
        let group = groups.iter().find(|(of, _)| of == slug);
        Ok(GroupId::from_slice(&group.context("no such group")?.1)?)
    }

    /// The byte string that a query gives.
    ///
    /// # Errors
    /// It gives none or several.
    pub async fn only_bytes(&self, query: &str) -> anyhow::Result<Vec<u8>> {
        let mut rows: Vec<(Vec<u8>,)> = self.rows(query).await?;
        match (rows.pop(), rows.len()) {
            (Some((bytes,)), 0) => Ok(bytes),
            (_, more) => bail!("not one row: {query}, {more} more"),
        }
    }

    /// Messages that wait for agents.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn waiting(&self) -> anyhow::Result<i64> {
        let rows: Vec<(i64,)> = self
            .rows("SELECT head - acked FROM queue JOIN agent ON mail_queue = queue_no")
            .await?;
        Ok(rows.into_iter().map(|(waiting,)| waiting).sum())
    }

    /// Every text and byte string that it holds, as bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn values(&self) -> anyhow::Result<BTreeSet<Vec<u8>>> {
        const OF_FILE: &str = "SELECT t.name, 'CAST(' || c.name || ' AS BLOB)'
            FROM pragma_table_list t JOIN pragma_table_info(t.name) c
            WHERE t.schema = 'main' AND t.type = 'table' AND c.type IN ('TEXT', 'BLOB')";
        const ON_SERVER: &str = "SELECT table_name::TEXT,
                CASE data_type WHEN 'text' THEN 'convert_to(' || column_name || ', ''UTF8'')' ELSE column_name END
            FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type IN ('text', 'bytea')";
        let columns = match self {
            Self::Sqlite(_) => OF_FILE,
            Self::Postgres { .. } => ON_SERVER,
        };
        let mut values = BTreeSet::new();
        let columns: Vec<(String, String)> = self.rows(columns).await?;
        for (table, value) in columns {
            let rows: Vec<(Option<Vec<u8>>,)> = self.rows(&format!("SELECT {value} FROM {table}")).await?;
            values.extend(rows.into_iter().filter_map(|(value,)| value));
        }
        Ok(values)
    }

    /// The rows of a query that both kinds of database understand.
    async fn rows<T>(&self, query: &str) -> anyhow::Result<Vec<T>>
    where
        T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>,
    {
        let query = AssertSqlSafe(query);
        Ok(match self {
            Self::Sqlite(file) => sqlx::query_as(query).fetch_all(&mut open(file).await?).await?,
            Self::Postgres { .. } => {
                sqlx::query_as(query)
                    .fetch_all(&mut self.connect().await?)
                    .await?
            }
        })
    }

    /// A copy of it, which is taken while no relay runs on it; with its file, if it is one, in `folder`.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn copy(&self, folder: &Path) -> anyhow::Result<Self> {
        let copy = match self {
            Self::Sqlite(_) => Self::Sqlite(folder.join(postgres::new_name())),
            Self::Postgres { server, .. } => Self::Postgres {
                server: server.clone(),
                name: postgres::new_name(),
            },
        };
        copy.replace(self)?;
        Ok(copy)
    }

    /// Puts what another one holds in the place of all that it holds. No relay runs on either.
    ///
    /// # Errors
    /// They are of two kinds, or cannot be copied.
    pub fn replace(&self, with: &Self) -> anyhow::Result<()> {
        match (self, with) {
            (Self::Sqlite(file), Self::Sqlite(with)) => {
                remove(file);
                fs::copy(with, file)?;
                Ok(())
            }
            (Self::Postgres { server, name }, Self::Postgres { name: with, .. }) => {
                of(server)?.drop_database(name)?;
                of(server)?.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE {with}"))
            }
            _ => bail!("databases of two kinds"),
        }
    }

    /// Writes what a server holds into files of a folder, one for each table, for whoever searches there.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn dump(&self, folder: &Path) -> anyhow::Result<()> {
        const TABLES: &str = "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = 'public'";
        if self.file().is_some() {
            return Ok(());
        }
        let mut connection = self.connect().await?;
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await?;
        for table in tables {
            let copy = format!("COPY (SELECT * FROM \"{table}\") TO STDOUT (FORMAT binary)");
            let rows = connection.copy_out_raw(&copy).await?;
            let rows: Vec<_> = rows.try_collect().await?;
            fs::write(folder.join(format!("{table}.dump")), rows.concat())?;
        }
        Ok(())
    }

    /// Its test is over. What is left with its folder or its server is left to them.
    pub(crate) fn discard(&self) {
        if let Self::Postgres { server: None, name } = self
            && let Ok(server) = postgres::shared()
        {
            let _left = server.drop_database(name);
        }
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url()?).await?)
    }
}

fn of(server: &Option<Arc<Server>>) -> anyhow::Result<&Server> {
    match server.as_deref() {
        Some(server) => Ok(server),
        None => postgres::shared(),
    }
}

/// Removes the file of a database and those beside it, which may be gone already.
fn remove(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _gone = fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

async fn open(file: &Path) -> anyhow::Result<SqliteConnection> {
    Ok(SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await?)
}
