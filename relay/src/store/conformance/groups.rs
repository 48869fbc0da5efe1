//! Rules about groups: their logs, and what is sent to them (docs/relay-api.md, Groups).

use super::*;
use crate::store::{
    AppendOutcome, Effect, GroupRecord, LogTip, Naming, NewCommit, QueueHead, Standing, View,
    conformance::World,
};
use waxwire_shared::ids::GroupId;

/// A group under test: its log as far as the test has written it.
pub(super) struct Log {
    pub(super) id: GroupId,
    pub(super) record: GroupRecord,
    founder: AgentNo,
    next: u64,
    previous: Hash,
    epoch: u64,
}

pub(super) fn joined(agents: &[&Account]) -> Effect {
    Effect {
        joined: agents.iter().map(|agent| agent.id).collect(),
        ..Effect::default()
    }
}

pub(super) fn departed(agent: &Account) -> Effect {
    Effect {
        departed: vec![agent.id],
        ..Effect::default()
    }
}

pub(super) fn invited(id: AgentId) -> Effect {
    Effect {
        invited: vec![id],
        ..Effect::default()
    }
}

/// The first commit of a group of which `founder` is the only member.
pub(super) fn first(number: u8, founder: &Account, naming: Option<Naming>) -> NewCommit {
    NewCommit {
        group: GroupId::from_bytes([number; 32]),
        by: founder.agent,
        position: 0,
        previous: None,
        hash: Hash::from_bytes([number; 32]),
        bytes: Bytes::from_static(b"commit 0"),
        rekey: Some((1, Bytes::from_static(b"leaves 1"))),
        effect: Effect {
            naming,
            ..joined(&[founder])
        },
    }
}

impl Log {
    /// A group of which `founder` is the only member.
    pub(super) async fn create<B: Backend>(world: &World<B>, number: u8, founder: &Account) -> Self {
        Self::create_by(world, first(number, founder, None)).await
    }

    /// A group that begins with this commit.
    pub(super) async fn create_by<B: Backend>(world: &World<B>, first: NewCommit) -> Self {
        let (id, founder, hash) = (first.group, first.by, first.hash);
        let Ok(AppendOutcome::Appended(record)) = world.store.append(first).await else {
            panic!("not appended");
        };
        assert_eq!(world.store.group(&id).await.unwrap(), Some(record));
        Self {
            id,
            record,
            founder,
            next: 1,
            previous: hash,
            epoch: 1,
        }
    }

    /// The next commit; `tag` tells commits of one position apart.
    pub(super) fn commit(&self, tag: u8, effect: Effect) -> NewCommit {
        let bytes = Bytes::from(format!("commit {} {tag}", self.next));
        NewCommit {
            group: self.id,
            by: self.founder,
            position: self.next,
            previous: Some(self.previous),
            hash: sha256(&[self.id.as_bytes().as_slice(), &bytes].concat()),
            bytes,
            rekey: None,
            effect,
        }
    }

    pub(super) fn rekey(&self, effect: Effect) -> NewCommit {
        let epoch = self.epoch + 1;
        NewCommit {
            rekey: Some((epoch, Bytes::from(format!("leaves {epoch}")))),
            ..self.commit(0, effect)
        }
    }

    pub(super) async fn append<B: Backend>(&mut self, world: &World<B>, commit: NewCommit) {
        let outcome = world.store.append(commit.clone()).await;
        assert_eq!(outcome, Ok(AppendOutcome::Appended(self.record)));
        self.follow(&commit);
    }

    /// A commit that was appended.
    pub(super) fn follow(&mut self, commit: &NewCommit) {
        self.next += 1;
        self.previous = commit.hash;
        self.epoch = commit.rekey.as_ref().map_or(self.epoch, |(epoch, _)| *epoch);
    }

    /// How many commits there are.
    pub(super) const fn length(&self) -> u64 {
        self.next
    }

    pub(super) fn message(&self, from: &Account, epoch: u64, mid: u64) -> NewEnvelope {
        NewEnvelope {
            target: Target::Group {
                group: self.id,
                epoch,
            },
            ..to_lane(from, from.id, Lane::Mail, mid)
        }
    }

    pub(super) async fn say<B: Backend>(&self, world: &World<B>, from: &Account, mid: u64) {
        let outcome = world.store.send(self.message(from, self.epoch, mid)).await;
        assert!(matches!(outcome, Ok(SendOutcome::Stored { .. })), "{outcome:?}");
    }

    pub(super) async fn messages<B: Backend>(&self, world: &World<B>, agent: &Account) -> Option<Vec<u64>> {
        positions(world, self.record.messages_for(agent.agent)).await
    }

    pub(super) async fn commits<B: Backend>(&self, world: &World<B>, agent: &Account) -> Option<Vec<u64>> {
        positions(world, self.record.log_for(agent.agent)).await
    }
}

pub(super) async fn positions<B: Backend>(world: &World<B>, view: View) -> Option<Vec<u64>> {
    let page = world.store.read(view, ALL).await.unwrap()?;
    let head = world.store.queue_head(view).await.unwrap().unwrap().head;
    assert_eq!(page.head, head);
    assert!(page.envelopes.iter().all(|envelope| envelope.position <= head));
    Some(page.envelopes.iter().map(|envelope| envelope.position).collect())
}

