//! Bundles: asked for, verified, remembered (flow 1 step 3, flow 2; docs/protocol.md, 4).

use waxwire_shared::{
    api::{problem::ProblemType, rest::BundleAnswer},
    fingerprint::{Address, Fingerprint, safety_number},
    hash::sha256,
    ids::{AgentId, Handle},
    limits,
    sign::Verified,
    wire::Bundle,
};

use super::{
    Asking, Command, Effect, Engine, LookupError, RelayCall, Reply, RequestId,
    send::{Sending, stored_bundle},
};
use crate::{
    model::{Peer, Refusal, Severity, UnixMs},
    state::{PeerRow, Pin, StateError},
};

/// Milliseconds until the relay is asked again after it did not answer.
const ASK_AGAIN_MS: u64 = 1_000;
/// The same if no request waits, but messages of an agent that is not known.
const ASK_FOR_SENDER_MS: u64 = 10_000;

/// A known peer is not looked up more often than this because of what somebody signs.
pub(super) const LOOKUP_AGAIN_MS: u64 = 60_000;

/// A key that a peer's message names and that is newer than the peer's bundle here.
#[derive(Debug)]
pub(super) struct Claim {
    key_number: u64,
    /// The relay was asked since, and showed an older bundle.
    contradicted: bool,
}

/// The relay has not answered.
const UNREACHED: Refusal = Refusal::RelayUnreachable { queued: false };

impl Engine {
    /// A request waits until the peer's bundle is here.
    pub(super) fn wait_for_bundle(
        &mut self,
        request: RequestId,
        handle: Handle,
        command: Command,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if self.volatile.suspended {
            return self.refuse(request, Refusal::Suspended);
        }
        let until = now + self.settings.answer_within;
        let lookup = self.volatile.lookups.entry(handle.clone()).or_default();
        if lookup.waiting.is_empty() {
            lookup.ask_at = None;
            self.effects.push(Effect::Call(RelayCall::Bundle(handle)));
        }
        lookup.waiting.push(Asking {
            request,
            command,
            until,
        });
        Ok(())
    }

    /// A message waits for its sender to be looked up; however many do, the relay is asked once.
    pub(super) fn ask_for_sender(&mut self, handle: &Handle) {
        if !self.volatile.lookups.contains_key(handle) {
            self.volatile
                .lookups
                .insert(handle.clone(), super::Lookup::default());
            self.effects.push(Effect::Call(RelayCall::Bundle(handle.clone())));
        }
    }

    /// The agent wants to know a peer.
    pub(super) fn look_up(&mut self, id: RequestId, address: Address, now: UnixMs) -> Result<(), StateError> {
        if address.handle == self.account.handle {
            return self.refuse(id, Refusal::Invalid("this is the agent itself"));
        }
        let peer = self.store.peer(&address.handle)?;
        let fresh = peer.filter(|peer| {
            let young = now.saturating_sub(peer.fetched_at) <= self.settings.bundle_age;
            young && !is_doubtful(peer, &address, now)
        });
        match fresh {
            Some(peer) => {
                let answer = self.answer_peer(&peer, &address)?;
                self.reply(id, answer.map(|peer| Reply::Peer(Box::new(peer))));
                Ok(())
            }
            None => self.wait_for_bundle(id, address.handle.clone(), Command::LookUp(address), now),
        }
    }

    fn answer_peer(&self, peer: &PeerRow, address: &Address) -> Result<Result<Peer, Refusal>, StateError> {
        let shown = self.peer_view(peer)?;
        Ok(match address.fingerprint {
            Some(given) if given != shown.fingerprint => Err(Refusal::FingerprintMismatch {
                handle: peer.handle.clone(),
                actual: shown.fingerprint,
            }),
            _ => Ok(shown),
        })
    }

    /// A peer as the agent sees it.
    pub(super) fn peer_view(&self, peer: &PeerRow) -> Result<Peer, StateError> {
        let bundle = stored_bundle(peer);
        let key_number = bundle
            .as_ref()
            .and_then(Bundle::best_key)
            .map_or(0, |key| key.number);
        let former = self.store.former(peer.peer_id)?;
        let changed = peer.changed.as_ref();
        Ok(Peer {
            handle: peer.handle.clone(),
            fingerprint: Fingerprint::of(&peer.identity),
            safety_number: safety_number(self.account.identity.public(), &peer.identity),
            trust: peer.trust(),
            changed: changed.map(|shown| (Fingerprint::of(&shown.identity), shown.proof.is_some())),
            former: former
                .iter()
                .map(|(identity, _)| Fingerprint::of(identity))
                .collect(),
            key_number,
            not_after: bundle.map_or(0, |bundle| bundle.not_after),
            first_seen: peer.first_seen,
        })
    }

