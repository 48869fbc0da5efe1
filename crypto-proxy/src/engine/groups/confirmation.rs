//! Confirmations of epochs (docs/protocol.md, 6.9): whose the agent requires before it says something in a group,
//! and whether it confirms by itself.

use waxwire_shared::ids::Handle;

use super::{Engine, goals::gone};
use crate::{
    engine::{Reply, RequestId},
    model::{Confirmation, LocalConversation, Refusal, Required, UnixMs},
    state::{GroupRow, Standing, StateError},
};

impl Engine {
    /// The agent sets what holds in a group from now on.
    pub(super) fn set_confirmation(
        &mut self,
        request: RequestId,
        local: &LocalConversation,
        wanted: &Confirmation,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let row = match self.group_by_local(local)? {
            Some(row) if row.standing == Standing::Member => row,
            Some(row) if row.standing == Standing::Ended => return self.refuse(request, gone(&row)),
            _ => return self.refuse(request, Refusal::GroupNotFound),
        };
        if let Required::Listed(handles) = &wanted.required {
            let members = self.store.roster_handles(row.group_row)?;
            let is_other = |handle: &Handle| {
                *handle != self.account.handle && members.iter().any(|(_, member)| member == handle)
            };
            if !handles.iter().all(is_other) {
                return self.refuse(request, Refusal::NotMember);
            }
        }
        self.store.put_confirmation(row.group_row, wanted)?;
        self.store.owe_confirmation(row.group_row)?;
        self.reply(request, Ok(Reply::Done));
        self.advance(&row.group_id, now)
    }

    /// Why nothing that the agent says may be sealed under an epoch yet.
    pub(super) fn unconfirmed(&self, row: &GroupRow, epoch: u64) -> Result<Option<Refusal>, StateError> {
        let handles = self.store.unconfirmed_members(row.group_row, epoch)?;
        Ok((!handles.is_empty()).then(|| Refusal::Unconfirmed {
            group: row.local(),
            epoch,
            handles,
        }))
    }
}
