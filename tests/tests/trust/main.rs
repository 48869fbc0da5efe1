//! Trust as operators and agents deal with it: pins, codes to be compared, keys that are replaced by hand.

mod codes;
mod confirmation;
mod peers;
mod pins;
mod rotation;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use waxwire_tests::{
    Proxy,
    program::{Finished, run},
};

const LIMIT: Duration = Duration::from_secs(40);

/// Runs a command of people beside a proxy.
async fn command(proxy: &Proxy, name: &str, words: &[&str]) -> anyhow::Result<Finished> {
    run(proxy.tool(name, words)?, LIMIT).await
}

/// What a command prints with `--json`, whatever its exit status; gives whether that was success, too.
async fn json_of(proxy: &Proxy, name: &str, words: &[&str]) -> anyhow::Result<(Value, bool)> {
    let finished = command(proxy, name, &[words, &["--json"]].concat()).await?;
    let printed = &finished.stdout;
    let value = serde_json::from_str(printed)
        .with_context(|| format!("{name} {words:?} printed {printed:?} and {}", finished.stderr))?;
    Ok((value, finished.status.success()))
}
