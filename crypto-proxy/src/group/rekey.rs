//! A new epoch: its key sealed to every member, and the way into it (docs/protocol.md, 6.5).

use std::{num::NonZero, sync::Arc, thread};

use rand_core::CryptoRng;
use waxwire_shared::{
    identity::IdentityKey,
    ids::{GroupId, Hash},
    limits, merkle,
    roster::{self, Plan, leaves_root, verify_leaf},
    suite::Suite,
    wire::{DecodeError, Document as _, EmptyReason, Leaf, LeafContent, LeafProof, Leaves, Member, Rekey},
};

use super::Chain;
use crate::{
    crypto::{
        kdf, leaf,
        secret::{EncryptionPublic, EncryptionSecret, Ephemeral, EpochKey},
    },
    harden,
};

/// Members from which on the boxes are made on all cores: below, starting threads costs more.
const PARALLEL: usize = 64;

/// What the leaf of one member is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafKey {
    /// The member's encryption key with its number, or why there is none.
    pub key: Result<(u64, Suite, EncryptionPublic), EmptyReason>,
}

/// A rekey that no log has seen yet.
#[derive(Debug)]
pub struct Prepared {
    /// What the commit carries.
    pub rekey: Rekey,
    /// The encoded [`Leaves`] that travel beside it.
    pub leaves: Vec<u8>,
}

/// Why a rekey cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// No member, or more than a group can have.
    #[error("no group has {actual} members")]
    Members {
        /// Members of the plan.
        actual: usize,
    },
    /// Not one key for each member.
    #[error("expected {expected} keys, got {actual}")]
    Keys {
        /// Members of the plan.
        expected: usize,
        /// Keys given.
        actual: usize,
    },
    /// A suite that this version cannot seal under.
    #[error("suite {actual} is unknown")]
    Suite {
        /// The epoch's or a key's.
        actual: u16,
    },
}

/// Why a leaf gives no epoch key. Whose fault it is decides what follows (docs/protocol.md, 6.5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The leaf is not under the root: the relay's fault. Fetch it again, and alarm.
    #[error("leaf is not part of the rekey")]
    Proof,
    /// The rekeyer had no key of this member's. Heal.
    #[error("leaf is empty: {0:?}")]
    Empty(EmptyReason),
    /// The leaf is sealed to a key whose private half is not held, or not any more. Heal.
    #[error("leaf is sealed to key {number}, which is not held")]
    KeyErased {
        /// Number of the key.
        number: u64,
    },
    /// The leaf is under the root and is not what it has to be. Alert naming the rekeyer, and heal.
    #[error("rekeyer made a bad leaf")]
    Rekeyer(#[from] RekeyerFault),
}

