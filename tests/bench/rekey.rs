//! Rekeys of large groups: every member's leaf sealed, by the function that the proxy calls.

use std::{hint::black_box, sync::Arc};

use anyhow::Context as _;
use waxwire_proxy::{
    crypto::{
        leaf,
        secret::{EncryptionPublic, EncryptionSecret, EpochKey},
    },
    group::{LeafKey, prepare},
    rng::OsRng,
};
use waxwire_shared::{
    identity::IdentityKey,
    ids::Hash,
    roster::Plan,
    suite::Suite,
    wire::{Member, Role},
};

use crate::{clock, figure::Figure, report::Goal, stats};

/// Members of the groups.
const SIZES: [usize; 2] = [1_000, 10_000];
/// P7: milliseconds until all leaves of each are sealed. What the whole of a rekey may take leaves the rest to the
/// commit.
const GOALS: [Goal; 2] = [Goal::AtMost(40.0), Goal::AtMost(400.0)];
/// How often each is measured in a run; the median counts.
const TIMES: usize = 5;
/// Boxes by which one core is measured.
const BOXES: usize = 1_000;

/// A group whose members have keys.
pub(crate) struct Group {
    plan: Plan,
    keys: Vec<LeafKey>,
}

impl Group {
    fn new(size: usize) -> anyhow::Result<Self> {
        let members = (0..size).map(|index| Ok(Arc::new(member(index)?)));
        let keys = (0..size).map(|_| key()).map(|public| LeafKey {
            key: Ok((u64::MAX / 2, Suite::CLASSIC, public)),
        });
        Ok(Self {
            plan: Plan {
                position: 1,
                previous: Some(Hash::from_bytes([1; 32])),
                epoch: 2,
                members: members.collect::<anyhow::Result<_>>()?,
                roster: Hash::from_bytes([2; 32]),
                must_rekey: true,
            },
            keys: keys.collect(),
        })
    }

    fn rekey(&self) -> anyhow::Result<f64> {
        let begin = clock::now();
        black_box(prepare(&mut OsRng, &self.plan, Suite::CLASSIC, &self.keys)?);
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }
}

fn member(index: usize) -> anyhow::Result<Member> {
    let mut identity = [7; 32];
    identity[..8].copy_from_slice(&index.to_be_bytes());
    Ok(Member {
        // Nobody verifies anything by it here.
        identity: IdentityKey::ed25519(identity),
        handle: format!("agent-{index}").parse()?,
        role: Role::Member,
        joined: index as u64,
    })
}

fn key() -> EncryptionPublic {
    *EncryptionSecret::generate(&mut OsRng).public()
}

/// The groups of [`SIZES`]; made once, for the keys take longer than the rekeys.
///
/// # Errors
/// A handle is none.
pub(crate) fn groups() -> anyhow::Result<Vec<Group>> {
    SIZES.into_iter().map(Group::new).collect()
}

/// Rekeys each group. The yardstick is the same number of boxes on one core and nothing else: the ratio shows how many
/// cores were at work.
///
/// # Errors
/// A rekey is refused.
pub(crate) fn measure(groups: &[Group]) -> anyhow::Result<Vec<Figure>> {
    let one_box = one_box();
    let mut figures = Vec::new();
    for (group, goal) in groups.iter().zip(GOALS) {
        let members = group.keys.len();
        let times: Vec<f64> = (0..TIMES).map(|_| group.rekey()).collect::<anyhow::Result<_>>()?;
        let millis = stats::median(times).context("a time")?;
        let figure = Figure::new(format!("rekey, {members} leaves sealed"), millis, "ms");
        figures.push(figure.beside(one_box * members as f64).wants("P7", goal));
    }
    Ok(figures)
}

/// Milliseconds that one box takes.
fn one_box() -> f64 {
    let (public, epoch_key) = (key(), EpochKey::generate(&mut OsRng));
    let begin = clock::now();
    for _ in 0..BOXES {
        black_box(leaf::seal(&mut OsRng, &public, 2, &epoch_key));
    }
    begin.elapsed().as_secs_f64() * 1e3 / BOXES as f64
}
