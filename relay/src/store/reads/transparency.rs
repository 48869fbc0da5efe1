//! The transparency log.

use waxwire_shared::{ids::Hash, merkle::Node, wire::LogLeaf};

use super::{Backend, log_sql as sql};
use crate::store::{
    DueBundle, Nodes, ReadError, SignedHead,
    rows::count,
    transparency::{self, DueRow, LeafRow, number},
};

impl Backend {
    pub(in crate::store) async fn due_bundles(&self, limit: usize) -> Result<Vec<DueBundle>, ReadError> {
        let rows: Vec<DueRow> = sqlx::query_as(sql::DUE)
            .bind(count(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(transparency::due).collect()
    }

    pub(in crate::store) async fn transparency_size(&self) -> Result<u64, ReadError> {
        let row: Option<(i64,)> = sqlx::query_as(sql::SIZE).fetch_optional(&self.readers).await?;
        Ok(row.map_or(0, |(size,)| size.cast_unsigned()))
    }

    pub(in crate::store) async fn transparency_nodes(&self, nodes: &[Node]) -> Result<Nodes, ReadError> {
        let rows = sqlx::query_as(sql::NODES)
            .bind(sql::numbers(nodes))
            .fetch_all(&self.readers)
            .await?;
        transparency::nodes(nodes, rows)
    }

    pub(in crate::store) async fn newest_head(&self) -> Result<Option<SignedHead>, ReadError> {
        let row = sqlx::query_as(sql::NEWEST_HEAD)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(transparency::signed_head))
    }

    pub(in crate::store) async fn head_of(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(sql::HEAD)
            .bind(number(size))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(bytes,)| bytes))
    }

    pub(in crate::store) async fn leaf_of(&self, bundle: &Hash) -> Result<Option<u64>, ReadError> {
        let (index,): (Option<i64>,) = sqlx::query_as(sql::LEAF_OF)
            .bind(bundle.as_bytes().as_slice())
            .fetch_one(&self.readers)
            .await?;
        Ok(index.map(i64::cast_unsigned))
    }

    pub(in crate::store) async fn log_leaves(&self, from: u64, to: u64) -> Result<Vec<LogLeaf>, ReadError> {
        let rows: Vec<LeafRow> = sqlx::query_as(sql::LEAVES)
            .bind(number(from))
            .bind(number(to))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(transparency::leaf).collect()
    }
}
