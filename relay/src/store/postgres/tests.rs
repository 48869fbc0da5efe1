//! The conformance suite on PostgreSQL, and what only this store does.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{testing::Database, *};
use crate::store::{
    Appended, CommitListener, DatabaseUrl, OpenError, Store, Stored,
    conformance::{self, Backend, nodes::Shared},
    plans,
};
use crate::{clock::Clock, metrics::Metrics, testing::NOW};

fn inner(store: &Store) -> &PostgresStore {
    match store {
        Store::Postgres(store) => store,
        Store::Sqlite(_) => panic!("another store"),
    }
}

impl Backend for Database {
    fn new() -> Self {
        Self::new()
    }

    async fn open(&self, context: StoreContext) -> Store {
        Store::open(&self.url(), context).await.unwrap()
    }

    fn crash(&self) -> Self {
        self.crash()
    }

    async fn bad_write(store: &Store) -> Result<(), WriteError> {
        let store = inner(store);
        let slow = store.write(async |tx| {
            sqlx::query("SELECT pg_sleep(0.05)")
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        });
        // Waits in the queue with whatever else is sent meanwhile.
        let bad = store.write(async |tx| {
            sqlx::query("INSERT INTO queue (kind) VALUES (NULL)")
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        });
        tokio::join!(slow, bad).1
    }

    async fn refuse_envelopes(store: &Store, refuse: bool) {
        let act = if refuse {
            "ALTER TABLE envelope ADD CONSTRAINT refuse CHECK (position < 0) NOT VALID"
        } else {
            "ALTER TABLE envelope DROP CONSTRAINT refuse"
        };
        let done =
            inner(store).write(async move |tx| sqlx::query(act).execute(&mut *tx.connection).await.map(drop));
        done.await.unwrap();
    }
}

impl Shared for Database {
    fn cut(&self) {
        self.cut();
    }
}

conformance::conformance!(Database);
conformance::conformance_of_nodes!(Database);

struct Nobody;

impl CommitListener for Nobody {
    fn stored(&self, _: &[Appended], _: &[Stored]) {}
}

fn context(serving: bool) -> StoreContext {
    StoreContext {
        worker: None,
        clock: Clock::Manual(Arc::new(NOW.into())),
        metrics: Arc::new(Metrics::default()),
        tiers: Arc::default(),
        listener: Arc::new(Nobody),
        serving,
        nodes: None,
        others: false,
    }
}

/// Any act that writes.
async fn write(store: &Store) -> Result<(), WriteError> {
    let hash = waxwire_shared::ids::Hash::from_bytes(rand_bytes());
    store.add_invite(hash, NOW).await
}

fn rand_bytes() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

