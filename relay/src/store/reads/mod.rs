//! What every backend reads with the same code, through its pool; only statements and driver differ. Each backend compiles
//! this folder as a module of its own: over sqlx's generics the bounds would be longer than the code.

mod accounts;
mod blobs;
mod groups;
mod hooks;
mod lineage;
mod people;
mod queues;
mod retention;
mod transparency;

use super::{Backend, sql, transparency as log_sql};
