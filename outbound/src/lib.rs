//! Connections that relay and crypto proxy make to others than each other.
//!
//! - [`hook`]: one call of a hook, whose URL somebody else has chosen
//! - [`traces`]: on what time is spent, told to a collector
//! - [`trust`]: whom this machine trusts over TLS

pub mod hook;
pub mod traces;
pub mod trust;
