//! Whether a send may be stored, and where: its recipient or group, blocks and limits as they are in this
//! transaction. The limits come last, and what was stored before is answered whatever they say.

use waxwire_shared::{
    api::frames::{Allowance, Notice, Queue},
    ids::{AgentId, GroupId},
    wire::Lane,
};

use super::memory::{Ends, Laggards, Memory, Recipient, Sender};
use crate::store::{AgentNo, Blocks, NewEnvelope, QueueNo, SendOutcome, Target};

/// Acks of a group's members are looked at once for so many messages, if one may be far behind, and more
/// often where little may wait.
const LOOK_EVERY: u64 = 64;
/// Most members that are named in an answer.
const NAMED: usize = 256;

/// What a send is decided by, from wherever a backend has it.
pub(in crate::store) trait Facts {
    /// Why a fact cannot be had.
    type Error;

    fn memory(&mut self) -> &mut Memory;
    fn recipient(&mut self, id: &AgentId) -> Result<Option<Recipient>, Self::Error>;
    fn sender(&mut self, agent: AgentNo) -> Result<Sender, Self::Error>;
    fn blocks(&mut self) -> Result<&Blocks, Self::Error>;
    /// None if the group is not there for the sender.
    fn gate(&mut self, group: &GroupId, sender: AgentNo) -> Result<Option<Gate>, Self::Error>;
    /// As they were before this batch.
    fn ends(&mut self, queue: QueueNo) -> Result<Ends, Self::Error>;
    /// How far each member of the group with these messages has acknowledged.
    fn acks_of_members(&mut self, queue: QueueNo) -> Result<Vec<(AgentId, u64)>, Self::Error>;
}

/// What a send to a group is decided by.
#[derive(Clone, Copy)]
pub(in crate::store) struct Gate {
    pub(in crate::store) messages: QueueNo,
    pub(in crate::store) epoch: u64,
    pub(in crate::store) closed: bool,
    pub(in crate::store) ended: bool,
}

/// Where a send goes.
pub(in crate::store) struct Place {
    pub(in crate::store) queue_no: QueueNo,
    pub(in crate::store) queue: Queue,
    lane: Lane,
    /// How many may wait there; 0: as many as come, and of a group in any case.
    cap: u64,
}

/// A send that may be stored.
pub(in crate::store) struct Admitted {
    pub(in crate::store) place: Place,
    sender: Sender,
    /// How many wait there with it.
    waiting: u64,
}