/// Waits until a store takes writes again.
async fn healed(store: &Store) {
    let healed = async {
        while !store.is_ready().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), healed)
        .await
        .unwrap();
    assert_eq!(write(store).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_relay_on_one_database_is_refused() {
    let database = Database::new();
    let first = database.open(context(true)).await;
    let second = Store::open(&database.url(), context(true)).await;
    assert!(matches!(second, Err(OpenError::InUse)), "{second:?}");
    // A command may look at it all the same.
    database.open(context(false)).await.close().await;
    first.close().await;
    database.open(context(true)).await.close().await;
}

/// Of a place for one of several, with a number.
fn beside(worker: Option<u16>) -> StoreContext {
    StoreContext {
        worker: worker.map(|number| number.try_into().unwrap()),
        others: true,
        ..context(true)
    }
}

async fn worker(store: &Store) -> u64 {
    let id = inner(store).write(async |tx| Ok(tx.memory.ids.next(tx.now_ms)));
    id.await.unwrap() >> 12 & 1023
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_that_is_alone_and_relays_that_are_not_keep_each_other_out() {
    let database = Database::new();
    let alone = database.open(context(true)).await;
    let refused = Store::open(&database.url(), beside(None)).await;
    assert!(matches!(refused, Err(OpenError::InUseAlone)), "{refused:?}");
    // Another database is another matter.
    Database::new().open(beside(None)).await.close().await;
    alone.close().await;
    let one = database.open(beside(None)).await;
    let two = database.open(beside(None)).await;
    let refused = Store::open(&database.url(), context(true)).await;
    assert!(matches!(refused, Err(OpenError::InUse)), "{refused:?}");
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn number_in_ids_is_the_one_that_is_asked_for_or_the_first_that_is_free() {
    let database = Database::new();
    let (first, seventh) = (
        database.open(beside(None)).await,
        database.open(beside(Some(7))).await,
    );
    let second = database.open(beside(None)).await;
    assert_eq!(
        (
            worker(&first).await,
            worker(&seventh).await,
            worker(&second).await
        ),
        (0, 7, 1)
    );
    let refused = Store::open(&database.url(), beside(Some(7))).await;
    assert!(matches!(refused, Err(OpenError::WorkerTaken(_))), "{refused:?}");
    // Whoever loses its session comes back with its number, or another if that is taken meanwhile.
    database.cut();
    healed(&second).await;
    assert_eq!(worker(&second).await, 1);
    let third = database.open(beside(None)).await;
    assert_eq!(worker(&third).await, 0);
    healed(&first).await;
    assert_eq!(worker(&first).await, 2);
    for store in [first, second, third, seventh] {
        store.close().await;
    }
}

/// Whoever takes a number over makes ids above those that were made with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_with_a_number_lie_above_those_of_who_had_it_before() {
    let database = Database::new();
    let reserved = NOW + 86_400_000;
    for (name, number) in [("ids_reserved_until_ms/3", 3), ("ids_reserved_until_ms", 4)] {
        database.run(&[&format!("INSERT INTO counter VALUES ('{name}', {reserved})")]);
        let store = database.open(beside(Some(number))).await;
        let id = inner(&store).write(async |tx| Ok(tx.memory.ids.next(tx.now_ms)));
        assert!(id.await.unwrap() >= crate::snowflake::first_at(reserved + 1));
        store.close().await;
        database.run(&["DELETE FROM counter WHERE name LIKE 'ids_%'"]);
    }
}

/// A machine that stops without a word must not hold up the others for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_of_a_relay_that_says_nothing_more_are_soon_free() {
    let database = Database::new();
    let store = database.open(beside(None)).await;
    let agent = conformance::registered(&store).await;
    let DatabaseUrl::Postgres(url) = database.url() else {
        panic!("another database");
    };
    let mut silent = open::connect(&open::options(&url).unwrap()).await.unwrap();
    let mut begun = silent.begin().await.unwrap();
    sqlx::query(sql::LOCK_QUEUES)
        .bind(vec![agent.mail.0])
        .execute(&mut *begun)
        .await
        .unwrap();
    let sent = store.send(conformance::mail(&agent, &agent, 1)).await;
    assert!(
        matches!(sent, Ok(crate::store::SendOutcome::Stored { .. })),
        "{sent:?}"
    );
    store.close().await;
}

/// Two transactions that begin one way and commit the other: no reader sees the second before the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn position_of_another_process_is_waited_for() {
    let database = Database::new();
    let store = database.open(beside(None)).await;
    let agent = conformance::registered(&store).await;
    let mut other = sqlx::PgConnection::connect(&database.url_text()).await.unwrap();
    let mut begun = other.begin().await.unwrap();
    sqlx::query(sql::ADVANCE_HEADS)
        .bind(vec![agent.mail.0])
        .bind(vec![1_i64])
        .execute(&mut *begun)
        .await
        .unwrap();
    let head = async || {
        store
            .queue_head(View::Whole(agent.mail))
            .await
            .unwrap()
            .unwrap()
            .head
    };
    let send = store.send(conformance::mail(&agent, &agent, 1));
    let (sent, ()) = tokio::join!(send, async {
        while !database.waits().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(head().await, 0);
        begun.commit().await.unwrap();
    });
    assert!(
        matches!(sent, Ok(crate::store::SendOutcome::Stored { .. })),
        "{sent:?}"
    );
    assert_eq!(head().await, 2);
    store.close().await;
}

