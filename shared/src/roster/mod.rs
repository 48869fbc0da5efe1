//! When a group commit is valid: a function of the log before it and nothing else
//! (docs/protocol.md, 6). No clock, no statement of a relay, no local policy.
//!
//! A [`Roster`] is the log up to its head, condensed. [`Roster::create`] begins one,
//! [`Roster::apply`] takes the next commit or refuses it and stays as it was. Relay and proxy run
//! this same code.

mod draft;
mod error;
mod history;
mod leaves;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use self::draft::Draft;
pub use self::{
    draft::Applied,
    error::CommitError,
    history::{Equivocation, RosterHistory},
    leaves::{LeafError, check_leaves, leaves_root, verify_leaf},
};
use crate::{
    hash::labelled,
    identity::IdentityKey,
    ids::{GroupId, Handle, Hash},
    labels::Label,
    sign::Verified,
    suite::Suite,
    wire::{Change, Commit, CutOff, Document as _, InviteRef, Member, Policy, Rekey, Role, RosterSnapshot},
};

/// An invite that can still be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenInvite {
    /// How commits name it.
    pub reference: InviteRef,
    /// Position of its commit.
    pub position: u64,
    /// Who invited.
    pub inviter: IdentityKey,
    /// Who may accept.
    pub identity: IdentityKey,
    /// Their handle.
    pub handle: Handle,
    /// Their role once they accept.
    pub role: Role,
}

/// The end of a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Who.
    pub identity: IdentityKey,
    /// Position of the commit.
    pub position: u64,
    /// Their last message that is still accepted; `None`: none is.
    pub cut_off: Option<CutOff>,
    /// Removed by an admin, not left.
    pub removed: bool,
}

/// The parts of a roster that changes act on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    members: Vec<Arc<Member>>,
    invites: Vec<Arc<OpenInvite>>,
    policy: Policy,
    hard_debt: Option<u64>,
    soft_debt: Option<u64>,
    ended: bool,
}

impl Parts {
    fn member(&self, identity: &IdentityKey) -> Option<&Member> {
        self.members
            .iter()
            .map(AsRef::as_ref)
            .find(|member| member.identity == *identity)
    }

    fn invite(&self, reference: &InviteRef) -> Option<&OpenInvite> {
        self.invites
            .iter()
            .map(AsRef::as_ref)
            .find(|invite| invite.reference == *reference)
    }

    fn admins(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.role == Role::Admin)
            .count()
    }
}

/// A group's verified log, condensed to what the next commit is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    group: GroupId,
    suite: Suite,
    position: u64,
    head: Hash,
    epoch: u64,
    rekey_commit: Hash,
    rekey_position: u64,
    parts: Parts,
    commitments: HashSet<Hash>,
    departures: HashMap<IdentityKey, Departure>,
}

/// What a commit would make of a roster: all that its rekey has to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Position of the commit.
    pub position: u64,
    /// Hash of the commit before it; `None` for the first.
    pub previous: Option<Hash>,
    /// The epoch that a rekey in it opens.
    pub epoch: u64,
    /// Members after its changes, in roster order: one leaf each.
    pub members: Vec<Arc<Member>>,
    /// Roster hash after its changes.
    pub roster: Hash,
    /// Whether it is invalid without a rekey.
    pub must_rekey: bool,
}

impl Roster {
    /// Begins a group with its first commit, whose hash is the group id.
    ///
    /// # Errors
    /// [`CommitError`] with the first rule of docs/protocol.md, 6 that does not hold.
    pub fn create(commit: &Verified<Commit>) -> Result<Self, CommitError> {
        let body = commit.body();
        if *commit.signer() != body.signer {
            return Err(CommitError::Signer);
        }
        if body.position != 0 || body.group.is_some() || body.previous.is_some() {
            return Err(CommitError::First);
        }
        if !body.suite.is_known() {
            return Err(CommitError::Suite { actual: body.suite.0 });
        }
        let rekey = body.rekey.as_ref().ok_or(CommitError::CreateWithoutRekey)?;
        let draft = draft_of_create(&body.signer, &body.changes, commit.hash())?;
        let commitments = HashSet::new();
        let parts = rekeyed(draft.parts, rekey, body, 1, body.suite, &commitments)?;
        Ok(Self {
            group: GroupId::from_bytes(*commit.hash().as_bytes()),
            suite: body.suite,
            position: 0,
            head: commit.hash(),
            epoch: 1,
            rekey_commit: commit.hash(),
            rekey_position: 0,
            parts,
            commitments: HashSet::from([rekey.commitment]),
            departures: HashMap::new(),
        })
    }

