//! The crypto proxy: a sidecar that owns an agent's keys and gives it plaintext REST on localhost.
//!
//! The way of a message: `api` (parse, limits) -> `engine` (`handle(event, now) -> effects`, with
//! `crypto`) -> `state` (one transaction) -> `link` (bytes to the relay), and back the same rooms
//! in reverse. Nothing reaches back: `crypto` knows neither `state` nor `link`; effects are values
//! that the shell ([`shell`]) carries out.
//!
//! - [`crypto`], [`keystore`]: secret keys and what is done with them; the key file
//! - [`group`]: chains and rekeys of groups, without I/O
//! - [`keeper`]: carries decisions about keys into the key file while the proxy runs
//! - [`credential`]: the API key at the relay
//! - [`engine`]: the one place where a message is decided upon
//! - [`state`]: sealed SQLite: inbox, outbox, history, pins
//! - [`backup`]: sealed copies of keys and state, for another host
//! - [`hook`]: where the relay wakes this proxy
//! - [`link`]: the connection to the relay
//! - [`attachments`]: the bytes of attachments, sealed, between agent and relay
//! - [`api`]: the localhost face
//! - [`json`]: JSON text of agents and peers, read strictly and carried on without loss
//! - [`metrics`]: what link and engine counted, for `GET /metrics`
//! - [`model`]: what the agent sees, as values
//! - [`pins`]: files of pins, for a set-up before first contact
//! - [`cli`]: the program's commands
//! - [`webhooks`]: calls receivers on this host when something happens
//! - [`transparency`]: what heads, proofs and leaves of the relay's log prove, without I/O
//! - [`vectors`]: test vectors, replayed

pub mod api;
pub mod attachments;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod credential;
pub mod crypto;
pub mod engine;
pub mod fault;
pub mod group;
pub mod harden;
pub mod hook;
pub mod json;
pub mod keeper;
pub mod keystore;
pub mod link;
pub mod metrics;
pub mod model;
pub mod pins;
pub mod rng;
pub mod shell;
pub mod state;
pub mod transparency;
pub mod vectors;
pub mod webhooks;
