//! What tests see and change of an engine behind its back.

use waxwire_shared::{
    ids::{GroupId, Handle, Hash, SessionId},
    wire::Kind,
};

use crate::{
    engine::{Effect, EncryptionKey, Engine, Now},
    state::Store,
};

impl Engine {
    /// The state.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The own encryption keys.
    pub(crate) const fn encryption_keys(&mut self) -> &mut Vec<EncryptionKey> {
        &mut self.account.encryption_keys
    }

    /// Head of a group's log.
    pub(crate) fn group_head(&self, group: &GroupId) -> Option<Hash> {
        self.views.get(group).map(|view| view.roster.head())
    }

    /// The own session.
    pub(crate) const fn own_session(&self) -> SessionId {
        self.account.session
    }

    /// Sends a control message of any kind, whatever a peer may claim.
    pub(crate) fn send_control(&mut self, to: &Handle, kind: Kind, body: Vec<u8>, now: Now) -> Vec<Effect> {
        self.store.begin().unwrap();
        let peer = self.store.peer(to).unwrap().unwrap();
        self.queue_control(&peer, kind, body, now.unix).unwrap();
        self.store.commit().unwrap();
        self.handle_batch(std::iter::empty(), now)
    }
}
