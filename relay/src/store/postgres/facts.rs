//! What the sends of a batch are decided by, asked for all of them at once: queues are locked in ascending order, and
//! what a send to a group hangs on is read behind the lock of its queue.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::PgConnection;
use waxwire_shared::{
    ids::{AgentId, GroupId, Hash, Mid},
    wire::Lane,
};

use super::sql;
use crate::store::{
    AgentNo, Blocks, NewEnvelope, OrgNo, QueueNo, SendOutcome, Target,
    writer::{
        admission::{Facts, Gate},
        memory::{Ends, Memory, Recipient, Sender},
    },
};

/// A queue's row, locked until the end of the transaction.
#[derive(Clone, Copy)]
pub(super) struct Locked {
    ends: Ends,
    epoch: u64,
    closed: bool,
}

/// Locks queues, in one order whoever does it, and reads them.
pub(super) async fn lock_queues(
    connection: &mut PgConnection,
    queues: &BTreeSet<QueueNo>,
) -> sqlx::Result<HashMap<QueueNo, Locked>> {
    if queues.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, i64, i64, i64, bool)> = sqlx::query_as(sql::LOCK_QUEUES)
        .bind(queues.iter().map(|queue| queue.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let locked = |(queue, head, acked, epoch, closed): (i64, i64, i64, i64, bool)| {
        let ends = Ends {
            head: head.cast_unsigned(),
            acked: acked.cast_unsigned(),
        };
        let epoch = epoch.cast_unsigned();
        (QueueNo(queue), Locked { ends, epoch, closed })
    };
    Ok(rows.into_iter().map(locked).collect())
}

/// The last event of agents; who has blocked whom, and whether that is told, if there is such a block.
type BlockRow = (i64, Option<i64>, Option<i64>, Option<bool>);

/// Id and hash of what was stored under an idempotency key.
type Held = (u64, Hash);

/// All that the sends of a batch are decided by.
pub(super) struct Known<'a> {
    memory: &'a mut Memory,
    sent: HashMap<(AgentNo, Mid), Held>,
    recipients: HashMap<AgentId, Recipient>,
    senders: HashMap<AgentNo, Sender>,
    blocks: Blocks,
    queues: HashMap<QueueNo, Locked>,
    gates: HashMap<(GroupId, AgentNo), Gate>,
    acks: HashMap<QueueNo, Vec<(AgentId, u64)>>,
}

impl<'a> Known<'a> {
    /// Asks for all of it, and locks the queues of the sends together with `others`.
    pub(super) async fn gather(
        connection: &mut PgConnection,
        memory: &'a mut Memory,
        sends: &[&NewEnvelope],
        others: BTreeSet<QueueNo>,
        now_ms: u64,
    ) -> sqlx::Result<Self> {
        let sent = find_sent(connection, sends).await?;
        let fresh: Vec<&NewEnvelope> = sends
            .iter()
            .copied()
            .filter(|send| !sent.contains_key(&(send.sender, send.mid)))
            .collect();
        let mut known = Self {
            memory,
            sent,
            recipients: HashMap::new(),
            senders: HashMap::new(),
            blocks: Blocks::default(),
            queues: HashMap::new(),
            gates: HashMap::new(),
            acks: HashMap::new(),
        };
        known.find_agents(connection, &fresh).await?;
        // While no queue is locked, and never for what was stored before.
        known.provide(&fresh, now_ms).await;
        let mut queues = others;
        for send in &fresh {
            if let Target::Direct { to, lane } = &send.target
                && let Some(recipient) = known.recipients.get(to)
            {
                queues.insert(recipient.queue(*lane));
            }
        }
        let groups: BTreeSet<(GroupId, AgentNo)> = fresh.iter().filter_map(|send| to_group(send)).collect();
        queues.extend(message_queues(connection, &groups).await?);
        known.queues = lock_queues(connection, &queues).await?;
        let event = known.find_blocks(connection, &fresh).await?;
        if known.memory.hear_of(event) {
            // Their queues are the same ones for ever.
            known.find_agents(connection, &fresh).await?;
        }
        known.find_gates(connection, &groups).await?;
        known.find_laggards(connection).await?;
        Ok(known)
    }

    async fn find_agents(
        &mut self,
        connection: &mut PgConnection,
        sends: &[&NewEnvelope],
    ) -> sqlx::Result<()> {
        self.find_recipients(connection, sends).await?;
        self.find_senders(connection, sends).await
    }

