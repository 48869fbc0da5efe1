//! Messages in both directions between two agents while programs come and go, and whether all of them arrived.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{
    agent::Agent, circle::whole_history, clock::eventually, history::History, lane::Dice, talk::Talk,
};

/// Senders and readers of two agents, at work.
#[derive(Debug)]
pub struct Traffic {
    agents: [Agent; 2],
    history: History,
    talk: Talk,
}

impl Traffic {
    /// So many senders, half in each direction, with a pause after each message.
    #[must_use]
    pub fn start(agents: [&Agent; 2], lanes: usize, pause: Duration, dice: &mut Dice) -> Self {
        let history = History::default();
        let mut talk = Talk::new(&history);
        for number in 0..lanes {
            let (from, to) = (agents[number % 2], agents[(number + 1) % 2]);
            talk.send(from, to.handle(), number, pause);
        }
        for agent in agents {
            talk.read(agent, dice.roll(u64::MAX));
        }
        Self {
            agents: agents.map(Clone::clone),
            history,
            talk,
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
    pub async fn end(self) -> anyhow::Result<usize> {
        let finished = self.talk.end().await;
        let violations = self.history.violations();
        let shown = &violations[..violations.len().min(20)];
        ensure!(violations.is_empty(), "{shown:#?}");
        finished?;
        compare_ends(&self.agents, self.history.len()).await?;
        Ok(self.history.len())
    }
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
