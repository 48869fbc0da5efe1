//! What is known of the relay's transparency log (docs/protocol.md, 10). Nothing of it is secret.

use rusqlite::{OptionalExtension as _, params};
use waxwire_shared::{
    ids::{Handle, Hash},
    merkle::Frontier,
    wire::LogLeaf,
};

use super::{StateError, Store, from_sql, to_sql};
use crate::{
    model::{LogEvidence, LogEvidenceKind, UnixMs},
    transparency::{OwnBundle, OwnBundles},
};

/// Running time of the last scan that ended.
const SCANNED: &str = "log_scanned_running_ms";
/// When the last scan ended, and how.
const AUDITED: &str = "log_audited";
/// Tag of the own handle.
const TAG: &str = "log_tag";
/// A fork was found, and the operator has not acknowledged it.
const FORKED: &str = "log_forked";
/// This agent may have signed bundles before the first one that is known.
const BEGINS_LATE: &str = "own_bundles_begin_late";

/// Most pairs of heads that are kept.
const EVIDENCE: i64 = 64;

/// Which head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadRole {
    /// The highest one that was verified.
    Highest,
    /// One of another log, which the operator has not acknowledged.
    Other,
}

/// Which tree of leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanRole {
    /// Up to a signed head that has its root.
    Verified,
    /// Up to the last page that was read.
    Read,
}

/// To whom heads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadReader {
    /// A peer, by its row.
    Peer(i64),
    /// The members of a group, by its row.
    Group(i64),
}

impl HeadReader {
    const fn place(self) -> (&'static str, &'static str, i64) {
        match self {
            Self::Peer(row) => ("peer", "peer_id", row),
            Self::Group(row) => ("grp", "group_row", row),
        }
    }
}

/// A leaf under the own handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLeaf {
    /// Its place in the log.
    pub place: u64,
    /// The leaf.
    pub leaf: LogLeaf,
    /// An alert was raised about it.
    pub told: bool,
}

const fn damaged(table: &'static str) -> StateError {
    StateError::Damaged { table, row: 0 }
}

fn hash(table: &'static str, bytes: &[u8]) -> Result<Hash, StateError> {
    Hash::from_slice(bytes).map_err(|_| damaged(table))
}