    async fn find_recipients(
        &mut self,
        connection: &mut PgConnection,
        sends: &[&NewEnvelope],
    ) -> sqlx::Result<()> {
        let mut missing = HashSet::new();
        for send in sends {
            if let Target::Direct { to, .. } = &send.target {
                match self.memory.recipient(to) {
                    Some(recipient) => drop(self.recipients.insert(*to, recipient)),
                    None => drop(missing.insert(*to)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let rows: Vec<(Vec<u8>, i64, i64, i64, String, bool)> = sqlx::query_as(sql::RECIPIENTS)
            .bind(
                missing
                    .iter()
                    .map(|id| id.as_bytes().as_slice())
                    .collect::<Vec<_>>(),
            )
            .fetch_all(connection)
            .await?;
        for (id, agent, mail, control, tier, succeeded) in rows {
            let recipient = Recipient {
                agent: AgentNo(agent),
                mail: QueueNo(mail),
                control: QueueNo(control),
                succeeded,
                limits: self.memory.tiers.get(&tier).sends,
            };
            let id = AgentId::from_slice(&id).map_err(damaged)?;
            self.memory.keep_recipient(id, recipient);
            self.recipients.insert(id, recipient);
        }
        Ok(())
    }

    async fn find_senders(
        &mut self,
        connection: &mut PgConnection,
        sends: &[&NewEnvelope],
    ) -> sqlx::Result<()> {
        let mut missing = HashSet::new();
        for send in sends {
            match self.memory.sender(send.sender) {
                Some(sender) => drop(self.senders.insert(send.sender, sender)),
                None => drop(missing.insert(send.sender)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(sql::SENDERS)
            .bind(missing.iter().map(|agent| agent.0).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
        for (agent, org, tier) in rows {
            let sender = Sender {
                org: OrgNo(org),
                limits: self.memory.tiers.get(&tier).sends,
            };
            self.memory.keep_sender(AgentNo(agent), sender);
            self.senders.insert(AgentNo(agent), sender);
        }
        Ok(())
    }

    /// What the limits of the senders leave for these sends.
    async fn provide(&mut self, sends: &[&NewEnvelope], now_ms: u64) {
        let limited = sends.iter().filter_map(|send| {
            let Sender { org, limits } = *self.senders.get(&send.sender)?;
            let lane = match &send.target {
                Target::Direct { lane, .. } => *lane,
                Target::Group { .. } => Lane::Mail,
            };
            Some((send.sender, org, lane, limits))
        });
        self.memory.meter.provide(limited, now_ms).await;
    }

    /// Blocks between senders and recipients, and the last event of agents. Behind the locks, so that they are as they
    /// are when the sends get their positions, whichever process changed them.
    async fn find_blocks(
        &mut self,
        connection: &mut PgConnection,
        sends: &[&NewEnvelope],
    ) -> sqlx::Result<u64> {
        let mut pairs = HashSet::new();
        for send in sends {
            if let Target::Direct { to, .. } = &send.target
                && let Some(recipient) = self.recipients.get(to)
            {
                pairs.insert((send.sender.0, recipient.agent.0));
                pairs.insert((recipient.agent.0, send.sender.0));
            }
        }
        let (by, blocked): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
        let rows: Vec<BlockRow> = sqlx::query_as(sql::BLOCKS_OF_SENDS)
            .bind(by)
            .bind(blocked)
            .fetch_all(connection)
            .await?;
        let (event, ..) = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let event = event.cast_unsigned();
        let block = |(_, by, blocked, told)| Some((by?, blocked?, told?));
        self.blocks = Blocks::of(rows.into_iter().filter_map(block));
        Ok(event)
    }

    async fn find_gates(
        &mut self,
        connection: &mut PgConnection,
        groups: &BTreeSet<(GroupId, AgentNo)>,
    ) -> sqlx::Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let rows: Vec<(Vec<u8>, i64, i64, bool, bool)> = sqlx::query_as(sql::GROUPS_OF_SENDS)
            .bind(
                groups
                    .iter()
                    .map(|(group, _)| group.as_bytes().as_slice())
                    .collect::<Vec<_>>(),
            )
            .bind(groups.iter().map(|(_, sender)| sender.0).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
        for (group, sender, messages, ended, is_member) in rows {
            let messages = QueueNo(messages);
            let Some(Locked { epoch, closed, .. }) = self.queues.get(&messages).copied() else {
                continue;
            };
            if is_member {
                let group = GroupId::from_slice(&group).map_err(damaged)?;
                let gate = Gate {
                    messages,
                    epoch,
                    closed,
                    ended,
                };
                self.gates.insert((group, AgentNo(sender)), gate);
            }
        }
        Ok(())
    }

    /// Acks of members, where somebody may be far behind.
    async fn find_laggards(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let queues: HashSet<QueueNo> = self.gates.values().map(|gate| gate.messages).collect();
        for queue in queues {
            let head = self.head(queue)?;
            if !self.memory.must_look(queue, head) {
                continue;
            }
            let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(sql::MEMBERS_ACKS)
                .bind(queue.0)
                .fetch_all(&mut *connection)
                .await?;
            let acks = rows.into_iter().map(|(id, acked)| {
                let id = AgentId::from_slice(&id).map_err(damaged)?;
                Ok((id, acked.cast_unsigned()))
            });
            self.acks.insert(queue, acks.collect::<sqlx::Result<_>>()?);
        }
        Ok(())
    }

    /// What was stored under the idempotency key of a send, also earlier in this batch.
    pub(super) fn sent(&self, send: &NewEnvelope) -> Option<SendOutcome> {
        let (envelope_id, hash) = *self.sent.get(&(send.sender, send.mid))?;
        Some(SendOutcome::Repeated { envelope_id, hash })
    }

    /// The id of a send that is stored; its key is taken from now on.
    pub(super) fn take_id(&mut self, send: &NewEnvelope, now_ms: u64) -> u64 {
        let id = self.memory.ids.next(now_ms);
        self.sent.insert((send.sender, send.mid), (id, send.hash));
        id
    }

    /// The last position of a queue before this batch.
    pub(super) fn head(&self, queue: QueueNo) -> sqlx::Result<u64> {
        let locked = self.queues.get(&queue).ok_or(sqlx::Error::RowNotFound)?;
        Ok(locked.ends.head)
    }
}

impl Facts for Known<'_> {
    type Error = sqlx::Error;

    fn memory(&mut self) -> &mut Memory {
        self.memory
    }

    fn recipient(&mut self, id: &AgentId) -> sqlx::Result<Option<Recipient>> {
        Ok(self.recipients.get(id).copied())
    }

    fn sender(&mut self, agent: AgentNo) -> sqlx::Result<Sender> {
        self.senders.get(&agent).copied().ok_or(sqlx::Error::RowNotFound)
    }

    fn blocks(&mut self) -> sqlx::Result<&Blocks> {
        Ok(&self.blocks)
    }

    fn gate(&mut self, group: &GroupId, sender: AgentNo) -> sqlx::Result<Option<Gate>> {
        Ok(self.gates.get(&(*group, sender)).copied())
    }

    fn ends(&mut self, queue: QueueNo) -> sqlx::Result<Ends> {
        let locked = self.queues.get(&queue).ok_or(sqlx::Error::RowNotFound)?;
        Ok(locked.ends)
    }

    fn acks_of_members(&mut self, queue: QueueNo) -> sqlx::Result<Vec<(AgentId, u64)>> {
        self.acks.remove(&queue).ok_or(sqlx::Error::RowNotFound)
    }
}

fn to_group(send: &NewEnvelope) -> Option<(GroupId, AgentNo)> {
    match &send.target {
        Target::Group { group, .. } => Some((*group, send.sender)),
        Target::Direct { .. } => None,
    }
}

/// A row that this program would not have written.
fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

async fn find_sent(
    connection: &mut PgConnection,
    sends: &[&NewEnvelope],
) -> sqlx::Result<HashMap<(AgentNo, Mid), Held>> {
    let rows: Vec<(i64, Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(sql::SENT)
        .bind(sends.iter().map(|send| send.sender.0).collect::<Vec<_>>())
        .bind(
            sends
                .iter()
                .map(|send| send.mid.as_bytes().as_slice())
                .collect::<Vec<_>>(),
        )
        .fetch_all(connection)
        .await?;
    let held = |(sender, mid, id, hash): (i64, Vec<u8>, i64, Vec<u8>)| {
        let mid = Mid::from_slice(&mid).map_err(damaged)?;
        let hash = Hash::from_slice(&hash).map_err(damaged)?;
        Ok(((AgentNo(sender), mid), (id.cast_unsigned(), hash)))
    };
    rows.into_iter().map(held).collect()
}

/// They never change, and have to be known before they are locked.
async fn message_queues(
    connection: &mut PgConnection,
    groups: &BTreeSet<(GroupId, AgentNo)>,
) -> sqlx::Result<Vec<QueueNo>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<&[u8]> = groups
        .iter()
        .map(|(group, _)| group.as_bytes().as_slice())
        .collect();
    let rows: Vec<(i64,)> = sqlx::query_as(sql::MESSAGE_QUEUES)
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|(queue,)| QueueNo(queue)).collect())
}
