//! A peer has another identity (docs/protocol.md, 4.6; flow 11, steps 2 and 3): proven or not, followed by
//! policy or by a decision, and what becomes of messages that the former identity has not confirmed.

use waxwire_shared::{
    api::rest::BundleAnswer,
    fingerprint::{Address, Fingerprint},
    ids::ConversationId,
    sign::Verified,
    succession::{self, Known, Proof},
    suite::Suite,
    wire::{Bundle, Kind},
};

use super::{
    Effect, Engine, RelayCall, TrustPolicy, Waiter,
    lookup::{LOOKUP_AGAIN_MS, expiry},
    send::{CONTROL_DEADLINE_MS, stored_bundle},
};
use crate::{
    model::{Destination, Refusal, SendRequest, SendToken, Severity, UnixMs},
    state::{GapOf, MessageRow, OutboxRow, PeerRow, Pin, Shown, StateError},
};

/// Messages that are older than this when their recipient has another identity stay as they are.
const CONFIRMED_WITHIN_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// What is said again to the new identity, and who waits for it.
struct Again {
    request: SendRequest,
    waiters: Vec<Waiter>,
}

impl Engine {
    /// The relay shows another identity than the pinned one: followed if that is proven and policy and pin
    /// leave it to the proof, else nothing is sent before somebody decides.
    pub(super) fn identity_changed(
        &mut self,
        mut peer: PeerRow,
        verified: &Verified<Bundle>,
        answer: &BundleAnswer,
        now: UnixMs,
    ) -> Result<Result<(), Refusal>, StateError> {
        let proof = self.proof(&peer, verified, answer);
        peer.changed = Some(Shown {
            identity: verified.signer().clone(),
            bundle: verified.bytes().to_vec(),
            proof,
        });
        peer.fetched_at = now;
        let by_proof = peer.pin == Pin::Tofu && self.settings.trust_policy == TrustPolicy::Tofu;
        let (kind, severity, reason) = match proof {
            Some(_) if by_proof => return self.succeeded(peer, verified, now),
            Some(_) => (
                "identity_changed",
                Severity::Critical,
                "a pinned peer has another identity, as the pinned one or its recovery key has signed; \
                 nothing is sent before somebody decides",
            ),
            None => (
                "identity_changed",
                Severity::Critical,
                "the relay shows another identity for a pinned peer, and nothing proves it",
            ),
        };
        self.store.put_peer(&peer)?;
        let refusal = changed_refusal(&peer).unwrap_or(Refusal::AgentNotFound);
        self.freeze(&peer, &refusal, now)?;
        self.alert(kind, severity, Some(&peer.handle), reason, now)?;
        Ok(Err(refusal))
    }

    fn proof(&self, peer: &PeerRow, verified: &Verified<Bundle>, answer: &BundleAnswer) -> Option<Proof> {
        let known = Known {
            relay: &self.account.relay,
            handle: &peer.handle,
            identity: &peer.identity,
            recovery: stored_bundle(peer).map(|bundle| bundle.recovery),
        };
        let chain = answer.successions.iter().map(|bytes| bytes.0.as_slice());
        succession::proves(known, chain, verified.signer())
    }

    fn succeeded(
        &mut self,
        mut peer: PeerRow,
        verified: &Verified<Bundle>,
        now: UnixMs,
    ) -> Result<Result<(), Refusal>, StateError> {
        let lost = peer.changed.as_ref().and_then(|shown| shown.proof) == Some(Proof::ByRecovery);
        let (severity, reason) = if lost {
            (
                Severity::Warning,
                "the peer has lost its keys and goes on with another identity; its recovery key has signed",
            )
        } else {
            (
                Severity::Info,
                "the peer goes on with another identity; the former one has signed",
            )
        };
        self.follow(&mut peer, false, now)?;
        self.store.put_peer(&peer)?;
        self.alert("identity_succeeded", severity, Some(&peer.handle), reason, now)?;
        Ok(expiry(&peer.handle, verified.body(), now))
    }

