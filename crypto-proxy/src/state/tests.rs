//! The state folder: made once, opened by its own keys only, nothing of a message in clear.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{ConversationId, GroupId, Handle, Hash, SessionId},
    suite::Suite,
    wire::{Context, Core, Document as _, Kind, MessageBytes, Profile, VERSION},
};

use super::{
    ColumnKeys, Direction, GrantedMessage, HistoryRange, Hold, InboxFilter, NewMessage, PeerRow, Pin, Reader,
    Since, StateError, Store, StoredProfile, reader,
};
use crate::{
    crypto::{
        message::sign_message,
        secret::{IdentitySecret, StateMasterKey},
    },
    model::{DeliveryId, LocalConversation, MuteTarget, Standing, idempotency_key},
};

const NOW: u64 = 1_800_000_000_000;

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn keys(seed: u8) -> Arc<ColumnKeys> {
    Arc::new(ColumnKeys::new(StateMasterKey::generate(&mut rng(seed))))
}

fn identity() -> IdentitySecret {
    IdentitySecret::generate(&mut rng(50))
}

fn peer(handle: &str) -> PeerRow {
    PeerRow {
        peer_id: 0,
        handle: handle.parse().unwrap(),
        identity: identity().public().clone(),
        pin: Pin::Tofu,
        changed: None,
        accepted: true,
        bundle: Vec::new(),
        number: 1,
        best_suite: Suite::CLASSIC,
        fetched_at: NOW,
        first_seen: NOW,
    }
}

fn core(conversation: ConversationId, n: u64, text: &str) -> Core {
    let handle: Handle = "alice".parse().unwrap();
    Core {
        version: VERSION,
        suite: Suite::CLASSIC,
        kind: Kind::Direct,
        handle,
        identity: identity().public().clone(),
        conversation,
        session: SessionId::from_bytes([1; 16]),
        incarnation: 1,
        n,
        previous: (n > 1).then(|| Hash::from_bytes([2; 32])),
        void: Vec::new(),
        client_msg_id: format!("client-{text}"),
        time: NOW,
        expires: None,
        ack: None,
        message_type: "text".into(),
        content: format!("{{\"text\":\"{text}\"}}").into_bytes(),
        metadata: None,
        reply_to: None,
        attachments: None,
    }
}

fn context() -> Context {
    Context {
        header: vec![0],
        recipient_handle: None,
        recipient: None,
        recipient_key_number: None,
        sender_key_number: None,
        sender_bundle: None,
        log_head: None,
    }
}

fn incoming<'a>(
    conversation_id: i64,
    peer_id: i64,
    core: &'a Core,
    signed: &'a MessageBytes,
) -> NewMessage<'a> {
    NewMessage {
        conversation_id,
        peer_id: Some(peer_id),
        direction: Direction::In,
        core,
        signed,
        hold: Hold::Gap,
        epoch: None,
        late: false,
        repeats: 0,
        envelope: None,
    }
}

/// Writes visible inbound messages; gives their conversation.
fn receive(store: &mut Store, texts: &[&str]) -> LocalConversation {
    let me = IdentityKey::ed25519([8; 32]);
    let protocol_id = ConversationId::direct(&me, identity().public());
    store.begin().unwrap();
    let peer_id = store.put_peer(&peer("alice")).unwrap();
    let conversation = store.direct_conversation(&protocol_id, peer_id, NOW).unwrap();
    for (n, text) in (1..).zip(texts) {
        let core = core(protocol_id, n, text);
        let signed = sign_message(&identity(), Kind::Direct, &context(), &core.encode());
        let new = incoming(conversation.conversation_id, peer_id, &core, &signed);
        let row = store.insert_message(&mut rng(9), &new, NOW).unwrap();
        store
            .make_visible(row, conversation.conversation_id, None, NOW + n)
            .unwrap();
    }
    store.commit().unwrap();
    conversation.local
}

fn texts(messages: &[crate::model::Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| &message.client_msg_id["client-".len()..])
        .collect()
}

