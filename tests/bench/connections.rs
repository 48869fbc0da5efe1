//! P8: what a connection of an agent that says nothing costs the relay.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    figure::Figure,
    report::Goal,
    run::Bench,
    target::{Target, relay::Relay, yardstick::Yardstick},
};

/// P8: kibibytes each.
const EACH: Goal = Goal::AtMost(10.0);
/// Sockets of each agent.
const OF_ONE: usize = 8;
/// Files beyond the sockets.
const SPARE: u64 = 1_000;
/// How long the server is left alone before it is looked at.
const REST: Duration = Duration::from_secs(1);

/// Resident memory with so many sockets less that without.
///
/// # Errors
/// The system allows fewer files, or a server refuses a socket.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let sockets = if bench.full { 50_000 } else { 10_000 };
    allow(sockets as u64 + SPARE)?;
    let yardstick = each::<Yardstick>(bench, sockets).await?;
    let relay = each::<Relay>(bench, sockets).await?;
    let what = format!("memory of an idle connection, of {sockets}");
    let figure = Figure::new(what, relay, "KiB").beside(yardstick);
    Ok(vec![figure.wants("P8", EACH)])
}

async fn each<T: Target>(bench: &Bench, sockets: usize) -> anyhow::Result<f64> {
    let target = T::start(&bench.folder()?, sockets.div_ceil(OF_ONE)).await?;
    let before = target.server().memory()?;
    let mut held = Vec::with_capacity(sockets);
    for number in 0..sockets {
        held.push(target.receiver(number / OF_ONE).await?);
    }
    tokio::time::sleep(REST).await;
    let taken = target.server().memory()?.saturating_sub(before);
    Ok(taken as f64 / 1024.0 / sockets as f64)
}

/// Lets this process, and those that it starts from now on, have so many files.
fn allow(files: u64) -> anyhow::Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let wanted = Rlimit {
        current: Some(files),
        maximum: now.maximum.map(|maximum| maximum.max(files)),
    };
    setrlimit(Resource::Nofile, wanted).with_context(|| format!("the system does not allow {files} files"))
}
