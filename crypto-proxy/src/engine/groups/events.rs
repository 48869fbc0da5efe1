//! What a commit means to the agent: messages of type `system`, made from the verified roster only.

use serde_json::json;
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{Handle, Hash},
    roster::Applied,
    sign::Verified,
    wire::{Commit, Role},
};

use super::{Engine, GroupView, log::signer_handle};
use crate::{
    engine::{Effect, Notice},
    model::{GroupEnd, MessageId, UnixMs},
    state::{GroupRow, Standing, StateError, StoredEvent},
};

/// Who did something that the agent is told of, and when by their clock.
pub(super) struct Actor {
    pub(super) handle: Handle,
    pub(super) identity: IdentityKey,
    pub(super) at: UnixMs,
    /// Names what they did: the commit or message.
    pub(super) source: Hash,
}

impl Engine {
    /// Tells what others did in a group that this agent was a member of before.
    pub(super) fn tell_events(
        &mut self,
        row: &GroupRow,
        before: Option<&GroupView>,
        commit: &Verified<Commit>,
        next: &GroupView,
        applied: &Applied,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let me = self.account.identity.public();
        let Some(before) = before.filter(|before| before.roster.member(me).is_some()) else {
            return Ok(());
        };
        if row.standing != Standing::Member || commit.signer() == me {
            return Ok(());
        }
        let handle = signer_handle(before, commit).or_else(|| signer_handle(next, commit));
        let Some(handle) = handle else { return Ok(()) };
        let actor = Actor {
            handle,
            identity: commit.signer().clone(),
            at: commit.body().time,
            source: commit.hash(),
        };
        for (index, data) in events(before, next, applied, &actor.handle)
            .into_iter()
            .enumerate()
        {
            self.tell_event(row, &actor, index, &data, now)?;
        }
        if applied.ended {
            self.effects
                .push(Effect::Notify(Notice::GroupEnded(Box::new(GroupEnd {
                    id: row.local(),
                    by: actor.handle,
                    at: actor.at,
                }))));
        }
        Ok(())
    }

    /// Shows one event as a message of type `system`.
    pub(super) fn tell_event(
        &mut self,
        row: &GroupRow,
        actor: &Actor,
        index: usize,
        data: &serde_json::Value,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let mut data = data.clone();
        if let Some(data) = data.as_object_mut() {
            data.insert("schema_version".to_owned(), 1.into());
        }
        let name = [actor.source.as_bytes().as_slice(), &(index as u64).to_be_bytes()].concat();
        let event = StoredEvent {
            id: MessageId::from(sha256(&name)),
            sender: actor.handle.clone(),
            identity: actor.identity.clone(),
            content: json!({ "data": data }).to_string(),
            at: actor.at,
        };
        if let Some(message_row) =
            self.store
                .insert_event(&mut *self.rng, row.conversation_id, &event, now)?
        {
            self.show(message_row, row.conversation_id, None, now)?;
        }
        Ok(())
    }
}

/// The events of a commit in the order in which they are told.
fn events(before: &GroupView, next: &GroupView, applied: &Applied, actor: &Handle) -> Vec<serde_json::Value> {
    let handle = |identity: &IdentityKey| {
        let member = next
            .roster
            .member(identity)
            .or_else(|| before.roster.member(identity));
        member.map(|member| member.handle.to_string())
    };
    let mut events = Vec::new();
    for departure in &applied.departed {
        let agent = handle(&departure.identity);
        events.push(if departure.removed {
            json!({"event": "member_removed", "agent_handle": agent, "actor_handle": actor})
        } else {
            json!({"event": "member_left", "agent_handle": agent})
        });
    }
    for identity in &applied.joined {
        events.push(json!({"event": "member_joined", "agent_handle": handle(identity)}));
    }
    for (identity, role) in &applied.roles {
        let event = match role {
            Role::Admin => "admin_promoted",
            Role::Member => "admin_demoted",
        };
        events.push(json!({"event": event, "agent_handle": handle(identity), "actor_handle": actor}));
    }
    for identity in &applied.promoted {
        let agent = handle(identity);
        events.push(json!({"event": "admin_promoted", "agent_handle": agent, "actor_handle": null}));
    }
    if applied.ended {
        events.push(json!({"event": "group_deleted", "actor_handle": actor}));
    }
    events
}
