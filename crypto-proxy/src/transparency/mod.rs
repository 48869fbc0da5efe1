//! What heads, proofs and leaves of the relay's transparency log prove to whoever compares them
//! (docs/protocol.md, 10). Functions on values: to ask, to keep and to tell is the engine's.

mod head;
mod leaves;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use head::{
    Consistency, Head, HeadError, LogOwner, ProofError, Relation, check_consistency, check_inclusion, relate,
};
pub use leaves::{OwnBundle, OwnBundles, Verdict, append, judge};