#[test]
fn open_refuses_what_is_missing_foreign_or_too_new() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open(folder.path(), keys(1)),
        Err(StateError::Missing(_))
    ));
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let again = Store::create(folder.path(), keys(1), [7; 8], NOW);
    assert!(matches!(again, Err(StateError::AlreadyExists(_))));
    assert!(matches!(
        Store::open(folder.path(), keys(2)),
        Err(StateError::Foreign)
    ));
    let mode = fs::metadata(folder.path().join(super::FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let store = Store::open(folder.path(), keys(1)).unwrap();
    assert_eq!(store.tag(), [7; 8]);
    store.db.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(
        Store::open(folder.path(), keys(1)),
        Err(StateError::TooNew { found: 99, .. })
    ));
}

/// docs/protocol.md, 8.2: content columns are boxes.
/// Attack 98: nothing that an agent wrote is in the files in clear, the write-ahead log included.
#[test]
fn attack_98_files_hold_no_content_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    receive(&mut store, &["canary-0f3a"]);
    store.begin().unwrap();
    store.put_sent_id("canary-0f3a", 1).unwrap();
    store.commit().unwrap();
    assert_eq!(store.sent_id("canary-0f3a").unwrap(), Some(1));
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"canary-0f3a"));
    }
}

/// An agent that asks often does not have its proxy look at each message that was ever delivered.
#[test]
fn inbox_and_unread_messages_are_found_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let store = Store::open(folder.path(), keys(1)).unwrap();
    let plan = |statement: String| {
        let mut plan = store
            .db
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap();
        // What its parameters are makes no difference.
        let steps = plan.raw_query().mapped(|row| row.get::<_, String>("detail"));
        steps.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let first = |statement| plan(statement).remove(0);
    assert!(first(reader::unread_count()).contains("COVERING INDEX message_unread"));
    assert!(first(reader::inbox_count(true)).contains("INDEX message_unread"));
    for statement in [reader::inbox_count(false), reader::inbox_page(false)] {
        let steps = plan(statement);
        assert!(
            steps[0].contains("COVERING INDEX message_inbox (delivery>?)"),
            "{steps:?}"
        );
        assert!(!steps.iter().any(|step| step.contains("ORDER BY")), "{steps:?}");
    }
}

#[test]
fn reader_sees_what_was_committed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let reader = Reader::open(folder.path(), keys(1)).unwrap();
    let conversation = receive(&mut store, &["a", "b", "c"]);
    store.begin().unwrap();
    store.settle_up_to(2, NOW).unwrap();
    assert_eq!(reader.sync(None, &[1..=u64::MAX], 10, NOW).unwrap().len(), 3);
    store.rollback();
    store.begin().unwrap();
    assert_eq!(store.settle_up_to(2, NOW).unwrap().len(), 2);
    store.commit().unwrap();
    assert_eq!(
        texts(&reader.sync(None, &[1..=u64::MAX], 10, NOW).unwrap()),
        ["c"]
    );
    assert_eq!(reader.unread_count().unwrap(), 3);
    let history = |range| reader.history(&conversation, range, 10).unwrap().unwrap();
    assert_eq!(texts(&history(HistoryRange::Latest)), ["c", "b", "a"]);
    assert_eq!(texts(&history(HistoryRange::Before(3))), ["b", "a"]);
    assert_eq!(texts(&history(HistoryRange::After(1))), ["b", "c"]);
    assert_eq!(
        texts(&history(HistoryRange::Between { after: 1, before: 3 })),
        ["b"]
    );
    let middle = history(HistoryRange::Between { after: 1, before: 3 })[0].id;
    assert_eq!(texts(&history(HistoryRange::Around(middle))), ["a", "b", "c"]);
    let unknown = LocalConversation {
        id: [0; 16],
        ..conversation
    };
    assert_eq!(reader.history(&unknown, HistoryRange::Latest, 10).unwrap(), None);
}

