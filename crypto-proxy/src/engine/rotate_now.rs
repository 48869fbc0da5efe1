//! Keys are replaced because the operator says so, as after a theft (docs/protocol.md, 11, "Healing").
//!
//! A new encryption key is published at once, whatever waits in the queues: the former one is held on until
//! its own time is over (4.3). In the transaction that makes the key, every group is marked: this agent
//! replaces the group's key, too, and seals nothing there before. So a crash, or a caller that does not wait,
//! leaves nothing half done.

use super::{Engine, Reply, RequestId};
use crate::{
    model::{Refusal, UnixMs},
    state::StateError,
};

const HOUR: u64 = 3_600 * 1_000;
/// Most keys that are replaced in an hour because somebody asks: each is held until its time is over.
const PER_HOUR: usize = 6;

/// A request that waits until a key newer than all that there were is published.
#[derive(Debug)]
pub(super) struct Rotation {
    request: RequestId,
    /// The newest key that there was.
    newest: u64,
    pub(super) until: UnixMs,
}

impl Rotation {
    /// Who waits.
    pub(super) const fn request(self) -> RequestId {
        self.request
    }
}

impl Engine {
    /// Answered by [`Reply::Rotated`] once the relay has the new key.
    pub(super) fn rotate_now(&mut self, request: RequestId, now: UnixMs) -> Result<(), StateError> {
        if self.volatile.suspended {
            return self.refuse(request, Refusal::Suspended);
        }
        let newest = match self.volatile.rotations.first() {
            Some(under_way) => under_way.newest,
            None => {
                if let Err(refusal) = self.may_rotate(now) {
                    return self.refuse(request, refusal);
                }
                let held = self.account.encryption_keys.iter().map(|key| key.number);
                held.max().unwrap_or(0).max(self.account.key_number)
            }
        };
        let until = now + self.settings.answer_within;
        self.volatile.rotations.push(Rotation {
            request,
            newest,
            until,
        });
        self.volatile.own_keys.hurry();
        self.tend_keys(now)
    }

    fn may_rotate(&self, now: UnixMs) -> Result<(), Refusal> {
        let keys = self.account.encryption_keys.iter();
        let recent: Vec<UnixMs> = keys
            .filter_map(|key| key.superseded)
            .filter(|at| *at <= now && *at + HOUR > now)
            .collect();
        match recent.iter().min() {
            Some(first) if recent.len() >= PER_HOUR => Err(Refusal::RateLimited {
                retry_after: (first + HOUR - now).div_ceil(1_000),
            }),
            _ => Ok(()),
        }
    }

    /// Whether somebody waits for a newer key than the published one.
    pub(super) fn rotation_is_wanted(&self) -> bool {
        let mut waiting = self.volatile.rotations.iter();
        waiting.any(|rotation| rotation.newest >= self.account.key_number)
    }

    /// A bundle was published: whoever waited for its key is answered, and whoever waits for a newer one gets that.
    pub(super) fn rotated(&mut self, now: UnixMs) -> Result<(), StateError> {
        if self.rotation_is_wanted() {
            return self.tend_keys(now);
        }
        let number = self.account.key_number;
        for rotation in std::mem::take(&mut self.volatile.rotations) {
            self.reply(rotation.request, Ok(Reply::Rotated(number)));
        }
        Ok(())
    }

    /// The relay has not taken the bundle. If it has not answered, the same is offered again by itself.
    pub(super) fn refuse_rotations(&mut self, refusal: &Refusal) {
        for rotation in std::mem::take(&mut self.volatile.rotations) {
            self.reply(rotation.request, Err(refusal.clone()));
        }
    }

    /// Whoever has waited long enough is told whether a key is on its way.
    pub(super) fn expire_rotations(&mut self, now: UnixMs) -> Result<(), StateError> {
        if self
            .volatile
            .rotations
            .iter()
            .any(|rotation| rotation.until <= now)
        {
            let queued = self.store.offered_bundle()?.is_some();
            self.refuse_rotations(&Refusal::RelayUnreachable { queued });
        }
        Ok(())
    }
}
