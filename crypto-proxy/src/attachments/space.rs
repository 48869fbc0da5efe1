//! How much of the disk attachments under way may take.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::AttachmentError;
use crate::model::AttachmentId;

/// What takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// An upload that was sealed, or will be.
    Spool(AttachmentId),
    /// Something that is fetched.
    Fetch(u64),
}

/// Bytes of each, at most so many in all.
#[derive(Debug)]
pub(super) struct Space {
    max: u64,
    taken: Mutex<HashMap<What, u64>>,
}

impl Space {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            taken: Mutex::default(),
        }
    }

    /// Takes room, instead of what the same had before.
    pub(super) fn take(&self, what: What, bytes: u64) -> Result<(), AttachmentError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let others = taken.iter().filter(|(other, _)| **other != what);
        let actual = others.map(|(_, bytes)| *bytes).sum::<u64>().saturating_add(bytes);
        if actual > self.max {
            return Err(AttachmentError::Space {
                max: self.max,
                actual,
            });
        }
        taken.insert(what, bytes);
        Ok(())
    }

    /// What is there already.
    pub(super) fn note(&self, what: What, bytes: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(what, bytes);
    }

    pub(super) fn release(&self, what: &What) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(what);
    }

    /// Uploads that take room.
    pub(super) fn spools(&self) -> Vec<AttachmentId> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let spool = |what: &What| match what {
            What::Spool(id) => Some(*id),
            What::Fetch(_) => None,
        };
        taken.keys().filter_map(spool).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let space = Space::new(100);
        let upload = What::Spool(AttachmentId::upload([1; 16]));
        space.take(upload, 60).unwrap();
        space.take(upload, 70).unwrap();
        space.take(What::Fetch(1), 30).unwrap();
        let full = space.take(What::Fetch(2), 1).unwrap_err();
        assert!(matches!(
            full,
            AttachmentError::Space {
                max: 100,
                actual: 101
            }
        ));
        assert_eq!(space.spools(), [AttachmentId::upload([1; 16])]);
        space.release(&What::Fetch(1));
        space.take(What::Fetch(2), 30).unwrap();
    }
}
