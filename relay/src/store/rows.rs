//! Rows as every backend reads them, made into what leaves a store.

use futures_util::{Stream, TryStreamExt as _};
use waxwire_shared::{
    api::frames::Cursor,
    identity::IdentityKey,
    ids::{AgentId, BlobId, GroupId, Handle, Hash},
};

use super::{
    Account, AgentNo, AgentRecord, AuthEvent, BlobNo, BlobRecord, ChannelRecord, DeadWakeup, GroupNo,
    GroupRecord, LogTip, Membership, MembershipMark, OrgRecord, Page, Profile, QueueHead, QueueNo, Range,
    ReadError, Standing, StoredEnvelope, Wakeup,
};
use crate::limits::Tiers;

/// Kinds of queues.
pub(super) mod kind {
    pub(in crate::store) const MAIL: i64 = 1;
    pub(in crate::store) const CONTROL: i64 = 2;
    pub(in crate::store) const MESSAGES: i64 = 3;
    pub(in crate::store) const LOG: i64 = 4;
}

pub(super) const fn invalid(table: &'static str, column: &'static str) -> ReadError {
    ReadError::Row { table, column }
}

/// A limit as a statement takes it.
pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn agent_id(bytes: &[u8]) -> Result<AgentId, ReadError> {
    AgentId::from_slice(bytes).map_err(|_| invalid("agent", "agent_id"))
}

fn key_hash(bytes: &[u8]) -> Result<Hash, ReadError> {
    Hash::from_slice(bytes).map_err(|_| invalid("agent", "api_key_hash"))
}

pub(super) fn blob_id(bytes: &[u8]) -> Result<BlobId, ReadError> {
    BlobId::from_slice(bytes).map_err(|_| invalid("blob", "blob_id"))
}

pub(super) fn handle(text: &str) -> Result<Handle, ReadError> {
    text.parse().map_err(|_| invalid("agent", "handle"))
}

/// Number, id, queues, whether it is suspended, tier.
pub(super) type AccountRow = (i64, Vec<u8>, i64, i64, bool, String);

pub(super) fn account(row: AccountRow, key: Hash, tiers: &Tiers) -> Result<Account, ReadError> {
    let (agent, id, mail, control, suspended, tier) = row;
    Ok(Account {
        agent: AgentNo(agent),
        id: agent_id(&id)?,
        mail: QueueNo(mail),
        control: QueueNo(control),
        key,
        suspended,
        limits: tiers.get(&tier),
    })
}

/// Id, handle, identity, when it was registered and suspended, the hash of its key, its organisation.
pub(super) type AgentRow = (
    Vec<u8>,
    String,
    Vec<u8>,
    i64,
    Option<i64>,
    Option<Vec<u8>>,
    String,
);

pub(super) fn agent(row: AgentRow) -> Result<AgentRecord, ReadError> {
    let (id, name, identity, registered_at, suspended_at, api_key, org) = row;
    Ok(AgentRecord {
        id: agent_id(&id)?,
        handle: handle(&name)?,
        identity: IdentityKey::from_prefixed(&identity).ok_or_else(|| invalid("agent", "identity"))?,
        registered_at: registered_at.cast_unsigned(),
        suspended_at: suspended_at.map(i64::cast_unsigned),
        api_key: api_key.map(|hash| key_hash(&hash)).transpose()?,
        org,
    })
}

/// Handle, name, description, when it was registered.
pub(super) type ProfileRow = (String, Option<String>, Option<String>, i64);

pub(super) fn profile(row: ProfileRow) -> Result<Profile, ReadError> {
    let (name, display_name, description, registered_at) = row;
    Ok(Profile {
        handle: handle(&name)?,
        display_name,
        description,
        registered_at: registered_at.cast_unsigned(),
    })
}

/// An agent that can be seen, and when it was last there.
pub(super) fn seen(
    (agent, name, at): (i64, String, Option<i64>),
) -> Result<(AgentNo, Handle, Option<u64>), ReadError> {
    Ok((AgentNo(agent), handle(&name)?, at.map(i64::cast_unsigned)))
}

