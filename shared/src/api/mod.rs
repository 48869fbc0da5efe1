//! The relay's interface: REST bodies, frames and problem documents (docs/relay-api.md).

pub mod append;
pub mod blobs;
pub mod frames;
pub mod hooks;
pub mod problem;
pub mod profile;
pub mod rest;