    /// The relay's answer to [`RelayCall::Bundle`].
    pub(super) fn bundle(
        &mut self,
        handle: &Handle,
        answer: Result<BundleAnswer, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        if *handle == self.account.handle {
            return self.own_bundle_shown(answer, now);
        }
        let verdict = match answer {
            Ok(answer) => {
                let verdict = self.adopt_bundle(handle, &answer, now)?;
                self.check_claim(handle, now)?;
                verdict
            }
            Err(LookupError::NotFound) => Err(Refusal::AgentNotFound),
            Err(LookupError::Refused(problem)) => match problem.status {
                429 => Err(Refusal::RateLimited {
                    retry_after: problem.retry_after.unwrap_or(1),
                }),
                403 if problem.problem_type() == Some(ProblemType::Blocked) => Err(Refusal::Blocked),
                401 | 403 => Err(Refusal::Forbidden),
                _ => return self.unanswered(handle, now),
            },
            Err(LookupError::Unreachable) => return self.unanswered(handle, now),
        };
        self.looked_up(handle, &verdict, now);
        self.release_postponed(handle, verdict.as_ref().err(), now)?;
        let waiting = self.volatile.lookups.remove(handle).unwrap_or_default().waiting;
        for asking in waiting {
            // Who asks how a peer is known learns that it has changed.
            let looks = matches!(asking.command, Command::LookUp(_));
            match &verdict {
                Ok(()) => self.command(asking.request, asking.command, now)?,
                Err(Refusal::IdentityChanged { .. }) if looks => {
                    self.command(asking.request, asking.command, now)?;
                }
                Err(refusal) => self.reply(asking.request, Err(refusal.clone())),
            }
        }
        // Expiry binds senders; whose key it is, is known all the same.
        let verdict = match verdict {
            Err(Refusal::RecipientKeyExpired { .. }) => Ok(()),
            verdict => verdict,
        };
        self.bundle_for_groups(handle, &verdict, now)?;
        if verdict.is_ok() {
            self.repair_with_bundle(handle, now)?;
            self.release_held(handle, now)
        } else {
            Ok(())
        }
    }

    /// Whether a bundle is young enough to be used without asking.
    pub(super) fn is_fresh(&self, peer: &PeerRow, now: UnixMs) -> bool {
        let age = now.saturating_sub(peer.fetched_at);
        age <= self.settings.bundle_age && peer.fetched_at <= now && !peer.bundle.is_empty()
    }

    /// docs/protocol.md, 5.7: a message names the key that its author's bundle holds. If that is newer than
    /// what is known here, the relay is asked.
    pub(super) fn compare_bundle(&mut self, peer: &PeerRow, key_number: u64, now: UnixMs) {
        let asked = now.saturating_sub(peer.fetched_at) <= LOOKUP_AGAIN_MS;
        // What no honest agent can have is no reason to suspect the relay.
        let impossible = key_number > now + limits::NUMBER_FUTURE_MS;
        if key_number <= newest_key(peer) || asked || impossible {
            return;
        }
        let claim = Claim {
            key_number,
            contradicted: false,
        };
        if self.volatile.claims.insert(peer.handle.clone(), claim).is_none() {
            let call = RelayCall::Bundle(peer.handle.clone());
            self.effects.push(Effect::Call(call));
        }
    }

    /// `BUNDLE_WITHHELD`: the relay still shows an older bundle than the peer has signed. Its first answer
    /// may have been on its way when the peer published, so it is asked once more.
    fn check_claim(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        let Some(mut claim) = self.volatile.claims.remove(handle) else {
            return Ok(());
        };
        let shown = self.store.peer(handle)?.as_ref().map_or(0, newest_key);
        if shown >= claim.key_number {
            return Ok(());
        }
        if claim.contradicted {
            let reason = "the relay shows an older bundle than the one that the peer's messages name";
            return self.alert("bundle_withheld", Severity::Critical, Some(handle), reason, now);
        }
        claim.contradicted = true;
        self.volatile.claims.insert(handle.clone(), claim);
        self.effects.push(Effect::Call(RelayCall::Bundle(handle.clone())));
        Ok(())
    }

