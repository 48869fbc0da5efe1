//! One test per rule of docs/protocol.md, 6: place in the log and rekeys here, single changes in
//! [`changes`], leaves and evidence in [`leaves`].

mod changes;
mod leaves;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::{
    hash::sha256,
    identity::{Signature, signing_input},
    ids::{Nonce32, SessionId},
    sign::{SignedBytes, Unverified},
    wire::{CutOff, JoinPolicy, Leaf, LeafContent, Leaves, VERSION},
};

pub(super) struct Agent {
    key: SigningKey,
    pub(super) identity: IdentityKey,
    pub(super) handle: Handle,
}

impl Agent {
    pub(super) fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let identity = IdentityKey::ed25519(key.verifying_key().to_bytes());
        let handle = format!("agent-{seed}").parse().unwrap();
        Self {
            key,
            identity,
            handle,
        }
    }

    pub(super) fn sign(&self, commit: &Commit) -> Verified<Commit> {
        let body = commit.encode();
        let signature = self
            .key
            .sign(&signing_input(Label::SigCommit, &[&body]))
            .to_bytes();
        let signature = Signature::new(signature);
        let bytes = SignedBytes { body, signature }.encode();
        Verified::from_bytes(&bytes, |commit: &Commit| &commit.signer).unwrap()
    }

    fn invite(&self, role: Role) -> Change {
        Change::Invite {
            identity: self.identity.clone(),
            handle: self.handle.clone(),
            role,
        }
    }

    fn remove(&self) -> Change {
        Change::Remove {
            identity: self.identity.clone(),
            cut_off: None,
        }
    }

    fn role(&self, role: Role) -> Change {
        Change::Role {
            identity: self.identity.clone(),
            role,
        }
    }

    fn join(&self) -> Change {
        Change::Join {
            handle: self.handle.clone(),
        }
    }
}

pub(super) const LEAVE: Change = Change::Leave { cut_off: None };

pub(super) fn policy(join: JoinPolicy, invite_role: Role) -> Policy {
    Policy {
        join,
        invite_role,
        slug: None,
    }
}

pub(super) fn create_change(agent: &Agent, policy: Policy) -> Change {
    Change::Create {
        nonce: Nonce32::from_bytes([7; 32]),
        handle: agent.handle.clone(),
        policy,
    }
}

pub(super) fn rekey_of(plan: &Plan, suite: Suite) -> Rekey {
    Rekey {
        epoch: plan.epoch,
        suite,
        commitment: sha256(&plan.epoch.to_be_bytes()),
        root: Hash::from_bytes([0; 32]),
        leaves: u32::try_from(plan.members.len()).unwrap(),
        roster: plan.roster,
    }
}

/// A commit without a rekey that follows `roster`, valid or not.
pub(super) fn next(roster: &Roster, signer: &Agent, changes: Vec<Change>) -> Commit {
    Commit {
        version: VERSION,
        suite: roster.suite(),
        group: Some(*roster.group()),
        position: roster.position() + 1,
        previous: Some(roster.head()),
        signer: signer.identity.clone(),
        changes,
        rekey: None,
        time: 0,
    }
}

pub(super) fn first(signer: &Agent, changes: Vec<Change>) -> Commit {
    Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group: None,
        position: 0,
        previous: None,
        signer: signer.identity.clone(),
        changes,
        rekey: None,
        time: 0,
    }
}

/// A group with agent 1 as its admin, and whoever else is added to it.
struct Group {
    roster: Roster,
}

impl Group {
    fn new(policy: Policy) -> Self {
        let founder = Agent::new(1);
        let mut commit = first(&founder, vec![create_change(&founder, policy)]);
        let plan = Roster::plan_create(&founder.identity, &commit.changes).unwrap();
        commit.rekey = Some(rekey_of(&plan, commit.suite));
        let roster = Roster::create(&founder.sign(&commit)).unwrap();
        Self { roster }
    }

    fn by_invite() -> Self {
        Self::new(policy(JoinPolicy::Invite, Admin))
    }