#[test]
fn inbox_filters_by_sender_type_read_and_time() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let reader = Reader::open(folder.path(), keys(1)).unwrap();
    receive(&mut store, &["a", "b", "c"]);
    store.begin().unwrap();
    store.mark_read(2, NOW).unwrap();
    store.commit().unwrap();
    let page = |filter: InboxFilter| {
        let page = reader.inbox(&InboxFilter { limit: 2, ..filter }).unwrap();
        (texts(&page.messages).join(""), page.total)
    };
    assert_eq!(page(InboxFilter::default()), ("cb".into(), 3));
    assert_eq!(
        page(InboxFilter {
            offset: 2,
            ..InboxFilter::default()
        }),
        ("a".into(), 3)
    );
    assert_eq!(
        page(InboxFilter {
            unread: true,
            ..InboxFilter::default()
        }),
        ("ca".into(), 2)
    );
    let from = |name: &str| Some(name.parse().unwrap());
    assert_eq!(
        page(InboxFilter {
            from: from("alice"),
            ..InboxFilter::default()
        })
        .1,
        3
    );
    assert_eq!(
        page(InboxFilter {
            from: from("carol"),
            ..InboxFilter::default()
        })
        .1,
        0
    );
    let of_type = |name: &str| Some(name.to_owned());
    assert_eq!(
        page(InboxFilter {
            message_type: of_type("text"),
            ..InboxFilter::default()
        })
        .1,
        3
    );
    assert_eq!(
        page(InboxFilter {
            message_type: of_type("trade"),
            ..InboxFilter::default()
        })
        .1,
        0
    );
    let since = Some(Since::Time(NOW + 3));
    assert_eq!(
        page(InboxFilter {
            since,
            ..InboxFilter::default()
        }),
        ("c".into(), 1)
    );
    let since = Some(Since::Delivery(DeliveryId {
        store: [7; 8],
        position: 1,
    }));
    assert_eq!(
        page(InboxFilter {
            since,
            ..InboxFilter::default()
        }),
        ("cb".into(), 2)
    );
}

/// docs/protocol.md, 8.2: a sealed column is bound to its row.
#[test]
fn sealed_column_moved_to_another_row_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    receive(&mut store, &["a", "b"]);
    assert!(store.view(2).is_ok());
    let swap = "UPDATE message SET sealed = (SELECT sealed FROM message WHERE message_row = 1) \
                WHERE message_row = 2";
    store.db.execute_batch(swap).unwrap();
    assert!(matches!(
        store.view(2),
        Err(StateError::Damaged {
            table: "message",
            row: 2
        })
    ));
}

/// docs/protocol.md, 8.2: a sealed column is bound to its table.
#[test]
fn sealed_column_moved_to_another_table_does_not_open() {
    let keys = keys(1);
    let sealed = keys.seal(&mut rng(2), "message", 1, NOW, b"a");
    assert!(keys.open("message", 1, &sealed).is_ok());
    assert!(matches!(
        keys.open("held", 1, &sealed),
        Err(StateError::Damaged {
            table: "held",
            row: 1
        })
    ));
}

#[test]
fn mutes_hold_until_their_time_and_show_in_messages() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let talk = receive(&mut store, &["a", "b"]);
    let reader = Reader::open(folder.path(), keys(1)).unwrap();
    let muted = |now| {
        let rows = reader.history(&talk, HistoryRange::Latest, 9).unwrap().unwrap();
        let listed = reader.conversation(&talk).unwrap().unwrap();
        let all: Vec<bool> = rows.iter().map(|message| message.is_muted(now)).collect();
        assert!(
            all.iter().all(|one| *one == (listed.muted_until > now)),
            "{all:?}"
        );
        all[0]
    };
    assert!(!muted(NOW));
    let agent = MuteTarget::Agent("alice".parse().unwrap());
    store.begin().unwrap();
    store.put_mute(&agent, Some(NOW + 10), NOW).unwrap();
    let mute = store.put_mute(&agent, Some(NOW + 20), NOW + 1).unwrap();
    assert_eq!((mute.created_at, mute.until), (NOW, Some(NOW + 20)));
    store.commit().unwrap();
    assert!(muted(NOW + 19) && !muted(NOW + 20));
    // What no socket will carry is in sync, whatever is leased; in order with what is free.
    let sync = |now, places: &[std::ops::RangeInclusive<u64>]| {
        texts(&reader.sync(None, places, 10, now).unwrap()).join("")
    };
    assert_eq!(
        (sync(NOW + 19, &[]), sync(NOW + 20, &[])),
        ("ab".into(), String::new())
    );
    assert_eq!(sync(NOW + 19, &[2..=u64::MAX]), "ab");
    assert_eq!(sync(NOW + 20, &[2..=u64::MAX]), "b");
    assert_eq!(reader.mute(&agent, NOW + 20).unwrap(), None);
    store.begin().unwrap();
    let conversation = MuteTarget::Conversation(talk);
    store.put_mute(&conversation, None, NOW).unwrap();
    assert!(!store.remove_mute(&agent, NOW + 20).unwrap(), "it was over");
    store.commit().unwrap();
    assert!(muted(NOW + 1_000_000));
    assert_eq!(reader.mutes(NOW).unwrap().len(), 1);
    store.begin().unwrap();
    assert!(store.remove_mute(&conversation, NOW).unwrap());
    store.commit().unwrap();
    assert!(reader.mutes(NOW).unwrap().is_empty());
}

