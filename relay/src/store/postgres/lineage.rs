//! Which course of events the database holds. A dump that was restored lies in another database or on another server,
//! a base backup or a replica that took over on another timeline: each of them is seen by itself.

use sqlx::PgConnection;

use super::{PostgresStore, batch::Transaction, engine::set_counter, sql};
use crate::store::{
    WriteError,
    lineage::{LINEAGE, Lineage, Noted, OVER, PLACE, REACHES},
};

/// Of several relays that start, one begins a lineage, and the others go on with it.
const ONE_BY_ONE: &str = "SELECT id FROM relay_identity FOR UPDATE";
/// The ends of the reserves of ids lie a little ahead of the newest envelope, and are found at once.
const LATEST: &str = "SELECT coalesce(max(value), 0) FROM counter WHERE name LIKE 'ids_reserved_until_ms%'";
const FORGET_LOG: &str =
    "TRUNCATE transparency_head, transparency_node, transparency_leaf, transparency_due, transparency_log";
/// Some hosts keep this from roles that are no superusers.
const MAY_ASK_FOR_SERVER: &str = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')";
const SERVER: &str = "SELECT system_identifier::TEXT FROM pg_control_system()";
/// The timeline begins the name of the file that is written now.
const PLACE_ON: &str = "SELECT hashtextextended(concat_ws('/', $1,
        left(pg_walfile_name(pg_current_wal_lsn()), 8), oid::TEXT), 0)
    FROM pg_database WHERE datname = current_database()";

async fn counter(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<u64>> {
    let row: Option<(i64,)> = sqlx::query_as(sql::COUNTER)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(value,)| value.cast_unsigned()))
}

async fn place(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let (may_ask,): (bool,) = sqlx::query_as(MAY_ASK_FOR_SERVER)
        .fetch_one(&mut *connection)
        .await?;
    let mut server = String::new();
    if may_ask {
        (server,) = sqlx::query_as(SERVER).fetch_one(&mut *connection).await?;
    }
    let (place,): (i64,) = sqlx::query_as(PLACE_ON)
        .bind(server)
        .fetch_one(connection)
        .await?;
    Ok(place.cast_unsigned())
}

async fn lineage(tx: &mut Transaction<'_>, candidate: u64) -> sqlx::Result<Lineage> {
    let connection = &mut *tx.connection;
    sqlx::query(ONE_BY_ONE).execute(&mut *connection).await?;
    let place = place(connection).await?;
    let noted = Noted {
        lineage: counter(connection, LINEAGE).await?,
        reaches: counter(connection, REACHES).await?.unwrap_or_default(),
        over: counter(connection, OVER).await?.unwrap_or_default() != 0,
        place: counter(connection, PLACE).await?,
    };
    if let Some(lineage) = noted.goes_on(Some(place)) {
        return Ok(lineage);
    }
    let is_new = noted.lineage.is_some();
    let mut reaches = 0;
    if is_new {
        let (latest,): (i64,) = sqlx::query_as(LATEST).fetch_one(&mut *connection).await?;
        reaches = latest.cast_unsigned();
        sqlx::query(FORGET_LOG).execute(&mut *connection).await?;
    }
    for (name, value) in [
        (LINEAGE, candidate),
        (REACHES, reaches),
        (OVER, 0),
        (PLACE, place),
    ] {
        set_counter(connection, name, value).await?;
    }
    Ok(Lineage {
        id: candidate,
        reaches,
        is_new,
    })
}

impl PostgresStore {
    pub(in crate::store) async fn lineage(&self, candidate: u64) -> Result<Lineage, WriteError> {
        self.write(async move |tx| lineage(tx, candidate).await).await
    }

    pub(in crate::store) async fn end_lineage(&self) -> Result<(), WriteError> {
        self.write(async |tx| set_counter(tx.connection, OVER, 1).await)
            .await
    }
}
