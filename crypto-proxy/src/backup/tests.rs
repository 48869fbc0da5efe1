//! Backups (docs/protocol.md, 8.3): what they hold, and that nothing is made of one that is not whole.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use waxwire_shared::{identity::IdentityKey, ids::Hash};

use super::{chunks::CHUNK, *};
use crate::{
    credential::ApiKey,
    crypto::{
        aead,
        secret::{IdentitySecret, StateMasterKey},
    },
    keystore::{KeyStore, Passphrase, RelayPin, UnlockKind},
    rng::OsRng,
    state::{ColumnKeys, Store},
};

const NOW: u64 = 1_800_000_000_000;
/// A chunk as it lies in the file.
const SEALED: usize = CHUNK + aead::OVERHEAD;

/// An agent's folder and what seals its backups.
struct Agent {
    folder: TempDir,
    keys: Keys,
    unlock: Unlock,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pin = RelayPin {
            identity: identity(),
            url: "http://localhost".to_owned(),
        };
        let handle = "alice".parse().unwrap();
        let mut keys = Keys::generate(&mut OsRng, handle, pin, Hash::from_bytes([1; 32]), NOW);
        keys.api_key = Some(ApiKey::new("an-api-key").unwrap());
        let unlock = Unlock::KeyFile(folder.path().join("backup-key"));
        // Makes the key file, too.
        KeyStore::create(
            &folder.path().join("old"),
            &unlock,
            Argon2Cost::FLOOR,
            Keys::generate(
                &mut OsRng,
                "any".parse().unwrap(),
                keys.relay.clone(),
                keys.recovery,
                NOW,
            ),
            &mut OsRng,
        )
        .unwrap();
        let agent = Self { folder, keys, unlock };
        Store::create(&agent.old(), agent.column_keys(), [7; 8], NOW).unwrap();
        agent
    }

    fn old(&self) -> PathBuf {
        self.folder.path().join("old")
    }

    fn column_keys(&self) -> Arc<ColumnKeys> {
        let master = StateMasterKey::from_slice(self.keys.state_master.expose_bytes()).unwrap();
        Arc::new(ColumnKeys::new(master))
    }

    fn sql(&self, sql: &str) {
        let mut store = Store::open(&self.old(), self.column_keys()).unwrap();
        store.begin().unwrap();
        store.execute(sql);
        store.commit().unwrap();
    }

    fn backup(&self, history: bool) -> Vec<u8> {
        self.backup_by(&self.unlock, history)
    }

    fn backup_by(&self, unlock: &Unlock, history: bool) -> Vec<u8> {
        let mut file = Vec::new();
        let secret = (unlock, Argon2Cost::FLOOR);
        let totals = write(
            &mut file,
            &self.old(),
            &self.keys,
            secret,
            (NOW, history),
            &mut OsRng,
            |_| (),
        );
        assert_eq!(totals.unwrap().bytes, file.len() as u64);
        file
    }

    fn open(&self, file: &[u8]) -> Result<Backup<Cursor<Vec<u8>>>, BackupError> {
        Backup::open(Cursor::new(file.to_vec()), &self.unlock)
    }

    /// The database of a backup in a folder of its own.
    fn restore(&self, file: &[u8], name: &str) -> rusqlite::Connection {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let (_, mut rows) = self.open(file).unwrap().into_keys();
        let mut import = Import::begin(&folder, rows.manifest.schema).unwrap();
        rows.unpack(&mut import, |_| ()).unwrap();
        import.finish().unwrap();
        Store::open(&folder, self.column_keys()).unwrap();
        rusqlite::Connection::open(folder.join(state::FILE)).unwrap()
    }
}

fn identity() -> IdentityKey {
    IdentitySecret::generate(&mut OsRng).public().clone()
}

