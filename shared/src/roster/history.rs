//! Who was a member when, and proof that a relay showed two logs (docs/protocol.md, 6).

use std::collections::HashMap;

use super::{Applied, Roster};
use crate::{
    identity::IdentityKey,
    ids::Hash,
    sign::Verified,
    wire::{Commit, Role},
};

/// A role held from one position on, up to the next span or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    role: Option<Role>,
}

/// Remembers the roster at every head, for messages that cite an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosterHistory {
    heads: HashMap<Hash, u64>,
    epochs: Vec<u64>,
    spans: HashMap<IdentityKey, Vec<Span>>,
}

impl RosterHistory {
    /// Begins with a roster that was just created.
    #[must_use]
    pub fn begin(roster: &Roster) -> Self {
        let mut history = Self::default();
        history.epochs.push(roster.position());
        for member in roster.members() {
            history.note(&member.identity, roster.position(), Some(member.role));
        }
        history.heads.insert(roster.head(), roster.position());
        history
    }

    /// Records a commit; `roster` is what [`Roster::apply`] made of it.
    pub fn record(&mut self, roster: &Roster, applied: &Applied) {
        let position = roster.position();
        self.heads.insert(roster.head(), position);
        if applied.epoch.is_some() {
            self.epochs.push(position);
        }
        let departed = applied.departed.iter().map(|departure| &departure.identity);
        let changed = applied.roles.iter().map(|(identity, _)| identity);
        let touched = applied
            .joined
            .iter()
            .chain(&applied.promoted)
            .chain(departed)
            .chain(changed);
        for identity in touched {
            let role = roster.member(identity).map(|member| member.role);
            self.note(identity, position, role);
        }
    }

    fn note(&mut self, identity: &IdentityKey, from: u64, role: Option<Role>) {
        let spans = self.spans.entry(identity.clone()).or_default();
        match spans.last_mut() {
            Some(last) if last.from == from => last.role = role,
            Some(last) if last.role == role => {}
            _ => spans.push(Span { from, role }),
        }
    }

    /// Position of a commit of this log.
    #[must_use]
    pub fn position_of(&self, head: &Hash) -> Option<u64> {
        self.heads.get(head).copied()
    }

    /// Position of the commit that opened an epoch.
    #[must_use]
    pub fn position_of_epoch(&self, epoch: u64) -> Option<u64> {
        let index = usize::try_from(epoch.checked_sub(1)?).ok()?;
        self.epochs.get(index).copied()
    }

    /// Everybody who was a member after the commit at `position`, in no order.
    pub fn members_at(&self, position: u64) -> impl Iterator<Item = &IdentityKey> {
        let mut identities = self.spans.keys();
        std::iter::from_fn(move || {
            identities
                .by_ref()
                .find(|identity| self.role_at(identity, position).is_some())
        })
    }

    /// The role that somebody had after the commit at `position`; `None` for no member.
    #[must_use]
    pub fn role_at(&self, identity: &IdentityKey, position: u64) -> Option<Role> {
        let spans = self.spans.get(identity)?;
        let next = spans.partition_point(|span| span.from <= position);
        spans[..next].last()?.role
    }
}

/// Two commits on one parent. If a relay presented both as committed, it forked the log and this
/// proves it; a commit that lost the race for a position proves nothing, so it is the caller's to
/// know that both were presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// The commit seen first.
    pub first: Verified<Commit>,
    /// The other one.
    pub second: Verified<Commit>,
}

impl Equivocation {
    /// The evidence, if the two are different commits of one group on one parent.
    #[must_use]
    pub fn of(first: &Verified<Commit>, second: &Verified<Commit>) -> Option<Self> {
        let (a, b) = (first.body(), second.body());
        let one_parent = a.position == b.position && a.previous == b.previous && a.group == b.group;
        // First commits name no group: two of them are two groups.
        let forked = one_parent && a.position > 0 && a.previous.is_some() && first.hash() != second.hash();
        forked.then(|| Self {
            first: first.clone(),
            second: second.clone(),
        })
    }
}
