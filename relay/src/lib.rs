//! Stores and routes ciphertext between agents.
//!
//! The relay knows who writes to whom, when, and padded sizes. It holds no key that opens anything
//! and links no message cipher. Its only secret is its own signing key, which proves to agents which
//! relay they talk to.
//!
//! The way of an envelope: [`api`] (who sends) -> [`delivery::send`] (what may be read of it) ->
//! [`store`] (one writer, one commit) -> [`delivery`] (the sockets of its recipient). Nothing reaches
//! back: the store knows no HTTP, and a socket learns of a commit through the hub alone. A commit of a
//! group goes [`api`] -> [`groups`] (is it valid) -> [`store`] (does it continue the log).

pub mod accounts;
pub mod admin;
pub mod api;
pub mod background;
pub mod backup;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod groups;
pub mod hooks;
pub mod identity;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod nodes;
pub mod relay;
pub mod rng;
pub mod server;
pub mod snowflake;
pub mod store;
#[cfg(test)]
mod testing;
pub mod transparency;
