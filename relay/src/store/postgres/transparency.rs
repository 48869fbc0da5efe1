//! The transparency log.

use sqlx::PgConnection;
use waxwire_shared::{
    ids::Hash,
    merkle::{Frontier, Node, Plan},
};

use super::{PostgresStore, batch::Transaction};
use crate::store::{
    AgentNo, BundleBytes, NewLeaf, SignedHead, WriteError,
    transparency::{self, grow},
};

const LOG: &str = "SELECT log_id FROM transparency_log";
const INSERT_LOG: &str = "INSERT INTO transparency_log (id, log_id) VALUES (1, $1)";
/// Once in the life of a database, and over all of it.
const TAKE_TIME: &str = "SET LOCAL statement_timeout = 0";
const OWE_LATEST: &str = "INSERT INTO transparency_due (agent_no, number, handle, published_at)
    SELECT agent.agent_no, max(number), handle, $1
    FROM agent JOIN bundle ON bundle.agent_no = agent.agent_no
    WHERE handle IS NOT NULL GROUP BY agent.agent_no ORDER BY agent.agent_no";
const OWE: &str = "INSERT INTO transparency_due (agent_no, number, handle, published_at)
    SELECT agent_no, $2, handle, $3 FROM agent
    WHERE agent_no = $1 AND handle IS NOT NULL AND EXISTS (SELECT 1 FROM transparency_log)";
pub(super) const DUE: &str = "SELECT due_no, due.handle, tag, due.number, bytes, published_at
    FROM transparency_due AS due
    JOIN bundle ON bundle.agent_no = due.agent_no AND bundle.number = due.number
    LEFT JOIN transparency_tag AS known ON known.handle = due.handle
    ORDER BY due_no LIMIT $1";
const SETTLE: &str = "DELETE FROM transparency_due WHERE due_no = ANY($1) RETURNING due_no";
const KEEP_TAGS: &str = "INSERT INTO transparency_tag (handle, tag)
    SELECT * FROM unnest($1::TEXT[], $2::BYTEA[]) ON CONFLICT DO NOTHING";
const INSERT_LEAVES: &str = "INSERT INTO transparency_leaf (leaf_index, tag, number, bundle)
    SELECT * FROM unnest($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BYTEA[])";
const INSERT_NODES: &str =
    "INSERT INTO transparency_node (node_no, hash) SELECT * FROM unnest($1::BIGINT[], $2::BYTEA[])";
pub(super) const SIZE: &str = "SELECT size FROM transparency_log";
const LOCK_SIZE: &str = "SELECT size FROM transparency_log FOR UPDATE";
const SET_SIZE: &str = "UPDATE transparency_log SET size = $1";
pub(super) const NODES: &str = "SELECT node_no, hash FROM transparency_node WHERE node_no = ANY($1)";
const INSERT_HEAD: &str = "INSERT INTO transparency_head (size, bytes)
    SELECT $1, $2 FROM transparency_log WHERE size >= $1 ON CONFLICT DO NOTHING";
pub(super) const NEWEST_HEAD: &str = "SELECT size, bytes FROM transparency_head ORDER BY size DESC LIMIT 1";
pub(super) const HEAD: &str = "SELECT bytes FROM transparency_head WHERE size = $1";
pub(super) const LEAF_OF: &str = "SELECT min(leaf_index) FROM transparency_leaf WHERE bundle = $1";
pub(super) const LEAVES: &str = "SELECT tag, number, bundle FROM transparency_leaf
    WHERE leaf_index >= $1 AND leaf_index < $2 ORDER BY leaf_index";

/// Numbers of nodes as a statement takes them.
pub(super) fn numbers(nodes: &[Node]) -> Vec<i64> {
    nodes.iter().map(|node| node.number().cast_signed()).collect()
}

