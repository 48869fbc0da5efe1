//! Proofs with lookups: the bundle that is shown is in the log, for everybody to see.

use waxwire_shared::{
    ids::{Handle, Hash},
    sign::Verified,
    wire::{Bundle, LogLeaf},
};

use super::{Effect, Engine, RelayCall};
use crate::{
    model::{Severity, UnixMs},
    state::{HeadRole, StateError},
    transparency::check_inclusion,
};

/// Proofs at most that wait for a tag, and peers that are looked up once more. What is beyond is seen to with
/// the next lookup.
const WAITING: usize = 256;
/// Milliseconds between lookups that nobody has asked for.
const APART_MS: u64 = 1_000;

/// A proof that was shown with a bundle.
#[derive(Debug)]
pub(super) struct Proof {
    number: u64,
    bundle: Hash,
    bytes: Vec<u8>,
}

impl Engine {
    /// The relay shows a bundle, which is verified, with a proof or without.
    pub(in crate::engine) fn check_logged(
        &mut self,
        handle: &Handle,
        shown: &Verified<Bundle>,
        proof: Option<&[u8]>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(bytes) = proof else {
            return self.shown_without_proof(handle, &shown.hash(), now);
        };
        let proof = Proof {
            number: shown.body().number,
            bundle: shown.hash(),
            bytes: bytes.to_vec(),
        };
        if let Some(tag) = self.store.log_tag(Some(handle))? {
            return self.judge_proof(handle, tag, &proof, now);
        }
        let proofs = &mut self.volatile.log.proofs;
        if !proofs.contains_key(handle) {
            if proofs.len() == WAITING {
                return Ok(());
            }
            self.effects.push(Effect::HandleTag(handle.clone()));
        }
        proofs.insert(handle.clone(), proof);
        Ok(())
    }

    pub(super) fn judge_proof(
        &mut self,
        handle: &Handle,
        tag: Hash,
        proof: &Proof,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let leaf = LogLeaf {
            handle_tag: tag,
            number: proof.number,
            bundle: proof.bundle,
        };
        match check_inclusion(&leaf, &proof.bytes, self.log_owner()) {
            Ok(head) => {
                self.store.forget_unproven(handle)?;
                self.volatile.log.again.remove(handle);
                self.head_shown(head, now)
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no proof");
                let reason = "the relay's proof that the peer's bundle is in its log is false";
                self.alert("log_proof_false", Severity::Critical, Some(handle), reason, now)
            }
        }
    }

    /// A relay that keeps a log has time to take the bundle up, and is then asked once more.
    fn shown_without_proof(&mut self, handle: &Handle, bundle: &Hash, now: UnixMs) -> Result<(), StateError> {
        if self.store.log_head(HeadRole::Highest)?.is_none() {
            return Ok(());
        }
        let due = self.store.note_unproven(handle, bundle, now)? + self.settings.log_within;
        let again = &mut self.volatile.log.again;
        if now >= due {
            again.remove(handle);
            let reason = "the relay keeps a log and does not prove that the peer's bundle is in it";
            return self.alert("log_withheld", Severity::Critical, Some(handle), reason, now);
        }
        if again.len() < WAITING {
            again.insert(handle.clone(), due);
        }
        Ok(())
    }

    pub(super) fn look_again_for_proofs(&mut self, now: UnixMs) {
        let again = &mut self.volatile.log.again;
        let due = again.iter().find(|(_, at)| **at <= now);
        let Some(handle) = due.map(|(handle, _)| handle.clone()) else {
            return;
        };
        again.remove(&handle);
        for at in again.values_mut() {
            *at = (*at).max(now + APART_MS);
        }
        self.effects.push(Effect::Call(RelayCall::Bundle(handle)));
    }
}