    fn with(members: &[(u8, Role)]) -> Self {
        let mut group = Self::by_invite();
        for (seed, role) in members {
            group.add(*seed, *role);
        }
        group
    }

    fn commit(&self, signer: u8, changes: Vec<Change>) -> Commit {
        next(&self.roster, &Agent::new(signer), changes)
    }

    fn rekey(&self, signer: u8, changes: Vec<Change>) -> Commit {
        let mut commit = self.commit(signer, changes);
        let plan = self.roster.plan(&commit.signer, &commit.changes).unwrap();
        commit.rekey = Some(rekey_of(&plan, commit.suite));
        commit
    }

    /// Applies a commit; a refusal must leave the roster untouched.
    fn apply(&mut self, commit: &Commit) -> Result<Applied, CommitError> {
        let seeds = 1..=40;
        let signer = seeds
            .map(Agent::new)
            .find(|agent| agent.identity == commit.signer)
            .unwrap();
        let before = self.roster.clone();
        let result = self.roster.apply(&signer.sign(commit));
        if result.is_err() {
            assert_eq!(self.roster, before);
        }
        result
    }

    fn change(&mut self, signer: u8, change: Change) -> Result<Applied, CommitError> {
        let commit = self.commit(signer, vec![change]);
        self.apply(&commit)
    }

    fn invite(&mut self, by: u8, whom: u8, role: Role) -> Result<InviteRef, CommitError> {
        let applied = self.change(by, Agent::new(whom).invite(role))?;
        Ok(applied.invited[0].reference.clone())
    }

    fn accept(&mut self, by: u8, invite: InviteRef) -> Result<Applied, CommitError> {
        self.change(by, Change::Accept { invite })
    }

    fn add(&mut self, whom: u8, role: Role) {
        let invite = self.invite(1, whom, role).unwrap();
        self.accept(whom, invite).unwrap();
    }

    fn roles(&self) -> Vec<(u8, Role)> {
        let seed = |handle: &Handle| handle.as_str()["agent-".len()..].parse().unwrap();
        self.roster
            .members()
            .iter()
            .map(|member| (seed(&member.handle), member.role))
            .collect()
    }
}

use Role::{Admin, Member as Plain};

/// docs/protocol.md, 6.2 and 6.3, create: the first commit has a create and a rekey of epoch 1 with one leaf.
#[test]
fn create_needs_its_shape_and_a_rekey() {
    let founder = Agent::new(1);
    let changes = vec![create_change(&founder, policy(JoinPolicy::Invite, Admin))];
    let plan = Roster::plan_create(&founder.identity, &changes).unwrap();
    let good = Commit {
        rekey: Some(rekey_of(&plan, Suite::CLASSIC)),
        ..first(&founder, changes)
    };
    let rekey = |change: &dyn Fn(&mut Rekey)| {
        let mut rekey = rekey_of(&plan, Suite::CLASSIC);
        change(&mut rekey);
        Some(rekey)
    };
    let roster = Roster::create(&founder.sign(&good)).unwrap();
    assert_eq!(roster.group().as_bytes(), roster.head().as_bytes());
    assert_eq!((roster.position(), roster.epoch()), (0, 1));
    assert_eq!(roster.hash(), plan.roster);

    let twice = vec![good.changes[0].clone(), good.changes[0].clone()];
    let cases = [
        (
            CommitError::First,
            Commit {
                position: 1,
                ..good.clone()
            },
        ),
        (
            CommitError::First,
            Commit {
                group: Some(*roster.group()),
                ..good.clone()
            },
        ),
        (
            CommitError::First,
            Commit {
                previous: Some(roster.head()),
                ..good.clone()
            },
        ),
        (
            CommitError::Suite { actual: 9 },
            Commit {
                suite: Suite(9),
                ..good.clone()
            },
        ),
        (
            CommitError::CreateWithoutRekey,
            Commit {
                rekey: None,
                ..good.clone()
            },
        ),
        (
            CommitError::Create,
            Commit {
                changes: vec![LEAVE],
                ..good.clone()
            },
        ),
        (
            CommitError::Create,
            Commit {
                changes: vec![],
                ..good.clone()
            },
        ),
        (
            CommitError::Create,
            Commit {
                changes: twice,
                ..good.clone()
            },
        ),
        (
            CommitError::Epoch {
                expected: 1,
                actual: 2,
            },
            Commit {
                rekey: rekey(&|r| r.epoch = 2),
                ..good.clone()
            },
        ),
        (
            CommitError::Leaves {
                expected: 1,
                actual: 2,
            },
            Commit {
                rekey: rekey(&|r| r.leaves = 2),
                ..good.clone()
            },
        ),
        (
            CommitError::RosterHash,
            Commit {
                rekey: rekey(&|r| r.roster = roster.head()),
                ..good.clone()
            },
        ),
    ];
    for (error, commit) in cases {
        assert_eq!(Roster::create(&founder.sign(&commit)), Err(error), "{commit:?}");
    }
}

