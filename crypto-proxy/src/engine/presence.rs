//! Who is there (docs/protocol.md, 7.4). That an agent is there or not is the relay's word; what it
//! says about itself is sealed to its contacts and forgotten when it fades.

use std::collections::{BTreeMap, HashMap};

use waxwire_shared::{
    api::frames::Seen,
    ids::Handle,
    wire::{ControlBody, Document as _, Kind, Presence},
};

use super::{
    Effect, Engine, LookupError, Notice, RelayCall, Reply, RequestId, account::ShowPresence,
    transient::Outcome,
};
use crate::{
    model::{PeerPresence, PresenceStatus, Refusal, UnixMs},
    state::{PeerRow, Pin, StateError},
};

/// What a peer says about itself fades after so long.
const FADE_MS: u64 = 5 * 60_000;
/// What the agent says about itself is said again after so long.
const RENEW_MS: u64 = 2 * 60_000;
/// It is said at most so often.
const SAY_MS: u64 = 2_000;
/// The relay names the contacts that are there within so long after the link came up.
const GREETED_MS: u64 = 5_000;
/// Most contacts that are told at once.
const TOLD: usize = 256;
/// Peers whose presence is remembered.
const KNOWN: usize = 4_096;

/// How the agent shows itself. It is not among what may be lost: who wants to be taken for absent must
/// not appear because a disk was full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnPresence {
    status: PresenceStatus,
    text: Option<String>,
}

impl Default for OwnPresence {
    fn default() -> Self {
        Self {
            status: PresenceStatus::Online,
            text: None,
        }
    }
}

impl OwnPresence {
    /// Whether there is more to say than what the relay says.
    const fn is_worth_saying(&self) -> bool {
        match self.status {
            PresenceStatus::Online => self.text.is_some(),
            PresenceStatus::Busy => true,
            PresenceStatus::Offline => false,
        }
    }
}

/// What may be lost at any moment.
#[derive(Debug, Default)]
pub(super) struct Presences {
    known: BTreeMap<Handle, Known>,
    /// Requests that wait for the relay's word on these.
    questions: HashMap<RequestId, Vec<Handle>>,
    told_at: UnixMs,
    /// When the contacts are told next.
    tell_at: Option<UnixMs>,
    /// When those whom the relay has not named since the link came up are taken for gone.
    greeted_at: Option<UnixMs>,
}

/// What is known of a peer's presence.
#[derive(Debug, Default)]
struct Known {
    /// The relay's word.
    online: bool,
    last_seen: Option<UnixMs>,
    /// It was given since the link came up.
    is_fresh: bool,
    /// The peer's.
    said: Option<Said>,
    /// Time of the latest one: nothing that is not later counts, so a repeat does nothing.
    time: UnixMs,
    /// What was shown last.
    shown: (PresenceStatus, Option<String>),
}

/// What a peer says about itself.
#[derive(Debug, Clone)]
struct Said {
    status: PresenceStatus,
    text: Option<String>,
    until: UnixMs,
}

impl Known {
    fn view(&self, handle: &Handle) -> PeerPresence {
        let (status, custom_message) = match &self.said {
            Some(said) => (said.status, said.text.clone()),
            None if self.online => (PresenceStatus::Online, None),
            None => (PresenceStatus::Offline, None),
        };
        PeerPresence {
            handle: handle.clone(),
            status,
            custom_message,
            last_seen: self.last_seen.filter(|_| status == PresenceStatus::Offline),
        }
    }
}

impl Presences {
    /// Requests that wait.
    pub(super) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.questions.into_keys()
    }

    /// There is no link any more: nothing can be said, and nobody is named.
    pub(super) const fn link_down(&mut self) {
        (self.tell_at, self.greeted_at) = (None, None);
    }

    /// When something fades, or is to be said again.
    pub(super) fn next_deadline(&self) -> Option<UnixMs> {
        let said = self.known.values().filter_map(|known| known.said.as_ref());
        let fading = said.map(|said| said.until);
        fading.chain(self.tell_at).chain(self.greeted_at).min()
    }

    /// What is known of a peer, remembered from now on if there is room.
    fn entry(&mut self, handle: &Handle) -> Option<&mut Known> {
        if self.known.len() >= KNOWN && !self.known.contains_key(handle) {
            return None;
        }
        Some(self.known.entry(handle.clone()).or_default())
    }
}

impl Engine {
    /// Whether the agent is to count as online at the relay.
    fn is_shown(&self) -> bool {
        self.settings.show_presence == ShowPresence::Everyone
            && self.own_presence.status != PresenceStatus::Offline
    }

