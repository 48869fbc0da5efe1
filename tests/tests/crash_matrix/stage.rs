//! Who talks to whom while the nemesis strikes, and what must hold in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use waxwire_shared::api::frames::RelayFrame;
use waxwire_tests::{
    Agent, Circle, FalseClock, World,
    circle::{same_history, settled},
    disk::Disk,
    eventually,
    history::History,
    lane::Dice,
    postgres::Server,
    talk::Talk,
    tap::{Fate, Frame},
    unique,
};

pub(crate) const HANDLES: [&str; 3] = ["alice", "bob", "carol"];
/// Senders of each agent to each other, and to the group.
const EACH: usize = 2;
const PAUSE: Duration = Duration::from_millis(10);
/// Room of a small disk, in MiB.
const ROOM: u32 = 64;

/// What the nemesis needs besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Nothing,
    /// Two relays on the server.
    Nodes,
    /// A small disk for each program.
    Disks,
    /// A clock of its own for each program.
    Clocks,
}

pub(crate) struct Stage {
    pub(crate) circle: Circle,
    pub(crate) server: Option<Arc<Server>>,
    /// The relay's, then those of the proxies.
    pub(crate) disks: Vec<Disk>,
    /// The relay's, then those of the proxies.
    pub(crate) clocks: Vec<FalseClock>,
    /// After how many more frames the socket of a proxy breaks; 0 for never.
    pub(crate) cuts: [Arc<AtomicU64>; 3],
    pub(crate) history: History,
    agents: [Agent; 3],
    group: String,
}

impl Stage {
    pub(crate) async fn set(
        world: &World,
        server: Option<Arc<Server>>,
        means: Means,
    ) -> anyhow::Result<Self> {
        let mut disks = Vec::new();
        if means == Means::Disks {
            disks.push(Disk::mount(&world.folder().join("relay"), ROOM)?);
            for handle in HANDLES {
                disks.push(Disk::mount(
                    &world.folder().join(format!("{handle}-state")),
                    ROOM,
                )?);
            }
        }
        let mut relay = match &server {
            Some(_) if means == Means::Nodes => world.new_nodes(2, server.as_ref())?,
            Some(server) => world.new_relay_on(server, "relay")?,
            None if means == Means::Disks => world.new_relay_on_file("relay")?,
            None => world.new_relay("relay")?,
        };
        for limit in [
            "group_members",
            "groups_per_hour",
            "joins_and_leaves_per_hour",
            "commits_per_minute",
        ] {
            relay.limit(limit, 0);
        }
        let mut clocks = Vec::new();
        if means == Means::Clocks {
            for name in ["relay"].into_iter().chain(HANDLES) {
                clocks.push(FalseClock::new(&world.folder().join(format!("{name}.clock")))?);
            }
            relay.environment(clocks[0].environment()?);
        }
        relay.start().await?;
        let mut circle = world.circle_around(relay, HANDLES).await?;
        for (proxy, clock) in circle.proxies().iter_mut().zip(clocks.iter().skip(1)) {
            proxy.environment(clock.environment()?);
            proxy.crash().await?;
        }
        let agents = circle.agents(HANDLES)?;
        let group = agents[0]
            .gather(&unique("matrix")?, &[&agents[1], &agents[2]])
            .await?
            .id;
        let history = History::default();
        history.group(&group, &HANDLES);
        let cuts: [Arc<AtomicU64>; 3] = Default::default();
        for (proxy, cut) in circle.proxies().iter().zip(&cuts) {
            let (history, cut) = (history.clone(), Arc::clone(cut));
            proxy.tap().on_frame(move |frame| witness(&frame, &history, &cut));
        }
        Ok(Self {
            circle,
            server,
            disks,
            clocks,
            cuts,
            history,
            agents,
            group,
        })
    }

    /// Senders in every direction, and a reader for each.
    pub(crate) fn begin(&self, dice: &mut Dice) -> Talk {
        let mut talk = Talk::new(&self.history);
        for agent in &self.agents {
            let others = HANDLES.into_iter().filter(|to| *to != agent.handle());
            for to in others.chain([self.group.as_str()]) {
                for number in 0..EACH {
                    talk.send(agent, to, number, PAUSE);
                }
            }
            talk.read(agent, dice.roll(u64::MAX));
        }
        talk
    }

    /// Nothing breaks a rule, and all ends agree; gives how many messages were accepted.
    pub(crate) async fn verdict(&self) -> anyhow::Result<usize> {
        let members: Vec<&Agent> = self.agents.iter().collect();
        settled(&members, &self.group).await?;
        same_history(&members, &self.group).await?;
        self.history.kept(self.circle.relay.store().kept()).await?;
        let violations = self.history.violations();
        ensure!(
            violations.is_empty(),
            "{} violations: {:#?}",
            violations.len(),
            &violations[..violations.len().min(20)]
        );
        for agent in members {
            self.nobody_was_lied_to(agent).await?;
        }
        Ok(self.history.len())
    }

    async fn nobody_was_lied_to(&self, agent: &Agent) -> anyhow::Result<()> {
        eventually("the proxy is ready", Duration::from_secs(30), async || {
            Ok((agent.get("/readyz").await?.status == 200).then_some(()))
        })
        .await?;
        let mut alerts = agent.alerts().await?;
        // That clocks differ is true for a while.
        alerts.retain(|alert| self.clocks.is_empty() || alert["type"] != "clock_skew");
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
        Ok(())
    }
}

/// Notes what the relay has said to hold, and breaks the socket when its time has come.
fn witness(frame: &Frame<'_>, history: &History, cut: &AtomicU64) -> Fate {
    if let Some(RelayFrame::Stored { hash, .. }) = frame.relay() {
        history.promised(hash);
    }
    let before = cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    match before {
        Ok(1) if frame.bytes.len().is_multiple_of(2) => Fate::Cut,
        Ok(1) => Fate::PassThenCut,
        _ => Fate::Pass,
    }
}
