//! Erased is erased: keys whose time is over are in no memory and in no file of a real proxy
//! (docs/protocol.md, 4.3, 6.5 and 6.7). Each test shows first that its search finds a key that lives.
//!
//! The memory of a proxy is root's to read; without root these tests fail.

mod groups;
mod keys;
mod process;

use std::time::Duration;

use anyhow::Context as _;
use waxwire_tests::{Proxy, Search, eventually, world::World};

/// How long an erasure may take with the short times of these tests.
const SOON: Duration = Duration::from_secs(30);

/// Waits until nothing of what is searched for lies in any file of the test.
async fn until_overwritten(world: &World, search: &Search) -> anyhow::Result<()> {
    let mut left = Vec::new();
    let gone = eventually("what was erased is overwritten", SOON, async || {
        left = search.files(world.folder())?;
        Ok(left.is_empty().then_some(()))
    });
    let gone = gone.await;
    gone.with_context(|| format!("{left:#?}"))
}

/// Nothing of what is searched for is in the memory of a proxy, nor in any file of the test: key stores,
/// databases and their logs, what programs said, temporary files.
fn assert_nowhere(world: &World, proxy: &mut Proxy, search: &Search) -> anyhow::Result<()> {
    let mut found = search.memory(proxy.program()?.id())?;
    found.extend(search.files(world.folder())?);
    anyhow::ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}