    /// The relay takes nobody for online who does not say so.
    pub(super) fn presence_up(&mut self, now: UnixMs) {
        if self.is_shown() {
            self.effects.push(Effect::Show(true));
        }
        let presences = &mut self.volatile.presences;
        presences.tell_at = self.own_presence.is_worth_saying().then_some(now + SAY_MS);
        presences.greeted_at = Some(now + GREETED_MS);
        for known in presences.known.values_mut() {
            known.is_fresh = false;
        }
    }

    /// The agent shows itself otherwise.
    pub(super) fn set_presence(
        &mut self,
        status: PresenceStatus,
        text: Option<String>,
        now: UnixMs,
    ) -> Reply {
        let text = text.filter(|text| !text.is_empty());
        let was_shown = self.is_shown();
        self.own_presence = OwnPresence { status, text };
        if self.volatile.link_up {
            let shown = self.is_shown();
            if shown != was_shown {
                self.effects.push(Effect::Show(shown));
            }
            let presences = &mut self.volatile.presences;
            presences.tell_at = Some(now.max(presences.told_at + SAY_MS));
        }
        Reply::Presences(vec![self.own_view()])
    }

    fn own_view(&self) -> PeerPresence {
        let up = self.volatile.link_up;
        PeerPresence {
            handle: self.account.handle.clone(),
            status: if up {
                self.own_presence.status
            } else {
                PresenceStatus::Offline
            },
            custom_message: self.own_presence.text.clone(),
            last_seen: None,
        }
    }

    /// Time has passed: what is due is said, what was said long ago fades.
    pub(super) fn tick_presence(&mut self, now: UnixMs) -> Result<(), StateError> {
        let due = self.volatile.presences.tell_at.is_some_and(|at| at <= now);
        if due && self.volatile.link_up {
            self.tell_contacts(now)?;
        }
        if self
            .volatile
            .presences
            .greeted_at
            .take_if(|at| *at <= now)
            .is_some()
        {
            self.drop_unnamed(now);
        }
        let known = &mut self.volatile.presences.known;
        let faded = known.iter_mut().filter_map(|(handle, known)| {
            known.said.take_if(|said| said.until <= now)?;
            Some(handle.clone())
        });
        for handle in Vec::from_iter(faded) {
            self.show_presence(&handle);
        }
        Ok(())
    }

    /// Who went while the link was down is not named any more.
    fn drop_unnamed(&mut self, now: UnixMs) {
        let known = self.volatile.presences.known.iter_mut();
        let gone = known.filter(|(_, known)| known.online && !known.is_fresh);
        let gone = gone.map(|(handle, known)| {
            (known.online, known.last_seen, known.said) = (false, None, None);
            handle.clone()
        });
        for handle in Vec::from_iter(gone) {
            self.end_typing(Some(&handle), now);
            self.show_presence(&handle);
        }
    }

    /// Tells the contacts that are there.
    fn tell_contacts(&mut self, now: UnixMs) -> Result<(), StateError> {
        let presences = &mut self.volatile.presences;
        presences.told_at = now;
        presences.tell_at = self.own_presence.is_worth_saying().then_some(now + RENEW_MS);
        if !self.is_shown() {
            return Ok(());
        }
        let online = self
            .volatile
            .presences
            .known
            .iter()
            .filter(|(_, known)| known.online);
        let online: Vec<Handle> = online.take(TOLD).map(|(handle, _)| handle.clone()).collect();
        for handle in online {
            if let Some(peer) = self.contact(&handle)? {
                self.tell_presence(&peer, now);
            }
        }
        Ok(())
    }

    fn tell_presence(&mut self, peer: &PeerRow, now: UnixMs) {
        let body = Presence {
            status: self.own_presence.status.name().to_owned(),
            text: self.own_presence.text.clone(),
        };
        self.pass_on(peer, Kind::Presence, body.encode(), now);
    }

    /// A contact, of whom the relay's word that it is there counts. An honest relay names no others, and none
    /// makes the agent speak to others.
    fn contact(&self, handle: &Handle) -> Result<Option<PeerRow>, StateError> {
        let Some(peer) = self.store.peer(handle)? else {
            return Ok(None);
        };
        let held = peer.pin != Pin::Blocked && self.store.is_contact(peer.peer_id)?;
        Ok(held.then_some(peer))
    }

