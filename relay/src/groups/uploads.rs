//! Room for large bodies: those with the leaves of a rekey. They are few and honest agents send one
//! at a time, so they are bounded in number, and one agent cannot take all the room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::AgentNo;

/// Bodies up to this length need no room: leaves of some two hundred members.
pub const SMALL: u64 = 64 * 1024;
/// Large bodies at the same time.
const ROOM: usize = 16;
/// Large bodies of one agent at the same time.
const OF_AN_AGENT: u64 = 2;
/// How long a body waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a large body is not taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The agent is sending enough already.
    #[error("the agent sends {actual} large bodies of {max}")]
    Agent {
        /// The limit.
        max: u64,
        /// Those under way.
        actual: u64,
    },
    /// Everybody is.
    #[error("no room for a large body")]
    All,
}

/// Who sends large bodies.
#[derive(Debug)]
pub struct Uploads {
    room: Arc<Semaphore>,
    of_agents: Arc<Mutex<HashMap<AgentNo, u64>>>,
    patience: Duration,
}

impl Default for Uploads {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

/// Room for one body until it is dropped.
#[derive(Debug)]
pub struct Upload {
    _room: OwnedSemaphorePermit,
    _count: Count,
}

#[derive(Debug)]
struct Count {
    of_agents: Arc<Mutex<HashMap<AgentNo, u64>>>,
    agent: AgentNo,
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut of_agents = self.of_agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of_agents.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                of_agents.remove(&self.agent);
            }
        }
    }
}

impl Uploads {
    fn with_patience(patience: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM)),
            of_agents: Arc::default(),
            patience,
        }
    }

    /// Waits for room.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn admit(&self, agent: AgentNo) -> Result<Upload, Busy> {
        let count = self.count(agent)?;
        let room = Arc::clone(&self.room).acquire_owned();
        match tokio::time::timeout(self.patience, room).await {
            Ok(Ok(room)) => Ok(Upload {
                _room: room,
                _count: count,
            }),
            _ => Err(Busy::All),
        }
    }

    fn count(&self, agent: AgentNo) -> Result<Count, Busy> {
        let mut of_agents = self.of_agents.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of_agents.entry(agent).or_default();
        if *count >= OF_AN_AGENT {
            return Err(Busy::Agent {
                max: OF_AN_AGENT,
                actual: *count,
            });
        }
        *count += 1;
        drop(of_agents);
        Ok(Count {
            of_agents: Arc::clone(&self.of_agents),
            agent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_agent;

    #[tokio::test]
    async fn agent_has_little_room_and_all_have_a_bound() {
        let uploads = Uploads::with_patience(Duration::from_millis(20));
        let mut held = Vec::new();
        for number in 0..ROOM as i64 / 2 {
            for _ in 0..2 {
                held.push(uploads.admit(test_agent(number)).await.unwrap());
            }
        }
        let refused = uploads.admit(test_agent(0)).await.unwrap_err();
        assert_eq!(refused, Busy::Agent { max: 2, actual: 2 });
        assert_eq!(uploads.admit(test_agent(99)).await.unwrap_err(), Busy::All);
        // What was refused holds nothing.
        assert_eq!(uploads.of_agents.lock().unwrap().get(&test_agent(99)), None);
        drop(held.remove(0));
        held.push(uploads.admit(test_agent(99)).await.unwrap());
        assert_eq!(uploads.admit(test_agent(0)).await.unwrap_err(), Busy::All);
        held.clear();
        assert!(uploads.of_agents.lock().unwrap().is_empty());
    }
}
