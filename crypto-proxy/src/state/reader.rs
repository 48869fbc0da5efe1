//! Reads for the local API: what was committed and is visible.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, ToSql};
use waxwire_shared::{fingerprint::Fingerprint, identity::IdentityKey, ids::Handle};

use super::{
    ColumnKeys, FILE, StateError, StoredProfile, alerts, configure, conversations::kind_from_number,
    from_sql, group_views, meta, mutes, to_sql, views,
};
use crate::model::{
    Alert, ContactRequest, Conversation, DeliveryId, LocalConversation, Message, MessageGroup, MessageId,
    Standing, UnixMs,
};

/// Which messages of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    /// The newest, newest first.
    Latest,
    /// Below a local number, newest first.
    Before(u64),
    /// Above a local number, oldest first.
    After(u64),
    /// Between two local numbers, both excluded, oldest first.
    Between {
        /// Lower bound.
        after: u64,
        /// Upper bound.
        before: u64,
    },
    /// Half before and half after a message, oldest first; nothing if it is not there.
    Around(MessageId),
}

/// Which inbound messages; newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxFilter {
    /// Most messages.
    pub limit: usize,
    /// Messages to skip.
    pub offset: usize,
    /// Of this sender.
    pub from: Option<Handle>,
    /// Of this message type.
    pub message_type: Option<String>,
    /// Not read.
    pub unread: bool,
    /// Since then.
    pub since: Option<Since>,
}

/// A point in time or in the order of deliveries; what comes after it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Became visible at or after this time.
    Time(UnixMs),
    /// Comes after this delivery.
    Delivery(DeliveryId),
}

/// A page of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxPage {
    /// The messages.
    pub messages: Vec<Message>,
    /// How many match in all.
    pub total: u64,
}

/// What does not go on in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stuck {
    /// An own commit is not in its log, or an epoch has no key.
    pub rotation: bool,
    /// Messages cannot be read.
    pub messages: bool,
}

/// Reads what is visible; cheap to clone. Calls block for the time of a query.
#[derive(Debug, Clone)]
pub struct Reader {
    db: Arc<Mutex<Connection>>,
    pub(super) keys: Arc<ColumnKeys>,
    tag: [u8; 8],
}

const VISIBLE_INBOUND: &str = "m.delivery IS NOT NULL AND m.deleted = 0";

/// Which messages are listed, of a handle, with a tag, since a time, after a delivery. Their index is named, because SQLite
/// would rather look at each message that was ever delivered.
fn inbox_rows(unread: bool) -> String {
    let (index, unread) = if unread {
        ("message_unread", "AND m.read_at IS NULL")
    } else {
        ("message_inbox", "")
    };
    format!(
        "FROM message m INDEXED BY {index} WHERE {VISIBLE_INBOUND} {unread} \
         AND (?1 IS NULL OR m.peer_id IN (SELECT peer_id FROM peer WHERE handle = ?1)) \
         AND (?2 IS NULL OR m.type_tag = ?2) AND m.visible_at >= ?3 AND m.delivery > ?4"
    )
}

/// Counts what is listed.
pub(super) fn inbox_count(unread: bool) -> String {
    format!("SELECT count(*) {}", inbox_rows(unread))
}

/// Which of it is a page's, newest first: so many, after so many.
pub(super) fn inbox_page(unread: bool) -> String {
    let rows = inbox_rows(unread);
    format!("SELECT m.message_row {rows} ORDER BY m.delivery DESC LIMIT ?5 OFFSET ?6")
}

/// Counts what is unread. SQLite would rather walk over all that was ever delivered.
pub(super) fn unread_count() -> String {
    format!(
        "SELECT count(*) FROM message m INDEXED BY message_unread WHERE m.read_at IS NULL AND {VISIBLE_INBOUND}"
    )
}