    /// The identity that the relay shows becomes the peer's. The local conversation goes on; numbering begins
    /// anew. What the former identity has not confirmed ends, or is sealed to this one, if that is wished.
    pub(super) fn follow(&mut self, peer: &mut PeerRow, resend: bool, now: UnixMs) -> Result<(), StateError> {
        let Some(refusal) = changed_refusal(peer) else {
            return Ok(());
        };
        let Some(shown) = peer.changed.take() else {
            return Ok(());
        };
        // The claim was right; the next one is looked at as soon as it comes.
        self.volatile.succeeded.remove(&peer.peer_id);
        let again = self.end_pending(peer, &refusal, shown.proof, resend, now)?;
        self.store
            .put_former(peer.peer_id, &peer.identity, shown.proof, now)?;
        let protocol_id = ConversationId::direct(self.account.identity.public(), &shown.identity);
        self.store.move_conversation(peer.peer_id, &protocol_id)?;
        (peer.identity, peer.bundle) = (shown.identity, shown.bundle);
        let bundle = stored_bundle(peer);
        peer.number = bundle.as_ref().map_or(0, |bundle| bundle.number);
        peer.best_suite = bundle.as_ref().map_or(Suite(0), Bundle::highest_suite);
        self.store.put_peer(peer)?;
        self.say_again(peer, bundle.as_ref(), again, now)
    }

    /// Messages that the former identity of a peer has not confirmed.
    fn end_pending(
        &mut self,
        peer: &PeerRow,
        refusal: &Refusal,
        proof: Option<Proof>,
        resend: bool,
        now: UnixMs,
    ) -> Result<Vec<Again>, StateError> {
        let mut again = Vec::new();
        let protocol_id = ConversationId::direct(self.account.identity.public(), &peer.identity);
        let Some(conversation) = self.store.conversation_by_protocol(&protocol_id)? else {
            return Ok(again);
        };
        let conversation_id = conversation.conversation_id;
        let since = now.saturating_sub(CONFIRMED_WITHIN_MS);
        for (message_row, token) in self.store.unconfirmed(conversation_id, since)? {
            let waiting = match token {
                Some(token) => self.store.outbox(token)?,
                None => None,
            };
            let request = if resend {
                self.request_again(peer, message_row)?
            } else {
                None
            };
            match (request, &waiting) {
                (Some(request), Some(row)) => {
                    let waiters = self.withdraw_row(row, now)?;
                    again.push(Again { request, waiters });
                }
                (Some(request), None) => again.push(Again {
                    request,
                    waiters: Vec::new(),
                }),
                (None, Some(row)) => self.refused(row, refusal.clone(), now)?,
                (None, None) => {}
            }
            // Who could still read its mail has read it before it went on.
            if resend || proof != Some(Proof::ByOld) {
                self.store.fail_visible(message_row)?;
            }
        }
        let gap = GapOf {
            peer_id: peer.peer_id,
            conversation_id,
        };
        self.release_gaps(gap, now)?;
        Ok(again)
    }

    /// What an own message said, as the agent would ask for it again.
    fn request_again(&self, peer: &PeerRow, message_row: i64) -> Result<Option<SendRequest>, StateError> {
        let core = self.store.core(message_row)?;
        if core.attachments.is_some() {
            // The agent sends it again: whose upload it is, and whether it is there still, it knows best.
            return Ok(None);
        }
        let Ok(content) = String::from_utf8(core.content) else {
            return Ok(None);
        };
        let metadata = core.metadata.map(String::from_utf8).transpose();
        let to = Address {
            handle: peer.handle.clone(),
            fingerprint: None,
        };
        Ok(metadata.ok().map(|metadata| SendRequest {
            to: Destination::Peer(to),
            client_msg_id: core.client_msg_id,
            message_type: core.message_type,
            content,
            metadata,
            reply_to: core.reply_to.map(Into::into),
            expires_at: core.expires,
            attachment: None,
            broadcast: core.kind == Kind::Broadcast,
        }))
    }

