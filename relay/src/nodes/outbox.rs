//! What this node has to say and has not said yet: of each queue only its newest head. Whatever cannot be said, the other
//! nodes are told to look for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Nodes, Topic, Word, link::Fault, names::Names};
use crate::store::{AgentNo, Appended, QueueNo, Stored};

/// Queues and words that wait at the same time.
const WAITING: usize = 100_000;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Words in one round trip.
const AT_ONCE: usize = 1_000;

#[derive(Debug, Default)]
struct Waiting {
    heads: HashMap<QueueNo, u64>,
    words: Vec<(AgentNo, Word)>,
    /// Something was not said.
    missed: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    stir: Notify,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self, stored: &Stored) {
        let waiting = &mut *self.waiting();
        if waiting.heads.len() < WAITING || waiting.heads.contains_key(&stored.queue_no) {
            waiting.heads.insert(stored.queue_no, stored.position);
        } else {
            waiting.missed = true;
        }
    }

    fn word(&self, agent: AgentNo, word: Word) {
        let waiting = &mut *self.waiting();
        if waiting.words.len() < WAITING {
            waiting.words.push((agent, word));
        } else {
            waiting.missed = true;
        }
    }

    pub(super) fn miss(&self) {
        self.waiting().missed = true;
    }

    /// All that waits, as channels and what is to be said there. What was missed comes first.
    pub(super) fn take(&self, nodes: &Nodes, names: &Names) -> Vec<(String, Vec<u8>)> {
        let Waiting { heads, words, missed } = std::mem::take(&mut *self.waiting());
        let look = missed.then(|| (names.nodes(), Word::Look));
        let words = words
            .into_iter()
            .map(|(agent, word)| (names.channel(Topic::Agent(agent)), word));
        let heads = heads
            .into_iter()
            .map(|(queue, head)| (names.channel(Topic::Queue(queue)), Word::Head(head)));
        look.into_iter()
            .chain(words)
            .chain(heads)
            .map(|(channel, word)| (channel, word.encode(nodes.me)))
            .collect()
    }
}

impl Nodes {
    /// Tells other nodes what became durable. While Redis is lost they poll, and are told to look afterwards.
    pub fn tell_stored(&self, appended: &[Appended], batch: &[Stored]) {
        if !self.is_up() {
            return self.outbox.miss();
        }
        for appended in appended {
            for (agent, _) in &appended.changes {
                self.outbox.word(*agent, Word::Members);
            }
            self.outbox.head(&appended.commit);
        }
        for stored in batch {
            self.outbox.head(stored);
        }
        self.outbox.stir.notify_one();
    }

    /// Tells other nodes something about agents.
    pub fn tell(&self, agents: impl IntoIterator<Item = AgentNo>, word: &Word) {
        if !self.is_up() {
            return self.outbox.miss();
        }
        for agent in agents {
            self.outbox.word(agent, word.clone());
        }
        self.outbox.stir.notify_one();
    }
}

impl Nodes {
    /// Says what is still to be said, and nothing more from then on.
    pub async fn end(&self) {
        // Whoever does not hear it looks by itself.
        drop(tokio::time::timeout(LAST_WORDS, say_all(self)).await);
        self.ended.cancel();
    }
}

/// Says what waits, until Redis fails.
pub(super) async fn say(nodes: &Nodes) -> Result<std::convert::Infallible, Fault> {
    loop {
        say_all(nodes).await?;
        nodes.outbox.stir.notified().await;
    }
}

/// Says what waits. What a fault keeps from being said is missed when the connection ends by it.
async fn say_all(nodes: &Nodes) -> Result<(), Fault> {
    let Some((mut connection, names)) = nodes.connected() else {
        return Err(Fault::Lost);
    };
    let words = nodes.outbox.take(nodes, names);
    for chunk in words.chunks(AT_ONCE) {
        let mut pipeline = redis::pipe();
        for (channel, word) in chunk {
            pipeline.publish(channel, word).ignore();
        }
        pipeline.query_async::<()>(&mut connection).await?;
        nodes.metrics.hints_published.add(chunk.len() as u64);
    }
    Ok(())
}
