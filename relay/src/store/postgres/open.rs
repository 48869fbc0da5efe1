//! Connecting and migrating.

use std::time::Duration;

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::sql;
use crate::store::{OpenError, PostgresUrl};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Whether there are tables that no extension brought, and never were migrations.
const IS_FOREIGN: &str = "SELECT to_regclass('_sqlx_migrations') IS NULL AND EXISTS (
    SELECT 1 FROM pg_class WHERE relkind IN ('r', 'p')
        AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        AND NOT EXISTS (SELECT 1 FROM pg_depend
            WHERE classid = 'pg_class'::REGCLASS AND objid = pg_class.oid AND deptype = 'e'))";

/// The first version that has all that the statements use.
const LEAST_VERSION: i64 = 150_000;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections that read at the same time.
const READERS: u32 = 8;
/// How long a read waits for one of them.
const ACQUIRE: Duration = Duration::from_secs(3);
/// After which a reader's connection is asked whether it still is one, which costs a round trip.
const IDLE: Duration = Duration::from_secs(1);
/// Statements that are kept prepared on a connection.
const STATEMENTS: usize = 256;

/// What every connection is set to. A server that no longer hears of a client ends what that one held within half a
/// minute, and what it had locked within seconds; what takes longer than ten seconds is given up. Every statement finds its rows
/// by an index: a plan that was made while a table was small does not walk over it, or hash it, once it is large.
const SETTINGS: [(&str, &str); 10] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("client_connection_check_interval", "5s"),
    ("idle_in_transaction_session_timeout", "3s"),
    ("lock_timeout", "5s"),
    ("synchronous_commit", "on"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
const STATEMENT_TIMEOUT: (&str, &str) = ("statement_timeout", "10s");

pub(super) fn options(url: &PostgresUrl) -> Result<PgConnectOptions, OpenError> {
    Ok(url
        .options()?
        .application_name("waxwire-relay")
        .statement_cache_capacity(STATEMENTS)
        .options(SETTINGS)
        .disable_statement_logging())
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let options = options.clone().options([STATEMENT_TIMEOUT]);
    connect_unbounded(&options).await
}

/// For what may take as long as it takes.
async fn connect_unbounded(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    tokio::time::timeout(CONNECT, PgConnection::connect_with(options))
        .await
        .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?
}

/// Brings the schema up to date. Of several programs that do so at the same time, one does it and the others wait for
/// its lock.
pub(super) async fn migrate(options: &PgConnectOptions) -> Result<(), OpenError> {
    let options = options.clone().options([("lock_timeout", "0")]);
    let mut connection = connect_unbounded(&options).await.map_err(OpenError::Connect)?;
    let (version,): (i64,) = sqlx::query_as(sql::SERVER_VERSION)
        .fetch_one(&mut connection)
        .await?;
    if version < LEAST_VERSION {
        return Err(OpenError::TooOld);
    }
    let (foreign,): (bool,) = sqlx::query_as(IS_FOREIGN).fetch_one(&mut connection).await?;
    if foreign {
        return Err(OpenError::Foreign);
    }
    MIGRATIONS.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The readers' connections, opened when they are needed.
pub(super) fn readers(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, connected| {
            Box::pin(async move {
                if connected.idle_for > IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone().options([STATEMENT_TIMEOUT]))
}