/// Looked for before it was there, and in the way when it is to be stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_that_another_process_stores_meanwhile_is_answered_as_a_repeat() {
    let database = Database::new();
    let store = database.open(beside(None)).await;
    let agent = conformance::registered(&store).await;
    let envelope = conformance::mail(&agent, &agent, 1);
    let mut other = sqlx::PgConnection::connect(&database.url_text()).await.unwrap();
    let mut begun = other.begin().await.unwrap();
    sqlx::query(sql::INSERT_SENT)
        .bind(vec![agent.agent.0])
        .bind(vec![envelope.mid.as_bytes().as_slice()])
        .bind(vec![7_i64])
        .bind(vec![envelope.hash.as_bytes().as_slice()])
        .execute(&mut *begun)
        .await
        .unwrap();
    let (sent, ()) = tokio::join!(store.send(envelope.clone()), async {
        while !database.waits().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.commit().await.unwrap();
    });
    let expected = crate::store::SendOutcome::Repeated {
        envelope_id: 7,
        hash: envelope.hash,
    };
    assert_eq!(sent, Ok(expected));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_that_lost_its_lock_writes_nothing_until_it_has_it_again() {
    let database = Database::new();
    let first = database.open(context(true)).await;
    assert_eq!(write(&first).await, Ok(()));
    database.cut();
    let second = database.open(context(true)).await;
    assert_eq!(write(&first).await, Err(WriteError::Unavailable));
    assert!(!first.is_ready().await);
    assert_eq!(write(&second).await, Ok(()));
    second.close().await;
    healed(&first).await;
    first.close().await;
}

/// What another relay may have made while this one had no connection is not made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_a_relay_that_served_meanwhile_are_not_made_again() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    assert_eq!(write(&store).await, Ok(()));
    let reserved = NOW + 86_400_000;
    let reserve = format!("INSERT INTO counter VALUES ('ids_reserved_until_ms', {reserved})");
    database.run(&[&reserve]);
    database.cut();
    healed(&store).await;
    let id = inner(&store).write(async |tx| Ok(tx.memory.ids.next(tx.now_ms)));
    let id = id.await.unwrap();
    assert!(id >= crate::snowflake::first_at(reserved + 1), "{id}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_database_fails_writes_and_reads_turns_readiness_red_and_heals() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    assert!(store.is_ready().await);
    database.shut(true);
    assert_eq!(write(&store).await, Err(WriteError::Unavailable));
    assert!(!store.is_ready().await);
    assert!(store.agents("", 1).await.is_err());
    database.shut(false);
    healed(&store).await;
    assert!(store.agents("", 1).await.is_ok());
    store.close().await;
}

/// One statement that the server gives up is no reason to give up the connection, and with it the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_outlives_a_transaction_that_stood_in_the_way() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    let pid = async || {
        let pid = inner(&store).write(async |tx| {
            let (pid,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()")
                .fetch_one(&mut *tx.connection)
                .await?;
            Ok(pid)
        });
        pid.await.unwrap()
    };
    let before = pid().await;
    // Whatever the server answers to a deadlock, at the first time.
    let mut first = true;
    let passed = inner(&store).write(async move |tx| {
        if std::mem::take(&mut first) {
            sqlx::query("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
                .execute(&mut *tx.connection)
                .await?;
        }
        Ok(())
    });
    assert_eq!(passed.await, Ok(()));
    assert_eq!(pid().await, before);
    store.close().await;
}

