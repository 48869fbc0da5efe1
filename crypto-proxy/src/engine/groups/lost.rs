//! Commits that a relay which was set back has lost (docs/protocol.md, 8.6). Their authors append them again, each in
//! its turn; nobody goes behind what it knows.

use waxwire_shared::{api::append::Append, hash::sha256, ids::GroupId, sign::Verified, wire::Commit};

use super::{ASK_AGAIN_MS, Engine};
use crate::{
    engine::{Effect, RelayCall},
    model::{Severity, UnixMs},
    state::{GroupRow, Standing, StateError},
};

impl Engine {
    /// How many commits the relay says that the log of a group has, and how many were `known` here when it was asked: others
    /// may have come since. With fewer the relay was set back; it is asked again until it has them all.
    pub(super) fn compare_length(
        &mut self,
        row: &GroupRow,
        known: u64,
        length: u64,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let lost = row.standing == Standing::Member && length < known;
        let before = std::mem::replace(&mut self.task(&row.group_id).log_lost, lost);
        if !lost {
            return Ok(());
        }
        if !before {
            let reason = "the relay has lost commits of the group that this agent knows; until their authors have \
                          appended them again, nothing can be sent under later keys";
            self.group_alert(row, "roster_lost", Severity::Critical, reason, now)?;
        }
        self.task(&row.group_id).again_at = Some(now + ASK_AGAIN_MS);
        self.append_lost(row, length)
    }

    /// The relay has this many commits again.
    pub(super) fn log_has_grown(&mut self, group: &GroupId, length: u64) -> Result<(), StateError> {
        if !self.task(group).log_lost {
            return Ok(());
        }
        match self.store.group(group)? {
            Some(row) if length < row.length => self.append_lost(&row, length),
            _ => {
                self.task(group).log_lost = false;
                Ok(())
            }
        }
    }

    /// Offers the commit at a position, if it is an own one. What becomes of it is seen in the log.
    fn append_lost(&mut self, row: &GroupRow, position: u64) -> Result<(), StateError> {
        let Some(signed) = self.store.commit_at(row.group_row, position)? else {
            return Ok(());
        };
        let commit = Verified::<Commit>::from_bytes(&signed, |commit| &commit.signer);
        let Some(commit) = commit
            .ok()
            .filter(|commit| commit.signer() == self.account.identity.public())
        else {
            return Ok(());
        };
        let leaves = match commit.body().rekey {
            Some(_) => self.store.kept_leaves(row.group_row, position)?,
            None => Some(Vec::new()),
        };
        if let Some(leaves) = leaves {
            let body = Append {
                commit: &signed,
                leaves: &leaves,
            };
            self.effects.push(Effect::Call(RelayCall::Append {
                group: row.group_id,
                commit: sha256(&signed),
                first: position == 0,
                body: body.to_bytes(),
            }));
        }
        Ok(())
    }
}
