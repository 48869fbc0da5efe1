//! Contacts, blocks, mutes and the own profile. What the relay has to hold of them is kept here first
//! and declared to it until it has taken it: nothing of it is lost with an answer, a link or a run.

use std::collections::{HashMap, hash_map::Entry};

use waxwire_shared::{
    api::{
        problem::ProblemType,
        profile::{DirectoryAnswer, ProfileAnswer, ProfileRequest, is_description, is_display_name},
        rest::BlockRequest,
    },
    fingerprint::{Address, Fingerprint},
    ids::Handle,
};

use super::{Command, ContactCommand, Declaration, Effect, Engine, LookupError, RelayCall, Reply, RequestId};
use crate::{
    model::{InboxMode, Listed, ListedPage, OwnProfileChange, Profile, Refusal, Severity, UnixMs},
    state::{PeerRow, Pin, StateError, Subject},
};

/// Milliseconds until the relay is told again if it did not answer, and if it refused for a while.
const AGAIN_MS: u64 = 5_000;
const AGAIN_LATER_MS: u64 = 60_000;

/// Declarations on their way, and requests that wait for them. May be lost.
#[derive(Debug, Default)]
pub(super) struct Declaring {
    under_way: HashMap<Subject, Vec<(RequestId, UnixMs)>>,
    /// When what the relay did not take is declared again.
    again_at: Option<UnixMs>,
}

impl Declaring {
    pub(super) fn deadline(&self) -> Option<UnixMs> {
        let waiting = self.under_way.values().flatten().map(|(_, until)| *until);
        waiting.chain(self.again_at).min()
    }

    pub(super) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.under_way.into_values().flatten().map(|(request, _)| request)
    }
}

impl Engine {
    /// The agent asks something about others.
    pub(super) fn contact_command(
        &mut self,
        id: RequestId,
        command: ContactCommand,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let answer = match command {
            ContactCommand::Add(address) => return self.add_contact(id, address, now),
            ContactCommand::Block(address) => return self.block(id, address, now),
            ContactCommand::Unblock(handle) => return self.unblock(id, &handle, now),
            ContactCommand::SetProfile(change) => return self.set_profile(id, &change, now),
            ContactCommand::Profile(handle) => {
                self.effects.push(Effect::Call(RelayCall::Profile(id, handle)));
                return Ok(());
            }
            ContactCommand::Search {
                prefix,
                limit,
                offset,
            } => {
                self.effects.push(Effect::Call(RelayCall::Directory {
                    request: id,
                    prefix,
                    limit,
                    offset,
                }));
                return Ok(());
            }
            ContactCommand::Mute(target, until) => {
                let mute = self.store.put_mute(&target, until, now)?;
                Ok(Reply::Muted(mute))
            }
            ContactCommand::Unmute(target) => {
                let muted = self.store.remove_mute(&target, now)?;
                if muted {
                    Ok(Reply::Done)
                } else {
                    Err(Refusal::NotMuted)
                }
            }
            ContactCommand::Note(handle, notes) => self.note_contact(&handle, notes.as_deref(), now)?,
            ContactCommand::Remove(handle) => self.remove_contact(&handle, now)?,
        };
        self.reply(id, answer);
        Ok(())
    }

    fn add_contact(&mut self, id: RequestId, address: Address, now: UnixMs) -> Result<(), StateError> {
        if address.handle == self.account.handle {
            return self.refuse(id, Refusal::Invalid("this is the agent itself"));
        }
        let Some(mut peer) = self.store.peer(&address.handle)? else {
            let command = Command::Contact(ContactCommand::Add(address.clone()));
            return self.wait_for_bundle(id, address.handle, command, now);
        };
        if let Err(refusal) = self.check_trust(&peer, &address) {
            return self.refuse(id, refusal);
        }
        if address.fingerprint.is_some() && peer.pin != Pin::Verified {
            peer.pin = Pin::Fingerprint;
        }
        self.store.put_contact(peer.peer_id, now)?;
        self.let_in(&mut peer, now)?;
        self.declare(Subject::Contact(peer.peer_id), None, now)?;
        let answer = match self.store.contact(&peer.handle)? {
            Some(contact) => Ok(Reply::Contact(Box::new(contact))),
            None => Err(Refusal::AgentNotFound),
        };
        self.reply(id, answer);
        Ok(())
    }