/// Finds the place of a send; `pending` of this batch go to a queue before it.
pub(in crate::store) fn admit<F: Facts>(
    facts: &mut F,
    send: &NewEnvelope,
    now_ms: u64,
    pending: impl Fn(QueueNo) -> u64,
) -> Result<Result<Admitted, SendOutcome>, F::Error> {
    let place = match &send.target {
        Target::Direct { to, lane } => reach(facts, send.sender, to, *lane)?,
        Target::Group { group, epoch } => {
            let gate = facts.gate(group, send.sender)?;
            pass_gate(gate, group, *epoch)
        }
    };
    let place = match place {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let sender = facts.sender(send.sender)?;
    let meter = &mut facts.memory().meter;
    if let Err(due) = meter.check(send.sender, sender.org, place.lane, &sender.limits, now_ms) {
        return Ok(Err(SendOutcome::TooOften(due)));
    }
    let ends = facts.ends(place.queue_no)?;
    let waiting = ends.head + pending(place.queue_no) - ends.acked;
    if place.cap > 0 && waiting >= place.cap {
        let cap = place.cap;
        return Ok(Err(SendOutcome::Backlogged { waiting, cap }));
    }
    Ok(Ok(Admitted {
        place,
        sender,
        waiting: waiting + 1,
    }))
}

/// Counts a send that is stored. What its sender should know besides: a limit that is near, a member of the
/// group that does not keep up.
pub(in crate::store) fn count<F: Facts>(
    facts: &mut F,
    send: &NewEnvelope,
    admitted: &Admitted,
    now_ms: u64,
) -> Result<Option<Box<Notice>>, F::Error> {
    let Admitted {
        place,
        sender,
        waiting,
    } = admitted;
    let limits = &sender.limits;
    let meter = &mut facts.memory().meter;
    let left = meter.count(send.sender, sender.org, place.lane, limits, now_ms);
    let is_much = place.lane == Lane::Mail && place.cap > 0 && *waiting >= place.cap.div_ceil(2);
    let notice = Notice {
        backlog: if is_much { *waiting } else { 0 },
        allowance: left.map(|remaining| Allowance {
            limit: limits.sends_per_minute,
            remaining,
        }),
        skipped: match send.target {
            Target::Group { .. } => behind(facts, place.queue_no)?,
            Target::Direct { .. } => Vec::new(),
        },
    };
    Ok((!notice.is_empty()).then(|| Box::new(notice)))
}

/// Membership, end and epoch.
fn pass_gate(gate: Option<Gate>, group: &GroupId, epoch: u64) -> Result<Place, SendOutcome> {
    match gate {
        None => Err(SendOutcome::NotFound),
        Some(Gate { ended: true, .. }) => Err(SendOutcome::Gone),
        Some(gate) if gate.epoch == epoch && !gate.closed => Ok(Place {
            queue_no: gate.messages,
            queue: Queue::Group(*group),
            lane: Lane::Mail,
            cap: 0,
        }),
        Some(gate) => Err(SendOutcome::EpochClosed { current: gate.epoch }),
    }
}

/// The recipient exists, and no block is between the two.
fn reach<F: Facts>(
    facts: &mut F,
    sender: AgentNo,
    to: &AgentId,
    lane: Lane,
) -> Result<Result<Place, SendOutcome>, F::Error> {
    let Some(recipient) = facts.recipient(to)? else {
        return Ok(Err(SendOutcome::NotFound));
    };
    Ok(match facts.blocks()?.refusal(sender, recipient.agent) {
        Some(refused) => Err(refused),
        None if recipient.succeeded => Err(SendOutcome::Succeeded),
        None => Ok(Place {
            queue_no: recipient.queue(lane),
            queue: lane.into(),
            lane,
            cap: recipient.cap(lane),
        }),
    })
}

/// Members of a group for whom more waits in it than may wait for an agent. They lose nothing: every
/// member reads the group's one queue from where it has acknowledged.
fn behind<F: Facts>(facts: &mut F, queue: QueueNo) -> Result<Vec<AgentId>, F::Error> {
    let head = facts.ends(queue)?.head;
    if facts.memory().must_look(queue, head) {
        let acks = facts.acks_of_members(queue)?;
        facts.memory().look(queue, head, acks);
    }
    Ok(facts.memory().behind(queue, head))
}

impl Memory {
    /// Whether somebody may be far behind `head` without that being known.
    pub(in crate::store) fn must_look(&self, queue: QueueNo, head: u64) -> bool {
        let cap = self.tiers.default.sends.backlog;
        let known = self.laggards.get(&queue);
        self.may_be_behind(queue, head)
            && known.is_none_or(|known| head >= known.looked_at + LOOK_EVERY.min(cap.div_ceil(16)))
    }

    fn may_be_behind(&self, queue: QueueNo, head: u64) -> bool {
        let cap = self.tiers.default.sends.backlog;
        let floor = self.laggards.get(&queue).map_or(0, |known| known.floor);
        cap > 0 && head.saturating_sub(floor) >= cap
    }

    fn look(&mut self, queue: QueueNo, head: u64, acks: Vec<(AgentId, u64)>) {
        let cap = self.tiers.default.sends.backlog;
        let floor = acks.iter().map(|(_, acked)| *acked).fold(head, u64::min);
        let far = acks
            .into_iter()
            .filter(|(_, acked)| head.saturating_sub(*acked) >= cap);
        let laggards = Laggards {
            floor,
            looked_at: head,
            members: far.map(|(member, _)| member).take(NAMED).collect(),
        };
        self.laggards.insert(queue, laggards);
    }

    fn behind(&self, queue: QueueNo, head: u64) -> Vec<AgentId> {
        match self.laggards.get(&queue) {
            Some(known) if self.may_be_behind(queue, head) => known.members.to_vec(),
            _ => Vec::new(),
        }
    }
}
