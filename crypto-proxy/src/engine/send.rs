//! An agent's message becomes an envelope in the outbox (flow 1, steps 1 to 5).

use waxwire_shared::{
    api::frames::Queue,
    fingerprint::{Address, Fingerprint},
    hash::sha256,
    ids::{AgentId, ConversationId, Mid},
    suite::Suite,
    wire::{
        Bundle, BundleKey, Context, ControlBody, Core, DirectHeader, Document, Envelope, Kind, Lane,
        MessageBytes, VERSION,
    },
};

use super::{
    Command, Engine, Reply, RequestId, TrustPolicy, Waiter, lookup::is_doubtful, succession::changed_refusal,
};
use crate::{
    crypto::{
        kdf,
        message::{self, CarriedHead},
        secret::EncryptionPublic,
    },
    fault,
    model::{Destination, MessageId, Refusal, SendRequest, SendToken, Sent, Status, UnixMs},
    state::{ConversationRow, Direction, HeadReader, Hold, NewMessage, PeerRow, Pin, StateError},
};

/// Most ranges of withdrawn numbers that one message announces.
const VOID_RANGES: usize = 64;
/// How long control messages are offered to the relay that are made once, in milliseconds.
pub(super) const CONTROL_DEADLINE_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// A message that the agent wants sent, on its way through flow 1.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) id: RequestId,
    pub(super) request: Box<SendRequest>,
    /// How long the agent waits for the outcome.
    pub(super) until: UnixMs,
    /// The relay was asked for the recipient's bundle and has not answered: what is known must do.
    pub(super) unanswered: bool,
}

