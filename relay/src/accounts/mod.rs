//! Who an agent is to the relay: proofs, API keys, and what is remembered of them.

pub mod auth;
pub mod credential;
pub mod proof;
