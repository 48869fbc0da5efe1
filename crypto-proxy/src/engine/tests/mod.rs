//! The engine against a relay of a few lines: what flows 1 and 2 promise, and what a lying relay
//! or peer gets.

mod access;
mod bundles;
mod catch_up;
mod channels;
mod confirmation;
mod converge;
mod full_disk;
mod group_attacks;
mod group_order;
mod group_relay;
mod group_rules;
mod groups;
mod growth;
mod hostile;
mod instances;
mod log_audit;
mod log_heads;
mod log_proofs;
mod log_relay;
mod lookup;
mod net;
mod own_keys;
mod pins;
mod presence;
mod receipts;
mod relations;
mod repair;
mod rollback;
mod rotate_now;
mod sending;
mod simulation;
mod succession;
mod suspension;
mod typing;
mod webhooks;
