//! Writing batches: the one connection that writes, the place that it holds, and what becomes of both after a fault.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use sqlx::{
    Connection as _, Executor as _, PgConnection,
    postgres::{PgConnectOptions, PgDatabaseError},
};
use tokio::runtime::Runtime;
use tracing::Instrument as _;
use waxwire_outbound::traces;

use super::{
    batch::{self, Transaction},
    open,
    place::{Occupied, Place},
    sql,
};
use crate::{
    clock::{Clock, Stopwatch},
    limits::Meter,
    metrics::Metrics,
    snowflake::{Snowflakes, WorkerId},
    store::{
        NewEnvelope, OpenError, StoreContext,
        writer::{
            Engine, ID_COUNTER,
            memory::Memory,
            ops::{Act, Answer, Batch, Sends},
        },
    },
};

/// How long a transaction may take, so that a server that does not answer is noticed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a batch is written again that another process's transaction stood in the way of.
const RETRIES: usize = 5;

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The database said so, or nothing.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The database did not answer in time.
    #[error("the database does not answer")]
    Late,
    /// The place of this process is another one's.
    #[error(transparent)]
    Occupied(#[from] Occupied),
}

/// An act other than a send.
pub(super) trait Job: Answer {
    fn run<'a>(&'a mut self, tx: &'a mut Transaction<'_>) -> LocalBoxFuture<'a, sqlx::Result<()>>;
}

impl<T, F> Job for Act<T, F>
where
    T: Send,
    F: AsyncFnMut(&mut Transaction<'_>) -> sqlx::Result<T> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a mut Transaction<'_>) -> LocalBoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            self.value = Some((self.act)(tx).await?);
            Ok(())
        })
    }
}

async fn counter(connection: &mut PgConnection, name: &str) -> sqlx::Result<u64> {
    let row: Option<(i64,)> = sqlx::query_as(sql::COUNTER)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map_or(0, |(value,)| value.cast_unsigned()))
}

pub(super) async fn set_counter(connection: &mut PgConnection, name: &str, value: u64) -> sqlx::Result<()> {
    sqlx::query(sql::SET_COUNTER)
        .bind(name)
        .bind(value.cast_signed())
        .execute(connection)
        .await
        .map(drop)
}

/// Name of the counter that holds the end of the reserve of ids with a number.
fn id_counter(worker: WorkerId) -> String {
    format!("{ID_COUNTER}/{worker}")
}

pub(super) struct PostgresEngine {
    /// The writer's own, on its own thread. None only while it is being dropped.
    runtime: Option<Runtime>,
    session: Session,
}

struct Session {
    options: PgConnectOptions,
    /// What has to be held for writing; nothing by a process that does not serve.
    place: Option<Place>,
    /// Its number in ids, the last one that it had.
    worker: Option<WorkerId>,
    /// Whether other processes may serve, too.
    others: bool,
    /// None after a fault, until there is another one.
    connection: Option<PgConnection>,
    memory: Memory,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl PostgresEngine {
    /// Opens the writer's connection, and waits for a place if this process is to serve. Not for a thread that runs
    /// tasks.
    pub(super) fn open(options: PgConnectOptions, context: &StoreContext) -> Result<Self, OpenError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let ids = Snowflakes::new(WorkerId::default(), 0);
        let mut session = Session {
            options,
            place: Place::of(context),
            worker: None,
            others: context.others,
            connection: None,
            memory: Memory::new(
                ids,
                0,
                Arc::clone(&context.tiers),
                Meter::new(context.nodes.clone()),
            ),
            clock: context.clock.clone(),
            metrics: Arc::clone(&context.metrics),
        };
        runtime.block_on(session.begin())?;
        Ok(Self {
            runtime: Some(runtime),
            session,
        })
    }
}

impl Drop for PostgresEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits for nothing, which a thread that runs tasks must not do.
            runtime.shutdown_background();
        }
    }
}

