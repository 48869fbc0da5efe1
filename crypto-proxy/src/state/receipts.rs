//! Receipts: what authors are owed, and what others have proved to have of own messages.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{
    identity::IdentityKey,
    ids::{Hash, SessionId},
    wire::{Receipt, ReceiptState},
};

use super::{
    GroupRow, SessionRow, StateError, Store,
    conversations::{DIRECT, GROUP},
    from_sql,
    inbound::{SELECT as SESSION, session_row},
    messages::status_number,
    to_sql,
};
use crate::model::{ConversationKind, SendToken, Status, UnixMs};

/// An inclusive range of numbers.
type Span = (u64, u64);

/// A member who could read a message to a group and has not proved the status `?1` of it.
const LACKING: &str = "SELECT 1 FROM grp_member gm JOIN epoch e ON e.group_row = gm.group_row \
     WHERE gm.group_row = ?2 AND gm.own = 0 AND e.epoch = message.epoch AND gm.place <= e.position \
     AND NOT EXISTS (SELECT 1 FROM grp_receipt r WHERE r.group_row = gm.group_row \
     AND r.identity = gm.identity AND r.session = message.session AND r.state = ?1 \
     AND message.n BETWEEN r.first AND r.last)";

/// Such a member, whatever it has proved.
const READER: &str = "SELECT 1 FROM grp_member gm JOIN epoch e ON e.group_row = gm.group_row \
     WHERE gm.group_row = ?2 AND gm.own = 0 AND e.epoch = message.epoch AND gm.place <= e.position";

fn bit(state: ReceiptState) -> i64 {
    i64::from(state.number())
}

impl SessionRow {
    /// Whether the author is to be told of a state.
    #[must_use]
    pub fn owes(&self, state: ReceiptState) -> bool {
        self.owed & bit(state) != 0
    }
}

