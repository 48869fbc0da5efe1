//! Messages in both directions between two agents while programs come and go, and whether all of them arrived.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    agent::Agent,
    circle::whole_history,
    clock::{eventually, within},
    history::{History, Lane},
    lane::Dice,
};

/// How long the last messages may take.
const ARRIVE: Duration = Duration::from_secs(120);

/// Senders and readers of two agents, at work.
#[derive(Debug)]
pub struct Traffic {
    agents: [Agent; 2],
    history: History,
    end: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Traffic {
    /// So many senders, half in each direction, with a pause after each message.
    #[must_use]
    pub fn start(agents: [&Agent; 2], lanes: usize, pause: Duration, dice: &mut Dice) -> Self {
        let (history, end) = (History::default(), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..lanes {
            let (from, to) = (agents[number % 2], agents[(number + 1) % 2]);
            let lane = Lane {
                from: from.handle().into(),
                to: to.handle().into(),
                number,
            };
            tasks.spawn(lane.run(from.clone(), history.clone(), pause, end.subscribe()));
        }
        for agent in agents {
            let seed = dice.roll(u64::MAX);
            tasks.spawn(reader(agent.clone(), history.clone(), end.subscribe(), seed));
        }
        Self {
            agents: agents.map(Clone::clone),
            history,
            end,
            tasks,
        }
    }

    /// How many messages were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.history.len()
    }

    /// How many sends were not answered, or by 503.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.history.failures()
    }

    /// Ends it once everything has arrived, and gives how many messages were accepted.
    ///
    /// # Errors
    /// A message was lost, came twice or out of order, or the two ends do not agree.
    pub async fn end(mut self) -> anyhow::Result<usize> {
        self.end.send_replace(true);
        let finished = async {
            while let Some(outcome) = self.tasks.join_next().await {
                outcome??;
            }
            anyhow::Ok(())
        };
        let finished = within("everything arrives", ARRIVE, finished).await;
        let violations = self.history.violations();
        let shown = &violations[..violations.len().min(20)];
        ensure!(violations.is_empty(), "{shown:#?}");
        finished??;
        compare_ends(&self.agents, self.history.len()).await?;
        Ok(self.history.len())
    }
}

/// Takes and settles, now and then without settling, until there is nothing left to come.
async fn reader(
    agent: Agent,
    history: History,
    ended: watch::Receiver<bool>,
    seed: u64,
) -> anyhow::Result<()> {
    let mut dice = Dice::new(seed);
    let mut quiet = 0;
    while quiet < 2 {
        let asked = history.now();
        let Ok(rows) = agent.sync_after(None, 1).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        history.synced(agent.handle(), asked, &rows);
        let missing = history.missing(agent.handle());
        quiet = if *ended.borrow() && rows.is_empty() && missing == 0 {
            quiet + 1
        } else {
            0
        };
        // Sometimes a part, sometimes nothing.
        let part = &rows[..rows.len().min(dice.roll(60) as usize)];
        let Some(last) = part.last().and_then(|row| row.delivery_id.as_deref()) else {
            continue;
        };
        if agent.ack(last).await.is_ok() {
            history.acked(agent.handle(), part);
        }
    }
    Ok(())
}

/// Both ends agree on everything, each message once.
///
/// # Errors
/// They do not.
pub async fn compare_ends(agents: &[Agent; 2], accepted: usize) -> anyhow::Result<()> {
    let conversations = agents[0].get("/v1/conversations").await?.expect(200)?;
    let id = conversations[0]["id"]
        .as_str()
        .context("a conversation")?
        .to_owned();
    let mut ends = Vec::new();
    for agent in agents {
        let mut ids: Vec<String> = whole_history(agent, &id)
            .await?
            .into_iter()
            .map(|row| row.id)
            .collect();
        ids.sort_unstable();
        ensure!(
            ids.windows(2).all(|pair| pair[0] != pair[1]),
            "{} holds one twice",
            agent.handle()
        );
        ends.push(ids);
    }
    ensure!(ends[0] == ends[1], "the ends hold different messages");
    ensure!(
        ends[0].len() == accepted,
        "{} were accepted, {} are held",
        accepted,
        ends[0].len()
    );
    for agent in agents {
        let what = format!("everything that {} wrote is delivered", agent.handle());
        eventually(&what, Duration::from_secs(30), async || {
            let rows = whole_history(agent, &id).await?;
            let mut own = rows.iter().filter(|row| row.sender == agent.handle());
            Ok(own.all(|row| row.status == "delivered").then_some(()))
        })
        .await?;
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
    }
    Ok(())
}
