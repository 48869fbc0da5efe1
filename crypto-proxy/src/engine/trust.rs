//! The agent decides on peers (docs/protocol.md, 4; flow 11 step 3).

use waxwire_shared::{fingerprint::Fingerprint, ids::Handle};

use super::{Command, Engine, Reply, RequestId, send::stored_bundle};
use crate::{
    model::{Refusal, TrustDecision, UnixMs},
    state::{Hold, PeerRow, Pin, StateError},
};

impl Engine {
    /// Pins, verifies or blocks the identity with this fingerprint: the one in use, or the one that the relay
    /// shows instead. What the former one has not confirmed is sealed again only if `resend` says so.
    pub(super) fn set_trust(
        &mut self,
        id: RequestId,
        (handle, decision, fingerprint): (Handle, TrustDecision, Fingerprint),
        resend: bool,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if handle == self.account.handle {
            return self.refuse(id, Refusal::Invalid("this is the agent itself"));
        }
        let Some(mut peer) = self.store.peer(&handle)? else {
            let command = Command::SetTrust(handle.clone(), decision, fingerprint, resend);
            return self.wait_for_bundle(id, handle, command, now);
        };
        let changed = peer.changed.as_ref().map(|shown| &shown.identity);
        let shown = Fingerprint::of(changed.unwrap_or(&peer.identity));
        if fingerprint != Fingerprint::of(&peer.identity) {
            if fingerprint != shown {
                return self.refuse(
                    id,
                    Refusal::FingerprintMismatch {
                        handle,
                        actual: shown,
                    },
                );
            }
            let resend = resend && decision != TrustDecision::Blocked;
            self.follow(&mut peer, resend, now)?;
        }
        let pin = match decision {
            TrustDecision::Verified => Some(Pin::Verified),
            TrustDecision::Pinned => Some(Pin::Fingerprint),
            TrustDecision::Blocked => None,
        };
        if decision != TrustDecision::Blocked
            && let Some(bundle) = stored_bundle(&peer)
        {
            // The peer is taken as it is now, also without a suite that it has shown.
            peer.best_suite = bundle.highest_suite();
        }
        match pin {
            Some(pin) => {
                self.lift_block(&mut peer, now)?;
                peer.pin = pin;
                self.store.put_peer(&peer)?;
            }
            None => self.block_here(&mut peer, now)?,
        }
        let view = self.peer_view(&peer)?;
        self.reply(id, Ok(Reply::Peer(Box::new(view))));
        self.release_held(&handle, now)
    }

    /// A stranger is let in: what waits becomes visible in order.
    pub(super) fn accept_request(
        &mut self,
        handle: &Handle,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let Some(mut peer) = self.store.peer(handle)? else {
            return Ok(Err(Refusal::AgentNotFound));
        };
        let nobody_waits = self.store.held_messages(Hold::Request, peer.peer_id)?.is_empty();
        if nobody_waits && !peer.accepted {
            return Ok(Err(Refusal::AgentNotFound));
        }
        self.let_in(&mut peer, now)?;
        Ok(Ok(Reply::Done))
    }

    /// A peer is no stranger any more.
    pub(super) fn let_in(&mut self, peer: &mut PeerRow, now: UnixMs) -> Result<(), StateError> {
        peer.accepted = true;
        if peer.pin == Pin::New {
            peer.pin = Pin::Tofu;
        }
        self.store.put_peer(peer)?;
        let waiting = self.store.held_messages(Hold::Request, peer.peer_id)?;
        // Like what comes in: in order, with holes waited for and named.
        self.store.let_in(peer.peer_id, now)?;
        for message in waiting {
            let (conversation, session) = (message.conversation_id, message.session);
            if let Some(session) = self.store.session(conversation, peer.peer_id, &session)? {
                self.show_waiting(session, now)?;
            }
        }
        Ok(())
    }

    /// What a stranger sent is erased; their next message asks again.
    pub(super) fn reject_request(&self, handle: &Handle) -> Result<Result<Reply, Refusal>, StateError> {
        if let Some(peer) = self.store.peer(handle)? {
            self.drop_requests(&peer)?;
        }
        Ok(Ok(Reply::Done))
    }

    /// What a peer has sent that the agent has not seen is erased.
    pub(super) fn drop_requests(&self, peer: &PeerRow) -> Result<(), StateError> {
        for message in self.store.held_messages(Hold::Request, peer.peer_id)? {
            self.store.erase_message(message.message_row)?;
        }
        Ok(())
    }
}
