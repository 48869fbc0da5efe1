//! A roster while the changes of one commit are applied to it, from left to right.

use std::sync::Arc;

use super::{CommitError, Departure, OpenInvite, Parts};
use crate::{
    identity::IdentityKey,
    ids::{Handle, Hash},
    limits,
    wire::{Change, CutOff, InviteRef, JoinPolicy, Member, Role},
};

/// What one commit did, for whoever tells people about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Who became a member.
    pub joined: Vec<IdentityKey>,
    /// Who left or was removed.
    pub departed: Vec<Departure>,
    /// Who became admin because the last admin left.
    pub promoted: Vec<IdentityKey>,
    /// Whose role was changed, to what.
    pub roles: Vec<(IdentityKey, Role)>,
    /// Invites that were made.
    pub invited: Vec<Arc<OpenInvite>>,
    /// Invites that died unused.
    pub dead_invites: Vec<Arc<OpenInvite>>,
    /// Whether the rules were changed.
    pub policy: bool,
    /// Whether the group ended.
    pub ended: bool,
    /// The epoch that the commit opened.
    pub epoch: Option<u64>,
}

/// The working copy. Nothing of the roster changes before every rule has held.
pub(super) struct Draft<'a> {
    pub(super) parts: Parts,
    pub(super) applied: Applied,
    pub(super) must_rekey: bool,
    signer: &'a IdentityKey,
    position: u64,
    commit: Hash,
}

impl<'a> Draft<'a> {
    /// `commit` is the hash of the commit that makes the changes: it names new invites.
    pub(super) fn new(parts: Parts, signer: &'a IdentityKey, position: u64, commit: Hash) -> Self {
        let mut draft = Self {
            parts,
            applied: Applied::default(),
            must_rekey: false,
            signer,
            position,
            commit,
        };
        // An invite of position p can be used up to p + 1,000.
        draft.bury(|invite| position > invite.position.saturating_add(limits::INVITE_LIFE));
        draft
    }

    /// Applies changes of which the first is number `first` in its commit.
    pub(super) fn changes(mut self, first: usize, changes: &[Change]) -> Result<Self, CommitError> {
        if first + changes.len() > limits::COMMIT_CHANGES {
            return Err(CommitError::TooManyChanges);
        }
        for (index, change) in (first..).zip(changes) {
            if self.parts.ended {
                return Err(CommitError::Ended);
            }
            self.change(index, change)?;
        }
        self.applied.ended = self.parts.ended;
        Ok(self)
    }

    fn change(&mut self, index: usize, change: &Change) -> Result<(), CommitError> {
        match change {
            Change::Create { .. } => Err(CommitError::Create),
            Change::Invite {
                identity,
                handle,
                role,
            } => self.invite(index, identity, handle, *role),
            Change::Uninvite { invite } => self.uninvite(index, invite),
            Change::Accept { invite } => self.accept(index, invite),
            Change::Join { handle } => self.join(index, handle),
            Change::Remove { identity, cut_off } => self.remove(index, identity, cut_off.as_ref()),
            Change::Leave { cut_off } => self.leave(cut_off.as_ref()),
            Change::Role { identity, role } => self.role(index, identity, *role),
            Change::Policy { policy } => {
                self.needs(index, Role::Admin)?;
                self.parts.policy = policy.clone();
                self.applied.policy = true;
                Ok(())
            }
            Change::Disband => {
                self.needs(index, Role::Admin)?;
                self.parts.ended = true;
                Ok(())
            }
        }
    }

    /// The signer's role where the change stands.
    fn signer_role(&self) -> Result<Role, CommitError> {
        self.parts
            .member(self.signer)
            .map(|member| member.role)
            .ok_or(CommitError::NotMember)
    }

    fn needs(&self, index: usize, needed: Role) -> Result<(), CommitError> {
        if self.signer_role()? >= needed {
            Ok(())
        } else {
            Err(CommitError::Role { index, needed })
        }
    }

    fn invite(
        &mut self,
        index: usize,
        identity: &IdentityKey,
        handle: &Handle,
        role: Role,
    ) -> Result<(), CommitError> {
        // Nobody gives away more than they have.
        self.needs(index, self.parts.policy.invite_role.max(role))?;
        if self.parts.member(identity).is_some() {
            return Err(CommitError::AlreadyMember { index });
        }
        if self
            .parts
            .invites
            .iter()
            .any(|invite| invite.identity == *identity)
        {
            return Err(CommitError::AlreadyInvited { index });
        }
        let invite = Arc::new(OpenInvite {
            reference: InviteRef {
                commit: self.commit,
                // At most 64 changes.
                index: u32::try_from(index).unwrap_or(u32::MAX),
            },
            position: self.position,
            inviter: self.signer.clone(),
            identity: identity.clone(),
            handle: handle.clone(),
            role,
        });
        self.parts.invites.push(Arc::clone(&invite));
        self.applied.invited.push(invite);
        Ok(())
    }

