//! The place of this process among those that serve the database: whether it is the only one, its number in ids, and
//! what one of several has to do. Each is an advisory lock of the writer's session, so that it ends with that session
//! and nobody has to clean up after whoever died. The locks of different databases are apart.

use std::time::Duration;

use sqlx::PgConnection;

use super::sql;
use crate::{
    snowflake::WorkerId,
    store::{Duty, OpenError, StoreContext},
};

/// Key of the lock of whoever serves: held alone, or shared by those that know of each other.
const SERVING: i64 = i64::from_be_bytes(*b"waxwire\0");
/// First half of the key of a number in ids, which is the second half.
const NUMBER: i32 = i32::from_be_bytes(*b"waxn");
/// First half of the key of a duty.
const DUTY: i32 = i32::from_be_bytes(*b"waxd");
/// How long a place is waited for: a server needs a moment to notice that a relay was killed.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);

/// Why there is no place for this process now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Occupied {
    /// This one or another serves alone.
    #[error("another relay serves the database")]
    Database,
    /// The number that it is to have.
    #[error("another relay has the number {0}")]
    Number(WorkerId),
    /// All numbers.
    #[error("other relays have all numbers")]
    Numbers,
}

/// What is asked for.
pub(super) struct Place {
    /// Whether other processes may serve, too.
    others: bool,
    /// The only number that it may have.
    number: Option<WorkerId>,
}

impl Place {
    /// None for a process that does not serve.
    pub(super) fn of(context: &StoreContext) -> Option<Self> {
        context.serving.then_some(Self {
            others: context.others,
            number: context.worker,
        })
    }

    /// Takes it now or after a while.
    pub(super) async fn wait(&self, connection: &mut PgConnection) -> Result<WorkerId, OpenError> {
        let mut why = Occupied::Database;
        let taken = async {
            loop {
                match self.take(connection, None).await? {
                    Ok(number) => return Ok(number),
                    Err(occupied) => why = occupied,
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(taken) => taken,
            Err(_) => Err(self.refused(why)),
        }
    }

    /// Takes it if it is free, with the number that this process had before, if that is.
    pub(super) async fn take(
        &self,
        connection: &mut PgConnection,
        before: Option<WorkerId>,
    ) -> sqlx::Result<Result<WorkerId, Occupied>> {
        if !self.serve(connection).await? {
            return Ok(Err(Occupied::Database));
        }
        if let Some(number) = self.number {
            let taken = lock(connection, NUMBER, number.into()).await?;
            return Ok(if taken {
                Ok(number)
            } else {
                Err(Occupied::Number(number))
            });
        }
        for number in before.into_iter().chain(WorkerId::all()) {
            if lock(connection, NUMBER, number.into()).await? {
                return Ok(Ok(number));
            }
        }
        Ok(Err(Occupied::Numbers))
    }

    async fn serve(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let statement = if self.others {
            sql::TRY_SHARE
        } else {
            sql::TRY_LOCK
        };
        let (locked,): (bool,) = sqlx::query_as(statement)
            .bind(SERVING)
            .fetch_one(connection)
            .await?;
        Ok(locked)
    }

    const fn refused(&self, why: Occupied) -> OpenError {
        match why {
            Occupied::Database if self.others => OpenError::InUseAlone,
            Occupied::Database => OpenError::InUse,
            Occupied::Number(number) => OpenError::WorkerTaken(number),
            Occupied::Numbers => OpenError::WorkersTaken,
        }
    }
}

/// Whether this session has a duty, now that it has tried; it keeps it for as long as it lasts.
pub(super) async fn take_on(connection: &mut PgConnection, duty: Duty) -> sqlx::Result<bool> {
    lock(connection, DUTY, duty as i32).await
}

/// Once for a session, however often it asks.
async fn lock(connection: &mut PgConnection, class: i32, number: i32) -> sqlx::Result<bool> {
    let (locked,): (bool,) = sqlx::query_as(sql::TRY_NUMBERED_LOCK)
        .bind(class)
        .bind(number)
        .fetch_one(connection)
        .await?;
    Ok(locked)
}
