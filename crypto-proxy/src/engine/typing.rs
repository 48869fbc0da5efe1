//! Who types (docs/protocol.md, 7.4): the agent tells its readers, and is told by its peers.

use std::collections::HashMap;

use waxwire_shared::{
    ids::{ConversationId, GroupId, Handle},
    wire::{ControlBody, Document as _, Kind, Typing},
};

use super::{
    Effect, Engine, Notice, Reply,
    transient::{FRESH_MS, Outcome},
};
use crate::{
    model::{LocalConversation, Refusal, UnixMs},
    state::{ConversationRow, GroupRow, PeerRow, Standing, StateError},
};

/// The agent's start is passed on at most so often in one conversation.
const SAY_MS: u64 = 3_000;
/// A peer's repeated start is shown at most so often.
const SHOW_MS: u64 = 1_000;
/// A start holds so long, unless it is renewed or stopped.
const HOLD_MS: u64 = 60_000;
/// Members of the largest group in which typing is told.
const MEMBERS: usize = 32;
/// Conversations, and peers in conversations, that are remembered.
const REMEMBERED: usize = 4_096;

/// What may be lost at any moment.
#[derive(Debug, Default)]
pub(super) struct Typists {
    own: HashMap<LocalConversation, Said>,
    peers: HashMap<(Handle, LocalConversation), Heard>,
}

/// What the agent said last in a conversation.
#[derive(Debug)]
struct Said {
    active: bool,
    /// When it last started.
    at: UnixMs,
}

/// What a peer said last in a conversation.
#[derive(Debug)]
struct Heard {
    active: bool,
    /// The message's own time: nothing that is not later counts, so a repeat does nothing.
    time: UnixMs,
    /// When it was last shown.
    at: UnixMs,
}

impl Typists {
    /// Whether the readers are to be told, which is noted.
    fn may_say(&mut self, conversation: &LocalConversation, active: bool, now: UnixMs) -> bool {
        self.own
            .retain(|_, said| now.saturating_sub(said.at) < HOLD_MS && said.at <= now);
        let full = self.own.len() >= REMEMBERED;
        match self.own.get_mut(conversation) {
            Some(said) if active => {
                let due = now.saturating_sub(said.at) >= SAY_MS;
                if due {
                    *said = Said { active, at: now };
                }
                due
            }
            Some(said) => std::mem::replace(&mut said.active, false),
            None if active && !full => {
                self.own.insert(*conversation, Said { active, at: now });
                true
            }
            None => false,
        }
    }

    /// When the next start has held long enough.
    pub(super) fn next_end(&self) -> Option<UnixMs> {
        let active = self.peers.values().filter(|heard| heard.active);
        active.map(|heard| heard.at + HOLD_MS).min()
    }

    /// Notes what a peer says; `None` if it is old, else whether it is to be shown.
    fn hear(
        &mut self,
        peer: &Handle,
        conversation: &LocalConversation,
        (active, time): (bool, UnixMs),
        now: UnixMs,
    ) -> Option<bool> {
        // Their messages would be too old by now.
        self.peers
            .retain(|_, heard| heard.active || now.saturating_sub(heard.time) <= FRESH_MS);
        let key = (peer.clone(), *conversation);
        let known = self.peers.get(&key);
        if known.is_some_and(|heard| time <= heard.time)
            || (known.is_none() && self.peers.len() >= REMEMBERED)
        {
            return None;
        }
        let was = known.is_some_and(|heard| heard.active);
        let renewed_soon = active && was && known.is_some_and(|heard| now < heard.at + SHOW_MS);
        let at = known.filter(|_| renewed_soon).map_or(now, |heard| heard.at);
        self.peers.insert(key, Heard { active, time, at });
        Some(!renewed_soon && (active || was))
    }

    /// Ends what has held long enough, and all that a peer does who is gone.
    fn end(&mut self, gone: Option<&Handle>, now: UnixMs) -> Vec<(Handle, LocalConversation)> {
        let mut ended = Vec::new();
        for ((peer, conversation), heard) in &mut self.peers {
            let over = gone == Some(peer) || now >= heard.at + HOLD_MS;
            if heard.active && over {
                heard.active = false;
                ended.push((peer.clone(), *conversation));
            }
        }
        ended.sort_by(|a, b| (&a.0, a.1.id).cmp(&(&b.0, b.1.id)));
        ended
    }
}