    fn note_contact(
        &mut self,
        handle: &Handle,
        notes: Option<&str>,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let noted = match self.store.peer(handle)? {
            Some(peer) => self
                .store
                .put_contact_notes(&mut *self.rng, peer.peer_id, notes, now)?,
            None => false,
        };
        Ok(if noted {
            Ok(Reply::Done)
        } else {
            Err(Refusal::AgentNotFound)
        })
    }

    /// Who was a contact is a stranger again, until the agent writes to it.
    fn remove_contact(&mut self, handle: &Handle, now: UnixMs) -> Result<Result<Reply, Refusal>, StateError> {
        if let Some(mut peer) = self.store.peer(handle)?
            && self.store.remove_contact(peer.peer_id)?
        {
            peer.accepted = false;
            self.store.put_peer(&peer)?;
            self.declare(Subject::Contact(peer.peer_id), None, now)?;
        }
        Ok(Ok(Reply::Done))
    }

    fn block(&mut self, id: RequestId, address: Address, now: UnixMs) -> Result<(), StateError> {
        if address.handle == self.account.handle {
            return self.refuse(id, Refusal::Invalid("this is the agent itself"));
        }
        let Some(mut peer) = self.store.peer(&address.handle)? else {
            let command = Command::Contact(ContactCommand::Block(address.clone()));
            return self.wait_for_bundle(id, address.handle, command, now);
        };
        let pinned = Fingerprint::of(&peer.identity);
        if address.fingerprint.is_some_and(|given| given != pinned) {
            let refusal = Refusal::FingerprintMismatch {
                handle: peer.handle,
                actual: pinned,
            };
            return self.refuse(id, refusal);
        }
        self.block_here(&mut peer, now)?;
        self.declare(Subject::Block(peer.peer_id), Some(id), now)
    }

    fn unblock(&mut self, id: RequestId, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        let Some(mut peer) = self.store.peer(handle)? else {
            self.reply(id, Ok(Reply::Declared(true)));
            return Ok(());
        };
        self.store.unblock_peer(&mut peer)?;
        self.declare(Subject::Block(peer.peer_id), Some(id), now)
    }

    /// Blocks a peer here, at once; the relay is told.
    pub(super) fn block_here(&mut self, peer: &mut PeerRow, now: UnixMs) -> Result<(), StateError> {
        self.store.block_peer(peer, now)?;
        self.drop_requests(peer)?;
        self.declare(Subject::Block(peer.peer_id), None, now)
    }

    /// Lifts a block if there is one; the relay is told.
    pub(super) fn lift_block(&mut self, peer: &mut PeerRow, now: UnixMs) -> Result<(), StateError> {
        if peer.pin != Pin::Blocked {
            return Ok(());
        }
        self.store.unblock_peer(peer)?;
        self.declare(Subject::Block(peer.peer_id), None, now)
    }

    fn set_profile(
        &mut self,
        id: RequestId,
        change: &OwnProfileChange,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let mut own = self.store.own_profile()?;
        let changed = |text: &Option<String>, old: Option<String>| match text {
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            None => old,
        };
        own.profile.display_name = changed(&change.display_name, own.profile.display_name);
        own.profile.description = changed(&change.description, own.profile.description);
        own.listed = change.listed.unwrap_or(own.listed);
        own.inbox_mode = change.inbox_mode.or(own.inbox_mode);
        own.invite_policy = change.invite_policy.unwrap_or(own.invite_policy);
        self.store.put_own_profile(&own, now)?;
        self.declare(Subject::Profile, Some(id), now)
    }