/// docs/protocol.md, 6.2, steps 2 and 3: position, predecessor, group and suite continue the log.
#[test]
fn commit_continues_the_log() {
    let mut group = Group::by_invite();
    let good = group.rekey(1, vec![]);
    let cases = [
        (
            CommitError::Position {
                expected: 1,
                actual: 2,
            },
            Commit {
                position: 2,
                ..good.clone()
            },
        ),
        (
            CommitError::Position {
                expected: 1,
                actual: 0,
            },
            Commit {
                position: 0,
                ..good.clone()
            },
        ),
        (
            CommitError::Previous {
                head: group.roster.head(),
            },
            Commit {
                previous: Some(sha256(b"other")),
                ..good.clone()
            },
        ),
        (
            CommitError::Previous {
                head: group.roster.head(),
            },
            Commit {
                previous: None,
                ..good.clone()
            },
        ),
        (
            CommitError::Group,
            Commit {
                group: None,
                ..good.clone()
            },
        ),
        (
            CommitError::Suite { actual: 2 },
            Commit {
                suite: Suite::HYBRID,
                ..good.clone()
            },
        ),
        (
            CommitError::Empty,
            Commit {
                rekey: None,
                ..good.clone()
            },
        ),
        (
            CommitError::Create,
            Commit {
                changes: vec![create_change(&Agent::new(1), group.roster.policy().clone())],
                ..good.clone()
            },
        ),
    ];
    for (error, commit) in cases {
        assert_eq!(group.apply(&commit), Err(error), "{commit:?}");
    }
    group.apply(&good).unwrap();
    assert_eq!(group.roster.epoch(), 2);
    assert_eq!(
        group.apply(&good),
        Err(CommitError::Position {
            expected: 2,
            actual: 1
        }),
        "a replayed commit"
    );
}

/// docs/protocol.md, 6.2: whoever signed is whoever the commit names.
#[test]
fn signer_is_the_one_who_was_verified() {
    let mut group = Group::by_invite();
    let mallory = Agent::new(9);
    let body = group.commit(1, vec![mallory.invite(Plain)]).encode();
    let signature = mallory.key.sign(&signing_input(Label::SigCommit, &[&body]));
    let signature = Signature::new(signature.to_bytes());
    let bytes = SignedBytes { body, signature }.encode();
    // A caller who picks the wrong field of the body.
    fn select(commit: &Commit) -> &IdentityKey {
        match &commit.changes[0] {
            Change::Invite { identity, .. } => identity,
            _ => &commit.signer,
        }
    }
    let commit = Unverified::decode(&bytes).unwrap().verify(select);
    let commit = commit.unwrap();
    assert_eq!(group.roster.apply(&commit), Err(CommitError::Signer));
    assert_eq!(Roster::create(&commit), Err(CommitError::Signer));
}

