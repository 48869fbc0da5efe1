//! The conformance suite on SQLite, and what only this store does.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use waxwire_shared::ids::GroupId;

use super::*;
use crate::store::{
    Appended, CommitListener, DatabaseUrl, OpenError, Store, Stored,
    conformance::{self, Backend},
    plans,
};
use crate::{clock::Clock, metrics::Metrics, testing::NOW};

struct Sqlite(TempDir);

impl Sqlite {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("relay.db")
    }
}

fn inner(store: &Store) -> &SqliteStore {
    match store {
        Store::Sqlite(store) => store,
        Store::Postgres(_) => panic!("another store"),
    }
}

impl Backend for Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    async fn open(&self, context: StoreContext) -> Store {
        Store::open(&DatabaseUrl::Sqlite(self.path()), context)
            .await
            .unwrap()
    }

    fn crash(&self) -> Self {
        let other = Self::new();
        for suffix in ["", "-wal"] {
            let name = format!("relay.db{suffix}");
            std::fs::copy(self.0.path().join(&name), other.0.path().join(&name)).unwrap();
        }
        other
    }

    async fn bad_write(store: &Store) -> Result<(), WriteError> {
        let store = inner(store);
        let slow = store.write(|_| {
            std::thread::sleep(Duration::from_millis(50));
            Ok(())
        });
        // Waits in the queue with whatever else is sent meanwhile.
        let bad = store.write(|tx| {
            tx.connection
                .execute_batch("INSERT INTO queue (kind) VALUES (NULL)")
        });
        tokio::join!(slow, bad).1
    }

    async fn refuse_envelopes(store: &Store, refuse: bool) {
        let act = if refuse {
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON envelope BEGIN SELECT RAISE(ABORT, 'refused'); END"
        } else {
            "DROP TRIGGER refuse"
        };
        let done = inner(store).write(move |tx| tx.connection.execute_batch(act));
        done.await.unwrap();
    }
}

conformance::conformance!(Sqlite);

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

#[tokio::test]
async fn second_relay_on_one_database_is_refused() {
    let backend = Sqlite::new();
    let first = backend.open(context(true)).await;
    let second = SqliteStore::open(&backend.path(), context(true)).await;
    assert!(matches!(second, Err(OpenError::InUse)));
    // A command may look at it all the same.
    backend.open(context(false)).await.close().await;
    first.close().await;
    backend.open(context(true)).await.close().await;
}

#[tokio::test]
async fn database_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let backend = Sqlite::new();
    let store = backend.open(context(true)).await;
    for entry in backend.0.path().read_dir().unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_fails_writes_turns_readiness_red_and_heals() {
    let backend = Sqlite::new();
    let store = backend.open(context(true)).await;
    assert!(store.is_ready().await);
    let sqlite = inner(&store);
    let fill = |pages: u32| {
        sqlite.write(move |tx| {
            // What a full disk answers, without filling one.
            tx.connection
                .pragma_update(None, "max_page_count", pages)
                .map(drop)
        })
    };
    fill(1).await.unwrap();
    let big = || {
        sqlite.write(|tx| {
            tx.connection
                .execute_batch("CREATE TABLE big (x); CREATE TABLE big2 (x)")
        })
    };
    // The writer must not find the database when it opens it anew after the fault.
    let (path, away) = (backend.path(), backend.0.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    assert_eq!(big().await, Err(WriteError::Unavailable));
    assert!(!store.is_ready().await);
    assert_eq!(big().await, Err(WriteError::Unavailable));
    std::fs::rename(&away, &path).unwrap();
    assert!(store.is_ready().await);
    assert_eq!(big().await, Ok(()));
    store.close().await;
}

#[tokio::test]
async fn writes_after_close_are_refused() {
    let backend = Sqlite::new();
    let store = backend.open(context(true)).await;
    store.close().await;
    assert!(!store.is_ready().await);
    assert_eq!(
        store.revoke_key("agent-1".parse().unwrap()).await,
        Err(WriteError::Unavailable)
    );
    store.close().await;
}

/// What an earlier version stored is there after the migration: a group is found, grows, and has no slug.
#[tokio::test]
async fn groups_of_an_earlier_version_are_no_channels() {
    let backend = Sqlite::new();
    let options = SqliteConnectOptions::new()
        .filename(backend.path())
        .create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    open::MIGRATIONS.run_to(2, &mut connection).await.unwrap();
    let group = GroupId::from_bytes([1; 32]);
    for statement in [
        "INSERT INTO queue (queue_no, kind) VALUES (1, 3)",
        "INSERT INTO queue (queue_no, kind, head, log_head) VALUES (2, 4, 1, zeroblob(32))",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO grp (group_no, group_id, message_queue, log_queue, created_at) VALUES (1, ?1, 1, 2, 0)",
    )
    .bind(group.as_bytes().as_slice())
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let store = backend.open(context(true)).await;
    let record = store.group(&group).await.unwrap().unwrap();
    assert!(!store.is_open(&record).await.unwrap());
    assert_eq!(store.open_channels("", 10).await.unwrap(), []);
    assert_eq!(store.log_tip(&record).await.unwrap().position, 0);
    store.close().await;
}

#[tokio::test]
async fn database_of_a_later_version_is_refused() {
    let backend = Sqlite::new();
    let url = DatabaseUrl::Sqlite(backend.path());
    let store = Store::open(&url, context(true)).await.unwrap();
    store.close().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, x'00', 0)";
    let database = rusqlite::Connection::open(backend.path()).unwrap();
    database.execute(later, []).unwrap();
    let refused = Store::open(&url, context(true)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Later), "{refused:?}");
}

#[tokio::test]
async fn database_of_another_program_is_left_alone() {
    let backend = Sqlite::new();
    let other = rusqlite::Connection::open(backend.path()).unwrap();
    other
        .execute_batch("CREATE TABLE invoice (number INTEGER)")
        .unwrap();
    let url = DatabaseUrl::Sqlite(backend.path());
    let refused = Store::open(&url, context(true)).await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign), "{refused:?}");
    let tables: i64 = other
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

/// What walks over a whole table: for an operator, at the start, once in a while over one that is kept small; what was asked
/// for; and the end of a table, where SQLite says so of a single step.
const WALKS: [&str; 9] = [
    "ORGS",
    "OWE_BACKLOGS",
    "COUNT_HOOKS",
    "BLOCKS",
    "EXPIRE_CHALLENGES",
    "IN_SIGHT",
    "HEADS",
    "MEMBERSHIP_MARKS",
    "LAST_AUTH_EVENT",
];

/// What a statement costs does not grow with the table.
#[test]
fn statements_find_their_rows_by_an_index() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("relay.db");
    std::fs::File::create(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(open::migrate(&path)).unwrap();
    let database = open::writer(&path).unwrap();
    let statements = plans::statements(include_str!("sql.rs"));
    assert!(statements.len() > 100, "{}", statements.len());
    let mut walking = Vec::new();
    for (name, sql) in statements {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.raw_query().mapped(|row| row.get::<_, String>("detail"));
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        let walks = |step: &&String| step.starts_with("SCAN") && !step.starts_with("SCAN CONSTANT ROW");
        if let Some(step) = steps.iter().find(walks) {
            walking.push((name, step.clone()));
        }
    }
    walking.retain(|(name, _)| !WALKS.contains(name));
    assert!(walking.is_empty(), "{walking:#?}");
}
