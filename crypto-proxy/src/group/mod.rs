//! The cryptography of groups: pure functions over values, randomness passed in (docs/protocol.md, 6).
//!
//! - [`ratchet`]: the chain of message keys of one sender in one epoch
//! - [`rekey`]: a new epoch for the members of a roster, and the way into it
//!
//! Which commit is valid is said by [`waxwire_shared::roster`]; what is stored, and when a key is
//! erased, by the state. Nothing here knows a database, a connection or a clock.

pub mod ratchet;
pub mod rekey;
#[cfg(test)]
mod testing;

pub use self::{
    ratchet::{Chain, ChainExhausted, Walk, WalkError},
    rekey::{AdoptError, LeafKey, PrepareError, Prepared, RekeyerFault, adopt, chains, own_leaf, prepare},
};