    /// The relay says that a contact came or went.
    pub(super) fn seen(&mut self, seen: &Seen, now: UnixMs) -> Result<(), StateError> {
        let Some(peer) = self.contact(&seen.handle)? else {
            return Ok(());
        };
        let Some(known) = self.volatile.presences.entry(&seen.handle) else {
            return Ok(());
        };
        let came = seen.online && !known.online;
        (known.online, known.last_seen, known.is_fresh) = (seen.online, seen.last_seen, true);
        if !seen.online {
            known.said = None;
            self.end_typing(Some(&seen.handle), now);
        }
        self.show_presence(&seen.handle);
        if came && self.is_shown() && self.own_presence.is_worth_saying() {
            self.tell_presence(&peer, now);
        }
        Ok(())
    }

    /// A peer says how it is.
    pub(super) fn take_presence(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<Outcome, StateError> {
        let Ok(presence) = Presence::decode(&body.body) else {
            return Ok("refused");
        };
        let Some(status) = PresenceStatus::from_name(&presence.status) else {
            return Ok("refused");
        };
        if !self.is_welcome(peer)? {
            return Ok("unknown_sender");
        }
        let known = self.volatile.presences.entry(&peer.handle);
        let Some(known) = known.filter(|known| body.time > known.time) else {
            return Ok("repeated");
        };
        known.time = body.time;
        known.said = Some(Said {
            status,
            text: presence.text.filter(|text| !text.is_empty()),
            until: now + FADE_MS,
        });
        self.show_presence(&peer.handle);
        Ok("taken")
    }

    /// Tells the agent what is shown of a peer if that is another than before.
    fn show_presence(&mut self, handle: &Handle) {
        let Some(known) = self.volatile.presences.known.get_mut(handle) else {
            return;
        };
        let view = known.view(handle);
        let shown = (view.status, view.custom_message.clone());
        if known.shown != shown {
            known.shown = shown;
            self.effects
                .push(Effect::Notify(Notice::Presence(Box::new(view))));
        }
    }

    /// The agent asks who is there.
    pub(super) fn ask_presences(&mut self, id: RequestId, handles: Vec<Handle>) {
        let own = &self.account.handle;
        let others: Vec<Handle> = handles.iter().filter(|handle| *handle != own).cloned().collect();
        if others.is_empty() {
            let views = Vec::from_iter((!handles.is_empty()).then(|| self.own_view()));
            return self.reply(id, Ok(Reply::Presences(views)));
        }
        self.volatile.presences.questions.insert(id, handles);
        self.effects.push(Effect::Call(RelayCall::Presences(id, others)));
    }

    /// The relay's word on those the agent asked about.
    pub(super) fn presences(
        &mut self,
        id: RequestId,
        answer: Result<Vec<Seen>, LookupError>,
    ) -> Result<(), StateError> {
        let Some(asked) = self.volatile.presences.questions.remove(&id) else {
            return Ok(());
        };
        let seen = match answer {
            Ok(seen) => seen,
            Err(LookupError::Refused(problem)) if problem.status == 429 => {
                let retry_after = problem.retry_after.unwrap_or(1);
                return self.refuse(id, Refusal::RateLimited { retry_after });
            }
            Err(_) => return self.refuse(id, Refusal::RelayUnreachable { queued: false }),
        };
        let mut views: Vec<PeerPresence> = Vec::with_capacity(asked.len());
        for handle in asked {
            let told = views.iter().any(|view| view.handle == handle);
            let seen = seen.iter().find(|seen| seen.handle == handle);
            if handle == self.account.handle && !told {
                views.push(self.own_view());
            } else if let Some(seen) = seen.filter(|_| !told)
                && !self.is_blocked(&handle)?
            {
                views.push(self.view_of(seen));
            }
        }
        self.reply(id, Ok(Reply::Presences(views)));
        Ok(())
    }

    fn is_blocked(&self, handle: &Handle) -> Result<bool, StateError> {
        let peer = self.store.peer(handle)?;
        Ok(peer.is_some_and(|peer| peer.pin == Pin::Blocked))
    }

    /// The relay's word of this moment, with what the peer has said if it is there.
    fn view_of(&self, seen: &Seen) -> PeerPresence {
        let known = self.volatile.presences.known.get(&seen.handle);
        let said = known.and_then(|known| known.said.clone());
        Known {
            online: seen.online,
            last_seen: seen.last_seen,
            said: said.filter(|_| seen.online),
            ..Known::default()
        }
        .view(&seen.handle)
    }
}