impl Store {
    /// Marks that the authors of these messages are to be told of a state that they are in.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owe_receipts(&self, message_rows: &[i64], state: ReceiptState) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE inbound_session SET receipt_due = receipt_due | ?2 FROM message AS m \
             WHERE m.message_row = ?1 AND m.own = 0 AND inbound_session.conversation_id = m.conversation_id \
             AND inbound_session.peer_id = m.peer_id AND inbound_session.session = m.session",
        )?;
        for row in message_rows {
            statement.execute([*row, bit(state)])?;
        }
        Ok(())
    }

    /// Sessions of direct conversations, or of groups, whose authors are owed a receipt.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owed_receipts(&self, kind: ConversationKind, limit: usize) -> Result<Vec<SessionRow>, StateError> {
        let kind = match kind {
            ConversationKind::Direct => DIRECT,
            ConversationKind::Group => GROUP,
        };
        let mut statement = self.db.prepare_cached(&format!(
            "{SESSION} WHERE receipt_due != 0 AND conversation_id IN \
             (SELECT conversation_id FROM conversation WHERE kind = ?1) LIMIT ?2"
        ))?;
        let rows = statement.query_map([kind, to_sql(limit as u64)], session_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest session of a peer in a conversation that it is owed a receipt of.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn owed_to(&self, conversation_id: i64, peer_id: i64) -> Result<Option<SessionRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!(
            "{SESSION} WHERE conversation_id = ?1 AND peer_id = ?2 AND receipt_due != 0 \
             ORDER BY incarnation DESC LIMIT 1"
        ))?;
        let found = statement.query_row([conversation_id, peer_id], session_row);
        Ok(found.optional()?)
    }

    /// Records of which states the author of a session is still to be told.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_owed(&self, session_row: i64, states: &[ReceiptState]) -> Result<(), StateError> {
        let owed = states.iter().fold(0, |owed, state| owed | bit(*state));
        self.db
            .prepare_cached("UPDATE inbound_session SET receipt_due = ?2 WHERE session_row = ?1")?
            .execute([session_row, owed])?;
        Ok(())
    }

    /// Records how far a receipt goes, so that the next one is made from there.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_said(&self, session_row: i64, receipt: &Receipt) -> Result<(), StateError> {
        let read = receipt.state == ReceiptState::Read;
        self.db
            .prepare_cached(
                "UPDATE inbound_session SET said_delivered = max(said_delivered, ?2), \
                 said_read = CASE WHEN ?3 THEN max(said_read, ?2) ELSE said_read END WHERE session_row = ?1",
            )?
            .execute(params![session_row, to_sql(receipt.n), read])?;
        Ok(())
    }

    /// Notes that an envelope is the receipt of a session: if it is not sent, the receipt is owed again.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_receipt_of(&self, token: SendToken, session_row: i64) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE outbox SET receipt_of = ?2 WHERE token = ?1")?
            .execute([to_sql(token), session_row])?;
        Ok(())
    }

    /// The last message of a session up to which the agent has settled, or read, all that arrived, if
    /// there is one: its number and core hash. What was withdrawn does not count.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settled_end(
        &self,
        session: &SessionRow,
        state: ReceiptState,
    ) -> Result<Option<(u64, Hash)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT n, core_hash, CASE WHEN ?6 THEN read_at ELSE delivered_at END IS NOT NULL FROM message \
             WHERE conversation_id = ?1 AND peer_id = ?2 AND own = 0 AND session = ?3 AND n BETWEEN ?4 AND ?5 \
             AND era = (SELECT era FROM conversation WHERE conversation_id = ?1) ORDER BY n",
        )?;
        let read = state == ReceiptState::Read;
        let said = if read {
            session.said_read
        } else {
            session.said_delivered
        };
        let mut rows = statement.query(params![
            session.conversation_id,
            session.peer_id,
            session.session.as_bytes(),
            to_sql(said),
            to_sql(session.contiguous),
            read
        ])?;
        let mut end = None;
        while let Some(row) = rows.next()? {
            if !row.get::<_, bool>(2)? {
                break;
            }
            end = Some((from_sql(row.get(0)?), Hash::from_bytes(row.get(1)?)));
        }
        Ok(end)
    }

    /// Numbers of a session beyond one that the agent has settled, or read, ascending.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn settled_numbers(
        &self,
        session: &SessionRow,
        state: ReceiptState,
        after: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT n FROM message WHERE conversation_id = ?1 AND peer_id = ?2 AND own = 0 AND session = ?3 \
             AND n > ?4 AND CASE WHEN ?5 THEN read_at ELSE delivered_at END IS NOT NULL \
             AND era = (SELECT era FROM conversation WHERE conversation_id = ?1) ORDER BY n LIMIT ?6",
        )?;
        let rows = statement.query_map(
            params![
                session.conversation_id,
                session.peer_id,
                session.session.as_bytes(),
                to_sql(after),
                state == ReceiptState::Read,
                to_sql(limit as u64)
            ],
            |row| row.get::<_, i64>(0),
        )?;
        rows.map(|n| Ok(from_sql(n?))).collect()
    }

    /// The highest own number of a session in a conversation that is known here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn highest_own(&self, conversation_id: i64, session: &SessionId) -> Result<u64, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT coalesce(max(n), 0) FROM message WHERE conversation_id = ?1 AND own = 1 AND session = ?2 \
             AND era = (SELECT era FROM conversation WHERE conversation_id = ?1)",
        )?;
        let highest = statement.query_row(params![conversation_id, session.as_bytes()], |row| row.get(0))?;
        Ok(from_sql(highest))
    }

    /// Records that a member of a group has proved a status of own messages; gives the numbers of which
    /// it had not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn add_receipt(
        &self,
        group_row: i64,
        member: &IdentityKey,
        session: &SessionId,
        status: Status,
        ranges: &[Span],
    ) -> Result<Vec<Span>, StateError> {
        let (member, status) = (member.to_prefixed(), status_number(status));
        let key = params![group_row, member, session.as_bytes(), status];
        let mut statement = self.db.prepare_cached(
            "SELECT first, last FROM grp_receipt WHERE group_row = ?1 AND identity = ?2 AND session = ?3 \
             AND state = ?4 ORDER BY first",
        )?;
        let known = statement
            .query_map(key, |row| Ok((from_sql(row.get(0)?), from_sql(row.get(1)?))))?
            .collect::<Result<Vec<Span>, _>>()?;
        let news = beyond(&known, ranges);
        if news.is_empty() {
            return Ok(news);
        }
        self.db
            .prepare_cached(
                "DELETE FROM grp_receipt WHERE group_row = ?1 AND identity = ?2 AND session = ?3 AND state = ?4",
            )?
            .execute(key)?;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO grp_receipt(group_row, identity, session, state, first, last) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (first, last) in joined(known, &news) {
            let session = session.as_bytes();
            statement.execute(params![
                group_row,
                member,
                session,
                status,
                to_sql(first),
                to_sql(last)
            ])?;
        }
        Ok(news)
    }

    /// Raises the status of own messages to a group that all members who could read them, and are
    /// members still, have proved; of one session's range, or of all. Gives their rows.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn raise_group_status(
        &self,
        group: &GroupRow,
        range: Option<(&SessionId, Span)>,
        status: Status,
        now: UnixMs,
    ) -> Result<Vec<i64>, StateError> {
        let (which, session, (first, last)) = match range {
            Some((session, span)) => ("era = 0 AND session = ?5", Some(*session.as_bytes()), span),
            None => ("?5 IS NULL", None, (0, u64::MAX)),
        };
        let mut statement = self.db.prepare_cached(&format!(
            "UPDATE message SET status = ?1, delivered_at = coalesce(delivered_at, ?4), \
             read_at = CASE WHEN ?1 = 4 THEN coalesce(read_at, ?4) ELSE read_at END \
             WHERE conversation_id = ?3 AND peer_id IS NULL AND own = 1 AND {which} \
             AND n BETWEEN ?6 AND ?7 AND status < ?1 AND EXISTS ({READER}) AND NOT EXISTS ({LACKING}) RETURNING message_row"
        ))?;
        let rows = statement.query_map(
            params![
                status_number(status),
                group.group_row,
                group.conversation_id,
                to_sql(now),
                session,
                to_sql(first),
                to_sql(last),
            ],
            |row| row.get(0),
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The parts of ranges that are in none of the known ones, which are ascending and apart.
fn beyond(known: &[Span], ranges: &[Span]) -> Vec<Span> {
    let mut news = Vec::new();
    for &(first, last) in ranges {
        let mut next = Some(first);
        for &(from, to) in known.iter().filter(|(from, to)| *to >= first && *from <= last) {
            news.extend(next.filter(|next| *next < from).map(|next| (next, from - 1)));
            next = to.checked_add(1);
        }
        news.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
    }
    news
}

/// Ranges that do not overlap, in order, those that touch as one.
fn joined(mut ranges: Vec<Span>, more: &[Span]) -> Vec<Span> {
    ranges.extend(more);
    ranges.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if end.saturating_add(1) >= first => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 7.3: what was said once stays said.
    #[test]
    fn ranges_only_grow() {
        let known = vec![(1, 5), (9, 9), (20, 30)];
        for (ranges, news, all) in [
            (vec![(1, 5)], vec![], vec![(1, 5), (9, 9), (20, 30)]),
            (vec![(1, 3), (9, 9)], vec![], vec![(1, 5), (9, 9), (20, 30)]),
            (vec![(1, 8)], vec![(6, 8)], vec![(1, 9), (20, 30)]),
            (vec![(4, 25)], vec![(6, 8), (10, 19)], vec![(1, 30)]),
            (
                vec![(31, 40), (50, 60)],
                vec![(31, 40), (50, 60)],
                vec![(1, 5), (9, 9), (20, 40), (50, 60)],
            ),
            (vec![], vec![], vec![(1, 5), (9, 9), (20, 30)]),
        ] {
            assert_eq!(beyond(&known, &ranges), news, "{ranges:?}");
            assert_eq!(joined(known.clone(), &news), all, "{ranges:?}");
        }
        assert_eq!(beyond(&[], &[(1, u64::MAX)]), [(1, u64::MAX)]);
        assert_eq!(beyond(&[(1, u64::MAX)], &[(1, u64::MAX)]), []);
    }
}
