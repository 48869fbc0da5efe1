//! Envelopes of a group that wait (docs/protocol.md, 6.8, steps 1 and 2).
//!
//! The relay keeps a group's messages in one order, and the agent reads them in it, also after an
//! absence that the keys of many epochs and a part of the log are missing from. While what one of them
//! lacks is under way, later ones stand in line behind it. Once the relay has answered without giving it,
//! or nothing has moved for a while, the one steps out of the line and waits by itself: epochs do not
//! need one another, and nothing missing blocks what can be read.

use waxwire_shared::wire::{Document as _, Envelope, GroupHeader};

use super::{Engine, GroupView};
use crate::{
    engine::{Count, receive::Reject},
    model::{Severity, UnixMs},
    state::{EpochState, GroupRow, HeldGroupEnvelope, Lacking, NewHeld, Standing, StateError},
};

/// How long a line waits without anything moving.
pub(super) const STILL_MS: u64 = 30_000;

impl Engine {
    /// An envelope that has just come: it is read in its turn.
    pub(in crate::engine) fn group_envelope(
        &mut self,
        row: &GroupRow,
        bytes: &[u8],
        now: UnixMs,
    ) -> Result<(), StateError> {
        if !self.store.has_line(row.group_row)? {
            return self.read_in_group(row, bytes, Arrival::Now, now);
        }
        let header = match self.header_in_group(row, bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(()),
            Err(reject) => return self.refuse_in_group(row, reject, now),
        };
        let lacking = self.lacking(row, &header)?.unwrap_or(Lacking::Turn);
        let new = NewHeld {
            lacking,
            in_line: true,
            header: &header,
            envelope: bytes,
            held_at: now,
        };
        if self.store.hold_group_envelope(row.group_row, &new)? {
            self.count(Count::Receive("held"));
            if lacking != Lacking::Turn {
                self.ask_log(row);
            }
            Ok(())
        } else {
            // Rather out of order than lost.
            self.move_line(row, Patience::Over, now)?;
            self.read_in_group(row, bytes, Arrival::Now, now)
        }
    }