/// docs/protocol.md, 6.6 and 6.3, leave: a leave closes the epoch until somebody rekeys; a join does not.
#[test]
fn debts_open_and_are_paid() {
    let mut group = Group::with(&[(2, Plain), (3, Plain)]);
    assert_eq!(
        (group.roster.hard_debt(), group.roster.soft_debt()),
        (None, Some(2))
    );
    group.change(2, LEAVE).unwrap();
    assert_eq!(
        (group.roster.hard_debt(), group.roster.soft_debt()),
        (Some(5), Some(2))
    );
    let commit = group.rekey(3, vec![]);
    let applied = group.apply(&commit).unwrap();
    assert_eq!(applied.epoch, Some(2), "any member may rekey");
    assert_eq!((group.roster.hard_debt(), group.roster.soft_debt()), (None, None));
    assert_eq!(group.roster.rekey_commit(), group.roster.head());
    let invite = group.invite(1, 4, Plain).unwrap();
    let commit = group.rekey(4, vec![Change::Accept { invite }]);
    assert_eq!(commit.rekey.as_ref().unwrap().leaves, 3);
    group.apply(&commit).unwrap();
    assert_eq!(
        group.roster.soft_debt(),
        None,
        "an accept can carry its own rekey"
    );
}

/// docs/protocol.md, 6.5, steps 1 to 6, and 6.2, step 6: epoch, suite, commitment, leaves and roster hash of a rekey.
#[test]
fn rekey_rules() {
    let mut group = Group::with(&[(2, Plain)]);
    let old = group.rekey(1, vec![]);
    group.apply(&old).unwrap();
    let good = group.rekey(1, vec![]);
    let with = |change: &dyn Fn(&mut Rekey)| {
        let mut commit = good.clone();
        change(commit.rekey.as_mut().unwrap());
        commit
    };
    let repeated = old.rekey.as_ref().unwrap().commitment;
    let cases = [
        (
            CommitError::Epoch {
                expected: 3,
                actual: 2,
            },
            with(&|r| r.epoch = 2),
        ),
        (
            CommitError::Epoch {
                expected: 3,
                actual: 4,
            },
            with(&|r| r.epoch = 4),
        ),
        (
            CommitError::Suite { actual: 2 },
            with(&|r| r.suite = Suite::HYBRID),
        ),
        (
            CommitError::RepeatedCommitment,
            with(&|r| r.commitment = repeated),
        ),
        (
            CommitError::Leaves {
                expected: 2,
                actual: 3,
            },
            with(&|r| r.leaves = 3),
        ),
        (
            CommitError::Leaves {
                expected: 2,
                actual: 1,
            },
            with(&|r| r.leaves = 1),
        ),
        (CommitError::RosterHash, with(&|r| r.roster = sha256(b"other"))),
        (
            CommitError::RekeyByOutsider,
            Commit {
                signer: Agent::new(9).identity,
                ..good.clone()
            },
        ),
        (
            CommitError::RekeyByOutsider,
            Commit {
                signer: Agent::new(2).identity,
                changes: vec![LEAVE],
                ..good.clone()
            },
        ),
    ];
    for (error, commit) in cases {
        assert_eq!(group.apply(&commit), Err(error), "{commit:?}");
    }
    group.apply(&good).unwrap();
}

/// docs/protocol.md, 6.2, step 1, and 6.3, disband and leave: nothing follows a disband or the last leave.
#[test]
fn ended_group_accepts_nothing() {
    for end in [Change::Disband, LEAVE] {
        let mut group = Group::by_invite();
        let after = vec![end.clone(), Agent::new(2).invite(Plain)];
        let after = group.commit(1, after);
        assert_eq!(group.apply(&after), Err(CommitError::Ended));
        let mut with_rekey = group.rekey(1, vec![]);
        with_rekey.changes = vec![end.clone()];
        assert_eq!(group.apply(&with_rekey), Err(CommitError::Ended));
        let applied = group.change(1, end).unwrap();
        assert!(applied.ended && group.roster.has_ended());
        let commit = group.commit(1, vec![Agent::new(2).invite(Plain)]);
        assert_eq!(group.apply(&commit), Err(CommitError::Ended));
        assert_eq!(group.roster.plan(&commit.signer, &[]), Err(CommitError::Ended));
    }
}