pub(super) async fn head<B: Backend>(world: &World<B>, view: View) -> (u64, u64) {
    let QueueHead { head, acked } = world.store.queue_head(view).await.unwrap().unwrap();
    (head, acked)
}

pub(crate) async fn log_takes_commits_in_order_and_one_at_a_position<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let mut log = Log::create(&world, 1, &founder).await;
    let (winner, loser) = (log.commit(1, Effect::default()), log.commit(2, Effect::default()));
    log.append(&world, winner.clone()).await;
    assert_eq!(
        world.store.append(loser.clone()).await,
        Ok(AppendOutcome::Conflict)
    );
    // Neither a gap nor another parent.
    let mut ahead = log.commit(3, Effect::default());
    ahead.position += 1;
    assert_eq!(world.store.append(ahead).await, Ok(AppendOutcome::Conflict));
    let mut forked = log.commit(4, Effect::default());
    forked.previous = Some(loser.hash);
    assert_eq!(world.store.append(forked).await, Ok(AppendOutcome::Conflict));
    let next = log.commit(5, Effect::default());
    log.append(&world, next.clone()).await;
    let tip = LogTip {
        position: 2,
        hash: next.hash,
    };
    assert_eq!(world.store.log_tip(&log.record).await.unwrap(), tip);
    let page = world.store.read(log.record.log_for(founder.agent), ALL).await;
    let page = page.unwrap().unwrap();
    let bytes: Vec<_> = page
        .envelopes
        .iter()
        .map(|envelope| envelope.bytes.clone())
        .collect();
    assert_eq!(
        bytes,
        [b"commit 0".to_vec(), winner.bytes.to_vec(), next.bytes.to_vec()]
    );
    assert_eq!(log.commits(&world, &founder).await, Some(vec![1, 2, 3]));
    assert_eq!(world.heard.0.lock().unwrap()[&log.record.log], [1, 2, 3]);
}

pub(crate) async fn racing_commits_have_one_winner<B: Backend>() {
    let world = World::<B>::new().await;
    let founder = world.agent(1).await;
    let mut log = Log::create(&world, 1, &founder).await;
    for _ in 0..20 {
        let appends = (0..8).map(|tag| world.store.append(log.commit(tag, Effect::default())));
        let outcomes = futures_util::future::join_all(appends).await;
        let winners: Vec<usize> = (0..8)
            .filter(|tag| outcomes[*tag] == Ok(AppendOutcome::Appended(log.record)))
            .collect();
        assert_eq!(winners.len(), 1);
        let losers = outcomes
            .iter()
            .filter(|outcome| **outcome == Ok(AppendOutcome::Conflict));
        assert_eq!(losers.count(), 7);
        log.previous = log
            .commit(u8::try_from(winners[0]).unwrap(), Effect::default())
            .hash;
        log.next += 1;
    }
}

pub(crate) async fn append_is_idempotent_by_hash_wherever_the_commit_stands<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let first = log.commit(0, joined(&[&other]));
    log.append(&world, first.clone()).await;
    let second = log.rekey(departed(&other));
    log.append(&world, second.clone()).await;
    for (commit, position) in [(&first, 1), (&second, 2), (&first, 1)] {
        let outcome = world.store.append(commit.clone()).await;
        assert_eq!(outcome, Ok(AppendOutcome::Repeated { position }));
        let found = world.store.commit_position(log.record.no, &commit.hash).await;
        assert_eq!(found.unwrap(), Some(position));
    }
    // Not even its effects happen again.
    assert_eq!(log.commits(&world, &founder).await, Some(vec![1, 2, 3]));
    let standing = world.store.standing(&log.record, other.agent).await;
    assert_eq!(standing.unwrap(), Standing::Former { departed: 2 });
    let unknown = world
        .store
        .commit_position(log.record.no, &Hash::from_bytes([9; 32]))
        .await;
    assert_eq!(unknown.unwrap(), None);
    let world = world.crash().await;
    let outcome = world.store.append(second).await;
    assert_eq!(outcome, Ok(AppendOutcome::Repeated { position: 2 }));
}

pub(crate) async fn refused_append_leaves_no_trace<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let log = Log::create(&world, 1, &founder).await;
    let mut late = log.rekey(joined(&[&other]));
    late.previous = Some(Hash::from_bytes([9; 32]));
    assert_eq!(
        world.store.append(late.clone()).await,
        Ok(AppendOutcome::Conflict)
    );
    assert_eq!(
        world
            .store
            .commit_position(log.record.no, &late.hash)
            .await
            .unwrap(),
        None
    );
    assert_eq!(world.store.leaves(log.record.no, 2).await.unwrap(), None);
    let standing = world.store.standing(&log.record, other.agent).await;
    assert_eq!(standing.unwrap(), Standing::Stranger);
    log.say(&world, &founder, 1).await;
    // Nor does a commit make a group whose log it does not begin.
    for (position, previous) in [(0, Some(late.hash)), (1, Some(late.hash)), (1, None)] {
        let orphan = NewCommit {
            group: GroupId::from_bytes([7; 32]),
            position,
            previous,
            ..late.clone()
        };
        let group = orphan.group;
        assert_eq!(world.store.append(orphan).await, Ok(AppendOutcome::Conflict));
        assert_eq!(world.store.group(&group).await.unwrap(), None);
    }
}

