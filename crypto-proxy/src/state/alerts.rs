//! What the agent or its operator should know.

use rusqlite::{Row, params};
use waxwire_shared::ids::Handle;

use super::{StateError, Store, conversations::DIRECT, from_sql, to_sql};
use crate::model::{Alert, ConversationKind, LocalConversation, Severity, UnixMs};

/// The same alert about the same peer and conversation is not raised again for this long.
const QUIET_MS: u64 = 60_000;

pub(super) const VIEW: &str = "SELECT alert_id, at, kind, severity, conversation, peer, reason FROM alert";

impl Store {
    /// Raises an alert; `None` if the same was raised about the same peer a moment ago.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn raise_alert(
        &self,
        kind: &'static str,
        severity: Severity,
        peer: Option<&Handle>,
        conversation: Option<&LocalConversation>,
        reason: &str,
        now: UnixMs,
    ) -> Result<Option<Alert>, StateError> {
        let peer_text = peer.map(Handle::as_str);
        let mut recent = self.db.prepare_cached(
            "SELECT 1 FROM alert WHERE kind = ?1 AND at > ?2 AND peer IS ?3 AND conversation IS ?4 LIMIT 1",
        )?;
        let local = conversation.map(encode_local);
        let quiet_since = to_sql(now.saturating_sub(QUIET_MS));
        if recent.exists(params![kind, quiet_since, peer_text, local])? {
            return Ok(None);
        }
        let mut statement = self.db.prepare_cached(
            "INSERT INTO alert(at, kind, severity, conversation, peer, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let number = severity_number(severity);
        let id = statement.insert(params![to_sql(now), kind, number, local, peer_text, reason])?;
        Ok(Some(Alert {
            id: from_sql(id),
            at: now,
            kind: kind.to_owned(),
            severity,
            conversation: conversation.copied(),
            peer: peer.cloned(),
            reason: reason.to_owned(),
        }))
    }
}

/// Reads a row of [`VIEW`].
pub(super) fn alert(row: &Row<'_>) -> Result<Alert, rusqlite::Error> {
    let local: Option<Vec<u8>> = row.get(4)?;
    let peer: Option<String> = row.get(5)?;
    Ok(Alert {
        id: from_sql(row.get(0)?),
        at: from_sql(row.get(1)?),
        kind: row.get(2)?,
        severity: severity_from_number(row.get(3)?),
        conversation: local.as_deref().and_then(decode_local),
        peer: peer.and_then(|text| text.parse().ok()),
        reason: row.get(6)?,
    })
}

const fn severity_number(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 2,
        Severity::Critical => 3,
    }
}

const fn severity_from_number(number: i64) -> Severity {
    match number {
        1 => Severity::Info,
        2 => Severity::Warning,
        _ => Severity::Critical,
    }
}

/// `kind u8 || id 16`.
fn encode_local(local: &LocalConversation) -> Vec<u8> {
    let kind = u8::from(local.kind == ConversationKind::Group) + 1;
    [&[kind], local.id.as_slice()].concat()
}

fn decode_local(bytes: &[u8]) -> Option<LocalConversation> {
    let (kind, id) = bytes.split_first()?;
    let direct = i64::from(*kind) == DIRECT;
    let kind = if direct {
        ConversationKind::Direct
    } else {
        ConversationKind::Group
    };
    Some(LocalConversation {
        kind,
        id: id.try_into().ok()?,
    })
}