    /// Takes the next commit of the log. If it is refused, the roster stays as it was.
    ///
    /// # Errors
    /// [`CommitError`] with the first rule of docs/protocol.md, 6 that does not hold.
    pub fn apply(&mut self, commit: &Verified<Commit>) -> Result<Applied, CommitError> {
        let body = commit.body();
        self.check_place(commit)?;
        if body.changes.is_empty() && body.rekey.is_none() {
            return Err(CommitError::Empty);
        }
        let draft = Draft::new(self.parts.clone(), &body.signer, body.position, commit.hash());
        let draft = draft.changes(0, &body.changes)?;
        if draft.must_rekey && body.rekey.is_none() {
            return Err(CommitError::RemoveWithoutRekey);
        }
        let mut applied = draft.applied;
        if let Some(rekey) = &body.rekey {
            let epoch = self.epoch.saturating_add(1);
            self.parts = rekeyed(draft.parts, rekey, body, epoch, self.suite, &self.commitments)?;
            self.commitments.insert(rekey.commitment);
            self.epoch = rekey.epoch;
            self.rekey_commit = commit.hash();
            self.rekey_position = body.position;
            applied.epoch = Some(rekey.epoch);
        } else {
            self.parts = draft.parts;
        }
        self.position = body.position;
        self.head = commit.hash();
        for identity in &applied.joined {
            self.departures.remove(identity);
        }
        for departure in &applied.departed {
            if self.member(&departure.identity).is_none() {
                self.departures
                    .insert(departure.identity.clone(), departure.clone());
            }
        }
        Ok(applied)
    }

    fn check_place(&self, commit: &Verified<Commit>) -> Result<(), CommitError> {
        let body = commit.body();
        if *commit.signer() != body.signer {
            return Err(CommitError::Signer);
        }
        if self.parts.ended {
            return Err(CommitError::Ended);
        }
        let expected = self.position.saturating_add(1);
        if body.position != expected {
            return Err(CommitError::Position {
                expected,
                actual: body.position,
            });
        }
        if body.previous != Some(self.head) {
            return Err(CommitError::Previous { head: self.head });
        }
        if body.group != Some(self.group) {
            return Err(CommitError::Group);
        }
        if body.suite != self.suite {
            return Err(CommitError::Suite { actual: body.suite.0 });
        }
        Ok(())
    }

    /// What a first commit by `signer` with these changes would make.
    ///
    /// # Errors
    /// [`CommitError`] as [`Self::create`].
    pub fn plan_create(signer: &IdentityKey, changes: &[Change]) -> Result<Plan, CommitError> {
        let draft = draft_of_create(signer, changes, Hash::from_bytes([0; 32]))?;
        Ok(plan(draft, None, 0, 1))
    }

    /// What a next commit by `signer` with these changes would make.
    ///
    /// # Errors
    /// [`CommitError`] as [`Self::apply`], as far as it concerns changes.
    pub fn plan(&self, signer: &IdentityKey, changes: &[Change]) -> Result<Plan, CommitError> {
        if self.parts.ended {
            return Err(CommitError::Ended);
        }
        let position = self.position.saturating_add(1);
        // New invites are named by a hash that is not known yet and that no change can cite.
        let draft = Draft::new(self.parts.clone(), signer, position, Hash::from_bytes([0; 32]));
        let draft = draft.changes(0, changes)?;
        Ok(plan(
            draft,
            Some(self.head),
            position,
            self.epoch.saturating_add(1),
        ))
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> &GroupId {
        &self.group
    }

    /// The group's suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Position of the head.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Hash of the last commit.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.head
    }

    /// The current epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Hash of the commit that opened the current epoch.
    #[must_use]
    pub const fn rekey_commit(&self) -> Hash {
        self.rekey_commit
    }

    /// Position of the commit that opened the current epoch: members who joined later have no leaf.
    #[must_use]
    pub const fn rekey_position(&self) -> u64 {
        self.rekey_position
    }

    /// The members in roster order: by position of joining.
    #[must_use]
    pub fn members(&self) -> &[Arc<Member>] {
        &self.parts.members
    }