impl Engine {
    /// The agent types, or has stopped.
    pub(super) fn say_typing(
        &mut self,
        conversation: &LocalConversation,
        active: bool,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let Some(row) = self.store.conversation(conversation)? else {
            return Ok(Err(Refusal::ConversationNotFound));
        };
        if self.volatile.link_up && self.volatile.typists.may_say(conversation, active, now) {
            self.tell_typing(&row, active, now)?;
        }
        Ok(Ok(Reply::Done))
    }

    fn tell_typing(&mut self, row: &ConversationRow, active: bool, now: UnixMs) -> Result<(), StateError> {
        let (readers, group) = match (row.peer_id, self.store.group_of(row.conversation_id)?) {
            (_, Some(group)) => (self.fellow_members(&group, now)?, Some(group.group_id)),
            (Some(peer_id), None) => {
                let peer = self.store.peer_by_id(peer_id)?;
                (Vec::from_iter(self.is_welcome(&peer)?.then_some(peer)), None)
            }
            (None, None) => (Vec::new(), None),
        };
        for peer in readers {
            let body = Typing { active, group };
            self.pass_on(&peer, Kind::Typing, body.encode(), now);
        }
        Ok(())
    }

    /// The other members of a small group, as far as they are known by the identities of its log.
    fn fellow_members(&mut self, group: &GroupRow, now: UnixMs) -> Result<Vec<PeerRow>, StateError> {
        if group.standing != Standing::Member {
            return Ok(Vec::new());
        }
        let members = self.members_of(group)?;
        if members.len() > MEMBERS {
            return Ok(Vec::new());
        }
        let mut fellows = Vec::with_capacity(members.len());
        for (identity, handle) in members {
            if identity == *self.account.identity.public() {
                continue;
            }
            match self.store.peer(&handle)? {
                Some(peer) if peer.identity == identity => fellows.push(peer),
                Some(_) => {}
                None => self.ask_bundle_for_later(&handle, now),
            }
        }
        Ok(fellows)
    }

    /// A peer says that it types, or has stopped.
    pub(super) fn take_typing(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<Outcome, StateError> {
        let Ok(typing) = Typing::decode(&body.body) else {
            return Ok("refused");
        };
        let conversation = match &typing.group {
            Some(group) => self.shared_group(peer, group)?,
            None => self.direct_with(peer)?,
        };
        let Some(conversation) = conversation else {
            return Ok("unknown_sender");
        };
        let said = (typing.active, body.time);
        let typists = &mut self.volatile.typists;
        match typists.hear(&peer.handle, &conversation, said, now) {
            None => Ok("repeated"),
            Some(show) => {
                if show {
                    self.show_typing(conversation, peer.handle.clone(), typing.active);
                }
                Ok("taken")
            }
        }
    }

    /// The direct conversation with a peer that is no stranger.
    fn direct_with(&self, peer: &PeerRow) -> Result<Option<LocalConversation>, StateError> {
        if !self.is_welcome(peer)? {
            return Ok(None);
        }
        let id = ConversationId::direct(self.account.identity.public(), &peer.identity);
        let row = self.store.conversation_by_protocol(&id)?;
        Ok(row.map(|row| row.local))
    }

    /// A group in which both are members by its verified log, if it is small enough.
    fn shared_group(
        &mut self,
        peer: &PeerRow,
        group: &GroupId,
    ) -> Result<Option<LocalConversation>, StateError> {
        let Some(row) = self
            .store
            .group(group)?
            .filter(|row| row.standing == Standing::Member)
        else {
            return Ok(None);
        };
        let members = self.members_of(&row)?;
        let member = |(identity, handle): &(_, Handle)| *identity == peer.identity && *handle == peer.handle;
        let shared = members.len() <= MEMBERS && members.iter().any(member);
        Ok(shared.then(|| row.local()))
    }

    /// Time has passed, or the relay says that a peer is gone.
    pub(super) fn end_typing(&mut self, gone: Option<&Handle>, now: UnixMs) {
        for (peer, conversation) in self.volatile.typists.end(gone, now) {
            self.show_typing(conversation, peer, false);
        }
    }

    fn show_typing(&mut self, conversation: LocalConversation, sender: Handle, active: bool) {
        self.effects.push(Effect::Notify(Notice::Typing {
            conversation,
            sender,
            active,
        }));
    }
}
