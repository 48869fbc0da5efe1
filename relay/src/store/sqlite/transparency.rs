//! The transparency log.

use rusqlite::{Connection, OptionalExtension as _, params};
use waxwire_shared::{
    ids::Hash,
    merkle::{Frontier, Node, Plan},
    wire::LogLeaf,
};

use super::{SqliteStore, batch::Transaction};
use crate::store::{AgentNo, BundleBytes, NewLeaf, SignedHead, WriteError, transparency::grow};

const LOG: &str = "SELECT log_id FROM transparency_log";
const INSERT_LOG: &str = "INSERT INTO transparency_log (id, log_id) VALUES (1, ?1)";
const OWE_LATEST: &str = "INSERT INTO transparency_due (agent_no, number, handle, published_at)
    SELECT agent.agent_no, max(number), handle, ?1
    FROM agent JOIN bundle ON bundle.agent_no = agent.agent_no
    WHERE handle IS NOT NULL GROUP BY agent.agent_no ORDER BY agent.agent_no";
const OWE: &str = "INSERT INTO transparency_due (agent_no, number, handle, published_at)
    SELECT agent_no, ?2, handle, ?3 FROM agent
    WHERE agent_no = ?1 AND handle IS NOT NULL AND EXISTS (SELECT 1 FROM transparency_log)";
pub(super) const DUE: &str = "SELECT due_no, due.handle, tag, due.number, bytes, published_at
    FROM transparency_due AS due
    JOIN bundle ON bundle.agent_no = due.agent_no AND bundle.number = due.number
    LEFT JOIN transparency_tag AS known ON known.handle = due.handle
    ORDER BY due_no LIMIT ?1";
const SETTLE: &str = "DELETE FROM transparency_due WHERE due_no = ?1";
const KEEP_TAG: &str = "INSERT INTO transparency_tag (handle, tag) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
const INSERT_LEAF: &str =
    "INSERT INTO transparency_leaf (leaf_index, tag, number, bundle) VALUES (?1, ?2, ?3, ?4)";
const INSERT_NODE: &str = "INSERT INTO transparency_node (node_no, hash) VALUES (?1, ?2)";
const NODE: &str = "SELECT hash FROM transparency_node WHERE node_no = ?1";
pub(super) const SIZE: &str = "SELECT size FROM transparency_log";
const SET_SIZE: &str = "UPDATE transparency_log SET size = ?1";
pub(super) const NODES: &str =
    "SELECT node_no, hash FROM transparency_node WHERE node_no IN (SELECT value FROM json_each(?1))";
const INSERT_HEAD: &str = "INSERT INTO transparency_head (size, bytes)
    SELECT ?1, ?2 FROM transparency_log WHERE size >= ?1 ON CONFLICT DO NOTHING";
pub(super) const NEWEST_HEAD: &str = "SELECT size, bytes FROM transparency_head ORDER BY size DESC LIMIT 1";
pub(super) const HEAD: &str = "SELECT bytes FROM transparency_head WHERE size = ?1";
pub(super) const LEAF_OF: &str = "SELECT min(leaf_index) FROM transparency_leaf WHERE bundle = ?1";
pub(super) const LEAVES: &str = "SELECT tag, number, bundle FROM transparency_leaf
    WHERE leaf_index >= ?1 AND leaf_index < ?2 ORDER BY leaf_index";

/// Numbers of nodes as a statement takes them.
pub(super) fn numbers(nodes: &[Node]) -> String {
    let numbers: Vec<u64> = nodes.iter().map(|node| node.number()).collect();
    serde_json::json!(numbers).to_string()
}

/// A bundle that is published is due for the log, if there is one. Of an agent without a handle nothing is shown.
pub(super) fn owe(tx: &Transaction<'_>, agent: AgentNo, bundle: &BundleBytes) -> rusqlite::Result<()> {
    let (number, now) = (bundle.number.cast_signed(), tx.now_ms.cast_signed());
    tx.connection
        .prepare_cached(OWE)?
        .execute(params![agent.0, number, now])
        .map(drop)
}

fn begin(tx: &Transaction<'_>, candidate: &Hash) -> rusqlite::Result<Hash> {
    let connection = tx.connection;
    let held: Option<[u8; 32]> = connection.query_row(LOG, [], |row| row.get(0)).optional()?;
    if let Some(held) = held {
        return Ok(Hash::from_bytes(held));
    }
    connection.execute(INSERT_LOG, [candidate.as_bytes()])?;
    connection.execute(OWE_LATEST, [tx.now_ms.cast_signed()])?;
    Ok(*candidate)
}

/// A size and what its frontier is made of. A node that is missing is a fault.
fn frontier(connection: &Connection) -> rusqlite::Result<Frontier> {
    let size: i64 = connection.prepare_cached(SIZE)?.query_row([], |row| row.get(0))?;
    let size = size.cast_unsigned();
    let mut find = connection.prepare_cached(NODE)?;
    let hash = |node: Node| find.query_row([node.number().cast_signed()], |row| row.get(0));
    let hashes: rusqlite::Result<Vec<[u8; 32]>> = Plan::root(size).nodes().map(hash).collect();
    let hashes = hashes?.into_iter().map(Hash::from_bytes).collect();
    Frontier::new(size, hashes).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

fn append(tx: &Transaction<'_>, leaves: &[NewLeaf]) -> rusqlite::Result<u64> {
    let connection = tx.connection;
    let mut frontier = frontier(connection)?;
    let mut settle = connection.prepare_cached(SETTLE)?;
    let mut due = Vec::new();
    for new in leaves {
        if settle.execute([new.due.0])? == 1 {
            due.push(new);
        }
    }
    for (index, new) in (frontier.size()..).zip(&due) {
        insert(connection, index, new)?;
    }
    for (node, hash) in grow(&mut frontier, &due) {
        connection
            .prepare_cached(INSERT_NODE)?
            .execute(params![node.number().cast_signed(), hash.as_bytes()])?;
    }
    let size = frontier.size();
    connection
        .prepare_cached(SET_SIZE)?
        .execute([size.cast_signed()])?;
    Ok(size)
}

fn insert(connection: &Connection, index: u64, new: &NewLeaf) -> rusqlite::Result<()> {
    let LogLeaf {
        handle_tag,
        number,
        bundle,
    } = &new.leaf;
    connection
        .prepare_cached(KEEP_TAG)?
        .execute(params![new.handle.as_str(), handle_tag.as_bytes()])?;
    connection.prepare_cached(INSERT_LEAF)?.execute(params![
        index.cast_signed(),
        handle_tag.as_bytes(),
        number.cast_signed(),
        bundle.as_bytes()
    ])?;
    Ok(())
}

impl SqliteStore {
    pub(in crate::store) async fn transparency_log(&self, candidate: Hash) -> Result<Hash, WriteError> {
        self.write(move |tx| begin(tx, &candidate)).await
    }

    pub(in crate::store) async fn append_leaves(&self, leaves: Vec<NewLeaf>) -> Result<u64, WriteError> {
        self.write(move |tx| append(tx, &leaves)).await
    }

    pub(in crate::store) async fn put_head(&self, head: SignedHead) -> Result<(), WriteError> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(INSERT_HEAD)?
                .execute(params![head.size.cast_signed(), head.bytes])
                .map(drop)
        })
        .await
    }
}