pub(super) fn contact((agent, name): (i64, String)) -> Result<(AgentNo, Handle), ReadError> {
    Ok((AgentNo(agent), handle(&name)?))
}

pub(super) const fn agent_no((agent,): (i64,)) -> AgentNo {
    AgentNo(agent)
}

pub(super) const fn head((queue, head): (i64, i64)) -> (QueueNo, u64) {
    (QueueNo(queue), head.cast_unsigned())
}

pub(super) const fn membership_mark((agent, all, over): (i64, i64, i64)) -> (AgentNo, MembershipMark) {
    (AgentNo(agent), MembershipMark { all, over })
}

pub(super) fn org((name, tier, agents): (String, String, i64)) -> OrgRecord {
    OrgRecord {
        name,
        tier,
        agents: agents.cast_unsigned(),
    }
}

pub(super) const fn auth_event((number, agent): (i64, i64)) -> AuthEvent {
    AuthEvent {
        number: number.cast_unsigned(),
        agent: AgentNo(agent),
    }
}

pub(super) const fn queue_head((head, acked): (i64, i64)) -> QueueHead {
    QueueHead {
        head: head.cast_unsigned(),
        acked: acked.cast_unsigned(),
    }
}

/// Position, id, time of storing, bytes.
pub(super) type EnvelopeRow = (i64, i64, i64, Vec<u8>);

/// A page that takes as many rows of its range as it may have.
pub(super) struct PageOf<'a> {
    range: &'a Range,
    page: Page,
    bytes: usize,
}

impl<'a> PageOf<'a> {
    pub(super) const fn new(range: &'a Range, head: u64) -> Self {
        let page = Page {
            head,
            more: false,
            envelopes: Vec::new(),
        };
        Self {
            range,
            page,
            bytes: 0,
        }
    }

    /// Takes the next row; false if it has no room for it, nor for any later one.
    pub(super) fn take(&mut self, (position, id, stored_at, bytes): EnvelopeRow) -> bool {
        self.bytes += bytes.len();
        self.page.more |= self.bytes > self.range.max_bytes && !self.page.envelopes.is_empty();
        if !self.page.more {
            self.page.envelopes.push(StoredEnvelope {
                position: position.cast_unsigned(),
                envelope_id: id.cast_unsigned(),
                stored_at: stored_at.cast_unsigned(),
                bytes,
            });
        }
        !self.page.more
    }

    pub(super) fn end(mut self) -> Page {
        self.page.more |= self.page.envelopes.len() == self.range.limit;
        self.page
    }
}

/// Takes as many rows of a range as it may have.
pub(super) async fn page(
    head: u64,
    range: &Range,
    rows: impl Stream<Item = Result<EnvelopeRow, sqlx::Error>>,
) -> Result<Page, ReadError> {
    let mut rows = std::pin::pin!(rows);
    let mut page = PageOf::new(range, head);
    while let Some(row) = rows.try_next().await? {
        if !page.take(row) {
            break;
        }
    }
    Ok(page.end())
}

/// Number, queues of messages and commits.
pub(super) type GroupRow = (i64, i64, i64);

pub(super) const fn group((no, messages, log): GroupRow) -> GroupRecord {
    GroupRecord {
        no: GroupNo(no),
        messages: QueueNo(messages),
        log: QueueNo(log),
    }
}

/// An agent at the log of a group.
pub(super) struct AtLog {
    pub(super) standing: Standing,
    open: bool,
    /// Of the whole log.
    head: u64,
    acked: u64,
}

impl AtLog {
    /// What there is to see of the log.
    pub(super) fn visible(&self) -> Option<QueueHead> {
        let head = match self.standing {
            _ if self.open => self.head,
            Standing::Member | Standing::Invited => self.head,
            Standing::Former { departed } => departed + 1,
            Standing::Stranger => return None,
        };
        let acked = self.acked;
        Some(QueueHead { head, acked })
    }
}

