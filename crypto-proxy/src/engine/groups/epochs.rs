//! Epochs: leaves, chains, and rekeys that are due (flows 3 to 8; docs/protocol.md, 6.5 and 6.6).

use waxwire_shared::{
    ids::{AgentId, GroupId},
    sign::Verified,
    suite::Suite,
    wire::{Commit, Document as _, LeafProof},
};

use super::{ASK_AGAIN_MS, Engine, GroupView};
use crate::{
    crypto::secret::EncryptionSecret,
    engine::{Effect, LookupError, RelayCall},
    fault,
    group::{self, AdoptError, Chain},
    model::{Severity, UnixMs},
    state::{EpochRow, EpochState, GroupRow, Lacking, Standing, StateError},
};

/// Longest wait of a member that would pay for a rekey, so that not all do at once.
const PAY_WITHIN_MS: u64 = 30_000;
/// Age at which an epoch is replaced.
const EPOCH_AGE_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Ciphertexts after which an epoch is replaced.
const EPOCH_MESSAGES: u64 = 10_000;

impl Engine {
    /// A commit has opened an epoch. If it is the own one, the leaf is here already.
    pub(super) fn new_epoch(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        commit: &Verified<Commit>,
        epoch: u64,
        leaves: Option<&[u8]>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.task(&row.group_id).pay_at = None;
        let Some(index) = view.roster.index_of(self.account.identity.public()) else {
            return Ok(());
        };
        let position = commit.body().position;
        self.store
            .insert_epoch(row.group_row, epoch, position, index, now)?;
        let proof = leaves.and_then(|leaves| group::own_leaf(leaves, index));
        match (proof, self.store.epoch(row.group_row, epoch)?) {
            (Some(proof), Some(wanted)) => self.adopt(row, &wanted, &proof, now),
            _ => Ok(()),
        }
    }

    /// Asks for leaves that are missing.
    pub(super) fn drive_leaves(&mut self, row: &GroupRow) -> Result<(), StateError> {
        let up = self.volatile.link_up;
        let waits = self.task(&row.group_id).again_at.is_some();
        if !up || waits || row.standing != Standing::Member {
            return Ok(());
        }
        for wanted in self.store.epochs_in(row.group_row, EpochState::Wanted)? {
            if self.task(&row.group_id).leaves_asked.insert(wanted.epoch) {
                self.effects.push(Effect::Call(RelayCall::Leaf {
                    group: row.group_id,
                    epoch: wanted.epoch,
                    index: wanted.leaf_index,
                }));
            }
        }
        Ok(())
    }

    /// The relay's answer to [`RelayCall::Leaf`].
    pub(in crate::engine) fn leaf(
        &mut self,
        group: &GroupId,
        epoch: u64,
        answer: Result<Vec<u8>, LookupError>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        let wanted = self.store.epoch(row.group_row, epoch)?;
        let Some(wanted) = wanted.filter(|wanted| wanted.state == EpochState::Wanted) else {
            return Ok(());
        };
        match answer.map(|bytes| LeafProof::decode(&bytes)) {
            Ok(Ok(proof)) => self.adopt(&row, &wanted, &proof, now)?,
            Ok(Err(_)) => self.leaf_of_relay(&row, epoch, now)?,
            Err(error) => {
                let task = self.task(group);
                task.again_at = Some(now + ASK_AGAIN_MS);
                if error != LookupError::Unreachable {
                    task.leaves_denied.insert(epoch);
                }
            }
        }
        self.advance(group, now)
    }

    /// docs/protocol.md, 6.5 "Adopting an epoch", in one transaction.
    fn adopt(
        &mut self,
        row: &GroupRow,
        wanted: &EpochRow,
        proof: &LeafProof,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(commit) = self.stored_commit(row, wanted.position)? else {
            return Ok(());
        };
        let Some(rekey) = &commit.body().rekey else {
            return Ok(());
        };
        let me = self.account.identity.public();
        let secret = |number, suite| self.own_secret(number, suite);
        match group::adopt(rekey, wanted.leaf_index, me, proof, secret) {
            Ok(key) => {
                let Some(view) = self.group_view(row)? else {
                    return Ok(());
                };
                let hash = commit.hash();
                let chains: Vec<(AgentId, Chain)> = view
                    .history
                    .members_at(wanted.position)
                    .map(|identity| {
                        let chain = Chain::first(&key, &row.group_id, wanted.epoch, &hash, identity);
                        (AgentId::of(&self.account.relay, identity), chain)
                    })
                    .collect();
                drop(key);
                self.store
                    .adopt_epoch(&mut *self.rng, wanted.epoch_row, &chains, now)?;
                self.store
                    .close_epochs(row.group_row, view.roster.epoch(), self.running)?;
                self.store.owe_confirmation(row.group_row)?;
                fault::point("epoch.before_commit");
                self.release_group_held(row, Lacking::Epoch, now)
            }
            Err(AdoptError::Proof) => self.leaf_of_relay(row, wanted.epoch, now),
            Err(AdoptError::Empty(_) | AdoptError::KeyErased { .. }) => {
                self.store
                    .put_epoch_state(wanted.epoch_row, EpochState::Unusable)?;
                let reason = "there was no key for this agent in an epoch; it replaces the epoch";
                self.group_alert(row, "leaf_missing", Severity::Warning, reason, now)
            }
            Err(AdoptError::Rekeyer(_)) => self.leaf_of_rekeyer(row, wanted, &commit, now),
        }
    }