fn count(db: &rusqlite::Connection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// A peer, two conversations, an inbound message for each state, own ones that were and were not stored.
const MAIL: &str = "
    INSERT INTO peer(peer_id, handle, identity, trust, bundle, number, best_suite, fetched_at, first_seen)
        VALUES (1, 'bob', x'0001', 3, x'02', 5, 1, 6, 7);
    INSERT INTO conversation(conversation_id, local, kind, protocol_id, peer_id, out_n, updated_at)
        VALUES (1, x'01', 1, x'0a', 1, 9, 1);
    INSERT INTO message(message_row, message_id, conversation_id, peer_id, own, era, session, n, core_hash, hold,
        delivery, delivered_at, status, type_tag, broadcast, envelope_hash, created_at, sealed) VALUES
        (1, x'01', 1, 1, 0, 0, x'05', 1, zeroblob(32), 0, 1, 1, 3, x'', 0, NULL, 1, x'aa'),
        (2, x'02', 1, 1, 0, 0, x'05', 2, zeroblob(32), 0, 2, NULL, 2, x'', 0, NULL, 1, x'bb'),
        (3, x'03', 1, 1, 0, 0, x'05', 4, zeroblob(32), 1, NULL, NULL, 2, x'', 0, NULL, 1, x'cc'),
        (4, x'04', 1, 1, 1, 0, x'06', 1, zeroblob(32), 0, NULL, NULL, 2, x'', 0, x'dd', 1, x'dd'),
        (5, x'05', 1, 1, 1, 0, x'06', 2, zeroblob(32), 0, NULL, NULL, 1, x'', 0, x'ee', 1, x'ee');
    INSERT INTO sent_id(tag, message_row) VALUES (x'04', 4), (x'05', 5);";

/// What must never be in a backup; each is one row.
const SECRETS: &str = "
    INSERT INTO outbox(envelope, hash, deadline) VALUES ('CANARY-outbox', x'', 0);
    INSERT INTO cursor(queue, position) VALUES ('CANARY-cursor', 1);
    INSERT INTO held(handle, reason, held_at, envelope) VALUES ('CANARY-held', 1, 0, x'');
    INSERT INTO grp_pending(group_row, hash, position, signed, leaves, made_at)
        VALUES (1, x'', 0, 'CANARY-pending', x'', 0);
    INSERT INTO epoch(epoch_row, group_row, epoch, position, leaf_index, state, noted_at) VALUES (1, 1, 1, 0, 0, 2, 0);
    INSERT INTO chain(chain_row, epoch_row, agent, next, sealed) VALUES (1, 1, x'01', 0, 'CANARY-chain');
    INSERT INTO skipped_key(chain_row, i, sealed) VALUES (1, 1, 'CANARY-skipped');
    INSERT INTO meta(key, value) VALUES ('own_bundle_offered', 'CANARY-offered');";

fn messages(db: &rusqlite::Connection) -> Vec<i64> {
    let mut statement = db.prepare("SELECT message_row FROM message ORDER BY 1").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn sent(db: &rusqlite::Connection) -> Vec<(i64, Option<Vec<u8>>)> {
    let mut statement = db
        .prepare("SELECT message_row, abandoned FROM sent_id ORDER BY tag")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn backup_holds_the_identity_and_no_key_that_opens_anything() {
    let agent = Agent::new();
    let backup = agent.open(&agent.backup(true)).unwrap();
    let (found, own) = (&backup.keys, &agent.keys);
    assert_eq!(found.identity.public(), own.identity.public());
    assert_eq!(found.handle, own.handle);
    assert_eq!((&found.relay, found.recovery), (&own.relay, own.recovery));
    assert_eq!(found.send_id.expose_bytes(), own.send_id.expose_bytes());
    assert_eq!(found.state_master.expose_bytes(), own.state_master.expose_bytes());
    assert_eq!(
        (found.incarnation, found.bundle_number),
        (own.incarnation, own.bundle_number)
    );
    assert!(found.encryption.is_empty());
    assert!(found.api_key.is_none());
    assert_eq!((backup.manifest.made_at, backup.manifest.history), (NOW, true));
}

#[test]
fn keys_of_groups_unsent_ciphertexts_and_cursors_are_not_in_it() {
    let agent = Agent::new();
    agent.sql(MAIL);
    agent.sql(SECRETS);
    let file = agent.backup(true);
    let db = agent.restore(&file, "new");
    for table in ["outbox", "cursor", "held", "grp_pending", "chain", "skipped_key"] {
        assert_eq!(count(&db, table), 0, "{table}");
    }
    let offered = "meta WHERE key = 'own_bundle_offered'";
    assert_eq!(count(&db, offered), 0);
    // Its key is not there: what was sealed under it is asked for, and nothing is sealed under it again.
    assert_eq!(count(&db, "epoch WHERE state = 3"), 1);
    // Nothing is in clear either.
    assert!(!file.windows(3).any(|bytes| bytes == b"bob"));
}

#[test]
fn history_is_there_if_asked_for_and_what_the_agent_has_not_taken_always() {
    let agent = Agent::new();
    agent.sql(MAIL);
    let db = agent.restore(&agent.backup(true), "all");
    assert_eq!(messages(&db), [1, 2, 3, 4]);
    // What was never stored is given up; its id leads to the envelope that the relay may hold.
    assert_eq!(sent(&db), [(4, Some(vec![0xdd])), (0, Some(vec![0xee]))]);
    let db = agent.restore(&agent.backup(false), "few");
    assert_eq!(messages(&db), [2, 3]);
    assert_eq!(sent(&db), [(0, Some(vec![0xdd])), (0, Some(vec![0xee]))]);
    assert_eq!(count(&db, "peer WHERE trust = 3 AND number = 5"), 1);
}

#[test]
fn every_flipped_byte_is_refused() {
    let agent = Agent::new();
    let file = agent.backup(true);
    assert!(agent.open(&file).is_ok());
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 1;
        assert!(agent.open(&flipped).is_err(), "byte {at}");
    }
}

/// An agent whose backup has three full chunks and a part of one.
fn long() -> (Agent, Vec<u8>) {
    let agent = Agent::new();
    for part in 0..4 {
        agent.sql(&format!(
            "INSERT INTO alert(at, kind, severity, reason) VALUES ({part}, 'x', 1, hex(randomblob(28000)))"
        ));
    }
    let file = agent.backup(true);
    assert_eq!((file.len() - chunks::HEADER) / SEALED, 3);
    (agent, file)
}

#[test]
fn truncated_swapped_doubled_and_foreign_chunks_are_refused() {
    let (agent, file) = long();
    let refused = |file: &[u8], what: &str| {
        let error = agent.open(file).unwrap_err();
        assert!(matches!(error, BackupError::Altered), "{what}: {error:?}");
    };
    assert_eq!(agent.open(&file).unwrap().totals.bytes, file.len() as u64);
    let at = |chunk: usize| chunks::HEADER + chunk * SEALED;
    for chunk in 0..4 {
        refused(&file[..at(chunk)], "cut at a chunk");
        refused(&file[..at(chunk) + 30], "cut in a chunk");
    }
    refused(&file[..file.len() - 1], "a byte less");
    refused(&[file.as_slice(), &[0]].concat(), "a byte more");
    refused(&[&file[..], &file[at(3)..]].concat(), "the last one twice");
    refused(&[&file[..at(1)], &file[at(0)..]].concat(), "the first one twice");
    refused(&[&file[..at(1)], &file[at(2)..]].concat(), "one left out");
    let swapped = [
        &file[..at(0)],
        &file[at(1)..at(2)],
        &file[at(0)..at(1)],
        &file[at(2)..],
    ]
    .concat();
    refused(&swapped, "two swapped");
    // The same key file and the same rows, made a moment later.
    let other = agent.backup(true);
    refused(&[&file[..at(1)], &other[at(1)..]].concat(), "of another backup");
    refused(
        &[&other[..at(0)], &file[at(0)..]].concat(),
        "under another header",
    );
}

#[test]
fn attack_57_wrong_secret_is_told_before_anything_is_opened() {
    let agent = Agent::new();
    let passphrase = |text: &str| Unlock::Passphrase(Passphrase::new(text.as_bytes()).unwrap());
    let file = agent.backup_by(&passphrase("correct horse"), true);
    let open = |unlock: &Unlock| Backup::open(Cursor::new(file.clone()), unlock);
    assert!(open(&passphrase("correct horse")).is_ok());
    assert!(matches!(
        open(&passphrase("correct horsf")).unwrap_err(),
        BackupError::WrongSecret
    ));
    // The header alone tells: what follows may be anything.
    let header = file[..chunks::HEADER].to_vec();
    let told = Backup::open(Cursor::new(header), &passphrase("wrong")).unwrap_err();
    assert!(matches!(told, BackupError::WrongSecret));
    assert!(matches!(
        open(&agent.unlock).unwrap_err(),
        BackupError::Unlock(KeyStoreError::UnlockKind {
            expected: UnlockKind::Passphrase,
            ..
        })
    ));
}

/// A file can neither exhaust the machine nor make guessing cheap.
#[test]
fn absurd_parameters_are_refused_before_they_are_used() {
    let agent = Agent::new();
    let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse".as_slice()).unwrap());
    let file = agent.backup_by(&unlock, true);
    for (place, value) in [
        (12, u32::MAX),
        (12, 8),
        (16, u32::MAX),
        (16, 1),
        (20, u32::MAX),
        (20, 0),
    ] {
        let mut bad = file.clone();
        bad[place..place + 4].copy_from_slice(&value.to_be_bytes());
        let error = Backup::open(Cursor::new(bad), &unlock).unwrap_err();
        assert!(
            matches!(error, BackupError::Unlock(KeyStoreError::Cost(_))),
            "{error:?}"
        );
    }
    let refused = |file: &[u8]| agent.open(file).unwrap_err();
    assert!(matches!(refused(b""), BackupError::NotABackup));
    assert!(matches!(refused(&[b'x'; 400]), BackupError::NotABackup));
    let mut later = agent.backup(true);
    later[9] = 2;
    assert!(matches!(
        refused(&later),
        BackupError::UnknownVersion { version: 2 }
    ));
}

/// Whoever knows the secret can still write nonsense: it is bounded and refused.
#[test]
fn sealed_nonsense_is_refused() {
    let agent = Agent::new();
    let seal = |records: &[u8]| {
        let mut file = Vec::new();
        let mut chunks = ChunkWriter::begin(&mut file, &agent.unlock, Argon2Cost::FLOOR, &mut OsRng).unwrap();
        chunks.write(records, &mut OsRng).unwrap();
        chunks.finish(&mut OsRng).unwrap();
        file
    };
    let manifest = |schema: u8| [&[1, 0, 0, 0, 13], [0; 9].as_slice(), &[0, 0, 0, schema]].concat();
    let too_new = agent.open(&seal(&manifest(99))).unwrap_err();
    assert!(matches!(too_new, BackupError::TooNew { found: 99, .. }));
    let with = |record: &[u8]| [manifest(1).as_slice(), record].concat();
    for nonsense in [
        vec![4, 0, 0, 0, 0],
        with(&[]),
        with(&[9, 0, 0, 0, 0]),
        with(&[4, 0xff, 0xff, 0xff, 0xff]),
        with(&[4, 0, 0, 0, 9, 1]),
        with(&[2, 0, 0, 0, 1, 0]),
        with(&[5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]),
        with(&[5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let error = agent.open(&seal(&nonsense)).unwrap_err();
        assert!(
            matches!(error, BackupError::Malformed { .. }),
            "{nonsense:?}: {error:?}"
        );
    }
}

#[test]
fn rows_for_tables_that_a_backup_does_not_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut import = Import::begin(folder.path(), 1).unwrap();
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (table, names) in [
        ("chain", columns(&["chain_row"])),
        ("sqlite_schema", columns(&["sql"])),
        ("peer", columns(&["handle) VALUES ('x'); --"])),
        ("peer", columns(&["nothing"])),
        ("peer", columns(&[])),
    ] {
        assert!(import.table(table, &names).is_err(), "{table}");
    }
    import.table("alert", &columns(&["at", "kind"])).unwrap();
    assert!(import.row(&[0]).is_err(), "a value is missing");
    assert!(import.row(&[7, 7]).is_err());
    assert!(!is_open(folder.path()));
}

/// Nothing is there before an import is finished.
fn is_open(folder: &Path) -> bool {
    let db = rusqlite::Connection::open(folder.join(state::FILE)).unwrap();
    db.prepare("SELECT 1 FROM peer").is_ok()
}
