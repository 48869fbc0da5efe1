//! Agents that send and read at the same time, and come to an end.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet};

use crate::{
    agent::Agent,
    clock::within,
    history::{History, Lane},
    lane::read,
};

/// How long the last messages may take.
const ARRIVE: Duration = Duration::from_secs(120);

/// Senders and readers at work, who note what happens in one history.
#[derive(Debug)]
pub struct Talk {
    history: History,
    senders: Part,
    readers: Part,
}

#[derive(Debug)]
struct Part {
    end: watch::Sender<bool>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Part {
    fn new() -> Self {
        Self {
            end: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.end.send_replace(true);
        while let Some(outcome) = self.tasks.join_next().await {
            outcome??;
        }
        Ok(())
    }
}

impl Talk {
    /// Nobody yet.
    #[must_use]
    pub fn new(history: &History) -> Self {
        Self {
            history: history.clone(),
            senders: Part::new(),
            readers: Part::new(),
        }
    }

    /// An agent sends to another or to a group, with a pause after each message; `number` tells apart senders that have
    /// both ends in common.
    pub fn send(&mut self, from: &Agent, to: &str, number: usize, pause: Duration) {
        let lane = Lane {
            from: from.handle().into(),
            to: to.into(),
            number,
        };
        let ended = self.senders.end.subscribe();
        self.senders
            .tasks
            .spawn(lane.run(from.clone(), self.history.clone(), pause, ended));
    }

    /// An agent reads what comes.
    pub fn read(&mut self, agent: &Agent, seed: u64) {
        let ended = self.readers.end.subscribe();
        self.readers
            .tasks
            .spawn(read(agent.clone(), self.history.clone(), ended, seed));
    }

    /// Nobody begins another message; ends once every sender knows what became of its last one and every reader has
    /// nothing more to read.
    ///
    /// # Errors
    /// Not within two minutes.
    pub async fn end(mut self) -> anyhow::Result<()> {
        // Readers go on until nobody sends any more.
        let all = async {
            self.senders.end().await?;
            self.readers.end().await
        };
        within("everything arrives", ARRIVE, all).await?
    }
}
