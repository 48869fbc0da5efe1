//! Writes the test vectors: `cargo run -p waxwire-proxy --example generate_vectors -- vectors`.
//!
//! Everything comes from fixed seeds, so two runs write the same bytes; a test compares them with
//! what is committed.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

mod generator;

fn main() -> anyhow::Result<()> {
    let dir: PathBuf = std::env::args_os().nth(1).context("where to?")?.into();
    fs::create_dir_all(dir.join("documents"))?;
    for (name, text) in generator::files() {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}