/// Where some bytes lie in a folder.
fn lies_in(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| {
            fs::read(file)
                .unwrap()
                .windows(bytes.len())
                .any(|window| window == bytes)
        })
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// docs/protocol.md, 8.2: what is overwritten or deleted leaves the database and its log, and a reader holds that up
/// only as long as it reads.
#[test]
fn what_is_erased_leaves_the_database_and_its_log() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let store = Store::open(folder.path(), keys(1)).unwrap();
    let (first, second, third) = ([0xa1; 48], [0xb2; 48], [0xc3; 48]);
    let insert = |row: u8, sealed: &[u8]| {
        store.execute(&format!(
            "INSERT OR REPLACE INTO chain(chain_row, epoch_row, agent, next, sealed) VALUES ({row}, 1, x'{row:032x}', 0, x'{}')",
            hex::encode(sealed)
        ));
    };
    store.execute("PRAGMA foreign_keys = off");
    insert(1, &first);
    insert(2, &second);
    assert!(store.fold().unwrap());
    assert_eq!(lies_in(folder.path(), &first), ["state.db"], "the search works");
    let reader = rusqlite::Connection::open(folder.path().join(super::FILE)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM chain").unwrap();
    let _snapshot: i64 = reader
        .query_row("SELECT count(*) FROM chain", [], |row| row.get(0))
        .unwrap();
    insert(1, &third);
    store.execute("DELETE FROM chain WHERE chain_row = 2");
    assert!(!store.fold().unwrap(), "a reader still sees what was");
    reader.execute_batch("COMMIT").unwrap();
    assert!(store.fold().unwrap());
    assert_eq!(lies_in(folder.path(), &first), Vec::<String>::new());
    assert_eq!(lies_in(folder.path(), &second), Vec::<String>::new());
    assert_eq!(lies_in(folder.path(), &third), ["state.db"]);
    let log = fs::metadata(folder.path().join("state.db-wal")).unwrap().len();
    assert_eq!(log, 0, "the log is empty");
}

