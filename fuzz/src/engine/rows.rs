//! A state database that somebody has written into: what lies in its columns is read like anything foreign. What is
//! sealed in them opens unchanged or not at all.

use std::{fs, path::Path};

use rusqlite::{Connection, OptionalExtension as _, types::Value};
use waxwire_proxy::{
    engine::{Event, LinkEvent},
    model::Message,
    state::{FILE, HistoryRange, InboxFilter, Reader, StateError},
};
use waxwire_shared::api::frames::Cursor;

use super::{
    party::columns,
    world::{Past, past},
};
use crate::feed::Feed;

/// Most changes of one input.
const CHANGES: usize = 8;

/// Whether an altered state can be read; what it shows was said by those who could.
pub(super) fn state_rows(bytes: &[u8]) -> bool {
    let past = past();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    fs::write(&file, &past.state).unwrap();
    alter(&file, &mut Feed(bytes));
    let Ok(mut agent) = past.resumed(folder.path()) else {
        return false;
    };
    let read = Reader::open(folder.path(), columns()).and_then(|reader| look_around(&reader, past));
    let delivered = past.objects.iter().zip(1_u64..).map(|((queue, object), n)| {
        let position = past.reached.get(queue).copied().unwrap_or(0) + n;
        let cursor = Cursor {
            queue: *queue,
            position,
        };
        Event::Link(LinkEvent::Delivered {
            cursor,
            object: object.clone(),
        })
    });
    agent.handle(delivered.chain([Event::Tick]).collect());
    read.is_ok()
}

/// Every change names a table, a column, a row, and what is to stand there.
fn alter(file: &Path, feed: &mut Feed<'_>) {
    let db = Connection::open(file).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF",
    )
    .unwrap();
    let mut tables = names(
        &db,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL ORDER BY name",
        "",
    );
    // Those with nothing in them say nothing.
    tables.retain(|table| {
        let first = db.query_row(&format!("SELECT 1 FROM \"{table}\" LIMIT 1"), [], |_| Ok(()));
        first.optional().unwrap().is_some()
    });
    for _ in 0..CHANGES {
        if feed.is_empty() {
            return;
        }
        let table = &tables[usize::from(feed.byte()) % tables.len()];
        let columns = names(&db, "SELECT name FROM pragma_table_info(?1) ORDER BY cid", table);
        let column = &columns[usize::from(feed.byte()) % columns.len()];
        let row = feed.byte() % 16;
        let at = format!("rowid = (SELECT rowid FROM \"{table}\" LIMIT 1 OFFSET {row})");
        let set = format!("UPDATE \"{table}\" SET \"{column}\" = ?1 WHERE {at}");
        // The database itself refuses some of it.
        let _refused = match feed.byte() % 6 {
            0 => db.execute(&set, [Value::Null]),
            1 => db.execute(&set, [Value::Integer(feed.number().cast_signed())]),
            2 => db.execute(&set, [Value::Blob(feed.part().to_vec())]),
            3 => db.execute(
                &set,
                [Value::Text(String::from_utf8_lossy(feed.part()).into_owned())],
            ),
            4 => {
                let other = format!(
                    "(SELECT \"{column}\" FROM \"{table}\" LIMIT 1 OFFSET {})",
                    feed.byte() % 16
                );
                let set = format!("UPDATE \"{table}\" SET \"{column}\" = {other} WHERE {at}");
                db.execute(&set, [])
            }
            _ => db.execute(&format!("DELETE FROM \"{table}\" WHERE {at}"), []),
        };
    }
}

fn names(db: &Connection, sql: &str, of: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    let parameters = rusqlite::params_from_iter((!of.is_empty()).then_some(of));
    let names = statement.query_map(parameters, |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

/// Everything that the local API shows of the state.
fn look_around(reader: &Reader, past: &Past) -> Result<(), StateError> {
    let check = |messages: &[Message]| messages.iter().for_each(|message| past.was_said(message));
    for conversation in reader.conversations(100, 0)? {
        let id = conversation.id;
        for range in [HistoryRange::Latest, HistoryRange::After(0)] {
            check(&reader.history(&id, range, 100)?.unwrap_or_default());
        }
        reader.conversation(&id)?;
        reader.group(&id)?;
        reader.group_security(&id)?;
    }
    let filter = InboxFilter {
        limit: 100,
        ..InboxFilter::default()
    };
    check(&reader.inbox(&filter)?.messages);
    let beginning = reader.beginning()?;
    check(&reader.sync(None, &[0..=beginning.last], 100, past.now)?);
    check(&reader.stretch(0, 100, 1 << 20, &mut |_| true)?.messages);
    reader.unread_count()?;
    reader.requests()?;
    reader.contacts(100, 0)?;
    reader.mutes(past.now)?;
    reader.own_profile()?;
    reader.pins(false)?;
    reader.alerts(0, 100)?;
    reader.invitations()?;
    reader.channels("", 100)?;
    reader.member_groups()?;
    reader.webhooks()?;
    reader.outbox_depth()?;
    reader.stuck_since(past.now)?;
    Ok(())
}