impl Session {
    async fn begin(&mut self) -> Result<(), OpenError> {
        let mut connection = open::connect(&self.options).await.map_err(OpenError::Connect)?;
        if let Some(place) = &self.place {
            self.worker = Some(place.wait(&mut connection).await?);
        }
        self.take_up(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<PgConnection, Fault> {
        let mut connection = open::connect(&self.options).await?;
        if let Some(place) = &self.place {
            self.worker = Some(place.take(&mut connection, self.worker).await??);
        }
        self.take_up(&mut connection).await?;
        Ok(connection)
    }

    /// Another relay may have had the number until now, and made ids. Those of former versions counted together.
    async fn take_up(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Some(worker) = self.worker else { return Ok(()) };
        let of_all = counter(connection, ID_COUNTER).await?;
        let floor = counter(connection, &id_counter(worker)).await?.max(of_all);
        self.memory.ids.renumber(worker);
        self.memory.ids.raise(floor);
        self.memory.reserve_ids(floor);
        Ok(())
    }

    async fn transact(&mut self, batch: &mut Batch<dyn Job>) -> Result<Sends, Fault> {
        let mut tries = 0;
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.reconnect().await?,
            };
            let result = self.transact_on(&mut connection, batch).await;
            let Err(error) = result else {
                self.connection = Some(connection);
                return result.map_err(Fault::from);
            };
            self.memory.forget();
            if is_of_the_server(&error) && connection.execute(sql::ROLLBACK).await.is_ok() {
                self.connection = Some(connection);
            }
            tries += 1;
            if !is_passing(&error) || tries > RETRIES {
                return Err(error.into());
            }
        }
    }

    async fn transact_on(
        &mut self,
        connection: &mut PgConnection,
        batch: &mut Batch<dyn Job>,
    ) -> sqlx::Result<Sends> {
        let start = Stopwatch::start();
        connection.execute(sql::BEGIN).await?;
        let mut tx = Transaction {
            connection,
            memory: &mut self.memory,
            now_ms: self.clock.now_ms(),
            appended: Vec::new(),
        };
        for job in &mut batch.jobs {
            job.run(&mut tx).await?;
        }
        let sends: Vec<&NewEnvelope> = batch.sends.iter().map(|op| &op.send).collect();
        let acks: Vec<_> = batch
            .acks
            .iter()
            .map(|(view, position)| (*view, *position))
            .collect();
        let done = batch::write(tx, &sends, &acks).await?;
        let reserve = self.memory.ids_to_reserve(&done);
        if let (Some(until), Some(worker)) = (reserve, self.worker) {
            set_counter(connection, &id_counter(worker), until).await?;
        }
        let written = Stopwatch::start();
        self.metrics.transaction.observe(start.until(&written));
        let span = tracing::info_span!(target: traces::TARGET, "commit");
        connection.execute(sql::COMMIT).instrument(span).await?;
        self.metrics.commit.observe(written.elapsed());
        if let Some(until) = reserve {
            self.memory.reserve_ids(until);
        }
        Ok(done)
    }
}

impl Engine for PostgresEngine {
    type Job = dyn Job;
    type Error = Fault;

    fn transact(&mut self, batch: &mut Batch<dyn Job>) -> Result<Sends, Fault> {
        let session = &mut self.session;
        let Some(runtime) = &self.runtime else {
            return Err(Fault::Late);
        };
        runtime.block_on(async {
            // A connection that is given up in the middle of a transaction is dropped with it.
            let result = tokio::time::timeout(PATIENCE, session.transact(batch)).await;
            result.unwrap_or_else(|_| {
                session.memory.forget();
                Err(Fault::Late)
            })
        })
    }

    fn has_others(&self) -> bool {
        self.session.others
    }

    fn is_fault(error: &Fault) -> bool {
        match error {
            Fault::Database(sqlx::Error::Database(error)) => {
                error.code().is_none_or(|code| is_fault_code(&code))
            }
            Fault::Database(error) => !matches!(
                error,
                sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_)
            ),
            Fault::Late | Fault::Occupied(_) => true,
        }
    }

    fn end(&mut self) {
        if let (Some(runtime), Some(connection)) = (&self.runtime, self.session.connection.take()) {
            // A server that does not hear it notices by itself.
            let _ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, connection.close()).await });
        }
    }
}

/// Classes of SQLSTATE by which the database as a whole cannot be written now: no connection, who asks is not let in,
/// no such database, in the way of another transaction, no resources, locked, ended by an operator, the system, itself;
/// and the one code of a server that only reads.
const FAULT_CLASSES: [&str; 9] = ["08", "28", "3D", "40", "53", "55", "57", "58", "XX"];
const READ_ONLY: &str = "25006";

fn is_fault_code(code: &str) -> bool {
    code == READ_ONLY || FAULT_CLASSES.iter().any(|class| code.starts_with(class))
}

/// Whether the server said so and goes on to listen.
fn is_of_the_server(error: &sqlx::Error) -> bool {
    use sqlx::postgres::PgSeverity;
    match error {
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| error.severity() == PgSeverity::Error),
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } => true,
        _ => false,
    }
}

/// Serialization failure; deadlock; a row that another transaction has made, or deleted, since it was looked for.
const PASSING_CODES: [&str; 4] = ["40001", "40P01", "23505", "23503"];

/// Whether another process's transaction stood in the way, and the same may succeed at once.
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| PASSING_CODES.contains(&code.as_ref()))
}