/// A state folder of a version that knew fewer migrations.
fn created_before(migrations: usize, folder: &std::path::Path, filling: &str) {
    Store::create(folder, keys(1), [7; 8], NOW).unwrap();
    let path = folder.join(super::FILE);
    let kept: Vec<(String, Vec<u8>)> = {
        let db = rusqlite::Connection::open(&path).unwrap();
        let mut meta = db.prepare("SELECT key, value FROM meta").unwrap();
        let rows = meta.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    fs::remove_file(&path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    for migration in &super::MIGRATIONS[..migrations] {
        db.execute_batch(migration).unwrap();
    }
    db.pragma_update(None, "user_version", migrations as i64).unwrap();
    for (key, value) in kept {
        db.execute("INSERT INTO meta VALUES (?1, ?2)", (key, value))
            .unwrap();
    }
    db.execute_batch(filling).unwrap();
}

#[test]
fn what_waited_in_an_older_outbox_waits_in_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let filling = "INSERT INTO outbox(token, envelope, hash, deadline, parked, receipt_of) \
                   VALUES (4, x'aa', zeroblob(32), 900, 0, NULL), (9, x'bb', zeroblob(32), 700, 1, 3); \
                   INSERT INTO sent_id(tag, message_row) VALUES (zeroblob(16), 5)";
    created_before(7, folder.path(), filling);
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let waiting = store.outbox_after(0, 9).unwrap();
    assert_eq!(waiting.len(), 1, "the other is parked");
    assert_eq!((waiting[0].token, &waiting[0].envelope[..]), (4, &[0xaa][..]));
    assert_eq!(store.outbox(9).unwrap().unwrap().receipt_of, Some(3));
    assert_eq!(store.next_outbox_deadline().unwrap(), Some((700, 9)));
    store.begin().unwrap();
    let hash = Hash::from_bytes([1; 32]);
    assert_eq!(store.push_outbox(None, None, b"c", &hash, 800).unwrap(), 10);
    store.commit().unwrap();
}

#[test]
fn deadlines_are_those_of_the_rows_and_numbers_are_given_out_once() {
    let mut store = Store::in_memory(keys(1), [7; 8]).unwrap();
    let hash = Hash::from_bytes([1; 32]);
    let push = |store: &Store, deadline| store.push_outbox(None, None, b"e", &hash, deadline).unwrap();
    store.begin().unwrap();
    let (late, early) = (push(&store, 900), push(&store, 500));
    store.commit().unwrap();
    let next = |store: &Store| store.next_outbox_deadline().unwrap();
    assert_eq!(next(&store), Some((500, early)));

    // What is rolled back has not happened.
    store.begin().unwrap();
    let row = store.outbox(early).unwrap().unwrap();
    store.remove_outbox(&row).unwrap();
    let lost = push(&store, 100);
    assert_eq!(next(&store), Some((100, lost)));
    store.rollback();
    assert_eq!(next(&store), Some((500, early)));

    // A row that was read before its deadline moved is gone all the same.
    store.begin().unwrap();
    store.freeze_outbox(early, 950).unwrap();
    store.remove_outbox(&row).unwrap();
    assert_eq!(next(&store), Some((900, late)));
    let row = store.outbox(late).unwrap().unwrap();
    store.remove_outbox(&row).unwrap();
    assert_eq!(next(&store), None);
    store.commit().unwrap();
    assert!(
        push(&store, 700) > lost,
        "an answer to an earlier one may come late"
    );
}

/// The ids of what is broadcast are used once for each reader.
#[test]
fn a_used_id_is_found_by_its_message() {
    for (kind, reader) in [(Kind::Direct, None), (Kind::Broadcast, Some("alice"))] {
        let mut store = Store::in_memory(keys(1), [7; 8]).unwrap();
        store.begin().unwrap();
        let protocol_id = ConversationId::direct(&IdentityKey::ed25519([8; 32]), identity().public());
        let peer_id = store.put_peer(&peer("alice")).unwrap();
        let conversation = store.direct_conversation(&protocol_id, peer_id, NOW).unwrap();
        let core = Core {
            kind,
            ..core(protocol_id, 1, "a")
        };
        let signed = sign_message(&identity(), kind, &context(), &core.encode());
        let new = NewMessage {
            direction: Direction::Out,
            hold: Hold::None,
            ..incoming(conversation.conversation_id, peer_id, &core, &signed)
        };
        let message_row = store.insert_message(&mut rng(9), &new, NOW).unwrap();
        let id = idempotency_key("client-a", reader);
        let given_up = |number: u8| Hash::from_bytes([number; 32]);
        for number in 1..=40 {
            store.put_sent_id(&id, message_row).unwrap();
            store.forget_sent(message_row, Some(&given_up(number))).unwrap();
            assert_eq!(store.sent_id(&id).unwrap(), None);
            let known = store.was_abandoned(message_row, &given_up(number)).unwrap();
            assert!(!known, "it is another's now");
        }
        store.put_sent_id(&id, message_row).unwrap();
        assert_eq!(store.sent_id(&id).unwrap(), Some(message_row));
        for (number, known) in [
            (1, true),
            (2, false),
            (9, false),
            (10, true),
            (40, true),
            (41, false),
        ] {
            let found = store.was_abandoned(message_row, &given_up(number)).unwrap();
            assert_eq!(found, known, "{number}");
        }
        store.commit().unwrap();
    }
}

/// A member may sign two messages with one number, and have one of them granted: the other stays where it is.
#[test]
fn granted_message_does_not_take_the_place_of_another() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let me = IdentityKey::ed25519([8; 32]);
    let protocol_id = ConversationId::direct(&me, identity().public());
    store.begin().unwrap();
    let peer_id = store.put_peer(&peer("alice")).unwrap();
    let conversation = store.direct_conversation(&protocol_id, peer_id, NOW).unwrap();
    let conversation_id = conversation.conversation_id;
    let signed = |core: &Core| sign_message(&identity(), Kind::Direct, &context(), &core.encode());
    let (first, second) = (core(protocol_id, 1, "first"), core(protocol_id, 1, "second"));
    let (signed_first, signed_second) = (signed(&first), signed(&second));
    let new = incoming(conversation_id, peer_id, &first, &signed_first);
    store.insert_message(&mut rng(9), &new, NOW).unwrap();
    let granted = GrantedMessage {
        conversation_id,
        granted_by: peer_id,
        core: &second,
        signed: &signed_second,
    };
    store.insert_granted(&mut rng(9), &granted, NOW).unwrap().unwrap();
    let id = Core::message_id(&signed_second.core).into();
    store.adopt_granted(&id, peer_id, Some(1)).unwrap();
    let known = store
        .message_by_n(conversation_id, Some(peer_id), Direction::In, &first.session, 1)
        .unwrap();
    assert_eq!(known.unwrap().core_hash, sha256(&signed_first.core));
    store.commit().unwrap();
}

