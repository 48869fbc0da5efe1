//! The transparency log of the relay of tests.

use waxwire_shared::{
    api::rest::{Base64Bytes, BundleAnswer},
    hash::sha256,
    ids::Handle,
    wire::{Document as _, LogLeaf},
};

use super::net::{Net, tag};
use crate::{
    engine::{LogCall, LookupError},
    transparency::{OwnBundle, testing::TestLog},
};

/// The leaf of a signed bundle.
pub(super) fn leaf_of(handle: &Handle, signed: &[u8]) -> LogLeaf {
    LogLeaf {
        handle_tag: tag(handle),
        number: OwnBundle::of(signed).unwrap().number,
        bundle: sha256(signed),
    }
}

impl Net {
    /// The relay keeps a log, the same for everybody, of all bundles that it serves.
    pub(super) fn keep_log(&mut self) {
        self.logs = vec![TestLog::of_size(3)];
        self.log_bundles();
    }

    /// Every bundle that is served gets a leaf in every log.
    pub(super) fn log_bundles(&mut self) {
        let mut bundles: Vec<_> = self.bundles.iter().collect();
        bundles.sort();
        for (handle, signed) in bundles {
            let leaf = leaf_of(handle, signed);
            for log in &mut self.logs {
                if !log.leaves.contains(&leaf) {
                    log.leaves.push(leaf.clone());
                }
            }
        }
    }

    fn log_of(&self, index: usize) -> Option<&TestLog> {
        self.logs.get(index).or(self.logs.last())
    }

    pub(super) fn with_proof(&self, index: usize, mut shown: BundleAnswer) -> BundleAnswer {
        if let Some(log) = self.log_of(index) {
            let hash = sha256(&shown.bundle.0);
            let place = log.leaves.iter().position(|leaf| leaf.bundle == hash);
            let size = log.leaves.len() as u64;
            shown.log = place.map(|place| Base64Bytes(log.proof(place as u64, size)));
        }
        shown
    }

    pub(super) fn read_log(&mut self, index: usize, call: LogCall) -> Result<Vec<Vec<u8>>, LookupError> {
        self.log_calls.push(call);
        let scripted = self.log_answer.as_mut().and_then(|script| script(index, call));
        if let Some(answer) = scripted {
            return answer;
        }
        let log = self.log_of(index).ok_or(LookupError::NotFound)?;
        let size = log.leaves.len() as u64;
        Ok(match call {
            LogCall::Head => vec![log.newest()],
            LogCall::Consistency { to, .. } if to > size => return Err(LookupError::NotFound),
            LogCall::Consistency { from, to } => vec![log.consistency(from, to)],
            LogCall::Leaves { from, limit } => {
                let page = log.leaves.iter().skip(from as usize).take(limit as usize);
                page.map(LogLeaf::encode).collect()
            }
        })
    }
}
