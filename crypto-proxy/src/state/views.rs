//! Messages as the agent sees them: signed ones, and events that were made from the verified roster.

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use waxwire_shared::{
    fingerprint::Fingerprint,
    identity::IdentityKey,
    ids::{Handle, Hash},
    wire::{Core, Document as _, MessageBytes},
};

use super::{
    ColumnKeys, Pin, StateError, Store, cited,
    conversations::kind_from_number,
    from_sql,
    groups::StoredProfile,
    messages::{SYSTEM, TABLE, shown_type, status_from_number},
};
use crate::model::{
    DeliveryId, Gap, LocalConversation, Message, MessageGroup, MessageId, Recipient, Security, Trust, UnixMs,
};

/// An event of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The same at every member.
    pub id: MessageId,
    /// Whoever brought it about.
    pub sender: Handle,
    /// Their identity.
    pub identity: IdentityKey,
    /// Content as compact JSON text.
    pub content: String,
    /// When, by their clock.
    pub at: UnixMs,
}

/// What is sealed of an event.
#[derive(Debug, Serialize, Deserialize)]
struct EventBody {
    sender: Handle,
    identity: String,
    content: String,
}

impl StoredEvent {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = EventBody {
            sender: self.sender.clone(),
            identity: hex::encode(self.identity.to_prefixed()),
            content: self.content.clone(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// What [`view`] reads.
pub(super) const VIEW: &str = "SELECT m.message_row, m.own, m.seq, m.delivery, m.status, m.broadcast, \
     m.gap_after, m.gap_missing, m.delivered_at, m.read_at, m.sealed, c.local, c.kind, p.trust, p.changed, \
     p.identity, m.form, m.epoch, m.late, gb.handle, g.members, g.group_row, g.sealed, m.message_id, \
     m.created_at, m.visible_at, CASE WHEN m.own = 1 AND m.form = 0 AND g.members <= 32 \
     AND m.status BETWEEN 2 AND 4 THEN (SELECT group_concat(gm.handle || ' ' || coalesce((SELECT max(r.state) \
     FROM grp_receipt r WHERE r.group_row = gm.group_row AND r.identity = gm.identity \
     AND r.session = m.session AND m.n BETWEEN r.first AND r.last), 2), ',') FROM grp_member gm \
     JOIN epoch e ON e.group_row = gm.group_row AND e.epoch = m.epoch \
     WHERE gm.group_row = g.group_row AND gm.own = 0 AND gm.place <= e.position) END, m.place, \
     (SELECT max(coalesce(mu.until, 9223372036854775807)) FROM mute mu WHERE mu.kind = 1 \
     AND mu.target = p.handle OR mu.kind = 2 \
     AND mu.target = (CASE c.kind WHEN 2 THEN 'grp_' ELSE 'conv_' END || lower(hex(c.local)))) AS muted_until, \
     m.repeats \
     FROM message m JOIN conversation c USING (conversation_id) LEFT JOIN peer p ON p.peer_id = m.peer_id \
     LEFT JOIN peer gb ON gb.peer_id = m.granted_by LEFT JOIN grp g ON g.conversation_id = m.conversation_id";

/// What a message says and who says it.
struct Said {
    id: MessageId,
    sender: Handle,
    identity: IdentityKey,
    client_msg_id: String,
    message_type: String,
    content: String,
    metadata: Option<String>,
    reply_to: Option<Hash>,
    created_at: UnixMs,
    expires_at: Option<UnixMs>,
}

/// Reads a row of [`VIEW`].
pub(super) fn view(row: &Row<'_>, keys: &ColumnKeys, tag: [u8; 8]) -> Result<Message, StateError> {
    let message_row: i64 = row.get(0)?;
    let damaged = || StateError::Damaged {
        table: TABLE,
        row: message_row,
    };
    let sealed = row.get_ref(10)?.as_blob().map_err(|_| damaged())?;
    let object = keys.open(TABLE, message_row, sealed)?;
    let own: bool = row.get(1)?;
    let said = if row.get::<_, i64>(16)? == 0 {
        said_in_message(&object, own)
    } else {
        let id = MessageId(row.get(23)?);
        said_in_event(&object, id, from_sql(row.get(24)?))
    };
    let said = said.ok_or_else(damaged)?;
    let delivery: Option<i64> = row.get(3)?;
    let granted_by: Option<String> = row.get(19)?;
    let gap = row.get::<_, Option<i64>>(6)?.zip(row.get::<_, Option<i64>>(7)?);
    Ok(Message {
        id: said.id,
        conversation: LocalConversation {
            id: row.get(11)?,
            kind: kind_from_number(row.get(12)?),
        },
        sender: said.sender,
        own,
        client_msg_id: said.client_msg_id,
        seq: row.get::<_, Option<i64>>(2)?.map_or(0, from_sql),
        message_type: said.message_type,
        content: said.content,
        metadata: said.metadata,
        reply_to: said.reply_to.map(MessageId::from),
        status: status_from_number(row.get(4)?),
        created_at: said.created_at,
        delivered_at: row.get::<_, Option<i64>>(8)?.map(from_sql),
        read_at: row.get::<_, Option<i64>>(9)?.map(from_sql),
        expires_at: said.expires_at,
        visible_at: row.get::<_, Option<i64>>(25)?.map(from_sql),
        place: row.get::<_, Option<i64>>(27)?.map_or(0, from_sql),
        delivery: delivery.map(|position| DeliveryId {
            store: tag,
            position: from_sql(position),
        }),
        security: Security {
            verified: true,
            sender_fingerprint: Fingerprint::of(&said.identity),
            trust: trust(row, own, &said.identity).map_err(|_| damaged())?,
            gap: gap.map(|(after, missing)| Gap {
                after: from_sql(after),
                missing: from_sql(missing),
            }),
            broadcast: row.get(5)?,
            epoch: row.get::<_, Option<i64>>(17)?.map(from_sql),
            granted_by: granted_by
                .map(|handle| handle.parse())
                .transpose()
                .map_err(|_| damaged())?,
            late: row.get(18)?,
            repeats: from_sql(row.get(29)?),
        },
        group: group(row, keys)?,
        recipients: recipients(row.get(26)?).ok_or_else(damaged)?,
        muted_until: row.get::<_, Option<i64>>(28)?.map_or(0, from_sql),
    })
}

/// Members who could read an own message, with what each has proved: `handle status`, in the order of
/// handles.
fn recipients(text: Option<String>) -> Option<Vec<Recipient>> {
    let Some(text) = text else { return Some(Vec::new()) };
    let read = |one: &str| {
        let (handle, number) = one.split_once(' ')?;
        Some(Recipient {
            handle: handle.parse().ok()?,
            status: status_from_number(number.parse().ok()?),
        })
    };
    let mut recipients = text.split(',').map(read).collect::<Option<Vec<_>>>()?;
    recipients.sort_unstable_by(|a, b| a.handle.as_str().cmp(b.handle.as_str()));
    Some(recipients)
}

/// How the author is trusted now. A message of an identity that was replaced since is no longer under
/// the pin.
fn trust(row: &Row<'_>, own: bool, author: &IdentityKey) -> rusqlite::Result<Trust> {
    let pinned: Option<Vec<u8>> = row.get(15)?;
    Ok(match pinned.as_deref().map(IdentityKey::from_prefixed) {
        _ if own => Trust::Verified,
        None => Trust::New,
        Some(Some(pinned)) if pinned == *author => {
            let changed = row.get::<_, Option<Vec<u8>>>(14)?.is_some();
            Pin::from_number(row.get(13)?).trust(changed)
        }
        Some(_) => Trust::Changed,
    })
}

fn group(row: &Row<'_>, keys: &ColumnKeys) -> Result<Option<MessageGroup>, StateError> {
    let Some(group_row) = row.get::<_, Option<i64>>(21)? else {
        return Ok(None);
    };
    let sealed: Vec<u8> = row.get(22)?;
    Ok(Some(MessageGroup {
        name: named(StoredProfile::open(keys, group_row, &sealed)?.shown().name),
        members: from_sql(row.get(20)?),
    }))
}

/// A name that is there.
pub(super) fn named(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn said_in_message(object: &[u8], own: bool) -> Option<Said> {
    let signed = MessageBytes::decode(object).ok()?;
    let core = Core::decode(&signed.core).ok()?;
    let id = Core::message_id(&signed.core).into();
    let attachments = core.attachments.unwrap_or_default();
    Some(Said {
        id,
        sender: core.handle,
        identity: core.identity,
        client_msg_id: core.client_msg_id,
        message_type: shown_type(own, core.message_type),
        content: cited::shown(own, id, String::from_utf8(core.content).ok()?, &attachments)?,
        metadata: core.metadata.map(String::from_utf8).transpose().ok()?,
        reply_to: core.reply_to,
        created_at: core.time,
        expires_at: core.expires,
    })
}

fn said_in_event(object: &[u8], id: MessageId, created_at: UnixMs) -> Option<Said> {
    let body: EventBody = serde_json::from_slice(object).ok()?;
    let identity = hex::decode(body.identity).ok()?;
    Some(Said {
        id,
        sender: body.sender,
        identity: IdentityKey::from_prefixed(&identity)?,
        client_msg_id: id.to_string(),
        message_type: SYSTEM.to_owned(),
        content: body.content,
        metadata: None,
        reply_to: None,
        created_at,
        expires_at: None,
    })
}

/// The signed message of a row.
pub(super) fn open_signed(db: &Connection, keys: &ColumnKeys, row: i64) -> Result<MessageBytes, StateError> {
    let mut statement =
        db.prepare_cached("SELECT sealed FROM message WHERE message_row = ?1 AND form = 0")?;
    let sealed: Vec<u8> = statement.query_row([row], |found| found.get(0))?;
    let object = keys.open(TABLE, row, &sealed)?;
    MessageBytes::decode(&object).map_err(|_| StateError::Damaged { table: TABLE, row })
}

impl Store {
    /// A message as the agent sees it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn view(&self, row: i64) -> Result<Message, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{VIEW} WHERE m.message_row = ?1"))?;
        let mut rows = statement.query([row])?;
        let found = rows.next()?.ok_or(StateError::Damaged { table: TABLE, row })?;
        view(found, &self.keys, self.tag)
    }

    /// A message as it was signed.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn signed(&self, row: i64) -> Result<MessageBytes, StateError> {
        open_signed(&self.db, &self.keys, row)
    }

    /// The core of a message.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn core(&self, row: i64) -> Result<Core, StateError> {
        Core::decode(&self.signed(row)?.core).map_err(|_| StateError::Damaged { table: TABLE, row })
    }

    /// The whole message id of the message that an answer names; none for events, which have no core.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn reply_target(&self, id: &MessageId) -> Result<Option<Hash>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT message_row FROM message WHERE message_id = ?1 AND form = 0")?;
        let mut rows = statement.query([id.0])?;
        match rows.next()? {
            Some(row) => Ok(Some(Core::message_id(&self.signed(row.get(0)?)?.core))),
            None => Ok(None),
        }
    }
}