/// Two transactions that begin one way and commit the other: whoever follows events sees both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_of_another_process_is_not_passed_over() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    let world = conformance::registered(&store).await;
    let mut other = sqlx::PgConnection::connect(&database.url_text()).await.unwrap();
    let mut begun = other.begin().await.unwrap();
    sqlx::query(sql::INSERT_AUTH_EVENT)
        .bind(world.agent.0)
        .bind(0_i64)
        .execute(&mut *begun)
        .await
        .unwrap();
    let handle = conformance::handle(1);
    let (revoked, ()) = tokio::join!(store.revoke_key(handle), async {
        // The store waits for the event that was begun before its own.
        while !database.waits().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.auth_events(Some(0)).await.unwrap().len(), 0);
        begun.commit().await.unwrap();
    });
    assert!(matches!(revoked, Ok(Some((_, true)))), "{revoked:?}");
    let events = store.auth_events(Some(0)).await.unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_for_a_connection_for_a_while_only() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    let readers = &inner(&store).readers;
    let mut held = Vec::new();
    while let Ok(connection) = readers.acquire().await {
        held.push(connection);
    }
    assert!(!held.is_empty());
    assert!(store.agents("", 1).await.is_err());
    drop(held);
    assert!(store.agents("", 1).await.is_ok());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_migrate_at_the_same_time_wait_for_each_other() {
    let database = Database::empty();
    let opened = (0..4).map(|_| database.open(context(false)));
    for store in futures_util::future::join_all(opened).await {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_that_is_not_there_is_told_without_its_password() {
    let url = Database::new()
        .url_text()
        .replace("postgres@", "postgres:hunter2@");
    let error = Store::open(&url.parse().unwrap(), context(true))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Connect(_)), "{error:?}");
    let shown = format!(
        "{} {error:?} {url:?}",
        crate::logging::chain(&error),
        url = url.parse::<DatabaseUrl>()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_of_another_program_is_left_alone() {
    let database = Database::empty();
    database.run(&["CREATE TABLE invoice (number BIGINT)"]);
    let refused = Store::open(&database.url(), context(true)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign), "{refused:?}");
    database.run(&["DROP TABLE invoice"]);
    Store::open(&database.url(), context(true))
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test]
async fn writes_after_close_are_refused() {
    let database = Database::new();
    let store = database.open(context(true)).await;
    store.close().await;
    assert!(!store.is_ready().await);
    assert_eq!(write(&store).await, Err(WriteError::Unavailable));
    store.close().await;
}

/// What walks over a whole table: retention, over one that it keeps small.
const WALKS: [&str; 1] = ["EXPIRE_CHALLENGES"];

/// What a statement costs does not grow with the table, whatever values its plan is made for.
#[tokio::test]
async fn statements_find_their_rows_by_an_index() {
    let database = Database::new();
    let DatabaseUrl::Postgres(url) = database.url() else {
        panic!("another database");
    };
    let mut connection = open::connect(&open::options(&url).unwrap()).await.unwrap();
    connection
        .execute("SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let statements = plans::statements(include_str!("sql.rs"));
    assert!(statements.len() > 100, "{}", statements.len());
    let mut walking = Vec::new();
    for (name, sql) in statements {
        let prepare = format!("PREPARE of_{name} AS {sql}");
        connection.execute(AssertSqlSafe(prepare)).await.unwrap();
        let parameters = (1..20).take_while(|number| sql.contains(&format!("${number}")));
        let nulls: Vec<&str> = parameters.map(|_| "NULL").collect();
        let explain = match nulls.is_empty() {
            true => format!("EXPLAIN EXECUTE of_{name}"),
            false => format!("EXPLAIN EXECUTE of_{name}({})", nulls.join(", ")),
        };
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        if let Some(step) = plan.iter().find(|step| step.contains("Seq Scan")) {
            walking.push((name, step.clone()));
        }
    }
    walking.retain(|(name, _)| !WALKS.contains(name));
    assert!(walking.is_empty(), "{walking:#?}");
}

/// Whoever reads large pages keeps nobody waiting who reads in the same statement.
#[tokio::test]
async fn gathered_read_fetches_one_row_at_most_that_its_page_has_no_room_for() {
    let database = Database::new();
    let DatabaseUrl::Postgres(url) = database.url() else {
        panic!("another database");
    };
    let mut connection = open::connect(&open::options(&url).unwrap()).await.unwrap();
    let rows = "INSERT INTO queue (queue_no, kind, head) VALUES (7, 0, 50);
        INSERT INTO envelope SELECT 7, position, position, 0, decode(repeat('00', 1000), 'hex')
        FROM generate_series(1, 50) AS position";
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    for (room, fetched) in [(0, 2), (1_000, 2), (4_500, 5), (i64::MAX, 40)] {
        let found = sqlx::query(sql::ENVELOPES_OF_MANY)
            .bind([7_i64])
            .bind([5_i64])
            .bind([46_i64])
            .bind([100_i64])
            .bind([room])
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(found.len(), fetched, "room for {room}");
    }
}
