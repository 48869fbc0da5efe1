//! The database of a relay: a file, or one on a PostgreSQL server.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use futures_util::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
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
            Err(_) | Ok("" | "sqlite") => Ok(Self::Sqlite(folder.join("relay.db"))),
            Ok("postgres") => Ok(Self::on_shared()),
            Ok(other) => bail!("{VARIABLE} is sqlite or postgres, not {other}"),
        }
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
                for suffix in ["", "-wal", "-shm"] {
                    // Those beside the database may be gone already.
                    let _gone = fs::remove_file(format!("{}{suffix}", file.display()));
                }
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
        const ALL: &str = "SELECT position, bytes FROM envelope ORDER BY envelope_id";
        let rows: Vec<(i64, Vec<u8>)> = match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file)?;
                let mut statement = database.prepare(ALL)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            }
            Self::Postgres { .. } => sqlx::query_as(ALL).fetch_all(&mut self.connect().await?).await?,
        };
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
        const ALL: &str = "SELECT queue_no, position, bytes FROM envelope ORDER BY queue_no, position";
        let rows: Vec<(i64, i64, Vec<u8>)> = match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file)?;
                let mut statement = database.prepare(ALL)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect::<Result<_, _>>()?
            }
            Self::Postgres { .. } => sqlx::query_as(ALL).fetch_all(&mut self.connect().await?).await?,
        };
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
    pub(crate) fn only_group(&self) -> anyhow::Result<GroupId> {
        const ALL: &str = "SELECT group_id FROM grp";
        let groups: Vec<[u8; 32]> = match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file)?;
                let mut statement = database.prepare(ALL)?;
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            }
            Self::Postgres { .. } => postgres::block_on(async || {
                Ok(sqlx::query_scalar(ALL)
                    .fetch_all(&mut self.connect().await?)
                    .await?)
            })?,
        };
        match groups[..] {
            [group] => Ok(GroupId::from_bytes(group)),
            _ => bail!("{} groups", groups.len()),
        }
    }

    /// Messages that wait for agents.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn waiting(&self) -> anyhow::Result<i64> {
        const ALL: &str = "SELECT head - acked FROM queue JOIN agent ON mail_queue = queue_no";
        let waiting: Vec<i64> = match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file)?;
                let mut statement = database.prepare(ALL)?;
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            }
            Self::Postgres { .. } => {
                sqlx::query_scalar(ALL)
                    .fetch_all(&mut self.connect().await?)
                    .await?
            }
        };
        Ok(waiting.into_iter().sum())
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
