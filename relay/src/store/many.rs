//! What sockets are served by, and what a node asks again because other nodes may have changed it.

use waxwire_shared::ids::AgentId;

use super::{AgentNo, Membership, MembershipMark, QueueNo, ReadError, Store, on_each};

impl Store {
    /// The latest membership of an agent in each group that it is or was in.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn memberships(&self, agent: AgentNo) -> Result<Vec<Membership>, ReadError> {
        on_each!(self, s => s.memberships(agent).await)
    }

    /// The last position of each of some queues.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn heads(&self, queues: &[QueueNo]) -> Result<Vec<(QueueNo, u64)>, ReadError> {
        on_each!(self, s => s.heads(queues).await)
    }

    /// By what a change of the memberships of agents shows, of those that have had any.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn membership_marks(
        &self,
        agents: &[AgentNo],
    ) -> Result<Vec<(AgentNo, MembershipMark)>, ReadError> {
        on_each!(self, s => s.membership_marks(agents).await)
    }

    /// The number of an agent.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn agent_no(&self, id: &AgentId) -> Result<Option<AgentNo>, ReadError> {
        on_each!(self, s => s.agent_no(id).await)
    }
}