impl Reader {
    /// Opens the database of a state folder, which [`super::Store::open`] has migrated.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(folder: &Path, keys: Arc<ColumnKeys>) -> Result<Self, StateError> {
        // Behind a lock of its own.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(folder.join(FILE), flags)?;
        configure(&db)?;
        db.pragma_update(None, "query_only", true)?;
        let tag = meta(&db, "tag")?.ok_or(StateError::Foreign)?;
        Ok(Self {
            db: Arc::new(Mutex::new(db)),
            keys,
            tag,
        })
    }

    /// What has been stuck in groups since before a time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn stuck_since(&self, since: UnixMs) -> Result<Stuck, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM grp_pending WHERE made_at < ?1) \
             OR EXISTS(SELECT 1 FROM epoch e JOIN grp g USING (group_row) WHERE g.standing = 2 \
             AND e.noted_at < ?1 AND (e.state = 1 OR e.state = 3 AND e.epoch = g.epoch)), \
             EXISTS(SELECT 1 FROM grp WHERE standing = 2 AND stop != 0) \
             OR EXISTS(SELECT 1 FROM grp_held WHERE held_at < ?1 AND reason = 2)",
        )?;
        Ok(statement.query_row([to_sql(since)], |row| {
            Ok(Stuck {
                rotation: row.get(0)?,
                messages: row.get(1)?,
            })
        })?)
    }

    /// How many envelopes wait for the relay's answer.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outbox_depth(&self) -> Result<u64, StateError> {
        let db = self.db();
        let count = db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        Ok(from_sql(count))
    }

    /// When the state folder was made.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn created_at(&self) -> Result<UnixMs, StateError> {
        Ok(meta(&self.db(), "created_at")?.map_or(0, u64::from_be_bytes))
    }

    /// Messages of a conversation; `None` if there is no such conversation.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn history(
        &self,
        conversation: &LocalConversation,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<Vec<Message>>, StateError> {
        let Some(id) = self.conversation_row(conversation)? else {
            return Ok(None);
        };
        let limit = to_sql(limit as u64);
        let select = |condition: &str, order: &str, bounds: [i64; 2]| {
            let sql = format!(
                "{} WHERE m.conversation_id = ?1 AND m.seq IS NOT NULL AND m.deleted = 0 AND {condition} \
                 ORDER BY m.seq {order} LIMIT ?4",
                views::VIEW
            );
            self.messages(&sql, &[&id, &bounds[0], &bounds[1], &limit])
        };
        let page = match range {
            HistoryRange::Latest => select("?2 = ?3", "DESC", [0, 0])?,
            HistoryRange::Before(seq) => select("m.seq < ?2 AND ?2 = ?3", "DESC", [to_sql(seq); 2])?,
            HistoryRange::After(seq) => select("m.seq > ?2 AND ?2 = ?3", "ASC", [to_sql(seq); 2])?,
            HistoryRange::Between { after, before } => select(
                "m.seq > ?2 AND m.seq < ?3",
                "ASC",
                [to_sql(after), to_sql(before)],
            )?,
            HistoryRange::Around(message) => {
                let Some(center) = self
                    .message(&message)?
                    .filter(|m| m.conversation == *conversation)
                else {
                    return Ok(Some(Vec::new()));
                };
                let half = to_sql(center.seq);
                let reach = limit / 2;
                let first = half.saturating_sub(reach).max(1);
                select(
                    "m.seq >= ?2 AND m.seq <= ?3",
                    "ASC",
                    [first, half.saturating_add(reach)],
                )?
            }
        };
        Ok(Some(page))
    }

    /// A visible message.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn message(&self, id: &MessageId) -> Result<Option<Message>, StateError> {
        let sql = format!(
            "{} WHERE m.message_id = ?1 AND m.seq IS NOT NULL AND m.deleted = 0",
            views::VIEW
        );
        Ok(self.messages(&sql, &[&id.0])?.pop())
    }

    /// Conversations that are not hidden, latest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conversations(&self, limit: usize, offset: usize) -> Result<Vec<Conversation>, StateError> {
        let condition = "c.hidden = 0 AND (c.last_message_at IS NOT NULL OR g.standing = 2) ORDER BY c.updated_at DESC, \
                         c.conversation_id DESC LIMIT ?1 OFFSET ?2";
        self.conversation_list(condition, &[&to_sql(limit as u64), &to_sql(offset as u64)])
    }

    /// One conversation, hidden or not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn conversation(&self, id: &LocalConversation) -> Result<Option<Conversation>, StateError> {
        let found = self.conversation_list("c.local = ?1", &[&id.id])?;
        Ok(found.into_iter().find(|conversation| conversation.id == *id))
    }

    /// A page of the inbox.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn inbox(&self, filter: &InboxFilter) -> Result<InboxPage, StateError> {
        let from = filter.from.as_ref().map(Handle::as_str);
        let tag = filter
            .message_type
            .as_ref()
            .map(|name| self.keys.tag("message_type", name.as_bytes()));
        let (time, delivery) = match filter.since {
            Some(Since::Time(time)) => (to_sql(time), 0),
            Some(Since::Delivery(id)) if id.store == self.tag => (0, to_sql(id.position)),
            _ => (0, 0),
        };
        let filters: [&dyn ToSql; 4] = [&from, &tag, &time, &delivery];
        let total: i64 = self
            .db()
            .prepare_cached(&inbox_count(filter.unread))?
            .query_row(&filters[..], |row| row.get(0))?;
        let page = format!(
            "{} WHERE m.message_row IN ({}) ORDER BY m.delivery DESC",
            views::VIEW,
            inbox_page(filter.unread)
        );
        let (limit, offset) = (to_sql(filter.limit as u64), to_sql(filter.offset as u64));
        let [a, b, c, d] = filters;
        let messages = self.messages(&page, &[a, b, c, d, &limit, &offset])?;
        Ok(InboxPage {
            messages,
            total: from_sql(total),
        })
    }

    /// How many inbound messages are not read.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unread_count(&self) -> Result<u64, StateError> {
        let count = self
            .db()
            .prepare_cached(&unread_count())?
            .query_row([], |row| row.get(0))?;
        Ok(from_sql(count))
    }

    /// Strangers who wait for acceptance.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn requests(&self) -> Result<Vec<ContactRequest>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT p.handle, p.identity, count(*), min(m.visible_at), p.peer_id FROM message m \
             JOIN peer p USING (peer_id) WHERE m.hold = 2 AND m.hold != 0 GROUP BY p.peer_id ORDER BY min(m.visible_at)",
        )?;
        let mut rows = statement.query([])?;
        let mut requests = Vec::new();
        while let Some(row) = rows.next()? {
            let damaged = StateError::Damaged {
                table: "peer",
                row: row.get(4)?,
            };
            let handle: String = row.get(0)?;
            let identity = IdentityKey::from_prefixed(&row.get::<_, Vec<u8>>(1)?);
            let (Ok(handle), Some(identity)) = (handle.parse(), identity) else {
                return Err(damaged);
            };
            requests.push(ContactRequest {
                handle,
                fingerprint: Fingerprint::of(&identity),
                count: from_sql(row.get(2)?),
                first_at: from_sql(row.get(3)?),
            });
        }
        Ok(requests)
    }

    /// Alerts above an id, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "{} WHERE alert_id > ?1 ORDER BY alert_id LIMIT ?2",
            alerts::VIEW
        ))?;
        let rows = statement.query_map([to_sql(after), to_sql(limit as u64)], alerts::alert)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn conversation_row(&self, id: &LocalConversation) -> Result<Option<i64>, StateError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT conversation_id, kind FROM conversation WHERE local = ?1")?;
        let found = statement
            .query_row([id.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found
            .filter(|(_, kind)| kind_from_number(*kind) == id.kind)
            .map(|(row, _)| row))
    }

    fn conversation_list(
        &self,
        condition: &str,
        parameters: &[&dyn ToSql],
    ) -> Result<Vec<Conversation>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "SELECT c.local, c.kind, p.handle, c.updated_at, c.last_message_at, \
             ({} AND m.conversation_id = c.conversation_id), c.conversation_id \
             , g.group_row, g.members, g.sealed, g.standing FROM conversation c LEFT JOIN peer p USING (peer_id) \
             LEFT JOIN grp g USING (conversation_id) WHERE {condition}",
            unread_count()
        ))?;
        let mut rows = statement.query(parameters)?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            let damaged = StateError::Damaged {
                table: "conversation",
                row: row.get(6)?,
            };
            let group_row: Option<i64> = row.get(7)?;
            let handles: Vec<String> = match group_row {
                Some(group_row) => group_views::others(&db, group_row)?,
                None => row.get::<_, Option<String>>(2)?.into_iter().collect(),
            };
            let participants: Result<Vec<Handle>, _> = handles.iter().map(|text| text.parse()).collect();
            let group = group_row.map(|group_row| {
                let sealed: Vec<u8> = row.get(9)?;
                let profile = StoredProfile::open(&self.keys, group_row, &sealed)?.shown();
                Ok::<_, StateError>(MessageGroup {
                    name: views::named(profile.name),
                    members: from_sql(row.get(8)?),
                })
            });
            let id = LocalConversation {
                id: row.get(0)?,
                kind: kind_from_number(row.get(1)?),
            };
            let peer = handles.first().filter(|_| group_row.is_none());
            list.push(Conversation {
                id,
                muted_until: mutes::muted_until(&db, &id, peer.map(String::as_str))?,
                participants: participants.map_err(|_| damaged)?,
                group: group.transpose()?,
                standing: row.get::<_, Option<i64>>(10)?.map(Standing::from_number),
                updated_at: from_sql(row.get(3)?),
                last_message_at: row.get::<_, Option<i64>>(4)?.map(from_sql),
                unread: from_sql(row.get(5)?),
            });
        }
        Ok(list)
    }

    pub(super) fn messages(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Message>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            page.push(views::view(row, &self.keys, self.tag)?);
        }
        Ok(page)
    }

    pub(super) const fn tag(&self) -> [u8; 8] {
        self.tag
    }

    pub(super) fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