/// Whether it is a member, whether it is invited, when it departed, whether everybody may read the log, head and ack
/// of the log.
pub(super) type AtLogRow = (bool, bool, Option<i64>, bool, i64, Option<i64>);

pub(super) fn at_log((member, invited, departed, open, head, acked): AtLogRow) -> AtLog {
    let standing = match departed {
        _ if member => Standing::Member,
        _ if invited => Standing::Invited,
        Some(departed) => Standing::Former {
            departed: departed.cast_unsigned(),
        },
        None => Standing::Stranger,
    };
    AtLog {
        standing,
        open,
        head: head.cast_unsigned(),
        acked: acked.unwrap_or_default().cast_unsigned(),
    }
}

pub(super) fn log_tip((head, hash): (i64, Vec<u8>)) -> Result<LogTip, ReadError> {
    let position = head.cast_unsigned().checked_sub(1);
    Ok(LogTip {
        position: position.ok_or_else(|| invalid("queue", "head"))?,
        hash: Hash::from_slice(&hash).map_err(|_| invalid("queue", "log_head"))?,
    })
}

/// Slug, group, its number and queues, whether it is open, members.
pub(super) type ChannelRow = (String, Vec<u8>, i64, i64, i64, bool, i64);

pub(super) fn channel(row: ChannelRow) -> Result<ChannelRecord, ReadError> {
    let (slug, id, no, messages, log, open, members) = row;
    Ok(ChannelRecord {
        slug: slug.parse().map_err(|_| invalid("grp", "slug"))?,
        id: GroupId::from_slice(&id).map_err(|_| invalid("grp", "group_id"))?,
        group: group((no, messages, log)),
        open,
        members: members.cast_unsigned(),
    })
}

/// Group, its queues, whether the membership goes on, then head and ack of messages and log.
pub(super) type MembershipRow = (Vec<u8>, i64, i64, i64, bool, i64, i64, i64, i64);

pub(super) fn membership(row: MembershipRow) -> Result<Membership, ReadError> {
    let (id, no, messages, log, current, head, acked, log_head, log_acked) = row;
    Ok(Membership {
        id: GroupId::from_slice(&id).map_err(|_| invalid("grp", "group_id"))?,
        group: group((no, messages, log)),
        current,
        messages: queue_head((head, acked)),
        log: queue_head((log_head, log_acked)),
    })
}

/// Agent, its id, url, secret, queue, head, serial, attempts.
pub(super) type WakeupRow = (i64, Vec<u8>, String, String, String, i64, i64, i64);

pub(super) fn wakeup(row: WakeupRow) -> Result<Wakeup, ReadError> {
    let (agent, id, url, secret, queue, head, serial, attempts) = row;
    Ok(Wakeup {
        agent: AgentNo(agent),
        id: agent_id(&id)?,
        url,
        secret: secret.into(),
        cursor: Cursor {
            queue: queue.parse().map_err(|_| invalid("wakeup", "queue"))?,
            position: head.cast_unsigned(),
        },
        serial: serial.cast_unsigned(),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    })
}

/// Handle, attempts, reason, since when, when it was given up.
pub(super) type DeadWakeupRow = (String, i64, String, i64, i64);

pub(super) fn dead_wakeup(row: DeadWakeupRow) -> Result<DeadWakeup, ReadError> {
    let (name, attempts, reason, since, dead_at) = row;
    Ok(DeadWakeup {
        handle: handle(&name)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        reason,
        since: since.cast_unsigned(),
        dead_at: dead_at.cast_unsigned(),
    })
}

/// Number, owner, length, whether it is complete.
pub(super) type BlobRow = (i64, i64, i64, bool);

pub(super) const fn blob((no, owner, length, complete): BlobRow) -> BlobRecord {
    BlobRecord {
        no: BlobNo(no),
        owner: AgentNo(owner),
        length: length.cast_unsigned(),
        complete,
    }
}