impl Store {
    /// A signed head that was verified before it was stored.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_head(&self, role: HeadRole) -> Result<Option<Vec<u8>>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT signed FROM log_head WHERE role = ?1")?;
        Ok(statement
            .query_row([role as i64 + 1], |row| row.get(0))
            .optional()?)
    }

    /// Keeps a signed head in place of the one that was there.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_log_head(&self, role: HeadRole, size: u64, signed: &[u8]) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("INSERT OR REPLACE INTO log_head(role, size, signed) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![role as i64 + 1, to_sql(size), signed])?;
        Ok(())
    }

    /// Signed heads that wait for a proof, in the order in which they came.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unsettled_heads(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT signed FROM log_unsettled ORDER BY place")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A signed head waits for a proof, behind all others.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_unsettled_head(&self, signed: &[u8]) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO log_unsettled(signed) VALUES (?1)")?;
        statement.execute([signed])?;
        Ok(())
    }

    /// A signed head waits no more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_unsettled_head(&self, signed: &[u8]) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM log_unsettled WHERE signed = ?1")?;
        statement.execute([signed])?;
        Ok(())
    }

    /// No head waits for a proof any more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_unsettled_heads(&self) -> Result<(), StateError> {
        self.db.execute("DELETE FROM log_unsettled", [])?;
        Ok(())
    }

    /// The highest head, if it is not what went to these readers last, and when that was.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn head_to_send(&self, to: HeadReader) -> Result<Option<(Vec<u8>, UnixMs)>, StateError> {
        let (table, key, row) = to.place();
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT h.signed, r.log_sent_at FROM log_head h JOIN {table} r \
             WHERE h.role = 1 AND r.{key} = ?1 AND h.size <> r.log_sent"
        ))?;
        let found = statement.query_row([row], |row| Ok((row.get(0)?, from_sql(row.get(1)?))));
        Ok(found.optional()?)
    }

    /// The highest head goes to these readers.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_head_sent(&self, to: HeadReader, now: UnixMs) -> Result<(), StateError> {
        let (table, key, row) = to.place();
        let mut statement = self.db.prepare_cached(&format!(
            "UPDATE {table} SET log_sent = (SELECT size FROM log_head WHERE role = 1), log_sent_at = ?2 \
             WHERE {key} = ?1"
        ))?;
        statement.execute([row, to_sql(now)])?;
        Ok(())
    }

    /// The tag of a known peer's handle, or of the own one, if it was computed.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_tag(&self, peer: Option<&Handle>) -> Result<Option<Hash>, StateError> {
        let Some(handle) = peer else {
            return Ok(self.meta(TAG)?.map(Hash::from_bytes));
        };
        let mut statement = self
            .db
            .prepare_cached("SELECT log_tag FROM peer WHERE handle = ?1")?;
        let found: Option<Option<Vec<u8>>> = statement
            .query_row([handle.as_str()], |row| row.get(0))
            .optional()?;
        found.flatten().map(|bytes| hash("peer", &bytes)).transpose()
    }

    /// Remembers a tag.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_log_tag(&self, peer: Option<&Handle>, tag: &Hash) -> Result<(), StateError> {
        let Some(handle) = peer else {
            return self.put_meta(TAG, tag.as_bytes());
        };
        let mut statement = self
            .db
            .prepare_cached("UPDATE peer SET log_tag = ?2 WHERE handle = ?1")?;
        statement.execute(params![handle.as_str(), tag.as_bytes()])?;
        Ok(())
    }

    /// The relay shows a peer's bundle without proof; gives since when it has done so.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_unproven(&self, handle: &Handle, bundle: &Hash, now: UnixMs) -> Result<UnixMs, StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE peer SET log_unproven_at = CASE WHEN log_unproven IS ?2 THEN log_unproven_at ELSE ?3 END, \
             log_unproven = ?2 WHERE handle = ?1 RETURNING log_unproven_at",
        )?;
        let values = params![handle.as_str(), bundle.as_bytes(), to_sql(now)];
        let since = statement.query_row(values, |row| row.get(0)).optional()?;
        Ok(since.map_or(now, from_sql))
    }

    /// The relay has proved a peer's bundle to be in the log.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget_unproven(&self, handle: &Handle) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE peer SET log_unproven = NULL, log_unproven_at = NULL WHERE handle = ?1 AND log_unproven IS NOT NULL",
        )?;
        statement.execute([handle.as_str()])?;
        Ok(())
    }

    /// The tree over the leaves that were read.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_scan(&self, role: ScanRole) -> Result<Frontier, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT size, hashes FROM log_scan WHERE role = ?1")?;
        let found: Option<(i64, Vec<u8>)> = statement
            .query_row([role as i64 + 1], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (size, bytes) = found.unwrap_or_default();
        let hashes: Result<Vec<Hash>, StateError> = bytes
            .chunks(Hash::LENGTH)
            .map(|bytes| hash("log_scan", bytes))
            .collect();
        Frontier::new(from_sql(size), hashes?).ok_or(damaged("log_scan"))
    }

    /// Keeps such a tree.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_log_scan(&self, role: ScanRole, tree: &Frontier) -> Result<(), StateError> {
        let hashes: Vec<u8> = tree.hashes().iter().flat_map(|hash| *hash.as_bytes()).collect();
        let mut statement = self
            .db
            .prepare_cached("INSERT OR REPLACE INTO log_scan(role, size, hashes) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![role as i64 + 1, to_sql(tree.size()), hashes])?;
        Ok(())
    }

    /// What was read beyond the last signed head is forgotten.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn rewind_log_scan(&self) -> Result<(), StateError> {
        let verified = self.log_scan(ScanRole::Verified)?;
        self.put_log_scan(ScanRole::Read, &verified)?;
        let mut statement = self.db.prepare_cached("DELETE FROM log_own WHERE place >= ?1")?;
        statement.execute([to_sql(verified.size())])?;
        Ok(())
    }

    /// Keeps a leaf under the own handle.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_own_leaf(&self, place: u64, leaf: &LogLeaf) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("INSERT OR REPLACE INTO log_own(place, number, bundle) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![
            to_sql(place),
            to_sql(leaf.number),
            leaf.bundle.as_bytes()
        ])?;
        Ok(())
    }

    /// Leaves under the own handle, which has this tag, in the order of the log.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_leaves(&self, tag: &Hash) -> Result<Vec<OwnLeaf>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT place, number, bundle, told FROM log_own ORDER BY place")?;
        let mut rows = statement.query([])?;
        let mut leaves = Vec::new();
        while let Some(row) = rows.next()? {
            leaves.push(OwnLeaf {
                place: from_sql(row.get(0)?),
                leaf: LogLeaf {
                    handle_tag: *tag,
                    number: from_sql(row.get(1)?),
                    bundle: hash("log_own", &row.get::<_, Vec<u8>>(2)?)?,
                },
                told: row.get(3)?,
            });
        }
        Ok(leaves)
    }

    /// An alert was raised about this leaf.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_leaf_told(&self, place: u64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE log_own SET told = 1 WHERE place = ?1")?;
        statement.execute([to_sql(place)])?;
        Ok(())
    }

    /// Keeps two heads that contradict each other; whether they are new.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn keep_log_evidence(
        &self,
        kind: LogEvidenceKind,
        first: &[u8],
        second: &[u8],
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let mut statement = self.db.prepare_cached(
            "INSERT OR IGNORE INTO log_evidence(at, kind, first, second) SELECT ?1, ?2, ?3, ?4 \
             WHERE (SELECT count(*) FROM log_evidence) < ?5",
        )?;
        let kind = kind as i64 + 1;
        Ok(statement.execute(params![to_sql(now), kind, first, second, EVIDENCE])? == 1)
    }

    /// All such pairs, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_evidence(&self) -> Result<Vec<LogEvidence>, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT at, kind, first, second FROM log_evidence ORDER BY evidence_id")?;
        let rows = statement.query_map([], |row| {
            Ok(LogEvidence {
                at: from_sql(row.get(0)?),
                kind: if row.get::<_, i64>(1)? == 1 {
                    LogEvidenceKind::Fork
                } else {
                    LogEvidenceKind::OtherLog
                },
                first: row.get(2)?,
                second: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a fork was found that nobody has acknowledged.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_log_forked(&self) -> Result<bool, StateError> {
        Ok(self.meta::<1>(FORKED)?.is_some())
    }

    /// A fork was found.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_log_forked(&self) -> Result<(), StateError> {
        self.put_meta(FORKED, &[1])
    }

    /// Whether a log was given up for another.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn is_former_log(&self, log: &Hash) -> Result<bool, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT 1 FROM log_former WHERE log = ?1")?;
        Ok(statement.exists([log.as_bytes()])?)
    }

    /// Everything that was learned about the log begins anew, with the unacknowledged head of another log, if there is
    /// one, as the highest; `former` is given up for it. Evidence stays.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin_log_anew(&self, former: Option<&Hash>) -> Result<(), StateError> {
        if let Some(former) = former {
            let mut statement = self
                .db
                .prepare_cached("INSERT OR IGNORE INTO log_former(log) VALUES (?1)")?;
            statement.execute([former.as_bytes()])?;
        }
        Ok(self.db.execute_batch(
            "DELETE FROM log_head WHERE role = 1; UPDATE log_head SET role = 1 WHERE role = 2; DELETE FROM log_scan;
             DELETE FROM log_own; UPDATE peer SET log_sent = 0, log_sent_at = 0, log_unproven = NULL, log_unproven_at = NULL;
             UPDATE grp SET log_sent = 0, log_sent_at = 0; DELETE FROM meta WHERE key = 'log_forked';",
        )?)
    }

    /// Running time at which the leaves were last read to the end.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_scanned_at(&self) -> Result<u64, StateError> {
        Ok(self.meta(SCANNED)?.map_or(0, u64::from_be_bytes))
    }

    /// A scan has ended: by running time, by the clock, and why it failed, by a number, 0 if it did not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_log_audited(&self, running: u64, now: UnixMs, failure: u8) -> Result<(), StateError> {
        self.put_meta(SCANNED, &running.to_be_bytes())?;
        self.put_meta(AUDITED, &[&now.to_be_bytes()[..], &[failure]].concat())
    }

    /// When the last scan ended, and why it failed, by a number.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn log_audited(&self) -> Result<Option<(UnixMs, u8)>, StateError> {
        let found = self.meta::<9>(AUDITED)?;
        Ok(found
            .map(|[a, b, c, d, e, f, g, h, failure]| (u64::from_be_bytes([a, b, c, d, e, f, g, h]), failure)))
    }

    /// Remembers a bundle that this agent has signed.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_own_bundle(&self, signed: &[u8]) -> Result<(), StateError> {
        let Some(own) = OwnBundle::of(signed) else {
            return Ok(());
        };
        let mut statement = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO own_bundle(hash, number, previous) VALUES (?1, ?2, ?3)")?;
        let previous = own.previous.map(|hash| *hash.as_bytes());
        statement.execute(params![own.hash.as_bytes(), to_sql(own.number), previous])?;
        Ok(())
    }

    /// This agent has signed bundles that are not known here.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn note_bundles_begin_late(&self) -> Result<(), StateError> {
        self.put_meta(BEGINS_LATE, &[1])
    }

    /// What is known of the bundles that this agent has signed.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn own_bundles(&self) -> Result<OwnBundles, StateError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT hash, number, previous FROM own_bundle ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut bundles = Vec::new();
        while let Some(row) = rows.next()? {
            let previous: Option<Vec<u8>> = row.get(2)?;
            bundles.push(OwnBundle {
                hash: hash("own_bundle", &row.get::<_, Vec<u8>>(0)?)?,
                number: from_sql(row.get(1)?),
                previous: previous.map(|bytes| hash("own_bundle", &bytes)).transpose()?,
            });
        }
        Ok(OwnBundles {
            bundles,
            begins_late: self.meta::<1>(BEGINS_LATE)?.is_some(),
        })
    }
}