/// What a rekeyer did wrong in a leaf that it committed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RekeyerFault {
    /// What stands in this member's place is no leaf.
    #[error("malformed leaf")]
    Malformed(#[source] DecodeError),
    /// The leaf in this member's place names another member or place.
    #[error("leaf is for another member")]
    Member,
    /// The box: it does not open, holds no key of this epoch, or one that misses the commitment.
    #[error("leaf holds no key of the epoch")]
    Key(#[from] leaf::LeafError),
}

/// Makes a rekey for the roster that `plan` describes: a new epoch key, its commitment, one leaf for
/// each of `keys`, which stand in the order of the plan's members, and the root over them.
///
/// ```text
/// leaf       = {1: index, 2: identity, 3: [number, suite, SealedBox(key, plaintext)] or [reason]}
/// plaintext  = "waxwire" 7 || kind 32 || epoch u64 || epoch key 32     docs/protocol.md, 6.5
/// commitment = HKDF(epoch key, KdfEpochCommit, "")                     docs/protocol.md, 2.2
/// root       = Merkle root over the encoded leaves                     docs/protocol.md, 2.6
/// ```
///
/// The epoch key is dropped here: the rekeyer adopts through its own leaf like everybody else, after
/// its commit was read back. `rng` gives the epoch key and then one ephemeral key for each sealed leaf
/// in roster order, 32 bytes each, before the first box is made: the result does not depend on how many
/// cores make the boxes, which are all of them from 64 members on.
///
/// Takes about 400 bytes for a member while it runs, 4 MB for the largest group; the encoded leaves are
/// about 156 bytes for each.
///
/// # Errors
/// [`PrepareError`]. Nothing was drawn from `rng` then.
///
/// # Security
/// That the keys are those of the plan's members is the caller's to see to, by verified bundles.
///
/// # Vectors
/// `vectors/leaf.json`
pub fn prepare(
    rng: &mut (impl CryptoRng + ?Sized),
    plan: &Plan,
    suite: Suite,
    keys: &[LeafKey],
) -> Result<Prepared, PrepareError> {
    let count = check(plan, suite, keys)?;
    let key = EpochKey::generate(rng);
    let mut tasks: Vec<Task<'_>> = (0..)
        .zip(&plan.members)
        .zip(keys)
        .map(|((index, member), key)| Task {
            index,
            identity: &member.identity,
            share: Some(Share::new(rng, key)),
            encoded: Vec::new(),
        })
        .collect();
    run(&mut tasks, plan.epoch, &key);
    let leaves = Leaves {
        leaves: tasks.into_iter().map(|task| task.encoded).collect(),
    };
    let rekey = Rekey {
        epoch: plan.epoch,
        suite,
        commitment: kdf::epoch_commitment(&key),
        root: leaves_root(&leaves),
        leaves: count,
        roster: plan.roster,
    };
    Ok(Prepared {
        rekey,
        leaves: leaves.encode(),
    })
}

/// The number of leaves, if there can be a rekey.
fn check(plan: &Plan, suite: Suite, keys: &[LeafKey]) -> Result<u32, PrepareError> {
    let expected = plan.members.len();
    if !(1..=limits::GROUP_MEMBERS).contains(&expected) {
        return Err(PrepareError::Members { actual: expected });
    }
    if keys.len() != expected {
        let actual = keys.len();
        return Err(PrepareError::Keys { expected, actual });
    }
    let sealed_under = keys
        .iter()
        .filter_map(|key| key.key.ok())
        .map(|(_, suite, _)| suite);
    if let Some(unknown) = sealed_under.chain([suite]).find(|suite| !suite.is_known()) {
        return Err(PrepareError::Suite { actual: unknown.0 });
    }
    u32::try_from(expected).map_err(|_| PrepareError::Members { actual: expected })
}

/// A leaf to be made, and then its bytes.
struct Task<'a> {
    index: u32,
    identity: &'a IdentityKey,
    share: Option<Share>,
    encoded: Vec<u8>,
}

/// What a leaf is made from; used up by it.
enum Share {
    Sealed {
        number: u64,
        suite: Suite,
        to: EncryptionPublic,
        ephemeral: Ephemeral,
    },
    Empty(EmptyReason),
}

impl Share {
    fn new(rng: &mut (impl CryptoRng + ?Sized), key: &LeafKey) -> Self {
        match key.key {
            Ok((number, suite, to)) => Self::Sealed {
                number,
                suite,
                to,
                ephemeral: Ephemeral::generate(rng),
            },
            Err(reason) => Self::Empty(reason),
        }
    }

    fn seal(self, epoch: u64, epoch_key: &EpochKey) -> LeafContent {
        match self {
            Self::Sealed {
                number,
                suite,
                to,
                ephemeral,
            } => LeafContent::Sealed {
                key_number: number,
                suite,
                sealed: leaf::seal_with(ephemeral, &to, epoch, epoch_key),
            },
            Self::Empty(reason) => LeafContent::Empty(reason),
        }
    }
}

impl Task<'_> {
    /// Does nothing the second time.
    fn run(&mut self, epoch: u64, epoch_key: &EpochKey) {
        if let Some(share) = self.share.take() {
            let leaf = Leaf {
                index: self.index,
                identity: self.identity.clone(),
                content: share.seal(epoch, epoch_key),
            };
            self.encoded = leaf.encode();
        }
    }
}

