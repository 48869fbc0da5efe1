//! Everything that reads bytes of somebody else, as functions of bytes.
//!
//! [`targets`] is the list. A target must not panic, and asserts what must hold of whatever it accepts: mostly that it
//! has one encoding. It returns whether it accepted anything, so that a corpus that reaches nothing is noticed.
//!
//! `corpus/NAME/` holds inputs of the target `NAME`: `seed-*`, which [`seeds`] makes out of the vectors and the
//! encoders, and one file, named after what it was, for each input that ever broke a rule. `tests/corpus.rs` replays
//! them and mutates them by seed ([`mutate`]); `libfuzzer/` drives the same functions by coverage.

#![expect(clippy::unwrap_used, reason = "a harness of tests")]

/// Rows of a table of targets.
macro_rules! table {
    ($($name:literal => $run:expr,)*) => {
        pub(crate) const TARGETS: &[crate::Target] = &[$(crate::Target { name: $name, run: $run },)*];
    };
}

mod engine;
mod feed;
mod files;
mod group_log;
mod http;
mod local_api;
pub mod mutate;
mod proofs;
mod relay;
mod relay_api;
mod rest;
pub mod seeds;
mod text;
mod wire;

/// A reader of foreign bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its folder in the corpus.
    pub name: &'static str,
    /// What is asserted of it; whether it accepted anything.
    pub run: fn(&[u8]) -> bool,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them.
#[must_use]
pub fn targets() -> Vec<Target> {
    [
        wire::TARGETS,
        text::TARGETS,
        rest::TARGETS,
        files::TARGETS,
        proofs::TARGETS,
        group_log::TARGETS,
        relay::TARGETS,
        relay_api::TARGETS,
        local_api::TARGETS,
        engine::TARGETS,
    ]
    .concat()
}

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}