    /// A member by identity.
    #[must_use]
    pub fn member(&self, identity: &IdentityKey) -> Option<&Member> {
        self.parts.member(identity)
    }

    /// Place of a member in roster order: the index of its leaf in a rekey at this head.
    #[must_use]
    pub fn index_of(&self, identity: &IdentityKey) -> Option<u32> {
        let index = self
            .parts
            .members
            .iter()
            .position(|member| member.identity == *identity)?;
        u32::try_from(index).ok()
    }

    /// Invites that could be accepted at the next position.
    pub fn invites(&self) -> impl Iterator<Item = &OpenInvite> {
        let next = self.position.saturating_add(1);
        let alive =
            move |invite: &&OpenInvite| next <= invite.position.saturating_add(crate::limits::INVITE_LIFE);
        self.parts.invites.iter().map(AsRef::as_ref).filter(alive)
    }

    /// The rules.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// Position of the first leave that no rekey has covered: the epoch is closed.
    #[must_use]
    pub const fn hard_debt(&self) -> Option<u64> {
        self.parts.hard_debt
    }

    /// Position of the first accept or join that no rekey has covered: somebody cannot read yet.
    #[must_use]
    pub const fn soft_debt(&self) -> Option<u64> {
        self.parts.soft_debt
    }

    /// Whether the group was disbanded or left by its last member.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.parts.ended
    }

    /// How the membership of somebody ended who is no member now.
    #[must_use]
    pub fn departure(&self, identity: &IdentityKey) -> Option<&Departure> {
        self.departures.get(identity)
    }

    /// The roster hash at the head.
    #[must_use]
    pub fn hash(&self) -> Hash {
        roster_hash(self.position, &self.parts)
    }
}

/// `SHA-256(label || encoded snapshot)`.
fn roster_hash(position: u64, parts: &Parts) -> Hash {
    let snapshot = RosterSnapshot {
        position,
        members: parts.members.iter().map(|member| (**member).clone()).collect(),
        policy: parts.policy.clone(),
    };
    labelled(Label::HashRoster, &[&snapshot.encode()])
}

/// The creator is the first member and admin; further changes are theirs.
fn draft_of_create<'a>(
    signer: &'a IdentityKey,
    changes: &[Change],
    commit: Hash,
) -> Result<Draft<'a>, CommitError> {
    let Some((Change::Create { handle, policy, .. }, rest)) = changes.split_first() else {
        return Err(CommitError::Create);
    };
    let creator = Member {
        identity: signer.clone(),
        handle: handle.clone(),
        role: Role::Admin,
        joined: 0,
    };
    let parts = Parts {
        members: vec![Arc::new(creator)],
        invites: Vec::new(),
        policy: policy.clone(),
        hard_debt: None,
        soft_debt: None,
        ended: false,
    };
    Draft::new(parts, signer, 0, commit).changes(1, rest)
}

fn plan(draft: Draft<'_>, previous: Option<Hash>, position: u64, epoch: u64) -> Plan {
    Plan {
        position,
        previous,
        epoch,
        roster: roster_hash(position, &draft.parts),
        members: draft.parts.members,
        must_rekey: draft.must_rekey,
    }
}

/// The rules of a rekey against the roster after the changes; it pays both debts.
fn rekeyed(
    mut parts: Parts,
    rekey: &Rekey,
    body: &Commit,
    epoch: u64,
    suite: Suite,
    seen: &HashSet<Hash>,
) -> Result<Parts, CommitError> {
    if parts.ended {
        return Err(CommitError::Ended);
    }
    if parts.member(&body.signer).is_none() {
        return Err(CommitError::RekeyByOutsider);
    }
    if rekey.epoch != epoch {
        return Err(CommitError::Epoch {
            expected: epoch,
            actual: rekey.epoch,
        });
    }
    if rekey.suite != suite {
        return Err(CommitError::Suite {
            actual: rekey.suite.0,
        });
    }
    if seen.contains(&rekey.commitment) {
        return Err(CommitError::RepeatedCommitment);
    }
    let expected = parts.members.len();
    if usize::try_from(rekey.leaves) != Ok(expected) {
        return Err(CommitError::Leaves {
            expected,
            actual: rekey.leaves,
        });
    }
    if rekey.roster != roster_hash(body.position, &parts) {
        return Err(CommitError::RosterHash);
    }
    parts.hard_debt = None;
    parts.soft_debt = None;
    Ok(parts)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod property_tests;