    /// The relay does not answer. It is asked again for those who need it; what can be sealed to the bundle
    /// that is known does not wait for it.
    fn unanswered(&mut self, handle: &Handle, now: UnixMs) -> Result<(), StateError> {
        // The next message that names the key asks again.
        self.volatile.claims.remove(handle);
        if self.volatile.link_up {
            self.release_postponed(handle, None, now)?;
        }
        let known = self.store.peer(handle)?.as_ref().and_then(stored_bundle);
        let usable = known.is_some_and(|bundle| bundle.not_after > now);
        if self.store.is_waited_for(handle)? {
            self.volatile.lookups.entry(handle.clone()).or_default();
        }
        if let Some(lookup) = self.volatile.lookups.get_mut(handle) {
            let wait = if lookup.waiting.is_empty() {
                ASK_FOR_SENDER_MS
            } else {
                ASK_AGAIN_MS
            };
            lookup.ask_at = Some(now + wait);
            let waiting = std::mem::take(&mut lookup.waiting).into_iter();
            let (sends, others) =
                waiting.partition(|asking| usable && matches!(asking.command, Command::Send(_)));
            lookup.waiting = others;
            let sends: Vec<_> = sends;
            for asking in sends {
                self.not_reached(asking, now)?;
            }
        }
        self.bundle_for_groups(handle, &Err(UNREACHED), now)
    }

    /// The relay did not answer in time: what is known must do, if anything is.
    pub(super) fn not_reached(&mut self, asking: Asking, now: UnixMs) -> Result<(), StateError> {
        let Asking {
            request: id,
            command,
            until,
        } = asking;
        let answer = match command {
            Command::Send(request) => {
                let sending = Sending {
                    id,
                    request,
                    until,
                    unanswered: true,
                };
                return self.send(sending, now);
            }
            Command::LookUp(address) => match self.store.peer(&address.handle)? {
                Some(peer) => self
                    .answer_peer(&peer, &address)?
                    .map(|peer| Reply::Peer(Box::new(peer))),
                None => Err(UNREACHED),
            },
            _ => Err(UNREACHED),
        };
        self.reply(id, answer);
        Ok(())
    }

    /// Verifies a bundle that the relay served and remembers it; a refusal says why it is not used.
    fn adopt_bundle(
        &mut self,
        handle: &Handle,
        answer: &BundleAnswer,
        now: UnixMs,
    ) -> Result<Result<(), Refusal>, StateError> {
        let lied = Refusal::RelayLied {
            handle: handle.clone(),
        };
        let verified = match self.verify_bundle(handle, answer, now) {
            Ok(verified) => verified,
            Err(reason) => {
                self.alert("invalid_bundle", Severity::Critical, Some(handle), reason, now)?;
                return Ok(Err(lied));
            }
        };
        let verdict = match self.store.peer(handle)? {
            Some(peer) if peer.identity == *verified.signer() => self.renew(peer, &verified, now),
            Some(peer) if peer.pin != Pin::New => self.identity_changed(peer, &verified, answer, now),
            earlier => {
                let pin = match self.first_pin(handle, &verified, now)? {
                    Ok(pin) => pin,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let first_seen = earlier.map_or(now, |peer| peer.first_seen);
                self.store.put_peer(&PeerRow {
                    pin,
                    ..new_peer(handle, &verified, first_seen, now)
                })?;
                Ok(expiry(handle, verified.body(), now))
            }
        }?;
        let proof = answer.log.as_ref().map(|proof| proof.0.as_slice());
        self.check_logged(handle, &verified, proof, now)?;
        Ok(verdict)
    }

    /// Signature and every rule that needs no earlier bundle.
    fn verify_bundle(
        &self,
        handle: &Handle,
        answer: &BundleAnswer,
        now: UnixMs,
    ) -> Result<Verified<Bundle>, &'static str> {
        let verified = Verified::<Bundle>::from_bytes(&answer.bundle.0, |bundle| &bundle.identity)
            .map_err(|_| "the relay served a bundle that does not verify")?;
        let bundle = verified.body();
        let identity = verified.signer();
        if bundle.handle != *handle || bundle.relay != self.account.relay {
            return Err("the relay served the bundle of another agent");
        }
        if answer.agent_id != AgentId::of(&self.account.relay, identity)
            || identity == self.account.identity.public()
        {
            return Err("the relay served a bundle under a wrong agent id");
        }
        if bundle.check().is_err() {
            return Err("the relay served a bundle that breaks a rule");
        }
        if bundle.number > now + limits::NUMBER_FUTURE_MS
            || bundle.not_before > now + limits::NOT_BEFORE_TOLERANCE_MS
        {
            return Err("the relay served a bundle from the future");
        }
        Ok(verified)
    }

