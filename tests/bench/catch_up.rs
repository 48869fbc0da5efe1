//! P14: a crypto proxy that was away fetches, opens and stores what has come.

use std::time::Duration;

use anyhow::ensure;

use crate::{clock, figure::Figure, report::Goal, run::Bench, sends, target::pair::Pair};

/// P14, messages a second.
const RATE: Goal = Goal::AtLeast(10_000.0);
/// Between looks, which are work for the proxy, too.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// From the start of the process until the agent could read all of them.
///
/// # Errors
/// A program does not come up, or messages do not arrive.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let messages = if bench.full { 100_000 } else { 20_000 };
    let mut pair: Pair = sends::start(bench).await?;
    pair.bob.stop()?;
    pair.send_all(messages).await?;
    let begin = clock::now();
    pair.bob.start_again()?;
    while pair.unread().await? < messages {
        ensure!(begin.elapsed() < PATIENCE, "they do not arrive");
        tokio::time::sleep(LOOK).await;
    }
    let rate = messages as f64 / begin.elapsed().as_secs_f64();
    let what = format!("catching up with {messages} messages");
    Ok(vec![Figure::new(what, rate, "/s").wants("P14", RATE)])
}
