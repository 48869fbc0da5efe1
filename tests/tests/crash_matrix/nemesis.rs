//! What goes wrong. Each strike ends with everything switched on again; what it broke heals by itself.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::sleep;
use waxwire_tests::{Database, lane::Dice, tap::Outcome};

use super::stage::Stage;

/// How long a small thing lasts.
const SHORT_MS: u64 = 600;
/// How far a clock jumps at most, in seconds.
const JUMP_S: u64 = 7_200;
/// How long a larger one lasts.
const LONG_MS: u64 = 2_500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of the relay.
    KillRelay,
    /// The same of a proxy.
    KillProxy,
    /// The same of PostgreSQL, which stays away for a while.
    KillServer,
    /// The same of all programs at once.
    KillAll,
    /// `kill -9` of one of several relays.
    KillNode,
    /// The same of Redis, which stays away for a while.
    KillRedis,
    /// Every connection between proxies and relay breaks.
    CutAll,
    /// The socket of one proxy breaks at a later frame, before or behind it.
    CutSoon,
    /// Requests of one proxy break, before the relay sees them, without its answer, or in the middle of it.
    LoseAnswers,
    /// The relay gets no time, as on a machine or disk that stands still.
    PauseRelay,
    /// A proxy gets none.
    PauseProxy,
    /// PostgreSQL gets none.
    PauseServer,
    /// PostgreSQL drops the relay's connections and others take all that there are.
    NoConnections,
    /// No room on the relay's disk.
    RelayDiskFull,
    /// No room on the disk of a proxy.
    ProxyDiskFull,
    /// Nothing gets to the relay's disk for a while.
    PauseRelayDisk,
    /// Nothing gets to the disk of a proxy.
    PauseProxyDisk,
    /// The relay finds its disk read-only when it starts.
    RelayDiskReadOnly,
    /// A proxy does.
    ProxyDiskReadOnly,
    /// The relay's clock is wrong for a while.
    JumpRelay,
    /// That of a proxy is.
    JumpProxy,
}

/// Lets it happen, and ends it.
pub(crate) async fn strike(stage: &mut Stage, fault: Fault, dice: &mut Dice) -> anyhow::Result<()> {
    let short = Duration::from_millis(dice.roll(SHORT_MS));
    let long = Duration::from_millis(dice.roll(LONG_MS));
    let chosen = dice.roll(3) as usize;
    match fault {
        Fault::KillRelay => kill_relay(stage, short).await,
        Fault::KillProxy => stage.circle.proxies()[chosen].crash().await,
        Fault::KillServer => stage.server.as_ref().context("no server")?.crash(short).await,
        Fault::KillNode => {
            let node = dice.roll(2) as usize;
            stage.circle.relay.kill_node(node)?;
            sleep(short).await;
            stage.circle.relay.start_node(node).await
        }
        Fault::KillRedis => {
            stage.circle.relay.redis()?.kill()?;
            sleep(long).await;
            stage.circle.relay.redis()?.revive()
        }
        Fault::KillAll => kill_all(stage, short).await,
        Fault::CutAll => {
            stage.circle.proxies().iter().for_each(|proxy| proxy.tap().cut());
            Ok(())
        }
        Fault::CutSoon => {
            stage.cuts[chosen].store(1 + dice.roll(40), Ordering::SeqCst);
            Ok(())
        }
        Fault::LoseAnswers => {
            lose_answers(stage, chosen, long, dice.roll(u64::MAX)).await;
            Ok(())
        }
        Fault::PauseRelay => stage.circle.relay.program()?.pause(long).await,
        Fault::PauseProxy => stage.circle.proxies()[chosen].program()?.pause(long).await,
        Fault::PauseServer => stage.server.as_ref().context("no server")?.pause(long).await,
        Fault::NoConnections => no_connections(stage, long).await,
        Fault::RelayDiskFull => full(stage, 0, long).await,
        Fault::ProxyDiskFull => full(stage, 1 + chosen, long).await,
        Fault::PauseRelayDisk => stage.disks[0].pause(long).await,
        Fault::PauseProxyDisk => stage.disks[1 + chosen].pause(long).await,
        Fault::RelayDiskReadOnly => {
            stage.circle.relay.kill()?;
            stage.disks[0].read_only(true)?;
            let started = stage.circle.relay.start().await;
            stage.disks[0].read_only(false)?;
            ensure!(
                started.is_err(),
                "the relay serves a database that it cannot write"
            );
            stage.circle.relay.start().await
        }
        Fault::ProxyDiskReadOnly => {
            let proxy = &mut stage.circle.proxies()[chosen];
            proxy.kill()?;
            stage.disks[1 + chosen].read_only(true)?;
            let proxy = &mut stage.circle.proxies()[chosen];
            let started = proxy.start().await;
            stage.disks[1 + chosen].read_only(false)?;
            ensure!(started.is_err(), "a proxy serves a state that it cannot write");
            stage.circle.proxies()[chosen].start().await
        }
        Fault::JumpRelay => {
            stage.clocks[0].jump(offset(dice))?;
            if dice.roll(2) == 0 {
                kill_relay(stage, short).await?;
            }
            sleep(long).await;
            stage.clocks[0].jump(0)
        }
        Fault::JumpProxy => {
            stage.clocks[1 + chosen].jump(offset(dice))?;
            if dice.roll(2) == 0 {
                stage.circle.proxies()[chosen].crash().await?;
            }
            sleep(long).await;
            stage.clocks[1 + chosen].jump(0)
        }
    }
}