#[test]
fn refused_commits_are_remembered_and_the_oldest_forgotten_first() {
    let folder = tempfile::tempdir().unwrap();
    created_before(11, folder.path(), "");
    let hash = |number: u16| sha256(&number.to_be_bytes());
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    store.begin().unwrap();
    for number in 0..=256 {
        store.note_refused_commit(&hash(number)).unwrap();
    }
    store.note_refused_commit(&hash(256)).unwrap();
    store.commit().unwrap();
    drop(store);
    let store = Store::open(folder.path(), keys(1)).unwrap();
    for (number, known) in [(0, false), (1, true), (256, true), (257, false)] {
        assert_eq!(
            store.knows_refused_commit(&hash(number)).unwrap(),
            known,
            "{number}"
        );
    }
}

#[test]
fn list_says_how_the_agent_stands_to_a_group() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), keys(1), [7; 8], NOW).unwrap();
    let mut store = Store::open(folder.path(), keys(1)).unwrap();
    let reader = Reader::open(folder.path(), keys(1)).unwrap();
    receive(&mut store, &["a"]);
    let group = GroupId::from_bytes([3; 32]);
    let profile = StoredProfile::Asked(Profile {
        group,
        revision: 0,
        name: "plans".to_owned(),
        topic: None,
        avatar: None,
    });
    store.begin().unwrap();
    let row = store.enter_group(&mut rng(9), &group, &profile, NOW).unwrap();
    store.commit().unwrap();
    store.execute("UPDATE conversation SET last_message_at = 1");
    for standing in [
        Standing::Member,
        Standing::Left,
        Standing::Removed,
        Standing::Ended,
    ] {
        store.begin().unwrap();
        store.put_standing(row.group_row, standing).unwrap();
        store.commit().unwrap();
        let listed = reader.conversations(9, 0).unwrap();
        let shown: Vec<_> = listed.iter().map(|row| (row.id, row.standing)).collect();
        assert!(shown.contains(&(row.local(), Some(standing))), "{shown:?}");
        assert!(shown.iter().any(|(_, standing)| standing.is_none()), "{shown:?}");
    }
}
