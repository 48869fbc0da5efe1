//! The relay does not let this agent in. If its operator has suspended the agent, whatever needs the
//! relay is refused at once and by name until the link is up again: an agent that was told 503 would
//! go on asking.

use super::{Asking, Engine, GroupCommand};
use crate::{
    model::{Refusal, SendToken, Severity, UnixMs},
    state::StateError,
};

impl Engine {
    /// The relay refused the link. Requests that wait are told of a suspension, and their messages are
    /// given up: a refused message must not go out afterwards.
    pub(super) fn shut_out(&mut self, suspended: bool, now: UnixMs) -> Result<(), StateError> {
        self.volatile.suspended = suspended;
        let reason = if suspended {
            self.refuse_all_that_wait(now)?;
            "the relay's operator has suspended this agent"
        } else {
            "the relay does not accept this agent's API key"
        };
        self.alert("relay_unauthorized", Severity::Critical, None, reason, now)
    }

    fn refuse_all_that_wait(&mut self, now: UnixMs) -> Result<(), StateError> {
        let sends: Vec<SendToken> = self.volatile.waiters.keys().copied().collect();
        for token in sends {
            self.give_up(token, &Refusal::Suspended, now)?;
        }
        let lookups = self.volatile.lookups.values_mut();
        let asking: Vec<Asking> = lookups
            .flat_map(|lookup| std::mem::take(&mut lookup.waiting))
            .collect();
        for asking in asking {
            self.reply(asking.request, Err(Refusal::Suspended));
        }
        Ok(())
    }

    /// Whether something that an agent wants of a group cannot be done for the time being.
    pub(super) const fn is_shut_out(&self, command: &GroupCommand) -> bool {
        // A rejected invite is forgotten here, and nobody is told.
        self.volatile.suspended && !matches!(command, GroupCommand::Reject(_))
    }
}