    /// Another bundle of the identity that is known.
    fn renew(
        &mut self,
        mut peer: PeerRow,
        verified: &Verified<Bundle>,
        now: UnixMs,
    ) -> Result<Result<(), Refusal>, StateError> {
        let handle = peer.handle.clone();
        let bundle = verified.body();
        let same = peer.bundle == verified.bytes();
        if bundle.number < peer.number || (bundle.number == peer.number && !same && !peer.bundle.is_empty()) {
            let fork = bundle.number == peer.number;
            let (kind, reason) = if fork {
                ("bundle_fork", "two bundles with one number")
            } else {
                ("stale_bundle", "the relay served an older bundle than before")
            };
            self.alert(kind, Severity::Critical, Some(&handle), reason, now)?;
            return Ok(Err(Refusal::RelayLied { handle }));
        }
        let suite = bundle.highest_suite();
        if suite < peer.best_suite {
            // The peer has signed it, so it is kept; nothing is sealed to it until the operator decides.
            let reason = "the peer's bundle lacks a suite that it has shown";
            self.alert("suite_downgrade", Severity::Critical, Some(&handle), reason, now)?;
        }
        if !same && !peer.bundle.is_empty() && bundle.previous != Some(sha256(&peer.bundle)) {
            let reason = "the peer's bundles do not follow one another";
            self.alert("key_history_gap", Severity::Info, Some(&handle), reason, now)?;
        }
        peer.bundle = verified.bytes().to_vec();
        (peer.number, peer.fetched_at) = (bundle.number, now);
        peer.best_suite = peer.best_suite.max(suite);
        if peer.changed.take().is_some() {
            let reason = "the relay shows the pinned identity again";
            self.alert("identity_restored", Severity::Info, Some(&handle), reason, now)?;
        }
        self.store.put_peer(&peer)?;
        Ok(expiry(&handle, bundle, now))
    }
}

fn new_peer(handle: &Handle, verified: &Verified<Bundle>, first_seen: UnixMs, now: UnixMs) -> PeerRow {
    let bundle = verified.body();
    PeerRow {
        peer_id: 0,
        handle: handle.clone(),
        identity: verified.signer().clone(),
        pin: Pin::New,
        changed: None,
        accepted: false,
        bundle: verified.bytes().to_vec(),
        number: bundle.number,
        best_suite: bundle.highest_suite(),
        fetched_at: now,
        first_seen,
    }
}

/// Whether somebody names another key than the one that a lookup has shown, and nobody has relied on that
/// lookup yet: the relay may have lied then, and is asked anew before it is believed.
pub(super) fn is_doubtful(peer: &PeerRow, address: &Address, now: UnixMs) -> bool {
    let given = address.fingerprint;
    let contradicted = given.is_some_and(|given| given != Fingerprint::of(&peer.identity));
    contradicted && peer.pin == Pin::New && peer.fetched_at < now
}

/// The highest number of a key in a peer's bundle, whatever its suite.
fn newest_key(peer: &PeerRow) -> u64 {
    let numbers = stored_bundle(peer).map(|bundle| bundle.keys.into_iter().map(|key| key.number).max());
    numbers.flatten().unwrap_or(0)
}

/// A bundle that is remembered may still have expired for senders.
pub(super) fn expiry(handle: &Handle, bundle: &Bundle, now: UnixMs) -> Result<(), Refusal> {
    if bundle.not_after > now {
        Ok(())
    } else {
        Err(Refusal::RecipientKeyExpired {
            handle: handle.clone(),
        })
    }
}
