//! A relay whose database was set back (docs/protocol.md, 8.6): the positions behind its heads are given out again for
//! other objects, and what was stored there is lost. Nothing of this agent goes back with it. Positions are forgotten,
//! for they are the relay's; what comes again is known by what its author has signed; and what no receipt has confirmed
//! is sent again.

use waxwire_shared::{
    api::frames::Cursor,
    wire::{Context, Document as _, Envelope},
};

use super::{Effect, Engine, answers::RESEND_FOR_MS, send::CONTROL_DEADLINE_MS};
use crate::{
    model::{Severity, UnixMs},
    state::StateError,
};

/// Clocks of relay and proxy differ, and an envelope is made before it is stored.
const MARGIN_MS: u64 = 10 * 60 * 1_000;
/// How much of the past is sent to groups again if the relay does not say how far it was set back.
const UNKNOWN_MS: u64 = 24 * 3_600 * 1_000;
/// How often a relay that does not own up to it is believed to have been set back.
const BETWEEN_MS: u64 = 3_600 * 1_000;

impl Engine {
    /// The relay says which course of events its database holds. With another one than before, that was set back, and
    /// is the same as before up to `reaches`.
    pub(super) fn lineage_shown(
        &mut self,
        shown: u64,
        reaches: UnixMs,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(known) = self.store.lineage()? else {
            // The positions that are known are of its queues.
            return self.store.put_lineage(shown);
        };
        if known != shown {
            self.store.put_lineage(shown)?;
            self.relay_was_set_back(reaches, now)?;
        }
        self.effects.push(Effect::Lineage(shown));
        Ok(())
    }

    /// Everything up to a position was delivered. A relay whose queue ends before what was taken from it was set back
    /// and does not say so.
    pub(super) fn compare_head(&mut self, head: &Cursor, now: UnixMs) -> Result<(), StateError> {
        let rested = self
            .volatile
            .set_back_at
            .is_none_or(|at| now.abs_diff(at) >= BETWEEN_MS);
        if !rested || head.position >= self.store.cursor(&head.queue)? {
            return Ok(());
        }
        self.relay_was_set_back(now.saturating_sub(UNKNOWN_MS), now)?;
        if let Some(lineage) = self.store.lineage()? {
            self.effects.push(Effect::Lineage(lineage));
        }
        Ok(())
    }

    fn relay_was_set_back(&mut self, reaches: UnixMs, now: UnixMs) -> Result<(), StateError> {
        self.volatile.set_back_at = Some(now);
        self.volatile.compare_logs = true;
        self.store.forget_cursors()?;
        self.poison.clear();
        self.acks.clear();
        // It may hold an older bundle, and know less of whom this agent holds and blocks.
        self.look_again();
        self.store.declare_again()?;
        let since = reaches.saturating_sub(MARGIN_MS);
        self.store.owe_receipts_since(since)?;
        self.store
            .owe_unconfirmed(now.saturating_sub(RESEND_FOR_MS), now)?;
        self.offer_unconfirmed_in_groups(since, now)?;
        let reason = "the relay's database was set back to an earlier state; what it lost and nobody has confirmed is \
                      sent again";
        self.alert("relay_rolled_back", Severity::Critical, None, reason, now)
    }

    /// Own messages to groups that not everybody has confirmed are sealed again under the same `mid`: if the relay holds
    /// one still, it says so and nothing comes of it.
    fn offer_unconfirmed_in_groups(&mut self, since: UnixMs, now: UnixMs) -> Result<(), StateError> {
        for (group_row, message_row) in self.store.unconfirmed_in_groups(since)? {
            let signed = self.store.signed(message_row)?;
            let Ok(context) = Context::decode(&signed.context) else {
                continue;
            };
            // Parked, it is never sent as it is: its header says what it was.
            let envelope = Envelope {
                header: &context.header,
                ciphertext: &[0],
            }
            .to_bytes();
            let Some(own) = self.store.own_envelope(message_row)? else {
                continue;
            };
            let deadline = now + CONTROL_DEADLINE_MS;
            let (row, group) = (Some(message_row), Some(group_row));
            let token = self
                .store
                .push_outbox(row, group, &envelope, &own.hash, deadline)?;
            self.store.park_outbox(token)?;
        }
        Ok(())
    }
}
