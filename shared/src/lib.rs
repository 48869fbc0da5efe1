//! What relay, crypto proxy and auditors must agree on, in bytes.
//!
//! No I/O, no clock, no randomness, no secret key lives here: every function is a function of its
//! arguments, so both sides and every test reach the same verdict. `docs/protocol.md` is the
//! normative text; the modules cite its sections.
//!
//! - [`ids`], [`labels`], [`limits`]: names, domain separation and bounds
//! - [`wire`]: every binary format, as tables of field numbers
//! - [`sign`], [`message`]: `Unverified` bytes become a `Verified` value in one function
//! - [`identity`], [`fingerprint`], [`merkle`]: public keys, how people compare them, tree hashes
//! - [`handle_tag`]: what stands for a handle in the transparency log
//! - [`succession`]: whether an identity follows another
//! - [`hook`], [`target`], [`reach`]: webhooks: how calls are signed, where a URL and an address lead
//! - [`roster`]: when a group commit is valid
//! - [`api`]: bodies, frames and problem documents of the relay's interface

pub mod api;
pub mod code;
pub mod fingerprint;
pub mod handle_tag;
pub mod hash;
pub mod hook;
pub mod identity;
pub mod ids;
pub mod labels;
pub mod limits;
pub mod merkle;
pub mod message;
pub mod reach;
pub mod roster;
pub mod sign;
pub mod succession;
pub mod suite;
pub mod target;
pub mod wire;
