//! Messages that were sealed to an old bundle because the relay could not be asked for a newer one
//! (docs/protocol.md, 4.3). They are queued like any other; before they go out for the first time the relay
//! is asked, and they are sealed again to what it shows.

use waxwire_shared::ids::Handle;

use super::{Effect, Engine, RelayCall};
use crate::{
    model::{Refusal, UnixMs},
    state::{OutboxRow, PeerRow, StateError},
};

impl Engine {
    /// The link is up: the recipients of what was postponed are looked up.
    pub(super) fn ask_for_postponed(&mut self) -> Result<(), StateError> {
        for handle in self.store.postponed_recipients()? {
            self.effects.push(Effect::Call(RelayCall::Bundle(handle)));
        }
        Ok(())
    }

    /// A recipient was looked up: what was postponed goes out, in order, or is refused for the reason given.
    /// A relay that has not answered is no reason; then the bundle that is known must do.
    pub(super) fn release_postponed(
        &mut self,
        handle: &Handle,
        refusal: Option<&Refusal>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(peer) = self.store.peer(handle)? else {
            return Ok(());
        };
        if matches!(refusal, Some(Refusal::IdentityChanged { .. })) {
            // Frozen: somebody has to decide.
            return Ok(());
        }
        let refusal =
            refusal.filter(|refusal| !matches!(refusal, Refusal::RateLimited { .. } | Refusal::Forbidden));
        for row in self.store.postponed(peer.peer_id)? {
            match refusal {
                Some(refusal) => self.refused(&row, refusal.clone(), now)?,
                None => self.seal_postponed(&peer, &row, now)?,
            }
        }
        Ok(())
    }

    fn seal_postponed(&mut self, peer: &PeerRow, row: &OutboxRow, now: UnixMs) -> Result<(), StateError> {
        let own = match row.message_row {
            Some(message_row) => self.store.own_envelope(message_row)?,
            None => None,
        };
        let Some(own) = own else {
            return self.store.remove_outbox(row);
        };
        match self.seal_again(peer, own.message_row, own.attempt, row.deadline, now)? {
            Ok(token) => {
                self.store.remove_outbox(row)?;
                if let Some(waiters) = self.volatile.waiters.remove(&row.token) {
                    self.volatile.waiters.insert(token, waiters);
                }
                Ok(())
            }
            Err(refusal) => self.refused(row, refusal, now),
        }
    }
}