    /// Who may write without being let in.
    pub(super) fn inbox_mode(&self) -> Result<InboxMode, StateError> {
        let own = self.store.own_profile()?;
        Ok(own.inbox_mode.unwrap_or(self.settings.inbox_mode))
    }

    /// The relay's answer to [`RelayCall::Profile`]. What does not keep to the limits is not shown.
    pub(super) fn profile(
        &mut self,
        request: RequestId,
        handle: &Handle,
        answer: Result<ProfileAnswer, LookupError>,
    ) -> Result<(), StateError> {
        let peer = self.store.peer(handle)?;
        let answer = match (answer, peer) {
            (Ok(answer), peer) => {
                let profile = shown(answer.display_name, answer.description);
                if let Some(peer) = peer {
                    self.store.put_peer_profile(peer.peer_id, &profile)?;
                }
                Ok(profile)
            }
            (Err(LookupError::Unreachable), Some(peer)) => Ok(self.store.peer_profile(peer.peer_id)?),
            (Err(error), _) => Err(refusal(error)),
        };
        self.reply(request, answer.map(Reply::Profile));
        Ok(())
    }

    /// The relay's answer to [`RelayCall::Directory`].
    pub(super) fn directory(
        &mut self,
        request: RequestId,
        answer: Result<DirectoryAnswer, LookupError>,
    ) -> Result<(), StateError> {
        let answer = match answer {
            Ok(answer) => {
                let mut agents = Vec::with_capacity(answer.agents.len());
                for found in answer.agents {
                    let in_contacts = self.store.contact(&found.handle)?.is_some();
                    agents.push(Listed {
                        profile: shown(found.display_name, found.description),
                        handle: found.handle,
                        created_at: found.registered_at,
                        in_contacts,
                    });
                }
                Ok(ListedPage {
                    agents,
                    total: answer.total,
                })
            }
            Err(error) => Err(refusal(error)),
        };
        self.reply(request, answer.map(Reply::Directory));
        Ok(())
    }

    /// The relay has to be told of a subject; a request may wait for its answer.
    fn declare(
        &mut self,
        subject: Subject,
        waiter: Option<RequestId>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.store.put_undeclared(subject)?;
        let until = now + self.settings.answer_within;
        match self.volatile.declaring.under_way.get_mut(&subject) {
            Some(waiting) => waiting.extend(waiter.map(|request| (request, until))),
            None => {
                let waiting = waiter.map(|request| (request, until)).into_iter().collect();
                self.volatile.declaring.under_way.insert(subject, waiting);
                self.declare_now(subject)?;
            }
        }
        Ok(())
    }

    fn declare_now(&mut self, subject: Subject) -> Result<(), StateError> {
        let declaration = self.declaration(subject)?;
        self.effects.push(Effect::Call(RelayCall::Declare(declaration)));
        Ok(())
    }

    /// Everything that the relay does not have yet, unless it is on its way.
    pub(super) fn declare_all(&mut self) -> Result<(), StateError> {
        self.volatile.declaring.again_at = None;
        for subject in self.store.undeclared()? {
            if let Entry::Vacant(free) = self.volatile.declaring.under_way.entry(subject) {
                free.insert(Vec::new());
                self.declare_now(subject)?;
            }
        }
        Ok(())
    }

    /// A subject as it is now.
    fn declaration(&self, subject: Subject) -> Result<Declaration, StateError> {
        Ok(match subject {
            Subject::Contact(peer_id) => {
                let handle = self.store.peer_by_id(peer_id)?.handle;
                Declaration::Contact(handle, self.store.is_contact(peer_id)?)
            }
            Subject::Block(peer_id) => {
                let peer = self.store.peer_by_id(peer_id)?;
                let block = match peer.pin {
                    Pin::Blocked => Some(BlockRequest {
                        known: self.store.has_conversed(peer_id)?,
                    }),
                    _ => None,
                };
                Declaration::Block(peer.handle, block)
            }
            Subject::Profile => {
                let own = self.store.own_profile()?;
                Declaration::Profile(ProfileRequest {
                    display_name: own.profile.display_name,
                    description: own.profile.description,
                    listed: own.listed,
                })
            }
        })
    }