/// A bundle that is published is due for the log, if there is one. Of an agent without a handle nothing is shown.
pub(super) async fn owe(tx: &mut Transaction<'_>, agent: AgentNo, bundle: &BundleBytes) -> sqlx::Result<()> {
    sqlx::query(OWE)
        .bind(agent.0)
        .bind(bundle.number.cast_signed())
        .bind(tx.now_ms.cast_signed())
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

async fn begin(tx: &mut Transaction<'_>, candidate: &Hash) -> sqlx::Result<Hash> {
    let held: Option<([u8; 32],)> = sqlx::query_as(LOG).fetch_optional(&mut *tx.connection).await?;
    if let Some((held,)) = held {
        return Ok(Hash::from_bytes(held));
    }
    sqlx::query(INSERT_LOG)
        .bind(candidate.as_bytes().as_slice())
        .execute(&mut *tx.connection)
        .await?;
    sqlx::query(TAKE_TIME).execute(&mut *tx.connection).await?;
    sqlx::query(OWE_LATEST)
        .bind(tx.now_ms.cast_signed())
        .execute(&mut *tx.connection)
        .await?;
    Ok(*candidate)
}

/// A size and what its frontier is made of. A node that is missing is a fault.
async fn frontier(connection: &mut PgConnection) -> sqlx::Result<Frontier> {
    let (size,): (i64,) = sqlx::query_as(LOCK_SIZE).fetch_one(&mut *connection).await?;
    let size = size.cast_unsigned();
    let nodes: Vec<Node> = Plan::root(size).nodes().collect();
    let rows = sqlx::query_as(NODES)
        .bind(numbers(&nodes))
        .fetch_all(connection)
        .await?;
    let found = transparency::nodes(&nodes, rows).map_err(|_| sqlx::Error::RowNotFound)?;
    let hashes: Option<Vec<Hash>> = nodes.iter().map(|node| found.get(node).copied()).collect();
    let frontier = hashes.and_then(|hashes| Frontier::new(size, hashes));
    frontier.ok_or(sqlx::Error::RowNotFound)
}

async fn append(tx: &mut Transaction<'_>, leaves: &[NewLeaf]) -> sqlx::Result<u64> {
    let mut frontier = frontier(tx.connection).await?;
    let asked: Vec<i64> = leaves.iter().map(|new| new.due.0).collect();
    let settled: Vec<(i64,)> = sqlx::query_as(SETTLE)
        .bind(asked)
        .fetch_all(&mut *tx.connection)
        .await?;
    let due: Vec<&NewLeaf> = leaves
        .iter()
        .filter(|new| settled.contains(&(new.due.0,)))
        .collect();
    insert(tx.connection, frontier.size(), &due).await?;
    let (nodes, hashes): (Vec<i64>, Vec<Vec<u8>>) = grow(&mut frontier, &due)
        .into_iter()
        .map(|(node, hash)| (node.number().cast_signed(), hash.as_bytes().to_vec()))
        .unzip();
    sqlx::query(INSERT_NODES)
        .bind(nodes)
        .bind(hashes)
        .execute(&mut *tx.connection)
        .await?;
    let size = frontier.size();
    sqlx::query(SET_SIZE)
        .bind(size.cast_signed())
        .execute(&mut *tx.connection)
        .await?;
    Ok(size)
}

/// Leaves from an index on, and their tags.
async fn insert(connection: &mut PgConnection, first: u64, leaves: &[&NewLeaf]) -> sqlx::Result<()> {
    let bytes = |hash: &Hash| hash.as_bytes().to_vec();
    let tags: Vec<Vec<u8>> = leaves.iter().map(|new| bytes(&new.leaf.handle_tag)).collect();
    let handles: Vec<&str> = leaves.iter().map(|new| new.handle.as_str()).collect();
    let indices: Vec<i64> = (first.cast_signed()..).take(leaves.len()).collect();
    let numbers: Vec<i64> = leaves.iter().map(|new| new.leaf.number.cast_signed()).collect();
    let bundles: Vec<Vec<u8>> = leaves.iter().map(|new| bytes(&new.leaf.bundle)).collect();
    sqlx::query(KEEP_TAGS)
        .bind(handles)
        .bind(&tags)
        .execute(&mut *connection)
        .await?;
    sqlx::query(INSERT_LEAVES)
        .bind(indices)
        .bind(&tags)
        .bind(numbers)
        .bind(bundles)
        .execute(connection)
        .await
        .map(drop)
}

impl PostgresStore {
    pub(in crate::store) async fn transparency_log(&self, candidate: Hash) -> Result<Hash, WriteError> {
        self.write(async move |tx| begin(tx, &candidate).await).await
    }

    pub(in crate::store) async fn append_leaves(&self, leaves: Vec<NewLeaf>) -> Result<u64, WriteError> {
        self.write(async move |tx| append(tx, &leaves).await).await
    }

    pub(in crate::store) async fn put_head(&self, head: SignedHead) -> Result<(), WriteError> {
        self.write(async move |tx| {
            sqlx::query(INSERT_HEAD)
                .bind(head.size.cast_signed())
                .bind(head.bytes.as_slice())
                .execute(&mut *tx.connection)
                .await
                .map(drop)
        })
        .await
    }
}
