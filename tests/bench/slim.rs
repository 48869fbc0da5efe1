//! AGNTCY SLIM with MLS, which stores nothing: a node, and two agents in Python that have its client in their own processes. What
//! is between them is not HTTP, so that they measure themselves (`slim.py`).

use std::{path::Path, process::Command, time::Duration};

use anyhow::ensure;

use crate::{
    load::contest::Rate,
    process::{self, Server},
    programs,
    stats::{Latencies, Percentiles},
};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/slim.py");

/// From the call to send until the call to receive returns.
///
/// # Errors
/// A program does not come up, or not every message arrives.
pub(crate) async fn latency(folder: &Path, rate: Rate) -> anyhow::Result<Percentiles> {
    let address = process::free_address()?;
    let log = folder.join("slim.log");
    let _node = Server::start_at(python()?.args(["node", &address.to_string()]), address, &log).await?;
    let [warm_up, measured] = [rate.warm_up, rate.measure].map(|time| time.as_secs() * u64::from(rate.rate));
    let messages = warm_up + measured;
    let arguments = [address.to_string(), messages.to_string(), rate.rate.to_string()];
    let output = python()?.arg("agents").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the agents: {}",
        process::last_line(&said)
    );
    let mut latencies = Latencies::new()?;
    for line in str::from_utf8(&output.stdout)?
        .lines()
        .skip(usize::try_from(warm_up)?)
    {
        latencies.record(Duration::from_nanos(line.parse()?));
    }
    let latencies = latencies.percentiles();
    ensure!(
        latencies.count == measured,
        "{} of {measured} messages came",
        latencies.count
    );
    Ok(latencies)
}

fn python() -> anyhow::Result<Command> {
    let mut command = programs::peer("python")?;
    command.args(["-B", PROGRAM]);
    Ok(command)
}
