//! Reads in the order in which messages became visible, for whoever follows them live.

use std::ops::RangeInclusive;

use super::{LAST_PLACE, Reader, StateError, conversations::kind_from_number, from_sql, meta, to_sql, views};
use crate::model::{DeliveryId, LocalConversation, Message, UnixMs};

/// Where the messages stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Names the store, in the ids of places.
    pub store: [u8; 8],
    /// The place of the oldest inbound message that is not settled.
    pub unsettled: Option<u64>,
    /// The last place that was given out.
    pub last: u64,
}

/// A visible message before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleRow {
    /// Its place.
    pub place: u64,
    /// Whether this agent wrote it.
    pub own: bool,
    /// Whether it is settled.
    pub settled: bool,
    /// Its conversation.
    pub conversation: LocalConversation,
}

/// A stretch of the messages in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Those that were wanted.
    pub messages: Vec<Message>,
    /// The place of the last message that was looked at; where it began if there was none.
    pub up_to: u64,
    /// Whether more may follow.
    pub more: bool,
}

impl Reader {
    /// Where the messages stand now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn beginning(&self) -> Result<Beginning, StateError> {
        let db = self.db();
        let last = meta(&db, LAST_PLACE)?.map_or(0, u64::from_be_bytes);
        let mut statement = db.prepare_cached(
            "SELECT min(delivery) FROM message WHERE delivered_at IS NULL AND delivery IS NOT NULL",
        )?;
        let unsettled: Option<i64> = statement.query_row([], |row| row.get(0))?;
        Ok(Beginning {
            store: self.tag(),
            unsettled: unsettled.map(from_sql),
            last,
        })
    }

    /// The visible messages after a place that are wanted: looks at up to `rows`, and at no more once
    /// the texts of those that are wanted have `bytes`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn stretch(
        &self,
        after: u64,
        rows: usize,
        bytes: usize,
        wanted: &mut dyn FnMut(&VisibleRow) -> bool,
    ) -> Result<Stretch, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "{} WHERE m.place > ?1 AND m.deleted = 0 ORDER BY m.place LIMIT ?2",
            views::VIEW
        ))?;
        let mut found = statement.query([to_sql(after), to_sql(rows as u64)])?;
        let (mut looked_at, mut length) = (0, 0);
        let mut stretch = Stretch {
            messages: Vec::new(),
            up_to: after,
            more: false,
        };
        while let Some(row) = found.next()? {
            let visible = VisibleRow {
                place: from_sql(row.get(27)?),
                own: row.get(1)?,
                settled: row.get::<_, Option<i64>>(8)?.is_some(),
                conversation: LocalConversation {
                    id: row.get(11)?,
                    kind: kind_from_number(row.get(12)?),
                },
            };
            if wanted(&visible) {
                let message = views::view(row, &self.keys, self.tag())?;
                length += message.content.len() + message.metadata.as_ref().map_or(0, String::len);
                stretch.messages.push(message);
            }
            stretch.up_to = visible.place;
            looked_at += 1;
            if length >= bytes {
                stretch.more = true;
                break;
            }
        }
        stretch.more |= looked_at == rows;
        Ok(stretch)
    }

    /// Inbound messages that are not settled, and whose places are among `places`, or which are muted and
    /// so not on their way by any socket; oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn sync(
        &self,
        after: Option<DeliveryId>,
        places: &[RangeInclusive<u64>],
        limit: usize,
        now: UnixMs,
    ) -> Result<Vec<Message>, StateError> {
        let after = after.map_or(0, |id| if id.store == self.tag() { id.position } else { 0 });
        let between: Vec<(i64, i64)> = places
            .iter()
            .map(|places| (to_sql(*places.start()), to_sql(*places.end())))
            .collect();
        if self.is_anything_muted(now)? {
            return self.sync_with_muted(after, &between, limit, now);
        }
        let sql = format!(
            "{} AND m.delivery >= ?2 AND m.delivery <= ?3 ORDER BY m.delivery LIMIT ?4",
            unsettled()
        );
        let mut rows = Vec::new();
        for (first, last) in between {
            let left = to_sql((limit - rows.len()) as u64);
            rows.extend(self.messages(&sql, &[&to_sql(after), &first, &last, &left])?);
            if rows.len() == limit {
                break;
            }
        }
        Ok(rows)
    }

    fn sync_with_muted(
        &self,
        after: u64,
        between: &[(i64, i64)],
        limit: usize,
        now: UnixMs,
    ) -> Result<Vec<Message>, StateError> {
        let free: String = between
            .iter()
            .map(|(first, last)| format!("m.delivery BETWEEN {first} AND {last} OR "))
            .collect();
        let sql = format!(
            "{} AND ({free}muted_until > ?2) ORDER BY m.delivery LIMIT ?3",
            unsettled()
        );
        self.messages(&sql, &[&to_sql(after), &to_sql(now), &to_sql(limit as u64)])
    }
}

/// Inbound messages after ?1 that are not settled.
fn unsettled() -> String {
    format!(
        "{} WHERE m.delivered_at IS NULL AND m.deleted = 0 AND m.delivery IS NOT NULL AND m.delivery > ?1",
        views::VIEW
    )
}