    fn say_again(
        &mut self,
        peer: &PeerRow,
        bundle: Option<&Bundle>,
        again: Vec<Again>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let ask = !again.is_empty() && !self.is_fresh(peer, now);
        for Again { request, waiters } in again {
            let queued = match bundle {
                Some(bundle) => self.queue(&request, peer.clone(), bundle, now)?,
                None => Err(Refusal::RecipientKeyExpired {
                    handle: peer.handle.clone(),
                }),
            };
            match queued {
                Ok(token) => {
                    if ask {
                        self.store.park_outbox(token)?;
                    }
                    self.volatile.waiters.entry(token).or_default().extend(waiters);
                }
                Err(refusal) => {
                    for waiter in waiters {
                        self.reply(waiter.request, Err(refusal.clone()));
                    }
                }
            }
        }
        if ask {
            self.effects
                .push(Effect::Call(RelayCall::Bundle(peer.handle.clone())));
        }
        Ok(())
    }

    /// Nothing goes to an identity of which nobody knows whether it is still the peer's. Who waits is told; what
    /// nobody waits for stays until somebody decides.
    fn freeze(&mut self, peer: &PeerRow, refusal: &Refusal, now: UnixMs) -> Result<(), StateError> {
        let protocol_id = ConversationId::direct(self.account.identity.public(), &peer.identity);
        let Some(conversation) = self.store.conversation_by_protocol(&protocol_id)? else {
            return Ok(());
        };
        for (_, token) in self.store.unconfirmed(conversation.conversation_id, now)? {
            let Some(token) = token else { continue };
            if self.volatile.waiters.contains_key(&token) {
                if let Some(row) = self.store.outbox(token)? {
                    self.refused(&row, refusal.clone(), now)?;
                }
            } else {
                self.store.freeze_outbox(token, now + CONTROL_DEADLINE_MS)?;
            }
        }
        Ok(())
    }

    /// Whether a message that is queued waits for a decision on its recipient.
    pub(super) fn is_frozen(&self, message: &MessageRow) -> Result<bool, StateError> {
        Ok(match message.peer_id {
            Some(peer_id) => self.store.peer_by_id(peer_id)?.changed.is_some(),
            None => false,
        })
    }

    /// The agent asks again for what waits for a decision: it is not sent, so that it can be sent otherwise.
    pub(super) fn give_up_frozen(&mut self, token: SendToken, now: UnixMs) -> Result<(), StateError> {
        match self.store.outbox(token)? {
            Some(row) => self.withdraw_row(&row, now).map(drop),
            None => Ok(()),
        }
    }

    /// Whether it is time to look up a peer because somebody else claims its handle.
    pub(super) fn may_ask_who_follows(&mut self, peer: &PeerRow, now: UnixMs) -> bool {
        let asked = self.volatile.succeeded.get(&peer.peer_id);
        if asked.is_some_and(|asked| now.saturating_sub(*asked) < LOOKUP_AGAIN_MS) {
            return false;
        }
        self.volatile.succeeded.insert(peer.peer_id, now);
        true
    }

    /// The relay says that the recipient's handle went to another identity: it is looked up before anything is
    /// decided. False if it was a moment ago, and the relay showed nothing else.
    pub(super) fn look_who_follows(&mut self, row: &OutboxRow, now: UnixMs) -> Result<bool, StateError> {
        let Some(message_row) = row.message_row else {
            return Ok(false);
        };
        let Some(peer_id) = self.store.message_by_row(message_row)?.peer_id else {
            return Ok(false);
        };
        let mut peer = self.store.peer_by_id(peer_id)?;
        if !self.may_ask_who_follows(&peer, now) {
            return Ok(false);
        }
        peer.fetched_at = 0;
        self.store.put_peer(&peer)?;
        self.store.park_outbox(row.token)?;
        self.effects
            .push(Effect::Call(RelayCall::Bundle(peer.handle.clone())));
        Ok(true)
    }
}

/// Why nothing is sent to a peer that the relay shows with another identity.
pub(super) fn changed_refusal(peer: &PeerRow) -> Option<Refusal> {
    peer.changed.as_ref().map(|shown| Refusal::IdentityChanged {
        handle: peer.handle.clone(),
        pinned: Fingerprint::of(&peer.identity),
        shown: Fingerprint::of(&shown.identity),
        proven: shown.proof.is_some(),
    })
}
