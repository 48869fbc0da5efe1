//! What is asked of groups and channels.

use waxwire_shared::{
    ids::{GroupId, Handle, Hash},
    limits,
};

use super::{Backend, sql};
use crate::store::{
    AgentNo, ChannelRecord, GroupNo, GroupRecord, LogTip, Membership, ReadError, Seat, Standing,
    rows::{self, AtLog, AtLogRow, ChannelRow, MembershipRow},
};

impl Backend {
    pub(in crate::store) async fn group(&self, id: &GroupId) -> Result<Option<GroupRecord>, ReadError> {
        let row = sqlx::query_as(sql::GROUP)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(rows::group))
    }

    pub(in crate::store) async fn standing(
        &self,
        group: &GroupRecord,
        agent: AgentNo,
    ) -> Result<Standing, ReadError> {
        let seat = Seat {
            group: group.no,
            agent,
            queue: group.log,
        };
        Ok(self.at_log(&seat).await?.standing)
    }

    pub(super) async fn at_log(&self, seat: &Seat) -> Result<AtLog, ReadError> {
        let row: AtLogRow = sqlx::query_as(sql::STANDING)
            .bind(seat.group.0)
            .bind(seat.agent.0)
            .bind(seat.queue.0)
            .bind(limits::INVITE_LIFE.cast_signed())
            .fetch_one(&self.readers)
            .await?;
        Ok(rows::at_log(row))
    }

    pub(in crate::store) async fn is_open(&self, group: &GroupRecord) -> Result<bool, ReadError> {
        let (open,): (bool,) = sqlx::query_as(sql::IS_OPEN)
            .bind(group.no.0)
            .fetch_one(&self.readers)
            .await?;
        Ok(open)
    }

    pub(in crate::store) async fn channel(&self, slug: &Handle) -> Result<Option<ChannelRecord>, ReadError> {
        let row: Option<ChannelRow> = sqlx::query_as(sql::CHANNEL)
            .bind(slug.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(rows::channel).transpose()
    }

    pub(in crate::store) async fn open_channels(
        &self,
        after: &str,
        limit: u64,
    ) -> Result<Vec<ChannelRecord>, ReadError> {
        let rows: Vec<ChannelRow> = sqlx::query_as(sql::OPEN_CHANNELS)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::channel).collect()
    }

    pub(in crate::store) async fn log_tip(&self, group: &GroupRecord) -> Result<LogTip, ReadError> {
        let row = sqlx::query_as(sql::LOG_TIP)
            .bind(group.log.0)
            .fetch_one(&self.readers)
            .await?;
        rows::log_tip(row)
    }

    pub(in crate::store) async fn commit_position(
        &self,
        group: GroupNo,
        hash: &Hash,
    ) -> Result<Option<u64>, ReadError> {
        let row: Option<(i64,)> = sqlx::query_as(sql::COMMIT_POSITION)
            .bind(group.0)
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(position,)| position.cast_unsigned()))
    }

    pub(in crate::store) async fn rekey_position(
        &self,
        group: GroupNo,
        epoch: u64,
    ) -> Result<Option<u64>, ReadError> {
        let row: Option<(i64,)> = sqlx::query_as(sql::REKEY_POSITION)
            .bind(group.0)
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(position,)| position.cast_unsigned()))
    }

    pub(in crate::store) async fn leaves(
        &self,
        group: GroupNo,
        epoch: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let row: Option<(Vec<u8>,)> = sqlx::query_as(sql::LEAVES)
            .bind(group.0)
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(leaves,)| leaves))
    }

    pub(in crate::store) async fn memberships(&self, agent: AgentNo) -> Result<Vec<Membership>, ReadError> {
        let rows: Vec<MembershipRow> = sqlx::query_as(sql::MEMBERSHIPS)
            .bind(agent.0)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(rows::membership).collect()
    }
}
