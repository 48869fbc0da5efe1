//! When a group commit is valid: a function of the log before it and nothing else
//! (docs/protocol.md, 6).
