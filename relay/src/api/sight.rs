//! What an agent may learn of a handle. Who asks for many that it may not know of is looking for agents, and is
//! answered nothing more for a while, whomever it asks for: a refusal tells no more than the answers before it.

use waxwire_shared::{api::problem::ProblemType, ids::Handle};

use super::ApiError;
use crate::{
    limits::Allowance,
    relay::Relay,
    store::{AgentNo, ReadError, Sight},
};

fn allowance(relay: &Relay) -> Allowance {
    Allowance {
        per_minute: relay.limits.lookup_misses_per_minute,
        per_day: relay.limits.lookup_misses_per_day,
    }
}

/// Whether an agent may look handles up now.
pub(super) async fn may_look_up(relay: &Relay, agent: AgentNo) -> Result<(), ApiError> {
    let now = relay.delivery.clock.now_ms();
    let looked = relay.lookup_misses.look(agent, allowance(relay), now).await;
    looked.map_err(|spent| ApiError::new(ProblemType::RateLimited).retry_after(spent.seconds()))
}

/// Counts handles that were looked up in vain, before anything is answered: nobody learns of more of them than it may,
/// however many it asks for at once.
pub(super) async fn count_misses(relay: &Relay, agent: AgentNo, misses: usize) -> Result<(), ApiError> {
    if misses == 0 {
        return Ok(());
    }
    let now = relay.delivery.clock.now_ms();
    let paid = relay
        .lookup_misses
        .pay(agent, misses as u64, allowance(relay), now);
    paid.await
        .map_err(|spent| ApiError::new(ProblemType::RateLimited).retry_after(spent.seconds()))
}

/// Looks something of a handle up with `read`. A handle that cannot be one is unknown.
pub(super) async fn look_up<T>(
    relay: &Relay,
    agent: AgentNo,
    handle: &str,
    read: impl AsyncFnOnce(&Handle) -> Result<Sight<T>, ReadError>,
) -> Result<(Handle, T), ApiError> {
    may_look_up(relay, agent).await?;
    let handle = handle.parse::<Handle>().ok();
    let sight = match &handle {
        Some(handle) => read(handle).await?,
        None => Sight::Unknown,
    };
    match (handle, sight) {
        (Some(handle), Sight::Visible(found)) => Ok((handle, found)),
        (_, Sight::Blocked) => Err(ApiError::new(ProblemType::Blocked)),
        _ => {
            count_misses(relay, agent, 1).await?;
            Err(ApiError::new(ProblemType::NotFound))
        }
    }
}