/// By how many seconds a clock is wrong.
fn offset(dice: &mut Dice) -> i64 {
    dice.roll(2 * JUMP_S).cast_signed() - JUMP_S.cast_signed()
}

async fn kill_relay(stage: &mut Stage, away: Duration) -> anyhow::Result<()> {
    stage.circle.relay.kill()?;
    sleep(away).await;
    stage.circle.relay.start().await
}

async fn kill_all(stage: &mut Stage, away: Duration) -> anyhow::Result<()> {
    stage.circle.relay.kill()?;
    for proxy in stage.circle.proxies() {
        proxy.kill()?;
    }
    match &stage.server {
        Some(server) => server.crash(away).await?,
        None => sleep(away).await,
    }
    stage.circle.relay.start().await?;
    for proxy in stage.circle.proxies() {
        proxy.start().await?;
    }
    Ok(())
}

async fn lose_answers(stage: &mut Stage, chosen: usize, length: Duration, seed: u64) {
    let proxy = &stage.circle.proxies()[chosen];
    let mut dice = Dice::new(seed);
    proxy.tap().on_request(move |_| match dice.roll(4) {
        0 => Outcome::Cut,
        1 => Outcome::LoseAnswer,
        2 => Outcome::CutAnswer,
        _ => Outcome::Pass,
    });
    proxy.tap().cut();
    sleep(length).await;
    proxy.tap().forget_requests();
}

async fn full(stage: &Stage, disk: usize, length: Duration) -> anyhow::Result<()> {
    stage.disks[disk].fill()?;
    sleep(length).await;
    stage.disks[disk].clear()
}

/// Takes every connection that PostgreSQL gives, after those of the relay were dropped.
async fn no_connections(stage: &Stage, length: Duration) -> anyhow::Result<()> {
    const DROP: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name = 'waxwire-relay'";
    let database: &Database = stage.circle.relay.store();
    let url = database.url()?;
    let mut taken = vec![PgConnection::connect(&url).await?];
    taken[0].execute(DROP).await?;
    while let Ok(connection) = PgConnection::connect(&url).await {
        taken.push(connection);
    }
    // What the relay took meanwhile.
    taken[0].execute(DROP).await?;
    sleep(length).await;
    Ok(())
}
