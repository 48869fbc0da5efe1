//! Everything that can go wrong, in random order, under direct and group traffic (F5): after each fault all heals
//! without help, and in the end nothing that was accepted is lost, overtaken, doubled or invented.
//!
//! `SEED=n` repeats the order of faults (not the timing within the programs), `SOAK_SECONDS=600` goes on for ten
//! minutes. `make soak` does for two.

mod nemesis;
mod stage;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};
use waxwire_tests::{
    World,
    lane::{Dice, number},
    patience,
    postgres::Server,
    scenario_within,
};

use self::{
    nemesis::Fault,
    stage::{Means, Stage},
};

/// How long faults go on in the short variant.
const SHORT: Duration = Duration::from_secs(12);
/// The same in a soak.
const LONG: Duration = Duration::from_secs(120);
/// How long everything may take to arrive in the end.
const DRAIN: Duration = Duration::from_secs(180);

fn length() -> Duration {
    let soak = std::env::var_os("WAXWIRE_SOAK").map(|_| LONG);
    let asked = number("SOAK_SECONDS").map(Duration::from_secs);
    asked.or(soak).unwrap_or(SHORT)
}

/// Kills of relay and proxies, and breaks of what is between them.
#[test]
fn kills_and_broken_connections() {
    use Fault::*;
    run(
        None,
        Means::Nothing,
        &[
            KillRelay,
            KillProxy,
            KillAll,
            CutAll,
            CutSoon,
            LoseAnswers,
            PauseRelay,
            PauseProxy,
        ],
    );
}

/// The same on PostgreSQL, which is killed and stopped as well, and has no connection to spare.
#[test]
fn kills_and_broken_connections_with_postgresql() {
    use Fault::*;
    let server = Some(Arc::new(Server::start().unwrap()));
    let faults = [
        KillRelay,
        KillServer,
        KillServer,
        KillAll,
        KillProxy,
        CutSoon,
        PauseServer,
        NoConnections,
    ];
    run(server, Means::Nothing, &faults);
}

/// Disks that are full, take no writes or stand still, of the relay and of proxies; needs root, to mount them.
#[test]
fn disks_that_are_full_read_only_or_stand_still() {
    use Fault::*;
    run(
        None,
        Means::Disks,
        &[
            RelayDiskFull,
            ProxyDiskFull,
            PauseRelayDisk,
            PauseProxyDisk,
            RelayDiskReadOnly,
            ProxyDiskReadOnly,
            KillRelay,
            KillProxy,
        ],
    );
}

/// Two relays on one PostgreSQL, which hear of each other by Redis: each of them is killed, and Redis as well.
#[test]
fn kills_of_relays_that_share_a_database_and_of_redis() {
    use Fault::*;
    let server = Some(Arc::new(Server::start().unwrap()));
    let faults = [
        KillNode, KillNode, KillRedis, KillServer, KillProxy, CutAll, KillAll,
    ];
    run(server, Means::Nodes, &faults);
}

/// Clocks of single programs, which are hours ahead or behind for a while, also when one of them starts.
#[test]
fn clocks_that_jump() {
    use Fault::*;
    let faults = [JumpRelay, JumpProxy, JumpProxy, KillRelay, KillProxy, CutAll];
    run(None, Means::Clocks, &faults);
}

fn run(server: Option<Arc<Server>>, means: Means, faults: &[Fault]) {
    scenario_within(length() + patience(DRAIN), async |world| {
        let seed = Dice::seed()?;
        attempt(world, server, means, faults, seed)
            .await
            .with_context(|| format!("SEED={seed}"))
    });
}

#[expect(clippy::print_stdout, reason = "figures of a soak are its result")]
async fn attempt(
    world: &World,
    server: Option<Arc<Server>>,
    means: Means,
    faults: &[Fault],
    seed: u64,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed);
    let mut stage = Stage::set(world, server, means).await?;
    let traffic = stage.begin(&mut dice);
    let until = Instant::now() + length();
    let mut done = 0;
    // Whole rounds, each with every fault in another order.
    while done == 0 || Instant::now() < until {
        for fault in shuffled(faults, &mut dice) {
            sleep(Duration::from_millis(50 + dice.roll(600))).await;
            nemesis::strike(&mut stage, fault, &mut dice)
                .await
                .with_context(|| format!("{fault:?} after {done} others"))?;
            done += 1;
        }
    }
    traffic.end().await?;
    let accepted = stage.verdict().await?;
    println!("SEED={seed}: {done} faults, {accepted} messages accepted");
    ensure!(accepted > 20, "hardly anything happened");
    Ok(())
}

fn shuffled(faults: &[Fault], dice: &mut Dice) -> Vec<Fault> {
    let mut faults = faults.to_vec();
    for last in (1..faults.len()).rev() {
        faults.swap(last, dice.roll(last as u64 + 1) as usize);
    }
    faults
}