    /// What an envelope cannot be read without, as far as its header tells.
    fn lacking(&mut self, row: &GroupRow, header: &GroupHeader) -> Result<Option<Lacking>, StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(Some(Lacking::Head));
        };
        let epoch = self.store.epoch(row.group_row, header.epoch)?;
        Ok(lacks(&view, epoch.map(|epoch| epoch.state), header))
    }

    /// Keeps an envelope that cannot be read yet.
    pub(super) fn hold(
        &mut self,
        row: &GroupRow,
        header: &GroupHeader,
        lacking: Lacking,
        bytes: &[u8],
        arrival: Arrival,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.ask_log(row);
        // What has lost its place once does not get another.
        let in_line = arrival == Arrival::Now && self.is_under_way(row, lacking, header.epoch)?;
        let new = NewHeld {
            lacking,
            in_line,
            header,
            envelope: bytes,
            held_at: arrival.at(now),
        };
        let held = self.store.hold_group_envelope(row.group_row, &new)?;
        if in_line {
            self.task(&row.group_id).line_until.get_or_insert(now + STILL_MS);
        }
        if lacking == Lacking::Epoch {
            self.report_without_epoch(row, now)?;
        }
        if arrival == Arrival::Now {
            self.count(Count::Receive(if held { "held" } else { "dropped" }));
        }
        if held {
            return Ok(());
        }
        let reason = "too many messages of a group wait for keys; one was dropped";
        self.group_alert(row, "held_overflow", Severity::Warning, reason, now)
    }

    /// Whether the relay still owes an answer that may bring what is lacking.
    fn is_under_way(&mut self, row: &GroupRow, lacking: Lacking, epoch: u64) -> Result<bool, StateError> {
        let state = self.store.epoch(row.group_row, epoch)?.map(|epoch| epoch.state);
        let task = self.task(&row.group_id);
        Ok(match lacking {
            Lacking::Head => task.log_asked || task.again_at.is_some(),
            Lacking::Epoch => state == Some(EpochState::Wanted) && !task.leaves_denied.contains(&epoch),
            Lacking::Turn => false,
        })
    }

    /// Reads what has its turn, up to the first one for which something is still under way.
    pub(super) fn move_line(
        &mut self,
        row: &GroupRow,
        patience: Patience,
        now: UnixMs,
    ) -> Result<(), StateError> {
        while let Some(first) = self.store.first_in_line(row.group_row)? {
            let HeldGroupEnvelope {
                held_id,
                held_at,
                envelope,
            } = first;
            let header = self.header_in_group(row, &envelope).ok().flatten();
            let lacking = match &header {
                Some(header) => self.lacking(row, header)?.map(|lacking| (lacking, header.epoch)),
                None => None,
            };
            let Some((lacking, epoch)) = lacking else {
                self.store.remove_held(held_id)?;
                self.read_in_group(row, &envelope, Arrival::Earlier(held_at), now)?;
                continue;
            };
            let waits = patience == Patience::Left && self.is_under_way(row, lacking, epoch)?;
            self.store.put_held(held_id, lacking, waits)?;
            if waits {
                self.task(&row.group_id).line_until.get_or_insert(now + STILL_MS);
                return Ok(());
            }
        }
        self.task(&row.group_id).line_until = None;
        Ok(())
    }

    /// Something has come that a line waits for.
    pub(super) fn line_moves(&mut self, row: &GroupRow, now: UnixMs) {
        if let Some(until) = &mut self.task(&row.group_id).line_until {
            *until = now + STILL_MS;
        }
    }

    /// Lines whose time is over; those from before a restart have theirs from now on.
    pub(super) fn tick_lines(&mut self, now: UnixMs) -> Result<(), StateError> {
        if !std::mem::replace(&mut self.volatile.lines_known, true) {
            for group_row in self.store.groups_with_line()? {
                let group = self.store.group_by_row(group_row)?.group_id;
                self.task(&group).line_until.get_or_insert(now + STILL_MS);
            }
        }
        let tasks = self.volatile.tasks.iter();
        let due = tasks.filter(|(_, task)| task.line_until.is_some_and(|until| until <= now));
        let due: Vec<_> = due.map(|(group, _)| *group).collect();
        for group in due {
            self.task(&group).line_until = None;
            if let Some(row) = self.store.group(&group)? {
                self.move_line(&row, Patience::Over, now)?;
            }
        }
        Ok(())
    }

    /// An epoch was adopted or a commit came: what waited for it by itself is read.
    pub(super) fn release_group_held(
        &mut self,
        row: &GroupRow,
        lacking: Lacking,
        now: UnixMs,
    ) -> Result<(), StateError> {
        for held in self.store.take_group_held(row.group_row, lacking)? {
            self.read_in_group(row, &held.envelope, Arrival::Earlier(held.held_at), now)?;
        }
        self.line_moves(row, now);
        Ok(())
    }

    /// The log has moved on: what cited a commit is looked at again.
    pub(super) fn release_group_held_heads(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        let row = self.store.group_by_row(row.group_row)?;
        if row.standing != Standing::Member {
            return Ok(());
        }
        self.release_group_held(&row, Lacking::Head, now)?;
        self.move_line(&row, Patience::Left, now)?;
        self.lift_stop(&row, now)
    }

    /// The header of an envelope of this group by somebody else; `None` for an own one.
    pub(super) fn header_in_group(
        &self,
        row: &GroupRow,
        bytes: &[u8],
    ) -> Result<Option<GroupHeader>, Reject> {
        let envelope = Envelope::split(bytes).map_err(|_| Reject::Malformed)?;
        let header = GroupHeader::decode(envelope.header).map_err(|_| Reject::Malformed)?;
        if header.group != row.group_id {
            return Err(Reject::Misrouted);
        }
        Ok((header.sender != self.account.agent_id).then_some(header))
    }
}

/// When an envelope came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Just now.
    Now,
    /// It has waited since then.
    Earlier(UnixMs),
}

impl Arrival {
    const fn at(self, now: UnixMs) -> UnixMs {
        match self {
            Self::Now => now,
            Self::Earlier(at) => at,
        }
    }
}

/// Whether a line waits for what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It does.
    Left,
    /// It has waited long enough.
    Over,
}

/// What is missing for an envelope, by the state of its epoch here.
pub(super) fn lacks(view: &GroupView, epoch: Option<EpochState>, header: &GroupHeader) -> Option<Lacking> {
    match epoch {
        None if header.epoch > view.roster.epoch() => Some(Lacking::Head),
        Some(EpochState::Wanted | EpochState::Unusable) => Some(Lacking::Epoch),
        Some(EpochState::Adopted) if view.history.position_of(&header.roster_head).is_none() => {
            Some(Lacking::Head)
        }
        _ => None,
    }
}