fn run(tasks: &mut [Task<'_>], epoch: u64, key: &EpochKey) {
    if tasks.len() >= PARALLEL {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        run_on(cores, tasks, epoch, key);
    }
    // All of a small group, and what was meant for a thread that the system refused.
    for task in tasks {
        task.run(epoch, key);
    }
}

fn run_on(cores: usize, tasks: &mut [Task<'_>], epoch: u64, key: &EpochKey) {
    let part = tasks.len().div_ceil(cores);
    thread::scope(|scope| {
        let mut parts = tasks.chunks_mut(part);
        let own = parts.next();
        for part in parts {
            let work = move || {
                part.iter_mut().for_each(|task| task.run(epoch, key));
                // The system may keep the stack for the next thread.
                harden::scrub_stack();
            };
            // The scope waits for it.
            drop(thread::Builder::new().spawn_scoped(scope, work));
        }
        own.into_iter().flatten().for_each(|task| task.run(epoch, key));
    });
}

/// The leaf at `index` of encoded [`Leaves`], with its way to their root: how a rekeyer comes to its
/// own leaf without asking the relay. `None` if these are no leaves, or fewer.
///
/// Takes 32 bytes for each leaf beside a copy of all of them.
#[must_use]
pub fn own_leaf(leaves: &[u8], index: u32) -> Option<LeafProof> {
    let leaves = Leaves::decode(leaves).ok()?.leaves;
    let index = usize::try_from(index).ok()?;
    let leaf = leaves.get(index)?.clone();
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
    let path = merkle::inclusion_path(&hashes, index);
    Some(LeafProof { leaf, path })
}

/// The epoch key in this member's leaf (docs/protocol.md, 6.5 "Adopting an epoch"): `me` stands at
/// `index` of the roster that `rekey` was made for, and `rekey` stands in the verified log.
///
/// 1. The path leads from the leaf to the root, for this index and number of leaves.
/// 2. The leaf is one, and names this member and place. `secret` gives the private half for the number
///    and suite that it names. The box opens; magic, kind and epoch hold; the key is not zero and meets
///    the commitment, compared in constant time.
///
/// # Errors
/// [`AdoptError`], which says whose fault it is.
///
/// # Security
/// Nobody seals under an epoch before its commit was read back from the log.
///
/// # Vectors
/// `vectors/leaf.json`
pub fn adopt<'k>(
    rekey: &Rekey,
    index: u32,
    me: &IdentityKey,
    proof: &LeafProof,
    secret: impl FnOnce(u64, Suite) -> Option<&'k EncryptionSecret>,
) -> Result<EpochKey, AdoptError> {
    let leaf = verify_leaf(rekey, index, me, &proof.leaf, &proof.path)?;
    match leaf.content {
        LeafContent::Empty(reason) => Err(AdoptError::Empty(reason)),
        LeafContent::Sealed {
            key_number: number,
            suite,
            sealed,
        } => {
            let secret = secret(number, suite).ok_or(AdoptError::KeyErased { number })?;
            let key = leaf::open(secret, rekey.epoch, &rekey.commitment, &sealed);
            Ok(key.map_err(RekeyerFault::Key)?)
        }
    }
}

impl From<roster::LeafError> for AdoptError {
    fn from(error: roster::LeafError) -> Self {
        match error {
            // The second compares all leaves of a rekey and never a single one.
            roster::LeafError::Proof | roster::LeafError::Count { .. } => Self::Proof,
            roster::LeafError::Decode(error) => Self::Rekeyer(RekeyerFault::Malformed(error)),
            roster::LeafError::Member { .. } => Self::Rekeyer(RekeyerFault::Member),
        }
    }
}

/// The first chains of an epoch, one for each of `members`: the roster that the rekey was made for, in
/// its order. The epoch key is of no use afterwards and has to be erased.
///
/// About 80 bytes and two microseconds for a member: 0.8 MB for the largest group.
///
/// # Vectors
/// `vectors/kdf.json`
#[must_use]
pub fn chains(
    epoch_key: &EpochKey,
    group: &GroupId,
    epoch: u64,
    rekey_commit: &Hash,
    members: &[Arc<Member>],
) -> Vec<Chain> {
    members
        .iter()
        .map(|member| Chain::first(epoch_key, group, epoch, rekey_commit, &member.identity))
        .collect()
}

#[cfg(test)]
mod tests;