    fn uninvite(&mut self, index: usize, reference: &InviteRef) -> Result<(), CommitError> {
        let role = self.signer_role()?;
        let invite = self
            .parts
            .invite(reference)
            .ok_or(CommitError::NoSuchInvite { index })?;
        if role < Role::Admin && invite.inviter != *self.signer {
            return Err(CommitError::Role {
                index,
                needed: Role::Admin,
            });
        }
        self.bury(|invite| invite.reference == *reference);
        Ok(())
    }

    fn accept(&mut self, index: usize, reference: &InviteRef) -> Result<(), CommitError> {
        let invite = self
            .parts
            .invite(reference)
            .ok_or(CommitError::NoSuchInvite { index })?;
        if invite.identity != *self.signer {
            return Err(CommitError::NotInvited { index });
        }
        let (handle, role) = (invite.handle.clone(), invite.role);
        self.add(index, handle, role)
    }

    fn join(&mut self, index: usize, handle: &Handle) -> Result<(), CommitError> {
        if self.parts.policy.join != JoinPolicy::Open {
            return Err(CommitError::NotOpen);
        }
        self.add(index, handle.clone(), Role::Member)
    }

    /// The signer becomes a member; an invite of theirs is used up either way.
    fn add(&mut self, index: usize, handle: Handle, role: Role) -> Result<(), CommitError> {
        if self.parts.member(self.signer).is_some() {
            return Err(CommitError::AlreadyMember { index });
        }
        if self.parts.members.len() >= limits::GROUP_MEMBERS {
            return Err(CommitError::Full);
        }
        self.parts
            .invites
            .retain(|invite| invite.identity != *self.signer);
        self.parts.members.push(Arc::new(Member {
            identity: self.signer.clone(),
            handle,
            role,
            joined: self.position,
        }));
        self.parts.soft_debt.get_or_insert(self.position);
        self.applied.joined.push(self.signer.clone());
        Ok(())
    }

    fn remove(
        &mut self,
        index: usize,
        identity: &IdentityKey,
        cut_off: Option<&CutOff>,
    ) -> Result<(), CommitError> {
        self.needs(index, Role::Admin)?;
        if identity == self.signer {
            return Err(CommitError::SelfRemove);
        }
        if self.parts.member(identity).is_none() {
            return Err(CommitError::NoSuchMember { index });
        }
        self.must_rekey = true;
        self.depart(identity, cut_off, true);
        Ok(())
    }

    fn leave(&mut self, cut_off: Option<&CutOff>) -> Result<(), CommitError> {
        self.signer_role()?;
        let signer = self.signer;
        self.depart(signer, cut_off, false);
        self.parts.hard_debt.get_or_insert(self.position);
        if self.parts.members.is_empty() {
            self.parts.ended = true;
        } else if self.parts.admins() == 0 {
            // Members stand in the order in which they joined.
            let first = self.parts.members[0].identity.clone();
            self.set_role(&first, Role::Admin);
            self.applied.promoted.push(first);
        }
        Ok(())
    }

    fn depart(&mut self, identity: &IdentityKey, cut_off: Option<&CutOff>, removed: bool) {
        self.parts.members.retain(|member| member.identity != *identity);
        self.bury(|invite| invite.inviter == *identity || invite.identity == *identity);
        self.applied.departed.push(Departure {
            identity: identity.clone(),
            position: self.position,
            cut_off: cut_off.cloned(),
            removed,
        });
    }

    fn role(&mut self, index: usize, identity: &IdentityKey, role: Role) -> Result<(), CommitError> {
        self.needs(index, Role::Admin)?;
        let before = self
            .parts
            .member(identity)
            .ok_or(CommitError::NoSuchMember { index })?
            .role;
        let demoted = role < before;
        if demoted && before == Role::Admin && self.parts.admins() == 1 {
            return Err(CommitError::LastAdmin);
        }
        self.set_role(identity, role);
        if demoted {
            self.bury(|invite| invite.inviter == *identity);
        }
        self.applied.roles.push((identity.clone(), role));
        Ok(())
    }

    fn set_role(&mut self, identity: &IdentityKey, role: Role) {
        let member = self
            .parts
            .members
            .iter_mut()
            .find(|member| member.identity == *identity);
        if let Some(member) = member {
            Arc::make_mut(member).role = role;
        }
    }

    /// Moves dead invites out of the roster.
    fn bury(&mut self, is_dead: impl Fn(&OpenInvite) -> bool) {
        let dead = self.parts.invites.extract_if(.., |invite| is_dead(invite));
        self.applied.dead_invites.extend(dead);
    }
}