    fn own_secret(&self, number: u64, suite: Suite) -> Option<&EncryptionSecret> {
        let mut keys = self.account.encryption_keys.iter();
        let key = keys.find(|key| key.number == number && key.suite == suite)?;
        Some(&key.secret)
    }

    /// A leaf that is not under the root: the relay is at fault. It is asked again.
    fn leaf_of_relay(&mut self, row: &GroupRow, epoch: u64, now: UnixMs) -> Result<(), StateError> {
        let task = self.task(&row.group_id);
        task.again_at = Some(now + ASK_AGAIN_MS);
        task.leaves_denied.insert(epoch);
        let reason = "the relay serves a leaf that is not part of the rekey";
        self.group_alert(row, "leaf_forged", Severity::Critical, reason, now)
    }

    /// A leaf that the rekeyer committed to and that is no share of the epoch.
    fn leaf_of_rekeyer(
        &mut self,
        row: &GroupRow,
        wanted: &EpochRow,
        commit: &Verified<Commit>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.store
            .put_epoch_state(wanted.epoch_row, EpochState::Unusable)?;
        let view = self.group_view(row)?;
        let culprit = view.and_then(|view| super::log::signer_handle(&view, commit));
        let reason = "a member has replaced the group's key with a false one for this agent";
        let group = row.local();
        self.alert_in(
            "leaf_false",
            Severity::Critical,
            culprit.as_ref(),
            Some(&group),
            reason,
            now,
        )
    }

    /// Pays for a rekey that is due: at once if this agent cannot read, else after a random delay.
    pub(super) fn drive_rekey(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        if row.standing != Standing::Member || row.stop.is_some() {
            self.task(&row.group_id).pay_at = None;
            return Ok(());
        }
        let Some(view) = self.group_view(row)? else {
            return Ok(());
        };
        let epoch = self.store.epoch(row.group_row, view.roster.epoch())?;
        let unusable = epoch
            .as_ref()
            .is_some_and(|epoch| epoch.state == EpochState::Unusable);
        let worn = epoch.is_some_and(|epoch| {
            let age = epoch.adopted_at.map_or(0, |at| now.saturating_sub(at));
            age >= EPOCH_AGE_MS || epoch.messages >= EPOCH_MESSAGES
        });
        let owed = view.roster.hard_debt().is_some() || view.roster.soft_debt().is_some() || row.renew;
        let delay = self.pay_delay();
        let task = self.task(&row.group_id);
        if unusable {
            task.pay_at = Some(task.pay_at.map_or(now, |at| at.min(now)));
        } else if owed || worn {
            task.pay_at.get_or_insert(now + delay);
        } else {
            task.pay_at = None;
        }
        if task.pay_at.is_some_and(|at| at <= now) {
            // Should it be lost or refused, it is tried again.
            task.pay_at = Some(now + PAY_WITHIN_MS);
            self.commit(row, &view, Vec::new(), true, now)?;
        }
        Ok(())
    }

    fn pay_delay(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.rng.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes) % self.settings.pay_within.max(1)
    }

    /// The group's queue was read to its end.
    pub(in crate::engine) fn group_drained(
        &mut self,
        group: &GroupId,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        self.volatile.read_to_end.insert(*group);
        self.store.drained_epochs(row.group_row, self.running)?;
        while let Some(gap) = self.store.gap_in(Some(row.conversation_id))? {
            self.release_gaps(gap, now)?;
        }
        Ok(())
    }

    /// Chains whose time is over are erased. A queue that was at its end all along is empty: what was stored before
    /// the last look at it has been delivered since.
    pub(in crate::engine) fn erase_old_chains(&mut self, interval: u64) -> Result<(), StateError> {
        let last_look = self.running.saturating_sub(interval);
        for group in &self.volatile.read_to_end {
            if let Some(row) = self.store.group(group)? {
                self.store.drained_epochs(row.group_row, last_look)?;
            }
        }
        let run = self.running.checked_sub(self.settings.key_retention);
        if let Some(run) = run {
            let erased = self.store.erase_closed_epochs(run)?;
            if erased > 0 {
                tracing::debug!(epochs = erased, "chains of closed epochs were erased");
            }
        }
        Ok(())
    }
}