    fn subject(&self, declaration: &Declaration) -> Result<Option<Subject>, StateError> {
        Ok(match declaration {
            Declaration::Contact(handle, _) => self
                .store
                .peer(handle)?
                .map(|peer| Subject::Contact(peer.peer_id)),
            Declaration::Block(handle, _) => {
                self.store.peer(handle)?.map(|peer| Subject::Block(peer.peer_id))
            }
            Declaration::Profile(_) => Some(Subject::Profile),
        })
    }

    /// The relay's answer to [`RelayCall::Declare`].
    pub(super) fn declared(
        &mut self,
        declaration: &Declaration,
        answer: &Result<(), LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(subject) = self.subject(declaration)? else {
            return Ok(());
        };
        // What has changed since is declared once more, and whoever waits goes on waiting.
        if answer.is_ok() && self.declaration(subject)? != *declaration {
            return self.declare_now(subject);
        }
        let waiting = self.volatile.declaring.under_way.remove(&subject);
        let again = match answer {
            Ok(()) => None,
            Err(LookupError::Unreachable) => Some(AGAIN_MS),
            Err(LookupError::Refused(problem)) if !is_final(problem.status, problem.limit.is_some()) => {
                Some(AGAIN_LATER_MS)
            }
            Err(_) => {
                let reason =
                    "the relay does not take what this agent has set: a contact, a block or its profile";
                self.alert("declaration_refused", Severity::Warning, None, reason, now)?;
                None
            }
        };
        match again {
            // Without a link it is told when there is one.
            Some(_) if !self.volatile.link_up => {}
            Some(wait) => {
                let at = now + wait;
                let earliest = self.volatile.declaring.again_at.map_or(at, |other| other.min(at));
                self.volatile.declaring.again_at = Some(earliest);
            }
            None => self.store.drop_undeclared(subject)?,
        }
        for (request, _) in waiting.into_iter().flatten() {
            self.reply(request, Ok(Reply::Declared(answer.is_ok())));
        }
        Ok(())
    }

    pub(super) fn tick_declarations(&mut self, now: UnixMs) -> Result<(), StateError> {
        let mut over = Vec::new();
        for waiting in self.volatile.declaring.under_way.values_mut() {
            waiting.retain(|(request, until)| {
                let keep = *until > now;
                over.extend((!keep).then_some(*request));
                keep
            });
        }
        for request in over {
            self.reply(request, Ok(Reply::Declared(false)));
        }
        if self.volatile.declaring.again_at.is_some_and(|at| at <= now) {
            self.declare_all()?;
        }
        Ok(())
    }
}

/// Whether asking again would be refused again.
const fn is_final(status: u16, names_a_limit: bool) -> bool {
    matches!(status, 400 | 413) || (status == 403 && names_a_limit)
}

/// What may be shown of what the relay says: within the limits that honest agents keep to.
fn shown(display_name: Option<String>, description: Option<String>) -> Profile {
    Profile {
        display_name: display_name.filter(|text| is_display_name(text)),
        description: description.filter(|text| is_description(text)),
    }
}

/// Why there is no answer of the relay.
pub(super) fn refusal(error: LookupError) -> Refusal {
    match error {
        LookupError::NotFound => Refusal::AgentNotFound,
        LookupError::Refused(problem) => match (problem.status, problem.problem_type()) {
            (403, Some(ProblemType::Blocked)) => Refusal::Blocked,
            (429, _) => Refusal::RateLimited {
                retry_after: problem.retry_after.unwrap_or(1),
            },
            (401 | 403, _) => Refusal::Forbidden,
            _ => Refusal::RelayUnreachable { queued: false },
        },
        LookupError::Unreachable => Refusal::RelayUnreachable { queued: false },
    }
}