/// An identity that is invited before it is registered sees the log once it is.
pub(crate) async fn send_is_decided_by_membership_epoch_and_end<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other, stranger) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, joined(&[&other]));
    log.append(&world, commit).await;
    let send = async |log: &Log, from: &Account, epoch, mid| {
        let outcome = world.store.send(log.message(from, epoch, mid)).await;
        outcome.unwrap()
    };
    assert!(matches!(
        send(&log, &other, 1, 1).await,
        SendOutcome::Stored { .. }
    ));
    assert_eq!(send(&log, &stranger, 1, 1).await, SendOutcome::NotFound);
    for epoch in [0, 2, u64::MAX] {
        let refused = SendOutcome::EpochClosed { current: 1 };
        assert_eq!(send(&log, &founder, epoch, 2).await, refused);
    }
    // A leave closes the epoch, also for the current number, until a rekey.
    let effect = Effect {
        closed: true,
        ..departed(&other)
    };
    let commit = log.commit(0, effect);
    log.append(&world, commit).await;
    assert_eq!(
        send(&log, &founder, 1, 2).await,
        SendOutcome::EpochClosed { current: 1 }
    );
    assert_eq!(send(&log, &other, 1, 2).await, SendOutcome::NotFound);
    // What was stored before is answered first, whatever has changed since.
    assert!(matches!(
        send(&log, &other, 1, 1).await,
        SendOutcome::Repeated { .. }
    ));
    let commit = log.rekey(Effect::default());
    log.append(&world, commit).await;
    assert_eq!(
        send(&log, &founder, 1, 2).await,
        SendOutcome::EpochClosed { current: 2 }
    );
    assert!(matches!(
        send(&log, &founder, 2, 2).await,
        SendOutcome::Stored { .. }
    ));
    let effect = Effect {
        ended: true,
        ..Effect::default()
    };
    let commit = log.commit(0, effect);
    log.append(&world, commit).await;
    assert_eq!(send(&log, &founder, 2, 3).await, SendOutcome::Gone);
    assert_eq!(send(&log, &other, 2, 3).await, SendOutcome::NotFound);
    assert!(matches!(
        send(&log, &founder, 2, 2).await,
        SendOutcome::Repeated { .. }
    ));
    assert_eq!(log.messages(&world, &founder).await, Some(vec![1, 2]));
    let unknown = Log {
        id: GroupId::from_bytes([9; 32]),
        ..log
    };
    assert_eq!(send(&unknown, &founder, 1, 9).await, SendOutcome::NotFound);
}

/// Sends and commits at the same time: no message of an epoch stands behind the leave that closed it.
pub(crate) async fn no_message_is_stored_behind_the_end_of_its_epoch<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.commit(0, joined(&[&other]));
    log.append(&world, commit).await;
    let leave = log.commit(
        0,
        Effect {
            closed: true,
            ..departed(&other)
        },
    );
    let sends = (0..200).map(|mid| world.store.send(log.message(&founder, 1, mid)));
    let leaving = async {
        tokio::task::yield_now().await;
        world.store.append(leave).await
    };
    let (outcomes, left) = tokio::join!(futures_util::future::join_all(sends), leaving);
    assert_eq!(left, Ok(AppendOutcome::Appended(log.record)));
    let stored = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(SendOutcome::Stored { .. })));
    let stored = stored.count() as u64;
    let refused = Ok(SendOutcome::EpochClosed { current: 1 });
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == refused).count() as u64,
        200 - stored
    );
    // The head at the departure is all that was ever stored.
    let (head_then, _) = head(&world, log.record.messages_for(other.agent)).await;
    assert_eq!(
        head(&world, log.record.messages_for(founder.agent)).await.0,
        stored
    );
    assert_eq!(head_then, stored);
}

pub(crate) async fn groups_survive_a_crash<B: Backend>() {
    let world = World::<B>::new().await;
    let (founder, other) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 1, &founder).await;
    let commit = log.rekey(joined(&[&other]));
    log.append(&world, commit).await;
    log.say(&world, &other, 1).await;
    let world = world.crash().await;
    assert_eq!(world.store.group(&log.id).await.unwrap(), Some(log.record));
    assert_eq!(log.commits(&world, &other).await, Some(vec![1, 2]));
    assert_eq!(log.messages(&world, &other).await, Some(vec![1]));
    assert_eq!(
        world.store.rekey_position(log.record.no, 2).await.unwrap(),
        Some(1)
    );
    let leaves = world.store.leaves(log.record.no, 2).await.unwrap();
    assert_eq!(leaves, Some(b"leaves 2".to_vec()));
    assert_eq!(world.store.rekey_position(log.record.no, 3).await.unwrap(), None);
    log.say(&world, &other, 2).await;
    let commit = log.commit(0, Effect::default());
    log.append(&world, commit).await;
}
