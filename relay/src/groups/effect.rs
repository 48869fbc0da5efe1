//! What a commit changes for the store, in net: one commit may end and begin a membership.

use std::collections::{BTreeSet, HashMap};

use waxwire_shared::{
    identity::IdentityKey,
    ids::{AgentId, RelayId},
    roster::{Applied, Roster},
    wire::JoinPolicy,
};

use crate::store::{Effect, Naming};

/// What a first commit does: its signer joins, and whom it invites is invited.
pub(super) fn of_first(relay: &RelayId, after: &Roster) -> Effect {
    let members = after.members().iter().map(|member| &member.identity);
    let invited = after.invites().map(|invite| &invite.identity);
    Effect {
        joined: ids(relay, members),
        invited: ids(relay, invited),
        closed: after.hard_debt().is_some(),
        ended: after.has_ended(),
        naming: Some(naming(after)),
        ..Effect::default()
    }
}

/// What a commit does that makes `after` of `before`.
pub(super) fn of_next(relay: &RelayId, before: &Roster, after: &Roster, applied: &Applied) -> Effect {
    let departed = applied
        .departed
        .iter()
        .map(|departure| &departure.identity)
        .filter(|identity| before.member(identity).is_some());
    let joined = applied
        .joined
        .iter()
        .filter(|identity| after.member(identity).is_some());
    let open: HashMap<&IdentityKey, u64> = after
        .invites()
        .map(|invite| (&invite.identity, invite.position))
        .collect();
    let touched = applied.invited.iter().chain(&applied.dead_invites);
    let touched = touched.map(|invite| &invite.identity).chain(&applied.joined);
    let (mut invited, mut uninvited) = (Vec::new(), Vec::new());
    for identity in touched {
        match open.get(identity) {
            Some(position) if *position == after.position() => invited.push(identity),
            Some(_) => {}
            None => uninvited.push(identity),
        }
    }
    Effect {
        departed: ids(relay, departed),
        joined: ids(relay, joined),
        invited: ids(relay, invited),
        uninvited: ids(relay, uninvited),
        closed: after.hard_debt().is_some(),
        ended: after.has_ended(),
        naming: Some(naming(after)).filter(|naming| *naming != self::naming(before)),
    }
}

fn naming(roster: &Roster) -> Naming {
    let policy = roster.policy();
    Naming {
        slug: policy.slug.clone(),
        open: policy.join == JoinPolicy::Open,
    }
}

/// Each once, and in an order that tells nothing.
fn ids<'a>(relay: &RelayId, identities: impl IntoIterator<Item = &'a IdentityKey>) -> Vec<AgentId> {
    let ids = identities
        .into_iter()
        .map(|identity| AgentId::of(relay, identity));
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