impl Engine {
    /// Flow 1, steps 1 to 5: the outcome of an earlier send, or pin, bundle, number, core, envelope.
    pub(super) fn send(&mut self, sending: Sending, now: UnixMs) -> Result<(), StateError> {
        let Sending { id, request, .. } = &sending;
        let id = *id;
        let earlier = self.store.sent_id(&request.idempotency_key())?;
        if let Some(earlier) = earlier
            && self.answer_earlier(id, earlier, now)?
        {
            return Ok(());
        }
        if self.volatile.suspended {
            return self.refuse(id, Refusal::Suspended);
        }
        if let Err(refusal) = self.check_cited(request, now)? {
            return self.refuse(id, refusal);
        }
        if let Err(refusal) = self.check_duplicate(request, now) {
            return self.refuse(id, refusal);
        }
        if let Some(answered) = &request.reply_to
            && !self.is_visible(answered)?
        {
            return self.refuse(id, Refusal::MessageNotFound);
        }
        if let Destination::Conversation(local) = &request.to
            && let Some(group) = self.group_by_local(local)?
        {
            return self.want_sent(&group.group_id, id, sending.request, now);
        }
        let mut address = match self.destination(request)? {
            Ok(address) => address,
            Err(refusal) => return self.refuse(id, refusal),
        };
        if address.fingerprint.is_none() {
            let expected = self.store.expected(&address.handle)?;
            address.fingerprint = expected.map(|pin| pin.fingerprint);
        }
        let peer = self.store.peer(&address.handle)?;
        match self.known_bundle(peer, &address, now) {
            Ok(Some((peer, bundle))) if self.is_usable(&sending, &peer, now) => {
                match self.queue(request, peer, &bundle, now)? {
                    Ok(token) => {
                        let waiter = Waiter {
                            request: id,
                            until: sending.until,
                            repeated: false,
                        };
                        self.volatile.waiters.entry(token).or_default().push(waiter);
                        Ok(())
                    }
                    Err(refusal) => self.refuse(id, refusal),
                }
            }
            Ok(_) if sending.unanswered => self.refuse(id, Refusal::RelayUnreachable { queued: false }),
            Ok(_) => self.wait_for_bundle(id, address.handle, Command::Send(sending.request), now),
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    fn is_visible(&self, id: &MessageId) -> Result<bool, StateError> {
        let message = self.store.message_by_id(id)?;
        Ok(message.is_some_and(|message| message.visible))
    }

    /// Whether a bundle that has not expired may be sealed to: it is young, or the relay cannot be asked
    /// for a younger one.
    fn is_usable(&self, sending: &Sending, peer: &PeerRow, now: UnixMs) -> bool {
        sending.unanswered || !self.volatile.link_up || self.is_fresh(peer, now)
    }

    /// Whether a message under the same `client_msg_id` settles the request.
    pub(super) fn answer_earlier(
        &mut self,
        id: RequestId,
        earlier: i64,
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let message = self.store.message_by_row(earlier)?;
        match (message.status, self.store.outbox_of(message.message_row)?) {
            (Status::Failed, _) => return Ok(false),
            (Status::Queued, Some(token)) if self.volatile.suspended => {
                self.give_up(token, &Refusal::Suspended, now)?;
                return Ok(false);
            }
            (Status::Queued, Some(token)) if self.is_frozen(&message)? => {
                // Whoever asks is told why, and may ask again.
                self.give_up_frozen(token, now)?;
                return Ok(false);
            }
            (Status::Queued, Some(token)) => {
                let until = now + self.settings.answer_within;
                let waiter = Waiter {
                    request: id,
                    until,
                    repeated: true,
                };
                self.volatile.waiters.entry(token).or_default().push(waiter);
            }
            _ => {
                let message = self.store.view(message.message_row)?;
                self.reply(
                    id,
                    Ok(Reply::Sent(Box::new(Sent {
                        message,
                        repeated: true,
                        earlier: false,
                        backlog: None,
                        skipped: Vec::new(),
                    }))),
                );
            }
        }
        Ok(true)
    }

    /// Whom a request addresses.
    fn destination(&self, request: &SendRequest) -> Result<Result<Address, Refusal>, StateError> {
        let address = match &request.to {
            Destination::Peer(address) => address.clone(),
            Destination::Conversation(local) => {
                let row = self.store.conversation(local)?;
                let Some(peer_id) = row.and_then(|row| row.peer_id) else {
                    return Ok(Err(Refusal::ConversationNotFound));
                };
                Address {
                    handle: self.store.peer_by_id(peer_id)?.handle,
                    fingerprint: None,
                }
            }
        };
        if address.handle == self.account.handle {
            return Ok(Err(Refusal::Invalid("an agent cannot write to itself")));
        }
        Ok(Ok(address))
    }

    /// Flow 1, steps 2 and 3, as far as they need no network: the peer and its bundle if it may be written
    /// to, `None` if it has to be looked up first.
    fn known_bundle(
        &self,
        peer: Option<PeerRow>,
        address: &Address,
        now: UnixMs,
    ) -> Result<Option<(PeerRow, Bundle)>, Refusal> {
        let Some(peer) = peer else {
            let unpinned = self.settings.trust_policy != TrustPolicy::Tofu;
            return if unpinned && address.fingerprint.is_none() {
                Err(Refusal::FingerprintRequired)
            } else {
                Ok(None)
            };
        };
        if is_doubtful(&peer, address, now) {
            return Ok(None);
        }
        self.check_trust(&peer, address)?;
        let bundle = stored_bundle(&peer).filter(|bundle| bundle.not_after > now);
        Ok(bundle.map(|bundle| (peer, bundle)))
    }

    /// Pin, block and fingerprint.
    pub(super) fn check_trust(&self, peer: &PeerRow, address: &Address) -> Result<(), Refusal> {
        let handle = peer.handle.clone();
        if peer.pin == Pin::Blocked {
            return Err(Refusal::Blocked);
        }
        let pinned = Fingerprint::of(&peer.identity);
        if let Some(refusal) = changed_refusal(peer) {
            return Err(refusal);
        }
        match address.fingerprint {
            Some(given) if given != pinned => Err(Refusal::FingerprintMismatch {
                handle,
                actual: pinned,
            }),
            // What a message or a lookup has pinned, nobody has compared.
            None if matches!(peer.pin, Pin::New | Pin::Tofu)
                && self.settings.trust_policy == TrustPolicy::Pinned =>
            {
                Err(Refusal::FingerprintRequired)
            }
            _ if peer.pin != Pin::Verified && self.settings.trust_policy == TrustPolicy::Verified => {
                Err(Refusal::NotVerified { handle })
            }
            _ => Ok(()),
        }
    }

    /// Flow 1, steps 4 and 5 in one transaction: number, core, context, signature, envelope.
    pub(super) fn queue(
        &mut self,
        request: &SendRequest,
        mut peer: PeerRow,
        bundle: &Bundle,
        now: UnixMs,
    ) -> Result<Result<SendToken, Refusal>, StateError> {
        let key = match recipient_key(&peer, bundle) {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.pin_by_use(&mut peer, request)?;
        let protocol_id = ConversationId::direct(self.account.identity.public(), &peer.identity);
        let conversation = self.store.direct_conversation(&protocol_id, peer.peer_id, now)?;
        let kind = if request.broadcast {
            Kind::Broadcast
        } else {
            Kind::Direct
        };
        let mut core = self.core(request, kind, &conversation, now)?;
        core.ack = self.take_ack(&peer, &conversation)?;
        let core_bytes = core.encode();
        let header = DirectHeader {
            suite: key.suite,
            lane: Lane::Mail,
            to: AgentId::of(&self.account.relay, &peer.identity),
            key_number: key.number,
            mid: kdf::mid(&self.account.send_id_key, &protocol_id, &request.client_msg_id, 0),
        };
        let head = self.head_to_send(HeadReader::Peer(peer.peer_id), now)?;
        let Some(sealed) = self.seal(&peer, &key, &header, kind, &core_bytes, head) else {
            return Ok(Err(Refusal::Invalid("the message does not fit into an envelope")));
        };
        self.note_head_carried(&sealed, HeadReader::Peer(peer.peer_id), now)?;
        let new = NewMessage {
            conversation_id: conversation.conversation_id,
            peer_id: Some(peer.peer_id),
            direction: Direction::Out,
            core: &core,
            signed: &sealed.message,
            hold: Hold::None,
            epoch: None,
            late: false,
            repeats: 0,
            envelope: Some((header.mid, sha256(&sealed.envelope))),
        };
        let message_row = self.store.insert_message(&mut *self.rng, &new, now)?;
        self.store
            .put_out_number(conversation.conversation_id, core.n, &sha256(&core_bytes))?;
        self.store.put_sent_id(&request.idempotency_key(), message_row)?;
        let deadline = now + self.settings.send_deadline;
        let hash = sha256(&sealed.envelope);
        let token = self
            .store
            .push_outbox(Some(message_row), None, &sealed.envelope, &hash, deadline)?;
        if !self.volatile.link_up && !self.is_fresh(&peer, now) {
            self.store.park_outbox(token)?;
        }
        self.count_content(request, now);
        fault::point("send.before_commit");
        Ok(Ok(token))
    }

    /// Writing to a peer pins what was only looked up, and lets the peer in.
    fn pin_by_use(&mut self, peer: &mut PeerRow, request: &SendRequest) -> Result<(), StateError> {
        let by_fingerprint =
            matches!(&request.to, Destination::Peer(address) if address.fingerprint.is_some());
        let pin = match (peer.pin, by_fingerprint) {
            (Pin::New | Pin::Tofu, true) => Pin::Fingerprint,
            (Pin::New, false) => Pin::Tofu,
            (pin, _) => pin,
        };
        if pin != peer.pin || !peer.accepted {
            (peer.pin, peer.accepted) = (pin, true);
            self.store.put_peer(peer)?;
        }
        Ok(())
    }

    pub(super) fn core(
        &self,
        request: &SendRequest,
        kind: Kind,
        conversation: &ConversationRow,
        now: UnixMs,
    ) -> Result<Core, StateError> {
        let reply_to = match &request.reply_to {
            Some(id) => self.store.reply_target(id)?,
            None => None,
        };
        Ok(Core {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind,
            handle: self.account.handle.clone(),
            identity: self.account.identity.public().clone(),
            conversation: conversation.protocol_id,
            session: self.account.session,
            incarnation: self.account.incarnation,
            n: conversation.out_n + 1,
            previous: conversation.out_hash,
            void: self.store.withdrawn(conversation.conversation_id, VOID_RANGES)?,
            client_msg_id: request.client_msg_id.clone(),
            time: now,
            expires: request.expires_at,
            ack: None,
            message_type: request.message_type.clone(),
            content: request.content.clone().into_bytes(),
            metadata: request.metadata.clone().map(String::into_bytes),
            reply_to,
            attachments: self.cited(request)?,
        })
    }

    /// Flow 1, step 5: context, signature, padding, box. `None` if it does not fit. A head of the relay's log
    /// goes along where there is room.
    pub(super) fn seal(
        &mut self,
        peer: &PeerRow,
        key: &RecipientKey,
        header: &DirectHeader,
        kind: Kind,
        core: &[u8],
        head: Option<CarriedHead>,
    ) -> Option<Sealed> {
        let header = header.encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: Some(peer.handle.clone()),
            recipient: Some(peer.identity.clone()),
            recipient_key_number: Some(key.number),
            sender_key_number: Some(self.account.key_number),
            sender_bundle: Some(self.account.bundle_hash),
            log_head: None,
        };
        let (message, carries_head) =
            message::sign_with_head(&self.account.identity, kind, context, core, head);
        let ciphertext = message::seal_direct(&mut *self.rng, &key.public, kind, &message).ok()?;
        let envelope = Envelope {
            header: &header,
            ciphertext: &ciphertext,
        }
        .to_bytes();
        Some(Sealed {
            message,
            envelope,
            carries_head,
        })
    }

    /// Seals a queued message to the peer's current key under the `mid` of an attempt and puts it at the
    /// end of the outbox: context, signature and box are new, the core is the same.
    pub(super) fn seal_again(
        &mut self,
        peer: &PeerRow,
        message_row: i64,
        attempt: u32,
        deadline: UnixMs,
        now: UnixMs,
    ) -> Result<Result<SendToken, Refusal>, StateError> {
        let handle = peer.handle.clone();
        let Some(bundle) = stored_bundle(peer).filter(|bundle| bundle.not_after > now) else {
            return Ok(Err(Refusal::RecipientKeyExpired { handle }));
        };
        let key = match recipient_key(peer, &bundle) {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let signed = self.store.signed(message_row)?;
        let core = self.store.core(message_row)?;
        // Never to a changed key: the conversation is that of both identities.
        if core.conversation != ConversationId::direct(self.account.identity.public(), &peer.identity) {
            let actual = Fingerprint::of(&peer.identity);
            return Ok(Err(Refusal::FingerprintMismatch { handle, actual }));
        }
        let mid = kdf::mid(
            &self.account.send_id_key,
            &core.conversation,
            &core.client_msg_id,
            attempt,
        );
        let header = DirectHeader {
            suite: key.suite,
            lane: Lane::Mail,
            to: AgentId::of(&self.account.relay, &peer.identity),
            key_number: key.number,
            mid,
        };
        let head = self.head_to_send(HeadReader::Peer(peer.peer_id), now)?;
        let Some(sealed) = self.seal(peer, &key, &header, core.kind, &signed.core, head) else {
            return Ok(Err(Refusal::Invalid("the message does not fit into an envelope")));
        };
        self.note_head_carried(&sealed, HeadReader::Peer(peer.peer_id), now)?;
        let hash = sha256(&sealed.envelope);
        self.store
            .put_signed(&mut *self.rng, message_row, &sealed.message, None, now)?;
        self.store.put_envelope(message_row, &mid, &hash, attempt)?;
        let token = self
            .store
            .push_outbox(Some(message_row), None, &sealed.envelope, &hash, deadline)?;
        Ok(Ok(token))
    }

    /// A control message to a peer, with the time that it names; `None` if it cannot be sealed now.
    pub(super) fn seal_control(
        &mut self,
        peer: &PeerRow,
        kind: Kind,
        body: Vec<u8>,
        time: UnixMs,
        head: Option<CarriedHead>,
    ) -> Option<Sealed> {
        let bundle = stored_bundle(peer).filter(|bundle| bundle.not_after > time)?;
        let key = recipient_key(peer, &bundle).ok()?;
        let core = ControlBody {
            version: VERSION,
            suite: key.suite,
            kind,
            handle: self.account.handle.clone(),
            identity: self.account.identity.public().clone(),
            conversation: ConversationId::direct(self.account.identity.public(), &peer.identity),
            session: self.account.session,
            incarnation: self.account.incarnation,
            time,
            body,
        };
        let mut mid = [0; Mid::LENGTH];
        self.rng.fill_bytes(&mut mid);
        let header = DirectHeader {
            suite: key.suite,
            lane: kind.direct_lane().unwrap_or(Lane::Control),
            to: AgentId::of(&self.account.relay, &peer.identity),
            key_number: key.number,
            mid: Mid::from_bytes(mid),
        };
        self.seal(peer, &key, &header, kind, &core.encode(), head)
    }

    /// A control message to a pinned peer, put into the outbox; nothing if it cannot be sealed now.
    pub(super) fn queue_control(
        &mut self,
        peer: &PeerRow,
        kind: Kind,
        body: Vec<u8>,
        now: UnixMs,
    ) -> Result<Option<SendToken>, StateError> {
        let head = self.head_to_send(HeadReader::Peer(peer.peer_id), now)?;
        let Some(sealed) = self.seal_control(peer, kind, body, now, head) else {
            return Ok(None);
        };
        self.note_head_carried(&sealed, HeadReader::Peer(peer.peer_id), now)?;
        // Receipts are made again; invites and granted history are not.
        let wait = if kind == Kind::Receipt {
            self.settings.send_deadline
        } else {
            CONTROL_DEADLINE_MS
        };
        let hash = sha256(&sealed.envelope);
        let token = self
            .store
            .push_outbox(None, None, &sealed.envelope, &hash, now + wait)?;
        Ok(Some(token))
    }

    /// Takes an object's position in its queue as done: it is acknowledged after the commit.
    pub(super) fn take(&mut self, queue: Queue, position: u64) {
        let acked = self.acks.entry(queue).or_default();
        *acked = position.max(*acked);
    }
}

/// A signed message and the envelope around it.
pub(super) struct Sealed {
    pub(super) message: MessageBytes,
    pub(super) envelope: Vec<u8>,
    /// The head of the relay's log that was to go along is in it.
    pub(super) carries_head: bool,
}

/// The key of a peer that a box goes to.
pub(super) struct RecipientKey {
    pub(super) suite: Suite,
    pub(super) number: u64,
    pub(super) public: EncryptionPublic,
}

/// The bundle of a peer, which was verified before it was stored.
pub(super) fn stored_bundle(peer: &PeerRow) -> Option<Bundle> {
    let signed = waxwire_shared::sign::SignedBytes::decode(&peer.bundle).ok()?;
    Bundle::decode(&signed.body).ok()
}

/// The best key of a bundle, unless the bundle lacks a suite that the peer has shown.
pub(super) fn recipient_key(peer: &PeerRow, bundle: &Bundle) -> Result<RecipientKey, Refusal> {
    let handle = peer.handle.clone();
    if bundle.highest_suite() < peer.best_suite {
        return Err(Refusal::SuiteDowngrade { handle });
    }
    let BundleKey {
        suite,
        number,
        public,
    } = bundle.best_key().ok_or(Refusal::Suite { handle })?;
    let public = EncryptionPublic::from_slice(public).map_err(|_| Refusal::RelayLied {
        handle: peer.handle.clone(),
    })?;
    Ok(RecipientKey {
        suite: *suite,
        number: *number,
        public,
    })
}
