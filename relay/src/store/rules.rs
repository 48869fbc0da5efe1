//! What every backend decides by what it holds, apart from how it reads it.

use super::{
    AgentNo, BlobOutcome, BlobQuota, BlobRecord, BundleBytes, BundleOutcome, LEAST_BLOB, LeaseOutcome,
    NewBlob, NewLease, RelateOutcome, RetentionCursor,
};

/// What becomes of a bundle if this one, number and bytes, is the latest that is held; none: it is stored.
pub(super) fn bundle(held: Option<(i64, Vec<u8>)>, asked: &BundleBytes) -> Option<BundleOutcome> {
    let (latest, bytes) = held?;
    match latest.cast_unsigned() {
        latest if latest == asked.number && bytes == asked.bytes => Some(BundleOutcome::Repeated),
        latest if latest >= asked.number => Some(BundleOutcome::Stale),
        _ => None,
    }
}

/// Incarnation, session, time, the signed lease.
pub(super) type HeldLease = (i64, Vec<u8>, i64, Vec<u8>);

/// What becomes of a lease of an agent that holds this one; none: it is stored.
pub(super) fn lease(agent: AgentNo, held: Option<HeldLease>, asked: &NewLease) -> Option<LeaseOutcome> {
    let (incarnation, session, time, bytes) = held?;
    let (incarnation, time) = (incarnation.cast_unsigned(), time.cast_unsigned());
    if bytes == asked.bytes {
        return Some(LeaseOutcome::Repeated);
    }
    let same = asked.incarnation == incarnation && session == asked.session.as_bytes();
    let is_newer = asked.incarnation > incarnation || (same && asked.time > time);
    (!is_newer).then_some(LeaseOutcome::Stale { agent, held: bytes })
}

/// Whether one more relation may be held beside so many.
pub(super) const fn relation(held: i64, max: u64) -> Option<RelateOutcome> {
    let actual = held.cast_unsigned() + 1;
    if actual > max {
        Some(RelateOutcome::Full { max, actual })
    } else {
        None
    }
}

/// What a blob of the same id means for an upload that is to begin.
pub(super) fn same_blob(held: BlobRecord, asked: &NewBlob) -> BlobOutcome {
    if held.owner == asked.owner && held.length == asked.length {
        BlobOutcome::Held(held)
    } else {
        BlobOutcome::Taken
    }
}

/// The quota that one more blob would exceed beside so many bytes and unfinished uploads.
pub(super) fn blob_quota(bytes: i64, unfinished: i64, asked: &NewBlob) -> Option<BlobOutcome> {
    let bytes = bytes.cast_unsigned().saturating_add(asked.length.max(LEAST_BLOB));
    let unfinished = unfinished.cast_unsigned() + 1;
    let quotas = [
        (BlobQuota::Bytes, asked.max_bytes, bytes),
        (BlobQuota::Unfinished, asked.max_unfinished, unfinished),
    ];
    let exceeded = quotas
        .into_iter()
        .find(|(_, max, actual)| *max > 0 && actual > max);
    exceeded.map(|(quota, max, actual)| BlobOutcome::Full { quota, max, actual })
}

/// How much a step of retention does.
pub(super) mod step {
    /// Idempotency keys that are looked at.
    pub(in crate::store) const LOOK: usize = 2_000;
    /// Queues that are looked at.
    pub(in crate::store) const QUEUES: usize = 100;
    /// Rows that are deleted.
    pub(in crate::store) const DELETE: usize = 500;
    /// Rekeys that are deleted: the leaves of one have up to four mebibytes.
    pub(in crate::store) const DELETE_REKEYS: usize = 16;
    /// Epochs of a group whose leaves stay, whoever has fetched them.
    pub(in crate::store) const KEEP_EPOCHS: i64 = 64;
}

/// Of idempotency keys `(sender, mid, envelope id)` that were looked at, those that are due: of ids below `before`.
/// Moves the cursor behind what was decided.
pub(super) fn due_sent(
    mut rows: Vec<(i64, Vec<u8>, i64)>,
    before: i64,
    cursor: &mut RetentionCursor,
) -> Vec<(i64, Vec<u8>)> {
    let due: Vec<usize> = (0..rows.len())
        .filter(|row| rows[*row].2 < before)
        .take(step::DELETE)
        .collect();
    let looked_at = if due.len() == step::DELETE {
        due[step::DELETE - 1] + 1
    } else {
        cursor.sent_done = rows.len() < step::LOOK;
        rows.len()
    };
    rows.truncate(looked_at);
    cursor.sent = rows.last().map(|(sender, mid, _)| (*sender, mid.clone()));
    rows.retain(|row| row.2 < before);
    rows.into_iter().map(|(sender, mid, _)| (sender, mid)).collect()
}
