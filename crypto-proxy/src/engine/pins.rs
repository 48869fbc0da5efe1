//! Pins that an operator brings along, before first contact (docs/protocol.md, 4.4).

use waxwire_shared::{fingerprint::Fingerprint, ids::Handle, sign::Verified, wire::Bundle};

use super::{Engine, Reply};
use crate::{
    model::{PinEntry, Refusal, Severity, UnixMs},
    state::{PeerRow, Pin, StateError},
};

/// Most agents that are expected and were never met.
const EXPECTED: u64 = 10_000;

impl Engine {
    /// All of them hold from now on, or, if one contradicts what is known, none.
    pub(super) fn import_pins(&self, pins: &[PinEntry]) -> Result<Result<Reply, Refusal>, StateError> {
        let mut count = self.store.count_expected()?;
        for pin in pins {
            if let Some(actual) = self.contradiction(pin)? {
                let handle = pin.handle.clone();
                return Ok(Err(Refusal::FingerprintMismatch { handle, actual }));
            }
            let met = self.store.peer(&pin.handle)?.is_some();
            count += u64::from(!met && self.store.expected(&pin.handle)?.is_none());
        }
        if count > EXPECTED {
            return Ok(Err(Refusal::Invalid(
                "too many agents are expected that were never met",
            )));
        }
        let mut expected = 0;
        for pin in pins {
            expected += u64::from(self.take_pin(pin)?);
        }
        let known = pins.len() as u64 - expected;
        Ok(Ok(Reply::Pinned { known, expected }))
    }

    /// The identity that the handle is known to have, if it is another one. What a lookup alone has shown is not
    /// known; a former identity was dealt with when the peer went on.
    fn contradiction(&self, pin: &PinEntry) -> Result<Option<Fingerprint>, StateError> {
        let known = if pin.handle == self.account.handle {
            Fingerprint::of(self.account.identity.public())
        } else {
            match self.store.peer(&pin.handle)? {
                Some(peer) if peer.pin != Pin::New && !self.is_former(&peer, pin)? => {
                    Fingerprint::of(&peer.identity)
                }
                _ => return Ok(None),
            }
        };
        Ok((known != pin.fingerprint).then_some(known))
    }

    fn is_former(&self, peer: &PeerRow, pin: &PinEntry) -> Result<bool, StateError> {
        let former = self.store.former(peer.peer_id)?;
        Ok(former
            .iter()
            .any(|(identity, _)| Fingerprint::of(identity) == pin.fingerprint))
    }

    /// Gives whether the agent has to be met first. No pin becomes weaker, and no block is lifted.
    fn take_pin(&self, pin: &PinEntry) -> Result<bool, StateError> {
        if pin.handle == self.account.handle {
            return Ok(false);
        }
        match self.store.peer(&pin.handle)? {
            Some(mut peer) if Fingerprint::of(&peer.identity) == pin.fingerprint => {
                let stronger = match (peer.pin, pin.verified) {
                    (Pin::New | Pin::Tofu | Pin::Fingerprint, true) => Pin::Verified,
                    (Pin::New | Pin::Tofu, false) => Pin::Fingerprint,
                    (pin, _) => pin,
                };
                if stronger != peer.pin {
                    peer.pin = stronger;
                    self.store.put_peer(&peer)?;
                }
                Ok(false)
            }
            Some(peer) if peer.pin != Pin::New => Ok(false),
            _ => {
                self.store.put_expected(pin)?;
                Ok(true)
            }
        }
    }

    /// How a handle that was not met before is pinned when its first bundle comes: as was said beforehand, or not at
    /// all. Another identity than the expected one is refused, and told.
    pub(super) fn first_pin(
        &mut self,
        handle: &Handle,
        shown: &Verified<Bundle>,
        now: UnixMs,
    ) -> Result<Result<Pin, Refusal>, StateError> {
        let Some(expected) = self.store.expected(handle)? else {
            return Ok(Ok(Pin::New));
        };
        let actual = Fingerprint::of(shown.signer());
        if actual != expected.fingerprint {
            let reason =
                "the relay shows another key than the one that was given beforehand; nothing is sealed to it";
            self.alert("pin_mismatch", Severity::Critical, Some(handle), reason, now)?;
            let handle = handle.clone();
            return Ok(Err(Refusal::FingerprintMismatch { handle, actual }));
        }
        self.store.drop_expected(handle)?;
        Ok(Ok(if expected.verified {
            Pin::Verified
        } else {
            Pin::Fingerprint
        }))
    }
}
