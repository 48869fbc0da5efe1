//! What relay and crypto proxy say and ask outside of each other.
//!
//! - [`hook`]: one call of a hook, whose URL somebody else has chosen
//! - [`logs`]: log lines
//! - [`traces`]: on what time is spent, told to a collector
//! - [`trust`]: whom this machine trusts over TLS

pub mod hook;
pub mod logs;
pub mod traces;
pub mod trust;
